"""Figures of the record `prevalence`: do intervals cover, and how far off are estimates."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from medxfer_lab.course import style
from medxfer_lab.course.record import Record
from medxfer_lab.domain_shift.figures.parts import ends, key, said

#: an estimator -> its line and words; a family shares a colour
ESTIMATORS: dict[str, tuple[dict, str]] = {
    "bbse_soft": ({"color": style.COLOURS["bbse"], "marker": "D"}, "BBSE, soft calls"),
    "bbse_hard": ({"color": style.COLOURS["bbse"], "marker": "d", "ls": "--"}, "BBSE, hard calls"),
    "em": ({"color": style.COLOURS["em"], "marker": "^"}, "EM"),
    "em_uncalibrated": ({"color": style.COLOURS["em"], "marker": "v", "ls": "--"},
                        "EM, not calibrated"),
    "em_wrong_start": ({"color": style.COLOURS["em"], "marker": "<", "ls": ":"},
                       "EM, wrong start"),
    "count": ({"color": style.COLOURS["deployed"], "marker": "o"}, "count of calls"),
}  # fmt: skip
TARGETS = {
    "kept": "$p(x|y)$ kept",
    "vendor": "Second vendor only",
    "spectrum": "Only diseased patients with\nlarge lesions are referred",
}


def coverage(prevalence: Record) -> Figure:
    """Share of 95 % intervals that hold the true prevalence: assumption kept, and broken twice."""
    style.apply()
    fig, axes = plt.subplots(1, 4, figsize=(10.4, 3.4), width_ratios=(1, 1, 1, 0.62))
    for ax, (target, title) in zip(axes, TARGETS.items()):
        _by_prevalence(ax, prevalence, target, "coverage")
        ax.axhline(0.95, color="0.6", lw=1, ls="--", zorder=0)
        ax.set_ylim(-0.03, 1.03)
        ax.set_title(title)
        ax.set_xlabel("prevalence of the target")
        ax.set_yticks([0, 0.25, 0.5, 0.75, 0.95])
    axes[0].set_ylabel("coverage of 95 % intervals")
    _words(axes[3])
    _small_print(fig, prevalence)
    return fig


def prevalence_error(prevalence: Record) -> Figure:
    """Bias and root mean square error of the estimates: assumption kept, and broken twice."""
    style.apply()
    fig, axes = plt.subplots(2, 4, figsize=(10.4, 5.0), width_ratios=(1, 1, 1, 0.62), sharey="row")
    for column, (target, title) in zip(axes.T, TARGETS.items()):
        _by_prevalence(column[0], prevalence, target, "bias")
        _by_prevalence(column[1], prevalence, target, "root_mean_square")
        column[0].axhline(0, color="0.6", lw=1, zorder=0)
        column[0].set_title(title)
        column[1].set_xlabel("prevalence of the target")
        column[0].sharex(column[1])
    axes[1, 0].set_ylim(bottom=0)
    axes[0, 0].set_ylabel("bias (prevalence)")
    axes[1, 0].set_ylabel("root mean square error")
    _words(axes[0, 3])
    axes[1, 3].axis("off")
    _small_print(fig, prevalence)
    return fig


def _by_prevalence(ax: Axes, record: Record, target: str, quantity: str) -> None:
    """Every estimator's quantity against the true prevalence, on an axis of log odds."""
    for name, (look, _) in ESTIMATORS.items():
        curve = record.results[target][name]
        shares = np.array(sorted(int(rho) for rho in curve)) / 100
        cells = [curve[f"{100 * share:.0f}"][quantity] for share in shares]
        x = np.log(shares / (1 - shares))
        if quantity == "root_mean_square":
            ax.plot(x, cells, **look, ms=4)
        else:
            mean, spread = ends(cells)
            ax.errorbar(x, mean, spread, elinewidth=1, ms=4, **look)
    ax.set_xticks(x, [f"{100 * share:.0f} %" for share in shares])
    source = record.results["source_prevalence"]
    ax.axvline(np.log(source / (1 - source)), color="0.8", lw=1, zorder=0)


def _words(ax: Axes) -> None:
    """An empty panel that holds the key."""
    ax.axis("off")
    key(ax, {words: look | {"ms": 4} for look, words in ESTIMATORS.values()}, loc="center left")


def _small_print(fig: Figure, record: Record) -> None:
    p = record.parameters
    said(
        fig,
        f"scores of simulated patients; {p['repetitions']:,} repetitions of {p['n']} source and "
        f"{p['m']} target patients; bars: 95 %; grey line: the source's prevalence",
    )
