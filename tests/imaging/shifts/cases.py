"""Cohorts of one-pixel images: every distribution over (x, y) can be written down and counted."""

from __future__ import annotations

import torch
from torch import Tensor

from medxfer_lab.imaging import Cohort


def cohort_of(x: Tensor, y: Tensor, **known) -> Cohort:
    """x: (n,) pixel values. y: (n,) labels."""
    return Cohort(
        images=x.float()[:, None, None, None],
        labels=y.float(),
        patient_ids=torch.arange(len(y)),
        **known,
    )


def pixel(images: Tensor) -> Tensor:
    """The image itself: (n, 1, 1, 1) -> (n,)."""
    return images[:, 0, 0, 0]


def small() -> Cohort:
    """24 patients; x in {0, 1, 2}; y depends on x."""
    x = torch.tensor([0] * 10 + [1] * 8 + [2] * 6)
    y = torch.tensor([0] * 8 + [1] * 2 + [0] * 4 + [1] * 4 + [0] * 1 + [1] * 5)
    return cohort_of(x, y)
