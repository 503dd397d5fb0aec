"""Bug: the EM estimate of a prevalence divides by label counts that the network never meant."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from medxfer_lab.course.exercise import Exercise, Variant, Wrong
from medxfer_lab.course.feedback import UNKNOWN, Feedback, wrong
from medxfer_lab.course.functions import call_by_name, function
from medxfer_lab.course.values import Grade, Mistake, as_number
from medxfer_lab.domain_shift.exercises.words import percent
from medxfer_lab.methods.label_shift import em_prevalence

BUGGY = """
def em(probabilities_target, probabilities_source, labels_source):
    prior = np.mean(labels_source)
    prevalence = prior
    for _ in range(100):
        diseased = probabilities_target * prevalence / prior
        healthy = (1 - probabilities_target) * (1 - prevalence) / (1 - prior)
        prevalence = np.mean(diseased / (diseased + healthy))
    return prevalence
""".strip()

_SOLUTION = BUGGY.replace("np.mean(labels_source)", "np.mean(probabilities_source)")

#: hidden inputs, what a learner's own stopping rule may cost, and the steps of ours
TRIALS, TOLERANCE, STEPS = 9, 2e-3, 100

Step = Callable[[np.ndarray, float, float], np.ndarray]


def exercise(seed: int) -> Exercise:
    """A corrected estimator, tried on hidden hospitals; the seed draws the one of the prompt."""
    truth, shown = _shown(seed)
    labels = shown["labels_source"]
    means = {name: float(np.mean(values)) for name, values in shown.items()}
    buggy, mended = em_of_labels(**shown), em(**shown)
    mistakes = _mistakes()
    return Exercise(
        id="em_bug",
        title="The epidemic that goes unseen",
        objective="Estimate a prevalence without labels, from the right starting prior",
        kind="bug",
        prompt=(
            "A team estimates the prevalence at a new hospital from a network's probabilities "
            f"alone, by EM:\n\n```python\n{BUGGY}\n```\n\n"
            f"`labels_source` are the {len(labels)} labels of the training set. Of them "
            f"{percent(means['labels_source'])} are diseased, because diseased patients were drawn "
            "more often. Afterwards the network was recalibrated on the source hospital's ordinary "
            "patients. `probabilities_source` is what it says of these: "
            f"{means['probabilities_source']:.3f} on average. `probabilities_target` is what it "
            f"says at the new hospital: {means['probabilities_target']:.3f} on average. The "
            "diseased, and the healthy, look the same everywhere: $p(x|y)$ is kept. The function "
            f"says {buggy:.3f}; a review of the charts says {truth:.2f}.\n\nAnswer with a "
            "corrected function of the same three arguments (arrays; the labels are 0 and 1) that "
            "returns the prevalence of the target. It will be tried on other hospitals."
        ),
        hints=(
            "Feed it the source hospital twice, as source and as target. Nothing has shifted, so "
            "what should come out? What does?",
            "The E-step takes out the prevalence that the network's probabilities already hold, "
            "and puts the new one in. Which prevalence do they hold: that of a list of labels?",
            "If nothing shifted, every probability must stay as it is: then the mean of the "
            "network's probabilities at the source must be the `prior`.",
        ),
        grade=_grade(mistakes),
        right=(
            Variant("prior from the mean prediction", em),
            Variant("any start will do", lambda p, s, y: _iterate(p, np.mean(s), start=np.mean(y))),
            Variant("steps from step to step", _telescoping),
            Variant("without EM", lambda p, s, y: em_prevalence(p, np.mean(s)).prevalence),
        ),
        wrong=(
            *(Wrong(m.diagnosis, m.value, m.diagnosis) for m in mistakes),
            Wrong("clipped", lambda p, s, y: np.clip(em(p, s, y), 0.05, 0.95), "clipped"),
            Wrong("nothing returned", lambda p, s, y: None, "returns-nothing"),
            Wrong("posteriors returned", lambda p, s, y: p, "shape"),
            Wrong("a number", mended, "wrong-type"),
        ),
        solution=(
            "EM divides by the prevalence that the network's probabilities hold. They were "
            "calibrated at the source hospital, so that is their mean there. The share of diseased "
            "in the training set does not matter. The line is `prior = "
            f"np.mean(probabilities_source)`, and {buggy:.3f} becomes {mended:.3f}:\n\n"
            f"```python\n{_SOLUTION}\n```\n\n"
            "With this prior, EM leaves a hospital alone where nothing has shifted. For the result "
            "to be the prevalence, the probabilities must also be calibrated at the source, and a "
            "temperature alone need not even bring their mean to the prevalence there."
        ),
    )


def em(
    probabilities_target: np.ndarray, probabilities_source: np.ndarray, labels_source: np.ndarray
) -> float:
    r"""Prevalence of the target by EM under label shift, from probabilities alone.

    .. math:: \rho \leftarrow \frac1m \sum_i \frac{p_i\,\rho/\pi}
        {p_i\,\rho/\pi + (1-p_i)(1-\rho)/(1-\pi)}, \qquad \pi = \text{mean source prediction}

    probabilities: (m,) and (n,) P(y=1|x) of the source; the labels are not used. The step is
    equation 2.9 of Saerens, Latinne & Decaestecker (2002), the prior that of Alexandari, Kundaje &
    Shrikumar (2020).
    """
    return _iterate(probabilities_target, float(np.mean(probabilities_source)))


def em_of_labels(
    probabilities_target: np.ndarray, probabilities_source: np.ndarray, labels_source: np.ndarray
) -> float:
    """The function of the prompt: EM with the prior of the label counts."""
    return _iterate(probabilities_target, float(np.mean(labels_source)))


def draw(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """A hidden hospital by argument: a third rare disease, a third of nearly all diseased.

    Drawn again until ``STEPS`` steps lie within a quarter of ``TOLERANCE`` of the maximum of the
    likelihood, so that it is the answer that is judged and not its stopping rule.
    """
    while True:
        target = [(0.01, 0.04), (0.1, 0.9), (0.92, 0.97)][int(rng.integers(3))]
        found = _hospitals(rng, float(rng.uniform(*target)))
        p, prior = found["probabilities_target"], float(np.mean(found["probabilities_source"]))
        if abs(em(**found) - em_prevalence(p, prior).prevalence) < TOLERANCE / 4:
            return found


def _hospitals(rng: np.random.Generator, target_prevalence: float) -> dict[str, np.ndarray]:
    """Probabilities, calibrated at the source, at two hospitals, and an enriched list of labels.

    The scores are normal in each class, with equal variance.
    """
    source_prevalence = float(rng.uniform(0.15, 0.4))
    enriched = float(rng.choice([0.5, 0.6, 0.7]))
    distance = float(rng.uniform(1.7, 2.6))

    def probabilities(n: int, prevalence: float) -> np.ndarray:
        diseased = np.arange(n) < round(n * prevalence)
        score = rng.standard_normal(n) + distance * diseased
        log_likelihood_ratio = distance * score - distance**2 / 2
        odds = source_prevalence / (1 - source_prevalence) * np.exp(log_likelihood_ratio)
        return odds / (1 + odds)

    return {
        "probabilities_target": probabilities(500, target_prevalence),
        "probabilities_source": probabilities(800, source_prevalence),
        "labels_source": rng.permutation(np.arange(400) < round(400 * enriched)).astype(int),
    }


def _shown(seed: int) -> tuple[float, dict[str, np.ndarray]]:
    """Prevalence and arrays of the prompt: the bug misleads by a lot, the mended function not."""
    rng = np.random.default_rng([seed, 24])
    while True:
        truth = float(rng.choice([0.3, 0.35, 0.4, 0.45, 0.5, 0.55]))
        found = _hospitals(rng, truth)
        if em_of_labels(**found) < truth - 0.1 and abs(em(**found) - truth) < 0.03:
            return truth, found


def _posterior(p: np.ndarray, old: float, new: float) -> np.ndarray:
    diseased, healthy = p * new / old, (1 - p) * (1 - new) / (1 - old)
    return diseased / (diseased + healthy)


def _iterate(p: np.ndarray, prior: float, start: float | None = None, step: Step = _posterior):
    """``STEPS`` times the mean of ``step(p, prior, prevalence)``."""
    prevalence = prior if start is None else start
    for _ in range(STEPS):
        prevalence = float(np.mean(step(p, prior, prevalence)))
    return prevalence


def _grade(mistakes: list[Mistake]) -> Grade:
    check = function(
        em,
        draw,
        mistakes,
        praise=(
            "Right at every hidden hospital. The prior to take out is the one that the "
            "probabilities hold, and their own mean at the source tells it."
        ),
        trials=TRIALS,
        rtol=0.0,
        atol=TOLERANCE,
    )

    def grade(answer: Any) -> Feedback:
        found = check(answer)
        return _clipped(answer) or found if found.diagnosis == UNKNOWN else found

    return grade


def _clipped(answer: Any) -> Feedback | None:
    """The feedback for a function that is right between two bounds and stops at them."""
    rng = np.random.default_rng(0)
    inputs = [draw(rng) for _ in range(TRIALS)]
    wanted = np.array([em(**x) for x in inputs])
    got = np.array([as_number(call_by_name(answer, x)) for x in inputs], dtype=float)
    low, high = got.min(), got.max()
    if low < high and np.allclose(got, np.clip(wanted, low, high), rtol=0, atol=TOLERANCE):
        return wrong(
            "clipped",
            f"Right between {low:.3g} and {high:.3g}, and cut off there. A prevalence of 1 % is no "
            "numerical accident: at a screening service it may be the answer.",
        )
    return None


def _mistakes() -> list[Mistake]:
    return [
        Mistake(
            "label-counts",
            em_of_labels,
            "This still divides by the share of diseased labels. Another start alone changes "
            "nothing: EM forgets where it began, but not what it divides by.",
        ),
        Mistake(
            "one-step",
            _named(lambda p, s: np.mean(p)),
            "This is the mean prediction at the target: EM's first step, and all its steps if the "
            "prior is that of the target. Repeat the step, with the prior of the source.",
        ),
        Mistake(
            "not-renormalised",
            _stepping(lambda p, old, new: p * new / old),
            "The weighed probabilities of disease and health no longer add up to one. Divide by "
            "their sum before you average.",
        ),
        Mistake(
            "healthy-not-weighed",
            _stepping(lambda p, old, new: p * new / old / (p * new / old + 1 - p)),
            "Only the diseased are weighed. The healthy have a weight too: "
            "`(1 - prevalence) / (1 - prior)`.",
        ),
        Mistake(
            "compounding",
            _named(_compounding),
            "Each step starts from posteriors that hold the estimate of the last step, and divides "
            "by the source's prior once more. Go back to the network's own probabilities.",
        ),
        Mistake(
            "healthy-share",
            _named(lambda p, s: 1 - em(p, s, None)),
            "This is the share of the healthy.",
        ),
        Mistake(
            "hard-labels",
            _stepping(lambda p, old, new: _posterior(p, old, new) > 0.5),
            "The E-step decides for each patient. EM averages the *probabilities*: who is 40 % "
            "diseased counts as 0.4 of a patient.",
        ),
        Mistake(
            "classify-and-count",
            _named(lambda p, s: np.mean(p > 0.5)),
            "This counts the patients above one half. Their number mixes true and false alarms in "
            "proportions that the shift itself changes.",
        ),
        Mistake(
            "source-prevalence",
            _named(lambda p, s: np.mean(s)),
            "This is the prevalence at the source: the target has not been looked at.",
        ),
    ]


def _named(slip: Callable[[np.ndarray, np.ndarray], float]) -> Callable[..., float]:
    """A slip in the two arrays of probabilities as a function of the three arguments."""

    def estimate(probabilities_target, probabilities_source, labels_source):
        return slip(probabilities_target, probabilities_source)

    return estimate


def _stepping(step: Step) -> Callable[..., float]:
    return _named(lambda p, s: _iterate(p, float(np.mean(s)), step=step))


def _compounding(p, s):
    prior = np.mean(s)
    prevalence = np.mean(p)
    for _ in range(STEPS):
        p = _posterior(p, prior, prevalence)
        prevalence = np.mean(p)
    return prevalence


def _telescoping(probabilities_target, probabilities_source, labels_source):
    """From the last posteriors, but then by the last prevalence too: the same thing."""
    p, last = np.asarray(probabilities_target), np.mean(probabilities_source)
    for _ in range(STEPS):
        p, last = _posterior(p, last, np.mean(p)), np.mean(p)
    return np.mean(p)
