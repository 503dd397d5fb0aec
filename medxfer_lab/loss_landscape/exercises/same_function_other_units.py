"""Function and choice: the curvature of the same function in other units, and what survives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from medxfer_lab.course.exercise import Exercise, Variant, Wrong
from medxfer_lab.course.feedback import Feedback, right, wrong, wrong_type
from medxfer_lab.course.functions import function
from medxfer_lab.course.parts import named
from medxfer_lab.course.values import Mistake
from medxfer_lab.loss_landscape.exercises.measures import MEASURES, Measure

KEYS = ("curvature", "compare")
EXAMPLE = 'answer = {"curvature": my_function, "compare": ["a", "b"]}'
Rescale = Callable[[np.ndarray, np.ndarray, float], np.ndarray]


def exercise(seed: int) -> Exercise:
    """H' = D^-1 H D^-1, and three measures of six; the seed draws block, factor and measures."""
    block, c, top, measures = _numbers(seed)
    kept = [k for k, m in zip("abcdef", measures, strict=True) if m.kept]
    listed = "\n".join(f"- **{k}**: {m.text}" for k, m in zip("abcdef", measures, strict=True))
    mistakes = _mistakes()
    flatter = "flatter" if c > 1 else "steeper"
    return Exercise(
        id="same_function_other_units",
        title="A flatter network, or other units?",
        objective="Tell which measures of curvature survive a change of units",
        kind="function",
        prompt=(
            "Two hospitals exchange a lesion network. The second one gets a file in which all "
            f"weights of the convolution {block} are multiplied by $c = {c:g}$. Group "
            "normalisation follows it, so both networks give the same output for every scan "
            f"(leave the normalisation's epsilon aside). At the first, the loss has a curvature "
            f"of {top:g} along the steepest direction of {block}. At the second, a colleague "
            f"measures {_plain(top / c**2)} and concludes: ours is {flatter}.\n\n"
            "- `curvature`: a function of `hessian` (an array of shape (d, d)), `block` (the "
            "indices of the parameters that are rescaled) and `factor` ($c > 0$) that returns the "
            "Hessian at the rescaled parameters, of the *whole* network, shape (d, d).\n"
            "- `compare`: the letters of the measures that are the same for both networks, "
            f"whatever $c$ is (no parameter is 0):\n\n{listed}\n\n"
            "Answer with a dict with these keys, or the two in this order."
        ),
        hints=(
            "Let $D$ be diagonal, $c$ for the parameters of the block and 1 for all others. "
            "$L(D\\theta) = L(\\theta)$ holds at every $\\theta$. Differentiate both sides.",
            "Once: $D\\,\\nabla L(D\\theta) = \\nabla L(\\theta)$. Twice: $D\\,H(D\\theta)\\,D = "
            "H(\\theta)$. Solve for $H(D\\theta)$ and look at a diagonal block and at an "
            "off-diagonal one.",
            "$H_{ij}$ is divided by $c$ once for $i$ in the block and once for $j$. What is "
            "multiplied by as much in return, or asks only for signs, stays. For noise: ask which "
            "disturbed function comes out.",
        ),
        grade=_grade(measures),
        right=(
            Variant("dict", {"curvature": rescaled_hessian, "compare": kept}),
            Variant("by entries", [_by_entries, ", ".join(kept)]),
            Variant("matrix product", (_by_matrices, "".join(reversed(kept)).upper())),
            Variant("set", {"curvature": rescaled_hessian, "compare": set(kept)}),
        ),
        wrong=(
            *(
                Wrong(m.diagnosis, {"curvature": m.value, "compare": kept}, m.diagnosis)
                for m in mistakes
            ),
            *(
                Wrong(m.key, [rescaled_hessian, _flipped(kept, k)], _of_measure(m))
                for k, m in zip("abcdef", measures, strict=True)
            ),
            Wrong("a number", {"curvature": top / c**2, "compare": kept}, "wrong-type"),
        ),
        solution=(
            "Differentiated twice, $L(D\\theta) = L(\\theta)$ gives $H(D\\theta) = D^{-1} "
            "H(\\theta)\\,D^{-1}$: the block's own part is divided by $c^2$, its cross terms with "
            "other blocks by $c$, all else stays.\n\n```python\ndef curvature(hessian, block, "
            "factor):\n    d = np.ones(len(hessian))\n    d[block] = factor\n    return hessian / "
            "np.outer(d, d)\n```\n\n"
            f"So {top:g} became {_plain(top / c**2)}, and nothing about the network changed. "
            f"Comparable are {' and '.join([', '.join(kept[:-1]), kept[-1]])}. "
            + " ".join(
                f"({k}) {m.says[0].upper()}{m.says[1:]}"
                for k, m in zip("abcdef", measures, strict=True)
                if m.kept
            )
        ),
    )


def rescaled_hessian(hessian: np.ndarray, block: np.ndarray, factor: float) -> np.ndarray:
    """D^-1 H D^-1 with D = factor on ``block`` and 1 elsewhere: (d, d).

    The Hessian at D theta if L(D theta) = L(theta) for all theta. block: indices; factor: above 0.
    """
    d = np.ones(len(hessian))
    d[block] = factor
    return hessian / np.outer(d, d)


def _by_entries(hessian, block, factor):
    out = np.array(hessian, dtype=float)
    for i in range(len(out)):
        for j in range(len(out)):
            out[i, j] /= factor ** (int(i in block) + int(j in block))
    return out


def _by_matrices(h, b, c):
    inverse = np.eye(len(h))
    inverse[b, b] = 1 / c
    return inverse @ h @ inverse


def _numbers(seed: int) -> tuple[str, float, float, list[Measure]]:
    """Block, factor, curvature, and six measures in random order: three kept, three not."""
    rng = np.random.default_rng([seed, 54])
    block = f"conv{int(rng.integers(1, 5))}"
    c = float(rng.choice([0.1, 0.2, 0.5, 3, 4, 5, 8, 10, 20]))
    top = float(f"{10 ** rng.uniform(0, 2):.2g}")
    picked: list[Measure] = []
    for kept in (True, False):
        pool = [m for m in MEASURES if m.kept == kept]
        picked += [pool[i] for i in rng.choice(len(pool), 3, replace=False)]
    return block, c, top, [picked[i] for i in rng.permutation(6)]


def _draw(rng: np.random.Generator) -> dict[str, Any]:
    """A Hessian with cross terms and curvature of either sign, and a block that is not all."""
    d = int(rng.integers(3, 6))
    a = rng.standard_normal((d, d))
    block = np.sort(rng.choice(d, int(rng.integers(1, d)), replace=False))
    factor = float(rng.choice([0.2, 0.5, 3.0, 10.0]))
    return {"hessian": np.round(a + a.T, 2), "block": block, "factor": factor}


def _divided(own: float, cross: float, rest: float = 0.0) -> Rescale:
    """The slip that divides by these powers of the factor: within, across, outside the block."""

    def slip(hessian: np.ndarray, block: np.ndarray, factor: float) -> np.ndarray:
        inside = np.zeros(len(hessian), dtype=int)
        inside[block] = 1
        power = np.array([rest, cross, own])[inside[:, None] + inside]
        return hessian / factor**power

    return slip


def _mistakes() -> list[Mistake]:
    """Slips in the Hessian, as functions."""
    return [
        Mistake(
            "upside-down",
            _divided(-2, -1),
            "This goes the wrong way. Longer weights need a larger move for the same change of the "
            "function, so the loss curves *less* per unit: divide.",
        ),
        Mistake(
            "cross-terms-forgotten",
            _divided(2, 0),
            "The block's own part is right. Its cross terms with the other blocks are derivatives "
            "by one rescaled parameter and one that is not: they change as well, once.",
        ),
        Mistake(
            "rows-and-columns-twice",
            _divided(2, 2),
            "The cross terms are divided by $c^2$. Only one of their two derivatives is by a "
            "rescaled parameter: $c$ once.",
        ),
        Mistake(
            "once-only",
            _divided(1, 0),
            "A second derivative has two factors. This is how the *gradient* changes.",
        ),
        Mistake(
            "whole-network",
            _divided(2, 2, 2),
            "You divided everything by $c^2$. The other blocks' parameters were not rescaled, and "
            "their own curvature stays.",
        ),
        Mistake(
            "unchanged",
            _divided(0, 0),
            "This is the Hessian as it was. The *function* is unchanged; the loss by its new "
            "parameters is stretched.",
        ),
    ]


def _plain(value: float) -> str:
    """Three digits, without a power of ten."""
    return np.format_float_positional(value, precision=3, fractional=False, trim="-")


def _of_measure(measure: Measure) -> str:
    return f"{measure.key}-{'left-out' if measure.kept else 'is-units'}"


def _flipped(kept: Sequence[str], letter: str) -> list[str]:
    return sorted(set(kept) ^ {letter})


def _grade(measures: Sequence[Measure]) -> Callable[[Any], Feedback]:
    """The function first, for the choice follows from it."""
    by_function = function(rescaled_hessian, _draw, _mistakes(), praise="", trials=8)

    def grade(answer: Any) -> Feedback:
        given = named(answer, KEYS)
        if given is None:
            return wrong_type(answer, f"a dict with the keys {', '.join(KEYS)}", EXAMPLE)
        found = by_function(given["curvature"])
        if not found.correct:
            return Feedback(False, found.diagnosis, f"Look at `curvature`. {found.message}")
        picked = _letters(given["compare"])
        if picked is None:
            return wrong_type(given["compare"], "some of the letters a to f", EXAMPLE)
        for letter, measure in zip("abcdef", measures, strict=True):
            if (letter in picked) != measure.kept:
                verdict = "does not change" if measure.kept else "does change"
                return wrong(
                    _of_measure(measure),
                    f"Your function is right. Look at ({letter}), which {verdict}: {measure.says}",
                )
        return right(
            "Raw curvature belongs to a network *and* its units, which initialisation and "
            "training choose by accident. What is relative to each parameter, or counts signs, "
            "belongs to the function. Whether a flatter network is the better one is yet another "
            "question."
        )

    return grade


def _letters(given: Any) -> set[str] | None:
    """The letters that a text or a collection names; None where it names something else."""
    if isinstance(given, str):
        given = list(given.replace("and", "").replace(",", "").replace(" ", ""))
    if not isinstance(given, list | tuple | set | frozenset):
        return None
    if not all(isinstance(part, str) for part in given):
        return None
    found = {part.strip(" ().*'\"`").lower() for part in given}
    return found if found <= set("abcdef") else None
