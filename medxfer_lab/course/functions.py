"""Checks of functions and formulas: tried on random inputs, and told where they first go wrong."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from medxfer_lab.course.expressions import FormulaError, positive, to_expression
from medxfer_lab.course.feedback import UNKNOWN, Feedback, right, show, wrong, wrong_type
from medxfer_lab.course.values import Grade, Mistake, as_array

Draw = Callable[[np.random.Generator], dict[str, Any]]


def function(
    reference: Callable[..., Any],
    draw: Draw,
    mistakes: Sequence[Mistake] = (),
    *,
    praise: str,
    trials: int = 25,
    seed: int = 0,
    rtol: float = 1e-6,
    atol: float = 1e-9,
) -> Grade:
    """A check for a Python function: compared with ``reference`` on ``trials`` random inputs.

    ``draw(rng)`` gives the arguments by name. The answer gets copies, by name where it has those
    parameters, else in their order. The first input where it goes wrong is shown, with what was
    expected there and what came, unless all outputs are those of a known mistake (whose ``value``
    is a function too).
    """
    names = list(draw(np.random.default_rng(seed)))

    def grade(answer: Any) -> Feedback:
        if not callable(answer) or isinstance(answer, type):
            return wrong_type(
                answer, f"a function of {', '.join(names)}", f"answer = {_stub(names)}"
            )
        rng = np.random.default_rng(seed)
        inputs = [draw(rng) for _ in range(trials)]
        wanted = [reference(**copy.deepcopy(x)) for x in inputs]
        got: list[np.ndarray] = []
        for x, target in zip(inputs, wanted, strict=True):
            value, trouble = _call(answer, x, np.shape(target))
            if trouble:
                return trouble
            got.append(value)
        first = _first_wrong(got, wanted, rtol, atol)
        if first is None:
            return right(praise)
        for mistake in mistakes:
            slipped = [mistake.value(**copy.deepcopy(x)) for x in inputs]
            if _first_wrong(got, slipped, rtol, atol) is None:
                return wrong(mistake.diagnosis, mistake.message)
        return wrong(
            UNKNOWN,
            f"Right for {first} inputs, then wrong. At {show(inputs[first])} the answer should be "
            f"{show(wanted[first])}; yours gave {show(got[first])}.",
        )

    return grade


def _stub(names: Sequence[str]) -> str:
    return f"lambda {', '.join(names)}: ..."


def _first_wrong(got: list, wanted: list, rtol: float, atol: float) -> int | None:
    for i, (a, b) in enumerate(zip(got, wanted, strict=True)):
        if np.shape(a) != np.shape(b) or not np.allclose(a, b, rtol=rtol, atol=atol):
            return i
    return None


def _call(
    answer: Callable[..., Any], x: dict[str, Any], shape: tuple[int, ...]
) -> tuple[Any, Feedback | None]:
    """The answer's output as an array of the expected shape, or what to say instead."""
    try:
        value = call_by_name(answer, copy.deepcopy(x))
    except Exception as error:
        return None, wrong(
            "raises",
            f"At {show(x)} your function raised `{type(error).__name__}: {error}`. It is called "
            f"with {', '.join(f'`{name}`' for name in x)}.",
        )
    if value is None or value is ...:
        return None, wrong("returns-nothing", "Your function returns nothing: end with `return`.")
    array = as_array(value)
    if array is None:
        return None, wrong("returns-type", f"At {show(x)} your function gave {show(value)}.")
    if array.shape != shape:
        if array.size == 1 and shape == ():
            return array.reshape(()), None
        return None, wrong(
            "shape", f"At {show(x)} the result has shape {array.shape}; expected {shape}."
        )
    return array, None


def call_by_name(function: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    """Call with keywords where the function has those parameters, else by position."""
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return function(*arguments.values())
    kinds = {p.kind for p in parameters.values()}
    if set(arguments) <= set(parameters) and inspect.Parameter.POSITIONAL_ONLY not in kinds:
        return function(**arguments)
    return function(*arguments.values())


def formula(
    expected: str,
    symbols: Mapping[str, tuple[float, float]],
    mistakes: Sequence[Mistake] = (),
    *,
    praise: str,
    trials: int = 12,
    seed: int = 0,
) -> Grade:
    """A check for a formula: a text, a SymPy expression, or a function of the symbols.

    ``symbols``: name -> range of positive values to try. Two formulas agree when they agree at
    random values, so every equivalent form passes. ``expected`` and the mistakes' values are texts.
    """
    names = list(symbols)
    rng = np.random.default_rng(seed)
    points = [{k: float(rng.uniform(*symbols[k])) for k in names} for _ in range(trials)]
    target = _values(to_expression(expected, names), points)
    slips = [(m, _values(to_expression(m.value, names), points)) for m in mistakes]
    example = " or ".join((f'answer = "{names[0]} / (1 + {names[-1]})"', "a SymPy expression"))

    def grade(answer: Any) -> Feedback:
        if isinstance(answer, bool | list | tuple | dict | type(None)):
            return wrong_type(answer, f"a formula in {', '.join(names)}", example)
        if callable(answer) and not hasattr(answer, "free_symbols"):
            got, trouble = _of_function(answer, points)
            if trouble:
                return trouble
        else:
            try:
                got = _values(to_expression(answer, names), points)
            except FormulaError as error:
                return wrong("unreadable", f"{error}.")
        if _agree(got, target):
            return right(praise)
        for mistake, values in slips:
            if _agree(got, values):
                return wrong(mistake.diagnosis, mistake.message)
        return wrong(UNKNOWN, _where(points, target, got))

    return grade


def _values(expression: Any, points: Sequence[Mapping[str, float]]) -> np.ndarray:
    """The formula's values at the points, in 30 digits before rounding; nan where undefined."""
    found = []
    for point in points:
        value = expression.evalf(30, subs={positive(k): v for k, v in point.items()})
        found.append(float(value) if value.is_real and value.is_finite else np.nan)
    return np.array(found)


def _of_function(
    answer: Callable[..., Any], points: Sequence[Mapping[str, float]]
) -> tuple[Any, Feedback | None]:
    found = []
    for point in points:
        value, trouble = _call(answer, dict(point), ())
        if trouble:
            return None, trouble
        found.append(float(value))
    return np.array(found), None


def _agree(a: np.ndarray, b: np.ndarray) -> bool:
    return bool(np.allclose(a, b, rtol=1e-7, atol=1e-12))


def _where(points: Sequence[Mapping[str, float]], target: np.ndarray, got: np.ndarray) -> str:
    """The first point of disagreement; and whether the ratio is constant, which names a factor."""
    i = next(i for i in range(len(points)) if not np.isclose(got[i], target[i], rtol=1e-7))
    text = (
        f"At {show(dict(points[i]))} the formula should give {show(target[i])}; "
        f"yours gives {show(got[i])}."
    )
    with np.errstate(all="ignore"):
        ratio = got / target
    if np.all(np.isfinite(ratio)) and np.allclose(ratio, ratio[0], rtol=1e-7):
        text += f" It is off by the constant factor {show(ratio[0])} everywhere."
    return text
