"""Prediction: by which factor does a probe's variance fall as labels are added? Committed first,
then compared with what was measured, whatever that turned out to be."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from medxfer_lab.course.exercise import Exercise, Variant, Wrong
from medxfer_lab.course.feedback import Feedback, right, show, wrong, wrong_type
from medxfer_lab.course.record import RecordError, records
from medxfer_lab.course.values import Mistake, as_number
from medxfer_lab.methods.linear_gaussian import power_law, random_design

#: the record, and where it keeps the variance over training sets of a probe on ImageNet features
RECORD, KEY = "heads.simulated", "teacher.imagenet.{n}.squared.variance.mean"
#: training sizes to choose pairs from (those the record has are used)
SIZES = (16, 32, 64, 100, 250, 500, 1000)
#: a prediction within this factor of the measured one passes
FACTOR = 1.5


@dataclass(frozen=True)
class Reveal:
    """Variance at the ``small`` and the ``large`` training size, and where it is from."""

    small: int
    large: int
    at_small: float
    at_large: float
    source: str

    @property
    def factor(self) -> float:
        """By how much the variance falls (below 1: it grows)."""
        return self.at_small / self.at_large

    @property
    def ratio(self) -> float:
        """How many times more labels: the 1/n law's prediction."""
        return self.large / self.small


def exercise(seed: int) -> Exercise:
    """The seed picks the two training sizes; right and wrong are relative to what was measured."""
    reveal = revealed(seed)
    measured = reveal.factor
    return Exercise(
        id="predict_the_variance",
        title="Predict first, then train",
        objective="Predict how variance falls with the number of labels, before training",
        kind="prediction",
        prompt=(
            f"Probes on frozen ImageNet features are trained on {reveal.small} labelled scans, "
            f"then on {reveal.large}, many times each, on independent training sets; at each size "
            "the strength of the penalty is tuned. How many times smaller is the variance of the "
            f"predicted probability at {reveal.large} scans than at {reveal.small}?\n\n"
            "Commit yourself to a number before you look: the answer reveals what was measured. A "
            f"prediction within a factor of {FACTOR} passes."
        ),
        hints=(
            "Does the variance grow or fall with more labels? Your factor is above 1 if it falls.",
            f"If every label carried the same information and nothing held the weights, variance "
            f"would fall as 1/n: by {reveal.ratio:.3g} here.",
            "With few labels the tuned penalty is strong and holds the variance down already; with "
            "many it is relaxed, and gives variance back. So expect less than the 1/n law gives.",
        ),
        grade=_grade(reveal),
        right=(
            Variant("exact", measured),
            Variant("a little high", measured * 1.3),
            Variant("a little low", measured / 1.3),
            Variant("text", f"{measured:.3g}"),
        ),
        wrong=tuple(
            Wrong(name, value, name)
            for name, value in {
                **{law.diagnosis: law.value for law in _laws(reveal)},
                "too-large": 3.1 * max(measured, reveal.ratio**2),
                "too-small": min(measured, 1 / reveal.ratio) / 3.1,
                "not-positive": -measured,
                "wrong-type": "a lot",
            }.items()
        ),
        solution=(
            f"{reveal.source} {show(reveal.at_small, 3)} at {reveal.small} scans and "
            f"{show(reveal.at_large, 3)} at {reveal.large}: a factor of {measured:.3g}, where the "
            f"1/n law says {reveal.ratio:.3g}. The penalty was tuned at each size. Where it is "
            "strong it has cut the variance before the labels could, and paid with bias; so the "
            "variance alone need not follow the law, though the error as a whole falls."
        ),
    )


def _laws(reveal: Reveal) -> list[Mistake]:
    """Predictions that follow from a rule of thumb, those that are off here."""
    ratio = reveal.ratio
    laws = [
        Mistake("one-over-n", ratio, "The 1/n law holds for weights that nothing but data holds."),
        Mistake("root-n", np.sqrt(ratio), "That is the law of a *standard deviation* under 1/n."),
        Mistake("no-change", 1.0, "You expected no change."),
        Mistake("grows", 1 / ratio, "Below 1 means that the variance grows with more labels."),
        Mistake("n-squared", ratio**2, "That is faster than any law of averages."),
    ]
    return [law for law in laws if _off(law.value, reveal.factor) > 1.05 * FACTOR]


def revealed(seed: int) -> Reveal:
    """The measured variances at two sizes; from theory, and saying so, where no record is."""
    rng = np.random.default_rng([seed, 5])
    known = measured_variances()
    source = "Measured on simulated scans:"
    if len(known) < 2 or max(known) < 4 * min(known):
        source = "The record of this measurement is not on this computer; theory expects"
        known = {n: expected_variance(n) for n in SIZES}
    pairs = [(a, b) for a in known for b in known if b >= 4 * a]
    small, large = pairs[int(rng.integers(len(pairs)))]
    return Reveal(small, large, known[small], known[large], source)


def measured_variances() -> dict[int, float]:
    """Training size -> variance, from the chapter's record; empty where it is absent or damaged,
    for a missing file should cost a learner the revelation, not the exercise."""
    found = {}
    try:
        record = records("bias_variance")[RECORD]
        for n in SIZES:
            with contextlib.suppress(KeyError):
                found[n] = float(record.value(KEY.format(n=n)))
    except (KeyError, RecordError):
        return {}
    return found


def expected_variance(n: int) -> float:
    """Variance over random designs of L2-SP at the best strength, 300 features of falling
    variance, a centre at 0 and noise as large as the signal."""
    s = power_law(300, 1.0)
    b = np.full(300, 1 / np.sqrt(s.sum()))
    risks = [random_design(s, b, 1.0, n, lam) for lam in np.geomspace(1e-2, 1e2, 41)]
    return float(min(risks, key=lambda risk: risk.excess).variance)


def _grade(reveal: Reveal) -> Callable[[Any], Feedback]:
    measured = reveal.factor
    shown = (
        f"{reveal.source} {show(reveal.at_small, 3)} at {reveal.small} scans, "
        f"{show(reveal.at_large, 3)} at {reveal.large}: a factor of {measured:.3g}. (The 1/n law "
        f"alone would give {reveal.ratio:.3g}.)"
    )

    def grade(answer: Any) -> Feedback:
        value = as_number(answer)
        if value is None or not np.isfinite(value):
            return wrong_type(answer, "a number, how many times smaller", "answer = 2.5")
        if value <= 0:
            return wrong("not-positive", "A factor is positive: 2 means half the variance.")
        score = (
            f"You said {show(value, 3)}, off by a factor of {_off(value, measured):.3g}. {shown}"
        )
        if _off(value, measured) <= FACTOR:
            return right(f"A good prediction. {score}")
        for law in _laws(reveal):
            if np.isclose(value, law.value, rtol=0.03):
                return wrong(law.diagnosis, f"{law.message} {score}")
        if value > measured:
            return wrong("too-large", f"It falls less than you thought. {score}")
        return wrong("too-small", f"It falls more than you thought. {score}")

    return grade


def _off(a: float, b: float) -> float:
    return float(np.exp(abs(np.log(a / b))))
