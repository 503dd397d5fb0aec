"""Small files made for the tests: DICOM with chosen fields, NIfTI with chosen headers."""

from __future__ import annotations

import gzip
import io
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    RLELossless,
)


def pydicom_files() -> list[Path]:
    """Every file of pydicom's own test set and of pydicom-data, without a download."""
    import data_store

    own = Path(pydicom.__file__).parent / "data" / "test_files"
    data = Path(next(iter(data_store.__path__))) / "data"
    return sorted(path for folder in (own, data) for path in folder.rglob("*") if path.is_file())


def pydicom_file(name: str) -> Path:
    return next(path for path in pydicom_files() if path.name == name)


def dicom_dataset(stored: np.ndarray, **tags: Any) -> Dataset:
    """A CT slice of ``stored`` integers (frames, rows, columns) or (rows, columns)."""
    header = Dataset()
    header.SOPClassUID, header.SOPInstanceUID = CTImageStorage, pydicom.uid.generate_uid()
    header.Modality, header.PatientID = "CT", "P1"
    header.Rows, header.Columns = stored.shape[-2:]
    if stored.ndim == 3:
        header.NumberOfFrames = len(stored)
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
    bits = 8 * stored.dtype.itemsize
    header.BitsAllocated = header.BitsStored = bits
    header.HighBit = bits - 1
    header.PixelRepresentation = int(stored.dtype.kind == "i")
    header.PixelData = stored.tobytes() + b"\0" * (stored.nbytes % 2)
    header["PixelData"].VR = "OB" if bits == 8 else "OW"
    for keyword, value in tags.items():
        if value is None:
            delattr(header, keyword)
        else:
            setattr(header, keyword, value)
    return header


def dicom_bytes(header: Dataset, syntax: str = ExplicitVRLittleEndian) -> bytes:
    """The file of a data set, its pixel data as they are (already compressed, for RLE)."""
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = syntax
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, header, enforce_file_format=True)
    return buffer.getvalue()


def write_dicom(path: Path, stored: np.ndarray, **tags: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(dicom_bytes(dicom_dataset(stored, **tags)))
    return path


def rle_bytes(frames: list[bytes], stored: np.ndarray, **tags: Any) -> bytes:
    """A file of RLE frames as given, whatever they hold."""
    header = dicom_dataset(stored, **tags)
    header.PixelData = pydicom.encaps.encapsulate(frames)
    return dicom_bytes(header, RLELossless)


def deflated_bytes(stored: np.ndarray, **tags: Any) -> bytes:
    return dicom_bytes(dicom_dataset(stored, **tags), DeflatedExplicitVRLittleEndian)


def item(**tags: Any) -> Dataset:
    found = Dataset()
    for keyword, value in tags.items():
        setattr(found, keyword, value)
    return found


def items(*each: Dataset) -> Sequence:
    return Sequence(each)


def slice_tags(height: float, series: str = "1.2.3", **tags: Any) -> dict[str, Any]:
    """What a slice of a volume says of its place: axial, 2 x 0.5 mm pixels, at ``height`` mm."""
    return {
        "SeriesInstanceUID": series,
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "ImagePositionPatient": [-10, -20, height],
        "PixelSpacing": [2, 0.5],
        **tags,
    }


def nifti_bytes(
    voxels: np.ndarray, affine: np.ndarray | None = None, zipped: bool = False, **fields: Any
) -> bytes:
    """A NIfTI-1 file; ``fields`` overwrite those of the header, however absurd."""
    import nibabel

    image = nibabel.Nifti1Image(voxels, np.eye(4) if affine is None else affine)
    image.header.set_xyzt_units("mm")
    data = bytearray(image.to_bytes())
    header = nibabel.Nifti1Header(bytes(data[:348]), check=False)
    for name, value in fields.items():
        header[name] = value
    data[:348] = header.binaryblock
    return gzip.compress(bytes(data), mtime=0) if zipped else bytes(data)
