"""Figures of simulated patients."""

from __future__ import annotations

from dataclasses import replace

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure

from medxfer_lab.bias_variance.experiment import material
from medxfer_lab.course import style
from medxfer_lab.imaging import FLAIR, Burden, Hospital, normalize
from medxfer_lab.imaging.artefacts import zipper


def cohort(count: int = 6, seed: int = 3) -> Figure:
    """Diseased patients above, healthy ones below, the lesion's outline in orange."""
    style.apply()
    drawn = material.cohort(8 * count, seed)
    pictures = material.images(drawn)
    fig, axes = plt.subplots(2, count, figsize=(1.55 * count, 3.5))
    for row, label in enumerate((1.0, 0.0)):
        for ax, i in zip(axes[row], (drawn.labels == label).nonzero().flatten(), strict=False):
            ax.imshow(pictures[i, 0], cmap="gray", vmin=0, vmax=1)
            if label:
                ax.contour(drawn.masks[i], [0.5], colors=style.COLOURS["bias"], linewidths=1)
                ax.set_title(f"{float(drawn.burden[i]):.0f} ml", fontsize=9, fontweight="normal")
            ax.axis("off")
    axes[0, 0].text(
        -0.08, 0.5, "lesion", rotation=90, va="center", ha="right", transform=axes[0, 0].transAxes
    )
    axes[1, 0].text(
        -0.08, 0.5, "none", rotation=90, va="center", ha="right", transform=axes[1, 0].transAxes
    )
    fig.suptitle("Simulated FLAIR slices; not for clinical use", fontsize=9)
    return fig


def same_patients(volume_ml: float, contrast: float, snr: float) -> Figure:
    """Four patients with a lesion of given volume and contrast, at a given signal-to-noise ratio.

    contrast: the fraction of tissue that the lesion replaces. The brains stay the same whatever the
    sliders say: only the lesion and the noise change.
    """
    style.apply()
    burden = Burden(1.0, (volume_ml, volume_ml * 1.001), (contrast, contrast + 1e-6), 0.16, 2.0)
    scanner = replace(FLAIR, bias=0.2, snr=snr)
    hospital = Hospital("explorer", ((scanner, 1.0),), burden=burden)
    drawn = hospital.draw(4, seed=12, size=96)
    pictures = normalize.foreground_median(drawn.images)
    fig = plt.figure(num="cohort", figsize=(7.2, 2.1), clear=True)
    for i, ax in enumerate(fig.subplots(1, 4)):
        ax.imshow(pictures[i, 0], cmap="gray", vmin=0, vmax=1)
        ax.axis("off")
    return fig


def artefact(seed: int = 4) -> Figure:
    """The same slice without and with the zipper artefact."""
    style.apply()
    drawn = material.cohort(6, seed)
    sick = int((drawn.labels > 0).nonzero()[0])
    fig, axes = plt.subplots(1, 2, figsize=(5, 2.7))
    for ax, present in zip(axes, (False, True), strict=True):
        marked = zipper(drawn.images, torch.full((6,), present))
        ax.imshow(normalize.foreground_median(marked)[sick, 0], cmap="gray", vmin=0, vmax=1)
        ax.set_title("with zipper artefact" if present else "as scanned", fontsize=9)
        ax.axis("off")
    return fig
