"""Words for values, and stubs told from answers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medxfer_lab.course.feedback import describe, is_unanswered, right, show, unanswered, wrong


@pytest.mark.parametrize(
    "value, words",
    [
        (None, "`None`"),
        (True, "the truth value `True`"),
        ("abc", "the text `'abc'`"),
        (lambda: 1, "a function"),
        ([1, 2, 3], "a list of 3"),
        (np.zeros((2, 3)), "an array of shape (2, 3)"),
        (torch.zeros(4), "an array of shape (4,)"),
        (0.12345678, "`0.12346` (type `float`)"),
        ({1: 2}, "type `dict`"),
    ],
)
def test_describe(value, words):
    assert words in describe(value)


def test_show_is_short():
    assert show(1 / 3) == "`0.33333`" and show(1 / 3, 2) == "`0.33`"
    assert show({"n": 3, "x": np.array([1.0, 2.0])}) == "`n=3, x=[1., 2.]`"
    assert len(show("a" * 500)) < 90 and len(show(np.arange(10_000.0))) < 90


def test_three_looks():
    assert [f.answered for f in (right("a"), wrong("d", "b"), unanswered())] == [True, True, False]
    pages = [f._repr_html_() for f in (right("a"), wrong("d", "b"), unanswered())]
    assert ["Right" in pages[0], "Not yet" in pages[1], "Not answered" in pages[2]] == [True] * 3


def test_stubs_with_any_arguments():
    def two(a, b=1, *, c): ...

    def passing(a):
        pass

    def working(a):
        return a

    assert is_unanswered(two) and is_unanswered(passing) and not is_unanswered(working)
    assert not is_unanswered(lambda x: None if x else 0)
    assert not is_unanswered(np.array([1]))
