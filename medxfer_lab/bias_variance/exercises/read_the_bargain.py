"""Plot reading: at which strength do squared bias and variance cost the same?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from medxfer_lab.bias_variance.theory import RiskCurve, risk_against_strength
from medxfer_lab.course.exercise import Exercise, Variant, Wrong
from medxfer_lab.course.feedback import Feedback, right, show, wrong, wrong_type
from medxfer_lab.course.values import Mistake, apart, as_number

STRENGTHS = np.geomspace(1e-3, 1e2, 121)
#: a reading off a logarithmic axis is right within this factor
FACTOR = 1.4


def exercise(seed: int) -> Exercise:
    """Read a crossing off :func:`figure`; the seed draws n, the centre's error and the noise."""
    curve, n, wrongness = _curve(seed)
    answer = crossing(curve)
    mistakes = _mistakes(curve)
    return Exercise(
        id="read_the_bargain",
        title="Read the bargain",
        objective="Read bias, variance and the best strength off a figure",
        kind="plot reading",
        prompt=(
            f"The figure shows what L2-SP is expected to cost on {n} scans, when the pretrained "
            f"centre misses {wrongness:.0%} of the signal: squared bias, variance, and their sum, "
            "against the strength.\n\nAt which strength do squared bias and variance cost the "
            "same? Read it off the horizontal axis, which is logarithmic; a reading within a "
            f"factor of {FACTOR} passes."
        ),
        hints=(
            "Two of the three curves matter here. Where do they meet?",
            "From where the dashed and the dash-dotted curve cross, go straight down to the "
            "horizontal axis.",
            "The labelled ticks are powers of ten: between $10^a$ and $10^{a+1}$, half way in "
            "distance is $3 \\cdot 10^a$. The thin lines stand at 2, 3, ... 9 times $10^a$.",
        ),
        grade=_reading(answer, mistakes),
        right=(
            Variant("exact", answer),
            Variant("a little too far right", answer * 1.3),
            Variant("a little too far left", answer / 1.3),
            Variant("text", f"{answer:.2g}"),
        ),
        wrong=(
            *(Wrong(m.diagnosis, m.value, m.diagnosis) for m in mistakes),
            Wrong("a word", "in the middle", "wrong-type"),
            Wrong("negative", -4 * answer - 5, "not-positive"),
        ),
        solution=(
            f"The curves cross at about {answer:.2g}. Their sum is lowest elsewhere, at about "
            f"{curve.best_strength:.2g}: not where the two are equal, but where the one rises as "
            "fast as the other falls."
        ),
    )


def figure(seed: int = 0) -> tuple[Any, str]:
    """The matplotlib figure to read, and its alternative text, which suffices to answer."""
    import matplotlib.pyplot as plt

    from medxfer_lab.course import style

    style.apply()
    curve, n, wrongness = _curve(seed)
    fig, ax = plt.subplots(figsize=(6, 3.4))
    lines = [
        ("squared bias", curve.bias2, style.COLOURS["bias"], "--"),
        ("variance", curve.variance, style.COLOURS["variance"], "-."),
        ("sum", curve.excess, "#222222", "-"),
    ]
    for name, values, colour, dash in lines:
        ax.plot(curve.strengths, values, dash, color=colour, label=name)
    ax.set(xscale="log", yscale="log", xlabel="strength λ", ylabel="expected squared error")
    ax.set_ylim(curve.best_excess / 30, 2 * curve.excess.max())
    ax.set_title(f"{n} scans, centre misses {wrongness:.0%} of the signal")
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    ax.grid(alpha=0.3, which="both", axis="x")
    return fig, _alternative(curve)


def crossing(curve: RiskCurve) -> float:
    """The strength at which squared bias equals variance, between two points of the curve."""
    gap = np.log(curve.bias2 / curve.variance)  # rises with the strength
    return float(np.exp(np.interp(0.0, gap, np.log(curve.strengths))))


def _alternative(curve: RiskCurve) -> str:
    points = [
        f"at {curve.strengths[i]:.2g} {curve.bias2[i]:.2g} and {curve.variance[i]:.2g}"
        for i in range(24, 121, 8)
    ]
    return (
        "Three curves against the strength, both axes logarithmic: squared bias rises, variance "
        "falls, they cross once, and their sum has one lowest point. Squared bias and variance by "
        f"strength: {'; '.join(points)}."
    )


def _reading(answer: float, mistakes: list[Mistake]) -> Callable[[Any], Feedback]:
    """A check of a reading: compared by ratio, for the axis is logarithmic."""

    def grade(given: Any) -> Feedback:
        value = as_number(given)
        if value is None or np.isnan(value):
            return wrong_type(given, "a number read off the horizontal axis", "answer = 0.3")
        if value > 0 and abs(np.log(value / answer)) <= np.log(FACTOR):
            return right("Left of it variance is the larger cost, right of it bias.")
        for mistake in mistakes:
            if np.isclose(value, mistake.value, rtol=0.15):
                return wrong(mistake.diagnosis, mistake.message)
        if value <= 0:
            return wrong("not-positive", f"A strength is positive; {show(value)} is not.")
        side = "right" if value > answer else "left"
        return wrong(
            "unknown", f"{show(value)} is too far to the {side} of where the two curves cross."
        )

    return grade


def _curve(seed: int) -> tuple[RiskCurve, int, float]:
    """A problem whose readings, right and wrong, are well apart on the axis."""
    rng = np.random.default_rng([seed, 8])
    while True:
        n = int(rng.choice([50, 60, 80, 100, 120]))
        wrongness = float(rng.choice([0.1, 0.15, 0.2, 0.3, 0.4]))
        sigma2 = float(rng.choice([0.1, 0.3, 0.5, 0.8]))
        curve = risk_against_strength(n, 100, wrongness, sigma2=sigma2, strengths=STRENGTHS)
        readings = [crossing(curve), *(m.value for m in _mistakes(curve))]
        positive = np.log([value for value in readings if value > 0])
        if 0.05 < readings[0] < 10 and apart(list(positive), rtol=0, atol=np.log(1.7)):
            return curve, n, wrongness


def _mistakes(curve: RiskCurve) -> list[Mistake]:
    answer = crossing(curve)
    height = float(np.exp(np.interp(np.log(answer), np.log(curve.strengths), np.log(curve.bias2))))
    return [
        Mistake(
            "lowest-sum",
            curve.best_strength,
            "There the sum is lowest. It is not where the two parts are equal.",
        ),
        Mistake(
            "exponent",
            float(np.log10(answer)),
            "You read the exponent: the axis is logarithmic, its ticks are powers of ten.",
        ),
        Mistake(
            "height",
            height,
            "This is how much they cost where they cross, read off the vertical axis. The question "
            "is at which strength.",
        ),
        Mistake(
            "least-bias",
            float(curve.strengths[0]),
            "There the bias is smallest, and the variance largest.",
        ),
        Mistake(
            "least-variance",
            float(curve.strengths[-1]),
            "There the variance is smallest, and the bias largest: only the centre is left.",
        ),
    ]
