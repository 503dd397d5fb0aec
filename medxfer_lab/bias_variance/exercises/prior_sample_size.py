"""Numbers: what a prior is worth in images, per eigendirection, the null space included."""

from __future__ import annotations

import numpy as np

from medxfer_lab.course.exercise import Exercise, Variant, Wrong
from medxfer_lab.course.values import Mistake, apart, array
from medxfer_lab.methods.linear_gaussian import prior_sample_size


def exercise(seed: int) -> Exercise:
    """n0 = sigma^2 / (tau^2 s) for four eigendirections, the last one empty."""
    sigma, tau, s = _numbers(seed)
    answer = prior_sample_size(s, sigma2=sigma**2, tau2=tau**2)
    mistakes = _mistakes(sigma, tau, s)
    seen = [float(value) for value in answer[:3]]
    listed = ", ".join(f"{value:g}" for value in s)
    return Exercise(
        id="prior_sample_size",
        title="What is the prior worth, in images?",
        objective="Express a prior as a number of images, direction by direction",
        kind="number",
        prompt=(
            "The pretrained parameters are a prior with standard deviation "
            f"$\\tau = {tau}$ in every direction; the noise of a label has standard deviation "
            f"$\\sigma = {sigma}$. The second moment of the features has the eigenvalues {listed}. "
            "The last is a direction in which the hospital's images never vary.\n\nFor each "
            "direction: how many images say as much about the parameter as the prior does? Answer "
            "with four numbers in this order; `float('inf')` is one."
        ),
        hints=(
            "Information adds up. What does one image add to the precision (one over the variance) "
            "of the parameter along a direction with eigenvalue $s$?",
            "One image adds $s/\\sigma^2$; the prior has the precision $1/\\tau^2$.",
            "Solve $n_0\\,s/\\sigma^2 = 1/\\tau^2$ for $n_0$. What happens for $s = 0$?",
        ),
        grade=array(
            answer,
            mistakes,
            praise=(
                "Directions with much variation are soon taken over by the data; in the null "
                "space the prior stands for ever, however many images arrive."
            ),
        ),
        right=(
            Variant("list", [*seen, float("inf")]),
            Variant("array", np.asarray(answer)),
            Variant("tuple, rounded", tuple(float(f"{value:.3g}") for value in answer)),
        ),
        wrong=(
            *(Wrong(m.diagnosis, m.value, m.diagnosis) for m in mistakes),
            Wrong("nan in the null space", [*seen, float("nan")], "nan"),
            Wrong("three numbers", seen, "shape"),
        ),
        solution=(
            "An image adds $s/\\sigma^2$ to the precision, the prior brings $1/\\tau^2$, so "
            f"$n_0 = \\sigma^2/(\\tau^2 s)$: {', '.join(f'{v:.3g}' for v in seen)}, and infinitely "
            "many where $s = 0$. After $n$ images the data's weight is $n/(n + n_0)$."
        ),
    )


def _numbers(seed: int) -> tuple[float, float, np.ndarray]:
    """sigma, tau and eigenvalues, drawn until no two slips lead to the same four numbers."""
    rng = np.random.default_rng([seed, 3])
    while True:
        sigma = float(rng.choice([0.3, 0.4, 0.5, 0.6]))
        tau = float(rng.choice([0.05, 0.1, 0.15, 0.2, 0.25]))
        s = np.sort(rng.choice([0.1, 0.2, 0.4, 0.5, 2, 4, 5, 8], 4, replace=False))[::-1].copy()
        s[3] = 0.0
        right = prior_sample_size(s, sigma2=sigma**2, tau2=tau**2)
        if apart([right, *(m.value for m in _mistakes(sigma, tau, s))]):
            return sigma, tau, s


def _mistakes(sigma: float, tau: float, s: np.ndarray) -> list[Mistake]:
    same = np.full(4, sigma**2 / tau**2)
    seen = same[:3] / s[:3]
    return [
        Mistake(
            "null-space-zero",
            [*seen, 0.0],
            "Three are right. In the last direction the images never vary (s = 0), so no number "
            "of them says anything there. How many would it take to match the prior?",
        ),
        Mistake(
            "same-for-all",
            same,
            "You gave one number for all directions. An image informs a direction in proportion "
            "to its eigenvalue s, so each direction has its own answer.",
        ),
        Mistake(
            "eigenvalue-multiplied",
            same * s,
            "The eigenvalue stands on the wrong side: where images say more (large s), fewer of "
            "them match the prior.",
        ),
        Mistake(
            "upside-down",
            [*(1 / seen), 0.0],
            "Upside down: this is the prior's variance over the noise's. It is the noise that "
            "makes many images necessary.",
        ),
        Mistake(
            "tau-not-squared",
            [*(tau * seen), np.inf],
            "You used the prior's standard deviation; its variance belongs here.",
        ),
        Mistake(
            "sigma-not-squared",
            [*(seen / sigma), np.inf],
            "You used the noise's standard deviation; its variance belongs here.",
        ),
    ]
