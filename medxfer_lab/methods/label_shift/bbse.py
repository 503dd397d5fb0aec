r"""Black-box shift estimation: the target's prevalence from mean scores alone.

Under label shift the mean of *any* score f is a mixture of its class means m_y = E[f|y]:

    E_target[f] = (1 - rho) m_0 + rho m_1,     rho = (E_target[f] - m_0)/(m_1 - m_0)

With f a hard decision, m_0 is the false-positive rate and m_1 the sensitivity: Rogan and Gladen,
"Estimating prevalence from the results of a screening test", American Journal of Epidemiology 107
(1978) 71-76. For soft scores and K classes: Lipton, Wang and Smola, "Detecting and correcting for
label shift with black box predictors", ICML 2018.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from medxfer_lab._checks import finite_array, same_length
from medxfer_lab.methods.label_shift.estimate import PrevalenceEstimate
from medxfer_lab.metrics.intervals import check_level
from medxfer_lab.metrics.scores import binary_labels


def black_box_shift_estimate(
    source_scores: ArrayLike,
    source_labels: ArrayLike,
    target_scores: ArrayLike,
    level: float = 0.95,
    interval: str = "fieller",
) -> PrevalenceEstimate:
    """Prevalence of the target from a black-box score (BBSE, two classes).

        raw = (mean target score - m_0)/(m_1 - m_0)
        variance of raw = (v_t + (1 - rho)^2 v_0 + rho^2 v_1)/(m_1 - m_0)^2      (delta method)

    with v the variances of the three means: the *source's* error is in. Needs: p(x|y) kept, source
    patients the model was not trained on, both classes in the source, class means that differ. Does
    not need: calibration, or a source prevalence.

    interval="fieller" inverts the test of E_target[f] - (1 - rho) m_0 - rho m_1 = 0 (Fieller,
    Journal of the Royal Statistical Society B 16 (1954) 175-185): right also where the class means
    hardly differ. Its set, intersected with [0, 1], may be all of [0, 1] (nothing was learnt).
    Where it is two pieces the interval spans both; where it is empty `compatible` is False.
    interval="delta" is raw +- t se, intersected with [0, 1]; refused where the source cannot tell
    m_0 from m_1 at this level, because there it is far too short.

    Both use Student's t with Satterthwaite's degrees of freedom. A class whose scores are all equal
    (no false positive seen, say) gets the variance of one patient in n at the other end of the
    scores' range, since a variance of 0 would claim certainty. Where the source saw only a handful
    of false positives the means are far from normal: 95 % intervals covered 92 % in simulations.

    Args:
        source_scores: (n,) any bounded score: probabilities, or 0 and 1 for hard decisions.
        source_labels: (n,) of 0 and 1, at least 2 of each. target_scores: (m,), m >= 2.

    Returns:
        PrevalenceEstimate; its condition number is that of the matrix of class means
        ((1 - m_0, 1 - m_1), (m_0, m_1)), scores outside [0, 1] first mapped to it by their range.

    Raises:
        ValueError: equal class means, too few patients, or a refused delta interval.
    """
    moments = Moments.of(source_scores, source_labels, target_scores)
    level = check_level(level)
    if interval not in ("fieller", "delta"):
        raise ValueError(f'interval is {interval!r}; expected "fieller" or "delta"')
    raw = moments.solution()
    prevalence = float(np.clip(raw, 0, 1))
    t = stats.t.ppf((1 + level) / 2, moments.degrees_of_freedom(prevalence))
    error = float(np.sqrt(moments.variance(raw)) / abs(moments.gap))
    if interval == "delta":
        check_separation(moments, t)
        low, high = raw - t * error, raw + t * error
        compatible = low <= 1 and high >= 0
        low, high = np.clip([low, high], 0, 1)
    else:
        low, high, compatible = fieller_set(moments, t)
    if not compatible:
        low = high = prevalence
    return PrevalenceEstimate(
        prevalence=prevalence,
        low=float(low),
        high=float(high),
        raw=raw,
        standard_error=error,
        condition_number=moments.condition_number(),
        method=f"BBSE, {interval}",
        n_source=moments.counts[0] + moments.counts[1],
        n_target=moments.counts[2],
        level=level,
        compatible=bool(compatible),
    )


@dataclass(frozen=True)
class Moments:
    """Means of a score, their variances and counts, of (source healthy, source diseased, target).

    ends: the score's lowest and highest value, (0, 1) if all lie between.
    """

    means: tuple[float, ...]
    variances: tuple[float, ...]
    counts: tuple[int, ...]
    ends: tuple[float, float]

    @classmethod
    def of(cls, source_scores, source_labels, target_scores) -> Moments:
        """Moments of checked scores; each of the three groups holds at least 2 patients."""
        source = finite_array("source_scores", source_scores, 1)
        target = finite_array("target_scores", target_scores, 1)
        labels = binary_labels(source_labels)
        same_length("source_scores", source, "source_labels", labels)
        groups = source[labels == 0], source[labels == 1], target
        for name, group in zip(("healthy source", "diseased source", "target"), groups):
            if group.size < 2:
                raise ValueError(
                    f"{group.size} {name} patients; a mean with its error needs at least 2"
                )
        low, high = min(source.min(), target.min()), max(source.max(), target.max())
        ends = (0.0, 1.0) if low >= 0 and high <= 1 else (float(low), float(high))
        variances = tuple(mean_variance(group, ends[1] - ends[0]) for group in groups)
        means = tuple(float(group.mean()) for group in groups)
        return cls(means, variances, tuple(group.size for group in groups), ends)

    @property
    def gap(self) -> float:
        """m_1 - m_0."""
        return self.means[1] - self.means[0]

    def solution(self) -> float:
        """(mean target score - m_0)/(m_1 - m_0)."""
        if abs(self.gap) <= 1e-12 * (self.ends[1] - self.ends[0]):
            raise ValueError(
                f"both classes have mean score {self.means[0]:.6g}: the confusion matrix is "
                "singular and any prevalence fits: use a score that tells the classes apart"
            )
        return (self.means[2] - self.means[0]) / self.gap

    def variance(self, rho: float) -> float:
        """Variance of E_target[f] - (1 - rho) m_0 - rho m_1 as estimated."""
        v0, v1, vt = self.variances
        return vt + (1 - rho) ** 2 * v0 + rho**2 * v1

    def degrees_of_freedom(self, rho: float) -> float:
        """Satterthwaite's, for `variance(rho)`."""
        parts = np.array([(1 - rho) ** 2, rho**2, 1.0]) * self.variances
        return float(parts.sum() ** 2 / (parts**2 / (np.array(self.counts) - 1)).sum())

    def condition_number(self) -> float:
        """2-norm condition number of ((1 - m_0, 1 - m_1), (m_0, m_1)) on the scale of [0, 1]."""
        low, high = self.ends
        m = (np.array(self.means[:2]) - low) / (high - low)
        return float(np.linalg.cond(np.stack([1 - m, m])))


def mean_variance(scores: np.ndarray, width: float) -> float:
    """Variance of the mean; constant scores count as if one patient sat `width` away."""
    if np.ptp(scores) == 0:
        return float((width / scores.size) ** 2)
    return float(scores.var(ddof=1) / scores.size)


def check_separation(moments: Moments, t: float) -> None:
    """Raise where the source cannot tell m_0 from m_1: Fieller's set is unbounded there."""
    noise = np.sqrt(moments.variances[0] + moments.variances[1])
    if abs(moments.gap) <= t * noise:
        raise ValueError(
            f"class means differ by {moments.gap:.3g} with standard error {noise:.2g}: the "
            'confusion matrix may be singular and the delta interval is not valid: use "fieller"'
        )


def fieller_set(moments: Moments, t: float) -> tuple[float, float, bool]:
    """Hull of the prevalences in [0, 1] that the t test does not reject, and whether there are any.

    They solve a rho^2 + b rho + c <= 0 for
        a = d^2 - t^2 (v_0 + v_1),  b = -2 (g d - t^2 v_0),  c = g^2 - t^2 (v_t + v_0)
    with d = m_1 - m_0 and g = E_target[f] - m_0.
    """
    (v0, v1, vt), d = moments.variances, moments.gap
    g = moments.means[2] - moments.means[0]
    a, b, c = d**2 - t**2 * (v0 + v1), -2 * (g * d - t**2 * v0), g**2 - t**2 * (vt + v0)
    edges = [rho for rho in (0.0, 1.0) if (a * rho + b) * rho + c <= 0]
    crossings = [r.real for r in np.roots([a, b, c]) if r.imag == 0 and 0 <= r.real <= 1]
    kept = edges + crossings
    return (min(kept), max(kept), True) if kept else (np.nan, np.nan, False)
