"""Build the course: execute every page, write the site and the slides, warnings being errors.

`python -m tools.build_book` (what `make book` runs) needs the environment that the Makefile makes.
`--page PATH` only executes one page and says where it fails: the quick loop of an author.
`--minutes` (or MEDXFER_MINUTES=1) measures the pages' minutes into book/minutes.json.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tools import failures, layout, minutes, slides, vendor

MOST_FRAMES = 60
QUIET = {
    "MEDXFER_QUIET": "1",
    "OMP_NUM_THREADS": "1",
    "PYTHONUNBUFFERED": "1",
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",
}


class BuildError(RuntimeError):
    """The build failed; the message is what the author needs to know, a few lines."""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--page", type=Path, help="execute only this page, build nothing")
    parser.add_argument("--minutes", action="store_true", help="measure book/minutes.json")
    given = parser.parse_args(arguments)
    try:
        if given.page:
            execute(given.page)
        else:
            build(given.minutes or os.environ.get("MEDXFER_MINUTES") == "1")
    except (BuildError, vendor.VendorError, ValueError) as error:
        print(f"\n{error}\n\nThe book was not built.", flush=True)
        return 1
    return 0


def build(measure: bool = False, force: bool = False) -> Path:
    """Build what is not current and return the site's folder; BuildError says what failed."""
    started = time.monotonic()
    with _alone():
        online = _assets()
        key = f"{layout.digest([*layout.CODE, *layout.SOURCES])} online={online}"
        if not force and not measure and _current(key):
            print(f"the book is current: {layout.SITE / 'index.html'}", flush=True)
            return layout.SITE
        _key_file().unlink(missing_ok=True)
        _drop_stale_cache()
        _site(online)
        _frames_within_budget()
        _notebooks()
        decks = [slides.build(page, online) for page in layout.pages() if layout.slides_of(page)]
        if measure:
            minutes.write()
            _site(online)  # the front page shows the minutes; execution comes from the cache
        _key_file().write_text(f"{layout.digest([*layout.CODE, *layout.SOURCES])} online={online}")
    print(f"site:   {layout.SITE / 'index.html'}")
    for deck in decks:
        print(f"slides: {deck}")
    print(f"built in {time.monotonic() - started:.0f} s", flush=True)
    return layout.SITE


def execute(page: Path) -> None:
    """Execute one page in a kernel of its own and print how long it took, or where it failed."""
    import jupytext
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError

    os.environ.update(QUIET)
    book = jupytext.read(page)
    started = time.monotonic()
    folder = {"metadata": {"path": str(page.resolve().parent)}}
    try:
        NotebookClient(book, timeout=300, kernel_name="python3", resources=folder).execute()
    except CellExecutionError as error:
        raise BuildError("\n".join(failures.failing_cell(page.resolve(), str(error)))) from None
    for number, cell in enumerate([c for c in book.cells if c.cell_type == "code"], 1):
        for output in cell.outputs:
            if output.get("name") == "stderr":
                raise BuildError(f"{page}: code cell {number} wrote to stderr:\n{output['text']}")
    print(f"{page}: executed in {time.monotonic() - started:.0f} s, no error")


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """One build at a time in one folder: a second one waits for the first."""
    layout.BUILD.mkdir(exist_ok=True)
    with open(layout.BUILD / ".lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("another build is running: waiting for it", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _assets() -> bool:
    """Fetch the browser code; True when there is none, so that the site must be online-only."""
    try:
        vendor.fetch(layout.VENDOR)
    except vendor.VendorError as error:
        if "SHA-256" in str(error):
            raise
        print(
            f"ONLINE-ONLY: {error}. The site will load its browser code from a public network, "
            "and says so on every page. With npm installed it works offline.",
            flush=True,
        )
        shutil.rmtree(layout.VENDOR, ignore_errors=True)
        return True
    return False


def _key_file() -> Path:
    return layout.BUILD / "site.key"


def _current(key: str) -> bool:
    built = _key_file()
    return built.exists() and built.read_text() == key and (layout.SITE / "index.html").exists()


def _drop_stale_cache() -> None:
    """jupyter-cache looks at a page's code only: when the package changes, its outputs must go."""
    stamp, now = layout.BUILD / "code.key", layout.digest(layout.CODE)
    if not stamp.exists() or stamp.read_text() != now:
        for name in (".jupyter_cache", ".doctrees", "jupyter_execute", "html"):
            shutil.rmtree(layout.BUILD / name, ignore_errors=True)
        stamp.write_text(now)


def _site(online: bool) -> None:
    """Run jupyter-book; a warning anywhere is a failure, reported page by page."""
    reports = layout.SITE / "reports"
    shutil.rmtree(reports, ignore_errors=True)
    config = _online_config() if online else layout.ROOT / "_config.yml"
    start = "from jupyter_book.cli.main import main; main()"
    command = [sys.executable, "-c", start, "build", str(layout.ROOT)]
    command += ["--config", str(config), "-W", "--keep-going", "--all"]
    print("executing the pages and writing the site", flush=True)
    done = subprocess.run(
        command,
        cwd=layout.ROOT,
        env={**os.environ, **QUIET},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    (layout.BUILD / "build.log").write_text(done.stdout)
    said = failures.from_build(done.stdout, reports)
    if done.returncode != 0 or said:
        tail = said[:24] or failures.crash(done.stdout)
        raise BuildError("\n".join(tail) + "\n(the whole log: _build/build.log)")
    if stale := _stale_notebooks():
        raise BuildError(stale)


def _online_config() -> Path:
    """The configuration without the files that npm would have brought, and with a banner."""
    import yaml

    config = yaml.safe_load((layout.ROOT / "_config.yml").read_text(encoding="utf-8"))
    sphinx = config["sphinx"]["config"]
    for name in ("mathjax_path", "nb_ipywidgets_js"):
        del sphinx[name]
    sphinx["html_theme_options"]["announcement"] = (
        "Online-only build: mathematics and sliders need a connection to the internet."
    )
    # paths are taken from where the configuration lies, which is another folder here
    for name, path in config["sphinx"]["local_extensions"].items():
        config["sphinx"]["local_extensions"][name] = str(layout.ROOT / path)
    config["bibtex_bibfiles"] = [str(layout.ROOT / name) for name in config["bibtex_bibfiles"]]
    target = layout.BUILD / "online_config.yml"
    target.write_text(yaml.safe_dump(config))
    return target


def _frames_within_budget() -> None:
    """A page with too many precomputed frames is slow to load; the explorers of a page add up."""
    for page in layout.pages():
        found = (layout.SITE / f"{page}.html").read_text(encoding="utf-8")
        frames = len(re.findall(r'"_model_name":\s*"HTMLModel"', found))
        if frames > MOST_FRAMES:
            raise BuildError(
                f"{page}: its explorers have {frames} frames together, more than {MOST_FRAMES}: "
                "take fewer values"
            )


def _stale_notebooks() -> str:
    """Learners open the committed notebooks: what differs from the pages, in words, or ''."""
    from medxfer_lab.course import editions

    try:
        stale = editions.stale(layout.ROOT)
    except editions.PlainError as error:
        return f"no notebook can be made: {error}"
    names = ", ".join(str(path.relative_to(layout.ROOT)) for path in stale)
    return f"out of step with book/: {names}; run `medxfer notebooks`" if stale else ""


def _notebooks() -> None:
    """Put the learners' notebooks into the site (each page links to its own), and write the
    instructor's, with solutions, beside it."""
    from medxfer_lab.course import editions

    shutil.rmtree(layout.SITE / "notebooks", ignore_errors=True)
    shutil.copytree(layout.ROOT / "notebooks", layout.SITE / "notebooks")
    editions.write(layout.ROOT, layout.BUILD / "instructor", instructor=True)


if __name__ == "__main__":
    sys.exit(main())
