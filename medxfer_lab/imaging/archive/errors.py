"""The one error that an unreadable file gives."""

from __future__ import annotations

import os


class ArchiveError(ValueError):
    """A file that cannot be read as a picture: the message names it and says what would help."""


def refusal(
    path: str | os.PathLike, found: str, expected: str = "", way_out: str = ""
) -> ArchiveError:
    """The error to raise: "'scan.dcm': FOUND; expected EXPECTED. WAY OUT"."""
    message = f"'{os.fspath(path)}': {found}"
    if expected:
        message += f"; expected {expected}"
    if way_out:
        message += f". {way_out[0].upper()}{way_out[1:]}"
    return ArchiveError(message)


def shown(value: object, most: int = 60) -> str:
    """A value from a file as text for a message: no control characters, never long."""
    text = repr(value)
    return text if len(text) <= most else text[: most - 3] + "..."
