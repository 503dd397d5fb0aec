"""Answers of several named parts, each with a check of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medxfer_lab.course.feedback import Feedback, right, wrong, wrong_type
from medxfer_lab.course.values import Grade, as_array


def several(checks: Mapping[str, Grade], *, praise: str) -> Grade:
    """A check for a dict of these names, or for a list, tuple or array in their order.

    Unlike :func:`medxfer_lab.course.values.array`, whose mistakes run through all entries, a slip
    is looked for in each number by itself. Says the first number that is not right.
    """
    names = list(checks)
    wanted = f"{len(names)} numbers ({', '.join(names)})"

    def grade(answer: Any) -> Feedback:
        parts = _parts(answer, names)
        if parts is None:
            return wrong_type(answer, wanted, f"answer = [{', '.join(names)}]")
        if len(parts) != len(names):
            return wrong("shape", f"You gave {len(parts)}; expected {wanted}.")
        for name, part in zip(names, parts, strict=True):
            found = checks[name](part)
            if not found.correct:
                return Feedback(False, found.diagnosis, f"Look at `{name}`. {found.message}")
        return right(praise)

    return grade


def _parts(answer: Any, names: list[str]) -> list[Any] | None:
    if isinstance(answer, Mapping):
        return [answer[name] for name in names] if set(answer) == set(names) else None
    if isinstance(answer, list | tuple):
        return list(answer)
    array = as_array(answer)
    return None if array is None or array.ndim != 1 else list(array)
