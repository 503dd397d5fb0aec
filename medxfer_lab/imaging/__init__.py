"""A small imaging department: anatomy, patients, scanners, hospitals.

Everything it makes is simulated, and nothing it makes is for clinical use.
"""

from medxfer_lab.imaging import normalize
from medxfer_lab.imaging.cohort import Cohort
from medxfer_lab.imaging.geometry import View
from medxfer_lab.imaging.hospitals import Criterion, Hospital, rescan
from medxfer_lab.imaging.lesions import HEALTHY, Burden, Disease
from medxfer_lab.imaging.patients import ADULTS, Patients, Population, draw_patients
from medxfer_lab.imaging.rendering import tissue
from medxfer_lab.imaging.scanners import CT, FLAIR, MRI, T1, Radiograph, Ultrasound

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
    "draw_patients",
    "normalize",
    "rescan",
    "tissue",
]
