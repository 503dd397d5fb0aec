"""The command line: every subcommand reaches its room and says clearly what is wrong."""

from __future__ import annotations

import subprocess
import sys
import types

import pytest
from typer.testing import CliRunner

from medxfer_lab import __version__, chapters, cli
from medxfer_lab.course.jobs import ClusterError, JobError

runner = CliRunner()


def medxfer(*arguments: str):
    return subprocess.run(
        [sys.executable, "-m", "medxfer_lab", *arguments], capture_output=True, text=True
    )


def test_version():
    assert medxfer("version").stdout.strip() == __version__


def test_an_unknown_chapter_is_one_line_that_lists_the_known():
    done = medxfer("run", "nowhere")
    assert done.returncode == 1
    assert done.stderr.strip() == (
        "medxfer: no chapter is called 'nowhere'; "
        "the chapters are: bias_variance, domain_shift, loss_landscape, reference"
    )


@pytest.fixture
def seen(monkeypatch):
    """What `run` of a chapter was called with; it raises what is put under "error"."""
    found = {}

    def run(preset, **options):
        found.update(preset=preset, **options)
        if "error" in found:
            raise found["error"]

    monkeypatch.setattr(chapters, "room", lambda *names: types.SimpleNamespace(run=run))
    return found


def test_run_hands_its_options_to_the_chapter(seen):
    arguments = "run bias_variance --preset smoke --jobs 2 --experiment ridge"
    assert runner.invoke(cli.app, arguments.split()).exit_code == 0
    local = {"backend": "local", "address": None}
    assert seen == {"preset": "smoke", "processes": 2, "experiment": "ridge"} | local


def test_run_hands_on_where_a_cluster_is(seen):
    arguments = "run bias_variance --backend dask --address tcp://127.0.0.1:8786"
    assert runner.invoke(cli.app, arguments.split()).exit_code == 0
    cluster = {"backend": "dask", "address": "tcp://127.0.0.1:8786"}
    assert seen == {"preset": "quick", "processes": None, "experiment": None} | cluster


@pytest.mark.parametrize("error", [JobError("1 of 5 jobs failed"), ClusterError("no workers")])
def test_what_fails_in_a_run_is_said_without_a_traceback_of_the_command(seen, error):
    seen["error"] = error
    done = runner.invoke(cli.app, ["run", "bias_variance"])
    assert done.exit_code == 1 and done.stderr == f"medxfer: {error}\n"


def test_a_cluster_without_an_address_is_refused_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDXFER_HOME", str(tmp_path))
    done = medxfer("run", "reference", "--experiment", "population", "--backend", "dask")
    assert done.returncode == 1 and done.stderr.startswith("medxfer: backend='dask' needs ")
    assert "dask worker" in done.stderr and len(done.stderr.splitlines()) == 1


def test_doctor_hands_on_its_verdict(monkeypatch):
    from medxfer_lab import doctor

    monkeypatch.setattr(doctor, "main", lambda: 1)
    assert runner.invoke(cli.app, ["doctor"]).exit_code == 1


def test_notebooks_check_fails_for_a_stale_one(tmp_path):
    page = tmp_path / "book/sample/lab.md"
    page.parent.mkdir(parents=True)
    page.write_text("# A lab\n\nWords.\n")
    done = medxfer("notebooks", "--check", "--root", str(tmp_path))
    assert done.returncode == 1 and "out of date: notebooks/sample/lab.ipynb" in done.stdout
    assert medxfer("notebooks", "--root", str(tmp_path)).returncode == 0
    assert medxfer("notebooks", "--check", "--root", str(tmp_path)).returncode == 0


@pytest.mark.parametrize("room", ["kitchen", ""])
def test_unknown_room(room):
    with pytest.raises(ValueError, match="theory, experiment, claims, figures, practice"):
        chapters.room("bias_variance", room)


def test_data_reaches_its_room():
    """`medxfer data` hands everything on, help and errors included."""
    listed = medxfer("data", "list")
    assert listed.returncode == 0 and "pneumoniamnist" in listed.stdout
    assert "verify" in medxfer("data", "--help").stdout
    wrong = medxfer("data", "fetch", "nosuchset")
    assert wrong.returncode == 1
    assert wrong.stderr.startswith("medxfer: there is no data set 'nosuchset'; there are ")
