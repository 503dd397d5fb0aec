"""Real files: each reader gives pictures with their units, spacing and patient where known."""

from medxfer_lab.imaging.archive.dicom import read_dicom
from medxfer_lab.imaging.archive.dicom_series import read_folder_of_dicom
from medxfer_lab.imaging.archive.errors import ArchiveError
from medxfer_lab.imaging.archive.image import Picture, Window
from medxfer_lab.imaging.archive.limits import DEFAULT_LIMITS, Limits
from medxfer_lab.imaging.archive.nifti import read_nifti

__all__ = [
    "DEFAULT_LIMITS",
    "ArchiveError",
    "Limits",
    "Picture",
    "Window",
    "read_dicom",
    "read_folder_of_dicom",
    "read_nifti",
]
