r"""Bias, variance and noise of an algorithm's predictions, from m independent training sets.

The test patients x_1..x_k and their eta_j = P(y = 1 | x_j) are held fixed. The randomness is the
training set D, with whatever else the m runs draw afresh (initialisation, order of batches): the
variance here is the variance over *all* of it; `crossed_variance` separates the two.

**Squared error.** Averages over patients j of

    noise = Var(y | x_j),   bias2 = (E_D f_D(x_j) - eta_j)^2,   variance = Var_D f_D(x_j),

and E_{D,y} (y - f_D(x_j))^2 = noise + bias2 + variance. With the errors e_i = f_i - eta of the m
runs and their products K_ab = mean_j e_a(j) e_b(j), the estimates are two averages:

    bias2            = mean of K_ab over a != b
    bias2 + variance = mean of K_aa

Two *different* runs share the bias and nothing else, so the first is unbiased. It equals the
naive (mean error)^2 minus s^2/m: (1/m^2) sum_ab = (1/m) diag + (1 - 1/m) offdiag. And the
difference is the sample variance with ddof = 1. Hence noise + bias2 + variance = total exactly,
in the sample, not only on average. bias2 may come out below 0; clipping it would bias it.

With labels instead of eta, e_i = f_i - y and the off-diagonal mean estimates bias2 + noise
(without bias over y too, if the labels are independent of the training sets); from labels alone
the two cannot be told apart.

**Log loss**, in nats. With logits z_D(x), p_D = sigmoid(z_D) and pbar = sigmoid(E_D z_D), the
normalised geometric mean of the p_D,

    E_{D,y} -log p_D(y) = H(eta) + KL(eta || pbar) + E_D KL(pbar || p_D)
                          noise    bias              variance

because KL(pbar || p_D) averages to E softplus(z_D) - softplus(E z_D): the Jensen gap of
softplus(z) = log(1 + e^z). (Around the arithmetic mean of probabilities the terms do not add up.)
Source: T. Heskes, "Bias/variance decompositions for likelihood-based estimators", Neural
Computation 10 (1998) 1425-1433. softplus(mean of m logits) overestimates softplus(E z) by about
pbar(1 - pbar) Var(z)/(2m); the jackknife removes that order, and the leftover is O(1/m^2).

**Intervals** are jackknife intervals over training sets (Tukey's pseudo-values, Student's t): the
estimates are U-statistics of degree two (log loss: smooth functions of means). They cover fresh
training sets at these patients; with over="both" also fresh patients, the two variances being
added, which counts their interaction twice and so is slightly too wide (Owen and Eckles, Annals
of Applied Statistics 6 (2012), show the like for a bootstrap of crossed factors).
"""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import xlogy

from medxfer_lab._checks import finite_array, number, same_length, whole
from medxfer_lab.metrics.intervals import Interval
from medxfer_lab.metrics.scores import binary_labels
from medxfer_lab.metrics.terms import ErrorDecomposition, Parts, assembled, combined

EXTREME_LOGIT = 50.0


def decompose_squared(
    predictions: ArrayLike,
    eta: ArrayLike | None = None,
    labels: ArrayLike | None = None,
    *,
    noise: ArrayLike | None = None,
    level: float = 0.95,
    over: str = "training_sets",
) -> ErrorDecomposition:
    """Bias2, variance and noise of squared error (the Brier score, for probabilities).

    Args:
        predictions: (m, n_test), one row per independent training set, m >= 3.
        eta: (n_test,) true mean of y. For a probability the noise is eta(1 - eta); for a real
            target pass `noise`, Var(y | x), as a number or (n_test,).
        labels: (n_test,) observed y instead of eta; give exactly one of the two.
        level: of the intervals. over: "training_sets", or "both" to cover fresh patients too.
    """
    f = checked_runs("predictions", predictions)
    truth, spread = truth_and_noise(f, eta, labels, noise)
    m, k = f.shape
    error = f - truth
    K = error @ error.T / k
    diagonal, rows, everything = np.diag(K), K.sum(1), K.sum()
    bias = (everything - diagonal.sum()) / (m * (m - 1))
    both = diagonal.mean()
    pairs_left = everything - 2 * rows + diagonal - (diagonal.sum() - diagonal)
    bias_left = pairs_left / ((m - 1) * (m - 2))
    both_left = (diagonal.sum() - diagonal) / (m - 1)
    variance = f.var(0, ddof=1)
    parts = Parts(
        np.array([bias, both - bias]),
        np.stack([bias_left, both_left - bias_left], 1),
        np.stack([error.mean(0) ** 2 - variance / m, variance]),
    )
    return assembled("squared", parts, spread, m, k, level, over)


def decompose_log_loss(
    logits: ArrayLike,
    eta: ArrayLike | None = None,
    labels: ArrayLike | None = None,
    *,
    level: float = 0.95,
    over: str = "training_sets",
) -> ErrorDecomposition:
    """Noise, bias and variance of the log loss around the normalised geometric mean, in nats.

    Args:
        logits: (m, n_test) of log-odds, one row per independent training set, m >= 3. Penalised
            fits only: on separable data an unpenalised head has no finite optimum, its logits
            grow as long as you train, and the decomposition would measure the stopping time.
        eta, labels, level, over: as in `decompose_squared`.

    Raises:
        ValueError: infinite or NaN logits. Warns where |logit| exceeds 50.
    """
    z = np.asarray(logits, dtype=np.float64)
    refuse_diverged(z)
    z = checked_runs("logits", z)
    truth, _ = truth_and_noise(z, eta, labels if labels is None else binary_labels(labels), None)
    m, k = z.shape
    softplus = np.logaddexp(0, z)
    centre = z.mean(0)
    left = (m * centre - z) / (m - 1)  # mean logit without run i
    at_centre, at_left = np.logaddexp(0, centre), np.logaddexp(0, left)
    corrected = m * at_centre - (m - 1) * at_left.mean(0)  # jackknifed softplus(E z): (k,)
    entropy = None if eta is None else -xlogy(truth, truth) - xlogy(1 - truth, 1 - truth)
    noise = 0.0 if entropy is None else entropy
    bias = corrected - truth * centre - noise
    variance = softplus.mean(0) - corrected
    # leave-one-out values of the uncorrected terms: their pseudo-values average to the corrected
    bias_left = (at_left - truth * left - noise).mean(1)
    softplus_left = (softplus.sum(0).mean() - softplus.mean(1)) / (m - 1)
    parts = Parts(
        np.array(
            [(at_centre - truth * centre - noise).mean(), (softplus.mean(0) - at_centre).mean()]
        ),
        np.stack([bias_left, softplus_left - at_left.mean(1)], 1),
        np.stack([bias, variance]),
    )
    return assembled("log", parts, entropy, m, k, level, over)


def compare(
    first: ErrorDecomposition,
    second: ErrorDecomposition,
    *,
    level: float = 0.95,
    over: str = "training_sets",
) -> dict[str, Interval]:
    """Differences first - second of every term, and the ratio of variances, with paired intervals.

    Row i of both must come from the same training set, and the patients must be the same: what the
    two algorithms share then cancels. Keys: "bias" (noise cancels, so labels suffice), "variance",
    "total", and "log_variance_ratio" = log(variance of first / variance of second).
    """
    for name in ("loss", "runs", "patients"):
        a, b = getattr(first, name), getattr(second, name)
        if a != b:
            raise ValueError(f"{name} differs: {a} against {b}; decompose both on the same sets")
    if (first.bias is None) != (second.bias is None):
        raise ValueError(
            "one was decomposed with eta, the other with labels: use the same for both"
        )
    a, b = first.parts, second.parts
    gap = Parts(a.whole - b.whole, a.left_out - b.left_out, a.patients - b.patients)
    terms = {
        name: gap.interval(weights, level, over)
        for name, weights in (("bias", [1, 0]), ("variance", [0, 1]), ("total", [1, 1]))
    }
    if min(a.whole[1], b.whole[1], a.left_out[:, 1].min(), b.left_out[:, 1].min()) > 0:
        log_gap = np.log(a.whole[1]) - np.log(b.whole[1])
        log_left = np.log(a.left_out[:, 1]) - np.log(b.left_out[:, 1])
        relative = a.patients[1] / a.whole[1] - b.patients[1] / b.whole[1]  # delta method
        terms["log_variance_ratio"] = combined(log_gap, log_left, relative, level, over)
    return terms


def checked_runs(name: str, runs: ArrayLike) -> np.ndarray:
    """(m, n_test) float64 with m >= 3, which a jackknife of pairs needs."""
    f = finite_array(name, runs, 2)
    if len(f) < 3:
        raise ValueError(
            f"{name} hold {len(f)} training sets; bias and variance with intervals need at least 3"
        )
    return f


def truth_and_noise(
    f: np.ndarray, eta: ArrayLike | None, labels: ArrayLike | None, noise: ArrayLike | None
) -> tuple[np.ndarray, np.ndarray | None]:
    """The target (n_test,) and, where eta is known, the noise per patient (n_test,)."""
    if (eta is None) == (labels is None):
        raise ValueError("give exactly one of eta (true probabilities) and labels (observed y)")
    if labels is not None:
        if noise is not None:
            raise ValueError("noise goes with eta; from labels, bias2 + noise is one number")
        truth = finite_array("labels", labels, 1)
        same_length("predictions", f, "labels", truth)
        return truth, None
    truth = finite_array("eta", eta, 1)
    same_length("predictions", f, "eta", truth)
    if noise is None:
        if truth.min() < 0 or truth.max() > 1:
            raise ValueError(
                f"eta spans [{truth.min():.3g}, {truth.max():.3g}], not [0, 1]: for a real-valued "
                "target pass noise=Var(y | x) as well"
            )
        return truth, truth * (1 - truth)
    spread = np.broadcast_to(finite_array("noise", noise, (0, 1)), truth.shape)
    if spread.min() < 0:
        raise ValueError(f"noise is {spread.min()}; a variance is at least 0")
    return truth, spread


def refuse_diverged(z: np.ndarray) -> None:
    """Raise on infinite logits, warn on extreme ones, with the likely reason."""
    if not np.isfinite(z).all():
        count = int((~np.isfinite(z)).sum())
        raise ValueError(
            f"{count} of {z.size} logits are infinite or NaN. An unpenalised head on separable "
            "data has no finite optimum: fit with a penalty, or pass logits, not probabilities "
            "that were rounded to 0 or 1"
        )
    if z.size and np.abs(z).max() > EXTREME_LOGIT:
        warnings.warn(
            f"the largest |logit| is {np.abs(z).max():.0f}: fits on separable data grow for as "
            "long as they are trained, and the terms then measure the stopping time: penalise",
            stacklevel=3,
        )


def naive_bias2_floor(variance: float, m: int) -> float:
    """variance/m: the squared bias that m runs of an *unbiased* algorithm seem to have.

    The uncorrected (mean prediction - eta)^2 has expectation bias2 + variance/m.
    """
    return number("variance", variance, 0.0) / whole("m", m, 1)


def bias2_standard_error(
    variance: float, m: int, bias2: float = 0.0, effective_patients: float = 1.0
) -> float:
    """Standard error of the corrected bias2 over training sets, from m runs.

    For one patient exactly, whatever the distribution (a U-statistic of degree two):
        Var = 4 bias2 variance/m + 2 variance^2/(m (m - 1)).
    For an average over patients whose errors are correlated across training sets with covariance
    C, divide by effective_patients = tr(C)^2/tr(C^2): exact for the second term, rough for the
    first. 1, the default, is the worst case (all patients move together).
    """
    variance, bias2 = number("variance", variance, 0.0), number("bias2", bias2, 0.0)
    m = whole("m", m, 2)
    k = number("effective_patients", effective_patients, 1.0)
    return float(np.sqrt((4 * bias2 * variance / m + 2 * variance**2 / (m * (m - 1))) / k))
