"""Answers of several named parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def named(answer: Any, names: Sequence[str]) -> Mapping[str, Any] | None:
    """The parts by name, from a dict of just these names or a list or tuple in their order.

    None where the answer is neither.
    """
    if isinstance(answer, list | tuple) and len(answer) == len(names):
        return dict(zip(names, answer, strict=True))
    if isinstance(answer, Mapping) and set(answer) == set(names):
        return answer
    return None
