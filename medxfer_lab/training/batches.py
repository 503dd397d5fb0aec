"""Which patients a step sees, drawn from a seed: the same for one network and for many."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batches:
    """index: (steps, b) rows of the training set; mirrored: (steps, b) bool, or None."""

    index: Tensor
    mirrored: Tensor | None


def draw_batches(n: int, batch_size: int, steps: int, seed: int, flip: bool = False) -> Batches:
    """Mini-batches with replacement across epochs, without within one; an epoch's rest is left.

    flip: each picture of each step is mirrored with probability one half.
    """
    generator = torch.Generator().manual_seed(seed)
    size = min(batch_size, n)
    index = torch.empty(steps, size, dtype=torch.long)
    mirrored = torch.empty(steps, size, dtype=torch.bool) if flip else None
    order = torch.empty(0, dtype=torch.long)
    for step in range(steps):
        if len(order) < size:
            order = torch.randperm(n, generator=generator)
        index[step], order = order[:size], order[size:]
        if mirrored is not None:
            mirrored[step] = torch.rand(size, generator=generator) < 0.5
    return Batches(index, mirrored)
