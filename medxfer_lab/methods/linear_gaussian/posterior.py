"""The Bayesian reading: a Gaussian prior around the pretrained parameters.

Here the data (X, y) are given and theta is random: theta ~ N(centre, P^{-1}), y | theta ~
N(X theta, sigma2 I). With P = I/tau2 the posterior mean is L2-SP with strength sigma2/(n tau2).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import linalg

from medxfer_lab._checks import finite_array, number, same_length
from medxfer_lab.methods.linear_gaussian.fixed import as_given, clean_spectrum, retained
from medxfer_lab.methods.linear_gaussian.random import effective_regularisation


@dataclass(frozen=True)
class Posterior:
    """Gaussian posterior of theta: mean (d,), covariance (d, d)."""

    mean: np.ndarray
    covariance: np.ndarray


def bayes_strength(sigma2: float, tau2: float, n: float) -> float:
    """sigma2/(n tau2): the strength at which L2-SP is the mean under the prior N(centre, tau2 I).

    It minimises the excess risk averaged over theta - centre ~ N(0, tau2 I), whatever the inputs
    that are judged, given X and hence also over random X.
    """
    sigma2, tau2 = number("sigma2", sigma2, 0.0), number("tau2", tau2, 0.0, open_low=True)
    return sigma2 / (number("n", n, 0.0, open_low=True) * tau2)


def posterior(
    X: ArrayLike,
    y: ArrayLike,
    centre: ArrayLike | None,
    prior_precision: float | ArrayLike,
    sigma2: float,
) -> Posterior:
    """Posterior of theta given (X, y) under theta ~ N(centre, P^{-1}).

        covariance = (X'X/sigma2 + P)^{-1},   mean = centre + covariance X'(y - X centre)/sigma2

    Args:
        X: (n, d). y: (n,). centre: (d,) or None for 0. sigma2: noise variance > 0.
        prior_precision: P, as one number 1/tau2, as (d,) for a diagonal, or as (d, d).

    Raises:
        ValueError: X'X/sigma2 + P is singular (no prior precision where the data say nothing).
    """
    X, y = finite_array("X", X, 2), finite_array("y", y, 1)
    same_length("X", X, "y", y, axis=0)
    d = X.shape[1]
    c = np.zeros(d) if centre is None else finite_array("centre", centre, 1)
    same_length("X", X, "centre", c)
    sigma2 = number("sigma2", sigma2, 0.0, open_low=True)
    P = finite_array("prior_precision", prior_precision, (0, 1, 2))
    if P.ndim < 2:
        P = np.diag(np.broadcast_to(P, d))
    if P.shape != (d, d):
        raise ValueError(f"prior_precision has shape {P.shape}; expected ({d}, {d}), ({d},) or ()")
    try:
        factor = linalg.cho_factor(X.T @ X / sigma2 + P)
    except linalg.LinAlgError as error:
        raise ValueError(
            "the posterior is improper: neither the data nor the prior say anything about some "
            "direction; give every direction a prior precision above 0"
        ) from error
    mean = c + linalg.cho_solve(factor, X.T @ (y - X @ c) / sigma2)
    return Posterior(mean, linalg.cho_solve(factor, np.eye(d)))


def prior_sample_size(
    eigenvalues: ArrayLike,
    *,
    sigma2: float | None = None,
    tau2: float | None = None,
    lam: float | None = None,
    n: float | None = None,
) -> np.ndarray:
    """How many images the prior is worth, in each eigendirection: n0_i = sigma2/(tau2 s_i).

    One image adds s_i/sigma2 to the precision along direction i, the prior holds 1/tau2; after
    n0_i images they weigh the same. In terms of a strength, n0_i = n lam/s_i. Infinite where
    s_i = 0: no amount of data moves the null space away from the prior.

    Args:
        eigenvalues: (d,) second moment of the inputs along each eigendirection.
        sigma2, tau2: noise and prior variance; or lam, n: strength and the training size it is
            used at. Give one pair.
    """
    s = clean_spectrum(eigenvalues)
    if (sigma2 is None) != (tau2 is None) or (lam is None) != (n is None):
        raise ValueError("give a whole pair: sigma2 and tau2, or lam and n")
    if (tau2 is None) == (lam is None):
        raise ValueError("give exactly one pair: sigma2 and tau2, or lam and n")
    if tau2 is not None:
        worth = number("sigma2", sigma2, 0.0) / number("tau2", tau2, 0.0, open_low=True)
    else:
        worth = number("lam", lam, 0.0) * number("n", n, 0.0, open_low=True)
    return np.divide(worth, s, out=np.full_like(s, np.inf), where=s > 0)


def shrinkage(
    eigenvalues: ArrayLike, n: float, *, sigma2: float, tau2: float, design: str = "fixed"
) -> np.ndarray:
    """Weight of the data along each eigendirection, (d,) in [0, 1); the prior keeps the rest.

    design="fixed": eigenvalues of X'X/n of this very design; the posterior mean's expectation
        over eps is centre_i + w_i (theta_i - centre_i) with w_i = n/(n + n0_i), exactly.
    design="random": eigenvalues of Sigma; the expectation over (X, eps) has
        w_i = s_i/(s_i + kappa), kappa = effective strength of lam = sigma2/(n tau2), to leading
        order. Smaller than n/(n + n0_i), much so for n < d: n images cannot inform d directions.

    w_i = 0 where the eigenvalue is 0, for every n: the null space never leaves the prior.
    """
    s = clean_spectrum(eigenvalues)
    if number("n", n, 0.0) == 0:
        return np.zeros_like(s)
    lam = bayes_strength(sigma2, tau2, n)
    if design == "random":
        lam = effective_regularisation(s, n, lam)
    elif design != "fixed":
        raise ValueError(f'design is {design!r}; expected "fixed" or "random"')
    return as_given(retained(s, np.asarray(lam))[0])
