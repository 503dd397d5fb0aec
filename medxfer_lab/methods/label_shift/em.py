r"""The target's prevalence by maximum likelihood, from calibrated probabilities.

With the ratios r_y(x) = p(x|y)/p(x), r_1 = eta/pi and r_0 = (1 - eta)/(1 - pi), the log-likelihood
of n unlabelled target patients is, up to a constant,

    L(rho) = sum_i log((1 - rho) r_0(x_i) + rho r_1(x_i)),

concave in rho. The EM algorithm climbs it: correct the probabilities to the current prevalence,
take their mean as the next one (Saerens, Latinne and Decaestecker, Neural Computation 14 (2002)
21-41, equation 2.9).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, stats

from medxfer_lab._checks import finite_array, whole
from medxfer_lab.methods.label_shift.correction import open_share, share
from medxfer_lab.methods.label_shift.estimate import PrevalenceEstimate
from medxfer_lab.metrics.intervals import check_level


def em_prevalence(
    probabilities: ArrayLike, start: float, level: float = 0.95
) -> PrevalenceEstimate:
    """Prevalence of the target by maximum likelihood, with a likelihood-ratio interval.

    `start` is the prior that the probabilities belong to: the prevalence of the patients on which
    they are calibrated, which equals the mean prediction there. It is *not* a first guess, and not
    the share of positives of some other sample: only the ratios r_y count, so a wrong `start` is a
    wrong model and shifts the answer however many patients you have. A network trained on batches
    balanced by class and not recalibrated belongs to start = 0.5, whatever its hospital.

    The fixed point of EM is the zero of L', which falls in rho: it is found by bisection to 1e-12,
    since near 0 or 1 EM itself takes thousands of steps (`em_path` walks them). The interval is
    {rho: 2 (L(max) - L(rho)) <= chi2_1 quantile}. **It treats the probabilities as known**: errors
    of the model and of its calibration, a source sample's error included, are not in it. Simulated
    at AUC .89 with 500 target patients, a 95 % interval covered 95 % with known probabilities and
    81 to 84 % with a Platt line fitted on 300 source patients.

    Args:
        probabilities: (n,) P_source(y=1|x) of target patients; 0 and 1 allowed.
        start: in (0, 1).

    Returns:
        PrevalenceEstimate; a maximum on the edge of [0, 1] is that edge, without a standard error
        (elsewhere it comes from the observed information). `raw` is the maximum over [0, 1], so
        `inside` is always True: EM cannot warn by an impossible answer as BBSE can.

    Raises:
        ValueError: all probabilities are equal (they say nothing about the target).
    """
    healthy, diseased = likelihood_ratios(probabilities, start)
    level, n = check_level(level), len(healthy)
    if np.ptp(diseased) == 0:
        raise ValueError(
            f"all {n} probabilities are {diseased[0] * start:.6g}: they do not tell one target "
            "patient from another: use a model that does"
        )
    rho = zero_of_falling(lambda rho: slope(rho, healthy, diseased), 0.0, 1.0)
    top = log_likelihood(rho, healthy, diseased)
    cut = stats.chi2.ppf(level, 1) / 2

    def margin(value: float) -> float:
        return cut - (top - log_likelihood(value, healthy, diseased))

    error = None
    if 0 < rho < 1:
        mixture = healthy + rho * (diseased - healthy)
        error = float((((diseased - healthy) / mixture) ** 2).sum() ** -0.5)
    return PrevalenceEstimate(
        prevalence=rho,
        low=0.0 if rho == 0 else zero_of_falling(lambda v: -margin(v), 0.0, rho),
        high=1.0 if rho == 1 else zero_of_falling(margin, rho, 1.0),
        raw=rho,
        standard_error=error,
        condition_number=None,
        method="EM, likelihood ratio",
        n_source=0,
        n_target=n,
        level=level,
    )


def em_path(probabilities: ArrayLike, start: float, steps: int) -> np.ndarray:
    """The prevalence before and after each EM step, (steps + 1,); the first is `start`.

    One step: rho <- mean of rho r_1/((1 - rho) r_0 + rho r_1), the probabilities corrected *from
    the source's* prior to rho. Correcting the already corrected ones again, from `start`, is the
    commonest bug.
    """
    healthy, diseased = likelihood_ratios(probabilities, start)
    path = [float(start)]
    for _ in range(whole("steps", steps, 0)):
        rho = path[-1]
        path.append(float((rho * diseased / ((1 - rho) * healthy + rho * diseased)).mean()))
    return np.array(path)


def likelihood_ratios(probabilities: ArrayLike, start: float) -> tuple[np.ndarray, np.ndarray]:
    """r_0 and r_1, each (n,): p(x|y)/p(x) by Bayes' rule."""
    p = share("probabilities", finite_array("probabilities", probabilities, 1))
    start = open_share("start", start)
    return (1 - p) / (1 - start), p / start


def log_likelihood(rho: float, healthy: np.ndarray, diseased: np.ndarray) -> float:
    """L(rho), nats; -inf where rho excludes a patient for certain."""
    with np.errstate(divide="ignore"):
        return float(np.log((1 - rho) * healthy + rho * diseased).sum())


def slope(rho: float, healthy: np.ndarray, diseased: np.ndarray) -> float:
    """L'(rho)/n; infinite at an edge that excludes a patient for certain."""
    with np.errstate(divide="ignore"):
        return float(((diseased - healthy) / ((1 - rho) * healthy + rho * diseased)).mean())


def zero_of_falling(function, low: float, high: float) -> float:
    """Zero of a falling function, or the edge beyond which it lies; infinite values allowed."""
    if function(low) <= 0:
        return low
    if function(high) >= 0:
        return high
    return float(optimize.bisect(function, low, high, xtol=1e-12, rtol=1e-12))
