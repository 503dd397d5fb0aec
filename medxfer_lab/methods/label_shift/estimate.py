"""What an estimate of the target's prevalence, or of its K class shares, consists of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medxfer_lab.metrics.intervals import Interval


@dataclass(frozen=True)
class PrevalenceEstimate:
    """Prevalence of the target with its confidence interval.

    prevalence: `raw` projected on [0, 1]. raw: the solution as computed, which for the moment
        estimator may lie outside; `inside` says whether it does not.
    low, high: the interval intersected with [0, 1]; [0, 1] itself means that nothing was learnt.
    compatible: False where *no* prevalence in [0, 1] fits the target at this level, a sign that
        p(x|y) moved; low and high are then both the nearest end, and no interval at all.
    standard_error: of `raw`; None where it has no meaning (a maximum on the edge).
    condition_number: of the confusion matrix (2-norm); None for maximum likelihood.
    n_source: labelled source patients whose error is in the interval, 0 where it is left out.
    """

    prevalence: float
    low: float
    high: float
    raw: float
    standard_error: float | None
    condition_number: float | None
    method: str
    n_source: int
    n_target: int
    level: float
    compatible: bool = True

    @property
    def inside(self) -> bool:
        """Whether the solution lies in [0, 1] without projection."""
        return 0 <= self.raw <= 1

    @property
    def interval(self) -> Interval:
        """As an `Interval` over target patients, for records and figures."""
        return Interval(
            self.prevalence, self.low, self.high, self.n_target, self.level, self.method
        )

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


@dataclass(frozen=True)
class ClassShares:
    """Shares (K,) of the target's classes; `raw` sums to 1 but may hold negative shares.

    shares: the point of the simplex nearest to `raw` (Euclidean distance).
    covariance: (K, K) of `raw`, singular along (1, ..., 1) since shares sum to 1. A maximum on the
        edge has no covariance for its empty classes: NaN there.
    condition_number: of the confusion matrix (2-norm); None for maximum likelihood.
    n_source: as in `PrevalenceEstimate`.
    """

    shares: np.ndarray
    raw: np.ndarray
    covariance: np.ndarray
    condition_number: float | None
    method: str
    n_source: int
    n_target: int

    @property
    def inside(self) -> bool:
        """Whether no share had to be moved onto the simplex."""
        return bool((self.raw >= 0).all())

    @property
    def standard_errors(self) -> np.ndarray:
        """(K,) square roots of the covariance's diagonal."""
        return np.sqrt(np.diag(self.covariance))

    def weights(self, source_shares: np.ndarray) -> np.ndarray:
        """Importance weight of each class, (K,): target share over source share."""
        return self.shares / np.asarray(source_shares, dtype=np.float64)


def onto_simplex(point: np.ndarray) -> np.ndarray:
    """Nearest point (K,) with entries >= 0 that sum to 1 (Duchi et al., ICML 2008, figure 1)."""
    if (point >= 0).all():  # sums to 1 already: leave every digit alone
        return point
    descending = np.sort(point)[::-1]
    excess = (descending.cumsum() - 1) / np.arange(1, point.size + 1)
    kept = np.flatnonzero(descending > excess)[-1]
    return np.maximum(point - excess[kept], 0.0)
