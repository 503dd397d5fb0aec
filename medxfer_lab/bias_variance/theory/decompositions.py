"""Bias, variance and noise where the distribution of training sets is known in full.

No estimate here: expectations are sums over all training sets, with their probabilities.
`medxfer_lab.metrics.decompose_squared` and `decompose_log_loss` estimate the same terms from m
runs. All terms are averages over the test patients.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import xlogy

from medxfer_lab._checks import finite_array, number, same_length


@dataclass(frozen=True)
class Terms:
    """The terms of an expected loss; total is computed on its own, not as their sum.

    Floats, or arrays when a parameter was an array. For log loss `bias` is KL(eta || pbar) and
    `variance` E KL(pbar || p_D), in nats; for squared error `bias` is the squared bias.
    """

    noise: float | np.ndarray
    bias: float | np.ndarray
    variance: float | np.ndarray
    total: float | np.ndarray


@dataclass(frozen=True)
class TinyWorld:
    """A world with a handful of training sets and patients.

    predictions: (m, k) predicted probability of disease, by training set and patient.
    weights: (m,) probability of each training set. eta: (k,) true probability of disease.
    """

    predictions: np.ndarray
    weights: np.ndarray
    eta: np.ndarray


def squared_terms(predictions: ArrayLike, weights: ArrayLike, eta: ArrayLike) -> Terms:
    """Exact decomposition of the expected squared error, E_D E_y (y - f_D(x))^2.

        noise = eta(1 - eta)    bias = (E_D f_D - eta)^2    variance = E_D (f_D - E_D f_D)^2

    Args:
        predictions: (m, k), weights: (m,) summing to 1, eta: (k,), as in `TinyWorld`.
    """
    f, w, eta = world(predictions, weights, eta)
    mean = w @ f
    by_label = eta * (1 - f) ** 2 + (1 - eta) * f**2  # E_y (y - f)^2: (m, k)
    return Terms(
        noise=float((eta * (1 - eta)).mean()),
        bias=float(((mean - eta) ** 2).mean()),
        variance=float((w @ (f - mean) ** 2).mean()),
        total=float((w @ by_label).mean()),
    )


def log_loss_terms(predictions: ArrayLike, weights: ArrayLike, eta: ArrayLike) -> Terms:
    """Exact decomposition of the expected log loss, E_D E_y -log p_D(y), in nats.

        noise = H(eta)    bias = KL(eta || pbar)    variance = E_D KL(pbar || p_D)

    with logit pbar = E_D logit p_D, the normalised geometric mean (Heskes, Neural Computation 10
    (1998) 1425-1433). Around the arithmetic mean of probabilities the terms would not add up.

    Args:
        as in `squared_terms`; predictions strictly between 0 and 1.
    """
    p, w, eta = world(predictions, weights, eta)
    if p.min() <= 0 or p.max() >= 1:
        raise ValueError(
            f"predictions span [{p.min()}, {p.max()}]; the log loss of a certain prediction can be "
            "infinite: keep them strictly between 0 and 1"
        )
    pbar = 1 / (1 + np.exp(-(w @ np.log(p / (1 - p)))))
    by_label = -eta * np.log(p) - (1 - eta) * np.log(1 - p)
    entropy = -xlogy(eta, eta) - xlogy(1 - eta, 1 - eta)
    return Terms(
        noise=float(entropy.mean()),
        bias=float(kl(eta, pbar).mean()),
        variance=float((w @ kl(pbar, p)).mean()),
        total=float((w @ by_label).mean()),
    )


def kl(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Kullback-Leibler divergence of Bernoulli(q) from Bernoulli(p), in nats; 0 log 0 = 0."""
    return xlogy(p, p) - xlogy(p, q) + xlogy(1 - p, 1 - p) - xlogy(1 - p, 1 - q)


def worked_example() -> TinyWorld:
    """Three equally likely training sets, two patients: the chapter's worked example.

    The first patient is easy to call and the runs agree; the second is a coin the runs disagree on.
    """
    return TinyWorld(
        predictions=np.array([[0.8, 0.2], [0.9, 0.6], [0.7, 0.7]]),
        weights=np.full(3, 1 / 3),
        eta=np.array([0.9, 0.5]),
    )


def beta_bargain(eta: float, centre: float, strength: ArrayLike, n: int) -> Terms:
    """The bargain in one number: estimate a prevalence from n labels and a prior guess.

    The prediction (strength * centre + number of positives)/(strength + n) counts the prior guess
    as `strength` imaginary labels. Over training sets of n labels, Bernoulli(eta) each:

        bias = (strength/(strength + n))^2 (centre - eta)^2
        variance = n eta (1 - eta)/(strength + n)^2

    The centre is in the bias only; the strength is in both, and that is the bargain.

    Args:
        eta: true prevalence. centre: prior guess, in [0, 1]. strength: imaginary labels >= 0,
            scalar or (k,). n: labels; strength + n must be above 0.
    """
    eta, centre = number("eta", eta, 0, 1), number("centre", centre, 0, 1)
    a = finite_array("strength", strength, (0, 1))
    n = number("n", n, 0.0)
    if a.min() < 0 or a.min() + n <= 0:
        raise ValueError(f"strength reaches {a.min()} with n = {n}; expected strength + n above 0")
    noise = eta * (1 - eta)
    bias = (a / (a + n)) ** 2 * (centre - eta) ** 2
    variance = n * noise / (a + n) ** 2
    plain = (lambda v: float(v)) if a.ndim == 0 else (lambda v: v)
    return Terms(noise, plain(bias), plain(variance), plain(noise + bias + variance))


def world(predictions: ArrayLike, weights: ArrayLike, eta: ArrayLike) -> tuple[np.ndarray, ...]:
    """Checked (predictions, weights, eta)."""
    f = finite_array("predictions", predictions, 2)
    w, eta = finite_array("weights", weights, 1), finite_array("eta", eta, 1)
    same_length("predictions", f, "eta", eta)
    same_length("predictions", f, "weights", w, axis=0)
    if w.min() < 0 or abs(w.sum() - 1) > 1e-9:
        raise ValueError(f"weights sum to {w.sum():.6g}; expected probabilities that sum to 1")
    if eta.min() < 0 or eta.max() > 1:
        raise ValueError(f"eta spans [{eta.min():.3g}, {eta.max():.3g}]; expected [0, 1]")
    return f, w, eta
