"""Ten measures of curvature at a point, four of which no rescaling of the parameters changes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Measure:
    """``kept``: whether no rescaling changes it. ``says``: to those who judge it wrongly."""

    key: str
    text: str
    kept: bool
    says: str


MEASURES = (
    Measure(
        "trace",
        "the trace of the Hessian, $\\sum_j H_{jj}$",
        False,
        "each $H_{jj}$ of the block is divided by $c^2$, and the sum with them.",
    ),
    Measure(
        "top",
        "the largest eigenvalue of the Hessian",
        False,
        "the block's part of the Hessian is divided by $c^2$, its eigenvalues with it.",
    ),
    Measure(
        "noise",
        "the mean rise of the loss when noise of standard deviation 0.01 is added to every "
        "parameter",
        False,
        "0.01 is a large part of a small parameter and a small part of a large one.",
    ),
    Measure(
        "condition",
        "the condition number of the Hessian, largest over smallest nonzero eigenvalue",
        False,
        "one block's curvature is divided by $c^2$, the others' is not, so the ratio moves.",
    ),
    Measure(
        "norm-times-top",
        "$\\|\\theta\\|^2$ of the whole network times the largest eigenvalue of its Hessian",
        False,
        "for one block by itself the factors $c^2$ and $1/c^2$ would cancel. Here $\\|\\theta\\|$ "
        "is that of all blocks, and the largest eigenvalue may belong to another.",
    ),
    Measure(
        "gradient",
        "the norm of the gradient of the loss (it is not 0 here)",
        False,
        "the block's part of the gradient is divided by $c$.",
    ),
    Measure(
        "relative-trace",
        "$\\sum_j \\theta_j^2 H_{jj}$",
        True,
        "$\\theta_j^2$ is multiplied by $c^2$ where $H_{jj}$ is divided by it, term by term.",
    ),
    Measure(
        "relative-top",
        "the largest eigenvalue of the matrix with the entries $|\\theta_i| H_{ij} |\\theta_j|$",
        True,
        "each $|\\theta_i|$ brings the factor that row and column $i$ of the Hessian lose: the "
        "whole matrix stays.",
    ),
    Measure(
        "relative-noise",
        "the mean rise of the loss when every parameter is multiplied by $1 + 0.01\\,\\epsilon_j$, "
        "$\\epsilon_j$ standard normal",
        True,
        "noise in per cent is rescaled with the parameters: both networks become the same "
        "disturbed function.",
    ),
    Measure(
        "descents",
        "the number of negative eigenvalues of the Hessian",
        True,
        "$D^{-1} H D^{-1}$ curves downwards along $D v$ just where $H$ does along $v$ "
        "(Sylvester's law of inertia).",
    ),
)
