"""Importance weights for covariate shift: from a domain classifier, their cost, their means.

Source density p, target density q, weight w(x) = q(x)/p(x), so that E_q[f] = E_p[w f] wherever
p > 0 covers q. Every array here counts source patients (n,). The weights as a sample for training
are in `medxfer_lab.imaging.shifts.weights`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from medxfer_lab._checks import finite_array, same_length, whole
from medxfer_lab.metrics.intervals import Interval, check_level, interval


def density_ratio(domain_log_odds: ArrayLike, n_source: int, n_target: int) -> np.ndarray:
    """w(x) = q(x)/p(x) from a classifier of the domain: exp(log odds) n_source/n_target.

    A classifier trained on n_source patients of p and n_target of q has, at its best, the log odds
    log P(target | x)/P(source | x) = log w(x) + log(n_target/n_source) (Bickel, Brueckner and
    Scheffer, Journal of Machine Learning Research 10 (2009) 2137-2155; Sugiyama, Suzuki and
    Kanamori, "Density Ratio Estimation in Machine Learning", 2012, chapter 4). If it was trained
    with balanced domains, pass equal sizes. The weights are as good as those log odds are
    calibrated: an overconfident classifier has weights that are too extreme. Score patients it was
    not trained on.

    Args:
        domain_log_odds: (n,) in nats, positive where the target is the likelier domain.

    Returns:
        (n,) weights, not normalised: their mean over the source estimates 1, which is a check.

    Raises:
        ValueError: if a weight overflows: such log odds say that the supports part.
    """
    z = finite_array("domain_log_odds", domain_log_odds, 1)
    source, target = whole("n_source", n_source, 1), whole("n_target", n_target, 1)
    exponent = z + np.log(source / target)
    if exponent.max() > 700:
        raise ValueError(
            f"domain_log_odds reach {z.max():.3g} nats, a weight of e^{exponent.max():.0f}; "
            "expected a finite weight: the classifier tells the domains apart, and no weights "
            "bridge that"
        )
    return np.exp(exponent)


def renyi_divergence(weights: ArrayLike) -> float:
    """Renyi divergence of order 2, D2(q || p) = log E_p[w^2] in nats, from weights on a p-sample.

    Computed as log mean(w^2)/mean(w)^2: weights need no normalisation. It prices reweighting: a
    weighted mean of n source patients is worth about n exp(-D2) target patients (Cortes, Mansour
    and Mohri, "Learning bounds for importance weighting", NeurIPS 2010, in base 2). In the sample
    that number *is* Kish's (sum w)^2/sum w^2. A sample cannot show more than D2 = log n (one
    patient carries all), and where E_p[w^2] is infinite the value grows with n without end: a
    value near log n is a lower bound, not an estimate.

    weights: (n,), not negative, not all zero.
    """
    w = checked(weights)
    return float(np.log((w**2).mean()))


def weighted_mean(
    values: ArrayLike, weights: ArrayLike, normalise: bool = True, level: float = 0.95
) -> Interval:
    """Mean of values under the target, from source patients and their weights, with interval.

    normalise=True, self-normalised: m = sum h_i v_i with shares h_i = w_i/sum w. Weights may carry
    any constant; bias of order 1/n; adding a constant to the values adds it to m. Standard error by
    the delta method with residuals corrected for each patient's own pull on m,

        se^2 = sum h_i^2 (v_i - m)^2 / (1 - h_i)

    (MacKinnon and White, Journal of Econometrics 29 (1985) 305-325, HC2): without the correction a
    patient who carries the mean would seem to prove it.

    normalise=False, m = mean(w v): unbiased if w = q/p exactly, se = sd(w v)/sqrt(n). Weights from
    an estimated ratio, or known up to a constant, do not qualify.

    The interval is m +- t se with Kish's effective sample size - 1 degrees of freedom: Student's
    interval of the plain mean where weights are equal, without end where one patient carries
    everything. Errors of estimated weights are not in it. Nor are patients never drawn: when
    E_p[w^2] is infinite or the sample small, the heaviest are missing, and it covers too rarely.
    Values that are all equal (no event yet) give no width at all, as in Student's interval.

    Args:
        values: (n,), of source patients. weights: (n,), not negative.

    Returns:
        Interval; n counts patients, ``method`` tells the effective sample size.
    """
    v, raw = finite_array("values", values, 1), finite_array("weights", weights, 1)
    same_length("values", v, "weights", raw)
    n, share = len(v), checked(weights) / len(v)
    if n < 2:
        raise ValueError(f"values hold {n} patient; an interval needs at least 2")
    effective = 1 / float((share**2).sum())
    if normalise:
        mean = float(share @ v)
        with np.errstate(invalid="ignore", divide="ignore"):
            error2 = (share**2 * (v - mean) ** 2 / (1 - share)).sum()
        name = "self-normalised"
    else:
        mean, error2, name = float((raw * v).mean()), (raw * v).var(ddof=1) / n, "unbiased"
    half = np.inf
    if share.max() < 1 and effective > 1:
        t = stats.t.ppf((1 + check_level(level)) / 2, effective - 1)
        half = t * np.sqrt(error2) if np.isfinite(t) else np.inf
    method = f"{name} weighted mean, effective sample size {effective:.1f}"
    return interval(mean, mean - half, mean + half, n, level, method)


def checked(weights: ArrayLike) -> np.ndarray:
    """Weights (n,) divided by their mean."""
    w = finite_array("weights", weights, 1)
    if w.min() < 0 or w.max() == 0:
        raise ValueError(
            f"weights span [{w.min():.3g}, {w.max():.3g}]; expected none negative, not all zero: "
            "pass ratios q/p, not their logarithms"
        )
    w = w / w.max()  # first, lest the sum overflows
    return w / w.mean()
