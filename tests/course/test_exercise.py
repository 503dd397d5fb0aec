"""Exercises: stubs are not errors, nothing a learner passes raises, hints come in three steps."""

from __future__ import annotations

import numpy as np
import pytest

from medxfer_lab.course import exercise as module
from medxfer_lab.course.exercise import Exercise, Variant, Wrong, bank_failures
from medxfer_lab.course.feedback import describe, is_unanswered
from medxfer_lab.course.values import Mistake, number


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDXFER_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MEDXFER_QUIET", raising=False)


def make(**changes) -> Exercise:
    content = {
        "id": "halves",
        "title": "A half",
        "objective": "Know what a half is",
        "kind": "number",
        "prompt": "What is $1/2$? <script>alert(1)</script>",
        "hints": ("Think of one.", "Cut it.", "`1 / 2`."),
        "grade": number(0.5, [Mistake("twice", 2.5, "No.")], praise="Well done."),
        "right": (Variant("decimal", 0.5), Variant("text", "1/2"), Variant("array", np.array(0.5))),
        "wrong": (
            Wrong("twice", 2.5, "twice"),
            Wrong("upside down", 2, "reciprocal"),
            Wrong("sign", -0.5, "sign"),
            Wrong("word", "half", "wrong-type"),
        ),
        "solution": "One over two.",
    }
    return Exercise(**{**content, **changes})


def stub(a, b):
    """What to do."""
    ...


def bare(a): ...


@pytest.mark.parametrize("answer", [..., [..., 1], (1, ...), {"a": ...}, stub, bare, lambda x: ...])
def test_a_stub_is_not_an_error(answer):
    got = make().check(answer)
    assert not got.answered and not got.correct and "Not answered yet" in str(got)
    assert not module.progress().rows


def test_answers_are_not_taken_for_stubs():
    for answer in (None, 0, "", "...", [], lambda x: 0, lambda x: x, abs, np.zeros(3)):
        assert not is_unanswered(answer)


class Nasty:
    def __getattr__(self, name):
        raise RuntimeError("leave me alone")


def test_nothing_a_learner_passes_raises():
    for answer in (None, "x", [1, "a"], {1: 2}, object(), Nasty(), type, print, 1j, b"b", np.nan):
        got = make().check(answer)
        assert not got.correct and got.message and describe(0.5)


def test_feedback_in_words_and_in_html():
    ok, bad = make().check(0.5), make().check("<b>")
    assert str(ok) == "✔ Right. Well done."
    assert "✘ Not yet" in bad._repr_html_() and "&lt;b&gt;" in bad._repr_html_()
    assert 'role="status"' in ok._repr_html_()


def test_three_hints():
    exercise = make()
    assert "Hint 1 of 3: Think of one." in str(exercise.hint())
    assert "<code>1 / 2</code>" in exercise.hint(3)._repr_html_()
    with pytest.raises(ValueError, match="three hints, 1, 2 and 3"):
        exercise.hint(4)
    folded = exercise.show_hints()._repr_html_()
    assert folded.count("<details>") == 3 and "open" not in folded
    assert "One over two" in exercise.show_solution()._repr_html_()
    with pytest.raises(ValueError, match="2 hints, expected three"):
        make(hints=("a", "b"))
    with pytest.raises(ValueError, match="kind 'riddle'"):
        make(kind="riddle")


def test_the_prompt_is_safe_html_with_maths():
    page = make()._repr_html_()
    assert r"\(1/2\)" in page and "<script>" not in page and "A half" in str(make())


def test_the_bank_is_judged():
    assert bank_failures([make()]) == []
    broken = make(
        right=(Variant("wrong one", 3),),
        wrong=(
            Wrong("right one", 0.5, "x"),
            Wrong("other", 2, "sign"),
            Wrong("again", -0.5, "sign"),
        ),
    )
    text = "\n".join(bank_failures([broken]))
    assert "'wrong one' refused" in text and "'right one' got 'right'" in text
    assert "got 'reciprocal' instead of 'sign'" in text
    assert "shared" in text and "1 right and 3 wrong" in text
