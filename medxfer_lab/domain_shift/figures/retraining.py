"""Figures of the record `retraining`: harm, importance weights, and what old knowledge is worth."""

from __future__ import annotations

from collections.abc import Iterator

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from medxfer_lab.course import style
from medxfer_lab.course.record import Record
from medxfer_lab.domain_shift.figures.parts import (
    FILLS,
    MODELS,
    dots,
    ends,
    key,
    kinds_of_marker,
    said,
    sets,
)

SHIFTS = ("covariate_shift", "label_shift", "concept_shift")
#: family and strength of a condition -> what shifts, and words
CONDITIONS: dict[tuple[str, str], tuple[str, str]] = {
    ("select", "30"): ("covariate_shift", "little bright area"),
    ("select_fluid", "30"): ("covariate_shift", "much fluid"),
    ("vendor", "90"): ("covariate_shift", "90 % second vendor"),
    ("label", "5"): ("label_shift", "prevalence 5 %"),
    ("label", "80"): ("label_shift", "prevalence 80 %"),
    ("readers", "25"): ("concept_shift", "25 % by other readers"),
    ("readers", "50"): ("concept_shift", "50 % by other readers"),
    ("readers", "100"): ("concept_shift", "all by other readers"),
    ("criterion", "40"): ("concept_shift", "counts from 40 ml"),
}


def _conditions(record: Record, *shifts: str) -> Iterator[tuple[str, str, str, str]]:
    """(family, strength, shift, words) of the record's conditions under some kinds of shift."""
    for (family, strength), (shift, words) in CONDITIONS.items():
        if shift in shifts and strength in record.results["network"].get(family, {}):
            yield family, strength, shift, words


def harm(retraining: Record) -> Figure:
    """How much worse the source's model is than one trained on the target, by distance of the two.

    Harm in nats: log loss of the source's model, calibrated on the source, minus the refined log
    loss of the target's model. Distance: total variation between the laws of (patient, y).
    """
    style.apply()
    fig, ax = plt.subplots(figsize=(7.6, 4.2))
    lefts = {_least_distant(retraining, shift) for shift in SHIFTS}
    for kind in ("head", "network"):
        for family, strength, shift, words in _conditions(retraining, *SHIFTS):
            cell = retraining.results[kind][family][strength]
            (mean,), spread = ends([cell["harm"]])
            x = cell["total_variation"] + (0.006 if kind == "head" else 0)
            look = {"fmt": style.MARKERS[shift], "color": style.COLOURS[shift], "ms": 7}
            ax.errorbar(x, mean, spread, elinewidth=1, fillstyle=FILLS[kind], **look)
            if kind == "network":
                _beside(ax, words, (x, mean), left=words in lefts)
    ax.axhline(0, color="0.6", lw=1, zorder=0)
    ax.set_xlim(0, 1.22 * ax.get_xlim()[1])  # room for the words
    ax.set_xlabel("total variation between source and target")
    ax.set_ylabel("harm: log loss above the target's own (nats)")
    entries = {
        style.label(shift): {
            "color": style.COLOURS[shift],
            "marker": style.MARKERS[shift],
            "ls": "none",
            "ms": 7,
        }
        for shift in SHIFTS
    }
    key(ax, entries | kinds_of_marker(("network", "head")), loc="upper left")
    said(fig, f"simulated patients; {sets(retraining)}; heads are drawn a little to the right")
    return fig


def _least_distant(record: Record, shift: str) -> str:
    """The words of a shift's condition that lies nearest: they stand left of it, others right."""
    cells = record.results["network"]
    here = {w: cells[f][s]["total_variation"] for f, s, _, w in _conditions(record, shift)}
    return min(here, key=here.get)


def _beside(ax: Axes, words: str, point: tuple[float, float], left: bool) -> None:
    place = {"xytext": (-7 if left else 14, 0), "ha": "right" if left else "left"}
    look = {"fontsize": 8, "color": "0.25", "va": "center", "zorder": 1}
    look["bbox"] = {"fc": "white", "ec": "none", "pad": 0.5}  # the zero line stays behind
    ax.annotate(words, point, textcoords="offset points", **place, **look)


def weighting(retraining: Record) -> Figure:
    """What importance weights win under covariate shift, for models poor and rich.

    Gain: refined log loss of the unweighted source model minus that of the weighted one, paired.
    The key says what the weights leave of the sample: their effective size over its size.
    """
    style.apply()
    found = list(_conditions(retraining, "covariate_shift"))
    fig, axes = plt.subplots(1, len(found), figsize=(10, 3.5), sharex=True, sharey=True)
    order = ("network", "head", "statistics")
    for ax, (family, strength, _, words) in zip(axes, found, strict=True):
        entries = {}
        share = retraining.results["weights"][family][strength]
        for name, up in (("known_weights", 0.13), ("fitted_weights", -0.13)):
            cells = [
                retraining.results[kind][family][strength][name]["refined_gain"] for kind in order
            ]
            look = {"color": style.COLOURS[name], "marker": style.MARKERS[name]}
            mean, spread = ends(cells)
            at = [i + up for i in range(3)]
            ax.errorbar(mean, at, xerr=spread, ls="none", elinewidth=1, **look)
            left = 100 * share[f"{name.split('_')[0]}_share"]["mean"]
            entries[f"{style.label(name)}: effective size {left:.0f} %"] = look | {"ls": "none"}
        ax.vlines(0, -0.5, 2.5, color="0.6", lw=1, zorder=0)
        key(ax, entries, loc="upper left", fontsize=8.5, borderpad=0, handletextpad=0.2)
        ax.set_title(words.capitalize())
        ax.set_xlabel("log loss won (nats)")
    axes[0].set_yticks(range(3), [MODELS[kind] for kind in order])
    axes[0].set_ylim(-0.5, 3.4)
    said(fig, f"simulated patients; {sets(retraining)}; left of the line weighting loses")
    return fig


def old_knowledge(retraining: Record) -> Figure:
    """AUC on the target, under concept shift, of what old and new labels can be made into."""
    style.apply()
    found = list(_conditions(retraining, "concept_shift"))
    width = 2.4 + 2.4 * len(found)
    fig, axes = plt.subplots(1, len(found), figsize=(width, 3.4), sharex=True, sharey=True)
    n, k = (retraining.parameters[name] for name in ("n", "k"))
    arms = {
        "source": f"{n} old labels",
        "few": f"{k} new labels alone",
        "pooled": f"{n} old, {k} new, pooled",
        "continued": f"old network, on with {k} new",
        "target": f"{n} new labels",
    }
    for ax, (family, strength, _, words) in zip(axes, found, strict=True):
        ax.axvline(0.5, color="0.7", lw=1, ls=":", zorder=0)
        for kind in ("head", "network"):
            _arms(ax, retraining.results[kind][family][strength], tuple(arms), kind)
        ax.set_title(words.capitalize())
        ax.set_xlabel("AUC on the target")
    axes[0].set_yticks(range(len(arms)), list(arms.values()))
    axes[0].set_ylim(len(arms) + 0.5, -0.5)
    entries = kinds_of_marker(("network", "head"))
    key(
        axes[0], entries, loc="lower left", ncols=2, borderpad=0, columnspacing=1, handletextpad=0.2
    )
    said(fig, f"simulated patients; {sets(retraining)}; dotted: chance")
    return fig


def _arms(ax: Axes, cell: dict, arms: tuple[str, ...], kind: str) -> None:
    """One kind of model's AUC by arm; an arm that the kind does not have is left out."""
    down = -0.13 if kind == "network" else 0.13
    for i, name in enumerate(arms):
        if name in cell:
            dots(ax, [cell[name]["auc"]], [i + down], style.COLOURS.get(name, "0.25"), kind)
