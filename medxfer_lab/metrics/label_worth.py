"""How many labels a network trained from scratch needs to match a transferred one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from medxfer_lab._checks import finite_array, same_length
from medxfer_lab.metrics.intervals import check_level, resampled_rows


@dataclass(frozen=True)
class LabelWorth:
    """At one training size: scratch labels that do what `size` transferred labels do.

    scratch_labels, low, high are numbers of labels; inf and 0 stand for "beyond the largest" and
    "below the smallest" size that was measured, and `censored` says so: "", "above" or "below".
    """

    size: float
    target: float
    scratch_labels: float
    low: float
    high: float
    smallest: float
    largest: float

    @property
    def censored(self) -> str:
        """ "above", "below" or "": whether the answer lies outside the sizes measured."""
        return {np.inf: "above", 0.0: "below"}.get(self.scratch_labels, "")

    @property
    def worth(self) -> float:
        """Scratch labels per transferred label; inf or 0 when censored."""
        return self.scratch_labels / self.size

    def record(self) -> dict:
        """For a record: numbers, or ">1000", "<16" where censored (no infinities)."""
        return {
            "size": self.size,
            "target": self.target,
            "mean": self.said(self.scratch_labels),
            "low": self.said(self.low),
            "high": self.said(self.high),
            "censored": self.censored,
        }

    def said(self, labels: float) -> float | str:
        if np.isinf(labels):
            return f">{self.largest:g}"
        return f"<{self.smallest:g}" if labels == 0 else labels


def label_worth(
    sizes: ArrayLike,
    scratch_curve: ArrayLike,
    transfer_curve: ArrayLike,
    *,
    seed: int | np.random.Generator,
    paired: bool = True,
    level: float = 0.95,
    resamples: int = 2000,
) -> list[LabelWorth]:
    """For each n, the n' at which scratch's mean score reaches transfer's mean score at n.

    The scratch mean curve is made monotone (isotonic regression) and joined by straight lines in
    log n; n' is the first crossing. Outside the sizes measured nothing is extrapolated: the answer
    is censored. The interval is a percentile bootstrap over training sets (rows), both curves
    resampled with the same rows if `paired`; its ends can be censored as well.

    Args:
        sizes: (k,) training sizes, increasing. scratch_curve, transfer_curve: (m, k) scores, higher
            is better (pass minus a loss), row i of both from the same sequence of training sets.
        paired: False if the rows do not belong together (then m may differ).
    """
    sizes = finite_array("sizes", sizes, 1)
    a, b = (
        finite_array("scratch_curve", scratch_curve, 2),
        finite_array("transfer_curve", transfer_curve, 2),
    )
    same_length("sizes", sizes, "scratch_curve", a)
    same_length("sizes", sizes, "transfer_curve", b)
    if sizes.size < 2 or sizes[0] <= 0 or (np.diff(sizes) <= 0).any():
        raise ValueError(f"sizes are {sizes.tolist()}; expected at least 2, positive, increasing")
    if paired and len(a) != len(b):
        raise ValueError(f"{len(a)} scratch rows and {len(b)} transfer rows: pass paired=False")
    tail = (1 - check_level(level)) / 2
    rng = np.random.default_rng(seed)
    rows_a = resampled_rows(len(a), rng, resamples)
    rows_b = rows_a if paired else resampled_rows(len(b), rng, resamples)
    draws = labels_needed(sizes, a[rows_a].mean(1), b[rows_b].mean(1))
    low, high = np.quantile(draws, [tail, 1 - tail], axis=0, method="closest_observation")
    target = b.mean(0)
    needed = labels_needed(sizes, a.mean(0), target)
    ends = float(sizes[0]), float(sizes[-1])
    return [
        LabelWorth(*map(float, values), *ends) for values in zip(sizes, target, needed, low, high)
    ]


def labels_needed(sizes: np.ndarray, curves: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """First size (log-linear) at which the monotone version of a curve reaches each target.

    curves: (..., k) over sizes. targets: (..., t). Result (..., t): 0 where the curve starts above
    the target already, inf where it never gets there.
    """
    rising = monotone(curves)
    least = targets - 1e-12 * (1 + np.abs(targets))  # a tie must not be lost to rounding
    upper = (rising[..., None, :] < least[..., :, None]).sum(-1)  # first index at the target
    hi = np.clip(upper, 1, sizes.size - 1)
    below, above = (np.take_along_axis(rising, i, -1) for i in (hi - 1, hi))
    step = above - below
    share = np.divide(targets - below, step, out=np.zeros_like(step), where=step > 0).clip(0, 1)
    logs = np.log(sizes)
    between = np.exp(logs[hi - 1] + share * (logs[hi] - logs[hi - 1]))
    at_start = np.where(targets >= rising[..., :1], sizes[0], 0.0)
    return np.where(upper == 0, at_start, np.where(upper == sizes.size, np.inf, between))


def monotone(curves: np.ndarray) -> np.ndarray:
    """Isotonic regression of many short curves at once, (..., k), all points weighing the same.

    The least-squares rising fit at j is max over a <= j of min over b >= j of mean(a..b).
    """
    k = curves.shape[-1]
    sums = np.concatenate([np.zeros_like(curves[..., :1]), np.cumsum(curves, -1)], -1)
    fit = np.full(curves.shape, -np.inf)
    for a in range(k):
        means = (sums[..., a + 1 :] - sums[..., a, None]) / np.arange(1, k - a + 1)
        lowest = np.minimum.accumulate(means[..., ::-1], -1)[..., ::-1]  # min over b >= j
        fit[..., a:] = np.maximum(fit[..., a:], lowest)
    return fit
