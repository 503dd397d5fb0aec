"""Figures of what the lab has just trained."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from medxfer_lab.bias_variance.figures.results import HEADS, line, sizes_axis
from medxfer_lab.course import style
from medxfer_lab.course.record import Record


def lab_against_record(sizes: list[int], aucs: dict[str, np.ndarray], heads: Record) -> Figure:
    """The lab's AUCs (sizes, sets) as dots over the record's curves."""
    style.apply()
    fig, ax = plt.subplots(figsize=(6.4, 3.8))
    for backbone, values in aucs.items():
        key = HEADS[backbone]
        words = "ImageNet features" if backbone == "imagenet" else style.label(key)
        line(ax, heads.results["lesion"][backbone], key, "auc", name=f"{words}: record")
        for n, dots in zip(sizes, values, strict=True):
            ax.plot(np.full(len(dots), n), dots, ".", color=style.COLOURS[key], alpha=0.5, ms=7)
    sizes_axis(ax, heads.parameters["sizes"])
    ax.set_ylabel("AUC")
    ax.set_title("Dots: your training sets. Lines: the record's mean.")
    ax.legend(fontsize=8, loc="upper left")
    return fig


def one_set(logits: np.ndarray, labels: np.ndarray, size: int, number: int) -> Figure:
    """Predicted probabilities of the same 30 test patients after training on set ``number``.

    logits: (sets, n_test) at one training size. Grey marks: the mean over all sets.
    """
    style.apply()
    shown = np.argsort(logits.mean(0))[:: max(1, logits.shape[1] // 30)][:30]
    probability = 1 / (1 + np.exp(-logits[:, shown]))
    fig = plt.figure(num="one_set", figsize=(7.2, 3.0), clear=True)
    ax = fig.subplots()
    at = np.arange(len(shown))
    ax.plot(at, probability.mean(0), "_", color="0.6", ms=9, mew=2, label="mean over all sets")
    ill = labels[shown] > 0
    for mask, colour, marker, words in (
        (ill, style.COLOURS["scratch"], "^", "lesion"),
        (~ill, style.COLOURS["linear_probe"], "o", "no lesion"),
    ):
        ax.plot(at[mask], probability[number, mask], marker, color=colour, label=words)
    ax.set_ylim(-0.02, 1.02)
    ax.set_xlabel("the same 30 test patients, ordered by their mean prediction")
    ax.set_ylabel("predicted probability")
    ax.set_title(f"{size} labels, training set {number + 1}")
    ax.legend(fontsize=8, loc="upper left", ncols=3)
    return fig
