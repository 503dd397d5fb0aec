"""Numbers, arrays and choices: every reasonable form is read, slips are named."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import sympy
import torch

from medxfer_lab.course.values import Mistake, Option, array, as_number, choice, number

NUMBER = number(0.2, [Mistake("doubled", 0.4, "Twice.")], praise="Yes.", percent=True)


@pytest.mark.parametrize(
    "answer",
    [0.2, 0.2001, np.float32(0.2), np.array([0.2]), torch.tensor(0.2), "0.2", "1/5", "20 %", [0.2],
     Fraction(1, 5), sympy.Rational(1, 5), torch.tensor([0.2], requires_grad=True)],
)  # fmt: skip
def test_any_form_of_the_number_is_right(answer):
    assert NUMBER(answer).correct


@pytest.mark.parametrize(
    "answer, diagnosis, words",
    [
        (0.4, "doubled", "Twice"),
        (20, "percent", "per cent"),
        (-0.2, "sign", "sign is not"),
        (5, "reciprocal", "upside down"),
        (0.21, "unknown", "close, but too large"),
        (0.05, "unknown", "too small, by a factor of more than 2"),
        (900.0, "unknown", "more than 1000"),
        (-3, "unknown", "wrong side of zero"),
        (math.inf, "unknown", "infinite"),
        (math.nan, "nan", "0/0"),
        ("a fifth", "wrong-type", "a number, and `answer` is the text `'a fifth'`"),
        (True, "wrong-type", "truth value"),
        (None, "wrong-type", "`None`"),
        ([0.1, 0.2], "wrong-type", "a list of 2"),
        (np.zeros((2, 3)), "wrong-type", "shape (2, 3)"),
        (sympy.Symbol("x"), "wrong-type", "`x`"),
        (lambda: 0.2, "wrong-type", "a function"),
    ],
)
def test_numbers_that_are_wrong_hear_how(answer, diagnosis, words):
    got = NUMBER(answer)
    assert not got.correct and got.diagnosis == diagnosis and words in got.message


def test_the_right_value_is_not_given_away():
    assert "0.2" not in NUMBER(7.7).message


def test_infinity_can_be_the_answer():
    grade = number(math.inf, praise="Never.")
    assert grade("inf").correct and grade(np.inf).correct and grade(sympy.oo).correct
    assert grade(3).message == "`3` is finite, and should not be."


def test_as_number_reads_no_bool():
    assert as_number(np.bool_(True)) is None and as_number("1/0") is None


ARRAY = array(
    [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]],
    [Mistake("zeros", np.zeros((2, 3)), "All 0.")],
    praise="Yes.",
)


@pytest.mark.parametrize(
    "answer, diagnosis, words",
    [
        (np.zeros((2, 3)), "zeros", "All 0"),
        (np.arange(1.0, 7).reshape(2, 3).T, "transposed", "transposed"),
        ([1, 2, 3], "shape", "(3,); expected (2, 3)"),
        (
            [[1, 2, 3], [4, 9, 6]],
            "unknown",
            "5 of 6 are right. The first wrong one is entry (1, 1)",
        ),
        ("123456", "wrong-type", "6 numbers"),
        ([[1, 2], [3]], "wrong-type", "6 numbers"),
        ([["a", "b", "c"]], "wrong-type", "6 numbers"),
    ],
)
def test_arrays(answer, diagnosis, words):
    got = ARRAY(answer)
    assert not got.correct and got.diagnosis == diagnosis and words in got.message


def test_arrays_in_every_form():
    for answer in (
        [[1, 2, 3], [4, 5, 6]],
        torch.arange(1.0, 7).reshape(2, 3),
        ((1, 2, 3), (4, 5, 6)),
    ):
        assert ARRAY(answer).correct


def test_named_numbers():
    grade = array([1.0, math.inf], names=["bias", "noise"], praise="Yes.")
    assert grade({"noise": math.inf, "bias": 1}).correct and grade((1, np.inf)).correct
    assert "first wrong one is noise: `3` is finite" in grade([1, 3]).message
    assert grade({"bias": 1}).diagnosis == "wrong-type"


def test_choices():
    grade = choice([Option("Yes, always", "No.", "always", "yes"), Option("At times.", "Right.")])
    for answer in ("b", "B", "(b)", "b)", " b. ", "at times", "At times."):
        assert grade(answer).correct
    assert grade("yes").diagnosis == grade("a").diagnosis == "always"
    for answer in ("c", "", 1, None, ["a"], "maybe"):
        assert grade(answer).diagnosis == "wrong-type"
    assert "one of the letters a, b" in grade(7).message
