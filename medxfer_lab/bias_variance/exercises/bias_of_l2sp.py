"""Derivation: the bias of L2-SP along one eigendirection, at fixed design."""

from __future__ import annotations

from collections.abc import Callable

import sympy

from medxfer_lab.course.exercise import Exercise, Variant, Wrong
from medxfer_lab.course.functions import formula
from medxfer_lab.course.values import Mistake


def exercise(seed: int) -> Exercise:
    """E[theta_hat] - theta. Even seeds have the loss as a mean over the images, odd ones as a sum:
    then the strength is alpha, and the data weigh n s instead of s."""
    lam, s, task, symbols = _convention(seed)
    tex_lam, tex_s = ("\\alpha", "n s") if lam == "alpha" else ("\\lambda", "s")
    answer = f"{lam}*(c - theta)/({s} + {lam})"
    mistakes = _mistakes(lam, s)
    return Exercise(
        id="bias_of_l2sp",
        title="The bias of L2-SP",
        objective="Derive the bias of L2-SP and say what it depends on",
        kind="derivation",
        prompt=(
            f"L2-SP {task}, where $c$ holds the pretrained parameters. The design $X$ is fixed, "
            "and $y = X\\theta + \\varepsilon$ with noise of mean 0. Look along one eigenvector of "
            "$X^\\top X/n$, with eigenvalue `s`; there `theta` is the true parameter and `c` the "
            "pretrained one.\n\nWhat is the bias $\\mathbb{E}[\\hat\\theta] - \\theta$ along this "
            f"direction? Answer with a formula in {', '.join(f'`{name}`' for name in symbols)}: a "
            'text such as `"s*theta/(1 + c)"`, a SymPy expression, or a Python function of these.'
        ),
        hints=(
            "Set the gradient to zero. Along an eigenvector all matrices become numbers, so it is "
            "one linear equation in one unknown.",
            "Along the direction, $X^\\top X$ acts as $n s$, and the noise has mean 0. The "
            f"expectation solves $({tex_s} + {tex_lam})\\,\\mathbb{{E}}[\\hat\\theta] = "
            f"{tex_s}\\,\\theta + {tex_lam}\\,c$.",
            "So the expectation is a weighted mean of $\\theta$ and $c$. Subtract $\\theta$ and "
            "put both terms over one denominator.",
        ),
        grade=formula(answer, symbols, mistakes, praise=_PRAISE),
        right=(
            Variant("text", answer),
            Variant("expectation minus truth", f"({s}*theta + {lam}*c)/({s} + {lam}) - theta"),
            Variant("SymPy expression", _expression(lam)),
            Variant("SymPy, expanded", sympy.expand(_expression(lam))),
            Variant("function", _function(lam)),
            Variant("another form", f"(c - theta)/(1 + {s}/{lam})"),
        ),
        wrong=tuple(Wrong(m.diagnosis, m.value, m.diagnosis) for m in mistakes),
        solution=(
            f"The gradient vanishes where $({tex_s} + {tex_lam})\\,\\hat\\theta = "
            f"{tex_s}\\,\\theta + \\text{{noise}} + {tex_lam}\\,c$. The noise has mean 0, so "
            f"$\\mathbb{{E}}[\\hat\\theta] = "
            f"\\frac{{{tex_s}\\,\\theta + {tex_lam}\\,c}}{{{tex_s} + {tex_lam}}}$, and the bias is "
            f"$\\frac{{{tex_lam}\\,(c - \\theta)}}{{{tex_s} + {tex_lam}}}$.\n\n"
            "It is the error of the pretrained parameter, times the weight the prior has in this "
            "direction. Where the images say much (large $s$) it is small; where they say nothing "
            "($s = 0$) it is the whole error."
        ),
    )


_PRAISE = (
    "The estimate is a weighted mean of truth and centre, so the bias is the centre's error times "
    "the centre's weight. The noise has no part in it."
)


def _convention(seed: int) -> tuple[str, str, str, dict[str, tuple[float, float]]]:
    """Name of the strength, weight of the data, the task in words, the symbols with ranges."""
    ranges = {"s": (0.1, 2.0), "theta": (0.5, 2.0), "c": (2.5, 4.0)}
    if seed % 2 == 0:
        task = "minimises $\\frac{1}{n}\\|y - X\\theta\\|^2 + \\lambda\\|\\theta - c\\|^2$"
        return "lam", "s", task, {**ranges, "lam": (0.1, 2.0)}
    task = (
        "minimises $\\|y - X\\theta\\|^2 + \\alpha\\|\\theta - c\\|^2$ (a *sum* over the $n$ "
        "images)"
    )
    return "alpha", "n*s", task, {**ranges, "alpha": (0.1, 2.0), "n": (5.0, 50.0)}


def _expression(lam: str) -> sympy.Expr:
    strength, s, theta, c, n = sympy.symbols([lam, "s", "theta", "c", "n"])
    data = n * s if lam == "alpha" else s
    return strength * (c - theta) / (data + strength)


def _function(lam: str) -> Callable[..., float]:
    if lam == "alpha":
        return lambda s, theta, c, alpha, n: alpha * (c - theta) / (n * s + alpha)
    return lambda s, theta, c, lam: lam * (c - theta) / (s + lam)


def _mistakes(lam: str, s: str) -> list[Mistake]:
    """What goes wrong, as formulas; the last one is of the convention's own."""
    own = {
        "alpha": Mistake(
            "mean-for-sum",
            "alpha*(c - theta)/(s + alpha)",
            "This belongs to a *mean* over the images. Here the loss is a sum, so the data weigh n "
            "times as much: X'X has the eigenvalue n s.",
        ),
        "lam": Mistake(
            "strength-missing-below",
            "(lam/s)*(c - theta)",
            "The strength is missing in the denominator: for a strong prior the bias must level "
            "off at c - theta, and yours grows without end.",
        ),
    }
    return [
        Mistake(
            "sign",
            f"{lam}*(theta - c)/({s} + {lam})",
            "The size is right, the sign is not: bias is expectation minus truth, so it points "
            "from the truth to the centre.",
        ),
        Mistake(
            "centred-at-zero",
            f"-{lam}*theta/({s} + {lam})",
            "This is the bias of ridge, which pulls towards 0. L2-SP pulls towards the pretrained "
            "parameter: try c = theta, where the bias must vanish.",
        ),
        Mistake(
            "expectation-not-bias",
            f"({s}*theta + {lam}*c)/({s} + {lam})",
            "This is the expectation of the estimate. The bias is what is left after subtracting "
            "the truth theta.",
        ),
        Mistake(
            "weights-swapped",
            f"{s}*(c - theta)/({s} + {lam})",
            "The weights of data and prior are swapped: as the strength goes to 0 the bias must "
            "vanish, and yours does not.",
        ),
        Mistake(
            "squared",
            f"({lam}*(c - theta)/({s} + {lam}))**2",
            "This is the bias squared; the question asks for the bias itself, with its sign.",
        ),
        own[lam],
    ]
