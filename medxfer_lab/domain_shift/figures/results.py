"""Figures of the records `acquisition` and `real`: other scanners, and real radiographs."""

from __future__ import annotations

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from medxfer_lab.course import style
from medxfer_lab.course.record import Record
from medxfer_lab.domain_shift.figures.parts import dots, ends, key, kinds_of_marker, said, sets

#: modality -> a target scanner of `experiment.acquisition` -> words
SCANNERS: dict[str, dict[str, str]] = {
    "mri": {
        "again": "same scanner again",
        "low_snr": "a sixth of the SNR",
        "field_3t": "3 T for 1.5 T",
        "other_vendor": "other vendor",
        "t1": "T1: another sequence",
    },
    "ct": {
        "again": "same scanner again",
        "low_dose": "a tenth of the dose",
        "sharp_kernel": "sharp kernel",
    },
}
_QUANTITIES = {
    "excess": "loss through the scanner (nats)",
    "posterior_gap": "difference between the\ntwo networks' probabilities",
    "verdicts_changed": "verdicts changed (share)",
}
#: kind of model -> how far above the middle of its row it stands
_ABOVE = {"network": 0.2, "head": -0.2}
_COMMON = {"color": "0.3", "marker": "D", "ms": 4}


def scanners(acquisition: Record) -> Figure:
    """What the source's model loses when the same patients are imaged on another scanner.

    Loss through the scanner: log loss beyond that of a model trained on the same patients' target
    pictures; diamonds, where the record has them: the same of one network trained on the pictures
    of both scanners. How far the two models' probabilities for one picture lie apart; verdicts that
    change from the source's picture to the target's. The same scanner again is the control.
    """
    style.apply()
    fig, axes = plt.subplots(1, 3, figsize=(10, 4.0), sharey=True)
    rows = [(modality, name) for modality, names in SCANNERS.items() for name in names]
    height = [-i - (0.6 if modality == "ct" else 0) for i, (modality, _) in enumerate(rows)]
    for ax, (quantity, words) in zip(axes, _QUANTITIES.items(), strict=True):
        for y, (modality, name) in zip(height, rows, strict=True):
            for kind, cells in acquisition.results[modality].items():
                colour = style.COLOURS["source" if name == "again" else "target"]
                dots(ax, [cells[name][quantity]], [y + _ABOVE[kind]], colour, kind)
            if name == "t1":
                ax.axhspan(y - 0.45, y + 0.45, color="0.93", zorder=-1)
        ax.axvline(0, color="0.6", lw=1, zorder=0)
        ax.set_xlabel(words)
    common = _common(axes[0], acquisition, rows, height)
    named = [f"{m.upper()}, {SCANNERS[m][name]}" for m, name in rows]
    axes[0].set_yticks(height, named)
    axes[0].set_ylim(height[-1] - 0.6, 0.6)
    entries = kinds_of_marker(("network", "head"))
    if common:
        entries["trained on both scanners"] = _COMMON | {"ls": "none"}
    key(fig, entries, loc="outside upper center", ncols=len(entries))
    said(
        fig,
        f"simulated patients; {sets(acquisition)}; blue: control; grey ground: not a scanner's "
        "other setting but another contrast",
    )
    return fig


def _common(ax: Axes, record: Record, rows: list[tuple[str, str]], height: list[float]) -> bool:
    """What one network loses that was trained on both scanners' pictures; whether any is known."""
    cells = [record.results[modality]["network"][name] for modality, name in rows]
    found = [(y, cell["common_excess"]) for y, cell in zip(height, cells, strict=True)
             if "common_excess" in cell]  # fmt: skip
    for y, leaf in found:
        dots(ax, [leaf], [y], _COMMON["color"], "network", fmt=_COMMON["marker"], ms=_COMMON["ms"])
    return bool(found)


_FEATURES = {"imagenet": "ImageNet features", "pixels": "pixels"}
_FILLS = ("full", "none")


def real(real: Record) -> Figure:
    """PneumoniaMNIST: the test images' prevalence as estimated, and what happened to the rates.

    Left: estimates from unlabelled test images, BBSE with its interval, beside the truth. Middle
    and right: rates of positive calls within each class, validation against test.
    """
    style.apply()
    fig, axes = plt.subplots(1, 3, figsize=(10, 3.3), width_ratios=(1.8, 1, 1))
    _estimates(axes[0], real)
    for ax, rate in zip(axes[1:], ("false_positive", "sensitivity"), strict=True):
        for i, model in enumerate(_FEATURES):
            mean, spread = ends(real.results[model][rate])
            shift = 0.03 * (1 - 2 * i)
            look = {"color": "0.2", "marker": "o", "elinewidth": 1, "fillstyle": _FILLS[i]}
            ax.errorbar([shift, 1 + shift], mean, spread, ls=":" if i else "-", **look)
        ax.set_xticks([0, 1], ["validation", "test"])
        ax.set_xlim(-0.3, 1.3)
        ax.set_ylim(-0.02, 1.02)
    axes[1].set_ylabel("share of the healthy called")
    axes[1].set_title("False-positive rate")
    axes[2].set_ylabel("share of the diseased called")
    axes[2].set_title("Sensitivity")
    said(
        fig,
        "real radiographs (PneumoniaMNIST), not for clinical use; bars: 95 %, the head held fixed",
    )
    return fig


def _estimates(ax: Axes, record: Record) -> None:
    """Prevalence of the test images: estimates as dots, one row each; truths as lines."""
    rows = [("called_positive", "called positive"), ("em", "EM"), ("bbse", "BBSE")]
    for i, model in enumerate(_FEATURES):
        cell = record.results[model]
        for y, (name, _) in enumerate(rows):
            colour = style.COLOURS.get(name, "0.3")
            leaf = cell[name]
            point = leaf if isinstance(leaf, dict) else dict.fromkeys(("mean", "low", "high"), leaf)
            dots(ax, [point], [y + 0.12 * (1 - 2 * i)], colour, "head" if i else "network")
    for colour, words, side in (
        ("source", "validation", "left"),
        ("target", "test, truth", "right"),
    ):
        truth = cell[f"{colour}_prevalence"]
        ax.axvline(truth, color=style.COLOURS[colour], lw=1.5, zorder=0)
        place = {"xytext": (4 if side == "left" else -4, 0), "textcoords": "offset points"}
        look = {"fontsize": 8.5, "color": style.COLOURS[colour], "ha": side}
        ax.annotate(f"{words} {truth:.2f}", (truth, 2.75), **look, **place)
    ax.set_yticks(range(len(rows)), [words for _, words in rows])
    ax.set_ylim(-0.6, 3.1)
    ax.set_xlim(0, 1.02)
    ax.set_xlabel("prevalence of disease in the test images")
    ax.set_title("Estimated without test labels")
    marks = {
        words: {"color": "0.3", "marker": "o", "ls": "none", "fillstyle": fill}
        for words, fill in zip(_FEATURES.values(), _FILLS, strict=True)
    }
    key(ax, marks, loc="lower left")
