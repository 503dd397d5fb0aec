"""Where things lie, which pages there are, and the digests that tell whether a build is current."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "_build"
SITE = BUILD / "html"
VENDOR = ROOT / "book" / "_assets" / "vendor"
MINUTES = ROOT / "book" / "minutes.json"

#: what a page's outputs hang on, besides the page: a change drops the execution cache
CODE = ("medxfer_lab", "constraints.txt")
#: what else the built site hangs on
SOURCES = ("book", "notebooks", "tools", "_config.yml", "_toc.yml", "LICENSE-text")


def pages(root: Path = ROOT) -> list[str]:
    """The pages of _toc.yml in order, without suffix, e.g. 'book/bias_variance/text'."""
    toc = yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8"))

    def walk(node: dict) -> Iterator[str]:
        yield from [node[key] for key in ("root", "file") if key in node]
        for key in ("parts", "chapters", "sections"):
            for child in node.get(key, ()):
                yield from walk(child)

    return list(walk(toc))


def notebook_of(page: str) -> str | None:
    """The learner's notebook of a page, relative to the root; None for pages that have none."""
    parts = Path(page).parts[1:]
    has_one = len(parts) == 2 or parts == ("prerequisites",)
    return str(Path("notebooks", *parts)) + ".ipynb" if has_one else None


def slides_of(page: str) -> str | None:
    """Where a lecture's slides lie in the site, or None for a page that is not a lecture."""
    parts = Path(page).parts
    return f"slides/{parts[1]}.html" if len(parts) == 3 and parts[2] == "lecture" else None


def digest(names: Iterable[str], root: Path = ROOT) -> str:
    """SHA-256 over the contents and relative names of files and folders."""
    total = hashlib.sha256()
    for path in _files(names, root):
        total.update(f"{path.relative_to(root).as_posix()}\0".encode())
        total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def _files(names: Iterable[str], root: Path) -> Iterator[Path]:
    for name in names:
        found = root / name
        if found.is_file():
            yield found
        for path in sorted(found.rglob("*")) if found.is_dir() else ():
            hidden = {"__pycache__", "vendor", ".ipynb_checkpoints"} & set(path.parts)
            if path.is_file() and not hidden and path.suffix != ".tmp" and path != MINUTES:
                yield path
