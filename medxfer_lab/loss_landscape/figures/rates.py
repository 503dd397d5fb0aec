"""Figures of the record `rates`: what a block's own learning rate wins, and how far it moves."""

from __future__ import annotations

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from medxfer_lab.course import style
from medxfer_lab.course.record import Record
from medxfer_lab.loss_landscape.figures.parts import beside, dots, ends, said

BLOCKS = ("conv1", "conv2", "conv3", "conv4")
#: group of arms -> words
GROUPS = {
    "adam": "Adam",
    "sgd": "SGD with momentum",
    "untrained": "Adam, untrained body",
    "slow": "Adam, an eighth of the rate",
}
#: arm -> key of the style, line style, words
ARMS = {
    "uniform": ("full_fine_tuning", "-", "uniform"),
    "discriminative": ("discriminative", "-", "discriminative"),
    "reversed": ("reversed", "--", "reversed"),
    "frozen_early": ("frozen_early", ":", "conv1, conv2 frozen"),
    "curvature": ("curvature_rates", "-.", "by 1/curvature"),
}
MEANING = "discriminative: early blocks slowest; reversed: early blocks fastest"


def gains(record: Record) -> Figure:
    """Test log loss that each arm wins over uniform rates, by optimiser and body (nats).

    Left of a group: its name, and what uniform rates reach. Every arm's rate was tuned, with equal
    budgets; slow arms take an eighth of it and four times the steps. The small print names arms
    whose best rate was the last one tried.
    """
    style.apply()
    fig, ax = plt.subplots(figsize=(8.8, 5.0))
    ax.axvline(0, color=style.COLOURS["full_fine_tuning"], lw=1.5, zorder=0)
    y, rows = 0.0, []
    for group, words in GROUPS.items():
        cells = record.results["arms"][group]
        uniform = cells["uniform"]
        reached = f"uniform: {uniform['log_loss']['mean']:.2f} nats, AUC"
        rows.append((y, f"{words} ({reached} {uniform['auc']['mean']:.2f})", True))
        for arm in [name for name in ARMS if name in cells and name != "uniform"]:
            y -= 1
            style_key, _, said_of_arm = ARMS[arm]
            marker = style.MARKERS.get(style_key, "o")
            dots(ax, [cells[arm]["log_loss_gain"]], [y], style.COLOURS[style_key], fmt=marker, ms=6)
            rows.append((y, said_of_arm, False))
        y -= 1.5
    _rows(ax, rows)
    ax.set_ylim(rows[-1][0] - 0.7, 0.6)
    reach = 1.08 * max(abs(end) for end in ax.get_xlim())
    ax.set_xlim(-reach, reach)
    ax.set_xlabel("test log loss of uniform rates minus this arm's (nats)")
    for x, words in ((0.25, "worse than uniform"), (0.75, "better than uniform")):
        ax.text(x, 1.01, words, transform=ax.transAxes, ha="center", va="bottom", color="0.35")
    said(fig, f"simulated patients; {_bars(record)}; {_edges(record)}\n{MEANING}")
    return fig


def _rows(ax: Axes, rows: list[tuple[float, str, bool]]) -> None:
    """Words left of the panel; a group's heading is bold and has a line of its own."""
    ax.set_yticks([y for y, _, _ in rows], [words for _, words, _ in rows])
    for text, mark, (_, _, heading) in zip(
        ax.get_yticklabels(), ax.yaxis.get_ticklines()[::2], rows
    ):
        text.set_fontweight("bold" if heading else "normal")
        text.set_fontsize(9 if heading else 9.5)
        if heading:
            mark.set_visible(False)


def _bars(record: Record) -> str:
    p = record.parameters
    leaf = record.results["arms"]["adam"]["uniform"]["log_loss"]
    sets = f"{p['sets']} training sets ({p['slow_sets']} at the low rates)"
    return f"bars: 95 % over {leaf['n']} pretrainings, {sets}"


def _edges(record: Record) -> str:
    """Which arm's tuned rate was the first or last tried."""
    found = [
        f"{GROUPS[group]}, {ARMS[arm][2]}"
        for group, arms in record.results["settings"].items()
        for arm, choice in arms.items()
        if choice["at_the_edge"]
    ]
    if not found:
        return "no tuned rate is at the end of its grid"
    return f"rate at the end of its grid: {'; '.join(found)}"


def block_distances(record: Record) -> Figure:
    """How far each block of the body moves while it is tuned, in % of its own length.

    ||theta - start|| / ||start||, by arm. Blocks that stand still are not on the logarithmic axis.
    """
    style.apply()
    fig, axes = plt.subplots(2, 2, figsize=(9.4, 6.4), sharex=True, sharey=True)
    panels = dict(zip(GROUPS, axes.flat))
    for group, ax in panels.items():
        for arm, cell in record.results["arms"][group].items():
            style_key, dashes, _ = ARMS[arm]
            moved = {i: cell["distance"][b] for i, b in enumerate(BLOCKS)}
            moved = {i: leaf for i, leaf in moved.items() if leaf["mean"] > 0}
            mean, spread = ends(moved.values())
            look = {"color": style.COLOURS[style_key], "ls": dashes, "elinewidth": 1, "ms": 4}
            look["marker"] = style.MARKERS.get(style_key, "o")
            ax.errorbar(list(moved), 100 * mean, 100 * spread, **look)
        ax.set_yscale("log")
        ax.set_xlim(-0.2, 4.9)
        ax.set_xticks(range(len(BLOCKS)), BLOCKS)
        ax.set_title(GROUPS[group])
    for ax in axes[:, 0]:
        ax.set_ylabel("moved (% of the block's length)")
    axes[0, 0].yaxis.set_major_formatter("{x:g}")
    for group, ax in panels.items():
        last = {
            ARMS[arm][2]: (100 * cell["distance"][BLOCKS[-1]]["mean"], style.COLOURS[ARMS[arm][0]])
            for arm, cell in record.results["arms"][group].items()
        }
        beside(ax, len(BLOCKS) - 1, last, 0.075)
    said(fig, f"simulated patients; {_bars(record)}\n{MEANING}")
    return fig
