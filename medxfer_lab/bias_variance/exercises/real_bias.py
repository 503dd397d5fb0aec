"""Decision: which of two measured squared biases is real? A mean of m runs scatters by
variance/m, and its square does not average to zero."""

from __future__ import annotations

import numpy as np

from medxfer_lab.course.exercise import Exercise, Variant, Wrong
from medxfer_lab.course.values import Option, choice, letters, options_text
from medxfer_lab.metrics import naive_bias2_floor


def exercise(seed: int) -> Exercise:
    """One study's squared bias is its variance/m, the other's, smaller, is several times that."""
    rng = np.random.default_rng([seed, 4])
    m = int(rng.choice([20, 25, 30, 40, 50]))
    loud_variance = float(rng.choice([0.09, 0.12, 0.15, 0.18]))
    if seed == 0:  # the numbers of the chapter's own measurements
        m, loud_variance = 30, 0.12
    quiet_variance = loud_variance / float(rng.choice([10, 12, 15]))
    loud = _shown(naive_bias2_floor(loud_variance, m))
    quiet = _shown(naive_bias2_floor(quiet_variance, m) * rng.uniform(3.2, 4.2))
    names = [("A", "B"), ("B", "A")][int(rng.integers(2))]
    noise_name, real_name = names
    floors = {
        noise_name: naive_bias2_floor(loud_variance, m),
        real_name: naive_bias2_floor(float(_shown(quiet_variance)), m),
    }
    studies = {
        noise_name: f"squared bias {loud}, variance {_shown(loud_variance)}",
        real_name: f"squared bias {quiet}, variance {_shown(quiet_variance)}",
    }
    numbers = (
        f"Here variance/m is {_shown(floors[noise_name])} for {noise_name} and "
        f"{_shown(floors[real_name])} for {real_name}."
    )
    ordered = _options(noise_name, real_name, numbers, m)
    options = [ordered[i] for i in rng.permutation(len(ordered))]
    best = next(i for i, o in enumerate(options) if not o.diagnosis)
    letter = letters(options)[best]
    return Exercise(
        id="real_bias",
        title="Is this bias real?",
        objective="Correct a measured bias for the number of training sets",
        kind="decision",
        prompt=(
            f"Two strategies were trained on {m} training sets each. The predictions for a few "
            "hundred test patients were averaged over the sets, compared with the true "
            "probabilities, squared, and averaged over the patients:\n\n"
            f"- strategy A: {studies['A']}\n- strategy B: {studies['B']}\n\n"
            f"Which of the two squared biases is evidence of a bias?\n\n{options_text(options)}"
            "\n\nAnswer with a letter."
        ),
        hints=(
            "Suppose a strategy has no bias at all. Is the mean of its predictions over a few "
            "training sets then exactly the truth?",
            f"The mean of m predictions scatters about its expectation with the variance "
            f"variance/m, and the squared distance counts that scatter. Here m = {m}.",
            "Compute variance/m for both, and subtract it from the squared bias.",
        ),
        grade=choice(options),
        right=(
            Variant("letter", letter),
            Variant("with full stop", f" {letter}."),
            Variant("capital", letter.upper()),
            Variant("whole text", options[best].text),
        ),
        wrong=tuple(
            Wrong(o.diagnosis, letters(options)[i], o.diagnosis)
            for i, o in enumerate(options)
            if o.diagnosis
        ),
        solution=(
            "The square of a mean of $m$ runs expects $\\text{bias}^2 + \\text{variance}/m$. "
            f"{numbers} For {noise_name} the squared bias is that and nothing more; for "
            f"{real_name} it is several times as large, though its number is the smaller one. "
            "The estimate to report is squared bias minus variance/m, which may well come out "
            "below zero."
        ),
    )


def _shown(value: float) -> str:
    """Two significant digits without an exponent."""
    return f"{float(f'{value:.2g}'):f}".rstrip("0")


def _options(noise: str, real: str, numbers: str, m: int) -> list[Option]:
    return [
        Option(
            f"{real} only: {noise}'s is what {m} sets with its variance give without any bias",
            f"Yes. {numbers} Subtract it, and nothing is left of {noise}'s.",
            short=f"{real} only",
        ),
        Option(
            f"{noise} only: its squared bias is the larger one",
            f"Size alone says nothing: {noise}'s predictions also scatter far more. {numbers}",
            "judged-by-size",
        ),
        Option(
            "Both: averaged over all these patients, chance would have cancelled",
            "Squares do not cancel. The chance error of the mean is squared patient by patient, "
            f"so without any bias the result still expects variance/m. {numbers}",
            "squares-cancel",
        ),
        Option(
            "Neither: both are a few per cent of the variance",
            "Small against the variance does not mean absent. What a bias must exceed is not the "
            f"variance but its m-th part. {numbers}",
            "compared-with-variance",
        ),
        Option(
            f"Neither: both lie below variance/√{m}",
            "The square root is one step too far: variance/m already is the squared standard "
            f"error of the mean, and the bias is squared too. {numbers}",
            "root-m",
        ),
        Option(
            "Nobody can say without training sets by the thousand",
            f"More sets would help, but {m} suffice here, since what chance contributes is known: "
            f"variance/m. {numbers}",
            "needs-thousands",
        ),
    ]
