"""Figures of simulated patients: what each shift looks like, and what a network makes of it."""

from __future__ import annotations

from functools import lru_cache

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from medxfer_lab.course import style
from medxfer_lab.domain_shift.experiment import acquisition, conditions, material
from medxfer_lab.domain_shift.experiment.assess import Scores, recalibrated, sigmoid
from medxfer_lab.domain_shift.experiment.models import Model, look, train
from medxfer_lab.domain_shift.figures.parts import said
from medxfer_lab.domain_shift.figures.results import SCANNERS
from medxfer_lab.imaging import Cohort, rescan
from medxfer_lab.methods.calibration import Calibration

#: a condition (or a scanner) -> what is said at the left of its row
CAST = {
    "none": "source",
    "readers.100": "other readers\nsame patients\n$p(x)$ kept",
    "low_snr": "SNR a sixth\nsame patients\n$p(y|patient)$ kept",
    "label.80": "prevalence 80 %\n$p(x|y)$ kept",
    "select.30": "little bright area\n$p(y|x)$ kept",
    "vendor.90": "90 % on second\nvendor, $p(y|x)$ kept",
    "burden.80": "80 % affected\nkeeps neither",
}
_POOL = 60
PATIENTS = (1, 2, 3, 4)


def cast(seed: int = 0, count: int = 5) -> Figure:
    """The source and six targets, `count` patients each, with their labels there.

    Rows that relabel or rescan show the source row's patients again.
    """
    style.apply()
    source = material.draw(_POOL, material.SCALE_SEED + 100 + seed)
    fig, axes = plt.subplots(len(CAST), count, figsize=(1.18 * count + 1.9, 1.35 * len(CAST)))
    for row, (name, words) in zip(axes, CAST.items(), strict=True):
        shown, labels, volumes = _target(source, name, seed, count)
        for ax, picture, label, volume in zip(row, shown, labels, volumes, strict=True):
            ill = bool(label)
            colour = style.COLOURS["target"] if ill else style.COLOURS["source"]
            lesion = f"{float(volume):.0f} ml" if volume > 0 else "no lesion"
            _picture(ax, picture, f"{'ill' if ill else 'well'}, {lesion}", colour)
        row[0].set_ylabel(words, rotation=0, ha="right", va="center", fontsize=9)
    said(fig, "simulated FLAIR slices, not for clinical use; ml: volume of the large lesion")
    return fig


def _target(source: Cohort, name: str, seed: int, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Pictures, labels and lesion volumes of the first patients of one row."""
    if conditions.family(name) == "burden":
        there = material.draw(count, material.SCALE_SEED + 200, conditions.burden_hospital(name))
        return material.pictures(there), there.labels, there.burden
    if name in SCANNERS["mri"]:
        there = rescan(source.take(torch.arange(count)), acquisition.TARGETS["mri"][name], seed)
        return material.pictures(there), there.labels, there.burden
    chosen = conditions.target(conditions.Pool(source), name, seed, count)
    there = source.take(chosen.index)
    return material.pictures(there), chosen.labels, there.burden


def _picture(ax: Axes, picture: Tensor, title: str, colour: str = "black") -> None:
    ax.imshow(picture[0].numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    ax.set_title(title, fontsize=8, fontweight="normal", color=colour, loc="center", pad=2)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set_visible(False)


def same_patients(patient: int, scanner: str) -> Figure:
    """One ill and one healthy patient on the source scanner and on another, and a verdict on each.

    patient: 1 to 4. scanner: a key of `experiment.acquisition.TARGETS["mri"]`. Above each picture
    stands the probability of disease by one network that was trained and calibrated on the source.
    Raises ValueError for another patient or scanner.
    """
    if patient not in PATIENTS:
        raise ValueError(f"patient is {patient!r}; there are {PATIENTS}")
    if scanner not in SCANNERS["mri"]:
        raise ValueError(f"scanner is {scanner!r}; there are {', '.join(SCANNERS['mri'])}")
    style.apply()
    model, line = _network()
    fig = plt.figure(num="same patients", figsize=(4.6, 4.8), clear=True)
    axes = fig.subplots(2, 2)
    for column, name in enumerate(("source", scanner)):
        there = _seen(name)
        p = sigmoid(line.apply(model(there)))
        for row, label in enumerate((1, 0)):
            i = int((there.labels == label).nonzero()[patient - 1])
            place = "source scanner" if name == "source" else SCANNERS["mri"][scanner]
            _picture(axes[row, column], material.pictures(there)[i],
                     f"{place}\nP(disease) = {p[i]:.2f}")  # fmt: skip
    for row, words in enumerate(("ill", "well")):
        axes[row, 0].set_ylabel(words, fontsize=10, fontweight="bold")
    said(fig, "simulated, not for clinical use; one network, trained on the source scanner")
    return fig


@lru_cache(maxsize=8)
def _seen(name: str) -> Cohort:
    """The explorer's patients on one scanner."""
    source = acquisition.admitted(24, material.SCALE_SEED + 300, "mri")
    if name == "source":
        return source
    return rescan(source, acquisition.TARGETS["mri"][name], material.SCALE_SEED + 301)


@lru_cache(maxsize=1)
def _network() -> tuple[Model, Calibration]:
    """One small network, tuned for 150 steps on 300 patients, and its calibration on 150 others."""
    everyone = acquisition.admitted(450, material.SCALE_SEED + 302, "mri")
    drawn, held = everyone.take(torch.arange(300)), everyone.take(torch.arange(300, 450))
    how = {"settings": {"learning_rate": 1e-3}, "seed": 0, "steps": 150}
    model = train("network", look("network", drawn), drawn.labels, **how)
    return model, recalibrated(Scores(model(held), held.labels.numpy()))
