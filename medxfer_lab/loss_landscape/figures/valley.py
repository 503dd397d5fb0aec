"""Figure of the record `valley`: two measures of how wide a valley is, which rank differently."""

from __future__ import annotations

from math import exp

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from medxfer_lab.course import style
from medxfer_lab.course.record import Record
from medxfer_lab.loss_landscape.figures.parts import few_ticks, said

#: measure -> title, unit
MEASURES = {
    "top": ("Raw curvature; left: flatter", "top eigenvalue"),
    "width": ("Relative width; right: wider", "relative noise that costs .1 nats (%)"),
}
#: task -> (networks that are compared -> words); the first is what the others are compared with
NETWORKS = {
    "source": {
        "recipe": "the pretraining's settings",
        "plain": "no augmentation, no decay",
        "large_batch": "batch 512 for 128",
        "momentum": "descent with momentum",
    },
    "target": {
        "untrained": "from an untrained body",
        "matched_scales": "from matched scales",
        "photographs": "from photographs",
    },
}
TASKS = {"source": "old task", "target": "new task"}
FINISHED = "pretrainings, to the end"


def widths(record: Record) -> Figure:
    """Raw top eigenvalue beside relative width, of networks that were stopped at one loss.

    Small dots: networks. Large ones: geometric means, with intervals of the ratio to the first
    row's (95 %, Welch's over seeds for the old task, by pairs for the new). Finished pretrainings
    lie at a far lower loss: grey, shown but not compared.
    """
    style.apply()
    counts = [len(names) for names in NETWORKS.values()]
    fig, axes = plt.subplots(
        2, 2, figsize=(9.6, 5.6), sharey="row", height_ratios=(counts[0] + 1, counts[1])
    )
    for row, (task, names) in zip(axes, NETWORKS.items()):
        results = record.results[task]
        rows = [(words, results["networks"][name], name) for name, words in names.items()]
        if "finished" in results:
            rows.append((FINISHED, results["finished"], None))
        for ax, measure in zip(row, MEASURES):
            _measure(ax, rows, results["log_ratios"], task, measure)
        row[0].set_yticks(range(len(rows)), [_row_words(*r[:2]) for r in rows])
        row[0].set_ylim(len(rows) - 0.5, -0.5)
        row[0].set_ylabel(TASKS[task])
    for column, (title, unit) in zip(axes.T, MEASURES.values()):
        column[0].set_title(title)
        for ax in column:
            ax.set_xlabel(unit)
    p = record.parameters
    said(
        fig,
        f"simulated patients, real photographs; small dots: {p['seeds']} networks an arm, "
        f"{p['sets']} a start; bars: 95 % of the ratio to the first row",
    )
    return fig


def _row_words(words: str, cell: dict) -> str:
    """A row's words and the loss it was measured at."""
    return f"{words} ({np.mean(cell['loss']['values']):.2f} nats)"


def _measure(ax: Axes, rows: list, ratios: dict, task: str, measure: str) -> None:
    """Networks of every row, their geometric mean, and the ratio's interval around it."""
    factor = 100 if measure == "width" else 1
    base = rows[0][1][measure]["mean"]
    for y, (_, cell, name) in enumerate(rows):
        colour = style.COLOURS[task] if name else "0.55"
        values = [factor * v for v in cell[measure]["values"] if v is not None]
        ax.plot(values, np.full(len(values), y + 0.16), "o", color=colour, ms=3, alpha=0.5)
        if cell[measure]["mean"] is not None:
            ax.plot(factor * cell[measure]["mean"], y, "D", color=colour, ms=6)
        leaf = ratios.get(name, {}).get(measure)
        if leaf is not None and base is not None:
            bounds = [factor * base * exp(leaf[key]) for key in ("low", "high")]
            ax.plot(bounds, [y, y], color=colour, lw=1.3)
    if base is not None:
        ax.axvline(factor * base, color="0.7", lw=1, zorder=0)
    ax.set_xscale("log")
    few_ticks(ax.xaxis, 6)
