"""Function: where EWC ends between two quadratic valleys."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from medxfer_lab.course.exercise import Exercise, Variant, Wrong
from medxfer_lab.course.functions import function
from medxfer_lab.course.values import Mistake, apart
from medxfer_lab.loss_landscape.theory.consolidation import ewc_solution

_SOLUTION = """
def solve(new_hessian, new_optimum, importance, old_optimum, strength):
    pull = strength * importance
    both = new_hessian + pull
    return np.linalg.solve(both, new_hessian @ new_optimum + pull @ old_optimum)
""".strip()


def exercise(seed: int) -> Exercise:
    """(H_n + s F)^-1 (H_n theta_n + s F theta_o); the seed draws two valleys for the prompt."""
    case = _case(seed)
    answer, mistakes = ewc_solution(**case), _mistakes()
    average = _average(**case)
    return Exercise(
        id="ewc_closed_form",
        title="Between two valleys",
        objective="Solve for the minimum of EWC where the valleys are quadratic",
        kind="function",
        prompt=(
            "Near its optimum the new hospital's loss is a quadratic valley, $L_n(\\theta) = "
            "\\tfrac12\\,(\\theta - \\theta_n)^\\top H_n\\,(\\theta - \\theta_n)$. EWC adds "
            "$\\tfrac{s}{2}\\,(\\theta - \\theta_o)^\\top F\\,(\\theta - \\theta_o)$, where "
            "$\\theta_o$ are the pretrained parameters. Here $F$ is the *full* Fisher matrix, not "
            "its diagonal. Where does tuning end?\n\nAnswer with a function of `new_hessian` "
            "$H_n$ (d, d), `new_optimum` $\\theta_n$ (d,), `importance` $F$ (d, d), `old_optimum` "
            "$\\theta_o$ (d,) and `strength` $s$ that returns the minimum (d,). It will be tried "
            "on random valleys; `new_hessian` may be flat along some direction.\n\n"
            f"Two parameters to look at:\n\n{_listed(case)}\n\n"
            f"The average of the optima, weighted 1 to $s$, is {_shown(average)}. EWC ends at "
            f"{_shown(answer)}."
        ),
        hints=(
            "Set the gradient of the sum to zero. Each valley pulls with its curvature times the "
            "distance from its own optimum.",
            "$H_n(\\theta - \\theta_n) + s F(\\theta - \\theta_o) = 0$. Bring all that holds "
            "$\\theta$ to one side; what stands before it is a matrix.",
            "$(H_n + s F)\\,\\theta = H_n\\theta_n + s F\\theta_o$: a system of linear equations, "
            "for `np.linalg.solve`. Only the sum of the matrices need be invertible.",
        ),
        grade=function(
            _reference,
            draw,
            mistakes,
            praise=(
                "Right on all hidden valleys. Each direction goes to the task that is more curved "
                "there: EWC is an average whose weights are matrices."
            ),
        ),
        right=(
            Variant("solve", _reference),
            Variant("the theory's function", ewc_solution),
            Variant("inverse", _with_inverse),
            Variant("from the old optimum", _from_old),
            Variant("from the new optimum, a list", _from_new),
            Variant("least squares", _least_squares),
        ),
        wrong=(
            *(Wrong(m.diagnosis, m.value, m.diagnosis) for m in mistakes),
            Wrong(
                "strength squared",
                lambda H, n, F, o, s: _solution(H, n, F, o, s**2),
                "unknown",
            ),
            Wrong("the loss there", lambda H, n, F, o, s: 0.5, "shape"),
            Wrong("nothing returned", lambda H, n, F, o, s: None, "returns-nothing"),
            Wrong("two numbers", answer, "wrong-type"),
        ),
        solution=(
            "The gradient of the sum vanishes where $(H_n + s F)\\,\\theta = H_n\\theta_n + s F"
            f"\\theta_o$:\n\n```python\n{_SOLUTION}\n```\n\n"
            f"In the prompt this is {_shown(answer)}. The average by strength alone, "
            f"{_shown(average)}, forgets that strength multiplies curvature: where "
            "$F$ is flat, no strength holds a parameter back; where $H_n$ is flat, the weakest "
            "penalty brings it home."
        ),
    )


def draw(rng: np.random.Generator) -> dict[str, Any]:
    """Hidden valleys of two parameters, now and then three; a third of the new ones are flat along
    one direction."""
    d, flat = int(rng.choice([2, 2, 3])), rng.random() < 1 / 3
    root = rng.standard_normal((d, d - 1 if flat else d))
    other = rng.standard_normal((d, d))
    return {
        "new_hessian": root @ root.T,
        "new_optimum": rng.standard_normal(d),
        "importance": other @ other.T + 0.2 * np.eye(d),
        "old_optimum": rng.standard_normal(d),
        "strength": float(rng.uniform(0.3, 3)),
    }


def _case(seed: int) -> dict[str, Any]:
    """Numbers of one decimal for the prompt, all slips apart."""
    rng = np.random.default_rng([seed, 53])
    while True:
        new, old = (np.round(r @ r.T, 1) for r in rng.uniform(-1.6, 1.6, (2, 2, 2)))
        optima = np.round(rng.uniform(-2, 2, (2, 2)), 1)
        case = {
            "new_hessian": new,
            "new_optimum": optima[0],
            "importance": old,
            "old_optimum": optima[1],
            "strength": float(rng.choice([0.3, 0.5, 2.0, 3.0])),
        }
        if min(np.linalg.eigvalsh(H).min() for H in (new, old)) < 0.2 or abs(old[0, 1]) < 0.3:
            continue
        if apart([ewc_solution(**case), *(m.value(**case) for m in _mistakes())], atol=0.05):
            return case


def _listed(case: dict[str, Any]) -> str:
    return "\n".join(
        f"- `{name} = "
        + (f"np.array({value.tolist()})`" if isinstance(value, np.ndarray) else f"{value:g}`")
        for name, value in case.items()
    )


def _shown(point: np.ndarray) -> str:
    return "(" + ", ".join(f"{value:.2f}" for value in point) + ")"


def _mistakes() -> list[Mistake]:
    """Slips in H_n, theta_n, F, theta_o and s."""
    return [
        Mistake(
            "average-by-strength",
            _average,
            "This averages the optima by the strength alone and ignores curvature. A direction "
            "goes to the task that is steep there.",
        ),
        Mistake(
            "optima-swapped",
            _of(lambda H, n, F, o, s: _solution(H, o, F, n, s)),
            "The optima are swapped: each curvature pulls to the *other* task's optimum. With a "
            "strength of 0 tuning must end at the new one.",
        ),
        Mistake(
            "curvatures-swapped",
            _of(lambda H, n, F, o, s: _solution(s * H, n, F, o, 1.0)),
            "The strength multiplies the new task's Hessian. It belongs to the importance: a "
            "strong penalty must keep you near the old optimum.",
        ),
        Mistake(
            "diagonal",
            _of(lambda H, n, F, o, s: _solution(H, n, np.diag(np.diag(F)), o, s)),
            "You used the diagonal of the importance. That is what EWC does where the full matrix "
            "is too large to keep; here it is given, and parameters that act together are not "
            "judged one by one.",
        ),
        Mistake(
            "both-diagonal",
            _of(_one_by_one),
            "You solved each parameter by itself, with diagonals only. The matrices couple them.",
        ),
        Mistake(
            "half-strength",
            _of(lambda H, n, F, o, s: _solution(H, n, F, o, s / 2)),
            "This is the solution for half the strength. Both quadratics have a half here, so the "
            "halves cancel in the gradient.",
        ),
        Mistake(
            "double-strength",
            _of(lambda H, n, F, o, s: _solution(H, n, F, o, 2 * s)),
            "This is the solution for twice the strength. That is the convention of a penalty "
            "without the half: here it is $s/2$ times the square.",
        ),
        Mistake(
            "inverse-importance",
            _of(lambda H, n, F, o, s: _solution(H, n, np.linalg.inv(F), o, s)),
            "You inverted the importance. It is a precision, not a covariance: what matters most "
            "to the old task must move least.",
        ),
        Mistake(
            "importance-ignored",
            _of(lambda H, n, F, o, s: _solution(H, n, np.eye(len(n)), o, s)),
            "This is L2-SP: every direction is held alike. EWC holds it by its importance.",
        ),
        Mistake(
            "old-pull-missing",
            _of(lambda H, n, F, o, s: _solution(H, n, F, 0 * o, s)),
            "The right side lacks the old task's pull, $sF\\theta_o$. This penalty pulls to 0.",
        ),
    ]


def _solution(H, n, F, o, s) -> np.ndarray:
    """Of valleys that need not be proper ones: the mistakes' own."""
    return np.linalg.solve(H + s * F, H @ n + s * F @ o)


def _one_by_one(H, n, F, o, s) -> np.ndarray:
    h, f = np.diag(H), s * np.diag(F)
    return (h * n + f * o) / (h + f)


def _of(slip: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    """A slip in five letters as a function of the five arguments."""

    def mistaken(new_hessian, new_optimum, importance, old_optimum, strength):
        return slip(new_hessian, new_optimum, importance, old_optimum, strength)

    return mistaken


_reference = _of(_solution)


def _average(new_hessian, new_optimum, importance, old_optimum, strength):
    return (new_optimum + strength * old_optimum) / (1 + strength)


def _with_inverse(new_hessian, new_optimum, importance, old_optimum, strength):
    both = np.linalg.inv(new_hessian + strength * importance)
    return both @ (new_hessian @ new_optimum + strength * importance @ old_optimum)


def _from_old(new_hessian, new_optimum, importance, old_optimum, strength):
    gap = new_hessian @ (new_optimum - old_optimum)
    return old_optimum + np.linalg.solve(new_hessian + strength * importance, gap)


def _from_new(H, n, F, o, s):
    return list(n - np.linalg.inv(H + s * F) @ (s * F @ (n - o)))


def _least_squares(new_hessian, new_optimum, importance, old_optimum, strength):
    """Rows whose squares add up to the two quadratics, stacked."""
    rows, targets = [], []
    for matrix, optimum in ((new_hessian, new_optimum), (strength * importance, old_optimum)):
        values, vectors = np.linalg.eigh(matrix)
        root = np.sqrt(np.maximum(values, 0))[:, None] * vectors.T
        rows.append(root)
        targets.append(root @ optimum)
    return np.linalg.lstsq(np.concatenate(rows), np.concatenate(targets), rcond=None)[0]
