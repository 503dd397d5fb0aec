"""Bug: a training loop's importances are not the Fisher diagonal, and how far off they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from medxfer_lab.course.exercise import Exercise, Variant, Wrong
from medxfer_lab.course.feedback import Feedback, right, wrong, wrong_type
from medxfer_lab.course.functions import function
from medxfer_lab.course.parts import named
from medxfer_lab.course.values import Grade, Mistake, apart, as_number, number
from medxfer_lab.loss_landscape.exercises.importances import draw, fisher, slips, weights

BUGGY = """
total, batches = 0.0, 0
for images, labels in loader:
    loss = log_loss(model(images), labels)
    total = total + gradient(loss, model) ** 2
    batches += 1
fisher = total / batches
""".strip()

_SOLUTION = """
def fisher(gradients, probabilities, labels):
    squares = gradients ** 2
    expected = (1 - probabilities)[:, None] * squares[:, 0]
    expected = expected + probabilities[:, None] * squares[:, 1]
    return expected.mean(axis=0)
""".strip()

KEYS = ("fisher", "factor")
EXAMPLE = 'answer = {"fisher": my_function, "factor": 3}'


@dataclass(frozen=True)
class Loop:
    """The loop of the prompt: size of a batch, and how many there are."""

    batch: int
    batches: int

    @property
    def patients(self) -> int:
        """All batches are full."""
        return self.batch * self.batches


def exercise(seed: int) -> Exercise:
    """A function and a number; the seed draws the batches of the loop."""
    loop = _loop(seed)
    mistakes, misjudged = slips(), _misjudged(loop)
    return Exercise(
        id="fisher_bugs",
        title="What the training loop calls important",
        objective="Compute the Fisher diagonal, and say what a wrong one measures",
        kind="bug",
        prompt=(
            "A team wants the diagonal of the Fisher information for EWC, of a network that says "
            "whether a slice shows a lesion. It takes the training loop as it is, leaves the "
            f"optimiser out, and squares:\n\n```python\n{BUGGY}\n```\n\n"
            "`loader` gives the old task's images with their labels, and `log_loss` is the mean "
            "over a batch. Two things are wrong.\n\n"
            "First write it right: a function `fisher(gradients, probabilities, labels)`. "
            "`gradients` (n, 2, d) holds, for each of n patients, the gradient of its own log loss "
            "if its label were 0, `gradients[:, 0]`, and if it were 1, `gradients[:, 1]`. "
            "`probabilities` (n,) is the network's probability of label 1, `labels` (n,) what the "
            "radiologist said, 0 or 1. It returns the d importances. You need not use every "
            "argument.\n\n"
            f"Then a number. The loop has {loop.batches} batches of {loop.batch} patients. Suppose "
            "that their labels were drawn from the network's own probabilities, so that only one "
            "of the two bugs is left. About how many times *smaller* than the Fisher diagonal are "
            "the loop's importances, on average over the draws?\n\n"
            f"Answer with a dict of the keys `fisher` and `factor`, such as `{EXAMPLE[9:]}`."
        ),
        hints=(
            "The Fisher information is a mean over patients, and for each of them over labels, of "
            "squared gradients. In the loop, what is averaged before the square is taken?",
            "Whose labels? The *network's*: label 1 with the probability $p$ that it states, label "
            "0 with $1 - p$. The sum over both can be taken exactly, so nothing need be drawn.",
            "For the number: with such labels each patient's gradient has mean 0, and patients are "
            "independent. What is the variance of a mean of $b$ independent terms?",
        ),
        grade=_grade(loop, mistakes, misjudged),
        right=(
            Variant("two labels", {"fisher": fisher, "factor": loop.batch}),
            Variant("einsum, in a tuple", (_einsum, float(loop.batch))),
            Variant("loop, a text", [_loops, f"{loop.batch}"]),
            Variant("from the log odds", {"fisher": _from_difference, "factor": loop.batch}),
        ),
        wrong=(
            *(
                Wrong(m.diagnosis, {"fisher": m.value, "factor": loop.batch}, m.diagnosis)
                for m in {m.diagnosis: m for m in mistakes}.values()
            ),
            *(
                Wrong(m.diagnosis, {"fisher": fisher, "factor": m.value}, m.diagnosis)
                for m in misjudged
            ),
            Wrong(
                "one over b", {"fisher": fisher, "factor": f"1/{loop.batch}"}, "one-over-the-batch"
            ),
            Wrong("a number for all", {"fisher": _total, "factor": loop.batch}, "shape"),
            Wrong("nothing", {"fisher": lambda g, p, y: None, "factor": 1.0}, "returns-nothing"),
            Wrong("the function alone", fisher, "wrong-type"),
        ),
        solution=(
            "For each patient the squared gradients of both labels are weighed with the network's "
            "probabilities, and then averaged over the patients:\n\n"
            f"```python\n{_SOLUTION}\n```\n\n"
            "The loop squares *after* it has averaged over a batch. Under the network's own labels "
            "a gradient has mean 0, so its expected square is a variance, and the variance of a "
            f"mean of {loop.batch} independent gradients is {loop.batch} times smaller. One factor "
            "for all parameters could be made up for by the strength. With the radiologist's "
            "labels, the second bug, the mean gradient need not be 0, the factor is another one "
            "for each parameter, and patients whom the network fits well all but vanish."
        ),
    )


def _loop(seed: int) -> Loop:
    """Batches for which the beliefs about the factor are apart, also from their reciprocals."""
    rng = np.random.default_rng([seed, 54])
    while True:
        loop = Loop(int(rng.choice([8, 12, 16, 24, 32, 48, 64])), int(rng.integers(20, 120)))
        believed = [loop.batch, 1 / loop.batch, *(m.value for m in _misjudged(loop))]
        if apart(believed, rtol=0.25):
            return loop


def _grade(loop: Loop, mistakes: list[Mistake], misjudged: list[Mistake]) -> Grade:
    """The function first; the number is asked of one who knows what it should be."""
    by_function = function(fisher, draw, mistakes, praise="", trials=15)
    praise = (
        "Square first, then average, with the network's own labels. The loop's importances are "
        f"about {loop.batch} times too small: the variance of a mean."
    )
    inverted = Mistake(
        "one-over-the-batch",
        1 / loop.batch,
        "That is what the importances are multiplied by. Asked is how many times *smaller* they "
        "are, a number above 1.",
    )
    by_number = number(loop.batch, [*misjudged, inverted], praise=praise, rtol=0.1)

    def grade(answer: Any) -> Feedback:
        given = named(answer, KEYS)
        if given is None:
            return wrong_type(answer, f"a dict with the keys {', '.join(KEYS)}", EXAMPLE)
        found = by_function(given["fisher"])
        if not found.correct:
            return found
        if as_number(given["factor"]) is None:
            return wrong_type(given["factor"], "a number for `factor`", EXAMPLE)
        found = by_number(given["factor"])
        if found.correct:
            return right(found.message)
        return wrong(found.diagnosis, f"The function is right. For `factor`: {found.message}")

    return grade


def _misjudged(loop: Loop) -> list[Mistake]:
    """Beliefs about the factor."""
    return [
        Mistake(
            "root-of-the-batch",
            loop.batch**0.5,
            "A *standard deviation* shrinks like this. Here squares are averaged: a variance.",
        ),
        Mistake(
            "batch-squared",
            float(loop.batch**2),
            "The square of 1/b is there, but the batch has b patients whose variances add up: "
            "$b/b^2$.",
        ),
        Mistake(
            "no-change",
            1.0,
            "You expect no change. That would hold if all patients of a batch had the same "
            "gradient; drawn labels make them independent, and they cancel.",
        ),
        Mistake(
            "number-of-batches",
            float(loop.batches),
            "That is the number of batches. The loop divides by it, as it should.",
        ),
        Mistake(
            "all-patients",
            float(loop.patients),
            "That would be one batch of all patients. Here each batch is squared by itself.",
        ),
    ]


def _einsum(gradients, probabilities, labels):
    return np.einsum("nc,ncd->d", weights(probabilities), gradients**2) / len(probabilities)


def _loops(gradients, probabilities, labels):
    total = np.zeros(gradients.shape[-1])
    for (if_0, if_1), p in zip(gradients, probabilities, strict=True):
        total += (1 - p) * if_0**2 + p * if_1**2
    return list(total / len(probabilities))


def _from_difference(gradients, probabilities, labels):
    """The gradients differ by that of the log odds, J; what is expected is p (1 - p) J^2."""
    logit_gradients = gradients[:, 0] - gradients[:, 1]
    return (probabilities * (1 - probabilities)) @ logit_gradients**2 / len(probabilities)


def _total(gradients, probabilities, labels):
    return fisher(gradients, probabilities, labels).sum()
