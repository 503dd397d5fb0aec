"""The self-test's bank: every right variant passes, every wrong answer gets its own diagnosis."""

from __future__ import annotations

import pytest

from medxfer_lab.course.exercise import bank_failures
from medxfer_lab.course.prerequisites import self_test


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDXFER_HOME", str(tmp_path))


@pytest.mark.parametrize("seed", [0, 1, 2, 5, 9, 77, 2**31])
def test_every_bank_holds(seed):
    found = self_test(seed)
    assert len(found) == 8 and all(key == e.id for key, e in found.items())
    assert bank_failures(found.values()) == []


@pytest.mark.parametrize("id", list(self_test()))
def test_stubs_and_nonsense_are_met_kindly(id):
    exercise = self_test()[id]
    assert not exercise.check(...).answered
    for answer in (None, object(), {"a": 1}, [], "no idea at all", lambda: 1, float("nan")):
        got = exercise.check(answer)
        assert got.answered and not got.correct and len(got.message) > 15


def test_every_prerequisite_is_tested():
    objectives = {exercise.objective for exercise in self_test().values()}
    assert objectives == {
        f"Prerequisites: {name}" for name in ("probability", "linear algebra", "Python", "torch")
    }
