"""Formulas from learners: every usual way of writing one is read, nothing is ever executed."""

from __future__ import annotations

import pytest
import sympy

from medxfer_lab.course.expressions import FormulaError, parse_formula, positive, to_expression

NAMES = ("lam", "s", "b", "n")


@pytest.mark.parametrize(
    "text",
    [
        "lam**2*b**2/(s+lam)**2",
        "(lam*b/(s + lam))^2",
        "lambda^2 * b^2 / (s+lambda)^2",
        "λ²*b²/(s+λ)²",
        "bias2 = (lam*b/(s+lam))**2",
        "sqrt((lam*b/(s+lam))**4)",
        "exp(2*ln(lam*b/(s+lam)))",
        "-(-1)*(lam·b/(s+lam))**2",
    ],
)
def test_usual_ways_of_writing_agree(text):
    lam, s, b = map(positive, NAMES[:3])
    want = (lam * b / (s + lam)) ** 2
    assert sympy.simplify(parse_formula(text, NAMES) - want) == 0


@pytest.mark.parametrize(
    "text, message",
    [
        ("lam b", "write `\\*` for every product"),
        ("lam*(s+b", "brackets"),
        ("lam*x", "`x` is not a symbol of this question; use `lam`, `s`"),
        ("n(s+lam)", "write `\\*` between `n` and the bracket"),
        ("9**9**9", "power beyond 64|beyond 1000000"),
        ("((9**60)**60)**60", "beyond 1000000"),
        ("exp(exp(exp(99)))", "beyond 1000000"),
        ("1/0", "division by zero"),
        ("b" * 501, "characters long"),
        ("(" * 240 + "b" + ")" * 240, "nested|brackets"),
        ("", "not a complete formula"),
        ("True", "can stand in a formula"),
        ("1j*b", "can stand in a formula"),
        ("b if s else n", "can stand in a formula"),
        ("[b]", "can stand in a formula"),
        ("b.__class__", "can stand in a formula"),
        ("'b'", "can stand in a formula"),
        ("b % 2", "can stand between"),
    ],
)
def test_what_is_no_formula_is_said_kindly(text, message):
    with pytest.raises(FormulaError, match=message):
        parse_formula(text, NAMES)


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('touch PWNED')",
        "().__class__.__bases__[0].__subclasses__()",
        "(lambda: open('PWNED', 'w'))()",
        'exec(\'open("PWNED", "w")\')',
        "[open('PWNED','w') for x in (1,)]",
        "sqrt.__globals__",
        "(b := open('PWNED', 'w'))",
    ],
)
def test_code_is_never_run(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FormulaError):
        parse_formula(text, NAMES)
    assert not list(tmp_path.iterdir())


def test_sympy_expressions_match_by_name():
    lam, s = sympy.symbols("lambda s", real=True)
    assert to_expression(lam / s, NAMES) == positive("lam") / positive("s")
    assert to_expression(sympy.Eq(sympy.Symbol("y"), s), NAMES) == positive("s")
    assert to_expression(3, NAMES) == 3
    with pytest.raises(FormulaError, match="`q` is not a symbol"):
        to_expression(sympy.Symbol("q"), NAMES)
    for nonsense in (object(), [1], {"a": 1}, sympy.Matrix([1, 2]), sympy.true):
        with pytest.raises(FormulaError, match="not a formula"):
            to_expression(nonsense, NAMES)
