"""Numbers for the prose: flat names, gluing only what a page uses, errors that help."""

from __future__ import annotations

import sys

import pytest

from medxfer_lab.course.numbers import glue_numbers, names_used, numbers
from medxfer_lab.course.record import Record, fingerprint


def write(folder, **results) -> None:
    Record(
        chapter="a_chapter",
        experiment="heads",
        data="simulated",
        device="cpu",
        preset="smoke",
        version=1,
        fingerprint=fingerprint({}),
        results=results,
        wall_s=90,
        date="2026-01-02",
    ).save(folder / "heads.simulated.cpu.json")


def test_results_become_dotted_names(tmp_path):
    write(
        tmp_path,
        auc={100: {"mean": 0.8}},
        curve=[1, 2],
        best="probe",
        absent=None,
        sets=list(range(50)),
    )
    flat = numbers("a_chapter", tmp_path)
    assert flat["heads.simulated.auc.100.mean"] == 0.8
    assert flat["heads.simulated.curve.1"] == 2
    assert flat["heads.simulated.best"] == "probe"
    assert flat["minutes.heads.simulated"] == 1.5
    assert flat["heads.simulated.date"] == "2026-01-02"
    assert "heads.simulated.absent" not in flat and "heads.simulated.sets.0" not in flat


def test_no_records_no_numbers(tmp_path):
    assert numbers("a_chapter", tmp_path) == {}


def test_names_used_reads_the_roles():
    text = "AUC {glue:text}`a.b:.2f` and {glue:text}`c.d`, again {glue:text}`a.b:.3f`; `e.f`."
    assert names_used(text) == ["a.b", "c.d"]


def test_only_the_names_a_page_uses_are_glued(tmp_path, monkeypatch):
    write(tmp_path, auc={100: {"mean": 0.8}}, other=1.0)
    flat = numbers("a_chapter", tmp_path)
    module = sys.modules["medxfer_lab.course.numbers"]
    monkeypatch.setattr(module, "numbers", lambda chapter: flat)
    glued = {}
    monkeypatch.setattr("myst_nb.glue", lambda name, value, display: glued.update({name: value}))
    page = tmp_path / "page.md"
    page.write_text("AUC {glue:text}`heads.simulated.auc.100.mean:.2f`")
    glue_numbers("a_chapter", page)
    assert glued == {"heads.simulated.auc.100.mean": 0.8}
    page.write_text("AUC {glue:text}`heads.simulated.auc.10.mean:.2f`")
    with pytest.raises(KeyError, match="no record holds; near it: heads.simulated.auc.100.mean"):
        glue_numbers("a_chapter", page)
