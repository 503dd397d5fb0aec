"""Decision: six hospitals, two estimates of prevalence from unlabelled scans. Which is right?

BBSE: Lipton, Wang and Smola, ICML 2018. EM: Saerens, Latinne and Decaestecker, Neural Computation
14 (2002) 21-41.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from medxfer_lab.course.exercise import Exercise, Variant, Wrong
from medxfer_lab.course.feedback import Feedback, right, wrong, wrong_type
from medxfer_lab.domain_shift.exercises.bbse_situations import Situation, hospital, situations

LETTERS = "ABCDEF"
VERDICTS = ("both", "BBSE", "EM", "neither")
EXAMPLE = 'answer = {"A": "both", "B": "EM", "C": "neither", "D": "BBSE", "E": "EM", "F": "both"}'


def exercise(seed: int) -> Exercise:
    """A verdict on each of six situations; the seed draws their numbers and their order."""
    h, posed = hospital(seed), situations(seed)
    verdicts = dict(zip(LETTERS, (s.verdict for s in posed)))
    listed = "\n".join(f"- **{k}**: {s.text}" for k, s in zip(LETTERS, posed))
    return Exercise(
        id="when_bbse_fails",
        title="When does BBSE fail?",
        objective="Decide which estimate of prevalence can be trusted, and why",
        kind="decision",
        prompt=(
            f"A network was trained and checked at a source hospital of prevalence {h.source} %. "
            "You want the prevalence of a target hospital, from its unlabelled scans alone. There "
            "are two ways:\n\n"
            "- **BBSE**, here with hard calls, counts the scans that the network calls positive at "
            "the target, and solves for the prevalence with the source's rates of true and false "
            "positives.\n"
            "- **EM** starts at the source prevalence and re-weights the network's probabilities, "
            "again and again, until the prevalence it assumes is the mean of what it predicts.\n\n"
            "Here are six targets. The samples are so large that chance plays no part. Where "
            "nothing else is said, $p(x|y)$ is the same at both hospitals, and the probabilities "
            "are calibrated at the source. Which way finds the right prevalence?\n\n"
            f"{listed}\n\nAnswer with a dict from letter to `both`, `BBSE` (BBSE only), `EM` (EM "
            "only) or `neither`, or with a list of the six in this order."
        ),
        hints=(
            "Ask of each target first: do the diseased, and the healthy, look as they did at the "
            "source? Where they do not, stop: neither way can know.",
            "Both need $p(x|y)$ kept and no class that the source lacks. BBSE also needs rates of "
            "true and false positives that differ. EM also needs probabilities that are calibrated "
            "at the source and differ between patients.",
            "For BBSE: would the count of positives change if the prevalence did? For EM: are the "
            "probabilities true at the source, and do they say anything?",
        ),
        grade=_grade(posed),
        right=(
            Variant("dict", verdicts),
            Variant("list", list(verdicts.values())),
            Variant("in words", {k.lower(): _IN_WORDS[v] for k, v in verdicts.items()}),
            Variant("text", ", ".join(v.upper() for v in verdicts.values())),
        ),
        wrong=(
            *(
                Wrong(diagnosis, {**verdicts, k: slip}, diagnosis)
                for k, s in zip(LETTERS, posed)
                for slip, (diagnosis, _) in s.slips.items()
            ),
            Wrong("one word", "BBSE", "wrong-type"),
        ),
        solution=" ".join(f"**{k}**: {s.verdict}. {s.because}" for k, s in zip(LETTERS, posed)),
    )


_IN_WORDS = {"both": "BBSE and EM", "BBSE": "only BBSE", "EM": "EM only", "neither": "none"}


def _grade(posed: list[Situation]) -> Callable[[Any], Feedback]:
    """The first situation that is misjudged is answered."""

    def grade(answer: Any) -> Feedback:
        given = _verdicts(answer)
        if given is None:
            return wrong_type(answer, "a verdict for each of the letters A to F", EXAMPLE)
        missed = [(k, s) for k, s in zip(LETTERS, posed) if given[LETTERS.index(k)] != s.verdict]
        if not missed:
            return right(
                "Ask first whether $p(x|y)$ is kept: without it neither helps. Then BBSE needs "
                "verdicts that tell, and EM probabilities that are calibrated and tell."
            )
        letter, situation = missed[0]
        diagnosis, message = situation.slips[given[LETTERS.index(letter)]]
        score = f"{len(posed) - len(missed)} of {len(posed)} are right."
        return wrong(diagnosis, f"{score} The first to reconsider is {letter}. {message}")

    return grade


_READ = {
    **{v.lower(): v for v in VERDICTS},
    "bbse only": "BBSE",
    "only bbse": "BBSE",
    "em only": "EM",
    "only em": "EM",
    "none": "neither",
    "bbse and em": "both",
    "em and bbse": "both",
}


def _verdicts(answer: Any) -> list[str] | None:
    """The six verdicts in the order of the letters; None where the answer is no such thing."""
    if isinstance(answer, str):
        answer = answer.split(",")
    if isinstance(answer, Mapping):
        by_letter = {str(k).strip().upper(): v for k, v in answer.items()}
        answer = [by_letter.get(k) for k in LETTERS] if set(by_letter) == set(LETTERS) else None
    if not isinstance(answer, list | tuple) or len(answer) != len(LETTERS):
        return None
    if not all(isinstance(v, str) for v in answer):
        return None
    found = [_READ.get(v.strip(" .").lower()) for v in answer]
    return None if None in found else found
