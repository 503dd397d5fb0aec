"""Functions and formulas: the first input where one goes wrong is shown with both outputs."""

from __future__ import annotations

import numpy as np
import sympy

from medxfer_lab.course.functions import formula, function
from medxfer_lab.course.values import Mistake


def draw(rng):
    return {"x": rng.standard_normal(3), "k": float(rng.uniform(1, 2))}


GRADE = function(
    lambda x, k: k * x**2, draw, [Mistake("not-squared", lambda x, k: k * x, "Square it.")],
    praise="Yes.",
)  # fmt: skip


def spoil(x, k):
    x *= 0
    return k * x


def test_right_functions_pass_by_name_and_by_position():
    assert GRADE(lambda x, k: k * x * x).correct
    assert GRADE(lambda k, x: k * x * x).correct
    assert GRADE(lambda a, b: b * a**2).correct
    assert GRADE(lambda *a: a[1] * a[0] ** 2).correct
    assert GRADE(lambda x, k: [float(k * v**2) for v in x]).correct


def test_the_first_wrong_input_is_shown():
    got = GRADE(lambda x, k: k * x**2 if k < 1.9 else np.zeros(3))
    assert got.diagnosis == "unknown"
    assert got.message.startswith("Right for ") and "At `x=[" in got.message
    assert "k=1.98" in got.message and "yours gave `[0., 0., 0.]`" in got.message


def test_known_mistakes_and_misuse_have_names():
    cases = {
        "not-squared": lambda x, k: x * k,
        "raises": lambda x, k: x[7],
        "returns-nothing": lambda x, k: None,
        "returns-type": lambda x, k: "text",
        "shape": lambda x, k: (k * x**2).sum(),
        "wrong-type": 3.0,
        "unknown": spoil,
    }
    for diagnosis, answer in cases.items():
        assert GRADE(answer).diagnosis == diagnosis
    assert "IndexError" in GRADE(cases["raises"]).message
    assert "a function of x, k" in GRADE(3.0).message
    assert GRADE(lambda x: x).diagnosis == "raises"


def test_an_answer_that_spoils_its_input_does_not_spoil_the_check():
    assert not GRADE(spoil).correct and GRADE(lambda x, k: k * x**2).correct


FORMULA = formula(
    "(lam*b/(s+lam))**2", {"lam": (0.1, 2), "s": (0.1, 2), "b": (0.5, 2)},
    [Mistake("not-squared", "lam*b/(s+lam)", "That is the bias; square it.")], praise="Yes.",
)  # fmt: skip


def test_every_equivalent_form_of_a_formula_passes():
    lam, s, b = sympy.symbols("lambda s b")
    for answer in (
        "b^2/(1+s/lam)^2",
        b**2 * (1 - s / (s + lam)) ** 2,
        lambda lam, s, b: (b * lam / (lam + s)) ** 2,
        lambda lam, s, b: sympy.Integer(1) * (b * lam / (lam + s)) ** 2,
        np.vectorize(lambda lam, s, b: (b * lam / (lam + s)) ** 2),
    ):
        assert FORMULA(answer).correct


def test_wrong_formulas_hear_where():
    assert FORMULA("lam*b/(s+lam)").diagnosis == "not-squared"
    got = FORMULA("3*(lam*b/(s+lam))**2")
    assert got.diagnosis == "unknown" and "constant factor `3` everywhere" in got.message
    assert "At `lam=" in got.message
    assert FORMULA("log(0-s)").diagnosis == "unknown"
    assert FORMULA("zzz").diagnosis == "unreadable"
    assert FORMULA(lambda lam: lam).diagnosis == "raises"
    assert FORMULA([1]).diagnosis == FORMULA(None).diagnosis == "wrong-type"
    assert FORMULA(0.3).diagnosis == "unknown"
