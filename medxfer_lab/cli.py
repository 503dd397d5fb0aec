"""The command `medxfer`. Each subcommand imports what it needs when it runs, so that
`medxfer doctor` can still speak when torch cannot even be imported."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from medxfer_lab._version import __version__

app = typer.Typer(
    help="Transfer learning in medical imaging: the course's helper. Simulated data; "
    "not for clinical use.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


class Preset(StrEnum):
    """How much to train: seconds, a minute and a half, or the statistics of the record."""

    smoke = "smoke"
    quick = "quick"
    full = "full"


@app.command()
def version() -> None:
    """Print the version."""
    print(__version__)


@app.command()
def doctor() -> None:
    """Say in words what is wrong with this environment; exit 1 if a page could not run."""
    from medxfer_lab import doctor as room

    raise typer.Exit(int(room.main() or 0))


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    add_help_option=False,
)
def pretrain(ctx: typer.Context) -> None:
    """Pretrain the small network again (once; learners use the weights that come with it)."""
    from medxfer_lab.nets import pretrain as room

    raise typer.Exit(int(room.main(ctx.args) or 0))


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    add_help_option=False,
)
def data(ctx: typer.Context) -> None:
    """Real labelled images from MedMNIST: list, fetch, verify."""
    from medxfer_lab.imaging.archive import cli as room

    room.main(ctx.args)


@app.command()
def run(
    chapter: Annotated[str, typer.Argument(help="e.g. bias_variance")],
    preset: Annotated[Preset, typer.Option(help="how much to train")] = Preset.quick,
    jobs: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="at most so many jobs at once, one thread each. Here: worker processes (default "
            "1). On a cluster: jobs that are out (default: every worker has one). Experiments that "
            "measure time always run here, one job after another",
        ),
    ] = None,
    experiment: Annotated[str, typer.Option(help="only this experiment (default: all)")] = "",
    backend: Annotated[
        str, typer.Option(help="where jobs run: local, dask, or another of joblib's backends")
    ] = "local",
    address: Annotated[
        str, typer.Option(help="of the Dask scheduler, e.g. tcp://127.0.0.1:8786")
    ] = "",
) -> None:
    """Run a chapter's experiments; finished jobs are kept, so a killed run resumes.

    For a cluster start `dask scheduler`, and on every node, with the same course installed,
    `dask worker ADDRESS --nworkers N --nthreads 1`. Results are kept here. Use a network that you
    trust: Dask runs whatever it is sent.
    """
    from medxfer_lab.chapters import room
    from medxfer_lab.course.jobs import ClusterError, JobError

    try:
        room(chapter, "experiment").run(
            preset.value,
            processes=jobs,
            experiment=experiment or None,
            backend=backend,
            address=address or None,
        )
    except (JobError, ClusterError) as error:
        print(f"medxfer: {error}", file=sys.stderr)
        raise typer.Exit(1) from None


@app.command()
def notebooks(
    check: Annotated[bool, typer.Option("--check", help="write nothing; exit 1 if stale")] = False,
    root: Annotated[Path, typer.Option(help="the folder with book/ and notebooks/")] = Path("."),
) -> None:
    """Write the learners' notebooks from the pages in book/."""
    from medxfer_lab.course import editions

    changed = editions.stale(root) if check else editions.write(root)
    word = "out of date" if check else "wrote"
    for path in changed:
        print(f"{word}: {path.relative_to(root)}")
    if check and changed:
        print("run `medxfer notebooks` and commit what it writes")
        raise typer.Exit(1)
    if not changed:
        print("notebooks are in step with book/")


@app.command()
def cache(
    clear: Annotated[bool, typer.Option("--clear", help="remove everything in it")] = False,
) -> None:
    """Say how much the feature cache holds, and of how much at most; or empty it."""
    from medxfer_lab.nets.feature_cache import FeatureCache

    kept = FeatureCache()
    if clear:
        print(f"feature cache: {kept.clear()} entries removed")
    print(kept.report())


def main() -> None:
    """Entry point: errors that a user can mend are one line, not a traceback."""
    try:
        app()
    except (ValueError, FileNotFoundError, ModuleNotFoundError) as error:
        print(f"medxfer: {error}", file=sys.stderr)
        sys.exit(1)
