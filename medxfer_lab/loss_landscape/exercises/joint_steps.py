"""Function: rates for two blocks that are stable together, whatever couples them, and not slow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from medxfer_lab.course.exercise import Exercise, Variant, Wrong
from medxfer_lab.course.feedback import Feedback, right, show, wrong, wrong_type
from medxfer_lab.course.functions import call_by_name
from medxfer_lab.course.values import as_array
from medxfer_lab.loss_landscape.theory.descent import (
    FLAT,
    scaled_eigenvalues,
    two_block_hessian,
)

#: what the two blocks do to the outputs: alike, opposed, and between
COUPLINGS = (0.0, 0.5, -0.5, 0.9, -0.9, 1.0, -1.0)
#: within so many steps the excess loss has to fall to this share, from every start
STEPS, SHARE = 60, 0.01
#: hidden pairs of curvatures that a function is tried on, after the prompt's own
TRIALS = 12
WANTED = "a pair of rates, or a function of the curvatures a and b that returns one"
EXAMPLE = "answer = lambda a, b: (rate_a, rate_b)"


def exercise(seed: int) -> Exercise:
    """Shares of each block's own edge that add up to less than 1; the seed draws a and b."""
    a, b, early, late = _blocks(seed)
    return Exercise(
        id="joint_steps",
        title="Two blocks move at once",
        objective="Choose learning rates that stay stable when several blocks are trained at once",
        kind="function",
        prompt=(
            f"A team unfreezes two blocks of a pretrained network, {early} and {late}. Each was "
            f"first trained alone on the hospital's scans, by plain gradient descent on all of "
            f"them: the steepest direction of {early} has the curvature $a$ = {a:g}, that of "
            f"{late} has $b$ = {b:g}. Now both move at once. To second order the loss has the "
            "Hessian\n\n"
            "$\\begin{pmatrix} a & c\\sqrt{ab} \\\\ c\\sqrt{ab} & b \\end{pmatrix}$\n\n"
            "along these two directions. The coupling $c$, from $-1$ to 1, says how alike they "
            "move the network's outputs. Nobody has measured it.\n\nChoose a learning rate for "
            "each block, without momentum. Whatever the coupling is, the loss must not grow. And "
            f"the rates must not be needlessly slow: for $c = 0$, $\\pm 0.5$, $\\pm 0.9$ and "
            f"$\\pm 1$ what the loss has above its minimum must fall to {100 * SHARE:g} % within "
            f"{STEPS} steps, from every start.\n\nAnswer with two numbers, for {early} and "
            f"{late}, or with a function of `a` and `b` that returns two. A function will be tried "
            "on other pairs, whose curvatures differ by a factor of 20 to 60 either way."
        ),
        hints=(
            f"Alone, the edge of {early} is $2/a$ and that of {late} is $2/b$. Let both take half "
            "of their own edge, and let the two directions move the outputs exactly alike "
            "($c = 1$). How far do the outputs move in one step, compared with either alone?",
            "With rates $\\eta_a, \\eta_b$ a step multiplies the distance by $1 - s$, $s$ the "
            "eigenvalues of $D^{1/2} H D^{1/2}$, $D$ the diagonal matrix of the rates. At $c = 1$ "
            "one of them is 0 and the other is the trace, $\\eta_a a + \\eta_b b$.",
            "So it is enough that $\\eta_a a + \\eta_b b$ stays below 2, at every coupling. Now "
            "share that 2 among the blocks so that neither gets almost nothing, and leave some "
            "of it unused.",
        ),
        grade=lambda answer: _grade(answer, a, b),
        right=(
            Variant("function", lambda a, b: (0.9 / a, 0.9 / b)),
            Variant("pair", (0.9 / a, 0.9 / b)),
            Variant("unequal shares", [1.2 / a, 0.7 / b]),
            Variant("array", lambda x, y: 0.8 / np.array([x, y])),
            Variant("dict", {"a": 0.85 / a, "b": 0.85 / b}),
            Variant("texts", [f"{0.9 / a:.3g}", f"{0.9 / b:.3g}"]),
        ),
        wrong=(
            Wrong("each at its own edge", lambda a, b: (2 / a, 2 / b), "ignores-coupling"),
            Wrong("the smaller edge for both", lambda a, b: (min(2 / a, 2 / b),) * 2, "smaller"),
            Wrong("2 over the sum, and less", lambda a, b: (1.8 / (a + b),) * 2, "one-rate"),
            Wrong("half of each edge", (1 / a, 1 / b), "at-the-edge"),
            Wrong("by the mean curvature", lambda a, b: (4 / (a + b),) * 2, "beyond-own-edge"),
            Wrong("swapped", lambda a, b: (0.9 / b, 0.9 / a), "swapped"),
            Wrong("a tenth of each edge", lambda a, b: (0.2 / a, 0.2 / b), "timid"),
            Wrong("one block frozen", (1.8 / a, 0), "frozen"),
            Wrong("nearly all for one", lambda a, b: (1.8 / a, 0.1 / b), "lopsided"),
            Wrong("for these two only", lambda p, q: (0.9 / a, 0.9 / b), "one-pair-only"),
            Wrong("uphill", (-0.9 / a, -0.9 / b), "sign"),
            Wrong("one number", 0.9 / a, "wrong-type"),
        ),
        solution=(
            "At $c = \\pm 1$ the two blocks move the outputs alike, and $D^{1/2} H D^{1/2}$ has "
            "the eigenvalues 0 and $\\eta_a a + \\eta_b b$. At any other coupling both lie between "
            "these two. So it is safe, whatever the coupling, if and only if $\\eta_a a + \\eta_b "
            "b < 2$: the shares that the blocks take of their own edges must add up to less than "
            "1.\n\n"
            "Of all shares with one sum, equal ones make the slowest direction fastest, and a "
            "little below one half each stays off the edge: $\\eta_a = 0.9/a$, $\\eta_b = 0.9/b$, "
            f"here {0.9 / a:.3g} and {0.9 / b:.3g}. One rate for both has to stay below "
            f"$2/(a + b) = {2 / (a + b):.3g}$, and then {late if a > b else early} hardly moves."
        ),
    )


def excess_after(a: float, b: float, rates: np.ndarray, coupling: float, steps: int) -> float:
    """The largest share of the excess loss that is left after ``steps``, over all starts.

    max (1 - s)^(2 steps) over the nonzero eigenvalues s of D^1/2 H D^1/2: along its eigenvectors
    the loss is a sum of squares. Directions without curvature add nothing to the loss; a frozen
    block's curvature does.
    """
    h = two_block_hessian(a, b, coupling)
    s = scaled_eigenvalues(h, rates)
    flat = np.linalg.eigvalsh(h)[0] < FLAT * (a + b)
    with np.errstate(over="ignore"):
        return float(np.max(np.abs(1 - s[1:] if flat else 1 - s)) ** (2 * steps))


def _blocks(seed: int) -> tuple[float, float, str, str]:
    """Curvatures, two digits, and the names of two blocks; either may be the steeper."""
    rng = np.random.default_rng([seed, 52])
    early, late = sorted(rng.choice(4, 2, replace=False) + 1)
    a, b = (float(f"{value:.2g}") for value in _pair(rng))
    return a, b, f"conv{early}", f"conv{late}"


def _pair(rng: np.random.Generator) -> np.ndarray:
    low = 10 ** rng.uniform(-0.5, 1)
    return rng.permutation([low, low * rng.uniform(22, 58)])


def _grade(answer: Any, a: float, b: float) -> Feedback:
    if not callable(answer):
        rates, trouble = _rates(answer)
        return trouble or _judge(a, b, rates) or right(_praise(a, b, rates))
    rng = np.random.default_rng(0)
    pairs = [(a, b), *(tuple(map(float, _pair(rng))) for _ in range(TRIALS))]
    given: list[np.ndarray] = []
    for x, y in pairs:
        rates, trouble = _called(answer, x, y)
        if trouble:
            return trouble
        given.append(rates)
    for i, ((x, y), rates) in enumerate(zip(pairs, given, strict=True)):
        found = _judge(x, y, rates)
        if found and i and np.ptp(given, axis=0).max() == 0:
            return wrong(
                "one-pair-only",
                f"Right for $a$ = {a:g} and $b$ = {b:g}, but your function gives the same rates "
                "for every pair: let them follow from its arguments.",
            )
        if found:
            return found
    return right(_praise(a, b, given[0]))


def _called(answer: Callable[..., Any], a: float, b: float) -> tuple[Any, Feedback | None]:
    try:
        value = call_by_name(answer, {"a": a, "b": b})
    except Exception as error:
        text = f"At {show({'a': a, 'b': b})} your function raised `{type(error).__name__}: {error}`"
        return None, wrong("raises", f"{text}. It is called with `a`, `b`.")
    if value is None or value is ...:
        return None, wrong("returns-nothing", "Your function returns nothing: end with `return`.")
    return _rates(value)


def _rates(value: Any) -> tuple[Any, Feedback | None]:
    """Two positive numbers, or what to say instead."""
    if isinstance(value, dict):
        value = [value[k] for k in "ab"] if set(value) == {"a", "b"} else None
    rates = as_array(value)
    if rates is None or rates.shape != (2,):
        return None, wrong_type(value, WANTED, EXAMPLE)
    if not np.isfinite(rates).all():
        return None, wrong("not-finite", f"The rates are {show(rates)}: expected finite numbers.")
    if (rates < 0).any():
        return None, wrong("sign", "A negative rate climbs: descent subtracts rate times gradient.")
    if (rates == 0).any():
        return None, wrong(
            "frozen",
            "A rate of 0 freezes its block. What only that block could take away from the loss "
            "stays: look at coupling 0.",
        )
    return rates, None


def _praise(a: float, b: float, rates: np.ndarray) -> str:
    shares = rates * (a, b) / 2
    return (
        f"The blocks take {shares[0]:.2f} and {shares[1]:.2f} of their own edges, "
        f"{shares.sum():.2f} together. Below 1 no coupling can make them diverge, so none had to "
        "be measured."
    )


def _judge(a: float, b: float, rates: np.ndarray) -> Feedback | None:
    """What is wrong with these rates; None if they do all that was asked."""
    left = [excess_after(a, b, rates, c, STEPS) for c in COUPLINGS]
    worst = int(np.argmax(left))
    if left[worst] <= SHARE:
        return None
    where = (
        f"At {show({'a': a, 'b': b})} and coupling {COUPLINGS[worst]:g}, after {STEPS} steps what "
        f"the loss has above its minimum is {_times(left[worst])} from the worst start"
    )
    diagnosis, why = _why(a, b, rates)
    return wrong(diagnosis, f"{where}. {why}")


def _times(share: float) -> str:
    if share > 1e6:
        return f"{share:.0e} times what it was" if share < 1e300 else "beyond all bounds"
    return f"{share:.3g} times what it was"


def _why(a: float, b: float, rates: np.ndarray) -> tuple[str, str]:
    """Diagnosis and words, from the shares of the blocks' own edges."""
    shares = rates * (a, b) / 2
    total, alike = shares.sum(), np.isclose(rates[0], rates[1], rtol=1e-6)
    if shares.max() > 1 + 1e-9:
        if not alike and (rates[::-1] * (a, b)).sum() < 2:
            return "swapped", "The rates stand at each other's block: the steeper gets the larger."
        return (
            "beyond-own-edge",
            f"The rate of the block with curvature {(a, b)[int(shares.argmax())]:.3g} is beyond "
            "its own edge, 2 over its curvature: it diverges even alone.",
        )
    if total > 1 + 1e-9:
        return _unstable(alike)
    if total > 0.98:
        return (
            "at-the-edge",
            "The shares of the blocks' own edges add up to 1, or nearly. Where both blocks move "
            "the outputs alike that is the edge itself: the loss swings on and hardly falls. "
            "Leave a margin.",
        )
    if alike:
        return (
            "one-rate",
            "One rate for both is safe below $2/(a + b)$, as yours is. But the steeper block "
            "takes nearly all of it, and the flatter one crawls. Give the flatter one more.",
        )
    if total < 0.5:
        return (
            "timid",
            f"Safe, and needlessly slow: the shares of the blocks' own edges add up to {total:.2f} "
            "only. There is room up to 1.",
        )
    return (
        "lopsided",
        f"Safe, but one block has {shares.max():.2f} of its own edge and the other "
        f"{shares.min():.2f}: that one is slow. Share more evenly.",
    )


def _unstable(alike: bool) -> tuple[str, str]:
    if alike:
        return (
            "smaller",
            "The smaller of the two edges is safe for each block alone. Together they can be "
            "steeper than either: one rate for both is safe only below $2/(a + b)$.",
        )
    return (
        "ignores-coupling",
        "Each rate is safe alone. But where both blocks move the outputs alike, both correct the "
        "same error, and together they correct it too far. The shares that they take of their own "
        "edges must add up to less than 1.",
    )
