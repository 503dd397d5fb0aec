"""One figure with sliders for each modality, and one in which the patient stays."""

from __future__ import annotations

from dataclasses import replace

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from medxfer_lab.course import style
from medxfer_lab.imaging import CT, MRI, Radiograph, Ultrasound
from medxfer_lab.imaging.anatomy import CHANNELS
from medxfer_lab.imaging.geometry import View
from medxfer_lab.imaging.scanners import (
    CT_CONTRAST,
    CT_ROUTINE,
    CURVED_8,
    FLAIR,
    PHASED_5,
    RADIOGRAPH_FRONTAL,
    RADIOGRAPH_LATERAL,
    T1,
    T1_POST,
    T2,
    Scanner,
    mri,
)
from medxfer_lab.imaging.windows import BONE_WINDOW, BRAIN_WINDOW, SUBDURAL_WINDOW, window
from medxfer_lab.reference.figures import cast

#: what each colour of the tissue map stands for, in the order of CHANNELS
TISSUE_COLOURS = {
    "csf": "#56B4E9",
    "grey_matter": "#9A9A9A",
    "white_matter": "#DDDDDD",
    "lesion": "#D55E00",
    "oedema": "#F0C98B",
    "enhancing": "#CC79A7",
    "blood": "#7A0000",
    "haematoma": "#B22222",
    "calcification": "#009E73",
    "skull": "#F5EFD6",
    "scalp": "#C8A27C",
}
#: sequences of :func:`mri_contrast` by what the page calls them
SEQUENCES = {"T1": T1, "T1 + agent": T1_POST, "T2": T2, "PD": mri.PD, "FLAIR": FLAIR}
_SIGNALS = {
    "csf": "fluid",
    "grey_matter": "grey matter",
    "white_matter": "white matter",
    "oedema": "oedema",
    "lesion": "glioma",
    "enhancing": "metastasis",
    "haematoma": "fresh bleed",
}
WINDOWS = {"brain": BRAIN_WINDOW, "subdural": SUBDURAL_WINDOW, "bone": BONE_WINDOW}
DOSES = {"30 thousand": 3e4, "300 thousand": 3e5, "3 million": 3e6, "30 million": 3e7}


def mri_contrast(sequence: str, field: float) -> Figure:
    """One slice and the signal equation's values for its tissues, sequence by sequence.

    sequence: a key of SEQUENCES. field: 1.5 or 3.0 tesla; the same sequence, its inversion time
    following the fluid, its noise what the field makes of it.
    """
    style.apply()
    scanner = replace(SEQUENCES[sequence], bias=0.08)
    if field != scanner.field_t:
        scanner = mri.at_field(scanner, field)
    picture = cast.scan(cast.whole_head(scanner))
    signals = {t: float(scanner.signal(t)) for t in _SIGNALS}
    fig, (left, right) = _figure("mri", (6.2, 3.0), 2, (1.0, 1.0))
    _show(left, picture, 0, 1.1 * scanner.gain * max(signals.values()))
    names = list(_SIGNALS)
    right.barh(range(len(names)), signals.values(), color=[TISSUE_COLOURS[t] for t in names])
    right.set_yticks(range(len(names)), [_SIGNALS[t] for t in names])
    right.invert_yaxis()
    right.set(xlim=(0, 1), xlabel="signal without noise")
    right.set_title(f"{sequence}, {field:g} T: SNR {scanner.snr:.0f}", fontsize=10)
    return fig


def ct_dose(photons: str, kernel: str) -> Figure:
    """One slice in three windows. photons: a key of DOSES. kernel: "smooth" or "sharp"."""
    style.apply()
    fig, axes = _figure("ct", (6.4, 2.5), 3)
    picture = cast.scan(replace(CT_ROUTINE, photons=DOSES[photons], kernel=kernel))
    for ax, (name, (level, width)) in zip(axes, WINDOWS.items()):
        _show(ax, window(picture, level, width), 0, 1)
        ends = f"{level - width / 2:.0f} to {level + width / 2:.0f}"
        ax.set_title(f"{name}, {ends} HU", fontsize=9, fontweight="normal")
    return fig


def ultrasound_depth(frequency: float, depth: float) -> Figure:
    """The plane under the probe. frequency: MHz. depth: mm shown, and wide."""
    style.apply()
    scanner = replace(
        CURVED_8, frequency_mhz=frequency, field_of_view_mm=depth, dynamic_range_db=60.0
    )
    fig, axes = _figure("ultrasound", (4.4, 3.9), 1)
    _show(axes[0], cast.scan(scanner), 0, 255, extent=(0, depth, depth, 0))
    axes[0].axis("on")
    axes[0].set(xlabel="front to back, mm", ylabel="depth under the probe, mm")
    reach = scanner.penetration_mm()
    if reach < depth:
        axes[0].axhline(reach, color=style.COLOURS["bias"], linewidth=1.2, linestyle="--")
        axes[0].text(1, reach - 0.015 * depth, "white matter = noise", fontsize=8,
                     va="bottom",
                     bbox={"facecolor": "white", "edgecolor": "none", "pad": 1})  # fmt: skip
    return fig


def tissue_map() -> Figure:
    """What is really in the slice of the one patient: tissues in colours, lesions labelled."""
    style.apply()
    fig, (ax,) = _figure("map", (3.9, 4.0), 1)
    fractions = cast.seen_through(View("axial", 240.0))[0]
    palette = torch.tensor([plt.matplotlib.colors.to_rgb(TISSUE_COLOURS[c]) for c in CHANNELS])
    _show(ax, torch.einsum("chw,ck->hwk", fractions, palette).clamp(0, 1))
    for tissue, (word, dx, dy) in _MARKS.items():
        row, column = _middle(fractions[CHANNELS.index(tissue)])
        ax.annotate(
            word,
            (column, row),
            (column + dx, row + dy),
            fontsize=9,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.0},
            arrowprops={"arrowstyle": "-", "color": "black", "linewidth": 0.9},
        )
    return fig


def same_patient(scanner: str) -> Figure:
    """The one patient on one of EVERYWHERE's scanners."""
    style.apply()
    machine, where = EVERYWHERE[scanner]
    fig, (ax,) = _figure("everywhere", (3.9, 4.2), 1)
    picture = cast.scan(machine)
    _show(ax, picture, *_greys(machine, picture))
    ax.set_title(where, fontsize=9, fontweight="normal")
    return fig


def _whole(scanner: MRI, **changes) -> MRI:
    return replace(cast.whole_head(scanner), **changes)


#: scanner in words -> (scanner, what it shows)
EVERYWHERE: dict[str, tuple[Scanner, str]] = {
    "MRI T1": (_whole(T1), "axial slice"),
    "MRI T1 with agent": (_whole(T1_POST), "axial slice"),
    "MRI T2": (_whole(T2), "axial slice"),
    "MRI FLAIR": (_whole(FLAIR), "axial slice"),
    "MRI FLAIR, poor scanner": (
        _whole(FLAIR, **{**mri.MERGANSER, "snr": 8.0}),
        "few lines of k-space, motion, noise",
    ),
    "CT, brain window": (replace(CT_ROUTINE, photons=3e6), "axial slice"),
    "CT with contrast agent": (replace(CT_CONTRAST, photons=3e6), "axial slice"),
    "CT, low dose, sharp kernel": (
        replace(CT_ROUTINE, name="low dose", photons=1e5, kernel="sharp"),
        "axial slice",
    ),
    "ultrasound 5 MHz": (PHASED_5, "under a probe on the right of the slice"),
    "ultrasound 8 MHz": (CURVED_8, "under a probe on the left of the slice"),
    "radiograph, lateral": (RADIOGRAPH_LATERAL, "the whole head from the side"),
    "radiograph, frontal": (RADIOGRAPH_FRONTAL, "the whole head from the front"),
}


#: tissue -> (label, where it stands beside the tissue, pixels)
_MARKS = {
    "lesion": ("glioma", -40, -28),
    "enhancing": ("metastasis", -4, 38),
    "haematoma": ("bleed", -45, 30),
    "calcification": ("calcification", 5, -34),
}


def _middle(share: Tensor) -> tuple[float, float]:
    rows, columns = torch.meshgrid(*(torch.arange(n) for n in share.shape), indexing="ij")
    weight = share / share.sum()
    return float((rows * weight).sum()), float((columns * weight).sum())


def _greys(scanner: Scanner, picture: Tensor) -> tuple[float, float]:
    """The values shown black and white."""
    if isinstance(scanner, CT):
        level, width = BRAIN_WINDOW
        return level - width / 2, level + width / 2
    if isinstance(scanner, Ultrasound):
        return 0, 255
    if isinstance(scanner, Radiograph):
        ends = 0, 0.75 * scanner.highest_value
        if scanner.photometric == "MONOCHROME1":  # the lowest value is the brightest
            return scanner.highest_value, scanner.highest_value - ends[1]
        return ends
    return 0, float(torch.quantile(picture, 0.995))


def _show(ax: Axes, picture: Tensor, low: float = 0, high: float = 1, **how) -> None:
    if low > high:
        picture, low, high = -picture, -low, -high
    ax.imshow(picture.numpy(), cmap="gray", vmin=low, vmax=high, interpolation="bilinear", **how)
    ax.axis("off")


def _figure(name: str, inches: tuple, columns: int, widths: tuple | None = None) -> tuple:
    """The explorer's one figure, cleared, with its columns and the notice at its foot."""
    fig = plt.figure(num=f"imaging {name}", figsize=inches, clear=True)
    axes = fig.subplots(1, columns, squeeze=False, width_ratios=widths)[0]
    fig.supxlabel(cast.NOT_CLINICAL, fontsize=8, color="#555555")
    return fig, axes
