"""Figures of the theory: parameters in, matplotlib figure out. The explorers draw these."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.layout_engine import PlaceHolderLayoutEngine
from matplotlib.ticker import NullLocator

from medxfer_lab.course import style
from medxfer_lab.loss_landscape.theory import descent, noise

#: what a path does -> colour and line style
FATES = {"settles": ("#44AA99", "-"), "at the edge": ("#000000", "-"), "leaves": ("#882255", "--")}
ONE_RATE = style.COLOURS["full_fine_tuning"]
BLOCK_RATES = style.COLOURS["discriminative"]
BLOCKS = ([0], [1])


def fate(share: float) -> str:
    """What descent does at this share of the edge."""
    return "at the edge" if abs(share - 1) < 1e-9 else "settles" if share < 1 else "leaves"


def step_on_quadratic(step_times_curvature: float, momentum: float = 0.0) -> Figure:
    """Descent in one direction: the path on its parabola, the loss, and where the edge is.

    step_times_curvature: rate times curvature, best in (0, 4.2]. momentum: in [0, 1).
    """
    style.apply()
    s, edge = step_times_curvature, descent.stable_step(1.0, momentum)
    word = fate(s / edge)
    colour, dashes = FATES[word]
    path = descent.descend([[1.0]], [0.0], s, 40, momentum, [1.0])[:, 0]
    fig, (valley, losses, factors) = _panels("one direction", 3, (9.2, 3.2))
    x = np.linspace(-2.6, 2.6, 101)
    valley.plot(x, x**2 / 2, color="0.75", lw=1)
    shown = path[:13]
    valley.plot(shown, shown**2 / 2, color=colour, ls=dashes, marker="o", ms=4, lw=1)
    valley.plot(1, 0.5, "o", color="black", ms=8, zorder=3)
    valley.annotate("start", (1, 0.5), (8, -3), textcoords="offset points")
    valley.set(xlim=(-2.6, 2.6), ylim=(-0.15, 3.4), ylabel="loss")
    valley.set(xlabel="distance to the minimum", title="twelve steps")
    losses.semilogy(np.maximum(path**2 / 2, 1e-30), color=colour, ls=dashes)
    losses.axhline(0.5, color="0.7", lw=1, zorder=0)
    losses.set(xlim=(0, 40), ylim=(1e-7, 1e5), xlabel="steps", ylabel="loss", title=word)
    _powers(losses.yaxis, -6, 4, 2)
    grid = np.linspace(0, 4.4, 221)
    factors.plot(grid, _growth(grid, momentum), color="black")
    factors.plot(s, _growth(np.array([s]), momentum), "o", color=colour, ms=8)
    factors.axhline(1, color="0.7", lw=1, zorder=0)
    factors.axvspan(edge, 4.4, color="0.92", zorder=0)
    factors.set(xlim=(0, 4.4), ylim=(0, 2), xlabel=r"rate $\times$ curvature")
    factors.set(ylabel="long-run growth a step", title=f"edge at {edge:g}")
    _said(
        fig, f"theory: one direction of a quadratic, momentum {momentum:g}; grey: beyond the edge"
    )
    return fig


def _growth(s: np.ndarray, momentum: float) -> np.ndarray:
    """Larger absolute root of r^2 - (1 + momentum - s) r + momentum, shape of s."""
    half = (1 + momentum - s) / 2
    root = np.sqrt((half**2 - momentum).astype(complex))
    return np.maximum(abs(half + root), abs(half - root))


def two_blocks(step_a: float, step_b: float, coupling: float = 0.7) -> Figure:
    """Two blocks that move at once: the path, and which pairs of rates are stable.

    step_a, step_b: rates as multiples of each block's own edge, 2/curvature; best in (0, 1.2].
    coupling: of the blocks, in [-1, 1]. Block a curves four times as much as b.
    """
    style.apply()
    h = descent.two_block_hessian(4.0, 1.0, coupling)
    steps = descent.block_steps(h, BLOCKS, [step_a, step_b])
    word = fate(1 / descent.joint_edge(h, steps))
    colour, dashes = FATES[word]
    fig, (plane, rates) = _panels("two blocks", 2, (7.4, 3.6))
    _bowl(plane, h, 3.0)
    path = descent.descend(h, [0, 0], steps, 20, start=[1.0, 0.8])
    plane.plot(*path.T, color=colour, ls=dashes, marker="o", ms=4, lw=1)
    plane.plot(*path[0], "o", color="black", ms=8)
    plane.set(xlabel="block a", ylabel="block b", title=f"twenty steps: {word}")

    p = np.linspace(0, 1, 101)
    rates.fill_between(p, descent.two_block_edge(p, coupling), color=FATES["settles"][0], alpha=0.3)
    rates.plot([0, 1], [1, 0], color="0.4", lw=1, ls=":")
    rates.plot([0, 1.25], [0, 1.25 / 4], color=ONE_RATE, lw=1)
    rates.annotate("one rate", (0.4, 0.11), color=ONE_RATE, ha="center", va="bottom", rotation=14)
    for x, y, marker, words, place, align in (
        (1, 1, "s", "each at $2/\\lambda_b$", (0, 8), "center"),
        (0.5, 0.5, "D", "half of each", (-9, -4), "right"),
        (1, 0.25, "^", "min $2/\\lambda_b$", (2, 11), "left"),
        (0.8, 0.2, "v", "$2/\\Sigma\\lambda_b$", (-4, -17), "right"),
    ):
        colour_here = ONE_RATE if marker in "^v" else BLOCK_RATES
        rates.plot(x, y, marker, ms=7, color=colour_here, markeredgecolor="black")
        how = {"textcoords": "offset points", "fontsize": 9, "ha": align}
        rates.annotate(words, (x, y), place, **how)
    rates.plot(step_a, step_b, "o", color=colour, ms=10, markeredgecolor="black")
    rates.set(xlim=(0, 1.32), ylim=(0, 1.32), aspect="equal", title="stable: shaded")
    rates.set(xlabel="rate of a / its own edge", ylabel="rate of b / its own edge")
    _said(
        fig,
        "theory: block a curves four times as much as b; below the dots: safe at any coupling; "
        f"large dot: these rates; coupling {coupling:g}",
    )
    return fig


def condition(ratio: float, coupling: float = 0.5) -> Figure:
    """What one rate per block saves: paths with one rate and with rates by curvature.

    ratio: curvature of block a over that of b, at least 1. coupling: in (-1, 1), left by any rates.
    """
    style.apply()
    h = descent.two_block_hessian(ratio, 1.0, coupling)
    fig, (*planes, losses) = _panels("condition", 3, (9.2, 3.3))
    scales = {"one rate": np.ones(2), "a rate per block": descent.block_steps(h, BLOCKS)}
    colours, places = (ONE_RATE, BLOCK_RATES), dict(zip(scales, ((6, 6), (-12, -16))))
    for ax, (words, scale), colour in zip(planes, scales.items(), colours):
        k = descent.condition_number(h, scale)
        n = descent.iterations(k, 0.01)
        s = descent.scaled_eigenvalues(h, scale)
        path = descent.descend(h, [0, 0], 2 / (s[0] + s[-1]) * scale, n, start=[-0.25, 1.0])
        _bowl(ax, h, 1.4)
        ax.plot(*path.T, color=colour, marker="o", ms=3, lw=1 if n < 100 else 0.4)
        ax.plot(*path[0], "o", color="black", ms=7)
        ax.set(xlabel="block a", title=f"{words}: $\\kappa$ = {k:.3g}")
        loss = descent.quadratic_loss(h, [0, 0], path)
        losses.loglog(np.arange(1, n + 1), loss[1:] / loss[0], color=colour)
        losses.plot(n, loss[-1] / loss[0], "o", color=colour, ms=7)
        how = {"textcoords": "offset points", "fontsize": 9, "color": colour}
        losses.annotate(f"{n} steps", (n, loss[-1] / loss[0]), places[words], **how)
    planes[0].set_ylabel("block b")
    losses.set(ylim=(1e-7, 2), xlim=(1, 3000), xlabel="steps", title="until within 1 %")
    _powers(losses.xaxis, 0, 3, 1)
    _powers(losses.yaxis, -6, 0, 2)
    losses.set_ylabel("loss / loss at the start")
    _said(
        fig,
        f"theory: curvatures {ratio:g} and 1, coupling {coupling:g}; each at its best rate; steps "
        "until the worst direction is within 1 % of the minimum",
    )
    return fig


def catapult(step: float) -> Figure:
    """A step too long for a sharp valley: path, loss and curvature of (uv)^2/2.

    step: rate times the curvature at the start, best in (0, 4.2].
    """
    style.apply()
    u, v = 0.05, 2.0
    start = u**2 + v**2
    path = noise.catapult(u, v, step / start, 60)
    path = path[np.abs(path).max(axis=1) < 1e6]
    word = "leaves for good" if step > 4 else "leaves and comes back" if step > 2 else "settles"
    colour = FATES["leaves" if step > 2 else "settles"][0]
    dashes = "--" if step > 4 else "-"
    fig, (plane, losses, curvatures) = _panels("catapult", 3, (9.2, 3.2))
    x, y = np.meshgrid(np.linspace(-2, 2, 61), np.linspace(-0.4, 2.4, 61))
    plane.contour(x, y, (x * y) ** 2 / 2, [0.01, 0.1, 0.4, 1, 2, 4], colors="0.8", linewidths=0.8)
    plane.plot(*path.T, color=colour, ls=dashes, marker="o", ms=4, lw=1)
    plane.plot(u, v, "o", color="black", ms=8)
    plane.set(xlim=(-2, 2), ylim=(-0.4, 2.4), xlabel="$u$", ylabel="$v$", title=word)
    losses.semilogy(np.maximum(path.prod(axis=1) ** 2 / 2, 1e-30), color=colour, ls=dashes)
    losses.set(xlim=(0, 60), ylim=(1e-9, 1e3), xlabel="steps", ylabel="loss $(uv)^2/2$")
    _powers(losses.yaxis, -8, 2, 2)
    losses.set_title(f"rate = {step:g} / curvature")
    curvatures.plot(step / start * (path**2).sum(axis=1), color=colour, ls=dashes)
    for level in (2, 4):
        curvatures.axhline(level, color="0.7", lw=1, zorder=0)
    curvatures.annotate("edge of descent", (59, 2.05), ha="right", fontsize=8)
    curvatures.annotate("beyond: no return", (59, 4.05), ha="right", fontsize=8)
    curvatures.set(xlim=(0, 60), ylim=(0, 4.6), xlabel="steps", ylabel=r"rate $\times$ curvature")
    end = step / start * (path[-1] ** 2).sum()
    curvatures.set_title(f"from {step:g} " + ("upwards" if step > 4 else f"to {end:.2f}"))
    _said(
        fig,
        "theory: two weights in a row, output uv; on both axes of the left panel the loss is 0, "
        "flatter towards their crossing",
    )
    return fig


def _panels(name: str, count: int, size: tuple[float, float]) -> tuple[Figure, np.ndarray]:
    """A cleared figure with panels in a row; margins are set by hand, which draws twice as fast."""
    fig = plt.figure(num=name, figsize=size, clear=True)
    fig.set_layout_engine(PlaceHolderLayoutEngine(adjust_compatible=True, colorbar_gridspec=False))
    width, height = size
    fig.subplots_adjust(
        0.75 / width, 0.75 / height, 1 - 0.15 / width, 1 - 0.3 / height, wspace=0.36
    )
    return fig, fig.subplots(1, count)


def _powers(axis: Axis, low: int, high: int, by: int) -> None:
    """Log axis with a tick at every `by`-th power of ten and none between."""
    axis.set_ticks([10.0**k for k in range(low, high + 1, by)])
    axis.set_minor_locator(NullLocator())


def _bowl(ax: Axes, hessian: np.ndarray, reach: float) -> None:
    """Contours of the quadratic with its minimum at 0, on a square of this half-width."""
    axis = np.linspace(-reach, reach, 61)
    moves = np.stack(np.meshgrid(axis, axis), axis=-1)
    loss = descent.quadratic_loss(hessian, [0, 0], moves)
    ax.contour(
        axis, axis, loss, loss.max() * np.linspace(0.05, 1, 5) ** 2, colors="0.8", linewidths=0.8
    )
    ax.plot(0, 0, "+", color="0.3", ms=9)
    ax.set(xlim=(-reach, reach), ylim=(-reach, reach))


def _said(fig: Figure, words: str) -> None:
    """What is theory, in small print below the figure."""
    fig.supxlabel(words, fontsize=8, color="0.35")
