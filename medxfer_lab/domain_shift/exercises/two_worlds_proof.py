"""Derivation: complete the proof that unlabelled target data cannot tell two worlds apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from medxfer_lab.course.exercise import Exercise, Variant, Wrong
from medxfer_lab.course.feedback import WRONG_TYPE, Feedback, show, wrong, wrong_type
from medxfer_lab.course.parts import named
from medxfer_lab.course.values import Mistake, Option, apart, choice, letters, number, options_text
from medxfer_lab.domain_shift.theory import minimax_risk

KEYS = ("premise", "step", "conclusion", "labels")
EXAMPLE = 'answer = {"premise": "a", "step": "b", "conclusion": "c", "labels": 0.1}'


def exercise(seed: int) -> Exercise:
    """Three gaps to choose for and a number; the seed draws d, k and the orders of the options."""
    d, k = _numbers(seed)
    gaps = _gaps(seed)
    good = {key: _letter(options) for key, options in gaps.items()}
    bound = minimax_risk(d, k)
    mistakes = _mistakes(d, k)
    answer = {**good, "labels": bound}
    return Exercise(
        id="two_worlds_proof",
        title="Complete the two-worlds proof",
        objective="Prove what no procedure can do without labels, and what labels buy",
        kind="derivation",
        prompt=(
            "A target hospital may use your criterion for the disease, or a stricter one. You have "
            "its images, and no label.\n\n"
            "**Claim.** In world 1 the target's labels are $y_1(x)$, in world 2 $y_2(x)$, both in "
            "{0, 1}. They disagree for a share $d$ of its patients. A procedure sees labelled "
            "source data and unlabelled target images; let $R_1$ and $R_2$ be its probabilities of "
            "an error at the target in each world. In the worse of two such worlds it is at least "
            "$d/2$, whatever the procedure.\n\n"
            "**(premise)** Let the two worlds have:\n\n"
            f"{options_text(gaps['premise'])}\n\n"
            "**(step)** Then:\n\n"
            f"{options_text(gaps['step'])}\n\n"
            "Take an image on which the worlds disagree. A guess that is right in the one is wrong "
            "in the other, so the probabilities of an error in world 1 and in world 2 add up to 1 "
            "there. Elsewhere they are 0 or more. Averaged over the target's images, "
            "$R_1 + R_2 \\geq d$.\n\n"
            "**(conclusion)** Therefore:\n\n"
            f"{options_text(gaps['conclusion'])}\n\n"
            f"**(labels)** Now let $d = {d}$, and {k} target patients, drawn at random, be "
            "labelled. The worlds still look alike as long as they agree on all of these patients. "
            "Which lower bound on the larger of $R_1$ and $R_2$, for a fresh patient, does the "
            "same argument give?\n\nAnswer with a dict of three letters and a number, "
            f"such as `{EXAMPLE[9:]}`."
        ),
        hints=(
            "The proof wants two worlds that no data at hand can tell apart. What does the "
            "procedure see, and what must therefore be equal?",
            "A procedure, coin tosses included, is a map from what it sees to a guess. Equal "
            "distributions go in, equal distributions come out, for any number of images. And the "
            "larger of two numbers is at least their mean.",
            f"With probability $(1 - d)^{{{k}}}$ the worlds agree on all {k} labelled patients. In "
            "that case, argue as before about the fresh patient.",
        ),
        grade=_grade(gaps, number(bound, mistakes, praise=_PRAISE, rtol=0.01)),
        right=(
            Variant("dict", answer),
            Variant("capitals", {key: str(v).upper() for key, v in answer.items()}),
            Variant("list", [*good.values(), bound]),
            Variant("brackets", {**{key: f"({v})" for key, v in good.items()}, "labels": bound}),
        ),
        wrong=(
            *(
                Wrong(option.diagnosis, {**answer, key: letter}, option.diagnosis)
                for key, options in gaps.items()
                for letter, option in zip(letters(options), options)
                if option.diagnosis
            ),
            *(Wrong(m.diagnosis, {**answer, "labels": m.value}, m.diagnosis) for m in mistakes),
            Wrong("one letter", "a", "wrong-type"),
        ),
        solution=(
            f"Premise **{good['premise']}**, step **{good['step']}**, conclusion "
            f"**{good['conclusion']}**. All that the procedure sees has the same distribution in "
            "both worlds, so it guesses alike in both, and pays in one of them. With $k$ labels it "
            "still sees the same in both if none of the $k$ patients is one the worlds disagree "
            "on: with probability $(1-d)^k$. A fresh patient is one with probability $d$, and the "
            f"larger risk is at least half the sum: $d(1-d)^k/2 = {bound:.4f}$ here, where without "
            f"labels it was {d / 2:g}. The bound is attained: toss a coin until one label shows "
            "the world."
        ),
    )


_PRAISE = (
    "The proof stands. Labels buy the way out, and fast: the bound falls like $(1 - d)^k$. No "
    "number of unlabelled images lowers it."
)


def _numbers(seed: int) -> tuple[float, int]:
    """d and k for which all slips are told apart, also from each other's negatives."""
    rng = np.random.default_rng([seed, 23])
    while True:
        d = float(rng.choice([0.1, 0.15, 0.2, 0.25, 0.3]))
        k = int(rng.integers(2, 9))
        if apart([minimax_risk(d, k), *(m.value for m in _mistakes(d, k))], rtol=0.05):
            return d, k


def _mistakes(d: float, k: int) -> list[Mistake]:
    missed = (1 - d) ** k
    return [
        Mistake(
            "half-forgotten",
            d * missed,
            "This is the bound on the sum $R_1 + R_2$. The larger of the two is at least half of "
            "it.",
        ),
        Mistake(
            "fresh-patient-forgotten",
            missed / 2,
            "That the labels show nothing costs only if the fresh patient, too, is one the worlds "
            "disagree on. How often is that?",
        ),
        Mistake(
            "labels-ignored",
            d / 2,
            f"This is the bound without labels. With {k} of them, the worlds look alike only if "
            "they agree on all of these patients.",
        ),
        Mistake(
            "hit-for-miss",
            d * (1 - missed) / 2,
            "You took the probability that a label does show the world. The procedure is in "
            "trouble in the other case.",
        ),
        Mistake(
            "one-label-only",
            d * (1 - d) / 2,
            f"This is the bound with one label. All {k} patients, drawn independently, must be "
            "such that the worlds agree.",
        ),
    ]


def _gaps(seed: int) -> dict[str, list[Option]]:
    """The options of the three gaps, each in the seed's order."""
    rng = np.random.default_rng([seed, 24])
    found = {"premise": _PREMISES, "step": _STEPS, "conclusion": _CONCLUSIONS}
    return {
        key: [options[i] for i in rng.permutation(len(options))] for key, options in found.items()
    }


_PREMISES = [
    Option(
        "the same source data in distribution, and the same distribution of target images; only "
        "the target's labels differ",
        "",
    ),
    Option(
        "different source data, one for each criterion, and the same distribution of target images",
        "Different sources break the premise: the labelled source data would then tell which world "
        "it is. The claim is about worlds that look alike, so the source must be the same.",
        "different-sources",
    ),
    Option(
        "the same source data in distribution, and target images that differ as the labels do",
        "If the distributions of the target images differ, unlabelled images can tell the worlds "
        "apart. The worst worlds are those with the same $q(x)$.",
        "different-images",
    ),
    Option(
        "the same target images and labels in distribution; only the source's labels differ",
        "Then there is one right rule for the target, and no disagreement $d$. The worlds must "
        "differ where it hurts: in the target's labels.",
        "same-target",
    ),
]
_STEPS = [
    Option(
        "what any procedure sees, its own coin tosses included, has the same distribution in both "
        "worlds; so at any image its guess has, too",
        "",
    ),
    Option(
        "a weak procedure guesses alike in both, while one with a strong two-sample test (MMD, "
        "say) finds out which world it is in",
        "A test compares $p(x)$ with $q(x)$, and both are the same in the two worlds: so is the "
        "distribution of its statistic, however strong the test. It can tell that $p$ and $q$ "
        "differ, not which labels go with $q$.",
        "strong-test",
    ),
    Option(
        "as the number of unlabelled target images grows, the guess tends to that of the right "
        "world",
        "Infinitely many unlabelled images teach $q(x)$ exactly, and $q(x)$ is the same in both "
        "worlds. Nothing in them tends to either world.",
        "more-unlabelled-images",
    ),
    Option(
        "any deterministic rule guesses the same label in both worlds, and only a randomised rule "
        "can escape",
        "A rule that tosses coins tosses the same coins in both worlds: its guesses have the same "
        "distribution. At best it spreads the errors over both; their sum stays.",
        "randomised-escapes",
    ),
]
_CONCLUSIONS = [
    Option("the larger of $R_1$ and $R_2$ is at least $d/2$", ""),
    Option(
        "both $R_1$ and $R_2$ are at least $d/2$",
        "A bound on the mean is none on each: the rule $y_1$ has $R_1 = 0$ and $R_2 = d$. The "
        "claim is about the worse of the two.",
        "both-worlds",
    ),
    Option(
        "the larger of $R_1$ and $R_2$ is at least $d$",
        "A sum of at least $d$ leaves room for $d/2$ in each world: a coin, tossed where the "
        "worlds disagree, has just that.",
        "half-lost",
    ),
    Option(
        "the mean of $R_1$ and $R_2$ is at least $d/2$, which says nothing about the worse world",
        "The mean is right, and it does say something: the larger of two numbers is never below "
        "their mean.",
        "mean-not-larger",
    ),
]


def _letter(options: list[Option]) -> str:
    return next(k for k, option in zip(letters(options), options) if not option.diagnosis)


def _grade(
    gaps: dict[str, list[Option]], bound: Callable[[Any], Feedback]
) -> Callable[[Any], Feedback]:
    """The gaps in the proof's order, then the number: the first that is wrong is answered."""

    def grade(answer: Any) -> Feedback:
        given = named(answer, KEYS)
        if given is None:
            return wrong_type(answer, f"a dict with the keys {', '.join(KEYS)}", EXAMPLE)
        for key, options in gaps.items():
            found = choice(options)(given[key])
            if found.diagnosis == WRONG_TYPE:
                wanted = f"one of {', '.join(letters(options))} for {show(key)}"
                return wrong_type(given[key], wanted, EXAMPLE)
            if not found.correct:
                return wrong(found.diagnosis, f"({key}) {found.message}")
        found = bound(given["labels"])
        return found if found.correct else wrong(found.diagnosis, f"(labels) {found.message}")

    return grade
