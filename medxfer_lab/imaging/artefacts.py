"""Marks that a scanner leaves and no patient has: the stuff that shortcuts are made of."""

from __future__ import annotations

import torch
from torch import Tensor


def zipper(images: Tensor, present: Tensor, strength: float = 0.35, row: float = 0.12) -> Tensor:
    """A radio-frequency zipper: one row of alternating bright and dark pixels across the image.

    It comes from a radio signal that leaks into the scanner room and sits at the row of that
    frequency, whoever lies inside. images: (n, 1, H, W), any unit. present: (n,) true where the
    zipper is. strength: its amplitude as a share of the image's 95th percentile. row: its height,
    0 is the top and 1 the bottom. Returns a copy.
    """
    if present.shape != images.shape[:1]:
        raise ValueError(
            f"present has shape {tuple(present.shape)}; expected one value for each of the "
            f"{len(images)} images"
        )
    if not 0 <= row < 1:
        raise ValueError(f"row is {row}; it is a share of the height in [0, 1)")
    height, width = images.shape[-2:]
    level = torch.quantile(images.flatten(1).float(), 0.95, dim=1)
    wave = 1.0 - 2.0 * (torch.arange(width) // 2 % 2)  # ++--++--: survives halving the resolution
    marked = images.clone()
    line = marked[:, :, int(row * height), :] + (strength * level * present.float())[
        :, None, None
    ] * wave.to(images)
    marked[:, :, int(row * height), :] = line.abs()  # a magnitude image has no negative pixels
    return marked
