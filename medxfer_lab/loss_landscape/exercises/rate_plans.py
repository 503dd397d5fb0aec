"""Layer-wise learning rates for five blocks, with the curvatures that they meet."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from medxfer_lab.loss_landscape.theory.descent import stable_step

BLOCKS = ("conv1", "conv2", "conv3", "conv4", "head")
VERDICTS = ("diverges", "depends", "safe")


@dataclass(frozen=True)
class Plan:
    """``curvature``, ``rate``: (5,), top eigenvalue and learning rate of each block. ``story``:
    how the head came to be as it is."""

    curvature: np.ndarray
    rate: np.ndarray
    decay: float
    momentum: float
    story: str

    @property
    def shares(self) -> np.ndarray:
        """Each rate as a share of the block's own edge, 2 (1 + momentum)/curvature: (5,)."""
        return self.rate / stable_step(self.curvature, self.momentum)

    @property
    def first(self) -> str:
        """The block that is nearest to its own edge, or farthest beyond."""
        return BLOCKS[int(self.shares.argmax())]

    @property
    def verdict(self) -> str:
        """What is known of all blocks at once: max shares <= lambda_max(S)/edge <= sum shares."""
        if self.shares.max() > 1:
            return "diverges"
        return "depends" if self.shares.sum() > 1 else "safe"

    @property
    def divide(self) -> float:
        """What all rates must be divided by for the shares to add up to 1."""
        return float(self.shares.sum())


_FRESH = "The head on top is fresh: it gives every slice the probability one half."
_TRAINED = "The head on top has been trained alone before."


def plans(seed: int) -> Iterator[Plan]:
    """Plans without end, all of one story and one verdict.

    Even seeds have a fresh head, where the curvature is largest: p (1 - p) is at one half, and what
    lies below is seen through the head's small weights. Odd seeds have a trained one and steep
    early blocks; in every other of them the steepest block does not go first.
    """
    rng = np.random.default_rng([seed, 53])
    fresh, verdict = seed % 2 == 0, VERDICTS[int(rng.integers(3))]
    high = [6, 5, 6, 9, 40] if fresh else [90, 25, 25, 8, 5]
    while True:
        curvature = np.array([float(f"{x:.2g}") for x in high * rng.uniform(0.3, 1, 5)])
        decay = float(rng.choice([0.4, 0.5, 0.6, 0.7]))
        head = float(f"{10 ** rng.uniform(-2, 0.3):.1g}")
        rate = np.array([float(f"{head * decay**k:.3g}") for k in range(4, -1, -1)])
        momentum = float(rng.choice([0.5, 0.6, 0.8, 0.9]))
        plan = Plan(curvature, rate, decay, momentum, _FRESH if fresh else _TRAINED)
        surprise = plan.curvature[BLOCKS.index(plan.first)] < plan.curvature.max()
        as_told = plan.first == "head" if fresh else surprise or seed % 4 == 3
        if as_told and plan.verdict == verdict:
            yield plan
