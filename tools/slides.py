"""Slides from a chapter's lecture page: reveal.js, with its code and the mathematics beside it.

The page is executed once, by the site build; the slides take that executed notebook.
"""

from __future__ import annotations

import os
from pathlib import Path

from tools.layout import BUILD, ROOT, SITE, slides_of

TEMPLATES = Path(__file__).with_name("templates")
#: what an online-only build loads instead of the site's own copies
ONLINE = {
    "reveal": "https://cdn.jsdelivr.net/npm/reveal.js@4.6.0",
    "mathjax": "https://cdn.jsdelivr.net/npm/mathjax@3.2.2/es5/tex-svg-full.js",
    "widgets": "https://cdn.jsdelivr.net/npm/@jupyter-widgets/html-manager@1.0.15/dist/embed.js",
}
OFFLINE = {
    "reveal": "../_static/vendor/reveal",
    "mathjax": "../_static/vendor/mathjax/tex-svg-full.js",
    "widgets": "../_static/vendor/html-manager/embed.js",
}


def build(page: str, online: bool = False) -> Path:
    """Write the slides of an executed lecture page into the site; return where they are."""
    from nbconvert import SlidesExporter

    from medxfer_lab.course import editions

    deck = editions.slides(ROOT, page, executed(page))
    deck.metadata["title"] = _title(deck)
    assets = ONLINE if online else OFFLINE
    exporter = SlidesExporter(
        reveal_url_prefix=assets["reveal"],
        reveal_theme="white",
        template_name="medxfer_slides",
        extra_template_basedirs=[str(TEMPLATES)],
        exclude_input_prompt=True,
        exclude_output_prompt=True,
    )
    resources = {"medxfer": {**assets, "page": f"../{page}.html", "online": online}}
    body, _ = exporter.from_notebook_node(deck, resources=resources)
    target = SITE / slides_of(page)
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = target.with_suffix(".tmp")
    scratch.write_text(body, encoding="utf-8")
    os.replace(scratch, target)
    return target


def executed(page: str):
    """A page as a notebook with the outputs of its last execution.

    They come from the execution cache: what the site build leaves in jupyter_execute/ has none
    when the page was changed in its words only.
    """
    import jupytext
    from jupyter_cache import get_cache

    notebook = jupytext.read(ROOT / f"{page}.md", fmt="md:myst")
    cache = get_cache(BUILD / ".jupyter_cache")
    return cache.merge_match_into_notebook(notebook)[1]


def _title(deck) -> str:
    for cell in deck.cells:
        for line in cell.source.splitlines():
            if cell.cell_type == "markdown" and line.startswith("# "):
                return line[2:].strip()
    return "Lecture"
