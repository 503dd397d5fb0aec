"""Figures of the record `curvature`: which block is steep, and in which units."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from medxfer_lab.course import style
from medxfer_lab.course.record import Record
from medxfer_lab.loss_landscape.figures.parts import beside, ends, said

BLOCKS = ("conv1", "conv2", "conv3", "conv4", "head")
#: the new loss from light to dark as tuning goes on
_NEW = {"fresh": "#F0A06A", "tuned_a": style.COLOURS["target"], "tuned_b": "#7A3300"}
_MEASURES = {
    "top": ("As the optimiser sees it", "largest curvature (nats / weight²)"),
    "relative_top": (
        "Per relative change of the weights",
        "largest curvature (nats / relative change²)",
    ),
}


def places(record: Record) -> dict[str, tuple[str, str, str, str]]:
    """place -> colour, line style, marker and words; the old loss first."""
    a, b = record.parameters["steps"]
    return {
        "old_start": (style.COLOURS["source"], "--", "s", "old loss,\npretrained"),
        "fresh": (_NEW["fresh"], "-", "o", "new loss,\nfresh head"),
        "tuned_a": (_NEW["tuned_a"], "-", "^", f"new, tuned\n{a} steps"),
        "tuned_b": (_NEW["tuned_b"], "-", "D", f"new, tuned\n{b} steps"),
    }


def curvature_by_block(record: Record) -> Figure:
    """Top eigenvalue of each block's Gauss-Newton matrix, raw and per relative change.

    One line for each place: the old loss at the pretrained network, the new loss under a fresh
    head and after two lengths of tuning. Geometric means and 95 % intervals over pretrainings.
    """
    style.apply()
    fig, axes = plt.subplots(1, 2, figsize=(10, 4.3))
    shown = places(record)
    for ax, (measure, (title, unit)) in zip(axes, _MEASURES.items(), strict=True):
        at_end = {}
        for i, (place, (colour, dashes, marker, words)) in enumerate(shown.items()):
            mean, spread = ends(record.results[place][measure][block] for block in BLOCKS)
            x = np.arange(len(BLOCKS)) + 0.07 * (i - (len(shown) - 1) / 2)
            look = {"color": colour, "ls": dashes, "marker": marker, "elinewidth": 1.2}
            ax.errorbar(x, mean, spread, **look)
            at_end[words] = (mean[-1], colour)
        ax.set_yscale("log")
        ax.set_xticks(range(len(BLOCKS)), BLOCKS)
        ax.axvspan(len(BLOCKS) - 1.4, len(BLOCKS) - 0.6, color="0.94", zorder=-1)
        ax.set_xlim(-0.4, len(BLOCKS) - 0.6)
        ax.set(xlabel="block, from the input to the output", ylabel=unit)
        ax.set_title(title, pad=20)
        ax.text(0, 1.03, _head_ranks(record, measure), transform=ax.transAxes, fontsize=9)
        beside(ax, len(BLOCKS) - 0.6, at_end, 0.115)
    said(
        fig,
        "simulated FLAIR slices (new), photographs (old); Gauss-Newton matrix, each block its own; "
        f"bars: 95 % over {record.parameters['pretrainings']} pretrainings; grey ground: the head",
    )
    return fig


def _head_ranks(record: Record, measure: str) -> str:
    """Where the head stands among the blocks on the new loss, before and after tuning."""

    def rank(place: str) -> str:
        tops = {block: record.results[place][measure][block]["mean"] for block in BLOCKS}
        order = sorted(tops, key=tops.get, reverse=True)
        at = order.index("head")
        names = {0: "the steepest", len(order) - 2: "second flattest", len(order) - 1: "flattest"}
        return names.get(at, f"{at + 1}. of {len(order)}")

    steps, (before, after) = record.parameters["steps"][1], map(rank, ("fresh", "tuned_b"))
    if before == after:
        return f"the head is {before}, fresh and tuned"
    return f"the head: {before} when fresh, {after} after {steps} steps"


_SPECTRA = {
    "old_start": "Old loss, pretrained",
    "fresh": "New loss, fresh head",
    "tuned_b": "New loss, tuned {steps} steps",
}
#: below this magnitude the eigenvalue axis is linear; the smoothing width in asinh of it
LINEAR, WIDTH = 0.1, 0.25


def spectrum(record: Record) -> Figure:
    """Density of the whole Hessian's eigenvalues at three places, by stochastic Lanczos quadrature.

    Smoothed on the scale of the axis: u = asinh(t / LINEAR), linear near 0, a logarithm beyond;
    the density is a share of directions per decade of eigenvalue there. Triangles: the extremes.
    """
    style.apply()
    fig, axes = plt.subplots(3, 1, figsize=(8.4, 5.6), sharex=True, sharey=True)
    spectra = record.results["spectrum"].values()
    low, high = min(np.min(s["nodes"]) for s in spectra), max(np.max(s["nodes"]) for s in spectra)
    low, high = min(5 * low, -10 * LINEAR), max(3 * high, 10 * LINEAR)
    grid = np.linspace(np.arcsinh(low / LINEAR), np.arcsinh(high / LINEAR), 801)
    shown = places(record)
    for ax, (place, title) in zip(axes, _SPECTRA.items(), strict=True):
        nodes, weights = (np.array(record.results["spectrum"][place][k]) for k in _NODES)
        density = _smooth(grid, np.arcsinh(nodes / LINEAR), weights)
        colour = shown[place][0]
        ax.fill_between(grid, density, 1e-9, color=colour, alpha=0.35, lw=0)
        ax.plot(grid, density, color=colour, lw=1.4)
        _extremes(ax, nodes, weights, colour)
        ax.set_title(title.format(steps=record.parameters["steps"][1]))
        ax.axvline(0, color="0.6", lw=1, zorder=0)
    axes[0].set(yscale="log", ylim=(3e-6, 30), xlim=(grid[0], grid[-1]))
    powers = 10.0 ** np.arange(-1, 6)
    ticks = [t for t in (*-powers[::-1], 0.0, *powers) if low < t < high]
    words = [f"{t:g}".replace("-", "\N{MINUS SIGN}") for t in ticks]
    axes[-1].set_xticks(np.arcsinh(np.array(ticks) / LINEAR), words)
    axes[-1].set_xlabel(f"eigenvalue of the Hessian (nats / weight²); linear below {LINEAR:g}")
    axes[1].set_ylabel("share of directions\nper decade of eigenvalue")
    said(
        fig,
        "simulated FLAIR slices (new), photographs (old); one pretraining, all weights; "
        f"{record.parameters['starts']} random starts of {record.parameters['lanczos']} steps; "
        "smoothed",
    )
    return fig


_NODES = ("nodes", "weights")


def _smooth(grid: np.ndarray, places: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(g,) density on the grid, mean over starts, times log 10: per decade of eigenvalue."""
    z = (grid[:, None, None] - places) / WIDTH
    bumps = np.exp(-(z**2) / 2) / (WIDTH * np.sqrt(2 * np.pi))
    return np.log(10) * (bumps * weights).sum(-1).mean(-1)


def _extremes(ax: Axes, nodes: np.ndarray, weights: np.ndarray, colour: str) -> None:
    """Triangles at the least and the largest eigenvalue; shares of directions beyond LINEAR."""
    for t, align in ((nodes.min(), "right"), (nodes.max(), "left")):
        x = np.arcsinh(t / LINEAR)
        ax.plot(x, 6e-6, "v", color=colour, ms=7, markeredgecolor="black", clip_on=False)
        place = {"xytext": (9 if align == "left" else -9, 1), "textcoords": "offset points"}
        words = (f"{t:.2g}" if abs(t) < 10 else f"{t:.0f}").replace("-", "\N{MINUS SIGN}")
        ground = {"facecolor": "white", "alpha": 0.75, "lw": 0, "pad": 0.8}
        ax.annotate(words, (x, 6e-6), ha=align, fontsize=9, bbox=ground, **place)
    below = (weights * (nodes < -LINEAR)).sum(1).mean()
    above = (weights * (nodes > LINEAR)).sum(1).mean()
    for words, x, align in (
        (f"{_percent(below)} below \N{MINUS SIGN}{LINEAR:g}", 0.01, "left"),
        (f"{_percent(above)} above {LINEAR:g}", 0.99, "right"),
    ):
        ax.text(x, 0.92, words, transform=ax.transAxes, fontsize=9, ha=align, va="top")


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %"


def units_measured(record: Record) -> Figure:
    """The first layer's weights times a factor: loss, raw curvature and relative curvature.

    Group normalisation divides the factor out, so the function stays what it was (up to the
    normalisation's epsilon). The dotted line is the raw curvature over the factor squared; the
    block's own gains and offsets keep their units, and where they are steepest they are seen.
    """
    style.apply()
    units = record.results["units"]
    order = np.argsort(units["factors"])
    factors = np.array(units["factors"])[order]
    fig, axes = plt.subplots(1, 3, figsize=(9.6, 3.4), sharex=True)
    titles = {
        "loss": ("The loss stays", "old loss (nats)"),
        "top": ("Raw curvature does not", "largest curvature (nats / weight²)"),
        "relative_top": (
            "Relative curvature stays",
            "largest curvature\n(nats / relative change²)",
        ),
    }
    for ax, (name, (title, unit)) in zip(axes, titles.items(), strict=True):
        values = np.array(units[name])[order]
        ax.plot(factors, values, "o-", color=style.COLOURS["source"], ms=7)
        for x, y in zip(factors, values, strict=True):
            place = {"xytext": (4, 8), "textcoords": "offset points"}
            ax.annotate(_number(y), (x, y), fontsize=9, **place)
        ax.set(xscale="log", title=title, ylabel=unit, xlim=(factors[0] / 3, 3 * factors[-1]))
        ax.set_xticks(factors, [f"× {f:g}" for f in factors])
        ax.minorticks_off()
    one = units["top"][units["factors"].index(1.0)]
    axes[1].plot(factors, one / factors**2, ":", color="0.4", zorder=0)
    axes[1].annotate(
        "over the factor²", (factors[-1], one / factors[-1] ** 2), (-8, -2), ha="right",
        textcoords="offset points", fontsize=8.5, color="0.4",
    )  # fmt: skip
    axes[1].set_yscale("log")
    axes[1].set_ylim(one / factors[-1] ** 2 / 4, 6 * max(units["top"]))
    axes[0].set_ylim(0, 1.35 * max(units["loss"]))
    axes[2].set_ylim(0, 1.35 * max(units["relative_top"]))
    axes[1].set_xlabel("first convolution's weights: the same function in other units")
    said(
        fig,
        "measured, old loss on photographs, one pretraining, block conv1; gains and offsets of "
        "its normalisation keep their units",
    )
    return fig


def _number(value: float) -> str:
    """Three digits, without an exponent."""
    return f"{float(f'{value:.3g}'):,.10g}"
