"""What Sphinx does not do by itself: the bar under each title, the minutes, the run times.

- Every page gets a bar with its minutes, its notebook to download and, for a lecture, its slides.
- `{minutes}` is a directive that lists the chapters with their minutes (front page).
- When the build is done, the seconds that each page took to execute lie in _build/run_seconds.json.
"""

from __future__ import annotations

import html
import json
import os
import posixpath
import re
import sys
from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import Directive

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tools import layout, minutes  # noqa: E402


class MinutesDirective(Directive):
    """The table of chapters and their minutes, from book/minutes.json."""

    has_content = False

    def run(self) -> list[nodes.Node]:
        here = self.state.document.settings.env.docname
        return [nodes.raw("", _table(here, minutes.read()), format="html")]


def _table(here: str, measured: dict) -> str:
    from medxfer_lab.chapters import CHAPTERS

    known = layout.pages()
    rows = [("Prerequisites", ["book/prerequisites"])]
    rows += [
        (c.title, [f"book/{c.name}/{wing}" for wing in ("text", "lab", "practice", "lecture")])
        for c in CHAPTERS
    ]
    body = []
    for title, wings in rows:
        cells = "".join(
            f'<li><a href="{_relative(here, page)}.html">{page.rsplit("/", 1)[1]}</a>'
            f" <span>{minutes.said(page, measured)}</span></li>"
            for page in wings
            if page in known
        )
        if cells:
            body.append(f"<tr><th scope='row'>{html.escape(title)}</th><td><ul>{cells}</ul></td>")
    return (
        "<table class='medxfer-minutes'><thead><tr><th scope='col'>Chapter</th>"
        "<th scope='col'>Pages and minutes</th></tr></thead><tbody>"
        + "</tr>".join(body)
        + "</tr></tbody></table>"
    )


def _relative(page: str, target: str) -> str:
    return posixpath.relpath(target, posixpath.dirname(page))


def bar(page: str, measured: dict) -> str:
    """The line under a page's title; '' for a page that has nothing to say there."""
    parts = []
    if notebook := layout.notebook_of(page):
        if words := minutes.said(page, measured):
            parts.append(f"<span>{words}</span>")
        href = _relative(page, notebook)
        parts.append(f'<a href="{href}" download>Notebook: {posixpath.basename(notebook)}</a>')
    if slides := layout.slides_of(page):
        parts.append(f'<a href="{_relative(page, slides)}">Open the slides</a>')
    return f'<div class="medxfer-bar">{"".join(parts)}</div>' if parts else ""


def add_bar(app, page, template, context, doctree) -> None:
    """Put the bar behind the page's first heading."""
    body = context.get("body")
    if not body or page not in layout.pages():
        return
    line = bar(page, minutes.read())
    context["body"] = re.sub(r"</h1>", lambda m: m[0] + line, body, count=1)


def write_run_seconds(app, error) -> None:
    """Leave each page's execution time where tools.build_book finds it."""
    if error is not None or app.builder.name != "html":
        return
    data = {}
    for page in sorted(app.env.found_docs):
        executed = app.env.nb_metadata.get(page, {}).get("exec_data") or {}
        data[page] = executed.get("runtime") or 0.0
    target = Path(app.outdir).parent / "run_seconds.json"
    scratch = target.with_suffix(".tmp")
    scratch.write_text(json.dumps(data, indent=1))
    os.replace(scratch, target)


def setup(app) -> dict:
    app.add_directive("minutes", MinutesDirective)
    app.connect("html-page-context", add_bar)
    app.connect("build-finished", write_run_seconds)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
