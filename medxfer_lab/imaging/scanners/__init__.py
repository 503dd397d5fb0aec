"""Scanners: physics from tissue to pixel, one modality a file.

A scanner is a frozen dataclass of physical parameters with units. Vendors are named presets.
"""

from medxfer_lab.imaging.scanners.base import Scanner
from medxfer_lab.imaging.scanners.ct import CT, CT_CONTRAST, CT_ROUTINE, CT_SHARP_LOW_DOSE
from medxfer_lab.imaging.scanners.mri import (
    FLAIR,
    FLAIR_3T,
    FLAIR_CORVID,
    FLAIR_MERGANSER,
    MRI,
    PD,
    PD_3T,
    T1,
    T1_3T,
    T1_POST,
    T1_POST_3T,
    T2,
    T2_3T,
    at_field,
)
from medxfer_lab.imaging.scanners.radiograph import (
    RADIOGRAPH_FRONTAL,
    RADIOGRAPH_LATERAL,
    Radiograph,
)
from medxfer_lab.imaging.scanners.ultrasound import CURVED_8, LINEAR_12, PHASED_5, Ultrasound

__all__ = [
    "CT",
    "CT_CONTRAST",
    "CT_ROUTINE",
    "CT_SHARP_LOW_DOSE",
    "CURVED_8",
    "FLAIR",
    "FLAIR_3T",
    "FLAIR_CORVID",
    "FLAIR_MERGANSER",
    "LINEAR_12",
    "MRI",
    "PD",
    "PD_3T",
    "PHASED_5",
    "RADIOGRAPH_FRONTAL",
    "RADIOGRAPH_LATERAL",
    "Radiograph",
    "Scanner",
    "T1",
    "T1_3T",
    "T1_POST",
    "T1_POST_3T",
    "T2",
    "T2_3T",
    "Ultrasound",
    "at_field",
]
