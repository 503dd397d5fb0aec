"""A divergence bound, computed exactly where it can be: threshold rules on one line.

The class H: call disease if x > t, or if x <= t, for any t (t = -inf, inf included). Two such rules
disagree on an interval or outside one, so the H-delta-H divergence is

    d = 2 sup over intervals I of |P_p(I) - P_q(I)|,

in [0, 2]; **convention**: with the factor 2 of Definition 1 (H-divergence), for the class of
symmetric differences of Definition 3, of Ben-David, Blitzer, Crammer, Kulesza, Pereira and
Vaughan, Machine Learning 79 (2010) 151-175. With D = F_p - F_q the sup is
max D - min D, Kuiper's statistic. Their Theorem 2, in the population:

    risk_q(h) <= risk_p(h) + d/2 + lambda    for every h in H,
    lambda = min_h risk_p(h) + risk_q(h).

d needs no labels; lambda needs the target's, and nothing unlabelled bounds it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr

from medxfer_lab._checks import finite_array, number, whole
from medxfer_lab.domain_shift.theory.joint import pair


@dataclass(frozen=True)
class DivergenceBound:
    """Theorem 2 for every threshold rule on a line of k pictures.

    source_risk, target_risk, bound: (2, k + 1); [0, i] calls disease on rows i and above,
    [1, i] on rows below i. divergence: d, with its factor 2. joint_error: lambda.
    """

    source_risk: np.ndarray
    target_risk: np.ndarray
    divergence: float
    joint_error: float

    @property
    def bound(self) -> np.ndarray:
        """source risk + d/2 + lambda; above 1 it says nothing."""
        return self.source_risk + self.divergence / 2 + self.joint_error

    @property
    def source_best(self) -> tuple[float, float, float]:
        """Source risk, target risk and bound of the rule with the least source risk."""
        best = np.unravel_index(np.argmin(self.source_risk), self.source_risk.shape)
        return tuple(float(v[best]) for v in (self.source_risk, self.target_risk, self.bound))


def sample_divergence(first: ArrayLike, second: ArrayLike) -> float:
    """d between two samples of one feature, (n,) and (m,): twice Kuiper's statistic.

    Of the samples, not of what they were drawn from: two samples of one law have d above 0.
    """
    a, b = (np.sort(finite_array(n, v, 1)) for n, v in (("first", first), ("second", second)))
    points = np.concatenate([a, b])
    gap = (
        np.searchsorted(a, points, "right") / a.size - np.searchsorted(b, points, "right") / b.size
    )
    return 2 * float(gap.max(initial=0.0) - gap.min(initial=0.0))


def gaussian_divergence(
    mean_p: float, deviation_p: float, mean_q: float, deviation_q: float
) -> float:
    """d between N(mean_p, deviation_p^2) and N(mean_q, deviation_q^2), exactly.

    F_p - F_q turns where the densities cross: at the middle for equal deviations, then
    d = 2 (2 Phi(|mean_p - mean_q|/(2 deviation)) - 1); else at the two roots of a quadratic, and as
    the one law is denser on an interval exactly, d is twice the total variation.
    """
    a, b = number("mean_p", mean_p), number("mean_q", mean_q)
    s = number("deviation_p", deviation_p, 0.0, open_low=True)
    t = number("deviation_q", deviation_q, 0.0, open_low=True)
    # log p - log q = u x^2 + v x + w, in units of s around a
    b, t = (b - a) / s, t / s
    u, v, w = (1 / t**2 - 1) / 2, -b / t**2, b**2 / (2 * t**2) + np.log(t)
    if u == 0:
        turns = np.array([b / 2])
    else:
        root = np.sqrt(max(v**2 - 4 * u * w, 0.0))
        larger = -(v + np.copysign(root, v)) / 2  # no cancellation if t is close to 1
        turns = np.array([larger / u, w / larger]) if larger else np.zeros(1)
    gap = ndtr(turns) - ndtr((turns - b) / t)
    return 2 * float(gap.max(initial=0.0) - gap.min(initial=0.0))


def table_divergence(source: ArrayLike, target: ArrayLike) -> float:
    """d between the p(x) of two tables (k, 2) whose rows lie in order along the line."""
    p, q = pair(source, target)
    gap = np.cumsum(p.sum(1) - q.sum(1))
    return 2 * float(gap.max(initial=0.0) - gap.min(initial=0.0))


def total_divergence(source: ArrayLike, target: ArrayLike) -> float:
    """The same with all sets in place of intervals: sum_x |p(x) - q(x)|, twice total variation."""
    p, q = pair(source, target)
    return float(np.abs(p.sum(1) - q.sum(1)).sum())


def threshold_risks(world: ArrayLike) -> np.ndarray:
    """Error rates of all threshold rules on a table (k, 2): (2, k + 1), as in `DivergenceBound`."""
    p, _ = pair(world, world)
    missed = np.concatenate([[0.0], np.cumsum(p[:, 1])])  # cases below row i
    alarms = np.concatenate([np.cumsum(p[::-1, 0])[::-1], [0.0]])  # others at row i and above
    above = missed + alarms
    return np.stack([above, 1 - above])


def divergence_bound(source: ArrayLike, target: ArrayLike) -> DivergenceBound:
    """Both risks of every threshold rule, d and lambda, each exact: tables (k, 2)."""
    p, q = threshold_risks(source), threshold_risks(target)
    return DivergenceBound(p, q, table_divergence(source, target), float((p + q).min()))


def proxy_divergence(domain_error: float) -> float:
    """2 (1 - 2 err), from a domain classifier's *balanced* error rate (Ben-David et al. 2006).

    1 - 2 err = P_q(called q) - P_p(called q) is the two laws' difference on one set. So, for the
    error in the population (not on the classifier's training set), the proxy is at most the total
    divergence, and at most d if that set is an interval or the outside of one. It bounds a
    divergence **from below only**: a weak classifier makes it small and proves nothing, and a small
    divergence would still say nothing of lambda.

    Args:
        domain_error: mean of both domains' error rates, in [0, 1]. Above 1/2 the proxy is negative
            and is returned so: turn the classifier round.
    """
    return 2 * (1 - 2 * number("domain_error", domain_error, 0.0, 1.0))


def domain_error(source: ArrayLike, target: ArrayLike, called_target: ArrayLike) -> float:
    """Balanced error of a domain classifier on two tables: called_target (k,) in [0, 1]."""
    p, q = pair(source, target)
    called = finite_array("called_target", called_target, 1)
    if called.shape != (len(p),) or called.min() < 0 or called.max() > 1:
        raise ValueError(
            f"called_target has shape {called.shape} and spans [{called.min():.3g}, "
            f"{called.max():.3g}]; expected ({len(p)},) inside [0, 1]"
        )
    return float(p.sum(1) @ called + q.sum(1) @ (1 - called)) / 2


def divergence_examples(quarter: int = 8) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """(source, target) on 4 quarter pictures in a row; in all, one threshold fits the source.

    - "harmless": source in the middle, target at both ends, one threshold for all. Disjoint:
      every divergence is at its largest. lambda is 0 and the source's rule makes no error.
    - "concept": p(x) equal, labels turned round. Every divergence and every proxy is 0.
    - "interleaved": source on even pictures, target on odd, labels turned round. Disjoint, but
      intervals hardly see it: d is small, and so is the proxy of a threshold classifier.
    """
    k = 4 * whole("quarter", quarter, 1)
    x = np.arange(k)
    high = (x >= k // 2).astype(float)
    middle = (x >= k // 4) & (x < 3 * k // 4)
    even = x % 2 == 0

    def world(shown: np.ndarray, eta: np.ndarray) -> np.ndarray:
        return (shown / shown.sum())[:, None] * np.stack([1 - eta, eta], axis=1)

    return {
        "harmless": (world(middle, high), world(~middle, high)),
        "concept": (world(x >= 0, high), world(x >= 0, 1 - high)),
        "interleaved": (world(even, high), world(~even, 1 - high)),
    }
