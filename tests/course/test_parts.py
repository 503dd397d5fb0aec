"""Answers of several named parts: by name or in order, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medxfer_lab.course.parts import named


@pytest.mark.parametrize("answer", [[1, 2], (1, 2), {"a": 1, "b": 2}, {"b": 2, "a": 1}])
def test_parts_by_name_or_in_order(answer):
    assert named(answer, "ab") == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    "answer",
    [[], [1], [1, 2, 3], {}, {"a": 1}, {"a": 1, "b": 2, "c": 3}, {"a": 1, "c": 2}, {1: 1, 2: 2},
     "ab", {"a", "b"}, 1, None, ..., np.array([1, 2])],
)  # fmt: skip
def test_anything_else_is_no_answer_of_these_parts(answer):
    assert named(answer, "ab") is None


def test_a_part_may_be_anything_and_stays_what_it_is():
    parts = [len, {"a", "c"}]
    found = named(parts, ("function", "kept"))
    assert found["function"] is len and found["kept"] is parts[1]


@given(st.lists(st.text(), unique=True), st.randoms())
def test_both_forms_say_the_same(names, random):
    values = [random.random() for _ in names]
    shuffled = random.sample(list(zip(names, values, strict=True)), len(names))
    assert named(values, names) == named(tuple(values), names) == named(dict(shuffled), names)
