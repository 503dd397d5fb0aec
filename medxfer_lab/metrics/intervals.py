"""Confidence intervals. Every function says what is resampled; the seed is an argument."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from medxfer_lab._checks import number, whole

Statistic = Callable[[np.ndarray], Any]


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence interval; floats, or arrays of one shape for a curve.

    n counts the independent units the interval rests on (training sets by default).
    """

    estimate: float | np.ndarray
    low: float | np.ndarray
    high: float | np.ndarray
    n: int
    level: float
    method: str

    def __contains__(self, value: float) -> bool:
        return bool(self.low <= value <= self.high)

    def record(self) -> dict:
        """As a leaf of an experiment's record: mean, low, high, n, level, method."""
        plain = {
            key: np.asarray(value).tolist()
            for key, value in (("mean", self.estimate), ("low", self.low), ("high", self.high))
        }
        return plain | {"n": self.n, "level": self.level, "method": self.method}


def mean_interval(values: ArrayLike, level: float = 0.95) -> Interval:
    """Student's t interval for the mean of independent rows: mean +- t_{m-1} sd/sqrt(m).

    values: (m,), or (m, k) for k means at once. For differences pass paired differences. Prefer
    this to the bootstrap for a plain mean of few rows: the percentile bootstrap is too short, by
    a factor sqrt((m-1)/m) z/t (18 % at m = 10, 6 % at m = 30).
    """
    values = independent_rows("values", values)
    m = len(values)
    half = stats.t.ppf((1 + check_level(level)) / 2, m - 1) * values.std(0, ddof=1) / np.sqrt(m)
    mean = values.mean(0)
    return interval(mean, mean - half, mean + half, m, level, "t")


def pseudo_value_interval(
    whole_estimate: ArrayLike, leave_one_out: ArrayLike, level: float = 0.95
) -> Interval:
    """Jackknife interval from an estimate and its m leave-one-out values (Tukey's pseudo-values).

    pseudo_i = m T - (m - 1) T_{-i}; estimate = their mean (bias-corrected T), interval by Student's
    t with m - 1 degrees of freedom. For U-statistics the estimate is T itself and the variance is
    consistent (Arvesen, Annals of Mathematical Statistics 40 (1969) 2076-2100) and on average not
    too small (Efron and Stein, Annals of Statistics 9 (1981) 586-596).

    whole_estimate: () or (k,). leave_one_out: (m,) or (m, k).
    """
    leave_one_out = independent_rows("leave_one_out", leave_one_out)
    m = len(leave_one_out)
    pseudo = m * np.asarray(whole_estimate, float) - (m - 1) * leave_one_out
    t = mean_interval(pseudo, level)
    return interval(t.estimate, t.low, t.high, m, level, "jackknife t")


def bootstrap_interval(
    values: ArrayLike,
    statistic: Statistic | None = None,
    *,
    seed: int | np.random.Generator,
    level: float = 0.95,
    resamples: int = 2000,
    method: str = "percentile",
) -> Interval:
    """Bootstrap interval of `statistic(values)`; whole rows are resampled with replacement.

    Rows must be the independent units: training sets for "how would this look with other training
    sets", patients for "with other patients" (transpose first). What is not resampled is held
    fixed, and the interval does not cover it.

    Do not use it for the corrected bias2 of `decompose_squared`: a resample holds repeated rows,
    whose shared noise puts variance/m back into bias2. That function has its own intervals.

    Args:
        values: (m, ...) rows. statistic: maps (m, ...) to a float or an array; None is the mean.
        method: "percentile", or "bca" (bias-corrected and accelerated; Efron, JASA 82 (1987)
            171-185), better for skewed statistics, needs m more evaluations.
    """
    values = independent_rows("values", values)
    index = resampled_rows(len(values), seed, resamples)
    if statistic is None:
        weights = counts(index)  # a mean of resampled rows is a weighted mean: one product
        draws = np.tensordot(weights / len(values), values, 1)
        estimate = values.mean(0)
    else:
        draws = np.array([statistic(values[rows]) for rows in index])
        estimate = np.asarray(statistic(values))
    rest = (lambda i: np.delete(values, i, 0)) if method == "bca" else None
    low, high = limits(draws, estimate, level, method, len(values), rest, statistic)
    return interval(estimate, low, high, len(values), level, f"{method} bootstrap")


def paired_bootstrap_interval(
    first: ArrayLike,
    second: ArrayLike,
    statistic: Statistic | None = None,
    *,
    seed: int | np.random.Generator,
    level: float = 0.95,
    resamples: int = 2000,
    method: str = "percentile",
) -> Interval:
    """Bootstrap interval of statistic(first) - statistic(second); rows resampled *together*.

    Row i of both must come from the same training set (or the same patient): pairing removes what
    they share from the comparison. Arguments as in `bootstrap_interval`.
    """
    a, b = independent_rows("first", first), independent_rows("second", second)
    if len(a) != len(b):
        raise ValueError(
            f"first has {len(a)} rows and second {len(b)}; pairs need the same training sets in "
            "the same order: match them by seed first"
        )
    if statistic is None:
        if a.shape != b.shape:
            raise ValueError(f"rows differ in shape: {a.shape[1:]} against {b.shape[1:]}")
        return bootstrap_interval(a - b, seed=seed, level=level, resamples=resamples, method=method)
    order = np.arange(len(a))

    def difference(rows: np.ndarray) -> np.ndarray:
        return np.asarray(statistic(a[rows])) - np.asarray(statistic(b[rows]))

    return bootstrap_interval(
        order, difference, seed=seed, level=level, resamples=resamples, method=method
    )


def limits(draws, estimate, level, method, m, rest, statistic) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper end from bootstrap draws (B, ...), percentile or BCa."""
    tail = (1 - check_level(level)) / 2
    if method == "percentile":
        low, high = np.quantile(draws, [tail, 1 - tail], axis=0)
        return low, high
    if method != "bca":
        raise ValueError(f'method is {method!r}; expected "percentile" or "bca"')
    left_out = np.array([(statistic or (lambda v: v.mean(0)))(rest(i)) for i in range(m)])
    deviation = left_out.mean(0) - left_out
    with np.errstate(invalid="ignore", divide="ignore"):
        acceleration = (deviation**3).sum(0) / (6 * (deviation**2).sum(0) ** 1.5)
        below = ((draws < estimate).mean(0) + (draws <= estimate).mean(0)) / 2
        shift = stats.norm.ppf(below)
    ends = []
    for z in stats.norm.ppf([tail, 1 - tail]):
        share = stats.norm.cdf(shift + (shift + z) / (1 - acceleration * (shift + z)))
        ends.append(columnwise_quantile(draws, np.nan_to_num(share, nan=stats.norm.cdf(z))))
    return ends[0], ends[1]


def columnwise_quantile(draws: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Quantile of each column of draws (B, ...) at its own share (...)."""
    flat, shares = draws.reshape(len(draws), -1), np.reshape(share, -1)
    result = [np.quantile(column, q) for column, q in zip(flat.T, shares)]
    return np.reshape(result, draws.shape[1:])


def resampled_rows(m: int, seed: int | np.random.Generator, resamples: int) -> np.ndarray:
    """Row numbers of each resample: (resamples, m) drawn with replacement from range(m)."""
    return np.random.default_rng(seed).integers(m, size=(whole("resamples", resamples, 1), m))


def counts(index: np.ndarray) -> np.ndarray:
    """How often each resample holds each row: (B, m) from row numbers (B, m)."""
    m = index.shape[1]
    flat = index + m * np.arange(len(index))[:, None]
    return np.bincount(flat.ravel(), minlength=index.size).reshape(index.shape)


def independent_rows(name: str, values: ArrayLike) -> np.ndarray:
    """`values` as an array of at least two finite rows; integers stay integers (row numbers)."""
    array = np.asarray(values)
    if array.ndim == 0 or len(array) < 2:
        raise ValueError(
            f"{name} has shape {array.shape}; an interval needs at least 2 independent rows"
        )
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds NaN or infinite values: remove or repair those runs first")
    return array


def check_level(level: float) -> float:
    """Confidence level in (0, 1)."""
    level = number("level", level, 0.0, 1.0, open_low=True)
    if level == 1.0:
        raise ValueError("level is 1; an interval with certainty is infinite: use 0.95, say")
    return level


def interval(estimate, low, high, n: int, level: float, method: str) -> Interval:
    """Interval with plain floats where the estimate is one number."""
    if np.ndim(estimate) == 0:
        estimate, low, high = float(estimate), float(low), float(high)
    return Interval(estimate, low, high, n, float(level), method)
