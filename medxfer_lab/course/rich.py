"""Short texts (prompts, hints, feedback) as HTML that JupyterLab and the static page both show."""

from __future__ import annotations

import html
import re


def to_html(text: str) -> str:
    r"""HTML of a short text: paragraphs, ``- `` lists, `code`, **bold**, *emphasis*, $maths$.

    Maths becomes ``\(...\)``, which MathJax finds in a notebook's output and on the built page
    alike. Everything else is escaped: a text can hold no tags.
    """
    blocks = re.split(r"\n\s*\n", text.strip())
    return "\n".join(_block(block) for block in blocks if block.strip())


def _block(block: str) -> str:
    lines = [line.strip() for line in block.strip().splitlines()]
    if block.strip().startswith("```"):
        code = "\n".join(block.strip().splitlines()[1:-1])
        return f"<pre><code>{html.escape(code)}</code></pre>"
    if all(line.startswith("- ") for line in lines):
        return "<ul>" + "".join(f"<li>{_inline(line[2:])}</li>" for line in lines) + "</ul>"
    return f"<p>{_inline(' '.join(lines))}</p>"


def _inline(text: str) -> str:
    kept: list[
        str
    ] = []  # code and maths are set aside: their stars and underscores mean themselves

    def keep(markup: str) -> str:
        kept.append(markup)
        return f"\x00{len(kept) - 1}\x00"

    text = re.sub(r"`([^`]+)`", lambda m: keep(f"<code>{html.escape(m[1])}</code>"), text)
    text = re.sub(r"\$([^$]+)\$", lambda m: keep(rf"\({html.escape(m[1])}\)"), text)
    text = html.escape(text, quote=False)
    text = re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", text)
    text = re.sub(r"(?<!\w)\*(\S.*?)\*(?!\w)", r"<em>\1</em>", text)
    return re.sub(r"\x00(\d+)\x00", lambda m: kept[int(m[1])], text)
