"""From one source the notebooks: stubs for learners, solutions for instructors.

The pages in book/ are MyST Markdown notebooks. The learner's edition drops solutions and is
committed under notebooks/, where a test keeps it in step; the instructor's keeps them and is
built, not committed. Both are the same bytes every time: cell ids come from
the content, and there are no outputs.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from medxfer_lab.chapters import REFERENCE
from medxfer_lab.course.atomic import write_atomically
from medxfer_lab.course.bibliography import Bibliography
from medxfer_lab.course.plain import Context, PlainError, equation_labels, plain, section_titles

WINGS = ("text", "lab", "practice", "lecture")
FOLDING = frozenset(
    {"hide-cell", "hide-input", "hide-output", "remove-cell", "remove-input", "remove-output"}
)
#: lines that hand numbers to the site's roles; in a notebook the numbers stand there already
_GLUE = re.compile(
    r"^(glue(_numbers)?\(.*\)"
    r"|from (myst_nb|medxfer_lab\.course(\.numbers)?) import glue(_numbers)?)[ \t]*(\n|\Z)",
    re.M,
)

#: The first cell of every notebook. It must stand alone: where it acts, nothing is installed yet.
HOSTED = """\
# On a hosted notebook (Colab, Kaggle) this installs the course and leaves torch as it is.
# Anywhere else it does nothing.
import os
import subprocess
import sys
from importlib.metadata import version
from importlib.util import find_spec

hosted = "google.colab" in sys.modules or "KAGGLE_KERNEL_RUN_TYPE" in os.environ
if hosted and find_spec("medxfer_lab") is None:
    kept = [name for name in ("torch", "torchvision", "numpy") if find_spec(name)]
    with open("medxfer-keep.txt", "w") as file:
        file.writelines(f"{name}=={version(name)}\\n" for name in kept)
    source = os.environ.get("MEDXFER_SOURCE", "medxfer-lab")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "-c", "medxfer-keep.txt"]
    subprocess.run([*pip, source], check=True)"""


def pages(root: Path) -> list[str]:
    """The pages under root/book that have a notebook, e.g. 'book/bias_variance/lab'."""
    wings = [f"book/{p.parent.name}/{p.stem}" for p in sorted(root.glob("book/*/*.md"))]
    found = [
        page
        for page in wings
        if page.rsplit("/", 1)[1] in WINGS or page.split("/")[1] == REFERENCE.name
    ]
    first = ["book/prerequisites"] if (root / "book/prerequisites.md").exists() else []
    return [*first, *found]


def write(root: Path, folder: Path | None = None, instructor: bool = False) -> list[Path]:
    """Write the notebooks that differ from what their pages give; return those written."""
    changed = []
    for target, text in _wanted(root, folder or root / "notebooks", instructor).items():
        if not target.exists() or target.read_text(encoding="utf-8") != text:
            write_atomically(target, text)
            changed.append(target)
    return changed


def stale(root: Path) -> list[Path]:
    """Learners' notebooks that are missing, differ from their page, or have no page."""
    folder = root / "notebooks"
    wanted = _wanted(root, folder, instructor=False)
    bad = [
        path
        for path, text in wanted.items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    there = [p for p in folder.rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts]
    return sorted(bad + [path for path in there if path not in wanted])


def notebook(root: Path, page: str, instructor: bool = False) -> dict[str, Any]:
    """One page as a notebook (nbformat 4.5, as a dict). PlainError names what cannot be shown."""
    cells, cited = _cells(root, page, instructor)
    cells = [{"cell_type": "code", "source": HOSTED, "tags": ["hosted", "hide-input"]}, *cells]
    if cited:
        cells.append({"cell_type": "markdown", "source": cited})
    used: set[str] = set()
    return {
        "cells": [_cell(page, cell, used) for cell in cells],
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def slides(root: Path, page: str, executed: Any) -> Any:
    """An executed page (nbformat notebook) as slides: roles in words, solutions dropped.

    executed: the notebook as the site build leaves it, with outputs; changed in place, returned.
    """
    context = replace(_context(root, page, instructor=False), site="../")
    kept = []
    for cell in executed.cells:
        tags = set(cell.metadata.get("tags", []))
        if tags & {"remove-cell", "solution"}:
            continue
        if cell.cell_type == "markdown":
            cell.source = plain(cell.source, context)
        if tags & {"hide-input", "remove-input"}:
            cell.metadata["tags"] = sorted(tags | {"slides-output-only"})
        kept.append(cell)
    executed.cells = kept
    return executed


def _wanted(root: Path, folder: Path, instructor: bool) -> dict[Path, str]:
    return {
        folder / f"{page.removeprefix('book/')}.ipynb": json.dumps(
            notebook(root, page, instructor), indent=1, ensure_ascii=False, sort_keys=True
        )
        + "\n"
        for page in pages(root)
    }


def _read(path: Path) -> list[dict[str, Any]]:
    """The cells of a page: type, source, tags, slideshow metadata."""
    import jupytext

    return [
        {
            "cell_type": cell.cell_type,
            "source": cell.source,
            "tags": cell.metadata.get("tags", []),
            "slideshow": cell.metadata.get("slideshow"),
        }
        for cell in jupytext.read(path, fmt="md:myst").cells
    ]


def _cells(root: Path, page: str, instructor: bool) -> tuple[list[dict[str, Any]], str]:
    """The cells of an edition, and the list of what it cites."""
    context = _context(root, page, instructor)
    kept = []
    for cell in _read(root / f"{page}.md"):
        if "solution" in cell["tags"] and not instructor:
            continue
        if cell["cell_type"] == "code" and "remove-cell" in cell["tags"]:
            cell["source"] = _GLUE.sub("", cell["source"]).strip()
        if cell["cell_type"] == "markdown":
            cell["source"] = plain(cell["source"], context)
        if cell["source"]:
            kept.append(cell)
    bibliography = getattr(context.cite, "__self__", None)
    return kept, bibliography.listing() if bibliography else ""


def _context(root: Path, page: str, instructor: bool) -> Context:
    """Everything that the roles of a page may refer to."""
    from medxfer_lab.course.numbers import numbers

    equations: dict[str, tuple[str, int]] = {}
    titles: dict[str, str] = {}
    for path in sorted((root / "book").rglob("*.md")):
        source = path.read_text(encoding="utf-8")
        name = path.relative_to(root).with_suffix("").as_posix()
        for number, label in enumerate(equation_labels(source), 1):
            equations[label] = (name, number)
        titles.update(section_titles(source))
    context = Context(
        page=page,
        equations=equations,
        titles=titles,
        notebooks=frozenset(pages(root)),
        solutions=instructor,
    )
    references = root / "book" / "references.bib"
    if references.exists():
        context = replace(context, cite=Bibliography(references).cite)
    chapter = page.split("/")[1]
    is_chapter = len(page.split("/")) == 3
    return replace(context, numbers=numbers(chapter)) if is_chapter else context


def _cell(page: str, cell: dict[str, Any], used: set[str]) -> dict[str, Any]:
    """A notebook cell whose id comes from page, type, source and how often it occurred before."""
    for repeat in range(1000):
        seed = f"{page}|{cell['cell_type']}|{cell['source']}|{repeat}"
        identity = hashlib.sha256(seed.encode()).hexdigest()[:12]
        if identity not in used:
            break
    used.add(identity)
    metadata: dict[str, Any] = {}
    given = set(cell.get("tags", ()))
    if tags := sorted(given - FOLDING):
        metadata["tags"] = tags
    if cell["cell_type"] == "code" and given & (FOLDING - {"hide-output", "remove-output"}):
        metadata["jupyter"] = {"source_hidden": True}  # JupyterLab folds the code
    if cell.get("slideshow"):
        metadata["slideshow"] = cell["slideshow"]
    made = {
        "cell_type": cell["cell_type"],
        "id": identity,
        "metadata": metadata,
        "source": cell["source"].splitlines(keepends=True),
    }
    if cell["cell_type"] == "code":
        made |= {"execution_count": None, "outputs": []}
    return made


__all__ = ["HOSTED", "PlainError", "notebook", "pages", "slides", "stale", "write"]
