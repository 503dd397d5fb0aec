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

#: a condition (or a scanner) -> the name at the left of its row: the source, then the targets
CAST = {
    "none": "City General",
    "label.80": "referral centre",
    "select.30": "outpatients",
    "vendor.90": "other vendor mix",
    "low_snr": "noisy scanner",
    "burden.80": "more lesions",
    "readers.100": "other readers",
}
#: a new scanner of `same_patients` in words -> its key in `acquisition.TARGETS["mri"]`
SCANNER_WORDS = {words: name for name, words in SCANNERS["mri"].items()}
_POOL = 60
PATIENTS = (1, 2, 3, 4)


def cast(seed: int = 0, count: int = 5, kept: bool = False) -> Figure:
    """The source and six targets, `count` patients each, with their labels there.

    Rows that relabel or rescan show the source row's patients again. kept: below each name stands
    the factor that the hospital keeps; without it the picture does not answer its own question.
    """
    style.apply()
    source = material.draw(_POOL, material.SCALE_SEED + 100 + seed)
    fig, axes = plt.subplots(len(CAST), count, figsize=(1.18 * count + 1.9, 1.35 * len(CAST)))
    for row, (name, words) in zip(axes, CAST.items(), strict=True):
        words = f"{words}{_kept(name)}" if kept else words
        shown, labels, volumes = _target(source, name, seed, count)
        for ax, picture, label, volume in zip(row, shown, labels, volumes, strict=True):
            ill = bool(label)
            colour = style.COLOURS["target"] if ill else style.COLOURS["source"]
            lesion = f"{float(volume):.0f} ml" if volume > 0 else "no lesion"
            _picture(ax, picture, f"{'diseased' if ill else 'healthy'}, {lesion}", colour)
        row[0].set_ylabel(words, rotation=0, ha="right", va="center", fontsize=9)
    said(
        fig,
        "simulated FLAIR slices, not for clinical use; ml: volume of the large lesion\n"
        f"disease: a lesion of at least {material.HOSPITAL.criterion.volume_ml:.0f} ml\n"
        "small bright spots occur in both and do not count (except for the other readers)",
    )
    return fig


def _kept(name: str) -> str:
    """A row's second line: the factor that is kept."""
    family = "acquisition" if name in SCANNERS["mri"] else conditions.family(name)
    if family == "none":
        return ""
    factor = conditions.KEEPS[family].replace("patient", r"\mathrm{patient}")
    return f"\nkeeps {factor}" if factor == "neither" else f"\nkeeps ${factor}$"


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
    """One diseased and one healthy patient on the source scanner and on another, and verdicts.

    patient: 1 to 4. scanner: words of `SCANNER_WORDS`, or a key of
    `experiment.acquisition.TARGETS["mri"]`. Above each picture stands the probability of disease by
    one network that was trained and calibrated on the source. Raises ValueError for another patient
    or scanner.
    """
    if patient not in PATIENTS:
        raise ValueError(f"patient is {patient!r}; there are {PATIENTS}")
    scanner = SCANNER_WORDS.get(scanner, scanner)
    if scanner not in SCANNERS["mri"]:
        known = ", ".join(f"{name} ({words})" for name, words in SCANNERS["mri"].items())
        raise ValueError(f"scanner is {scanner!r}; there are {known}")
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
    for row, words in enumerate(("diseased", "healthy")):
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
