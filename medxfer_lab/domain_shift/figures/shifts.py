"""Figures of the record `shifts`: what each exact shift costs, and what corrections win back."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from medxfer_lab.course import style
from medxfer_lab.course.record import Record
from medxfer_lab.domain_shift.experiment.conditions import KEEPS
from medxfer_lab.domain_shift.figures.parts import MODELS, arm, key, line, said, sets

#: a family -> its title, what its strength is, and where on that axis the source stands
FAMILIES: dict[str, tuple[str, str, float]] = {
    "label": ("Label shift", "prevalence (%)", 100 / 3),
    "select": ("Selection on bright area", "selection by a factor of", 1.0),
    "select_fluid": ("Selection on fluid", "selection by a factor of", 1.0),
    "vendor": ("Mixture of vendors", "on the second vendor (%)", 30.0),
    "readers": ("Other readers", "patients they call (%)", 0.0),
    "criterion": ("Other criterion", "lesion counts from (ml)", 20.0),
    "burden": ("Another burden", "patients with lesions (%)", 50.0),
}
LOGARITHMIC = ("select", "select_fluid", "criterion")
ARMS = ("deployed", "known_prevalence", "bbse", "em", "platt_100")
#: thick, and drawn first: a correction that changes nothing is seen on top of it
_BOLD = {"lw": 3.6, "ms": 6, "elinewidth": 1.8}


def along(record: Record, kind: str, family: str) -> tuple[np.ndarray, list[dict]]:
    """Strengths of a family, the source's among them, and the record's cell at each."""
    results = record.results[kind]
    cells = {float(s): cell for s, cell in results[family].items()}
    none = results["none"]["0"]
    at = 100 * none["prevalence"] if family == "label" else FAMILIES[family][2]
    cells[at] = none
    strengths = sorted(cells)
    return np.array(strengths), [cells[s] for s in strengths]


def shift_cost(shifts: Record, kind: str = "network") -> Figure:
    """Excess log loss over the oracle against strength, a panel for each family of shifts.

    kind: "network" or "head". The oracle has slope and intercept fitted to half of the target's
    test patients. One scale for all, linear up to 0.1 nats and logarithmic beyond.
    """
    style.apply()
    fig, axes = plt.subplots(2, 4, figsize=(10.4, 5.2), sharey=True)
    axes[0, 0].set_yscale("symlog", linthresh=0.1, linscale=1.5)
    for ax, family in zip(axes.flat, FAMILIES):
        _lines(ax, shifts, kind, family, "excess")
        ax.axhline(0, color="0.6", lw=1, zorder=0)
        ax.set_title(f"{FAMILIES[family][0]}\n{_kept(family)}", fontsize=10)
    ticks = [t for t in (-1, -0.1, 0, 0.05, 0.1, 0.3, 1, 3) if _within(t, axes[0, 0].get_ylim())]
    axes[0, 0].set_yticks(ticks, [f"{t:g}" for t in ticks])
    axes[0, 0].minorticks_off()
    for row in axes:
        row[0].set_ylabel("excess log loss (nats)")
    _words(axes[1, 3], ARMS, title=MODELS[kind].capitalize())
    said(
        fig,
        f"simulated patients; {sets(shifts)}; grey line: the source, no shift; "
        "scale logarithmic above 0.1 nats",
    )
    return fig


def _kept(family: str) -> str:
    """What the family keeps, for a title."""
    return "keeps neither" if KEEPS[family] == "neither" else f"keeps ${KEEPS[family]}$"


def _within(value: float, limits: tuple[float, float]) -> bool:
    return limits[0] <= value <= limits[1]


def _lines(ax: Axes, record: Record, kind: str, family: str, measure: str, arms=ARMS) -> None:
    """Every arm's measure against the strengths of one family."""
    x, cells = along(record, kind, family)
    _, words, at = FAMILIES[family]
    at = 100 * record.results[kind]["none"]["0"]["prevalence"] if family == "label" else at
    ax.axvline(at, color="0.8", lw=1, zorder=0)
    for name in arms:
        how = _BOLD if name == "deployed" else {"lw": 1.4}
        line(ax, x, [cell[name][measure] for cell in cells], name, **how)
    if family in LOGARITHMIC:
        ax.set_xscale("log")
        ax.minorticks_off()
    ax.set_xticks(x, [f"{v:.0f}" for v in x])
    ax.set_xlabel(words)


def _words(ax: Axes, arms: tuple[str, ...], title: str = "") -> None:
    """An empty panel that holds the key."""
    ax.axis("off")
    entries = {
        style.label(name): arm(name, **({"lw": 3} if name == "deployed" else {})) for name in arms
    }
    key(ax, entries, title, loc="center left", title_fontproperties={"weight": "bold"})


def operating_point(shifts: Record, kind: str = "network") -> Figure:
    """Sensitivity, specificity and cost at the deployed threshold under label shift.

    The threshold is on the posterior and never moves; a correction moves the posterior.
    """
    style.apply()
    fig, axes = plt.subplots(1, 4, figsize=(10.4, 3.3), width_ratios=(1, 1, 1, 0.55))
    arms = ("deployed", "known_prevalence", "bbse", "oracle")
    for ax, measure in zip(axes, ("sensitivity", "specificity", "cost")):
        _lines(ax, shifts, kind, "label", measure, arms)
        ax.set_title(measure.capitalize())
        ax.set_xlabel("prevalence of the target (%)")
        if measure != "cost":
            ax.set_ylim(-0.03, 1.03)
    axes[0].set_ylabel("share of the diseased called")
    axes[1].set_ylabel("share of the healthy not called")
    axes[2].set_ylabel("false alarms per patient\n(a miss counts three)")
    axes[2].set_ylim(bottom=0)
    _words(axes[3], arms, title=MODELS[kind].capitalize())
    said(fig, f"simulated patients; {sets(shifts)}; grey line: the source's prevalence")
    return fig


def calibration(shifts: Record, kind: str = "network") -> Figure:
    """Mean probability minus prevalence against strength, for label shift and for burden."""
    style.apply()
    fig, axes = plt.subplots(1, 3, figsize=(9, 3.4), width_ratios=(1, 1, 0.55))
    axes[1].sharey(axes[0])
    for ax, family in zip(axes, ("label", "burden")):
        _lines(ax, shifts, kind, family, "mean_gap")
        ax.axhline(0, color="0.6", lw=1, zorder=0)
        ax.set_title(f"{FAMILIES[family][0]}: {_kept(family)}")
    axes[0].set_ylabel("mean probability minus prevalence")
    _words(axes[2], ARMS, title=MODELS[kind].capitalize())
    said(fig, f"simulated patients; {sets(shifts)}; grey line: the source, no shift")
    return fig
