"""The simulated people who pose for the reference pages: always the same, so that pages agree."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

from torch import Tensor

from medxfer_lab.imaging import ADULTS, HEALTHY, MRI, Burden, Disease, Patients, View, tissue
from medxfer_lab.imaging.draw import draw_patients
from medxfer_lab.imaging.scanners import Scanner

NOT_CLINICAL = "Simulated, not for clinical use"
#: slices through the lateral ventricles: the part of the head that readers recognise
ADULTS_AT_VENTRICLES = replace(ADULTS, slice_mm=(12.0, 24.0))
#: pixels along a slice, and voxels along a volume: what two cores draw in seconds
SLICE, VOLUME = 160, 128

#: more than one person should have to carry: each scanner shows some of it and hides the rest
_ALL_AT_ONCE = Burden(
    affected=1.0,
    volume_ml=(18.0, 26.0),
    infiltration=(0.6, 0.7),
    lookalikes=0.0,
    halo=(1.35, 1.45),
    others=(
        Disease("metastasis", at_least=1, most=1, volume_ml=(1.5, 2.0), halo=(1.9, 2.1)),
        Disease("haemorrhage", at_least=1, most=1, volume_ml=(5.0, 7.0), irregularity=0.1),
        Disease("calcification", at_least=1, most=1, volume_ml=(0.8, 1.0)),
    ),
)


_TUMOURS = replace(_ALL_AT_ONCE, others=_ALL_AT_ONCE.others[:1])


@lru_cache(maxsize=1)
def everything() -> Patients:
    """One patient with a glioma in its oedema, a metastasis, a fresh bleed and a calcification."""
    return draw_patients(1, seed=71, population=ADULTS_AT_VENTRICLES, burden=_ALL_AT_ONCE)


@lru_cache(maxsize=1)
def tumours() -> Patients:
    """Another one with a glioma and a metastasis: nothing that ultrasound cannot see through."""
    return draw_patients(1, seed=74, population=ADULTS_AT_VENTRICLES, burden=_TUMOURS)


@lru_cache(maxsize=1)
def healthy() -> Patients:
    """Six people without disease."""
    return draw_patients(6, seed=21, population=ADULTS_AT_VENTRICLES, burden=HEALTHY)


@lru_cache(maxsize=16)
def seen_through(view: View, who: Callable[[], Patients] = everything) -> Tensor:
    """The tissue of one patient in a view: (1, 11, ...), kept for the next frame."""
    size = VOLUME if view.plane == "volume" else SLICE
    return tissue(who(), size, view=view)[0]


def scan(scanner: Scanner, seed: int = 7, who: Callable[[], Patients] = everything) -> Tensor:
    """The picture of one patient on a scanner: (H, W), the scanner's units."""
    return scanner.acquire(seen_through(scanner.view, who), who().ids, seed)[0, 0]


def whole_head(scanner: MRI) -> MRI:
    """The same sequence with a field of view that holds the skull."""
    return replace(scanner, field_of_view_mm=240.0)
