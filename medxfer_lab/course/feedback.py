"""What a check answers: right, or which mistake this is, or where it first goes wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from medxfer_lab.course.rich import to_html

RIGHT = "right"
UNANSWERED = "unanswered"
#: diagnosis of an answer of a kind the question cannot take (a word for a number, ...)
WRONG_TYPE = "wrong-type"
#: diagnosis of an answer that is wrong in no way the exercise knows
UNKNOWN = "unknown"

_LOOKS = {  # sign, words, ink, ground
    "right": ("✔", "Right", "#0b4f2f", "#d6f0e2"),
    "open": ("…", "Not answered yet", "#333333", "#e6e6e6"),
    "wrong": ("✘", "Not yet", "#6e1f00", "#fbdccf"),
}


@dataclass(frozen=True)
class Feedback:
    """A tutor's answer. ``diagnosis`` is a short name of what was found, ``message`` the words."""

    correct: bool
    diagnosis: str
    message: str

    @property
    def answered(self) -> bool:
        """False while the stub still holds ``...``."""
        return self.diagnosis != UNANSWERED

    @property
    def _look(self) -> tuple[str, str, str, str]:
        return _LOOKS["right" if self.correct else "wrong" if self.answered else "open"]

    def __str__(self) -> str:
        sign, words, *_ = self._look
        return f"{sign} {words}. {self.message}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        sign, words, ink, ground = self._look
        return (
            f'<div class="exercise-feedback" role="status" style="border-left:.3em solid {ink};'
            f'background:{ground};color:#1a1a1a;padding:.4em .9em;margin:.4em 0">'
            f'<strong style="color:{ink}">{sign} {words}.</strong>{to_html(self.message)}</div>'
        )


def right(message: str) -> Feedback:
    """The answer is right; the message says what to take away from it."""
    return Feedback(True, RIGHT, message)


def wrong(diagnosis: str, message: str) -> Feedback:
    """The answer is wrong in a way that has a name."""
    return Feedback(False, diagnosis, message)


def unanswered() -> Feedback:
    """The stub is as it was."""
    return Feedback(
        False, UNANSWERED, "Replace the `...` with your answer, then run this cell again."
    )


def wrong_type(got: Any, wanted: str, example: str = "") -> Feedback:
    """The answer is of a kind that the question cannot take; says which kind it wants."""
    tail = f" For example: `{example}`." if example else ""
    return wrong(WRONG_TYPE, f"This needs {wanted}, and `answer` is {describe(got)}.{tail}")


def is_unanswered(answer: Any) -> bool:
    """Whether an answer still holds a stub's ``...``, whole or in part (in a list, a dict), or is a
    function whose body is nothing but ``...``."""
    if answer is ...:
        return True
    if isinstance(answer, list | tuple | set):
        return any(part is ... for part in answer)
    if isinstance(answer, dict):
        return any(part is ... for part in answer.values())
    code = getattr(answer, "__code__", None)
    if code is None:
        return False
    return (code.co_code, code.co_consts[-1:]) in _STUBS and not code.co_names


def _stub_codes() -> set[tuple[bytes, tuple[Any, ...]]]:
    def bare(x: Any) -> Any: ...

    def with_docstring(x: Any) -> Any:
        """What to compute."""
        ...

    def returning(x: Any) -> Any:
        return ...

    found = (bare, with_docstring, returning)
    return {(f.__code__.co_code, f.__code__.co_consts[-1:]) for f in found}


_STUBS = _stub_codes()


def describe(value: Any) -> str:
    """A value in a few words, for people."""
    if value is None:
        return "`None`"
    if isinstance(value, bool):
        return f"the truth value `{value}`"
    if isinstance(value, str):
        return f"the text {show(value)}"
    if callable(value) and not hasattr(value, "free_symbols"):
        return "a function" if hasattr(value, "__code__") else f"`{type(value).__name__}`"
    shape = getattr(value, "shape", None)
    if shape is not None and len(tuple(shape)):
        return f"an array of shape {tuple(shape)}"
    if isinstance(value, Sequence):
        return f"a {type(value).__name__} of {len(value)}"
    return f"{show(value)} (type `{type(value).__name__}`)"


def show(value: Any, digits: int = 5) -> str:
    """A value, shortened, as code."""
    import numpy as np

    if isinstance(value, dict):
        inner = ", ".join(f"{k}={show(v, digits)[1:-1]}" for k, v in value.items())
        return f"`{inner}`"
    try:
        array = np.asarray(value, dtype=float)
    except (TypeError, ValueError, RuntimeError):
        text = str(value) if not isinstance(value, str) else repr(value)
        return f"`{text if len(text) <= 80 else text[:77] + '...'}`"
    if array.ndim == 0:
        return f"`{float(array):.{digits}g}`"
    text = np.array2string(array + 0.0, precision=3, threshold=8, edgeitems=2, separator=", ")
    return f"`{' '.join(text.split())}`"
