"""MyST Markdown, as the pages are written in, to the plain Markdown that JupyterLab shows.

JupyterLab knows no roles or directives: `{glue:text}`, `{term}`, admonitions and the like would
stand there raw. Each has a plain form here; one that is unknown is an error, so that none leaks.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

BOXES = frozenset(
    "note tip hint warning important caution attention danger error seealso admonition".split()
)
DROPPED = frozenset("bibliography tableofcontents contents minutes toctree".split())

_OPEN = re.compile(r"^(\s*)(`{3,}|:{3,}|~{3,})\{([\w:.-]+)\}\s*(.*)$")
_CODE = re.compile(r"^(\s*)(`{3,}|~{3,})([^{`]*)$")
_OPTION = re.compile(r"^\s*:([\w-]+):\s*(.*)$")
_ROLE = re.compile(r"\{([a-z][\w:.-]*)\}(`+)(.+?)\2", re.S)
_TITLED = re.compile(r"^(.*?)\s*<([^<>]+)>$", re.S)
_TARGET = re.compile(r"^\(([\w:.-]+)\)=\s*$")
_DOLLARS = re.compile(r"\$\$(.*?)\$\$[ \t]*\(([\w:.-]+)\)[ \t]*$", re.S | re.M)
_LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)\s#]*)\.md(#[^)]*)?\)")


class PlainError(ValueError):
    """A page uses something that has no plain form, or a name that nothing answers to."""


@dataclass(frozen=True)
class Context:
    """What a page's roles refer to.

    page: 'book/bias_variance/text'. numbers: dotted name -> value. equations: label ->
    (page, number). titles: label of a section -> its heading. cite: (key, kind) -> words, with
    kind 'p' or 't'. notebooks: the pages that have a notebook. solutions: keep them?
    site: the way to the site's root, for slides, whose links go to its pages; else None.
    """

    page: str
    numbers: Mapping[str, object] = field(default_factory=dict)
    equations: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    titles: Mapping[str, str] = field(default_factory=dict)
    cite: Callable[[list[str], str], str] | None = None
    notebooks: frozenset[str] = frozenset()
    solutions: bool = False
    site: str | None = None


def plain(source: str, context: Context) -> str:
    """The plain Markdown of one cell; PlainError names the page and what has no plain form."""
    return re.sub(r"\n{3,}", "\n\n", _blocks(source.splitlines(), context)).strip()


def equation_labels(source: str) -> list[str]:
    """Labels of the numbered equations of a text, in order."""
    found = [(m.start(), m[2]) for m in _DOLLARS.finditer(source)]
    for m in re.finditer(r"^\s*(`{3,}|:{3,})\{math\}[^\n]*\n((?:.*\n)*?)\s*\1", source, re.M):
        if label := re.search(r"^\s*:label:\s*(\S+)", m[2], re.M):
            found.append((m.start(), label[1]))
    return [label for _, label in sorted(found)]


def section_titles(source: str) -> dict[str, str]:
    """Label -> heading, for `(label)=` lines that stand before a heading."""
    found = re.findall(r"^\(([\w:.-]+)\)=\s*\n+#+\s+(.+?)\s*$", source, re.M)
    return dict(found)


def _blocks(lines: list[str], context: Context) -> str:
    """Split into directives, code and prose, and give each its plain form."""
    out: list[str] = []
    prose: list[str] = []

    def flush() -> None:
        if prose:
            out.append(_prose("\n".join(prose), context))
            prose.clear()

    at = 0
    while at < len(lines):
        line = lines[at]
        opened = _OPEN.match(line) or _CODE.match(line)
        if opened is None:
            if not _TARGET.match(line) and not line.startswith("% "):
                prose.append(line)
            at += 1
            continue
        flush()
        end = _closing(lines, at, opened[2])
        body = lines[at + 1 : end]
        if _OPEN.match(line):
            out.append(_directive(opened[3], opened[4], body, context))
        else:
            out.append("\n".join(lines[at : end + 1]))
        at = end + 1
    flush()
    return "\n".join(out)


def _closing(lines: list[str], at: int, fence: str) -> int:
    """Index of the line that closes the fence opened at `at` (the end if none does)."""
    closes = re.compile(rf"^\s*{re.escape(fence[0])}{{{len(fence)},}}\s*$")
    for index in range(at + 1, len(lines)):
        if closes.match(lines[index]):
            return index
    return len(lines)


def _options(body: list[str]) -> tuple[dict[str, str], list[str]]:
    """The `:key: value` lines that open a directive, and what follows them."""
    options, at = {}, 0
    while at < len(body) and (found := _OPTION.match(body[at])):
        options[found[1]] = found[2]
        at += 1
    return options, body[at:]


def _directive(name: str, title: str, body: list[str], context: Context) -> str:
    options, body = _options(body)
    if name in DROPPED:
        return ""
    if name == "math":
        return _equation("\n".join(body) or title, options.get("label"), context)
    if name in ("code-block", "code"):
        return "\n".join([f"```{title}", *body, "```"])
    inner = _blocks(body, context).strip()
    classes = f"{options.get('class', '')} {options.get('class-container', '')}".split()
    if name == "dropdown" or "dropdown" in classes:
        if "solution" in classes and not context.solutions:
            return ""
        return (
            f"\n<details>\n<summary>{_prose(title, context)}</summary>\n\n{inner}\n\n</details>\n"
        )
    if name in BOXES:
        return _box(name, _prose(title, context), inner)
    if name == "table":
        return f"{_prose(title, context)}\n\n{inner}\n"
    if name in ("figure", "image"):
        words = inner or options.get("alt", "")
        return f"*(Figure, on the website: {words})*"
    if name == "glossary":
        return inner
    raise PlainError(
        f"{context.page}: the directive {{{name}}} has no plain form for notebooks; "
        "use an admonition, a dropdown, a table or mathematics"
    )


def _box(name: str, title: str, inner: str) -> str:
    head = title if name == "admonition" else name.capitalize()
    if name != "admonition" and title:
        head, inner = name.capitalize(), f"{title}\n{inner}".strip()
    quoted = "\n".join(f"> {line}".rstrip() for line in inner.splitlines())
    return f"\n> **{head.strip()}.**\n>\n{quoted}\n"


def _equation(formula: str, label: str | None, context: Context) -> str:
    tag = ""
    if label is not None:
        tag = rf" \tag{{{context.equations[label][1]}}}"
    return f"\n$$\n{formula.strip()}{tag}\n$$\n"


def _prose(text: str, context: Context) -> str:
    text = _DOLLARS.sub(lambda m: _equation(m[1], m[2], context).strip(), text)
    text = _LINK.sub(lambda m: _link(m, context), text)
    return _ROLE.sub(lambda m: _role(m[1], m[3].strip(), context), text)


def _link(found: re.Match, context: Context) -> str:
    """A link to a page becomes one to its notebook; a page without a notebook is only named."""
    target = posixpath.normpath(posixpath.join(posixpath.dirname(context.page), found[2]))
    if context.site is not None:
        return f"[{found[1]}]({context.site}{target}.html)"
    if target not in context.notebooks:
        return found[1]
    return f"[{found[1]}]({found[2]}.ipynb)"


def _role(name: str, text: str, context: Context) -> str:
    titled = _TITLED.match(text)
    words, target = (titled[1], titled[2].strip()) if titled else (None, text)
    if name.startswith("glue"):
        return _number(text, context)
    if name.startswith("cite"):
        if context.cite is None:
            raise PlainError(f"{context.page}: cites {text!r}, but there is no references.bib")
        kind = "t" if name.endswith(":t") else "p"
        return context.cite([key.strip() for key in text.split(",")], kind)
    if name == "eq":
        return _equation_reference(target, context)
    if name == "term":
        return words or target
    if name in ("ref", "numref"):
        return words or context.titles.get(target) or _unknown("section", target, context)
    if name == "doc":
        return words or target.rsplit("/", 1)[-1]
    if name == "math":
        return f"${text}$"
    if name in ("sub", "sup", "kbd"):
        return f"<{name}>{text}</{name}>"
    if name == "abbr":
        return text
    raise PlainError(f"{context.page}: the role {{{name}}} has no plain form for notebooks")


def _number(text: str, context: Context) -> str:
    """The number of a `{glue:text}` role, formatted as myst-nb does it: as a float."""
    name, _, spec = text.partition(":")
    if name not in context.numbers:
        return _unknown("number", name, context)
    value = context.numbers[name]
    if not spec:
        return str(value)
    try:
        return f"{float(value):>{spec}}"  # type: ignore[arg-type]
    except ValueError as error:
        raise PlainError(f"{context.page}: {name} = {value!r} as {spec!r}: {error}") from None


def _equation_reference(label: str, context: Context) -> str:
    if label not in context.equations:
        return _unknown("equation", label, context)
    page, number = context.equations[label]
    if page == context.page or page not in context.notebooks or context.site is not None:
        return f"({number})"
    where = posixpath.relpath(page, posixpath.dirname(context.page))
    return f"[({number}) of {posixpath.basename(page)}]({where}.ipynb)"


def _unknown(what: str, name: str, context: Context) -> str:
    raise PlainError(f"{context.page}: no {what} is called {name!r}")
