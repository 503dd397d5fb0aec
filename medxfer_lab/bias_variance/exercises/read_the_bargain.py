"""Plot reading: at which strength is the expected error the lowest?"""

from __future__ import annotations

from typing import Any

import numpy as np

from medxfer_lab.bias_variance.theory import RiskCurve, risk_against_strength
from medxfer_lab.course.exercise import Exercise, Variant, Wrong
from medxfer_lab.course.values import Mistake, apart, number

STRENGTHS = np.geomspace(1e-3, 1e2, 121)
#: a reading on a logarithmic axis is right within this factor: near the lowest point the curve is
#: flat, and the eye is off by a little
FACTOR = 1.6


def exercise(seed: int) -> Exercise:
    """Read the strength of least risk off a figure; the seed draws n, wrongness and noise."""
    curve, n, wrongness = _curve(seed)
    answer = curve.best_strength
    mistakes = _mistakes(curve)
    return Exercise(
        id="read_the_bargain",
        title="Read the bargain",
        objective="Read bias, variance and the best strength off a figure",
        kind="plot reading",
        prompt=(
            f"The figure shows what L2-SP costs on {n} scans, when the pretrained centre misses "
            f"{wrongness:.0%} of the signal: squared bias, variance, and their sum, against the "
            "strength.\n\nAt which strength is the expected error the lowest? Read it off the "
            f"horizontal axis, which is logarithmic; any value within a factor of {FACTOR} passes."
        ),
        hints=(
            "Which of the three curves is the expected error?",
            "Find the lowest point of the sum, and go straight down to the horizontal axis.",
            "The labelled ticks are powers of ten: between $10^a$ and $10^{a+1}$, half way in "
            "distance is $3 \\cdot 10^a$.",
        ),
        grade=_reading(answer, mistakes),
        right=(
            Variant("exact", answer),
            Variant("a little too far right", answer * 1.4),
            Variant("a little too far left", answer / 1.4),
            Variant("text", f"{answer:.2g}"),
        ),
        wrong=(
            *(Wrong(m.diagnosis, m.value, m.diagnosis) for m in mistakes),
            Wrong("a word", "in the middle", "wrong-type"),
            Wrong("negative", -answer, "not-positive"),
        ),
        solution=(
            f"The sum is lowest at about {answer:.2g}. That is neither where the bias is smallest "
            "(on the far left) nor where the variance is (on the far right), and in general not "
            "where the two curves cross: it is where the one rises as fast as the other falls."
        ),
    )


def figure(seed: int) -> tuple[Any, str]:
    """The figure to read, and its alternative text (which gives enough to answer without it)."""
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
    ax.set_ylim(curve.best_excess / 20, 2 * curve.excess.max())
    ax.set_title(f"{n} scans, centre misses {wrongness:.0%} of the signal")
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    ax.grid(alpha=0.3, which="both", axis="x")
    points = [
        f"{curve.excess[i]:.2g} at strength {curve.strengths[i]:.2g}" for i in range(0, 121, 6)
    ]
    alt = (
        "Three curves against the strength on a logarithmic axis: squared bias rises, variance "
        f"falls, and their sum has one lowest point. The sum is {', '.join(points)}."
    )
    return fig, alt


def _reading(answer: float, mistakes: list[Mistake]) -> Any:
    """A number, compared by its logarithm."""
    from medxfer_lab.course.feedback import right, show, wrong
    from medxfer_lab.course.values import as_number

    fallback = number(answer, praise="", wanted="a number read off the horizontal axis")

    def grade(given: Any) -> Any:
        value = as_number(given)
        if value is None or np.isnan(value):
            return fallback(given)
        if value > 0 and abs(np.log(value / answer)) <= np.log(FACTOR):
            return right(
                "There the sum is lowest: a little more strength would cost as much bias as it "
                "saves variance."
            )
        for mistake in mistakes:
            if np.isclose(value, mistake.value, rtol=0.12):
                return wrong(mistake.diagnosis, mistake.message)
        if value <= 0:
            return wrong("not-positive", f"A strength is positive; {show(value)} is not.")
        side = "right" if value > answer else "left"
        return wrong(
            "unknown",
            f"{show(value)} is too far to the {side}. Look at the lowest point of the sum.",
        )

    return grade


def _curve(seed: int) -> tuple[RiskCurve, int, float]:
    """A problem whose readings, right and wrong, are well apart."""
    rng = np.random.default_rng([seed, 8])
    while True:
        n = int(rng.choice([30, 50, 80, 120]))
        wrongness = float(rng.choice([0.2, 0.3, 0.4, 0.5]))
        sigma2 = float(rng.choice([0.3, 0.5, 0.8]))
        curve = risk_against_strength(n, 100, wrongness, sigma2=sigma2, strengths=STRENGTHS)
        ends = min(curve.excess[0], curve.excess[-1])
        if not 0.02 < curve.best_strength < 20 or ends < 1.5 * curve.best_excess:
            continue  # too flat to be read
        logs = [np.log(curve.best_strength), *(_log(m.value) for m in _mistakes(curve))]
        if apart(logs, rtol=0, atol=np.log(FACTOR) + 0.15):
            return curve, n, wrongness


def _log(value: float) -> float:
    return float(np.log(value)) if value > 0 else -50.0 + value


def _mistakes(curve: RiskCurve) -> list[Mistake]:
    crossing = int(np.argmin(np.abs(np.log(curve.bias2 / curve.variance))))
    return [
        Mistake(
            "crossing",
            float(curve.strengths[crossing]),
            "There the two curves cross: squared bias and variance are equal, but their sum is "
            "lower elsewhere.",
        ),
        Mistake(
            "exponent",
            float(np.log10(curve.best_strength)),
            "You read the exponent: the axis is logarithmic, and its ticks are powers of ten.",
        ),
        Mistake(
            "height",
            float(curve.best_excess),
            "This is how low the error gets, the height of the lowest point. The question is for "
            "which strength, so read the horizontal axis.",
        ),
        Mistake(
            "least-bias",
            float(curve.strengths[0]),
            "There the bias is smallest, and the variance largest.",
        ),
        Mistake(
            "least-variance",
            float(curve.strengths[-1]),
            "There the variance is smallest, and the bias largest: the centre is all that is left.",
        ),
    ]
