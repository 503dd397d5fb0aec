"""Checks of numbers, arrays and choices: right within a tolerance, or which known slip it is."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from medxfer_lab.course.feedback import (
    UNKNOWN,
    Feedback,
    right,
    show,
    wrong,
    wrong_type,
)

Grade = Callable[[Any], Feedback]


@dataclass(frozen=True)
class Mistake:
    """A known mistake: what it leads to (a number, an array, a formula or a function, as the
    question asks for), its short name, and what a tutor says to it."""

    diagnosis: str
    value: Any
    message: str


def number(
    expected: float,
    mistakes: Sequence[Mistake] = (),
    *,
    praise: str,
    rtol: float = 0.02,
    atol: float = 0.0,
    percent: bool = False,
    wanted: str = "a number",
) -> Grade:
    """A check for one number, right within ``atol + rtol * |expected|``.

    Known ``mistakes`` come first, then slips that any number can have: the sign, the reciprocal,
    per cent for a share (with ``percent``). Numpy and torch numbers, fractions, SymPy numbers and
    texts such as "0.25", "1/4", "25 %" and "inf" are read as numbers.
    """

    def close(value: float, target: float) -> bool:
        return bool(np.isclose(value, target, rtol=rtol, atol=atol))

    slips = list(mistakes)
    if percent:
        slips.append(Mistake("percent", 100 * expected, _PERCENT))
    if expected not in (0, math.inf):
        slips.append(Mistake("sign", -expected, "The size is right, the sign is not."))
        upside_down = "This is the reciprocal: the fraction stands upside down."
        slips.append(Mistake("reciprocal", 1 / expected, upside_down))

    def grade(answer: Any) -> Feedback:
        value = as_number(answer)
        if value is None:
            return wrong_type(answer, wanted, "answer = 0.25")
        if math.isnan(value):
            return wrong("nan", "Your answer is nan: somewhere 0/0 or inf - inf was computed.")
        if close(value, expected):
            return right(praise)
        for slip in slips:
            if close(value, slip.value):
                return wrong(slip.diagnosis, slip.message)
        return wrong(UNKNOWN, f"{show(value)} is {_too_what(value, expected)}.")

    return grade


_PERCENT = "The size is right, but in per cent: this asks for a share between 0 and 1."


def as_number(answer: Any) -> float | None:
    """A number from anything that plainly is one; None otherwise (truth values are no numbers)."""
    if isinstance(answer, bool | np.bool_) or answer is None:
        return None
    if isinstance(answer, str):
        return _number_in(answer)
    if isinstance(answer, list | tuple):
        return as_number(answer[0]) if len(answer) == 1 else None
    try:
        if getattr(answer, "free_symbols", None):
            return None
        if hasattr(answer, "shape"):
            array = np.asarray(answer.detach().cpu() if hasattr(answer, "detach") else answer)
            return float(array.reshape(())) if array.size == 1 else None
        return float(answer)
    except (TypeError, ValueError, RuntimeError):
        return None


def _number_in(text: str) -> float | None:
    text = text.strip().replace("−", "-").replace("∞", "inf")
    share = re.fullmatch(r"(.+?)\s*%", text)
    fraction = re.fullmatch(r"([^/]+)/([^/]+)", text)
    try:
        if share:
            return float(share[1]) / 100
        if fraction:
            return float(fraction[1]) / float(fraction[2])
        return float(text)
    except (ValueError, ZeroDivisionError):
        return None


def _too_what(value: float, expected: float) -> str:
    if math.isinf(expected) or math.isinf(value):
        return "finite, and should not be" if math.isinf(expected) else "infinite: too far"
    if value * expected < 0:
        return "on the wrong side of zero"
    size = "too large" if abs(value) > abs(expected) else "too small"
    ratio = max(abs(value), abs(expected)) / max(min(abs(value), abs(expected)), 1e-300)
    if ratio < 1.25:
        return f"close, but {size}: a rounding on the way, or a term left out"
    return f"{size}, by a factor of more than {_round_down(ratio)}"


def _round_down(ratio: float) -> str:
    return next((str(r) for r in (1000, 100, 10, 5, 2) if ratio > r), "1.2")


def array(
    expected: Any,
    mistakes: Sequence[Mistake] = (),
    *,
    praise: str,
    rtol: float = 0.02,
    atol: float = 0.0,
    names: Sequence[str] | None = None,
) -> Grade:
    """A check for an array (or list, tuple, tensor, dict of ``names``) of fixed shape.

    Says the first entry that is wrong, by its ``names`` where there are some, without giving the
    right value away.
    """
    expected = np.asarray(expected, dtype=float)

    def close(value: np.ndarray, target: Any) -> bool:
        return value.shape == np.shape(target) and np.allclose(
            value, target, rtol=rtol, atol=atol, equal_nan=False
        )

    def grade(answer: Any) -> Feedback:
        wanted = f"{expected.size} numbers" + (f" ({', '.join(names)})" if names else "")
        if names and isinstance(answer, Mapping):
            if set(answer) != set(names):
                return wrong_type(answer, f"a dict with the keys {', '.join(names)}")
            answer = [answer[name] for name in names]
        value = as_array(answer)
        if value is None:
            return wrong_type(answer, wanted)
        if value.shape != expected.shape:
            if value.T.shape == expected.shape and close(value.T, expected):
                return wrong("transposed", "The numbers are right, but the array is transposed.")
            return wrong(
                "shape", f"The shape is {value.shape}; expected {expected.shape}: {wanted}."
            )
        if np.isnan(value).any():
            return wrong("nan", "There is a nan in your answer: 0/0 or inf - inf on the way.")
        if close(value, expected):
            return right(praise)
        for mistake in mistakes:
            if close(value, mistake.value):
                return wrong(mistake.diagnosis, mistake.message)
        good = np.isclose(value, expected, rtol=rtol, atol=atol)
        first = tuple(int(i) for i in np.argwhere(~good)[0])
        place = names[first[0]] if names else f"entry {first[0] if len(first) == 1 else first}"
        return wrong(
            UNKNOWN,
            f"{int(good.sum())} of {good.size} are right. The first wrong one is {place}: "
            f"{show(value[first])} is {_too_what(float(value[first]), float(expected[first]))}.",
        )

    return grade


def apart(values: Sequence[Any], rtol: float = 0.1, atol: float = 0.0) -> bool:
    """Whether every two of these numbers (or arrays) differ clearly: no two mistakes coincide.

    Exercises draw their numbers until the answer and all known mistakes are apart.
    """
    found = [np.asarray(value, dtype=float) for value in values]
    return not any(
        a.shape == b.shape and np.allclose(a, b, rtol=rtol, atol=atol)
        for i, a in enumerate(found)
        for b in found[i + 1 :]
    )


def as_array(answer: Any) -> np.ndarray | None:
    """A float array from lists, tuples, tensors and arrays of numbers; None otherwise."""
    if isinstance(answer, str | bytes | Mapping | set) or callable(answer):
        return None
    try:
        if hasattr(answer, "detach"):
            answer = answer.detach().cpu().numpy()
        value = np.asarray(answer)
        return None if value.dtype == bool else value.astype(float)
    except (TypeError, ValueError, RuntimeError):
        return None


@dataclass(frozen=True)
class Option:
    """One option of a decision. ``diagnosis`` is empty for the right one; ``message`` is what the
    tutor says to who picks it; ``short`` is the key that learners type besides the letter."""

    text: str
    message: str
    diagnosis: str = ""
    short: str = ""


def letters(options: Sequence[Option]) -> list[str]:
    """a, b, c, ... for the options."""
    return [chr(ord("a") + i) for i in range(len(options))]


def options_text(options: Sequence[Option]) -> str:
    """The options as a list for a prompt."""
    return "\n".join(f"- **{k}**: {o.text}" for k, o in zip(letters(options), options, strict=True))


def choice(options: Sequence[Option]) -> Grade:
    """A check for a decision: the letter (with or without bracket or full stop, any case), the
    ``short`` word, or the whole text of an option."""
    keys = letters(options)

    def grade(answer: Any) -> Feedback:
        if not isinstance(answer, str):
            return wrong_type(answer, f"one of the letters {', '.join(keys)}", 'answer = "a"')
        text = answer.strip().strip("().:").strip().lower()
        for key, option in zip(keys, options, strict=True):
            if text in (key, option.short.lower() or key, option.text.lower().strip("().: ")):
                if option.diagnosis:
                    return wrong(option.diagnosis, option.message)
                return right(option.message)
        return wrong_type(answer, f"one of the letters {', '.join(keys)}", 'answer = "a"')

    return grade
