"""Progress: on this computer only, by objective; damaged or unwritable places never hurt."""

from __future__ import annotations

import sys

import pytest

from medxfer_lab.course.progress import entries, note_attempt, note_hint, progress

module = sys.modules["medxfer_lab.course.progress"]


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDXFER_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MEDXFER_QUIET", raising=False)
    monkeypatch.setattr(module, "_session", {})
    return tmp_path / "home"


def test_attempts_add_up_and_right_stays_right():
    note_attempt("a", "First", "Halves", False)
    note_attempt("a", "First", "Halves", True)
    note_attempt("a", "First", "Halves", False)
    note_attempt("b", "Second", "Thirds", False)
    note_hint("b", "Second", "Thirds", 2)
    note_hint("b", "Second", "Thirds", 1)
    first, second = entries()
    assert (first.attempts, first.correct, first.hints) == (3, True, 0)
    assert (second.attempts, second.correct, second.hints) == (1, False, 2)
    text = str(progress())
    assert "1 of 2 tried exercises solved; 1 of 2 objectives met so far." in text
    assert "✔ yes" in text and "<table>" in progress()._repr_html_()


def test_nothing_tried_yet(home):
    assert "No exercise has been tried" in str(progress()) and not home.exists()
    assert "No exercise" in progress()._repr_html_()


def test_damaged_and_foreign_files_are_replaced(home):
    folder = home / "progress"
    folder.mkdir(parents=True)
    (folder / "a.json").write_text('{"id": "a", "titl')
    (folder / "b.json").write_text("[1, 2]")
    (folder / "c.json").write_text('{"id": 1, "title": 2, "objective": 3}')
    assert entries() == []
    note_attempt("a", "First", "Halves", True)
    assert [e.id for e in entries()] == ["a"]
    assert sorted(p.name for p in folder.iterdir()) == ["a.json", "b.json", "c.json"]


def test_an_unwritable_place_keeps_the_session(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MEDXFER_HOME", str(tmp_path / "file"))
    note_attempt("a", "First", "Halves", False)
    note_attempt("a", "First", "Halves", True)
    assert [(e.attempts, e.correct) for e in entries()] == [(2, True)]


def test_a_site_build_is_no_learner(home, monkeypatch):
    monkeypatch.setenv("MEDXFER_QUIET", "1")
    note_attempt("a", "First", "Halves", True)
    assert not home.exists()
    monkeypatch.delenv("MEDXFER_QUIET")
    note_attempt("a", "First", "Halves", True)
    assert len(entries()) == 1
    monkeypatch.setenv("MEDXFER_QUIET", "1")
    assert entries() == [], "the builder's own progress would be published"
