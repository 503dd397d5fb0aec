"""Simulated pictures of the four modalities for the experiments of this page."""

from __future__ import annotations

import torch
from torch import Tensor

from medxfer_lab.imaging import ADULTS, Burden, Disease, draw_patients, normalize, tissue
from medxfer_lab.imaging.scanners import (
    CT_CONTRAST,
    CT_ROUTINE,
    CT_SHARP_LOW_DOSE,
    CURVED_8,
    FLAIR,
    FLAIR_3T,
    LINEAR_12,
    PD,
    PHASED_5,
    RADIOGRAPH_FRONTAL,
    RADIOGRAPH_LATERAL,
    T1,
    T1_3T,
    T1_POST,
    T2,
    Scanner,
)
from medxfer_lab.imaging.scanners.mri import PRESETS as MRI_PRESETS
from medxfer_lab.nets.network import resize

MODALITIES = ("MR", "CT", "ultrasound", "radiograph")
#: whole heads, half of them with a glioma, some with other lesions
BURDEN = Burden(
    halo=(1.0, 1.6),
    others=(
        Disease("metastasis", mean=0.5),
        Disease("haemorrhage", mean=0.3, volume_ml=(2.0, 20.0)),
        Disease("calcification", mean=0.3, volume_ml=(0.05, 1.0)),
    ),
)
#: scanners by modality; patients take turns at them
SCANNERS: dict[str, tuple[Scanner, ...]] = {
    "MR": (FLAIR, T1, T2, PD, T1_POST, FLAIR_3T, T1_3T),
    "CT": (CT_ROUTINE, CT_CONTRAST),
    "ultrasound": (PHASED_5, CURVED_8),
    "radiograph": (RADIOGRAPH_LATERAL,),
}
#: vendors, dose, frequency and projection that no classifier was trained on
UNSEEN_SCANNERS: dict[str, tuple[Scanner, ...]] = {
    "MR": tuple(
        MRI_PRESETS[f"Merganser {s.name}"] for s in (FLAIR, T1, T2, PD, T1_POST, FLAIR_3T, T1_3T)
    ),
    "CT": (CT_SHARP_LOW_DOSE,),
    "ultrasound": (LINEAR_12,),
    "radiograph": (RADIOGRAPH_FRONTAL,),
}
_VOLUMES_AT_A_TIME = 2


def pictures(scanners: tuple[Scanner, ...], n: int, seed: int, size: int = 96) -> Tensor:
    """n patients of ADULTS with BURDEN, the i-th on scanner i modulo their number.

    Returns (n, 1, size, size) in the scanners' units, MONOCHROME1 turned round as the reader of
    DICOM files does: bright is more in every picture.
    """
    return several([scanners], n, seed, size)[0]


def several(groups: list[tuple[Scanner, ...]], n: int, seed: int, size: int = 96) -> list[Tensor]:
    """As :func:`pictures`, the same patients on each group of scanners, rendered once a view."""
    patients = draw_patients(n, seed, ADULTS, BURDEN)
    made = [torch.zeros(n, 1, size, size) for _ in groups]
    turns = [[group[i % len(group)] for i in range(n)] for group in groups]
    for view in dict.fromkeys(scanner.view for turn in turns for scanner in turn):
        step = _VOLUMES_AT_A_TIME if view.plane == "volume" else n
        for start in range(0, n, step):
            rows = range(start, min(start + step, n))
            if not any(turn[i].view == view for turn in turns for i in rows):
                continue
            part = patients.take(slice(start, start + step))
            fractions, _ = tissue(part, size, view=view)
            for turn, images in zip(turns, made):
                for scanner in dict.fromkeys(turn[i] for i in rows if turn[i].view == view):
                    mine = [i for i in rows if turn[i] == scanner]
                    local = [i - start for i in mine]
                    got = scanner.acquire(fractions[local], part.ids[local], seed)
                    images[mine] = _bright_is_more(got, scanner)
    return made


def as_shown(image: Tensor, size: int = 96) -> Tensor:
    """What a classifier sees of any picture: (H, W) in any unit -> (1, 1, size, size) in [0, 1].

    The middle square, averaged over area (or interpolated, if it is smaller) to ``size`` pixels,
    then its 1st and 99.5th percentile to 0 and 1. Simulated and real pictures alike.
    """
    edge = min(image.shape[-2:])
    top, left = ((length - edge) // 2 for length in image.shape[-2:])
    square = image[top : top + edge, left : left + edge][None, None].float()
    return normalize.percentile(resize(square, size))


def _bright_is_more(images: Tensor, scanner: Scanner) -> Tensor:
    if scanner.units != "MONOCHROME1":
        return images
    return scanner.highest_value - images
