"""Can the target be a mixture of the source's classes, as label shift says?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from medxfer_lab._checks import same_length, whole
from medxfer_lab.methods.shift_tests.mmd import pooled_distances
from medxfer_lab.metrics.intervals import check_level
from medxfer_lab.metrics.scores import binary_labels
from medxfer_lab.metrics.two_sample import monte_carlo_p_value, two_samples


@dataclass(frozen=True)
class MixtureFamilyTest:
    """Outcome of `mixture_family_test`.

    prevalence: rho in [0, 1] of the nearest mixture; raw: without the bounds (NaN where the classes
    cannot be told apart). low, high: interval of rho at ``level``, cut to [0, 1], meaningful only
    if the family fits. sizes: healthy and diseased source patients, target patients.
    """

    p_value: float
    statistic: float
    prevalence: float
    low: float
    high: float
    raw: float
    level: float
    sizes: tuple[int, int, int]
    method: str

    def rejects(self, alpha: float = 0.05) -> bool:
        """Whether the family is rejected at level ``alpha``."""
        return self.p_value <= alpha


def mixture_family_test(
    source: ArrayLike,
    source_labels: ArrayLike,
    target: ArrayLike,
    *,
    seed: int,
    resamples: int = 199,
    level: float = 0.95,
) -> MixtureFamilyTest:
    """Test that q(x) = (1 - rho) p(x | 0) + rho p(x | 1) for some rho in [0, 1].

    statistic: the energy distance E(rho) between target and mixture at its minimum. With d_ab the
    mean distance between patients of samples a and b (healthy 0, diseased 1, target t; within a
    sample over pairs of different patients, so that each term is unbiased) it is a parabola:

        E(rho) = E(0) - 2 g rho + a rho^2,
        a = 2 d_01 - d_00 - d_11,  g = d_0t - d_1t + d_01 - d_00,  E(0) = 2 d_0t - d_tt - d_00.

    E is zero in expectation only where target and mixture agree (Szekely and Rizzo, Journal of
    Statistical Planning and Inference 143 (2013) 1249-1272). Its null distribution is a bootstrap
    of a world in which the null holds: both classes are resampled, the target is drawn from the
    source's mixture at the fitted rho, and rho is fitted anew, so source and target error and the
    fit are all in it. |raw* - rho| of the same draws gives the interval. Asymptotic, not exact: a
    class of fewer than ten source patients makes the interval somewhat too short.

    What it cannot do. A covariate shift with w(x) = 1 + (rho - pi)(p(x|1) - p(x|0))/p(x) has *the
    same q(x)* as label shift to rho: not even infinitely many unlabelled patients tell the two
    apart. Selection along the log odds comes near it, so has little power. Concept shift leaves q
    alone. And it sees the columns passed: take a few that matter (the model's log odds, plus what a
    scanner would move), from patients the model was not trained on. Many idle columns cost power.

    Args:
        source: (n, k) or (n,). source_labels: (n,) of 0 and 1, two patients of each class at least.
        target: (m, k) or (m,), unlabelled. Columns are scaled by pooled standard deviation.
    """
    x, t = two_samples(source, target)
    y = binary_labels(source_labels)
    same_length("source", x.T, "source_labels", y)
    sizes = int((1 - y).sum()), int(y.sum()), len(t)
    if min(sizes) < 2:
        raise ValueError(
            f"source holds {sizes[0]} healthy and {sizes[1]} diseased patients; the spread of a "
            "class needs 2 of each: label more"
        )
    distance = pooled_distances(x, t)
    groups = np.zeros((3, 1, len(distance)))
    groups[0, 0, : len(x)], groups[1, 0, : len(x)], groups[2, 0, len(x) :] = 1 - y, y, 1
    (statistic,), (prevalence,), (raw,) = nearest_mixture(distance, groups)
    rng = np.random.default_rng((seed, 16))
    drawn = resampled_groups(y, prevalence, len(t), whole("resamples", resamples, 1), rng)
    null, _, redrawn = nearest_mixture(distance[: len(x), : len(x)], drawn)
    p = monte_carlo_p_value(float(statistic), null)
    # draws without a vertex say nothing about rho: they count as infinitely far
    error = np.nan_to_num(np.abs(redrawn - prevalence), nan=np.inf)
    half = np.quantile(error, check_level(level), method="higher")
    low, high = np.clip([raw - half, raw + half], 0, 1) if np.isfinite(raw + half) else (0, 1)
    outcome = (p, statistic, prevalence, low, high, raw, level)
    method = f"energy distance to the mixture family, {resamples} resamples"
    return MixtureFamilyTest(*map(float, outcome), sizes, method)


def nearest_mixture(
    distance: np.ndarray, groups: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Least E(rho) over [0, 1], its rho, and the parabola's vertex (NaN where a <= 0): each (B,).

    distance: (N, N). groups: (3, B, N), how often healthy, diseased and target hold each patient.
    """
    sums = groups @ distance
    sizes = groups[:, 0].sum(-1)

    def mean(a: int, b: int) -> np.ndarray:
        pairs = sizes[a] * (sizes[a] - 1) if a == b else sizes[a] * sizes[b]
        return np.einsum("bn,bn->b", sums[a], groups[b]) / pairs

    a = 2 * mean(0, 1) - mean(0, 0) - mean(1, 1)
    g = mean(0, 2) - mean(1, 2) + mean(0, 1) - mean(0, 0)
    at_zero = 2 * mean(0, 2) - mean(2, 2) - mean(0, 0)
    vertex = np.divide(g, a, out=np.full_like(g, np.nan), where=a > 0)
    # a parabola open downwards is least at an end
    rho = np.where(a > 0, np.clip(np.nan_to_num(vertex), 0, 1), a < 2 * g)
    return at_zero - 2 * g * rho + a * rho**2, rho, vertex


def resampled_groups(
    labels: np.ndarray, prevalence: float, m: int, resamples: int, rng: np.random.Generator
) -> np.ndarray:
    """Counts (3, B, n) of source patients in each redrawn class and in a target of the mixture."""
    shares = np.stack([(1 - labels) / (1 - labels).sum(), labels / labels.sum()])
    mixture = (1 - prevalence) * shares[0] + prevalence * shares[1]
    draws = zip([int((1 - labels).sum()), int(labels.sum()), m], [*shares, mixture / mixture.sum()])
    return np.stack([rng.multinomial(k, p, size=resamples) for k, p in draws]).astype(float)
