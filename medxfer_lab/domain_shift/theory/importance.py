"""Importance weights between two Gaussians, in closed form.

Source p = N(0, 1), target q = N(delta, spread^2) of one feature x; w(x) = q(x)/p(x). `delta` is in
standard deviations of the source. Every mean E_q f = E_p w f is unbiased from source patients; what
it costs is the second moment of the weights,

    E_p w^2 = exp(delta^2/(2 - spread^2)) / (spread sqrt(2 - spread^2)),

infinite from spread^2 = 2 on: there the target's tails are too wide for the source's.
Its log is the Renyi divergence of order 2 (Cortes, Mansour and Mohri, NeurIPS 23 (2010)); its
inverse the share of n source patients that still counts, n_eff/n -> 1/E w^2: exp(-delta^2) for
equal spreads.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.polynomial import Polynomial
from numpy.typing import ArrayLike
from scipy.special import log_ndtr

from medxfer_lab._checks import finite_array, number, whole


@dataclass(frozen=True)
class Parted:
    """What weighting gives when the supports part by `gap` (see `parted_supports`).

    limit: what the unnormalised weighted mean converges to; the normalised one: limit/(1 - gap).
    truth: E_q f. unseen: target share without source.
    effective_share: n_eff/n computed from the weights, which knows nothing of the unseen share.
    """

    limit: float
    truth: float
    unseen: float
    effective_share: float


def weights(x: ArrayLike, delta: float, spread: float = 1.0) -> np.ndarray:
    """w(x) = exp(x^2/2 - (x - delta)^2/(2 spread^2))/spread, shape of x."""
    x, (d, s) = finite_array("x", x, (0, 1, 2)), target(delta, spread)
    return np.exp(x**2 / 2 - ((x - d) / s) ** 2 / 2) / s


def second_moment(delta: float, spread: float = 1.0) -> float:
    """E_p w^2 = E_q w (module docstring); inf if spread^2 >= 2, where the tails of w win."""
    with np.errstate(over="ignore"):  # beyond 1e308 it is as good as infinite
        return float(np.exp(renyi_divergence(delta, spread)))


def renyi_divergence(delta: float, spread: float = 1.0) -> float:
    """Renyi divergence of order 2 of target from source, log E_p w^2: delta^2 at spread 1; nats."""
    d, s = target(delta, spread)
    room = 2 - s**2
    return float(d**2 / room - np.log(s) - np.log(room) / 2) if room > 0 else np.inf


def kl_divergence(delta: float, spread: float = 1.0) -> float:
    """KL(q || p) = (spread^2 + delta^2 - 1)/2 - log spread, nats; finite for every spread.

    About exp(KL) source patients are needed before a self-normalised mean means anything
    (Chatterjee and Diaconis, Annals of Applied Probability 28 (2018) 1099-1135).
    """
    d, s = target(delta, spread)
    return float((s**2 + d**2 - 1) / 2 - np.log(s))


def effective_share(delta: float, spread: float = 1.0) -> float:
    """Limit of n_eff/n = (sum w)^2/(n sum w^2): 1/E_p w^2, in (0, 1]; 0 if spread^2 >= 2."""
    return float(np.exp(-renyi_divergence(delta, spread)))


def weighted_mean_variance(
    coefficients: ArrayLike, n: int, delta: float, spread: float = 1.0, *, normalise: bool = False
) -> float:
    """Variance of the weighted mean of a polynomial f over n source patients.

    The unbiased mean, sum w f/n, exactly:

        (E_p w^2 E_r f^2 - mu^2)/n,    mu = E_q f,
        r = N(2 delta/(2 - spread^2), spread^2/(2 - spread^2)), the law proportional to q^2/p.

    The patients that decide the variance live around the mean of r (2 delta at spread 1), *beyond*
    the target. With `normalise`
    (sum w f/sum w, biased by O(1/n)) the leading term E_p w^2 E_r (f - mu)^2/n. A constant shows
    the difference: unbiased weighting estimates the number 1 with variance (E w^2 - 1)/n.

    Args:
        coefficients: (degree + 1,), constant first. n: source patients.

    Returns:
        inf if spread^2 >= 2 (0 for a constant with `normalise`).
    """
    c, n = finite_array("coefficients", coefficients, 1), whole("n", n, 1)
    d, s = target(delta, spread)
    f = Polynomial(c)
    mu = gaussian_mean(f, d, s**2)
    centred = f - mu if normalise else f
    if not np.any(centred.coef):
        return 0.0
    room = 2 - s**2
    if room <= 0:
        return np.inf
    square = second_moment(d, s) * gaussian_mean(centred**2, 2 * d / room, s**2 / room)
    return float((square - (0 if normalise else mu**2)) / n)


def outside_range(n: int, delta: float, spread: float = 1.0) -> float:
    """Probability that a target patient lies outside the range of n source patients.

        integral q(x) (Phi(x)^n + Phi(-x)^n) dx

    2/(n + 1) if nothing has shifted. The Gaussians overlap everywhere, so the weights exist; but
    out there no sample holds a patient to carry them.
    """
    n, (d, s) = whole("n", n, 1), target(delta, spread)
    # beyond 9 deviations of q is nothing; 20,001 nodes resolve the step of Phi^n for any n here
    x = d + s * np.linspace(-9, 9, 20_001)
    q = np.exp(-(((x - d) / s) ** 2) / 2)
    return float(q @ (np.exp(n * log_ndtr(x)) + np.exp(n * log_ndtr(-x))) / q.sum())


def parted_supports(coefficients: ArrayLike, gap: float) -> Parted:
    """Source uniform on [0, 1], target on [gap, 1 + gap]: weights without the right to them.

    Where both have mass w = 1, elsewhere in the source 0; target patients beyond 1 get none. So

        limit = integral_gap^1 f,    truth = integral_gap^(1 + gap) f,    unseen = gap,

    while n_eff/n = (E w)^2/E w^2 = 1 - gap looks harmless: **n_eff does not see missing support**.
    For f = 1 the limit is 1 - gap: that the weights' mean is below 1 is the one trace it leaves.

    Args:
        coefficients: of the polynomial f, constant first. gap: in [0, 1]; 1 parts them entirely.
    """
    f = Polynomial(finite_array("coefficients", coefficients, 1)).integ()
    gap = number("gap", gap, 0.0, 1.0)
    return Parted(float(f(1) - f(gap)), float(f(1 + gap) - f(gap)), gap, 1 - gap)


def gaussian_mean(f: Polynomial, mean: float, variance: float) -> float:
    """E f(x) for x ~ N(mean, variance), by E x^k = mean E x^(k-1) + (k - 1) variance E x^(k-2)."""
    moments = [1.0, mean]
    for k in range(2, len(f.coef)):
        moments.append(mean * moments[-1] + (k - 1) * variance * moments[-2])
    return float(np.dot(f.coef, moments[: len(f.coef)]))


def target(delta: float, spread: float) -> tuple[float, float]:
    """Checked (delta, spread)."""
    return number("delta", delta), number("spread", spread, 0.0, open_low=True)
