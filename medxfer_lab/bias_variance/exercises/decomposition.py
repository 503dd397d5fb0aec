"""Numbers: the decomposition of a squared error, by hand, for four runs and two patients."""

from __future__ import annotations

import numpy as np

from medxfer_lab.course.exercise import Exercise, Variant, Wrong
from medxfer_lab.course.values import Mistake, apart, array

NAMES = ("noise", "bias2", "variance")


def exercise(seed: int) -> Exercise:
    """Noise, corrected squared bias, unbiased variance; every known slip gives other numbers."""
    predictions, eta = _numbers(seed)
    answer = decompose(predictions, eta)
    mistakes = _mistakes(predictions, eta)
    rows = "\n".join(
        f"- training set {i + 1}: {p[0]:.2f} for Ada, {p[1]:.2f} for Ben"
        for i, p in enumerate(predictions)
    )
    return Exercise(
        id="decomposition",
        title="Take an error apart",
        objective="Compute noise, squared bias and variance from predictions of several runs",
        kind="number",
        prompt=(
            "A network was trained four times, on four independent training sets, and predicts "
            f"the probability of disease for two patients:\n\n{rows}\n\nThe data are simulated, so "
            f"the true probabilities are known: $\\eta = {eta[0]:.2f}$ for Ada and "
            f"$\\eta = {eta[1]:.2f}$ for Ben.\n\nTake the expected squared error against a fresh "
            "0/1 label apart, averaged over the two patients: noise, squared bias (corrected for "
            "the four runs), variance over training sets (its unbiased estimate). Answer with "
            "three numbers in this order, or a dict with the keys `noise`, `bias2`, `variance`."
        ),
        hints=(
            "Work patient by patient, then average over the two. The noise is the variance of a "
            "0/1 label with probability $\\eta$: it needs no predictions.",
            "Variance: squared distances of the four predictions from their mean, summed, divided "
            "by 3. `np.var(..., ddof=1)` does it.",
            "Squared bias: (mean prediction $-\\ \\eta$) squared, minus variance/4.",
        ),
        grade=array(answer, mistakes, praise=_PRAISE, names=NAMES, rtol=0.01, atol=2e-4),
        right=(
            Variant("list", [float(v) for v in answer]),
            Variant("dict", dict(zip(NAMES, map(float, answer)))),
            Variant("array", np.array(answer)),
            Variant("tuple, four digits", tuple(round(float(v), 4) for v in answer)),
        ),
        wrong=(
            *(Wrong(m.diagnosis, m.value, m.diagnosis) for m in mistakes),
            Wrong("the sum only", float(sum(answer)), "shape"),
        ),
        solution=(
            f"Noise: the mean of $\\eta(1-\\eta)$, {answer[0]:.4f}. Variance (divided by 3, "
            f"averaged over the patients): {answer[2]:.4f}. Mean prediction minus $\\eta$, "
            f"squared and averaged: {answer[1] + answer[2] / 4:.4f}; minus variance/4 this is "
            f"{answer[1]:.4f}. A negative squared bias is no mistake: an estimate of "
            "something near zero may fall below it."
        ),
    )


_PRAISE = (
    "And the three add up to the mean squared error that fresh labels would show, averaged over "
    "these four runs."
)


def decompose(predictions: np.ndarray, eta: np.ndarray) -> np.ndarray:
    """Noise, squared bias minus variance/m, variance: (3,). predictions: (m, patients)."""
    m = len(predictions)
    variance = predictions.var(axis=0, ddof=1).mean()
    bias2 = ((predictions.mean(axis=0) - eta) ** 2).mean() - variance / m
    return np.array([(eta * (1 - eta)).mean(), bias2, variance])


def _numbers(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Predictions (4, 2) and eta (2,), two decimals, drawn until all slips are told apart."""
    rng = np.random.default_rng([seed, 7])
    while True:
        eta = np.round(rng.uniform(0.15, 0.85, 2), 2)
        shift = rng.choice([-1, 1], 2) * rng.uniform(0.08, 0.2, 2)
        predictions = np.round(eta + shift + 0.12 * rng.standard_normal((4, 2)), 2)
        if predictions.min() < 0.03 or predictions.max() > 0.97:
            continue
        values = [decompose(predictions, eta), *(m.value for m in _mistakes(predictions, eta))]
        if apart(values, rtol=0.02, atol=8e-4):
            return predictions, eta


def _mistakes(predictions: np.ndarray, eta: np.ndarray) -> list[Mistake]:
    noise, bias2, variance = decompose(predictions, eta)
    m = len(predictions)
    raw = bias2 + variance / m
    divided_by_m = variance * (m - 1) / m
    mean = predictions.mean(axis=0)
    entropy = -(eta * np.log(eta) + (1 - eta) * np.log(1 - eta)).mean()
    divergence = eta * np.log(eta / mean) + (1 - eta) * np.log((1 - eta) / (1 - mean))
    return [
        Mistake(
            "divided-by-m",
            [noise, raw - divided_by_m / m, divided_by_m],
            "The variance is divided by 4. Four predictions lie closer to their own mean than to "
            "the true one, so the unbiased estimate divides by 3 (ddof=1).",
        ),
        Mistake(
            "uncorrected-bias",
            [noise, raw, variance],
            "Noise and variance are right. The squared bias still holds variance/4, the chance "
            "error of a mean of four runs.",
        ),
        Mistake(
            "forgot-noise",
            [0.0, bias2, variance],
            "Squared bias and variance are right. The noise is not 0: a patient with probability "
            "η has label 1 or 0, and no prediction meets both.",
        ),
        Mistake(
            "log-loss-parts",
            [entropy, divergence.mean(), variance],
            "Here parts of two losses are mixed: entropy and Kullback-Leibler divergence belong to "
            "the log loss. The squared error has η(1 − η) and squared distances.",
        ),
        Mistake(
            "patients-averaged-first",
            [noise, (mean.mean() - eta.mean()) ** 2 - variance / m, variance],
            "You averaged over the patients before squaring: one patient's error then cancels the "
            "other's. Square patient by patient.",
        ),
        Mistake(
            "correction-added",
            [noise, raw + variance / m, variance],
            "The correction has the wrong sign: the raw square is too large, by variance/4 on "
            "average, so subtract it.",
        ),
        Mistake(
            "spread-not-variance",
            [noise, bias2, float(np.sqrt(variance))],
            "The last number is a standard deviation; the parts that add up are variances.",
        ),
    ]
