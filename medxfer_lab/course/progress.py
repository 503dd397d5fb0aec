"""A learner's own progress: a few small files on this computer, no account.

They lie in the folder named by MEDXFER_HOME, or in ``.medxfer`` of the home folder, one file per
exercise. Where that cannot be written, progress lasts as long as the session.
"""

from __future__ import annotations

import datetime
import html
import json
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from medxfer_lab.course.atomic import write_atomically
from medxfer_lab.course.jobfile import is_quiet

_session: dict[str, Entry] = {}


@dataclass
class Entry:
    """What happened with one exercise so far."""

    id: str
    title: str
    objective: str
    attempts: int = 0
    correct: bool = False
    hints: int = 0
    last: str = ""


def home() -> Path:
    """The folder of everything that the course keeps for this learner."""
    return Path(os.environ.get("MEDXFER_HOME") or Path.home() / ".medxfer")


def note_attempt(id: str, title: str, objective: str, correct: bool) -> None:
    """Count an attempt; once right stays right."""
    entry = _entry(id, title, objective)
    entry.attempts += 1
    entry.correct |= correct
    _keep(entry)


def note_hint(id: str, title: str, objective: str, hint: int) -> None:
    """Remember how far the hints were used."""
    entry = _entry(id, title, objective)
    entry.hints = max(entry.hints, hint)
    _keep(entry)


def entries() -> list[Entry]:
    """All entries, those on disk and those of this session, by objective and title.

    None in a site build: whoever builds the site does not publish their own progress.
    """
    if is_quiet():
        return []
    found = dict(_session)
    folder = home() / "progress"
    for path in folder.glob("*.json") if folder.is_dir() else ():
        entry = _read(path)
        if entry and entry.id not in found:
            found[entry.id] = entry
    return sorted(found.values(), key=lambda e: (e.objective, e.title))


class ProgressTable:
    """Progress by learning objective; HTML in a notebook, text elsewhere."""

    def __init__(self, rows: list[Entry]) -> None:
        self.rows = rows

    def _repr_html_(self) -> str:
        if not self.rows:
            return f"<p>{html.escape(_EMPTY)}</p>"
        cell = 'style="text-align:left;padding:.2em .7em"'
        head = "".join(f'<th scope="col" {cell}>{h}</th>' for h in _HEADS)
        body = "".join(
            "<tr>"
            + "".join(f"<td {cell}>{html.escape(str(c))}</td>" for c in _cells(row))
            + "</tr>"
            for row in self.rows
        )
        return (
            f"<table><caption>{html.escape(self.summary)}</caption>"
            f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        )

    @property
    def summary(self) -> str:
        """How many objectives are met."""
        objectives = {row.objective for row in self.rows}
        met = [o for o in objectives if all(r.correct for r in self.rows if r.objective == o)]
        done = sum(row.correct for row in self.rows)
        return (
            f"{done} of {len(self.rows)} tried exercises solved; "
            f"{len(met)} of {len(objectives)} objectives met so far."
        )

    def __str__(self) -> str:
        if not self.rows:
            return _EMPTY
        table = [_HEADS, *(tuple(map(str, _cells(row))) for row in self.rows)]
        widths = [max(len(line[i]) for line in table) for i in range(len(_HEADS))]
        lines = ["  ".join(c.ljust(w) for c, w in zip(line, widths)).rstrip() for line in table]
        return "\n".join([*lines, self.summary])

    __repr__ = __str__


_HEADS = ("Learning objective", "Exercise", "Solved", "Attempts", "Hints used")
_EMPTY = "No exercise has been tried on this computer yet."


def progress() -> ProgressTable:
    """A table of what was tried and solved on this computer, by learning objective."""
    return ProgressTable(entries())


def _cells(row: Entry) -> tuple[str, str, str, int, int]:
    return row.objective, row.title, "✔ yes" if row.correct else "not yet", row.attempts, row.hints


def _path(id: str) -> Path:
    return home() / "progress" / (re.sub(r"[^A-Za-z0-9_-]+", "-", id) + ".json")


def _read(path: Path) -> Entry | None:
    """An entry from disk; None for a missing, damaged or foreign file (it is replaced later)."""
    try:
        entry = Entry(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    kinds = {"id": str, "title": str, "objective": str, "attempts": int, "hints": int, "last": str}
    return entry if all(isinstance(getattr(entry, k), t) for k, t in kinds.items()) else None


def _entry(id: str, title: str, objective: str) -> Entry:
    known = _read(_path(id)) or _session.get(id) or Entry(id, title, objective)
    known.title, known.objective = title, objective
    return known


def _keep(entry: Entry) -> None:
    if is_quiet():  # a site build is no learner
        return
    entry.last = datetime.date.today().isoformat()
    try:
        write_atomically(_path(entry.id), json.dumps(asdict(entry), sort_keys=True))
        _session.pop(entry.id, None)
    except OSError:
        _session[entry.id] = entry
