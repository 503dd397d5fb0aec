"""The strength that minimises the risk of L2-SP, at a fixed design or over random designs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize_scalar

from medxfer_lab._checks import finite_array, number, same_length
from medxfer_lab.methods.linear_gaussian.fixed import Decomposition, clean_spectrum, retained
from medxfer_lab.methods.linear_gaussian.random import (
    RandomDesign,
    effective_regularisation,
    risk_at_kappa,
)

GRID = 600


@dataclass(frozen=True)
class Optimum:
    """The best strength `lam` in [0, inf] and the risk there (inf: the centre alone, no data)."""

    lam: float
    risk: RandomDesign | Decomposition


def optimal_strength(
    eigenvalues: ArrayLike,
    theta_minus_centre: ArrayLike,
    sigma2: float,
    n: float,
    design: str = "random",
    target: ArrayLike | None = None,
) -> Optimum:
    """Strength lam >= 0 that minimises the excess risk of L2-SP, by search in log strength.

    design="random": eigenvalues of Sigma; minimises `random_design(...).excess`, over (X, eps).
    design="fixed": eigenvalues of X'X/n; minimises the in-sample excess risk over eps alone,
        sum_i [lam^2 e_i b_i^2 + (sigma2/n) e_i^2] / (e_i + lam)^2.

    When b_i^2 averages to tau2 in every direction (theta - centre ~ N(0, tau2 I)) the answer
    averaged over b is the Bayes strength sigma2/(n tau2), in both designs; see `bayes_strength`.
    For one given b it can differ, and over random designs it could even be negative (Wu and Xu,
    NeurIPS 2020): the search stops at 0.

    Args:
        eigenvalues, theta_minus_centre, sigma2, n, target: as in `random_design`.
    """
    s = clean_spectrum(eigenvalues)
    b = finite_array("theta_minus_centre", theta_minus_centre, 1)
    same_length("eigenvalues", s, "theta_minus_centre", b)
    sigma2 = number("sigma2", sigma2, 0.0)
    n = number("n", n, 0.0, open_low=True)
    if not s.any():
        raise ValueError("every eigenvalue is 0: the inputs are all zero, no strength is better")
    if design == "random":
        start = float(effective_regularisation(s, n, 0.0))

        def risk(kappa: float | np.ndarray) -> RandomDesign:
            return risk_at_kappa(s, b, sigma2, n, kappa, target)
    elif design == "fixed":
        if target is not None:
            raise ValueError('target is only for design="random"; the fixed risk is in-sample')
        start = 0.0

        def risk(lam: float | np.ndarray) -> Decomposition:
            data, kept = retained(s, lam)
            return Decomposition(((kept * b) ** 2 * s).sum(-1), sigma2 / n * (data**2).sum(-1))
    else:
        raise ValueError(f'design is {design!r}; expected "random" or "fixed"')
    best = lowest(lambda k: np.asarray(risk(k).excess), start, s)
    lam = best if design == "fixed" else strength_of_kappa(s, n, best)
    return Optimum(lam, risk(best))


def strength_of_kappa(s: np.ndarray, n: float, kappa: float) -> float:
    """lam = kappa (1 - df1(kappa)/n), the inverse of `effective_regularisation`."""
    if np.isinf(kappa):
        return np.inf
    data, _ = retained(s, np.asarray(kappa))
    return max(float(kappa * (1 - data.sum() / n)), 0.0)


def lowest(risk: Callable[[np.ndarray], np.ndarray], start: float, s: np.ndarray) -> float:
    """Minimiser of `risk` over {start} and (start, inf]: a log grid, then a bounded search."""
    low = start if start > 0 else 1e-12 * s[s > 0].min()
    grid = np.geomspace(low, 1e9 * s.max() + low, GRID)
    risks = risk(grid)
    k = int(np.argmin(risks))
    window = np.log(grid[max(k - 1, 0)]), np.log(grid[min(k + 1, GRID - 1)])
    refined = minimize_scalar(
        lambda t: float(risk(np.exp(t))), bounds=window, method="bounded", options={"xatol": 1e-10}
    )
    candidates = [start, float(grid[k]), float(np.exp(refined.x)), np.inf]
    values = [float(risk(np.asarray(c))) for c in candidates]
    return candidates[int(np.argmin(values))]
