"""Simulated pictures above, the real ones that ship in packages below, each labelled as such."""

from __future__ import annotations

from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from medxfer_lab.course import style
from medxfer_lab.imaging.scanners import (
    CT_CONTRAST,
    CT_ROUTINE,
    CT_SHARP_LOW_DOSE,
    CURVED_8,
    FLAIR,
    LINEAR_12,
    PHASED_5,
    RADIOGRAPH_FRONTAL,
    RADIOGRAPH_LATERAL,
    T1,
    T2,
    Radiograph,
    Scanner,
)
from medxfer_lab.reference.experiment import real_pictures
from medxfer_lab.reference.figures import cast

SIMULATED, REAL = "#0072B2", "#D55E00"
_COLUMNS = 3
#: what is simulated of each modality
_SIMULATED: dict[str, dict[str, Scanner]] = {
    "MR": {name: cast.whole_head(s) for name, s in (("FLAIR", FLAIR), ("T1", T1), ("T2", T2))},
    "CT": {
        "routine": CT_ROUTINE,
        "contrast agent, dose x 10": replace(CT_CONTRAST, photons=3e6),
        "sharp kernel, low dose": CT_SHARP_LOW_DOSE,
    },
    "ultrasound": {"5 MHz": PHASED_5, "8 MHz": CURVED_8, "12 MHz": LINEAR_12},
    "radiograph": {"lateral": RADIOGRAPH_LATERAL, "frontal": RADIOGRAPH_FRONTAL},
}
#: which of the real ones are shown, in order
_REAL = {
    "MR": ("mr_head_axial", "mr_head_sagittal", "mr_shoulder"),
    "CT": ("ct_head", "ct_skull_base", "ct_abdomen"),
    "ultrasound": ("us_heart", "us_pelvis", "us_lymph_node"),
    "radiograph": ("radiograph_chest", "radiograph_leg"),
}


def gallery(modality: str) -> Figure:
    """One modality (a key of real_pictures.MODALITIES' values): simulated above, real below.

    A real picture whose package is not installed is left blank, with the package's name.
    """
    if modality not in _SIMULATED:
        raise ValueError(f"modality is {modality!r}; the gallery has {', '.join(_SIMULATED)}")
    style.apply()
    columns = len(_REAL[modality])
    fig, axes = plt.subplots(2, columns, figsize=(2.2 * _COLUMNS * columns / 3, 4.9), squeeze=False)
    for ax, (name, scanner) in zip(axes[0], _SIMULATED[modality].items()):
        picture = cast.scan(scanner, who=cast.tumours)
        if isinstance(scanner, Radiograph) and scanner.photometric == "MONOCHROME1":
            picture = -picture
        _frame(ax, picture, f"simulated head\n{name}", SIMULATED)
    for ax, name in zip(axes[1], _REAL[modality]):
        _real(ax, name)
    fig.supxlabel(f"blue: {cast.NOT_CLINICAL.lower()}; orange: real", fontsize=8, color="#555555")
    return fig


def regions(modality: str) -> list[str]:
    """The body regions that the real pictures of :func:`gallery` show, for its alternative text."""
    return [real_pictures.SOURCES[name].region for name in _REAL[modality]]


def _real(ax: Axes, name: str) -> None:
    source = real_pictures.SOURCES[name]
    title = f"real\n{source.region}"
    if real_pictures.path_of(name) is None:
        ax.text(0.5, 0.5, f"needs the package\n{source.package}", ha="center", va="center")
        ax.set(xticks=[], yticks=[])
        ax.set_title(title, fontsize=9, fontweight="normal", color=REAL)
        return
    wanted = real_pictures.MODALITIES[source.modality]
    _frame(ax, real_pictures.real_pictures((wanted,))[name].grey(area=True), title, REAL)


def _frame(ax: Axes, picture: Tensor, title: str, colour: str) -> None:
    low, high = np.percentile(picture.numpy(), (1, 99.5))
    ax.imshow(picture.numpy(), cmap="gray", vmin=low, vmax=high, interpolation="bilinear")
    ax.set(xticks=[], yticks=[])
    ax.set_title(title, fontsize=9, fontweight="normal", color=colour)
    for spine in ax.spines.values():
        spine.set(visible=True, color=colour, linewidth=2)
