"""Figures of the record `league`: who names the shift between two hospitals, who mistakes it."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from medxfer_lab.course import style
from medxfer_lab.course.record import Record
from medxfer_lab.domain_shift.figures.parts import dots, said

LEAGUES = {"unlabelled": "No target labels", "labelled": "{labels} target labels"}
#: from the bottom row up: a rule -> words and colour
RULES = {
    "chance": ("guess", "0.6"),
    "constant": ("always the commonest", "0.6"),
    "any_shift": ("any shift detected", "0.2"),
    "alarm_and_labels": ("alarm and labels", "0.2"),
    "tree": ("decision tree", "0.2"),
    "forest": ("forest, taught by other pairs", "0.2"),
}


def league(league: Record) -> Figure:
    """Share of pairs of hospitals whose shift is named rightly, without labels and with a few."""
    style.apply()
    fig, axes = plt.subplots(1, 2, figsize=(8.6, 3.0), sharey=True)
    for ax, (which, title) in zip(axes, LEAGUES.items(), strict=True):
        cells = league.results[which]
        for y, (name, (_, colour)) in enumerate(RULES.items()):
            if name not in cells:  # a rule that asks for labels
                continue
            cell = cells[name]
            if isinstance(cell, dict):
                dots(ax, [cell["accuracy"]], [y], colour, "network", ms=7)
                at = cell["accuracy"]["mean"]
            else:
                ax.plot(cell, y, "|", color=colour, ms=14, mew=2)
                at = cell
            ax.annotate(f"{100 * at:.0f} %", (at, y), xytext=(0, 9), textcoords="offset points",
                        ha="center", fontsize=8.5, color="0.25")  # fmt: skip
        said_as = title.format(labels=league.parameters["labels"])
        ax.set_title(f"{said_as}: {len(cells['answers'])} answers")
        ax.set_xlim(0, 1.03)
        ax.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "25 %", "50 %", "75 %", "100 %"])
        ax.set_xlabel("pairs named rightly")
    axes[0].set_yticks(range(len(RULES)), [words for words, _ in RULES.values()])
    axes[0].set_ylim(-0.5, len(RULES) - 0.3)
    said(fig, f"{league.results['pairs']} pairs of simulated hospitals; bars: 95 % over pairs")
    return fig


def league_confusion(league: Record, which: str = "labelled", rule: str = "tree") -> Figure:
    """What was said (columns) of what was so (rows), in pairs of hospitals.

    which: "unlabelled" or "labelled". rule: "tree", "any_shift" or "forest". Raises ValueError for
    another name.
    """
    rules = [name for name, cell in league.results["labelled"].items()
             if isinstance(cell, dict) and "confusion" in cell]  # fmt: skip
    for name, value, known in (("which", which, list(LEAGUES)), ("rule", rule, rules)):
        if value not in known:
            raise ValueError(f"{name} is {value!r}; the league has {', '.join(known)}")
    style.apply()
    cells = league.results[which]
    answers = cells["answers"]
    counts = np.array(
        [[cells[rule]["confusion"][truth][told] for told in answers] for truth in answers]
    )
    side = 0.62 * len(answers)
    fig, ax = plt.subplots(figsize=(side + 1.7, side + 1.2))
    _matrix(ax, counts, answers)
    title = LEAGUES[which].format(labels=league.parameters["labels"])
    ax.set_title(f"{title}: {RULES[rule][0]}", fontsize=10)
    said(fig, f"{league.results['pairs']} pairs of simulated hospitals")
    return fig


def _matrix(ax: Axes, counts: np.ndarray, answers: list[str]) -> None:
    """Counts, shaded by their share of the row, the right answers framed."""
    ax.imshow(counts / counts.sum(1, keepdims=True), cmap="Blues", vmin=0, vmax=1.4)
    for (i, j), count in np.ndenumerate(counts):
        weight = "bold" if i == j else "normal"
        ax.text(j, i, str(count), ha="center", va="center", weight=weight,
                color="0.75" if count == 0 else "black")  # fmt: skip
        if i == j:
            ax.add_patch(plt.Rectangle((j - 0.5, i - 0.5), 1, 1, fill=False, ec="0.2", lw=1))
    ax.set_xticks(range(len(answers)), answers, rotation=35, ha="right")
    ax.set_yticks(range(len(answers)), answers)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.set_xlabel("said")
    ax.set_ylabel("true")
