"""A cohort: images with everything that is known about them, simulated or real."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from medxfer_lab.imaging.patients import Patients
from medxfer_lab.imaging.scanners import Scanner


@dataclass(frozen=True)
class Cohort:
    """Images with everything that is known about them; None where something is not known.

    images: (n, C, H, W) float32 in ``units``. labels: (n,) float32.
    patient_ids: (n,) int64; images of one patient share it.
    units: what a pixel value means, e.g. "HU". source: where the images come from, "simulated" or
    the name of a file or data set.
    spacing_mm: (n, 2) height and width of a pixel.
    masks: (n, H, W) bool, the disease's pixels.
    Of simulated patients alone: burden, (n,) latent lesion volume in ml; patients; scanner, (n,)
    index into scanners; eta, (n,) the probability P(y = 1) that random labels were drawn with, None
    where labels follow from the criterion.
    """

    images: Tensor
    labels: Tensor
    patient_ids: Tensor | None
    units: str = "unknown"
    source: str = "unknown"
    spacing_mm: Tensor | None = None
    masks: Tensor | None = None
    burden: Tensor | None = None
    patients: Patients | None = None
    scanner: Tensor | None = None
    scanners: tuple[Scanner, ...] = ()
    eta: Tensor | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def prevalence(self) -> float:
        """Share of positive labels."""
        return float(self.labels.mean())

    def take(self, index: Tensor) -> Cohort:
        """The patients at ``index``, in that order."""
        known = {f.name: getattr(self, f.name) for f in fields(self)}
        part = {key: value[index] for key, value in known.items() if isinstance(value, Tensor)}
        if self.patients is not None:
            part["patients"] = self.patients.take(index)
        return replace(self, **part)

    def draw_labels(self, eta: Tensor, seed: int) -> Cohort:
        """The same images with labels drawn at random: y ~ Bernoulli(eta), eta (n,) in [0, 1]."""
        if eta.shape != self.labels.shape:
            raise ValueError(
                f"eta has shape {tuple(eta.shape)}; expected one value a patient: "
                f"{tuple(self.labels.shape)}"
            )
        if not ((eta >= 0) & (eta <= 1)).all():
            raise ValueError(f"eta reaches {float(eta.max()):.3g}; probabilities lie in [0, 1]")
        uniform = torch.from_numpy(np.random.default_rng((seed, 4)).random(len(self)))
        return replace(self, labels=(uniform < eta).float(), eta=eta)
