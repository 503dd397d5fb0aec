"""Is p(y | x) the same in two domains? Tests that need no model of it.

Equality of p(y | x) over domains d = 0, 1 is conditional independence of y and d given x. No test
of it has both size and power without an assumption (Shah and Peters, Annals of Statistics 48
(2020) 1514-1538). Here the assumption is *knowledge*: of how x differs between the domains (then
`conditional_domain_test` is exact), or of p(y | x) itself (then `known_probability_test` is).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit

from medxfer_lab._checks import finite_array, same_length, whole
from medxfer_lab.metrics.scores import binary_labels, probability
from medxfer_lab.metrics.two_sample import SignificanceTest, monte_carlo_p_value


def conditional_domain_test(
    features: ArrayLike,
    labels: ArrayLike,
    domain: ArrayLike,
    *,
    seed: int,
    propensity: ArrayLike | None = None,
    strata: ArrayLike | None = None,
    confounders: ArrayLike | None = None,
    draws: int = 999,
) -> SignificanceTest:
    """Test that p(y | x) is the same in domains 0 and 1, by drawing the domains anew given x.

    Residuals r = y - m(t) of a pooled logistic fit m on features t, and U = sum over patients of
    (d - e) r (1, t): does the domain explain what the features leave? statistic = U' V^-1 U, V the
    covariance of U if d ~ Bernoulli(e) given x. Its null distribution is drawn, x and y held
    fixed, in one of three ways; give exactly one.

    propensity: (n,) e(x) = P(d = 1 | x), *known*: d* ~ Bernoulli(e). Exact for any features and
        any fit m when d was drawn so: the conditional randomisation test (Candes, Fan, Janson and
        Lv, Journal of the Royal Statistical Society B 80 (2018) 551-577).
    strata: (n,) whole numbers, a function of x through which alone the domains differ in x; d is
        permuted within each stratum. Exact when (x, y) are exchangeable between the domains within
        a stratum. e is the stratum's share of domain 1.
    confounders: (n, k): e(x) is *fitted* by logistic regression on these and their squares, and U
        made orthogonal to them (weights e(1 - e)). Approximate: a rejection may also mean that
        this form cannot describe how x differs. Where the domains do not overlap, e is near 0 or
        1 and nothing can be compared: the power is then low whatever p(y | x) does.

    Args:
        features: (n, k) or (n,). labels, domain: (n,) of 0 and 1.
    """
    t, y, d = table(features), binary_labels(labels), binary_labels(domain)
    same_length("features", t.T, "labels", y)
    same_length("labels", y, "domain", d)
    if sum(given is not None for given in (propensity, strata, confounders)) != 1:
        raise ValueError("give exactly one of propensity, strata and confounders")
    design = with_intercept(standardized(t))
    direction = (y - logistic_fit(design, y))[:, None] * design  # (n, k + 1)
    rng = np.random.default_rng((seed, 13))
    if strata is not None:
        e, drawn = permuted_within(d, np.asarray(strata), whole("draws", draws, 1), rng)
        how = "permutations within strata"
    else:
        if propensity is not None:
            e, how = probability("propensity", propensity), "draws of a known propensity"
            same_length("propensity", e, "domain", d)
        else:
            basis = standardized(table(confounders))
            basis = with_intercept(np.column_stack([basis, basis**2 - 1]))
            e, how = logistic_fit(basis, d), "draws of a fitted propensity"
            direction = direction - projected(basis, direction, e * (1 - e))
        drawn = rng.random((whole("draws", draws, 1), len(d))) < e
    weighted = (e * (1 - e))[:, None] * direction
    inverse = np.linalg.pinv(direction.T @ weighted, rcond=1e-10, hermitian=True)
    null = quadratic((drawn - e) @ direction, inverse)
    observed = float(quadratic((d - e) @ direction, inverse))
    p = monte_carlo_p_value(observed, null)
    sizes = (int((1 - d).sum()), int(d.sum()))
    return SignificanceTest(observed, p, sizes, f"conditional domain test, {draws} {how}")


def known_probability_test(
    features: ArrayLike, labels: ArrayLike, eta: ArrayLike, *, seed: int, draws: int = 999
) -> SignificanceTest:
    """Test that labels are independent draws y ~ Bernoulli(eta(x)), eta known: exact at any n.

    U = sum of (y - eta)(1, t) over patients, t the features: calibration in the large and along
    each feature. statistic = U' V^-1 U with V = sum eta(1 - eta)(1, t)(1, t)', near chi-squared
    with k + 1 degrees of freedom; the p-value comes from drawing the labels anew. Put logit(eta)
    among the features to test the calibration slope.

    Args:
        features: (n, k) or (n,). labels: (n,) of 0 and 1. eta: (n,) in [0, 1], a function of x.
    """
    t, y, eta = table(features), binary_labels(labels), probability("eta", eta)
    same_length("labels", y, "eta", eta)
    same_length("features", t.T, "labels", y)
    design = with_intercept(standardized(t))
    variance = design.T @ ((eta * (1 - eta))[:, None] * design)
    inverse = np.linalg.pinv(variance, rcond=1e-10, hermitian=True)
    rng = np.random.default_rng((seed, 14))
    drawn = rng.random((whole("draws", draws, 1), len(y))) < eta
    null = quadratic((drawn - eta) @ design, inverse)
    observed = float(quadratic((y - eta) @ design, inverse))
    p = monte_carlo_p_value(observed, null)
    return SignificanceTest(observed, p, (len(y),), f"known probability, {draws} draws of labels")


def permuted_within(
    domain: np.ndarray, strata: np.ndarray, draws: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Share of domain 1 in each patient's stratum (n,), and domains permuted in strata (B, n)."""
    same_length("strata", strata, "domain", domain)
    share, drawn = np.empty(len(domain)), np.empty((draws, len(domain)))
    for stratum in np.unique(strata):
        here = np.flatnonzero(strata == stratum)
        share[here] = domain[here].mean()
        drawn[:, here] = rng.permuted(np.tile(domain[here], (draws, 1)), axis=1)
    return share, drawn


def logistic_fit(design: np.ndarray, y: np.ndarray, ridge: float = 1e-3) -> np.ndarray:
    """Fitted probabilities (n,) of y on design (n, k); see `logistic_coefficients`."""
    return expit(design @ logistic_coefficients(design, y, ridge))


def logistic_coefficients(design: np.ndarray, y: np.ndarray, ridge: float = 1e-3) -> np.ndarray:
    """Logistic regression of y (n,) on design (n, k), intercept first and unpenalised: (k,).

    Newton's method on the log loss + ridge/2 |slopes|^2 (ridge counts patients, and keeps the
    fit finite where the classes can be separated).
    """
    penalty = ridge * np.diag(np.r_[0.0, np.ones(design.shape[1] - 1)])
    beta = np.zeros(design.shape[1])
    loss = penalised_loss(design, y, beta, penalty)
    for _ in range(100):
        p = expit(design @ beta)
        gradient = design.T @ (p - y) + penalty @ beta
        hessian = (design * (p * (1 - p))[:, None]).T @ design + penalty
        step = np.linalg.lstsq(hessian, gradient, rcond=None)[0]
        while (new := penalised_loss(design, y, beta - step, penalty)) > loss + 1e-12:
            step = step / 2  # a full step may overshoot far from the optimum
        beta, converged, loss = beta - step, loss - new < 1e-10 * (1 + loss), new
        if converged:
            break
    return beta


def penalised_loss(
    design: np.ndarray, y: np.ndarray, beta: np.ndarray, penalty: np.ndarray
) -> float:
    logit = design @ beta
    return float((np.logaddexp(0, logit) - y * logit).sum() + beta @ penalty @ beta / 2)


def projected(basis: np.ndarray, target: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted least-squares projection of target (n, j) on the columns of basis (n, k)."""
    root = np.sqrt(weights)[:, None]
    return basis @ np.linalg.lstsq(root * basis, root * target, rcond=1e-8)[0]


def quadratic(u: np.ndarray, inverse: np.ndarray) -> np.ndarray:
    """u' M u for each row of u (..., k)."""
    return ((u @ inverse) * u).sum(-1)


def table(features: ArrayLike) -> np.ndarray:
    """Features as a finite float64 (n, k)."""
    t = finite_array("features", features, (1, 2))
    return t[:, None] if t.ndim == 1 else t


def standardized(t: np.ndarray) -> np.ndarray:
    """Columns of (n, k) at mean 0 and standard deviation 1; constant ones at 0."""
    spread = t.std(0)
    return (t - t.mean(0)) / np.where(spread > 0, spread, 1.0)


def with_intercept(t: np.ndarray) -> np.ndarray:
    """(n, k) with a column of ones in front."""
    return np.column_stack([np.ones(len(t)), t])
