"""The figure after the question of the centre: what moving it does at fixed and random designs."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from medxfer_lab.course import style
from medxfer_lab.methods.linear_gaussian import fixed_design, power_law, random_design

#: scans, features, variance of the noise (the signal has variance 1)
N, D, SIGMA2 = 60, 150, 0.5


@cache
def parts(missed: float, strength: float) -> dict[str, tuple[float, float]]:
    """Squared bias and variance of L2-SP by design: {"fixed design": (b, v), "random designs": ..}.

    missed: share of the signal's variance that the centre gets wrong, 0 to 1. Both are judged at
    fresh patients; the fixed design is one draw.
    """
    s = power_law(D, 0.5)
    b = np.full(D, np.sqrt(missed / s.sum()))
    X = np.random.default_rng(0).standard_normal((N, D)) * np.sqrt(s)
    fixed = fixed_design(X, b, None, SIGMA2, strength, np.diag(s))
    drawn = random_design(s, b, SIGMA2, N, strength)
    return {
        "fixed design": (float(fixed.bias2), float(fixed.variance)),
        "random designs": (float(drawn.bias2), float(drawn.variance)),
    }


def draw(missed: float, strength: float) -> Any:
    """Two stacked bars, squared bias and variance, one per design."""
    import matplotlib.pyplot as plt

    style.apply()
    fig = plt.figure("moving the centre", figsize=(6, 2.2), clear=True)
    ax = fig.add_subplot()
    found = parts(missed, strength)
    for row, (bias2, variance) in enumerate(found.values()):
        ax.barh(row, variance, color=style.COLOURS["variance"], label="variance")
        ax.barh(
            row, bias2, left=variance, color=style.COLOURS["bias"], hatch="//", label="squared bias"
        )
        ax.text(variance + bias2 + 0.01, row, f"variance {variance:.2f}", va="center")
    ax.set(yticks=[0, 1], yticklabels=list(found), xlim=(0, 1.4), xlabel="expected squared error")
    ax.set_title(f"{missed:.0%} of the signal missed, strength {strength:g}")
    handles, labels = ax.get_legend_handles_labels()
    ax.legend(handles[:2], labels[:2], loc="center right")
    return fig


def alternative(missed: float, strength: float) -> str:
    """What :func:`draw` shows, in words."""
    lines = [
        f"{name}: variance {variance:.2f}, squared bias {bias2:.2f}"
        for name, (bias2, variance) in parts(missed, strength).items()
    ]
    return (
        f"Two bars of squared bias plus variance. {'; '.join(lines)}. The variance at the fixed "
        "design is the same for every centre; over random designs it grows with the share missed."
    )
