"""The lab's figures: what it measured live, and its dots beside the record's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from medxfer_lab.course import style
from medxfer_lab.course.record import Record
from medxfer_lab.loss_landscape.experiment.lab import RATE_ARMS, Steepness
from medxfer_lab.loss_landscape.experiment.memory import Kept, Look

SETTLES, LEAVES = "#44AA99", "#882255"
PLACES = (("#0072B2", "o"), ("#E69F00", "^"), ("#882255", "s"))
#: of the record, beside the first place and the last
RECORD_PLACES = ("fresh", "tuned_b")
MEASURED, FORECAST, HALF = "#000000", "#D55E00", "#56B4E9"
#: way -> key of the style
WAYS = {"plain": "full_fine_tuning", "ewc": "ewc", "l2sp": "l2sp", "replay": "replay"}
ARMS = {arm: "full_fine_tuning" if arm == "uniform" else arm for arm in RATE_ARMS}


def _figure(name: str, columns: int, width: float, height: float = 3.5) -> tuple[Figure, list]:
    """A clean figure with panels side by side, and its axes."""
    style.apply()
    fig = plt.figure(num=name, figsize=(width * columns, height), clear=True)
    return fig, list(fig.subplots(1, columns, squeeze=False)[0])


def lab_curvature(found: Mapping[str, Steepness], record: Record) -> Figure:
    """Largest curvature of each block at up to three places, raw and per relative change.

    The record's means (grey bars: intervals) are at a fresh head and after tuning.
    """
    fig, axes = _figure("lab curvature", 2, 4.4, 3.6)
    blocks = list(next(iter(found.values())).top)
    y = np.arange(len(blocks))
    for ax, measure, key in zip(axes, ("top", "relative"), ("top", "relative_top"), strict=True):
        for place, shift in zip(RECORD_PLACES, (-0.3, 0.3), strict=True):
            cells = record.results[place][key]
            leaves = [cells[block.replace("body.", "")] for block in blocks]
            for at, leaf in zip(y + shift, leaves, strict=True):
                ax.plot([leaf["low"], leaf["high"]], [at, at], color="0.7", lw=4, zorder=0)
        shifts = np.linspace(-0.3, 0.3, len(found)) if len(found) > 1 else [0.0]
        for (name, one), shift, (colour, mark) in zip(found.items(), shifts, PLACES):
            values = list(getattr(one, measure).values())
            ax.plot(values, y + shift, mark, color=colour, ms=7, label=name)
        ax.set(xscale="log", yticks=y, ylim=(len(blocks) - 0.5, -0.5))
        ax.set_yticklabels([b.replace("body.", "") for b in blocks])
    axes[0].set(title="raw", xlabel="largest eigenvalue")
    axes[1].set(title="per relative change", xlabel=r"largest eigenvalue of $THT$")
    axes[0].legend(loc="lower right", fontsize=8)
    said = "grey bars: the record's intervals, above at a fresh head, below after tuning"
    fig.supxlabel(f"simulated patients; {said}", fontsize=8)
    return fig


def lab_descents(trials: Mapping[str, Mapping[float, Sequence[float]]]) -> Figure:
    """Loss of full-batch descent, a panel a case, a line a multiple of 2/curvature."""
    fig, axes = _figure("lab descents", len(trials), 3.1)
    start = next(iter(next(iter(trials.values())).values()))[0]
    for ax, (title, runs) in zip(axes, trials.items(), strict=True):
        ax.axhline(start, color="0.8", lw=1, zorder=0)
        for factor, losses in runs.items():
            long = factor >= 1
            look = {"color": LEAVES if long else SETTLES, "ls": "--" if long else "-"}
            ax.plot(losses, label=f"{factor:g}", **look)
        ends = [value for losses in runs.values() for value in losses]
        low, high = min(ends), min(max(ends), 3 * start)
        # room above for the key
        ax.set(title=title, xlabel="steps", ylim=(low - 0.02, high + 0.45 * (high - low)))
        ax.legend(title="times $2/\\lambda$", loc="upper right", ncols=2, fontsize=8)
    axes[0].set_ylabel("log loss (nats)")
    fig.supxlabel("simulated patients; grey: the loss at the start", fontsize=8)
    return fig


def lab_forecast(looks: Sequence[Look]) -> Figure:
    """The old loss's rise, measured and forecast, against the way: near by, and to the end."""
    fig, axes = _figure("lab forecast", 2, 4.4)
    moved = np.array([100 * look.distance for look in looks])
    rise = np.array([look.rise for look in looks])
    lines = (
        (rise, MEASURED, "o", "-", "measured"),
        (np.array([look.total for look in looks]), FORECAST, "s", "--", "forecast"),
        (np.array([look.half for look in looks]), HALF, "^", ":", r"$d^\top Hd/2$ alone"),
    )
    near = moved < 3
    for ax, part in zip(axes, (near, np.ones_like(near)), strict=True):
        for values, colour, marker, dashes, words in lines:
            ax.plot(moved, values, color=colour, marker=marker, ls=dashes, label=words)
        low, high = min(0.0, rise[part].min()), rise[part].max()
        shown = max(high, lines[2][0][part].max()) if ax is axes[0] else 2 * high
        ax.axhline(0, color="0.8", lw=1, zorder=0)
        ax.set(xlim=(0, 1.05 * moved[part].max()), xlabel="body moved (%)")
        ax.set_ylim(1.3 * low - 0.03 * shown, 1.1 * shown)
    axes[0].set(title="the first steps", ylabel="rise of the old log loss (nats)")
    axes[1].set(title="the whole way")
    axes[0].legend(loc="upper left")
    fig.supxlabel("simulated patients; one network", fontsize=8)
    return fig


def lab_old_scores(looks: Sequence[Look], labels: np.ndarray, step: int) -> Figure:
    """Old log odds of the old patients after some steps of the second task, by label.

    step: one of the looks'. labels: (n,) of the patients whose scores the looks hold.
    """
    by_step = {look.step: look for look in looks}
    if step not in by_step:
        raise ValueError(f"nobody looked after step {step}; looks: {list(by_step)}")
    look = by_step[step]
    fig, (ax,) = _figure("lab old scores", 1, 5.4, 3.1)
    edges = np.linspace(-10, 10, 41)
    inside = np.clip(look.scores, edges[0], edges[-1])
    words = ((0, "#56B4E9", "no lesion"), (1, "#D55E00", "lesion"))
    for label, colour, word in words:
        seen = inside[np.asarray(labels) == label]
        ax.hist(seen, edges, color=colour, alpha=0.55, label=word)
    ax.axvline(0, color="0.6", lw=1)
    ax.set(xlabel="log odds of a lesion, by the old head (nats)", ylabel="old patients")
    ax.set_ylim(0, 0.45 * len(look.scores))
    rises = f"old loss {look.rise:+.2f}, with the best constant {look.mended:+.2f}"
    ax.set_title(f"step {step}: old AUC {look.auc:.2f}\n{rises}", fontsize=10)
    ax.legend(loc="upper right")
    fig.supxlabel("simulated patients; right of the grey line: called ill", fontsize=8)
    return fig


def lab_kept(found: Mapping[tuple[str, float], Kept], start: Kept) -> Figure:
    """New loss against old loss, a dot a network; start: the network before it moved on."""
    fig, (ax,) = _figure("lab kept", 1, 6.2, 3.9)
    for way, key in WAYS.items():
        colour, words = style.COLOURS[key], "plain" if way == "plain" else style.label(key)
        mine = sorted((s, k) for (name, s), k in found.items() if name == way)
        if not mine:
            continue
        x, y = [k.old_loss for _, k in mine], [k.new_loss for _, k in mine]
        ax.plot(x, y, marker=style.MARKERS[key], color=colour, lw=1, ms=8)
        for (strength, _), px, py in zip(mine, x, y, strict=True):
            said = f"{words} {strength:g}" if strength else words
            ax.annotate(
                said, (px, py), (6, 5), textcoords="offset points", fontsize=8, color=colour
            )
    ax.axvline(start.old_loss, color="0.7", lw=1, zorder=0)
    ax.set(xlabel="old log loss, by the old head (nats)", ylabel="new log loss (nats)")
    ax.set_title("Better is down and to the left")
    ax.set_xlim(0, 1.12 * max(k.old_loss for k in found.values()))
    ax.set_ylim(0, 1.12 * max(k.new_loss for k in found.values()))
    fig.supxlabel("simulated patients; grey: the old loss before the network moved on", fontsize=8)
    return fig


def lab_against_record(record: Record, found: Mapping[str, np.ndarray]) -> Figure:
    """Test log loss by arm: the record's sets, mean and interval, and the lab's networks."""
    fig, (ax,) = _figure("lab against record", 1, 5.6, 3.6)
    cells = record.results["arms"]["adam"]
    for i, arm in enumerate(RATE_ARMS):
        leaf, each = cells[arm]["log_loss"], np.array(cells[arm]["log_loss_sets"])
        spread = np.linspace(-0.14, 0.14, len(each))
        ax.plot(i - 0.15 + spread, each, ".", color="0.75", ms=5)
        ends = [[leaf["mean"] - leaf["low"]], [leaf["high"] - leaf["mean"]]]
        ax.errorbar(
            i - 0.15, leaf["mean"], ends, fmt="o", color=style.COLOURS[ARMS[arm]], capsize=3
        )
        ax.plot(np.full(len(found[arm]), i + 0.18), found[arm], "D", color="black", ms=6)
    ax.set(xticks=range(len(RATE_ARMS)), ylabel="test log loss (nats)", xlim=(-0.5, 2.5))
    ax.set_xticklabels(RATE_ARMS)
    ax.set_title("Black: your networks. Grey: the record's.")
    fig.supxlabel("simulated patients; bars: the record's mean and 95 % interval", fontsize=8)
    return fig


__all__ = [
    "lab_against_record",
    "lab_curvature",
    "lab_descents",
    "lab_forecast",
    "lab_kept",
    "lab_old_scores",
]
