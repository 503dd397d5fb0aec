"""A small imaging department: patients, scanners, hospitals and their shifts, and real files.

The way of a picture: `draw` draws `patients`, `rendering` turns them into tissue as a scanner's
view (`geometry`) sees it, a scanner (`scanners`) turns tissue into pixels, a hospital
(`hospitals`) adds labels; `shifts` makes another hospital of it; `archive` reads real files into
the same `Cohort`; `normalize` brings pixels to the range that a network expects.

What it makes itself is simulated, and nothing is for clinical use.
"""

from medxfer_lab.imaging import diversity, normalize, shifts
from medxfer_lab.imaging.cohort import Cohort
from medxfer_lab.imaging.draw import draw_patients
from medxfer_lab.imaging.geometry import View
from medxfer_lab.imaging.hospitals import Criterion, Hospital
from medxfer_lab.imaging.lesions import HEALTHY, Burden, Disease
from medxfer_lab.imaging.patients import ADULTS, Patients, Population
from medxfer_lab.imaging.rendering import tissue
from medxfer_lab.imaging.scanners import CT, FLAIR, MRI, T1, Radiograph, Ultrasound
from medxfer_lab.imaging.shifts import relabel, remix, resample, rescan, select

__all__ = [
    "ADULTS",
    "Burden",
    "CT",
    "Cohort",
    "Criterion",
    "Disease",
    "FLAIR",
    "HEALTHY",
    "Hospital",
    "MRI",
    "Patients",
    "Population",
    "Radiograph",
    "T1",
    "Ultrasound",
    "View",
    "diversity",
    "draw_patients",
    "normalize",
    "relabel",
    "remix",
    "resample",
    "rescan",
    "select",
    "shifts",
    "tissue",
]
