"""Function: what a displacement of the body costs the old task, to second order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from medxfer_lab.course.exercise import Exercise, Variant, Wrong
from medxfer_lab.course.feedback import Feedback, wrong
from medxfer_lab.course.functions import function
from medxfer_lab.course.values import Grade, Mistake, apart
from medxfer_lab.loss_landscape.theory.forgetting import forgetting

_SOLUTION = """
def forecast(old_gradient, old_hessian, new_gradient, new_hessian, delta):
    linear = old_gradient @ delta
    quadratic = delta @ old_hessian @ delta / 2
    return linear + quadratic
""".strip()


@dataclass(frozen=True)
class Case:
    """Two parameters of the prompt: both tasks' gradients (2,) and Hessians (2, 2) where tuning
    began, and the displacement (2,)."""

    old_gradient: np.ndarray
    old_hessian: np.ndarray
    new_gradient: np.ndarray
    new_hessian: np.ndarray
    delta: np.ndarray


def exercise(seed: int) -> Exercise:
    """g' delta + delta' H delta/2 of the old task; the seed draws the displacement of the prompt,
    under which the old loss falls."""
    case = asdict(_case(seed))
    linear, quadratic = _terms(**case)
    mistakes = _mistakes()
    return Exercise(
        id="forgetting_forecast",
        title="Will the old task suffer?",
        objective="Forecast to second order what tuning costs the old task",
        kind="function",
        prompt=(
            "A network that finds tumours was tuned on another clinic's stroke slices, under a new "
            "head. Now the old head is put back, just as it was. Only the body has moved, by "
            "`delta`. How much has the old task's loss risen?\n\nAnswer with a function of five "
            "arrays: `old_gradient` (d,) and `old_hessian` (d, d) of the old loss, `new_gradient` "
            "(d,) and `new_hessian` (d, d) of the new loss, all at the body where tuning began, "
            "and `delta` (d,), the tuned body minus that one. It returns a number in nats: the "
            "rise to second order, below 0 where the old loss falls. You need not use every "
            "argument.\n\n"
            f"Try it on two parameters:\n\n{_listed(case)}\n\n"
            "A colleague takes $\\tfrac12\\,\\delta^\\top H_o\\,\\delta$, of the old Hessian. That "
            f"forecasts a rise of {quadratic:.4f}. Here the losses are quadratic, so a forecast "
            f"can be exact. The measured rise is {linear + quadratic:.4f}."
        ),
        hints=(
            "Expand the old loss around the body where tuning began, up to second order in "
            "$\\delta$. How many terms are left after you subtract the loss there?",
            "The second-order term alone is the whole forecast only where the gradient is 0. Was "
            "training stopped exactly at a minimum of the loss that you measure?",
            "Two terms, $g^\\top \\delta$ and $\\tfrac12\\,\\delta^\\top H \\delta$, each with the "
            "derivatives of the loss that is forecast. In numpy, `delta @ H @ delta` is a number.",
        ),
        grade=_grade(mistakes),
        right=(
            Variant("two terms", forecast),
            Variant("the theory's function", lambda g, H, gn, Hn, d: forgetting(g, H, d).total),
            Variant("one bracket", lambda g, H, gn, Hn, d: (g + H @ d / 2) @ d),
            Variant("mean of two gradients", _trapezoid),
            Variant("sums in loops", _loops),
            Variant("einsum, in an array", _einsum),
        ),
        wrong=(
            *(Wrong(m.diagnosis, m.value, m.diagnosis) for m in mistakes),
            Wrong("H delta left as it is", lambda g, H, gn, Hn, d: g * d + H @ d / 2, "vector"),
            Wrong("third power", lambda g, H, gn, Hn, d: g @ d + (d @ H @ d) ** 2, "unknown"),
            Wrong("nothing returned", lambda g, H, gn, Hn, d: None, "returns-nothing"),
            Wrong("a number", linear + quadratic, "wrong-type"),
        ),
        solution=(
            "The old loss changes by $g_o^\\top\\delta + \\tfrac12\\,\\delta^\\top H_o\\,\\delta$ "
            "and a remainder of third order:\n\n"
            f"```python\n{_SOLUTION}\n```\n\n"
            f"In the prompt the linear term is {linear:.4f} and the quadratic one {quadratic:.4f}. "
            "The network had not been trained to the minimum of this loss, and tuning went on "
            "downhill for a while. What the new task wants has a part in it through `delta` "
            "only: the new loss is not what you forecast."
        ),
    )


def forecast(
    old_gradient: np.ndarray,
    old_hessian: np.ndarray,
    new_gradient: np.ndarray,
    new_hessian: np.ndarray,
    delta: np.ndarray,
) -> float:
    """g_o' delta + delta' H_o delta/2, nats: Taylor's forecast of the old loss's rise."""
    return float(old_gradient @ delta + delta @ old_hessian @ delta / 2)


def draw(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Hidden input: two parameters, now and then three; every fourth starts at a minimum.

    Hessians of networks have eigenvalues below 0 as well; so have these, except at the minimum.
    """
    d, at_minimum = int(rng.choice([2, 2, 2, 3])), rng.random() < 0.25
    root = rng.standard_normal((d, d))
    old = np.zeros(d) if at_minimum else rng.standard_normal(d)
    return {
        "old_gradient": old,
        "old_hessian": root @ root.T if at_minimum else root + root.T,
        "new_gradient": rng.standard_normal(d),
        "new_hessian": (other := rng.standard_normal((d, d))) @ other.T,
        "delta": rng.standard_normal(d),
    }


def _case(seed: int) -> Case:
    """Short numbers. Both losses fall, so the quadratic term alone has the wrong sign."""
    rng = np.random.default_rng([seed, 51])
    while True:
        roots = rng.uniform(-1.5, 1.5, (2, 2, 2))
        old, new = (np.round(root @ root.T, 1) for root in roots)
        gradients = np.round(rng.uniform(-0.6, 0.6, (2, 2)), 2)
        case = Case(gradients[0], old, gradients[1], new, np.round(rng.uniform(-0.5, 0.5, 2), 2))
        linear, quadratic = _terms(**asdict(case))
        psd = min(np.linalg.eigvalsh(H).min() for H in (old, new)) > 0.1
        learned = forgetting(case.new_gradient, case.new_hessian, case.delta).total < -0.02
        if not (psd and learned and quadratic > 0.02 and linear + quadratic < -0.02):
            continue
        # where the linear term is below 0, its absolute value and its sign are one slip
        slips = [m for m in _mistakes() if m.diagnosis != "linear-absolute"]
        values = [m.value(**asdict(case)) for m in slips]
        if apart([linear + quadratic, *values], rtol=0.02, atol=2e-3):
            return case


def _terms(old_gradient, old_hessian, new_gradient, new_hessian, delta) -> tuple[float, float]:
    found = forgetting(old_gradient, old_hessian, delta)
    return float(found.linear), float(found.quadratic)


def _listed(case: dict[str, np.ndarray]) -> str:
    return "\n".join(f"- `{name} = np.array({value.tolist()})`" for name, value in case.items())


def _grade(mistakes: list[Mistake]) -> Grade:
    check = function(
        forecast,
        draw,
        mistakes,
        praise=(
            "Right on all hidden inputs. The linear term decides for a short way, the quadratic "
            "one for a long way: it grows with the square."
        ),
    )

    def grade(answer: Any) -> Feedback:
        found = check(answer)
        if found.diagnosis != "shape":
            return found
        return wrong(
            "vector",
            f"{found.message} A loss is a number: the Hessian times $\\delta$ is a vector still, "
            "the change of the gradient. Multiply by $\\delta^\\top$ and sum, in both terms.",
        )

    return grade


def _mistakes() -> list[Mistake]:
    """Slips in (g, H) of the old task, (g, H) of the new one, and delta."""
    return [
        Mistake(
            "no-linear-term",
            _of(lambda g, H, gn, Hn, d: d @ H @ d / 2),
            "The linear term is missing. The second-order term alone is the forecast where the old "
            "gradient is 0. Early stopping, weight decay and other images than those trained on "
            "all leave one.",
        ),
        Mistake(
            "linear-term-only",
            _of(lambda g, H, gn, Hn, d: g @ d),
            "This is the first order only. Where training had reached a minimum it forecasts that "
            "nothing is ever forgotten.",
        ),
        Mistake(
            "no-half",
            _of(lambda g, H, gn, Hn, d: g @ d + d @ H @ d),
            "The half is missing: the gradient grows from $g$ to $g + H\\delta$ along the way, and "
            "the loss adds up its mean.",
        ),
        Mistake(
            "new-task",
            _of(lambda g, H, gn, Hn, d: gn @ d + d @ Hn @ d / 2),
            "This forecasts the *new* task's loss. Asked is the old one's, with the old head back.",
        ),
        Mistake(
            "new-gradient",
            _of(lambda g, H, gn, Hn, d: gn @ d + d @ H @ d / 2),
            "The gradient is the new task's. It decides where the body goes, and is in `delta` "
            "already; the old loss answers with its own gradient.",
        ),
        Mistake(
            "new-hessian",
            _of(lambda g, H, gn, Hn, d: g @ d + d @ Hn @ d / 2),
            "The Hessian is the new task's. Steep walls of the new valley cost the old task "
            "nothing.",
        ),
        Mistake(
            "sign-of-linear-term",
            _of(lambda g, H, gn, Hn, d: -g @ d + d @ H @ d / 2),
            "The sign of the linear term is wrong. Descent moves *against* a gradient, but `delta` "
            "holds that minus already: it is the tuned body minus the one before.",
        ),
        Mistake(
            "absolute-value",
            _of(lambda g, H, gn, Hn, d: abs(g @ d + d @ H @ d / 2)),
            "The absolute value hides where a step helps the old task: its loss falls there, and "
            "the rise is below 0.",
        ),
        Mistake(
            "linear-absolute",
            _of(lambda g, H, gn, Hn, d: abs(g @ d) + d @ H @ d / 2),
            "You took the absolute value of the linear term. Where the step points down the old "
            "slope, that term is a gain.",
        ),
        Mistake(
            "clipped",
            _of(lambda g, H, gn, Hn, d: max(0.0, g @ d + d @ H @ d / 2)),
            "Right where the old loss rises. Where it falls you say 0: the rise is below 0 there.",
        ),
        Mistake(
            "diagonal-only",
            _of(lambda g, H, gn, Hn, d: g @ d + np.diag(H) @ d**2 / 2),
            "You used the Hessian's diagonal. Parameters that move together also pay, or gain, for "
            "the entries beside it.",
        ),
        Mistake(
            "entries-summed",
            _of(lambda g, H, gn, Hn, d: g @ d + (H @ d).sum() / 2),
            "You summed the entries of $H\\delta$. Weigh each with its own $\\delta_j$ first: "
            "$\\delta^\\top H\\delta$.",
        ),
    ]


def _of(slip: Callable[..., float]) -> Callable[..., float]:
    """A slip in five letters as a function of the five arguments."""

    def mistaken(old_gradient, old_hessian, new_gradient, new_hessian, delta):
        return slip(old_gradient, old_hessian, new_gradient, new_hessian, delta)

    return mistaken


def _trapezoid(old_gradient, old_hessian, new_gradient, new_hessian, delta):
    """The mean of the gradients at both ends, times the way: exact for a quadratic."""
    after = old_gradient + old_hessian @ delta
    return np.mean([old_gradient, after], axis=0) @ delta


def _loops(old_gradient, old_hessian, new_gradient, new_hessian, delta):
    total = 0.0
    for i, step in enumerate(delta):
        total += old_gradient[i] * step
        for j, other in enumerate(delta):
            total += 0.5 * step * old_hessian[i, j] * other
    return total


def _einsum(old_gradient, old_hessian, new_gradient, new_hessian, delta):
    bent = np.einsum("i,ij,j->", delta, old_hessian, delta)
    return np.array([np.dot(old_gradient, delta) + 0.5 * bent])
