"""What went wrong in a build, in a few lines: the page, the cell, the error."""

from __future__ import annotations

import re
from pathlib import Path

from tools.layout import ROOT

_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_CELL = re.compile(r"following cell:\n-{10,}\n(.*?)\n-{10,}\n", re.S)
_WARNING = re.compile(r"^(?:(?P<where>[^\n]*?): )?(?P<kind>WARNING|ERROR|CRITICAL): (?P<what>.*)$")
_ERROR_LINE = re.compile(r"^[A-Za-z_][\w.]*(Error|Exception|Exit|Interrupt|Warning)\b.*$")


def failing_cell(page: Path, trace: str) -> list[str]:
    """Page, number and first lines of the cell that a traceback of nbclient tells of."""
    trace = _ANSI.sub("", trace)
    found = _CELL.search(trace)
    source = found[1].strip() if found else ""
    errors = [line for line in trace.splitlines() if _ERROR_LINE.match(line.strip())]
    lines = [f"{_short(str(page))}: code cell {_number(page, source)} failed"]
    lines += [f"    | {line}" for line in source.splitlines()[:4]]
    lines.append(f"  {errors[-1].strip() if errors else trace.strip().splitlines()[-1]}")
    return lines


def from_build(log: str, reports: Path) -> list[str]:
    """All failures of a Sphinx build: failing cells first, then its other warnings, each once."""
    said: list[str] = []
    for report in sorted(reports.rglob("*.err.log")) if reports.exists() else ():
        page = ROOT / report.relative_to(reports).with_suffix("").with_suffix(".md")
        said += failing_cell(page, report.read_text(encoding="utf-8"))
    for line in _ANSI.sub("", log).splitlines():
        found = _WARNING.match(line.strip())
        if found and "Executing notebook failed" not in line:
            where = f"{_short(found['where'])}: " if found["where"] else ""
            said.append(f"{where}{found['what']}")
    return list(dict.fromkeys(said))


def crash(log: str) -> list[str]:
    """What a build that died without a warning of its own said last."""
    lines = [line.strip() for line in _ANSI.sub("", log).splitlines() if line.strip(" =")]
    errors = [line for line in lines if _ERROR_LINE.match(line) and "RuntimeError" not in line]
    return errors[-1:] or lines[-5:]


def _number(page: Path, source: str) -> str:
    """Which code cell of the page this is, counted from 1."""
    if not page.exists() or not source:
        return "?"
    import jupytext

    cells = [c for c in jupytext.read(page).cells if c.cell_type == "code"]
    for number, cell in enumerate(cells, 1):
        if cell.source.strip() == source:
            return f"{number} of {len(cells)}"
    return "?"


def _short(text: str) -> str:
    return text.replace(f"{ROOT}/", "")
