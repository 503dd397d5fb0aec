"""Scanners: physics from tissue to pixel, one modality a file.

A scanner is a frozen dataclass of physical parameters with units. Vendors are named presets.
"""

from medxfer_lab.imaging.scanners.base import Scanner
from medxfer_lab.imaging.scanners.mri import FLAIR, MRI, T1

__all__ = ["FLAIR", "MRI", "Scanner", "T1"]
