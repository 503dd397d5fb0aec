"""Answers of several named parts: a dict of the names, or the values in their order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def named(answer: Any, names: Sequence[str]) -> Mapping[str, Any] | None:
    """The parts by name, from a dict of just these names or a list or tuple in their order.

    None where the answer is neither.

        named([0.5, "a"], ("share", "verdict"))    {"share": 0.5, "verdict": "a"}
    """
    if isinstance(answer, list | tuple) and len(answer) == len(names):
        return dict(zip(names, answer, strict=True))
    if isinstance(answer, Mapping) and set(answer) == set(names):
        return answer
    return None
