"""What a pretrained centre and a strength do to risk, in the linear-Gaussian model.

The problem of all curves here: d features with eigenvalues s (mean 1), true signal of unit variance
theta'Sigma theta = 1, label noise sigma2. The prior's **wrongness** is the share of that signal
which the centre gets wrong,

    wrongness = (theta - centre)' Sigma (theta - centre),

0 for a perfect centre, 1 for a centre that is no better than 0, that is for training from scratch;
above 1 the prior is worse than none. The error theta - centre is spread evenly over the
eigendirections (b_i equal): the average over a centre that is wrong in no particular direction.
Risks are excess risks: the noise of a fresh label comes on top.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq

from medxfer_lab._checks import finite_array, number
from medxfer_lab.methods import linear_gaussian as lg


@dataclass(frozen=True)
class RiskCurve:
    """Excess risk against strength: arrays (k,) over `strengths`, and the optimum.

    bias2 + variance_design + variance_noise = excess. best_strength may be inf (keep the centre).
    """

    strengths: np.ndarray
    bias2: np.ndarray
    variance_design: np.ndarray
    variance_noise: np.ndarray
    excess: np.ndarray
    best_strength: float
    best_excess: float

    @property
    def variance(self) -> np.ndarray:
        """Variance over training sets: of the design and of the noise together."""
        return self.variance_design + self.variance_noise


@dataclass(frozen=True)
class BestBargain:
    """At the best strength for each wrongness: arrays (k,)."""

    wrongness: np.ndarray
    strength: np.ndarray
    bias2: np.ndarray
    variance: np.ndarray
    excess: np.ndarray


@dataclass(frozen=True)
class Arrival:
    """Prior and posterior of one parameter as images arrive: arrays (k,) over `sizes`.

    weight: of the data, n/(n + prior_sample_size). mean: expectation of the posterior mean over
    label noise; spread: its standard deviation over label noise; posterior_sd: the posterior's own
    standard deviation. path: posterior mean along one simulated data set, or None.
    """

    sizes: np.ndarray
    weight: np.ndarray
    mean: np.ndarray
    spread: np.ndarray
    posterior_sd: np.ndarray
    prior_sample_size: float
    path: np.ndarray | None


def wrong_by(eigenvalues: np.ndarray, wrongness: float) -> np.ndarray:
    """theta - centre in the eigenbasis, even over directions, with sum s b^2 = wrongness: (d,)."""
    wrongness = number("wrongness", wrongness, 0.0)
    return np.full(eigenvalues.size, np.sqrt(wrongness / eigenvalues.sum()))


def risk_against_strength(
    n: int,
    d: int = 100,
    wrongness: float = 0.3,
    *,
    decay: float = 0.0,
    sigma2: float = 0.5,
    strengths: ArrayLike | None = None,
    eigenvalues: ArrayLike | None = None,
) -> RiskCurve:
    """Bias2 and variance of L2-SP over random designs, against strength (see `random_design`).

    Args:
        n: training size. d: features. wrongness: of the centre (module docstring).
        decay: eigenvalues proportional to i^-decay; or give `eigenvalues` (d is then ignored).
        sigma2: label noise; the signal's variance is 1. strengths: (k,), default 1e-3 to 1e3.
    """
    s = (
        lg.power_law(d, decay)
        if eigenvalues is None
        else finite_array("eigenvalues", eigenvalues, 1)
    )
    b = wrong_by(s, wrongness)
    lam = (
        np.geomspace(1e-3, 1e3, 121)
        if strengths is None
        else finite_array("strengths", strengths, 1)
    )
    risk = lg.random_design(s, b, sigma2, n, lam)
    best = lg.optimal_strength(s, b, sigma2, n)
    return RiskCurve(
        lam,
        risk.bias2,
        risk.variance_design,
        risk.variance_noise,
        risk.excess,
        best.lam,
        best.risk.excess,
    )


def best_against_wrongness(
    n: int,
    d: int = 100,
    wrongness: ArrayLike | None = None,
    *,
    decay: float = 0.0,
    sigma2: float = 0.5,
) -> BestBargain:
    """Bias2 and variance at the best strength, as the centre gets worse (1 is from scratch).

    With the error even over directions the best strength is the Bayes one,
    sigma2 sum(s)/(n wrongness), in closed form.
    """
    s = lg.power_law(d, decay)
    values = (
        np.linspace(0, 1.5, 61) if wrongness is None else finite_array("wrongness", wrongness, 1)
    )
    best = [
        lg.random_design(s, wrong_by(s, w), sigma2, n, best_strength(s, w, sigma2, n))
        for w in values
    ]
    return BestBargain(
        values,
        np.array([best_strength(s, w, sigma2, n) for w in values]),
        np.array([r.bias2 for r in best]),
        np.array([r.variance for r in best]),
        np.array([r.excess for r in best]),
    )


def best_strength(s: np.ndarray, wrongness: float, sigma2: float, n: float) -> float:
    """The Bayes strength sigma2/(n tau2) with tau2 = wrongness/sum(s); inf for a perfect centre."""
    return np.inf if wrongness == 0 else lg.bayes_strength(sigma2, wrongness / s.sum(), n)


def scratch_labels_needed(
    n: float, wrongness: float, d: int = 100, *, decay: float = 0.0, sigma2: float = 0.5
) -> float:
    """Labels n' with which scratch (wrongness 1) reaches the excess risk of transfer at n labels.

    Both at their best strength. n'/n is what a transferred label is worth. inf for wrongness 0.
    """
    n, wrongness = number("n", n, 0.0, open_low=True), number("wrongness", wrongness, 0.0, 1.0)
    if wrongness == 0:
        return np.inf
    s = lg.power_law(d, decay)

    def excess(size: float, wrong: float) -> float:
        lam = best_strength(s, wrong, sigma2, size)
        return lg.random_design(s, wrong_by(s, wrong), sigma2, size, lam).excess

    goal = excess(n, wrongness)

    def gap(log_size: float) -> float:
        return np.log(excess(np.exp(log_size), 1.0) / goal)

    top = np.log(n) + 1.0
    while gap(top) > 0:
        top += 2.0
    return float(np.exp(brentq(gap, np.log(n) - 1e-9, top)))


def posterior_against_prior(
    sizes: ArrayLike,
    eigenvalue: float,
    theta: float,
    centre: float = 0.0,
    *,
    tau2: float = 1.0,
    sigma2: float = 1.0,
    seed: int | None = None,
) -> Arrival:
    """Prior N(centre, tau2) of one parameter against n images, each adding eigenvalue/sigma2.

    Along an eigendirection of the design (the images seen so far have mean square `eigenvalue` in
    it): with n0 = sigma2/(tau2 eigenvalue) and w = n/(n + n0),

        E posterior mean = centre + w (theta - centre)
        sd over label noise = w sqrt(sigma2/(n eigenvalue))
        posterior sd = sqrt(tau2 (1 - w)).

    eigenvalue 0 is the null space: w = 0 for ever, and the posterior *is* the prior.

    Args:
        sizes: (k,) numbers of images >= 0, increasing. theta: true value.
        seed: also simulate one data set growing along `sizes`.
    """
    sizes = finite_array("sizes", sizes, 1)
    if sizes.min() < 0 or (np.diff(sizes) <= 0).any():
        raise ValueError(f"sizes are {sizes[:4].tolist()}...; expected increasing numbers >= 0")
    e = number("eigenvalue", eigenvalue, 0.0)
    tau2, sigma2 = number("tau2", tau2, 0.0, open_low=True), number("sigma2", sigma2, 0.0)
    n0 = float(lg.prior_sample_size([e], sigma2=sigma2, tau2=tau2)[0])
    with np.errstate(invalid="ignore"):
        w = np.where(sizes == 0, 0.0, sizes / (sizes + n0))
    spread = np.zeros_like(w)
    np.divide(w * np.sqrt(sigma2), np.sqrt(sizes * e), out=spread, where=sizes * e > 0)
    path = None
    if seed is not None:  # sum of x_i eps_i grows with variance sigma2 * eigenvalue per image
        steps = np.diff(sizes, prepend=0.0)
        noise = np.random.default_rng(seed).normal(size=sizes.size) * np.sqrt(sigma2 * e * steps)
        mean_noise = np.zeros_like(w)
        np.divide(np.cumsum(noise), sizes * e, out=mean_noise, where=sizes * e > 0)
        path = centre + w * (theta - centre + mean_noise)
    mean = centre + w * (theta - centre)
    return Arrival(sizes, w, mean, spread, np.sqrt(tau2 * (1 - w)), n0, path)
