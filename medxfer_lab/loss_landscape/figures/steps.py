"""Figures of the record `steps`: the longest step that curvature allows, and the one found."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import PlaceHolderLayoutEngine

from medxfer_lab.course import style
from medxfer_lab.course.record import Record
from medxfer_lab.loss_landscape.figures.curvature import BLOCKS
from medxfer_lab.loss_landscape.figures.parts import ends, key, said

CASES = (*BLOCKS, "one")
WORDS = {block: block for block in BLOCKS} | {"one": "all,\none step"}
STARTS = {"fresh": "Under a fresh head", "tuned": "After {tuned} steps of tuning"}
PREDICTED, FOUND = "0.45", style.COLOURS["target"]
#: words of the case in a title
_MOVING = {"one": "all blocks at once"} | {block: f"{block} alone" for block in BLOCKS}


def stable_steps(record: Record) -> Figure:
    """Longest step predicted by 2/lambda and found by trying, by block and for all at once.

    The first two panels: each block alone, then all with one step; numbers above are found over
    predicted. The third: every block with its own 2/lambda_b, what share of it all can take.
    Geometric means and 95 % intervals over pretrainings. A triangle in place of a dot says that in
    some pretrainings the edge lay beyond the search, so that the mean is too low.
    """
    style.apply()
    fig, axes = plt.subplots(1, 3, figsize=(10.4, 4.0), width_ratios=(1, 1, 0.42))
    axes[1].sharey(axes[0])
    for ax, (start, title) in zip(axes, STARTS.items()):
        cells = record.results[start]
        _pairs(ax, [cells[case] for case in CASES])
        ax.set_xticks(range(len(CASES)), [WORDS[case] for case in CASES])
        ax.axvline(len(BLOCKS) - 0.5, color="0.85", lw=1)
        ax.set_title(title.format(**record.parameters), pad=22)
        ax.text(0, 1.03, "found / predicted:", transform=ax.transAxes, fontsize=8.5, color=FOUND)
    axes[0].set_yscale("log")
    axes[0].set_ylim(top=6 * axes[0].get_ylim()[1])  # room for the ratios
    axes[0].set_ylabel("longest stable step (weight² / nat)")
    axes[0].set_xlabel("moving alone")
    axes[1].set_xlabel("moving alone")
    _each(axes[2], record)
    entries = {
        "predicted: 2 / largest curvature": {"color": PREDICTED, "marker": "_", "ls": "none"},
        "found: the loss begins to rise": {"color": FOUND, "marker": "o", "ls": "none"},
    }
    if any(record.results[s][c]["beyond_the_search"] for s in STARTS for c in CASES):
        entries["at least: search ended"] = {"color": FOUND, "marker": "^", "ls": "none"}
    key(fig, entries, loc="outside upper center", ncols=len(entries))
    said(
        fig,
        "simulated FLAIR slices; plain gradient descent on the whole training set; "
        f"bars: 95 % over {record.parameters['pretrainings']} pretrainings",
    )
    return fig


def _pairs(ax: Axes, cells: Sequence[dict]) -> None:
    """Predicted and found of each case, one beside the other, and their ratio above."""
    for x, cell in enumerate(cells):
        marker = "^" if cell["beyond_the_search"] else "o"
        for shift, name, look in (
            (-0.12, "predicted", {"fmt": "_", "color": PREDICTED, "ms": 11, "mew": 2}),
            (0.12, "found", {"fmt": marker, "color": FOUND, "ms": 6}),
        ):
            mean, spread = ends([cell[name]])
            ax.errorbar([x + shift], mean, spread, elinewidth=1.2, **look)
        ratio = np.exp(cell["log_found_over_predicted"]["mean"])
        said_so = f"≥ {ratio:.1f}" if cell["beyond_the_search"] else f"{ratio:.2f}"
        place = {"xycoords": ("data", "axes fraction"), "ha": "center", "fontsize": 8.5}
        ax.annotate(said_so, (x, 0.97), color=FOUND, va="top", **place)
    ax.set_xlim(-0.6, len(cells) - 0.4)


def _each(ax: Axes, record: Record) -> None:
    """What share of its own 2/lambda_b every block can take when all move; 1/B is always safe."""
    _pairs(ax, [record.results[start]["each"] for start in STARTS])
    for text in ax.texts:
        text.set_visible(False)
    share = 1 / len(BLOCKS)
    for level, words in ((1.0, "each its own"), (share, f"1/{len(BLOCKS)}")):
        ax.axhline(level, color="0.7", lw=1, ls=":", zorder=0)
        place = {"xytext": (0, 2), "textcoords": "offset points", "fontsize": 8.5}
        ax.annotate(words, (1.55, level), ha="right", color="0.4", **place)
    ax.set_xticks(range(len(STARTS)), ["fresh", "tuned"])
    ax.set_ylim(0, 1.1)
    ax.set_ylabel("share of each block's own 2/λ")
    ax.set_xlabel("all, own steps")
    ax.set_title("All at once", pad=22)


def real_block(record: Record, case: str, factor: float) -> Figure:
    """Loss of a real network beside a parabola's, at a factor of the step 2/lambda.

    case: a block that moves alone ("conv1", "conv4", "head"), or "one": all with one step.
    factor: of the predicted step, one of the record's. Grey: the record's other factors.
    """
    curves = record.results["curves"]
    factors = curves["factors"]
    known = [c for c in CASES if f"fresh_{c}" in curves]
    if case not in known:
        raise ValueError(f"case is {case!r}; the record has {', '.join(known)}")
    if factor not in factors:
        raise ValueError(f"factor is {factor}; the record has {', '.join(map(str, factors))}")
    style.apply()
    fig, axes = _panels("real block", (9.2, 3.4))
    for ax, (start, title) in zip(axes[1:], STARTS.items(), strict=True):
        losses = np.array(curves[f"{start}_{case}"], float)  # None: not a number any more
        _losses(ax, losses / losses[:, :1], factors, factor)
        ax.set_title(title.format(**record.parameters) + f"\n{_MOVING[case]}", fontsize=10)
    t = np.arange(losses.shape[1])
    _losses(axes[0], (1 - 2 * np.array(factors)[:, None]) ** (2 * t), factors, factor)
    axes[0].set_title("A parabola\nof the largest curvature", fontsize=10)
    axes[0].set_ylabel("change of the loss (%)")
    said(
        fig,
        f"simulated FLAIR slices, one pretraining; step = {factor:g} × 2 / largest curvature; "
        "grey: other factors; scale linear within ± 1 %",
    )
    return fig


def _losses(ax: Axes, ratios: np.ndarray, factors: Sequence[float], chosen: float) -> None:
    """Change of the loss against steps; ratios: (factors, steps + 1), of the loss at the start."""
    t = np.arange(ratios.shape[1])
    changes = 100 * (np.minimum(ratios, 1e6) - 1)
    for factor, row in zip(factors, changes, strict=True):
        if factor != chosen:
            ax.plot(t, row, color="0.85", lw=1, zorder=0)
            continue
        rises = bool(np.nanmax(row) > 1e-4)
        colour, dashes = ("#882255", "--") if rises else ("#44AA99", "-")
        ax.plot(t, row, color=colour, ls=dashes, marker="o", ms=4)
        word = "rises" if rises else "never above its start"
        ax.text(0.97, 0.95, word, transform=ax.transAxes, ha="right", va="top", color=colour,
                bbox={"facecolor": "white", "alpha": 0.8, "lw": 0, "pad": 1})  # fmt: skip
    ax.axhline(0, color="0.5", lw=1, zorder=0)
    ax.set_yscale("symlog", linthresh=1)
    ticks = (-100, -10, -1, 0, 1, 10, 100, 1000)
    ax.set_yticks(ticks, [f"{v:+d}".replace("-", "\N{MINUS SIGN}") if v else "0" for v in ticks])
    ax.minorticks_off()
    ax.set(xlim=(0, t[-1]), ylim=(-130, 2000), xlabel="steps")


def _panels(name: str, size: tuple[float, float]) -> tuple[Figure, np.ndarray]:
    """A cleared figure with three panels in a row, margins by hand: an explorer draws it often."""
    fig = plt.figure(num=name, figsize=size, clear=True)
    fig.set_layout_engine(PlaceHolderLayoutEngine(adjust_compatible=True, colorbar_gridspec=False))
    width, height = size
    fig.subplots_adjust(
        0.9 / width, 0.75 / height, 1 - 0.15 / width, 1 - 0.55 / height, wspace=0.28
    )
    return fig, fig.subplots(1, 3)
