"""Words that several questions use."""

from __future__ import annotations


def percent(share: float, digits: int = 0) -> str:
    """A share as the course writes it: 0.025 with one digit is "2.5 %"."""
    return f"{100 * share:.{digits}f} %"
