"""Real files: each reader gives pictures with their units, spacing and patient where known.

Readers of one file give a `Picture`; `load_medmnist`, `load_folder` and `cohort_from_pictures`
give the same `Cohort` as simulated hospitals do; `split` cuts one without parting a patient.
"""

from medxfer_lab.imaging.archive.dicom import read_dicom
from medxfer_lab.imaging.archive.dicom_series import read_folder_of_dicom
from medxfer_lab.imaging.archive.errors import ArchiveError
from medxfer_lab.imaging.archive.folders import cohort_from_pictures, load_folder
from medxfer_lab.imaging.archive.image import Picture
from medxfer_lab.imaging.archive.limits import DEFAULT_LIMITS, Limits
from medxfer_lab.imaging.archive.medmnist import NotPublished, duplicates_across_splits
from medxfer_lab.imaging.archive.medmnist import load as load_medmnist
from medxfer_lab.imaging.archive.medmnist import load_file as load_npz
from medxfer_lab.imaging.archive.nifti import read_nifti
from medxfer_lab.imaging.archive.partition import (
    PatientsUnknown,
    Split,
    duplicates,
    near_duplicates,
    split,
)
from medxfer_lab.imaging.windows import Window

__all__ = [
    "DEFAULT_LIMITS",
    "ArchiveError",
    "Limits",
    "NotPublished",
    "PatientsUnknown",
    "Picture",
    "Split",
    "Window",
    "cohort_from_pictures",
    "duplicates",
    "duplicates_across_splits",
    "load_folder",
    "load_medmnist",
    "load_npz",
    "near_duplicates",
    "read_dicom",
    "read_folder_of_dicom",
    "read_nifti",
    "split",
]
