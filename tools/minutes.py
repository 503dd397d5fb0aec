"""How long a page takes: the words a reader meets on it, and the seconds its code ran.

Words are counted on the built page, so that what the cells print (the exercises' questions, the
table of evidence) counts too; code, formulas, folded hints and solutions do not.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from tools.layout import BUILD, MINUTES, SITE, pages

WORDS_PER_MINUTE = 200
_SKIPPED = "pre, script, style, details, summary, .math, .headerlink, .medxfer-bar, .sd-card-body"


def words(html: str) -> int:
    """How many words of prose a built page has."""
    from bs4 import BeautifulSoup

    article = BeautifulSoup(html, "html.parser").select_one("article")
    if article is None:
        raise ValueError("the page has no <article>: is it a page of the built site?")
    for element in article.select(_SKIPPED):
        element.decompose()
    return len(re.findall(r"[^\W\d_][\w'’-]*", article.get_text(" ")))


def measured(site: Path = SITE) -> dict[str, dict[str, float]]:
    """page -> its words, and the seconds its code ran when it was last executed."""
    ran = json.loads((BUILD / "run_seconds.json").read_text(encoding="utf-8"))
    return {
        page: {
            "words": words((site / f"{page}.html").read_text(encoding="utf-8")),
            "run_s": round(ran.get(page, 0.0), 1),
        }
        for page in pages()
    }


def write() -> None:
    """Write what was measured to book/minutes.json, which is committed."""
    scratch = MINUTES.with_suffix(".tmp")
    scratch.write_text(json.dumps(measured(), indent=1) + "\n", encoding="utf-8")
    os.replace(scratch, MINUTES)


def read() -> dict[str, dict[str, float]]:
    """What book/minutes.json holds; empty before the first measurement."""
    return json.loads(MINUTES.read_text(encoding="utf-8")) if MINUTES.exists() else {}


def said(page: str, known: dict[str, dict[str, float]]) -> str:
    """'12 min reading, 1.5 min running' for a measured page, '' for another."""
    if page not in known:
        return ""
    reading = max(1, round(known[page]["words"] / WORDS_PER_MINUTE))
    running = round(known[page]["run_s"] / 60, 1)
    return f"{reading} min reading" + (f", {running:g} min running" if running >= 0.5 else "")
