"""Figures of what was measured: a record in, a matplotlib figure out.

Bars and bands are 95 % intervals over training sets; the number of sets is said in the caption.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from medxfer_lab.course import style
from medxfer_lab.course.record import Record

#: a head's backbone -> the key of its colour and words
HEADS = {
    "imagenet": "linear_probe",
    "untrained": "untrained",
    "matched_scales": "matched_scales",
    "pixels": "pixels",
}
STRATEGIES = ("scratch", "full_fine_tuning", "l2sp")


def leaves(curve: dict, *path: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(n, mean, low, high) along the training sizes of a record's curve {n: cell}."""
    sizes = sorted((n for n in curve), key=int)
    cells = [curve[n] for n in sizes]
    for key in path:
        cells = [cell[key] for cell in cells]
    mean, low, high = (np.array([cell[k] for cell in cells]) for k in ("mean", "low", "high"))
    return np.array([int(n) for n in sizes]), mean, low, high


def line(ax: Axes, curve: dict, key: str, *path: str, name: str | None = None) -> None:
    """Mean and 95 % band of one curve of a record, in its colour."""
    n, mean, low, high = leaves(curve, *path)
    ax.plot(
        n,
        mean,
        color=style.COLOURS[key],
        marker=style.MARKERS.get(key, "o"),
        label=name or style.label(key),
    )
    ax.fill_between(n, low, high, color=style.COLOURS[key], alpha=0.2, lw=0)


def sizes_axis(ax: Axes, sizes: list[int]) -> None:
    """Training sizes on a logarithmic axis, each one written out."""
    ax.set_xscale("log")
    ax.set_xticks(sizes, [f"{n:,}" for n in sizes])
    ax.minorticks_off()
    ax.set_xlabel("labelled patients for training")


def head_auc(record: Record, kind: str = "lesion") -> Figure:
    """AUC of linear heads on four kinds of frozen features against training size."""
    style.apply()
    fig, ax = plt.subplots(figsize=(6.4, 3.8))
    for backbone, key in HEADS.items():
        words = "linear probe (ImageNet)" if backbone == "imagenet" else None
        line(ax, record.results[kind][backbone], key, "auc", name=words)
    ax.axhline(0.5, color="0.7", lw=1, ls=":")
    sizes_axis(ax, record.parameters["sizes"])
    ax.set_ylabel("AUC on fixed test patients")
    ax.legend(loc="upper left")
    return fig


def network_auc(networks: Record, heads: Record, kind: str = "lesion") -> Figure:
    """AUC of whole networks, and of the frozen small network's head, against training size."""
    style.apply()
    fig, ax = plt.subplots(figsize=(6.4, 3.8))
    for name in STRATEGIES:
        line(ax, networks.results[kind][name], name, "auc")
    sizes = networks.parameters["sizes"]
    frozen = {n: c for n, c in heads.results[kind]["small_cnn"].items() if int(n) in sizes}
    line(ax, frozen, "linear_probe", "auc", name="linear probe (same network, frozen)")
    sizes_axis(ax, sizes)
    ax.set_ylabel("AUC on fixed test patients")
    ax.legend(loc="lower right")
    return fig


def decomposition(networks: Record, heads: Record) -> Figure:
    """Squared bias, variance and noise of four algorithms, teacher labels: stacked, by n."""
    style.apply()
    sizes = networks.parameters["sizes"]
    frozen = {n: c for n, c in heads.results["teacher"]["small_cnn"].items() if int(n) in sizes}
    panels = {s: networks.results["teacher"][s] for s in STRATEGIES} | {"linear_probe": frozen}
    fig, axes = plt.subplots(1, 4, figsize=(10, 3.4), sharey=True)
    for ax, (name, curve) in zip(axes, panels.items(), strict=True):
        at = np.arange(len(sizes))
        bottom = np.zeros(len(sizes))
        for term in ("noise", "bias", "variance"):
            cells = [curve[str(n)]["squared"][term] for n in sizes]
            height = np.array([c if term == "noise" else max(c["mean"], 0.0) for c in cells])
            ax.bar(at, height, 0.8, bottom, color=style.COLOURS[term], label=style.label(term))
            if term != "noise":
                spread = np.array([(c["high"] - c["low"]) / 2 for c in cells])
                ax.errorbar(at, bottom + height, spread, fmt="none", ecolor="0.2", elinewidth=1)
            bottom += height
        ax.set_xticks(at, [f"{n:,}" for n in sizes], rotation=60)
        ax.set_title(style.label(name).split(" (")[0])
    axes[0].set_ylabel("expected squared error")
    fig.supxlabel("labelled patients for training", fontsize=10)
    axes[-1].legend(loc="upper right", fontsize=8)
    return fig


def variance_curves(networks: Record, heads: Record) -> Figure:
    """Variance (left) and squared bias plus noise (right) against n, lesion labels."""
    style.apply()
    fig, axes = plt.subplots(1, 2, figsize=(9, 3.6))
    sizes = networks.parameters["sizes"]
    frozen = {n: c for n, c in heads.results["lesion"]["small_cnn"].items() if int(n) in sizes}
    words = "linear probe (frozen)"
    for ax, term in zip(axes, ("variance", "bias_plus_noise"), strict=True):
        for name in STRATEGIES:
            line(ax, networks.results["lesion"][name], name, "squared", term)
        line(ax, frozen, "linear_probe", "squared", term, name=words)
        sizes_axis(ax, sizes)
        ax.set_ylim(bottom=0)
    axes[0].set_title("Variance over training sets")
    axes[1].set_title("Squared bias + noise")
    axes[0].set_ylabel("squared probability")
    axes[0].legend(loc="upper right")
    return fig


def formula(record: Record) -> Figure:
    """Excess risk of L2-SP regression on real features: measured against predicted.

    Left: natural scale, two centres. Middle: standardised features. Right: lesion labels.
    """
    style.apply()
    fig, axes = plt.subplots(1, 3, figsize=(10.4, 3.5), sharey=True)
    panels = (
        ("natural", ("zero", "good"), "Natural scale"),
        ("standardised", ("zero", "good"), "Standardised features"),
        ("natural", ("real",), "Natural scale, lesion labels"),
    )
    for ax, (scaling, names, title) in zip(axes, panels, strict=True):
        for name in names:
            _measured_and_predicted(ax, record.results[scaling][name], name)
        rows = record.results[scaling][names[0]]
        sizes = sorted(rows, key=int)
        plug = [rows[n]["plug_in"] for n in sizes]
        ax.plot([int(n) for n in sizes], plug, color="0.6", ls="--", label="naive plug-in")
        sizes_axis(ax, record.parameters["sizes"])
        ax.tick_params(axis="x", labelrotation=60)
        ax.set_yscale("log")
        ax.set_title(title)
        ax.legend(fontsize=8)
    axes[0].set_ylabel("excess squared error")
    return fig


def _measured_and_predicted(ax: Axes, rows: dict, name: str) -> None:
    """Points with intervals, and the formula's line, in one colour."""
    n, mean, low, high = leaves(rows, "measured")
    key = {"zero": "scratch", "good": "l2sp", "real": "linear_probe"}[name]
    words = {"zero": "centre at zero", "good": "good centre", "real": "lesion labels"}[name]
    spread = np.maximum(0, [mean - low, high - mean])
    marker, colour = style.MARKERS[key], style.COLOURS[key]
    ax.errorbar(n, mean, spread, fmt=marker, color=colour, label=f"{words}: measured")
    predicted = [rows[str(k)]["predicted"] for k in n]
    ax.plot(n, predicted, color=colour, label=f"{words}: formula")


def distances(record: Record) -> Figure:
    """How far weights travel from their start until the training loss is matched."""
    style.apply()
    fig, ax = plt.subplots(figsize=(6.4, 3.6))
    for name in STRATEGIES:
        curve = {
            n: c
            for n, c in record.results["lesion"][name].items()
            if "matched_distance" in c and c["matched_reached"] >= 0.8 * len(c["matched_sets"])
        }
        if curve:
            words = f"{style.label(name)}, from {'its own' if name == 'scratch' else 'pretrained'}"
            line(ax, curve, name, "matched_distance", name=f"{words} start")
    sizes_axis(ax, record.parameters["sizes"])
    ax.set_ylabel("relative distance of the weights")
    ax.set_ylim(bottom=0)
    ax.legend()
    return fig


def label_worth(record: Record, kind: str = "lesion") -> Figure:
    """Scratch labels that buy the AUC of n transferred labels."""
    style.apply()
    fig, ax = plt.subplots(figsize=(6.4, 3.8))
    sizes = record.parameters["sizes"]
    for shift, name in ((0.96, "full_fine_tuning"), (1.04, "l2sp")):
        for n in sizes:
            row = record.results[kind]["label_worth"][name][str(n)]
            mean, low, high = (_edge(row[k], sizes) for k in ("mean", "low", "high"))
            arrow = "^" if str(row["mean"]).startswith(">") else style.MARKERS[name]
            ax.errorbar(
                n * shift,
                mean,
                np.maximum(0, [[mean - low], [high - mean]]),
                fmt=arrow,
                color=style.COLOURS[name],
                label=style.label(name) if n == sizes[0] else None,
            )
    ax.plot(sizes, sizes, color="0.6", ls=":", label="one for one")
    sizes_axis(ax, sizes)
    ax.set_xlabel("labels used by the pretrained network")
    ax.set_yscale("log")
    ax.set_yticks(sizes, [f"{n:,}" for n in sizes])
    ax.minorticks_off()
    ax.set_ylabel("labels scratch needs")
    ax.legend(loc="lower right")
    return fig


def _edge(value: float | str, sizes: list[int]) -> float:
    """A censored value is drawn at the edge of what was measured."""
    if isinstance(value, str):
        return float(sizes[-1] if value.startswith(">") else sizes[0])
    return float(value)


def crossed(record: Record) -> Figure:
    """Which randomness makes the variance: the training set, the seed, or both together."""
    style.apply()
    fig, ax = plt.subplots(figsize=(6.4, 3.2))
    rows = [
        (f"{style.label(s)}, n = {n}", record.results[s][str(n)])
        for n in record.parameters["sizes"]
        for s in ("scratch", "full_fine_tuning")
    ]
    shades = {"data": "#0072B2", "seed": "#E69F00", "interaction": "#BBBBBB"}
    words = {"data": "training set", "seed": "seed (start, order)", "interaction": "both together"}
    for i, (_, parts) in enumerate(rows):
        left = 0.0
        for part, colour in shades.items():
            width = max(parts[part]["mean"], 0.0)
            ax.barh(i, width, left=left, color=colour, label=words[part] if i == 0 else None)
            left += width
    ax.set_yticks(range(len(rows)), [name for name, _ in rows])
    ax.invert_yaxis()
    ax.set_xlabel("variance of the predicted probability")
    ax.legend(loc="lower right", fontsize=8)
    return fig


def parable(record: Record) -> Figure:
    """AUC on patients where the artefact sits on the healthy: trained fair against confounded."""
    style.apply()
    fig, axes = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True)
    titles = {
        "fair": "Artefact unrelated to disease",
        "confounded": "Artefact on every ill patient",
    }
    for ax, (arm, title) in zip(axes, titles.items(), strict=True):
        for name in ("scratch", "full_fine_tuning", "linear_probe"):
            line(ax, record.results[arm][name]["turned"], name, "auc")
        ax.axhline(0.5, color="0.7", lw=1, ls=":")
        ax.set_title(title)
        sizes_axis(ax, record.parameters["sizes"])
    axes[0].set_ylabel("AUC, artefact on the healthy")
    axes[0].set_ylim(0, 1)
    axes[1].legend(loc="upper left", fontsize=8)
    return fig


def real(record: Record) -> Figure:
    """AUC of heads on real pictures, by feature extractor."""
    style.apply()
    fig, ax = plt.subplots(figsize=(5.2, 3.4))
    for backbone in ("imagenet", "untrained", "pixels"):
        words = "linear probe (ImageNet)" if backbone == "imagenet" else None
        line(ax, record.results[backbone], HEADS[backbone], "auc", name=words)
    sizes_axis(ax, record.parameters["sizes"])
    ax.set_ylabel("AUC on the test pictures")
    ax.legend(loc="lower right")
    return fig


def front(networks: Record, heads: Record) -> Figure:
    """The front page's picture: what transfer buys, and what it costs nothing to check."""
    style.apply()
    fig, axes = plt.subplots(1, 2, figsize=(9, 3.3))
    for backbone in ("imagenet", "untrained", "pixels"):
        words = "ImageNet features" if backbone == "imagenet" else None
        line(axes[0], heads.results["lesion"][backbone], HEADS[backbone], "auc", name=words)
    for name in ("scratch", "full_fine_tuning"):
        line(axes[1], networks.results["lesion"][name], name, "squared", "variance")
    for ax, record in zip(axes, (heads, networks), strict=True):
        sizes = record.parameters["sizes"]
        sizes_axis(ax, sizes)
        ax.legend(fontsize=8)
    axes[0].set_title("Frozen features: AUC")
    axes[1].set_title("Whole networks: variance")
    axes[1].set_ylim(bottom=0)
    return fig
