"""The practice room as a whole: what is asked, in which order, and that the page asks the same.

The banks and the oracles of the answers are in ``test_practice_estimates`` and
``test_practice_judgement``.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import numpy as np
import pytest

from medxfer_lab.course.exercise import bank_failures
from medxfer_lab.domain_shift.exercises.words import percent
from medxfer_lab.domain_shift.practice import ROOMS, exercises, reading_figure

IDS = list(exercises(0))
PAGE = Path(__file__).parents[2] / "book" / "domain_shift" / "practice.md"
CODE = re.compile(r"```\{code-cell\} python3\n(.*?)```", re.DOTALL)


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDXFER_HOME", str(tmp_path))


@pytest.mark.parametrize("seed", [0, 5, 99])
def test_every_bank_holds(seed):
    assert bank_failures(exercises(seed).values()) == []


def test_what_the_chapter_asks():
    found = exercises()
    assert len(found) == len(ROOMS) >= 8
    assert all(key == e.id for key, e in found.items())
    assert {e.kind for e in found.values()} >= {
        "derivation", "number", "decision", "bug", "plot reading",
    }  # fmt: skip
    assert len({e.objective for e in found.values()}) == len(found)
    assert len({e.title for e in found.values()}) == len(found)
    for exercise in found.values():
        assert all(len(hint) > 30 for hint in exercise.hints) and len(set(exercise.hints)) == 3
        assert len(exercise.solution) > 80 and exercise.objective and exercise.prompt


def _texts(seed: int) -> list[str]:
    """All that a learner can be told: prompts, hints, solutions, and what each answer gets."""
    found = []
    for exercise in exercises(seed).values():
        answers = [a.value for a in (*exercise.right, *exercise.wrong)]
        found += [exercise.prompt, *exercise.hints, exercise.solution]
        found += [exercise.check(answer).message for answer in answers]
    return found


@pytest.mark.parametrize("seed", [0, 3])
def test_the_exercises_speak_one_language(seed):
    """One word for the diseased, per cent with a space, and formulas as formulas."""
    for text in _texts(seed):
        assert not re.search(r"\b(ill|sick)\b", text), text
        assert not re.search(r"\d%", text), text
        assert not re.search(r"\bp\([xy]", re.sub(r"`[^`]*`|\$[^$]*\$", "", text)), text
        assert text.count("$") % 2 == 0 and text.count("`") % 2 == 0, text


def test_another_seed_asks_other_questions_and_the_same_seed_the_same():
    first, again, other = exercises(5), exercises(5), exercises(6)
    assert all(str(first[id]) == str(again[id]) for id in IDS)
    assert all(first[id].prompt != other[id].prompt for id in IDS if id != "diagnose_hospital")


@pytest.mark.parametrize("seed", [-1, 1.5, "0", None, True])
def test_a_seed_is_a_whole_number(seed):
    with pytest.raises(ValueError, match="seed="):
        exercises(seed)


@pytest.mark.parametrize("seed", [0, 3])
def test_the_figure_is_that_of_the_exercise(seed):
    import matplotlib.pyplot as plt

    figure, alt = reading_figure(seed)
    again, other = reading_figure(seed)[1], reading_figure(seed + 1)[1]
    assert [ax.get_title(loc="left")[0] for ax in figure.axes] == list("123")
    assert alt == again != other and "simulated" in alt and len(alt) < 1000
    plt.close("all")


def test_a_share_is_written_as_the_course_does():
    assert [percent(0.02), percent(1 / 3), percent(0.1624, 1)] == ["2 %", "33 %", "16.2 %"]


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


def test_the_worked_example_is_right(capsys):
    """Code against the text's fractions; 5 standard errors of a share among so many alarms."""
    (cell,) = [cell for cell in _cells() if "sensitivity, specificity = " in cell]
    exec(cell, {})
    rows = re.findall(r"^ +0\.\d\d +(0\.\d+) +(0\.\d+)$", capsys.readouterr().out, re.MULTILINE)
    for (measured, formula), share, alarms in zip(
        rows, (9 / 11, 9 / 58), (400_000 * 33 / 90, 400_000 * 0.116), strict=True
    ):
        assert float(formula) == pytest.approx(share, abs=5e-4)
        tolerance = 5 * np.sqrt(share * (1 - share) / alarms) + 5e-4
        assert float(measured) == pytest.approx(share, abs=tolerance)
