"""The practice room as a whole: what is asked, in which order, and that the page asks the same.

The banks and the oracles of the answers are in ``test_practice_steps`` and
``test_practice_forgetting``.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from medxfer_lab.course.exercise import bank_failures
from medxfer_lab.loss_landscape.practice import ROOMS, exercises

IDS = [room.__name__.rpartition(".")[2] for room in ROOMS]
PAGE = Path(__file__).parents[2] / "book" / "loss_landscape" / "practice.md"
CODE = re.compile(r"```\{code-cell\} python3\n(.*?)```", re.DOTALL)


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDXFER_HOME", str(tmp_path))


@pytest.mark.parametrize("seed", [5, 99])
def test_every_bank_holds(seed):
    assert bank_failures(exercises(seed).values()) == []


def test_what_the_chapter_asks():
    found = exercises()
    assert list(found) == IDS and len(found) == 8
    assert {e.kind for e in found.values()} >= {"derivation", "function", "decision", "bug"}
    assert len({e.objective for e in found.values()}) == len(found)
    assert len({e.title for e in found.values()}) == len(found)
    for exercise in found.values():
        assert all(len(hint) > 30 for hint in exercise.hints) and len(set(exercise.hints)) == 3
        assert len(exercise.solution) > 80 and exercise.objective and exercise.prompt


@pytest.mark.parametrize("seed", [0, 3])
def test_the_exercises_speak_one_language(seed):
    """One word for the diseased, per cent with a space, and formulas as formulas."""
    for exercise in exercises(seed).values():
        answers = [a.value for a in (*exercise.right, *exercise.wrong)]
        told = [exercise.check(answer).message for answer in answers]
        for text in (exercise.prompt, *exercise.hints, exercise.solution, *told):
            assert not re.search(r"\b(ill|sick)\b", text), text
            assert not re.search(r"\d%", text), text
            assert text.count("$") % 2 == 0 and text.count("`") % 2 == 0, text


def test_another_seed_asks_other_questions_and_the_same_seed_the_same():
    first, again, other = exercises(5), exercises(5), exercises(6)
    assert all(str(first[id]) == str(again[id]) for id in IDS)
    assert all(first[id].prompt != other[id].prompt for id in IDS)


@pytest.mark.parametrize("seed", [-1, 1.5, "0", None, True])
def test_a_seed_is_a_whole_number(seed):
    with pytest.raises(ValueError, match="seed="):
        exercises(seed)


# The page.


def _cells(tag: str | None = None) -> list[str]:
    cells = CODE.findall(PAGE.read_text(encoding="utf-8"))
    return [cell for cell in cells if tag is None or f":tags: [{tag}" in cell]


def test_every_exercise_is_on_the_page_in_order():
    cells = "\n".join(_cells())
    asked = r'^ex\["(\w+)"\]$'
    for pattern in (asked, r'^ex\["(\w+)"\]\.check', r'\]*ex\["(\w+)"\]\.show_hints',
                    r'ex\["(\w+)"\]\.show_solution'):  # fmt: skip
        assert re.findall(pattern, cells, re.MULTILINE) == IDS
    headings = re.findall(r"^## (\d+)\. ", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert [int(n) for n in headings] == list(range(1, len(IDS) + 1))


def test_a_worked_example_comes_before_the_first_derivation():
    text = PAGE.read_text(encoding="utf-8")
    first = next(id for id, e in exercises().items() if e.kind == "derivation")
    assert 0 < text.index("## A worked example") < text.index(f'ex["{first}"]\n')


def test_stubs_hold_no_answer_and_solutions_are_folded():
    for cell in _cells("exercise"):
        assert re.search(r"^answer = \.\.\.|^def answer\(.*\): \.\.\.$", cell, re.MULTILINE)
        ast.parse(re.sub(r"^:tags:.*$", "", cell, flags=re.MULTILINE))
    assert len(_cells("exercise")) == len(_cells("solution, remove-input")) == len(IDS)
