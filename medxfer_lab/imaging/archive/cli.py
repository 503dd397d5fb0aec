"""`medxfer data`: which real data sets there are, getting them, and checking them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="Real labelled images from MedMNIST: list, fetch, verify.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
Folder = Annotated[
    Path | None, typer.Option(help="where the files lie (default: MEDXFER_DATA, else ~/.medxfer)")
]


@app.command("list")
def list_(folder: Folder = None) -> None:
    """What there is: images, task, classes, licence, and which sizes are here."""
    from medxfer_lab.imaging.archive import catalogue, fetch

    print("data set        images  task                       classes  licence       files")
    for entry in catalogue.entries().values():
        mine = [s for s in fetch.states([entry.name], folder, verify=True)]
        files = ", ".join(f"{s.size} ({_words(s)})" for s in mine)
        print(
            f"{entry.name:<15} {sum(entry.counts.values()):>6}  {entry.task:<25}  "
            f"{len(entry.classes):>7}  {entry.licence:<12}  {files}"
        )
    places = " and ".join(map(str, catalogue.folders(folder)))
    print(f"files are looked for in {places}; sizes in pixels, at most as many MiB as stated")


def _words(state) -> str:
    if state.path is None:
        return f"{-(-state.entry.raw_bytes(state.size) >> 20)} MiB"
    return "here, verified" if state.verified else "here, NOT the published file"


@app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="e.g. pneumoniamnist; see `medxfer data list`")],
    size: Annotated[int, typer.Option(help="side in pixels: 28, 64, 128 or 224")] = 28,
    folder: Folder = None,
    mirror: Annotated[
        list[str] | None, typer.Option(help="address of a folder with the same files; repeatable")
    ] = None,
    timeout: Annotated[float, typer.Option(min=1, help="seconds without an answer")] = 60.0,
) -> None:
    """Get one data set, checked against its published MD5; an interrupted download goes on."""
    from medxfer_lab.imaging.archive import catalogue
    from medxfer_lab.imaging.archive import fetch as room

    entry = catalogue.entry(name)
    filename = entry.filename(size)
    print(f"{filename}: at most {entry.most_bytes(size) >> 20} MiB, licence {entry.licence}")
    with _Bar(filename) as bar:
        path = room.fetch(name, size, folder, mirror or (), timeout, report=bar)
    print(f"{path} is here and has the published MD5")
    if catalogue.find(filename) is None:
        print(f"the course finds it when MEDXFER_DATA={path.parent} is set")


class _Bar:
    """Progress on stdout, silent where MEDXFER_QUIET is set."""

    def __init__(self, title: str) -> None:
        from tqdm import tqdm

        from medxfer_lab.course.jobfile import is_quiet

        self.bar = tqdm(
            desc=title, unit="B", unit_scale=True, file=sys.stdout, disable=is_quiet(), leave=False
        )

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_) -> None:
        self.bar.close()

    def __call__(self, done: int, total: int | None) -> None:
        self.bar.total = total
        self.bar.update(done - self.bar.n)


@app.command()
def verify(
    names: Annotated[list[str] | None, typer.Argument(help="data sets (default: all)")] = None,
    folder: Folder = None,
) -> None:
    """Compare the MD5 of every file that is here with the published one; exit 1 if one differs."""
    from medxfer_lab.imaging.archive import fetch as room

    here = [s for s in room.states(names or (), folder) if s.path is not None]
    for state in here:
        print(f"{'ok     ' if state.verified else 'DIFFERS'}  {state.path}")
    if not here:
        print("no published data set is here: `medxfer data list` says what there is")
    if not all(state.verified for state in here):
        print("a file that differs can be read, with a note; to replace it move it away and fetch")
        raise typer.Exit(1)


def main(arguments: list[str]) -> None:
    """Run ``medxfer data`` with these arguments."""
    app(arguments, prog_name="medxfer data")
