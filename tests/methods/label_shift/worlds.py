"""Finite worlds for the tests: samples in the exact proportions of p(x|y), so nothing is random."""

from __future__ import annotations

import numpy as np

HEALTHY = np.array([10, 6, 3, 1])  # patients per picture among 20 healthy
DISEASED = np.array([1, 4, 5, 10])


def exact_sample(healthy: int, diseased: int) -> tuple[np.ndarray, np.ndarray]:
    """Pictures 0..3 and labels of 20 * healthy and 20 * diseased patients, exactly p(x|y)."""
    counts = np.concatenate([healthy * HEALTHY, diseased * DISEASED])
    pictures = np.repeat(np.tile(np.arange(4), 2), counts)
    return pictures, np.repeat([0, 1], [20 * healthy, 20 * diseased])


def posterior(prevalence: float) -> np.ndarray:
    """The true P(y=1|picture), (4,)."""
    diseased, healthy = prevalence * DISEASED, (1 - prevalence) * HEALTHY
    return diseased / (diseased + healthy)
