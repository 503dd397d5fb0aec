"""The few real pictures that ship in packages, each looked at, named, and told where it comes from.

They come with pydicom, nibabel and matplotlib, on which the course depends, and with two extras,
pydicom-data and scikit-image; nothing is ever fetched. One file is taken of each picture: the many
other encodings, crops and colour variants of the same acquisition are left out, as are pictures
below 48 pixels (thumbnails of 16 x 16 and 32 x 32). They are a convenience sample of some twenty
people and as many body parts: enough to see what the simulation lacks, not to estimate anything
about hospitals.
"""

from __future__ import annotations

import hashlib
import importlib.util
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from medxfer_lab.imaging.archive import Picture, read_dicom, read_nifti

#: DICOM's letters, and what the pages call them; CR and DX are both radiographs
MODALITIES = {"MR": "MR", "CT": "CT", "US": "ultrasound", "CR": "radiograph", "DX": "radiograph"}
#: below this a CT pixel was never measured: the scanner's range, and its padding value, end here
LOWEST_HU = -1024.0

_FOLDERS = {
    "pydicom": ("pydicom", "data/test_files"),
    "pydicom-data": ("data_store", "data"),
    "nibabel": ("nibabel", "tests/data"),
    "matplotlib": ("matplotlib", "mpl-data/sample_data"),
    "scikit-image": ("skimage", "data"),
}
_EXTRAS = ("pydicom-data", "scikit-image")


@dataclass(frozen=True)
class Source:
    """Where a picture lies and what a look at it says.

    modality: as in the file, or as its package documents it. region: of the body; a word in
    brackets is our reading of the picture, not the file's. head: shows the head as the simulation
    does. frame: of a cine or a volume. area: (top, bottom, left, right) pixels that hold anatomy
    rather than text, chosen by eye; None is all of it. derived: computed, not acquired as shown.
    """

    package: str
    file: str
    modality: str
    region: str
    head: bool = False
    frame: int | None = None
    area: tuple[int, int, int, int] | None = None
    derived: bool = False
    remark: str = ""


SOURCES: dict[str, Source] = {
    "mr_head_axial": Source(
        "nibabel", "example4d.nii.gz", "MR", "head, axial", True, 12, remark="skull hardly seen"
    ),
    "mr_head_sagittal": Source("matplotlib", "s1045.ima.gz", "MR", "head, sagittal"),
    "mr_head_cutout": Source(
        "pydicom-data", "emri_small.dcm", "MR", "head, a cutout of 64 x 64", frame=5
    ),
    "mr_cutout": Source("pydicom", "MR_small.dcm", "MR", "not recorded, a cutout of 64 x 64"),
    "mr_shoulder": Source("pydicom-data", "MR2_UNCR.dcm", "MR", "shoulder"),
    "mr_abdomen": Source(
        "pydicom-data", "MR-SIEMENS-DICOM-WithOverlays.dcm", "MR", "abdomen", derived=True
    ),
    "ct_head": Source(
        "pydicom-data", "693_UNCR.dcm", "CT", "head", True, remark="head rest in the picture"
    ),
    "ct_skull_base": Source("pydicom", "J2K_pixelrep_mismatch.dcm", "CT", "head, base", True),
    "ct_spine": Source("pydicom", "CT_small.dcm", "CT", "[chest, spine], a cutout of 128 x 128"),
    "ct_abdomen": Source(
        "pydicom-data", "explicit_VR-UN.dcm", "CT", "abdomen", remark="table on top"
    ),
    "ct_perfusion": Source(
        "pydicom-data",
        "eCT_Supplemental.dcm",
        "CT",
        "head, brain only",
        frame=0,
        derived=True,
        remark="a perfusion series: skull and vessels cut out",
    ),
    "radiograph_chest": Source("pydicom-data", "RG1_UNCR.dcm", "CR", "chest"),
    "radiograph_leg": Source(
        "pydicom-data", "RG3_UNCR.dcm", "CR", "leg", area=(20, 1740, 450, 1210)
    ),
    "us_lymph_node": Source(
        "pydicom-data",
        "US1_UNCR.dcm",
        "US",
        "lymph node",
        area=(112, 330, 40, 590),
        remark="power Doppler and text burnt in",
    ),
    "us_heart": Source(
        "pydicom-data",
        "color3d_jpeg_baseline.dcm",
        "US",
        "heart",
        frame=60,
        area=(80, 400, 230, 450),
    ),
    "us_transoesophageal": Source(
        "pydicom-data",
        "color-px.dcm",
        "US",
        "heart, from the oesophagus",
        area=(20, 110, 80, 230),
        remark="colour Doppler",
    ),
    "us_pelvis": Source(
        "pydicom-data", "gdcm-US-ALOKA-16.dcm", "US", "pelvis", area=(200, 410, 350, 590)
    ),
    "us_obstetric": Source(
        "pydicom-data",
        "OBXXXX1A.dcm",
        "US",
        "obstetric setting, [probe in air]",
        area=(75, 480, 330, 620),
        remark="reverberation only",
    ),
    "us_thumbnail": Source(
        "pydicom", "ExplVR_BigEnd.dcm", "US", "not recorded", remark="60 x 80, nearly one grey"
    ),
    "retina": Source("scikit-image", "retina.jpg", "other", "eye, photograph of the fundus"),
    "tissue_section": Source("scikit-image", "ihc.png", "other", "colon, stained section"),
    "microaneurysms": Source("scikit-image", "microaneurysms.png", "other", "eye, vessels"),
    "cell": Source("scikit-image", "cell.png", "other", "cultured cell"),
}
#: real, of a modality named here, and yet not used
LEFT_OUT = {
    "bad_sequence.dcm": "CT of a neck: JPEG Lossless, for which no decoder is installed",
    "JPGLosslessP14SV1_1s_1f_8b.dcm": "ultrasound: JPEG Lossless, no decoder is installed",
    "slicethickness_empty_string.dcm": "MR angiography of nibabel: a strip of a projection",
    "0.dcm, 1.dcm": "MR diffusion of nibabel: the pixels were replaced by a ramp",
    "dicomdirtests, charset_files": "CT, MR and radiographs shrunk to 16 x 16 or 32 x 32",
}


@dataclass(frozen=True)
class RealPicture:
    """A picture under its name; pixels and units in ``picture``."""

    name: str
    source: Source
    picture: Picture

    @property
    def modality(self) -> str:
        """MR, CT, ultrasound, radiograph or other."""
        return MODALITIES.get(self.source.modality, "other")

    @property
    def spacing_mm(self) -> float | None:
        """Edge length of a pixel; None where it is unknown or pixels are not square."""
        known = self.picture.spacing_mm
        if known is None or abs(known[1] / known[2] - 1) > 0.01:
            return None
        return float(known[2])

    def grey(self, area: bool = False) -> Tensor:
        """(H, W) float32: colours averaged, CT not below -1024 HU; only the scan's ``area``."""
        pixels = self.picture.pixels[0].mean(0)
        if self.picture.units == "HU":
            pixels = pixels.clamp(min=LOWEST_HU)
        if not area or self.source.area is None:
            return pixels
        top, bottom, left, right = self.source.area
        return pixels[top:bottom, left:right]


def path_of(name: str) -> Path | None:
    """Where a picture's file lies; None if its package is not installed or lacks it."""
    source = SOURCES[name]
    package, folder = _FOLDERS[source.package]
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return None
    path = Path(list(spec.submodule_search_locations)[0]) / folder / source.file
    return path if path.is_file() else None


def real_pictures(modalities: tuple[str, ...] | None = None) -> dict[str, RealPicture]:
    """Every picture that is installed, by name; only these ``modalities`` (default: all)."""
    found = {}
    for name, source in SOURCES.items():
        wanted = modalities is None or MODALITIES.get(source.modality, "other") in modalities
        if wanted and path_of(name) is not None:
            found[name] = _read(name)
    return found


def missing() -> str:
    """In words, which pictures are not here and what brings them; empty if all are."""
    gone = [name for name in SOURCES if path_of(name) is None]
    if not gone:
        return ""
    packages = sorted({SOURCES[name].package for name in gone})
    return (
        f"{len(gone)} of {len(SOURCES)} real pictures are missing ({', '.join(gone)}): they come "
        f"with {', '.join(packages)}; `pip install {' '.join(packages)}` brings them"
    )


def digests() -> dict[str, str]:
    """SHA-256 of every installed file by picture: part of the fingerprint of what rests on them."""
    return {
        name: hashlib.sha256(path.read_bytes()).hexdigest()
        for name in SOURCES
        if (path := path_of(name)) is not None and SOURCES[name].package != "scikit-image"
    }


@lru_cache(maxsize=32)
def _read(name: str) -> RealPicture:
    source, path = SOURCES[name], path_of(name)
    if path.suffix == ".dcm":
        picture = read_dicom(path, frame=source.frame)
    elif path.name.endswith(".nii.gz"):
        volume = read_nifti(path, volume=0)
        picture = _picture(volume.pixels[source.frame], path, volume.spacing_mm)
    elif path.name.endswith(".ima.gz"):
        picture = _picture(_big_endian_square(path), path)
    else:
        from PIL import Image

        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"), dtype=np.float32)
        picture = _picture(torch.from_numpy(pixels).movedim(-1, 0), path)
    return RealPicture(name, source, picture)


def _big_endian_square(path: Path) -> Tensor:
    """A square of 16-bit numbers without a header, most significant byte first: (1, H, H)."""
    import gzip

    with gzip.open(path) as file:
        values = np.frombuffer(file.read(), dtype=">u2").astype(np.float32)
    edge = round(len(values) ** 0.5)
    return torch.from_numpy(values.reshape(1, edge, edge))


def _picture(pixels: Tensor, path: Path, spacing_mm: tuple | None = None) -> Picture:
    """One frame (C, H, W) as a picture."""
    return Picture(pixels[None], units="stored values", source=str(path), spacing_mm=spacing_mm)
