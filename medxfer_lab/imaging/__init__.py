"""A small imaging department: anatomy, patients, scanners, hospitals.

Everything it makes is simulated, and nothing it makes is for clinical use.
"""

from medxfer_lab.imaging import normalize
from medxfer_lab.imaging.cohort import Cohort
from medxfer_lab.imaging.geometry import View
from medxfer_lab.imaging.hospitals import Criterion, Hospital, rescan
from medxfer_lab.imaging.patients import Burden, Patients, Population, draw_patients, tissue
from medxfer_lab.imaging.scanners import FLAIR, MRI, T1

__all__ = [
    "Burden",
    "Cohort",
    "Criterion",
    "FLAIR",
    "Hospital",
    "MRI",
    "Patients",
    "Population",
    "T1",
    "View",
    "draw_patients",
    "normalize",
    "rescan",
    "tissue",
]
