"""The command line: every subcommand reaches its room and says clearly what is wrong."""

from __future__ import annotations

import subprocess
import sys
import types

import pytest
from typer.testing import CliRunner

from medxfer_lab import __version__, chapters, cli

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
        "medxfer: no chapter is called 'nowhere'; the chapters are: bias_variance, reference"
    )


def test_run_hands_its_options_to_the_chapter(monkeypatch):
    seen = {}

    def run(preset, processes, experiment):
        seen.update(preset=preset, processes=processes, experiment=experiment)

    monkeypatch.setattr(chapters, "room", lambda *names: types.SimpleNamespace(run=run))
    arguments = [
        "run",
        "bias_variance",
        "--preset",
        "smoke",
        "--jobs",
        "2",
        "--experiment",
        "ridge",
    ]
    assert runner.invoke(cli.app, arguments).exit_code == 0
    assert seen == {"preset": "smoke", "processes": 2, "experiment": "ridge"}


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
