"""Derivation: the largest stable rate of one block under three kinds of momentum."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import sympy

from medxfer_lab.course.exercise import Exercise, Variant, Wrong
from medxfer_lab.course.expressions import to_expression
from medxfer_lab.course.feedback import Feedback
from medxfer_lab.course.functions import formula
from medxfer_lab.course.values import Mistake, apart, as_number, number

BLOCKS = ("conv1", "conv2", "conv3", "conv4")
#: what stands in the formula, with ranges to try it at
SYMBOLS = {
    "lam": (2.0, 6.0),
    "beta": (0.3, 0.95),
    "trace": (8.0, 20.0),
    "d": (30.0, 90.0),
    "lam_all": (30.0, 60.0),
}


@dataclass(frozen=True)
class Momentum:
    """One way to remember gradients, in words and formulas.

    ``edge``: rate times curvature at the edge, a formula in beta; ``below``: the factor under
    2 (1 + beta) there. ``inside``: while this holds, no root has left the unit circle at -1.
    ``says``: to those who take this momentum for that of the question. ``divided``,
    ``multiplied``: to those who have 2/lam divided by 1 - beta, or multiplied by it.
    """

    edge: str
    below: str
    update: str
    names: str
    recursion: str
    inside: str
    says: str
    divided: str
    multiplied: str


_LONGER = (
    "You counted momentum as a longer step, by $1/(1 - \\beta)$. It is that where the gradient "
    "hardly changes from step to step. At the edge it changes *sign* at every step, and the "
    "remembered gradients oppose the new one."
)
_IN_FULL = (
    "You divided by $1 - \\beta$, as if the gradient entered $v$ with that weight. Here it enters "
    "in full."
)


MOMENTA = {
    "heavy-ball": Momentum(
        "2*(1 + beta)",
        "",
        "$v \\leftarrow \\beta v + g$, then $\\theta \\leftarrow \\theta - \\eta v$",
        "`SGD(momentum=beta)`",
        "$z_{t+1} = (1 + \\beta - s)\\,z_t - \\beta\\,z_{t-1}$",
        "$1 + (1 + \\beta - s) + \\beta > 0$",
        "This is the edge of plain momentum, where the gradient enters in full and is taken at "
        "the point itself. Read the update again.",
        _IN_FULL,
        _LONGER,
    ),
    "averaged": Momentum(
        "2*(1 + beta)/(1 - beta)",
        "(1 - \\beta)\\,",
        "$v \\leftarrow \\beta v + (1 - \\beta) g$, then $\\theta \\leftarrow \\theta - \\eta v$",
        "`SGD(momentum=beta, dampening=beta)`, the average that Adam takes as well",
        "$z_{t+1} = (1 + \\beta - (1 - \\beta) s)\\,z_t - \\beta\\,z_{t-1}$",
        "$1 + (1 + \\beta - (1 - \\beta) s) + \\beta > 0$",
        "This is the edge where $v$ is an *average* of gradients, each weighed with "
        "$1 - \\beta$. Read the update again.",
        "You gave the newest gradient its weight $1 - \\beta$ and left the remembered ones out. "
        "Write the update for two steps.",
        "You multiplied by $1 - \\beta$ where it belongs below: each gradient enters $v$ with this "
        "small weight, so the rate may be larger.",
    ),
    "look-ahead": Momentum(
        "2*(1 + beta)/(1 + 2*beta)",
        "(1 + 2\\beta)\\,",
        "$v \\leftarrow \\beta v + g$, then $\\theta \\leftarrow \\theta - \\eta (g + \\beta v)$",
        "`SGD(momentum=beta, nesterov=True)`",
        "$z_{t+1} = (1 - s)\\left((1 + \\beta)\\,z_t - \\beta\\,z_{t-1}\\right)$, at the point "
        "that the gradient is taken at",
        "$1 + (1 + \\beta)(1 - s) + \\beta (1 - s) > 0$",
        "This is the edge of Nesterov's momentum, which steps along $g + \\beta v$. Read the "
        "update again.",
        _IN_FULL,
        _LONGER,
    ),
}


def exercise(seed: int) -> Exercise:
    """A number for the seed's block, or the formula. Seeds 0, 1, 2 modulo 3: three momenta."""
    kind = list(MOMENTA)[seed % 3]
    momentum, block, values = MOMENTA[kind], BLOCKS[seed // 3 % 4], _values(seed, kind)
    text = f"{momentum.edge}/lam"
    answer, mistakes = _at(text, values), _mistakes(kind)
    expression = to_expression(text, list(SYMBOLS))
    return Exercise(
        id="stable_step",
        title="How long may a step be?",
        objective="Derive the largest stable learning rate from curvature and momentum",
        kind="derivation",
        prompt=(
            f"A hospital adapts one block of a pretrained network, {block}, to its own FLAIR "
            "slices; all else is frozen. It takes the gradient $g$ of all slices at once, and "
            f"updates {momentum.update} (in PyTorch: {momentum.names}), with `beta` = "
            f"{values['beta']:g}. Near the pretrained point the loss is quadratic and curves "
            "upwards. The Hessian of the block is a matrix with `d` = "
            f"{values['d']:.0f} rows, the largest eigenvalue `lam` = {values['lam']:g} and the "
            f"trace `trace` = {values['trace']:g}. The Hessian of the whole network has the "
            f"largest eigenvalue `lam_all` = {values['lam_all']:g}.\n\nBelow which learning rate "
            "$\\eta$ does the distance to the minimum shrink, along every direction? Answer with "
            f"the number, or with a formula in {', '.join(f'`{name}`' for name in SYMBOLS)} (not "
            "all are needed): a text, a SymPy expression, or a Python function of these."
        ),
        hints=(
            "Along an eigenvector of the Hessian the gradient is its eigenvalue times the "
            "distance $z$ to the minimum. Which eigenvector sets the limit?",
            "Write $s = \\eta\\lambda$ and remove $v$ by subtracting two updates that follow one "
            f"another: {momentum.recursion}.",
            "Try $z_t = r^t$. As $\\eta$ grows, one root leaves the unit circle at $r = -1$: the "
            f"distance changes sign at every step. It is still inside while {momentum.inside}.",
        ),
        grade=_grade(text, values, mistakes),
        right=(
            Variant("number", answer),
            Variant("three digits", float(f"{answer:.3g}")),
            Variant("text", text),
            Variant("SymPy", expression),
            Variant("SymPy, expanded", sympy.expand(expression)),
            Variant("inverse curvature first", f"lam**-1 * ({momentum.edge})"),
            Variant("function", _function(kind)),
        ),
        wrong=(
            *(
                Wrong(m.diagnosis, m.value if i % 2 else _at(m.value, values), m.diagnosis)
                for i, m in enumerate(mistakes)
            ),
            Wrong("a letter too many", "2*(1 + beta)/mu", "unreadable"),
        ),
        solution=(
            f"With $s = \\eta\\lambda$, {momentum.recursion}. The roots of its polynomial lie "
            "inside the unit circle for small $s > 0$; the first to leave does so at $r = -1$, so "
            f"the condition is {momentum.inside}. That is ${momentum.below}s < 2(1 + "
            "\\beta)$. The steepest direction of the block decides: with "
            f"$\\lambda = {values['lam']:g}$, $\\eta < {answer:.4g}$. The frozen blocks do not "
            "move, so their curvature does not count. The trace says how much curvature there is "
            "in all, not how steep the steepest direction is."
        ),
    )


def _at(text: str, values: dict[str, float]) -> float:
    expression = to_expression(text, list(SYMBOLS))
    return float(expression.subs({s: values[s.name] for s in expression.free_symbols}))


def _function(kind: str) -> Callable[..., float]:
    if kind == "heavy-ball":
        return lambda lam, beta, trace, d, lam_all: 2 * (1 + beta) / lam
    if kind == "averaged":
        return lambda lam, beta, trace, d, lam_all: 2 * (1 + beta) / ((1 - beta) * lam)
    return lambda lam, beta, trace, d, lam_all: (1 + 1 / (1 + 2 * beta)) / lam


def _values(seed: int, kind: str) -> dict[str, float]:
    """Numbers of the prompt, drawn until the answer and all slips are apart."""
    rng = np.random.default_rng([seed, 51])
    while True:
        lam = float(f"{10 ** rng.uniform(0.2, 1.9):.2g}")
        values = {
            "lam": lam,
            "beta": float(rng.choice([0.6, 0.7, 0.8, 0.9])),
            "trace": float(f"{lam * rng.uniform(1.7, 6):.2g}"),
            "d": float(rng.choice([144, 432, 2304, 4608])),
            "lam_all": float(f"{lam * rng.uniform(1.7, 9):.2g}"),
        }
        texts = [f"{MOMENTA[kind].edge}/lam", *(m.value for m in _mistakes(kind))]
        if apart([_at(text, values) for text in texts], rtol=0.06):
            return values


def _grade(
    text: str, values: dict[str, float], mistakes: list[Mistake]
) -> Callable[[Any], Feedback]:
    praise = (
        "The steepest direction of what moves sets the limit. Momentum shifts it, because at the "
        "edge the gradient changes sign at every step, and the remembered ones oppose the new one."
    )
    slips = [Mistake(m.diagnosis, _at(m.value, values), m.message) for m in mistakes]
    by_number = number(_at(text, values), slips, praise=praise)
    by_formula = formula(text, SYMBOLS, mistakes, praise=praise)
    return lambda answer: (by_formula if as_number(answer) is None else by_number)(answer)


def _mistakes(kind: str) -> list[Mistake]:
    """Slips as formulas: of the momentum, of the curvature, and the other momenta's edges."""
    momentum, edge = MOMENTA[kind], MOMENTA[kind].edge
    return [
        Mistake(
            "one-step",
            "1/lam",
            "Without momentum this rate lands in the minimum of the steepest direction in one "
            "step. It is the fastest there, not the largest: a longer one still comes nearer.",
        ),
        Mistake(
            "momentum-forgotten",
            "2/lam",
            "This is the edge without momentum. Remembered steps shift it: look at two steps, not "
            "at one.",
        ),
        Mistake(
            "times-one-minus-beta",
            "2*(1 - beta)/lam",
            momentum.multiplied,
        ),
        Mistake(
            "over-one-minus-beta",
            "2/((1 - beta)*lam)",
            momentum.divided,
        ),
        Mistake(
            "trace",
            f"{edge}/trace",
            "You used the trace, the sum of all eigenvalues. That is safe and needlessly slow: no "
            "single direction is as steep as all of them together.",
        ),
        Mistake(
            "mean-eigenvalue",
            f"{edge}*d/trace",
            "You used the mean eigenvalue. The mean direction would be stable; the steepest one is "
            "far beyond its edge, and one direction that grows is enough.",
        ),
        Mistake(
            "whole-network",
            f"{edge}/lam_all",
            "You used the curvature of the whole network. The other blocks are frozen: only the "
            "block's own part of the Hessian limits its step.",
        ),
        Mistake(
            "half",
            f"{edge}/(2*lam)",
            "This is half of it. Overshooting the minimum is no divergence: the edge is where the "
            "distance no longer shrinks, with $r = -1$.",
        ),
        *(Mistake(k, f"{m.edge}/lam", m.says) for k, m in MOMENTA.items() if k != kind),
    ]
