"""A learner's formula as a SymPy expression, read without evaluating any code.

SymPy's own parser runs its input through ``eval``. Here the text becomes a syntax tree, of which
only arithmetic, named symbols and a few functions are accepted; nothing of it is ever executed.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import Any

FUNCTIONS = ("sqrt", "exp", "log", "abs", "Min", "Max")
MAX_LENGTH = 500
MAX_POWER = 64
MAX_BASE = 1_000_000


class FormulaError(ValueError):
    """A text that is no formula in the symbols of the question; the message says why, kindly."""


def parse_formula(text: str, symbols: Sequence[str]) -> Any:
    """The SymPy expression of ``text`` in (positive) ``symbols``.

    Arithmetic with + - * / and ** or ^, numbers, brackets, and the functions of :data:`FUNCTIONS`
    (``ln`` is ``log``). ``lambda`` is read as the symbol ``lam``, Greek letters by their names.

    Raises :class:`FormulaError` for anything else.
    """
    if len(text) > MAX_LENGTH:
        raise FormulaError(f"the formula is {len(text)} characters long; {MAX_LENGTH} are plenty")
    try:
        tree = ast.parse(_in_ascii(text), mode="eval")
        return _build(tree.body, tuple(symbols))
    except FormulaError:
        raise
    except SyntaxError:
        raise FormulaError(
            f"`{text}` is not a complete formula: check the brackets, and write `*` for every "
            "product (`lam*b`, not `lam b`)"
        ) from None
    except (RecursionError, MemoryError, ValueError):
        raise FormulaError(f"`{text[:40]}...` is too deeply nested to read") from None


def to_expression(answer: Any, symbols: Sequence[str]) -> Any:
    """A string, a number or a SymPy expression as one expression in positive ``symbols``.

    Symbols are matched by name, so ``Symbol("n")`` with or without assumptions are the same here.
    Raises :class:`FormulaError` for other types and for symbols the question does not have.
    """
    import sympy

    if isinstance(answer, str):
        return parse_formula(answer, symbols)
    if isinstance(answer, sympy.Equality):
        answer = answer.rhs
    try:
        expression = sympy.sympify(answer, strict=True)
    except (sympy.SympifyError, TypeError, AttributeError):
        raise FormulaError("this is not a formula") from None
    if not isinstance(expression, sympy.Expr) or getattr(expression, "is_Matrix", False):
        raise FormulaError("this is not a formula")
    swap = {}
    for symbol in expression.free_symbols:
        name = _ALIASES.get(symbol.name, symbol.name)
        if name not in symbols:
            raise FormulaError(_unknown(symbol.name, tuple(symbols)))
        swap[symbol] = positive(name)
    return expression.xreplace(swap)


def positive(name: str) -> Any:
    """The positive SymPy symbol of a name."""
    import sympy

    return sympy.Symbol(name, positive=True)


_GREEK = {"λ": "lam", "σ": "sigma", "τ": "tau", "θ": "theta", "κ": "kappa", "η": "eta"}
_ALIASES = {"lambda": "lam", "lambda_": "lam", "lmbda": "lam", **_GREEK}


def _in_ascii(text: str) -> str:
    import re

    for sign, plain in {**_GREEK, "²": "**2", "^": "**", "−": "-", "·": "*", "×": "*"}.items():
        text = text.replace(sign, plain)
    text = re.sub(r"\b(lambda_?|lmbda)\b", "lam", text)
    return text.split("=", 1)[1].strip() if text.count("=") == 1 else text.strip()


def _unknown(name: str, symbols: tuple[str, ...]) -> str:
    return f"`{name}` is not a symbol of this question; use {', '.join(f'`{s}`' for s in symbols)}"


def _build(node: ast.expr, symbols: tuple[str, ...]) -> Any:
    import sympy

    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return sympy.Integer(node.value) if isinstance(node.value, int) else _decimal(node.value)
    if isinstance(node, ast.Name):
        if node.id not in symbols:
            raise FormulaError(_unknown(node.id, symbols))
        return positive(node.id)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        inner = _build(node.operand, symbols)
        return -inner if isinstance(node.op, ast.USub) else inner
    if isinstance(node, ast.BinOp):
        return _operate(node.op, _build(node.left, symbols), _build(node.right, symbols))
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
        name = {"ln": "log", "abs": "Abs"}.get(node.func.id, node.func.id)
        if name in (*FUNCTIONS, "Abs") and node.args:
            arguments = [_build(arg, symbols) for arg in node.args]
            if any(arg.is_number and abs(arg) > MAX_BASE for arg in arguments):
                raise FormulaError(f"{name} of a number beyond {MAX_BASE} cannot be meant")
            return getattr(sympy, name)(*arguments)
        if node.func.id in symbols:
            raise FormulaError(f"write `*` between `{node.func.id}` and the bracket")
    raise FormulaError(
        "only + - * / **, brackets, numbers, the symbols "
        f"{', '.join(symbols)} and {', '.join(FUNCTIONS)} can stand in a formula"
    )


def _operate(op: ast.operator, left: Any, right: Any) -> Any:
    if isinstance(op, ast.Add):
        return left + right
    if isinstance(op, ast.Sub):
        return left - right
    if isinstance(op, ast.Mult):
        return left * right
    if isinstance(op, ast.Div):
        if right.is_zero:
            raise FormulaError("there is a division by zero in the formula")
        return left / right
    if isinstance(op, ast.Pow):
        if right.is_number and not (right.is_real and abs(right) <= MAX_POWER):
            raise FormulaError(f"a power beyond {MAX_POWER} cannot be meant")
        if left.is_number and abs(left) > MAX_BASE:
            raise FormulaError(f"a power of a number beyond {MAX_BASE} cannot be meant")
        return left**right
    raise FormulaError("only + - * / and ** can stand between the parts of a formula")


def _decimal(value: float) -> Any:
    import sympy

    return sympy.Rational(repr(value)) if abs(value) < 1e300 else sympy.Float(value)
