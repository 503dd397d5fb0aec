"""What every scanner has in common."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from torch import Tensor

from medxfer_lab.imaging.geometry import View


class Scanner(Protocol):
    """A frozen dataclass of physical parameters that turns tissue into pixels.

    name: what the scanner is called on a page. units: the unit of a pixel, e.g. "HU".
    view: which part of a patient the scanner needs to see.
    """

    @property
    def name(self) -> str: ...

    @property
    def units(self) -> str: ...

    @property
    def view(self) -> View: ...

    def acquire(self, fractions: Tensor, ids: Tensor, seed: int) -> Tensor:
        """Image patients: (n, C, ...) tissue fractions seen through ``view`` -> (n, 1, H, W).

        Whatever is random about patient ``id`` comes from ``stream(seed, id)``: neither from the
        batch it is imaged in nor from the other patients.
        """
        ...


def stream(seed: int, patient_id: int) -> np.random.Generator:
    """The random stream of one patient's examination: bias field, noise, speckle."""
    return np.random.default_rng((seed, 2, int(patient_id)))
