"""Figures of the record `paths`: walls between tuned networks, and one plane through three."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from medxfer_lab.course import style
from medxfer_lab.course.record import Record
from medxfer_lab.loss_landscape.figures.parts import dots, said

#: kind of pair -> colour, line style, words
KINDS = {
    "batches": ("#0072B2", "-", "one pretraining: other batches"),
    "patients": ("#56B4E9", "--", "one pretraining: other patients"),
    "head": ("#44AA99", "-.", "one pretraining: other head"),
    "pretraining": ("#332288", ":", "two pretrainings"),
    "untrained_same": ("#E69F00", "-", "one untrained start"),
    "untrained_other": ("#D55E00", "--", "two untrained starts"),
}
TASKS = {"target": "New task", "source": "Old task, under the old heads"}


def barriers(record: Record) -> Figure:
    """Barriers of both tasks' losses on straight lines between tuned networks, and the mean lines.

    Left: largest excess over the straight line between the ends' losses (nats), pairs as small
    dots. Right: mean excess along the line; it can be negative, a barrier cannot.
    """
    style.apply()
    counts = [len(_kinds(record, task)) for task in TASKS]
    fig, axes = plt.subplots(2, 2, figsize=(9.6, 6.0), height_ratios=counts)
    t = np.array(record.results["t"])
    for (left, right), (task, words) in zip(axes, TASKS.items()):
        kinds = _kinds(record, task)
        for y, kind in enumerate(kinds):
            cell, (colour, dashes, _) = record.results["kinds"][kind][task], KINDS[kind]
            one = np.full(len(cell["barriers"]), y + 0.25)
            left.plot(cell["barriers"], one, "o", color=colour, ms=3, alpha=0.5)
            dots(left, [cell["barrier"]], [y], colour, ms=6)
            right.plot(t, cell["excess"], color=colour, ls=dashes)
        _rows(left, kinds)
        left.axvline(0, color="0.6", lw=1, zorder=0)
        left.set_title(words)
        left.set_xlabel("barrier (nats)")
        right.axhline(0, color="0.6", lw=1, zorder=0)
        right.set_ylabel("excess loss (nats)")
        right.set_xlim(0, 1)
        right.set_xticks([0, 0.5, 1], ["one network", "half-way", "the other"])
    axes[0, 1].set_title("Along the line, mean over pairs")
    pairs = record.parameters["pairs"]
    said(fig, f"simulated patients, real photographs; bars: 95 % over {pairs} pairs (small dots)")
    return fig


def _kinds(record: Record, task: str) -> list[str]:
    return [kind for kind in KINDS if task in record.results["kinds"][kind]]


def _rows(ax: Axes, kinds: list[str]) -> None:
    """One row a kind, from the top, its words in its colour."""
    ax.set_yticks(range(len(kinds)), [KINDS[kind][2] for kind in kinds])
    ax.set_ylim(len(kinds) - 0.4, -0.5)
    for text, kind in zip(ax.get_yticklabels(), kinds):
        text.set_color(KINDS[kind][0])


def plane(record: Record) -> Figure:
    """New and old loss on the plane through a pretraining and two networks tuned from it.

    theta_0 is the pretraining under a fresh head; A and B saw different patients. Lengths are in %
    of the length of theta_0. Levels grow geometrically.
    """
    style.apply()
    found = record.results["plane"]
    x, y = (100 * np.array(found[key]) for key in ("x", "y"))
    fig, axes = plt.subplots(1, 2, figsize=(9.6, 4.9), sharex=True, sharey=True)
    for ax, (task, words) in zip(axes, (("target", "New task"), ("source", "Old task, old head"))):
        loss = np.array(found[task])
        levels = np.geomspace(loss.min(), loss.max(), 11)
        ax.contourf(x, y, loss, levels, cmap="cividis_r", alpha=0.6)
        lines = ax.contour(x, y, loss, levels[1:-1], colors="black", linewidths=0.5)
        ax.clabel(lines, lines.levels[::2], fmt="%.2f", fontsize=8)
        for name, at in ({"$\\theta_0$": [0.0, 0.0]} | found["corners"]).items():
            _corner(ax, name, 100 * np.array(at))
        ax.set_title(f"{words}: log loss (nats)")
        ax.set_xlabel("from $\\theta_0$ towards A (% of $\\theta_0$)")
        ax.set_aspect("equal")
    axes[0].set_ylabel("at a right angle to it (%)")
    said(fig, "simulated patients, real photographs; one pretraining; darker is higher")
    return fig


def _corner(ax: Axes, name: str, at: np.ndarray) -> None:
    ax.plot(*at, "o", color="white", mec="black", ms=8, zorder=4)
    box = {"fc": "white", "ec": "none", "pad": 1.2, "alpha": 0.85}
    ax.annotate(name, at, (8, 6), textcoords="offset points", fontsize=11, bbox=box, zorder=4)
