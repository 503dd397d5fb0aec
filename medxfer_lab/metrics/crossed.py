r"""Variance of predictions split between the training set and the seed, from a crossed design.

Every training set d = 1..D is trained with every seed s = 1..S (initialisation and order of
batches). At each test patient j, held fixed,

    f_ds = mu + a_d + b_s + c_ds,

with a, b, c uncorrelated, of mean 0, independent over their indices. a: what a training set does
whatever the seed; b: what a seed does whatever the data; c: the rest, their interaction together
with anything the seed does not fix (nondeterministic arithmetic). The variance of one prediction
with fresh data and a fresh seed is the sum of the three. Analysis of variance, with ma, mb the
means over the other factor,

    MS_data = S sum_d (ma_d - mean)^2/(D - 1)       expectation S Var a + Var c
    MS_seed = D sum_s (mb_s - mean)^2/(S - 1)       expectation D Var b + Var c
    MS_rest = sum_ds (f_ds - ma_d - mb_s + mean)^2/((D - 1)(S - 1))      expectation Var c

gives unbiased estimates of each; those of a and b may fall below 0 and are not clipped.

Intervals: the components are two-sample U-statistics, so both factors are jackknifed, one at a
time, the two variances added (Arvesen, Annals of Mathematical Statistics 40 (1969) 2076-2100),
with Satterthwaite's degrees of freedom. A bootstrap of both factors would be wrong here: repeated
rows and columns in a resample share their interaction, which moves it into other components. With
few levels (ten training sets by five seeds) intervals of nominal 95 % covered about 90 % in trials.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from medxfer_lab._checks import finite_array
from medxfer_lab.metrics.intervals import Interval, check_level, interval


@dataclass(frozen=True)
class CrossedVariance:
    """Variance components, averaged over patients; total = data + seed + interaction exactly."""

    data: Interval
    seed: Interval
    interaction: Interval
    total: Interval

    def record(self) -> dict:
        """The components as a nested dict of numbers, for a record."""
        names = ("data", "seed", "interaction", "total")
        return {name: getattr(self, name).record() for name in names}


def crossed_variance(predictions: ArrayLike, level: float = 0.95) -> CrossedVariance:
    """Variance components of data, seed and interaction, with jackknife intervals.

    Args:
        predictions: (D, S, n_test), D >= 3 training sets by S >= 3 seeds. Use (D, 2, n_test) with
            `components` when two seeds are all there is: estimates without intervals.
        level: of the intervals.
    """
    f = finite_array("predictions", predictions, 3)
    D, S, _ = f.shape
    if D < 3 or S < 3:
        raise ValueError(
            f"predictions hold {D} training sets and {S} seeds; intervals need at least 3 of each "
            "(metrics.crossed.components gives estimates from 2)"
        )
    estimate = components(f)
    without_data = np.stack([components(np.delete(f, d, 0)) for d in range(D)])
    without_seed = np.stack([components(np.delete(f, s, 1)) for s in range(S)])
    weights = np.vstack([np.eye(3), np.ones(3)])
    terms = [
        two_factor_interval(estimate @ w, without_data @ w, without_seed @ w, level)
        for w in weights
    ]
    return CrossedVariance(*terms)


def components(predictions: ArrayLike) -> np.ndarray:
    """Estimates (3,) of the variance of data, seed and interaction, from (D, S, n_test)."""
    f = finite_array("predictions", predictions, 3)
    D, S, _ = f.shape
    if D < 2 or S < 2:
        raise ValueError(f"predictions hold {D} training sets and {S} seeds; need 2 of each")
    mean = f.mean((0, 1))
    by_data, by_seed = f.mean(1) - mean, f.mean(0) - mean  # (D, n_test), (S, n_test)
    rest = f - mean - by_data[:, None] - by_seed[None]
    ms_data = S * (by_data**2).sum(0) / (D - 1)
    ms_seed = D * (by_seed**2).sum(0) / (S - 1)
    ms_rest = (rest**2).sum((0, 1)) / ((D - 1) * (S - 1))
    per_patient = np.stack([(ms_data - ms_rest) / S, (ms_seed - ms_rest) / D, ms_rest])
    return per_patient.mean(1)


def two_factor_interval(
    estimate: float, without_data: np.ndarray, without_seed: np.ndarray, level: float
) -> Interval:
    """Estimate +- t sqrt(jackknife variance over data + over seeds)."""
    D, S = len(without_data), len(without_seed)
    parts = [
        (k - 1) ** 2 * left.var(ddof=1) / k for k, left in ((D, without_data), (S, without_seed))
    ]
    total = sum(parts)
    freedom = total**2 / (parts[0] ** 2 / (D - 1) + parts[1] ** 2 / (S - 1)) if total > 0 else 1.0
    half = stats.t.ppf((1 + check_level(level)) / 2, freedom) * np.sqrt(total)
    return interval(estimate, estimate - half, estimate + half, D, level, "two-way jackknife t")
