"""Figures of what was measured, each drawn from a record."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from medxfer_lab.course import style
from medxfer_lab.course.record import Record

KEPT, CHANGED, UNSEEN = "#BFD9EC", "#F6C9A8", "#E3E3E3"
#: columns of the invariance record that the page shows
COLUMNS = {
    "p(x)": "p(x)",
    "p(y)": "p(y)",
    "p(x|y=0)": "p(x|y=0)",
    "p(x|y=1)": "p(x|y=1)",
    "p(y|x)": "p(y|x)",
    "p(y|x) = eta": "p(y|x)=eta",
}
#: rows of the record in the order of the page
ROWS = {
    "label": "label",
    "selection": "covariate:\nselection",
    "scanner mixture": "covariate:\nscanners",
    "concept": "concept",
    "acquisition": "acquisition:\nnoisier",
    "same scanner": "rescan, same\nscanner",
    "burden, volume criterion": "burden, volume\ncriterion",
    "burden, all affected diseased": "burden, all\naffected ill",
}
ARMS = {"imagenet": "ImageNet features", "untrained": "untrained network", "pixels": "pixels"}


def invariance(record: Record) -> Figure:
    """How often each test rejects under each shift; blue is kept, orange is changed.

    A kept cell shows the size of its test, which should be the level; a changed one the power.
    """
    style.apply()
    matrix = record.results["matrix"]
    rows = [row for row in ROWS if row in matrix]
    fig, ax = plt.subplots(figsize=(6.6, 0.56 * len(rows) + 0.7))
    for i, row in enumerate(rows):
        for j, column in enumerate(COLUMNS):
            if column in matrix[row]:
                _cell(ax, i, j, matrix[row][column])
    ax.set(xlim=(0, len(COLUMNS)), ylim=(len(rows), 0))
    ax.set_xticks(np.arange(len(COLUMNS)) + 0.5, COLUMNS.values())
    ax.set_yticks(np.arange(len(rows)) + 0.5, [ROWS[row] for row in rows])
    ax.xaxis.tick_top()
    ax.tick_params(length=0)
    for spine in ax.spines.values():
        spine.set_visible(False)
    return fig


def _cell(ax: Axes, row: int, column: int, cell: dict) -> None:
    """A rejection rate with its interval on the colour of what is expected."""
    colour = {"kept": KEPT, "changed": CHANGED}.get(cell["expected"], UNSEEN)
    ax.add_patch(plt.Rectangle((column + 0.02, row + 0.04), 0.96, 0.92, color=colour, linewidth=0))
    words = f"{cell['low']:.2f} to {cell['high']:.2f}"
    ax.text(column + 0.5, row + 0.36, f"{cell['mean']:.2f}", ha="center", va="center", fontsize=11)
    ax.text(column + 0.5, row + 0.76, words, ha="center", va="center", fontsize=7.5)


def confusion(record: Record, arm: str = "imagenet", reading: str = "scan_area") -> Figure:
    """What the classifier takes things for: simulated heads on unseen scanners, and real pictures.

    Rows: what it is; columns: what it is taken for. Shares of a row, with counts.
    """
    style.apply()
    names = record.results["modalities"]
    tables = {
        "simulated, unseen scanners": record.results[arm]["held_out_scanners"]["confusion"],
        "real pictures": record.results[arm][reading]["confusion"],
    }
    fig, axes = plt.subplots(1, 2, figsize=(7.0, 3.2), sharey=True)
    for ax, (title, table) in zip(axes, tables.items()):
        counts = np.array([[table[row][column] for column in names] for row in names])
        share = counts / counts.sum(1, keepdims=True).clip(min=1)
        ax.imshow(share, cmap="Blues", vmin=0, vmax=1.3)
        for i, j in np.ndindex(*counts.shape):
            ink = "white" if share[i, j] > 0.6 else "black"
            ax.text(j, i, counts[i, j], ha="center", va="center", fontsize=11, color=ink)
        ax.set_xticks(range(len(names)), names, rotation=30, ha="right")
        ax.set_yticks(range(len(names)), names)
        ax.set_title(title, fontsize=10)
        ax.set_xlabel("taken for")
        ax.tick_params(length=0)
    axes[0].set_ylabel("is")
    return fig


def right_by_arm(record: Record) -> Figure:
    """Share classified rightly by features: simulated held out, and real pictures read twice."""
    style.apply()
    fig, ax = plt.subplots(figsize=(6.6, 2.8))
    colours = ("linear_probe", "untrained", "pixels")
    groups = ("same scanners", "unseen scanners", "real, scan area", "real, as stored")
    for k, (arm, colour) in enumerate(zip(ARMS, colours)):
        results = record.results[arm]
        intervals = [results[f"held_out_{t}"]["accuracy"] for t in ("patients", "scanners")]
        means = [i["mean"] for i in intervals]
        real = [results[r] for r in ("scan_area", "as_stored")]
        # real pictures are too few for an interval: the range over training sets
        shares = [np.array(r["right_by_seed"]) / r["n"] for r in real]
        low = [m - i["low"] for m, i in zip(means, intervals)]
        high = [i["high"] - m for m, i in zip(means, intervals)]
        means += [s.mean() for s in shares]
        low += [s.mean() - s.min() for s in shares]
        high += [s.max() - s.mean() for s in shares]
        x = np.arange(4) + 0.12 * (k - 1)
        ax.errorbar(x, means, (low, high), fmt=style.MARKERS[colour], linestyle="none",
                    color=style.COLOURS[colour], label=ARMS[arm])  # fmt: skip
    mr = record.results["real_count"]["MR"] / sum(record.results["real_count"].values())
    for level, start, words in ((0.25, -0.5, "guessing"), (mr, 1.5, "always MRI")):
        ax.hlines(level, start, start + 2, color="#999999", linewidth=1, linestyle=":")
        ax.text(start + 0.05, level + 0.01, words, fontsize=8, color="#666666", va="bottom")
    ax.set_xticks(range(4), groups)
    ax.set(ylim=(0, 1.03), ylabel="share right", xlim=(-0.5, 3.5))
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, borderaxespad=0.2)
    return fig


MODALITIES = ("MR", "CT", "ultrasound", "radiograph")
_SIMULATED, _REAL = "#0072B2", "#D55E00"


def realism(record: Record) -> Figure:
    """Grey values above and spatial frequencies below, by modality: simulated against real.

    Real pictures are lines of their own, one each: they are too few for a mean to mean anything.
    """
    style.apply()
    fig, axes = plt.subplots(2, len(MODALITIES), figsize=(7.2, 3.9), sharex="row")
    for column, modality in enumerate(MODALITIES):
        curves = record.results[modality]["curves"]
        top, bottom = axes[:, column]
        edges = np.array(curves["grey_edges"])
        middle = (edges[1:] + edges[:-1]) / 2
        frequency = np.array(curves["frequency_per_pixel"])
        for name in curves["grey_real"]:
            top.plot(middle, curves["grey_real"][name], color=_REAL, alpha=0.45, linewidth=0.9)
            bottom.plot(
                frequency, curves["power_db_real"][name], color=_REAL, alpha=0.45, linewidth=0.9
            )
        top.plot(middle, curves["grey_simulated"], color=_SIMULATED)
        bottom.plot(frequency, curves["power_db_simulated"], color=_SIMULATED)
        top.set_yscale("symlog", linthresh=0.1)
        top.set_title(modality, fontsize=10)
        top.set_yticks([])
        top.minorticks_off()
        bottom.tick_params(labelsize=8)
    axes[0, 0].set_ylabel("share of pixels (log)", fontsize=9)
    axes[1, 0].set_ylabel("power, dB", fontsize=9)
    for ax in axes[0]:
        ax.set_xlabel("grey value", fontsize=8)
    for ax in axes[1]:
        ax.set_xlabel("cycles per pixel", fontsize=8)
    handles = [plt.Line2D([], [], color=c) for c in (_SIMULATED, _REAL)]
    words = ["simulated", "real, one line a picture"]
    fig.legend(handles, words, loc="outside upper center", ncols=2)
    return fig
