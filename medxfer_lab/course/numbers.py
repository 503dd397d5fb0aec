"""The numbers of the prose: every record's results under dotted names, so that none is typed.

Names: ``<experiment>.<data>.<path in the results>``, ``minutes.<experiment>.<data>`` (what the
record took), ``claims.<id>.<verdict|effect|low|high|units|margin>``.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from medxfer_lab.course.record import Record, records

#: longer lists (values per training set) are for figures, not for prose
LONGEST_LIST = 12

_ROLE = re.compile(r"\{glue:(?:text|md)?\}`([^`:]+)(?::[^`]*)?`")


def numbers(chapter: str, folder: str | Path | None = None) -> dict[str, float | int | str]:
    """All numbers and words of a chapter's records, flat.

    ``folder`` replaces the package's folder of records. Entries that are None are left out, so a
    page that uses one fails where the name is used; so are lists of more than LONGEST_LIST.
    Raises RecordError for a damaged record.
    """
    found = records(chapter, folder=folder)
    flat: dict[str, float | int | str] = {}
    for name, record in found.items():
        flat.update(_flatten(record.results, name))
        flat[f"minutes.{name}"] = record.wall_s / 60
        flat[f"{name}.device_name"] = record.device_name
        flat[f"{name}.date"] = record.date
    flat.update(_claims(chapter, found))
    return flat


def glue_numbers(chapter: str, page: str | Path | None = None) -> None:
    """Glue a chapter's numbers for {glue:text} roles (myst-nb), displaying nothing.

    With ``page`` (a Markdown file, usually the page itself) only the names used there are glued,
    and a name that no record holds is an error that says so and names its nearest neighbours.
    """
    from myst_nb import glue

    known = numbers(chapter)
    names = list(known) if page is None else names_used(Path(page).read_text(encoding="utf-8"))
    for name in names:
        if name not in known:
            raise KeyError(f"{page} uses {name!r}, which no record holds; {_nearest(name, known)}")
        glue(name, known[name], display=False)


def names_used(markdown: str) -> list[str]:
    """The names in the {glue} roles of a text, in order of first use."""
    return list(dict.fromkeys(match.strip() for match in _ROLE.findall(markdown)))


def _nearest(name: str, known: dict[str, Any]) -> str:
    import difflib

    close = difflib.get_close_matches(name, known, n=3)
    return f"near it: {', '.join(close)}" if close else f"there are {len(known)} names"


def _flatten(value: Any, name: str) -> Iterator[tuple[str, float | int | str]]:
    if isinstance(value, list) and len(value) > LONGEST_LIST:
        return
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            yield from _flatten(item, f"{name}.{key}")
    elif value is not None:
        yield name, value


def _claims(chapter: str, found: dict[str, Record]) -> Iterator[tuple[str, float | int | str]]:
    """Verdicts, where the chapter makes claims. It is looked up by name, as its records are: the
    floor knows no chapter."""
    module = f"medxfer_lab.{chapter}.claims"
    try:
        if importlib.util.find_spec(module) is None:
            return
    except ModuleNotFoundError:
        return
    for claim in importlib.import_module(module).CLAIMS:
        verdict = dataclasses.asdict(claim.verdict(found))
        for part in ("verdict", "effect", "low", "high", "units"):
            if verdict[part] is not None:
                yield f"claims.{claim.id}.{part}", verdict[part]
        if isinstance(claim.margin, int | float | str):
            yield f"claims.{claim.id}.margin", claim.margin
