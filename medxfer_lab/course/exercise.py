"""Exercises that answer back, each with the bank of answers that proves its check."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from medxfer_lab.course import progress as _progress
from medxfer_lab.course.feedback import Feedback, is_unanswered, unanswered, wrong
from medxfer_lab.course.progress import progress
from medxfer_lab.course.rich import to_html

__all__ = ["Exercise", "Feedback", "Variant", "Wrong", "bank_failures", "progress"]

KINDS = ("derivation", "number", "function", "plot reading", "decision", "prediction", "bug")


@dataclass(frozen=True)
class Variant:
    """A right answer in one of its forms; the check must pass it."""

    name: str
    value: Any


@dataclass(frozen=True)
class Wrong:
    """A wrong answer, with the diagnosis that the check must give it."""

    name: str
    value: Any
    diagnosis: str


@dataclass(frozen=True)
class Exercise:
    """One question. ``grade`` maps a value to a :class:`Feedback`; learners call :meth:`check`.

    ``prompt``, ``hints`` (three, each giving away more) and ``solution`` are short texts as
    :func:`medxfer_lab.course.rich.to_html` reads them. ``right`` and ``wrong`` are the bank.
    """

    id: str
    title: str
    objective: str
    kind: str
    prompt: str
    hints: tuple[str, str, str]
    grade: Callable[[Any], Feedback]
    right: tuple[Variant, ...]
    wrong: tuple[Wrong, ...]
    solution: str

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"{self.id}: kind {self.kind!r}, expected one of {', '.join(KINDS)}")
        if len(self.hints) != 3:
            raise ValueError(f"{self.id}: {len(self.hints)} hints, expected three steps")

    def check(self, answer: Any = ...) -> Feedback:
        """Look at a value and answer like a tutor; ``...`` counts as not answered yet.

        Never raises for a wrong answer. The attempt goes into the local progress.
        """
        try:
            if is_unanswered(answer):
                return unanswered()
            feedback = self.grade(answer)
        except Exception as error:  # a learner's object may do anything when touched
            feedback = wrong(
                "raises",
                f"Looking at your answer (type `{type(answer).__name__}`) raised "
                f"`{type(error).__name__}: {error}`.",
            )
        _progress.note_attempt(self.id, self.title, self.objective, feedback.correct)
        return feedback

    def hint(self, step: int = 1) -> Note:
        """Hint 1, 2 or 3; each says more than the one before."""
        if step not in (1, 2, 3):
            raise ValueError(f"hint({step!r}): there are three hints, 1, 2 and 3")
        _progress.note_hint(self.id, self.title, self.objective, step)
        return Note((f"Hint {step} of 3", self.hints[step - 1]))

    def show_hints(self) -> Note:
        """The three hints, each folded until it is opened."""
        return Note(*((f"Hint {i + 1} of 3", hint) for i, hint in enumerate(self.hints)), fold=True)

    def show_solution(self) -> Note:
        """The solution, folded until it is opened."""
        return Note(("Solution", self.solution), fold=True)

    def __str__(self) -> str:
        return f"{self.title} ({self.kind})\n{self.prompt}"

    def __repr__(self) -> str:
        return f"Exercise({self.id!r})"

    def _repr_html_(self) -> str:
        return (
            '<div class="exercise-prompt mathjax_process tex2jax_process">'
            f"<p><strong>{html.escape(self.title)}</strong> ({self.kind})</p>"
            f"{to_html(self.prompt)}</div>"
        )


class Note:
    """Titled texts, folded or open."""

    def __init__(self, *parts: tuple[str, str], fold: bool = False) -> None:
        self.parts, self.fold = parts, fold

    def __str__(self) -> str:
        return "\n".join(f"{title}: {text}" for title, text in self.parts)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        state = "" if self.fold else " open"
        inner = "".join(
            f"<details{state}><summary>{html.escape(title)}</summary>{to_html(text)}</details>"
            for title, text in self.parts
        )
        return f'<div class="exercise-notes mathjax_process tex2jax_process">{inner}</div>'


def bank_failures(exercises: Iterable[Exercise], n_right: int = 3, n_wrong: int = 4) -> list[str]:
    """What is wrong with exercises' banks; an empty list means that every check is proven.

    Each right variant must pass. Each wrong answer must be refused with its own diagnosis; within
    an exercise no two wrong answers share one. There are at least ``n_right``
    and ``n_wrong`` of them.
    """
    found = []
    for exercise in exercises:
        for variant in exercise.right:
            got = exercise.grade(variant.value)
            if not got.correct:
                found.append(f"{exercise.id}: right answer {variant.name!r} refused: {got}")
        for item in exercise.wrong:
            got = exercise.grade(item.value)
            if got.correct or got.diagnosis != item.diagnosis:
                found.append(
                    f"{exercise.id}: wrong answer {item.name!r} got {got.diagnosis!r} "
                    f"instead of {item.diagnosis!r}: {got}"
                )
        diagnoses = [item.diagnosis for item in exercise.wrong]
        if len(set(diagnoses)) < len(diagnoses):
            found.append(f"{exercise.id}: diagnoses are shared: {diagnoses}")
        if len(exercise.right) < n_right or len(exercise.wrong) < n_wrong:
            found.append(
                f"{exercise.id}: {len(exercise.right)} right and {len(exercise.wrong)} wrong "
                f"answers, expected {n_right} and {n_wrong}"
            )
    return found
