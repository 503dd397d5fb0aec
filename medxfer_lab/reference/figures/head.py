"""Figures of simulated heads: how people differ, what spoils an MRI, and what a slice hides."""

from __future__ import annotations

from dataclasses import replace

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from medxfer_lab.course import style
from medxfer_lab.imaging import HEALTHY, T1, Disease, Patients, View, tissue
from medxfer_lab.imaging.draw import draw_patients
from medxfer_lab.imaging.scanners import (
    FLAIR,
    RADIOGRAPH_FRONTAL,
    RADIOGRAPH_LATERAL,
    T1_POST,
)
from medxfer_lab.reference.figures import cast

#: what each panel of :func:`mri_artefacts` changes; the first is the clean image
ARTEFACTS = {
    "clean": {},
    "noise: SNR 5": {"snr": 5.0},
    "uneven coil": {"bias": 0.35},
    "a third of k-space": {"k_space": 0.33},
    "motion of 2 mm": {"ghosting": 2.0},
    "all of them": {"snr": 5.0, "bias": 0.35, "k_space": 0.33, "ghosting": 2.0},
}


def people() -> Figure:
    """Six people without disease, one slice each: one averaged brain, warped six times."""
    style.apply()
    scanner, patients = cast.whole_head(T1), cast.healthy()
    fractions, _ = tissue(patients, cast.SLICE, view=scanner.view)
    pictures = scanner.acquire(fractions, patients.ids, seed=3)[:, 0]
    fig, axes = plt.subplots(2, 3, figsize=(6.6, 4.7))
    for ax, picture in zip(axes.flat, pictures):
        _grey(ax, picture)
    return _signed(fig)


def mri_artefacts() -> Figure:
    """The same slice clean, with each fault of the scanner alone, and with all of them."""
    style.apply()
    clean = replace(cast.whole_head(FLAIR), snr=200.0, bias=0.0)
    top = float(torch.quantile(cast.scan(clean), 0.995))
    fig, axes = plt.subplots(2, 3, figsize=(6.6, 5.1))
    for ax, (name, faults) in zip(axes.flat, ARTEFACTS.items()):
        _grey(ax, cast.scan(replace(clean, **faults)), 0, top)
        ax.set_title(name, fontsize=9, fontweight="normal")
    return _signed(fig)


def tube_or_metastasis(seed: int = 2) -> Figure:
    """A metastasis and a tube with the same cut: axial slices above, coronal cuts below."""
    style.apply()
    fig, axes = plt.subplots(2, 2, figsize=(5.4, 5.8))
    for column, (name, mimic) in enumerate((("A", 0.0), ("B", 1.0))):
        slice_, upright, lesion = _cuts(_with_one_spot(mimic, seed))
        _grey(axes[0, column], slice_)
        _grey(axes[1, column], upright)
        axes[0, column].set_title(name, fontsize=10)
        for ax in axes[:, column]:
            row = lesion[1] if ax is axes[0, column] else lesion[0]
            ax.plot(lesion[2], row, "o", markersize=26, markerfacecolor="none",
                    markeredgecolor=style.COLOURS["bias"])  # fmt: skip
    for ax, words in zip(axes[:, 0], ("the slice", "cut upright")):
        ax.text(-0.04, 0.5, words, rotation=90, va="center", ha="right", transform=ax.transAxes)
    return _signed(fig)


def _with_one_spot(mimic: float, seed: int) -> Patients:
    disease = Disease("metastasis", at_least=1, most=1, volume_ml=(2.0, 2.5), mimic=mimic)
    burden = replace(HEALTHY, others=(disease,))
    return draw_patients(1, seed, replace(cast.ADULTS_AT_VENTRICLES, vessels=0.0), burden)


def _cuts(patients: Patients) -> tuple[Tensor, Tensor, tuple[int, int, int]]:
    """Axial slice, coronal cut, and (slice from above, row, column) of the spot in voxels."""
    fractions, _ = tissue(patients, cast.VOLUME, view=View("volume", 240.0))
    spot = (fractions[0, 5] > 0.5).float()  # "enhancing"
    axes = [torch.arange(cast.VOLUME).float()] * 3
    level, row, column = (
        int((spot.sum([a for a in range(3) if a != k]) * axes[k]).sum() / spot.sum())
        for k in range(3)
    )
    scanner = replace(T1_POST, bias=0.05, field_of_view_mm=240.0)
    flat, _ = tissue(patients, cast.VOLUME, view=scanner.view)
    slice_ = scanner.acquire(flat, patients.ids, seed=1)[0, 0]
    upright = fractions[:, :, :, row].flip(2)  # slices run from foot to head
    cut = scanner.acquire(upright, patients.ids, seed=2)[0, 0]
    return slice_, cut, (cast.VOLUME - 1 - level, row, column)


def radiographs() -> Figure:
    """Lateral, and frontal stored as MONOCHROME1: shown as meant, and by mistake as MONOCHROME2."""
    style.apply()
    lateral, frontal = cast.scan(RADIOGRAPH_LATERAL), cast.scan(RADIOGRAPH_FRONTAL)
    bright = 0.75 * RADIOGRAPH_LATERAL.highest_value
    dark = 0.25 * RADIOGRAPH_FRONTAL.highest_value
    fig, axes = plt.subplots(1, 3, figsize=(6.6, 2.7))
    _grey(axes[0], lateral, 0, bright)
    _grey(axes[1], -frontal, -RADIOGRAPH_FRONTAL.highest_value, -dark)
    _grey(axes[2], frontal, dark, RADIOGRAPH_FRONTAL.highest_value)
    titles = ("lateral", "frontal, MONOCHROME1", "the same, tag ignored")
    for ax, title in zip(axes, titles):
        ax.set_title(title, fontsize=9, fontweight="normal")
    return _signed(fig)


def _grey(ax: Axes, picture: Tensor, low: float = 0.0, high: float | None = None) -> None:
    high = float(torch.quantile(picture.flatten(), 0.995)) if high is None else high
    ax.imshow(picture.numpy(), cmap="gray", vmin=low, vmax=high, interpolation="bilinear")
    ax.axis("off")


def _signed(fig: Figure) -> Figure:
    fig.supxlabel(cast.NOT_CLINICAL, fontsize=8, color="#555555")
    return fig
