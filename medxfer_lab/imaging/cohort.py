"""A cohort: images with everything that is known about them, simulated or real."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from medxfer_lab.imaging.patients import Patients
from medxfer_lab.imaging.scanners import Scanner
from medxfer_lab.imaging.steps import Normalization, Normalized


@dataclass(frozen=True)
class Cohort:
    """Images with everything that is known about them; None or empty where something is not known.

    images: (n, C, H, W) float32 in ``units``; volumes (n, C, D, H, W). labels: (n,) float32, 0 or
    1; of more than two classes (n,) int64, an index into ``classes``; of several findings at once
    (n, K) float32, one column for each of ``classes``.
    patient_ids: (n,) int64; images of one patient share it.
    units: what a pixel value means, e.g. "HU". source: where the images come from, "simulated" or
    the name of a file or data set.
    spacing_mm: (n, 2) height and width of a pixel; (n, 3) of a voxel, depth first.
    masks: (n, H, W) or (n, D, H, W) bool, the disease's pixels.
    Of simulated patients alone: burden, (n,) latent lesion volume in ml; patients; scanner, (n,)
    index into scanners; eta, (n,) the probability P(y = 1) that random labels were drawn with, None
    where labels follow from the criterion.
    classes: the names of the labels' values. names: n file names. notes: what a user of the
    images must know, in sentences. steps: the normalisations that they went through, in order.
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
    classes: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    steps: tuple[Normalization, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def prevalence(self) -> float:
        """Share of positive labels."""
        if self.labels.ndim != 1 or not self.labels.is_floating_point():
            raise ValueError(
                f"labels are {tuple(self.labels.shape)} {self.labels.dtype}, of classes "
                f"{self.classes}; a prevalence needs 0 or 1: choose one class, "
                "e.g. cohort.against(0)"
            )
        return float(self.labels.mean())

    def take(self, index: Tensor) -> Cohort:
        """The patients at ``index``, in that order."""
        known = {f.name: getattr(self, f.name) for f in fields(self)}
        part = {key: value[index] for key, value in known.items() if isinstance(value, Tensor)}
        if self.patients is not None:
            part["patients"] = self.patients.take(index)
        if self.names:
            part["names"] = tuple(self.names[i] for i in torch.arange(len(self))[index].tolist())
        return replace(self, **part)

    def against(self, *positive: str | int, negative: tuple[str | int, ...] = ()) -> Cohort:
        """A binary task out of several classes: ``positive`` is 1, ``negative`` 0, the rest goes.

        Classes by name or number; without ``negative`` every other class is 0. Of several findings
        at once (labels (n, K)) one positive finding can be asked for, and every image stays.
        """
        ones, zeros = (tuple(map(self._class, side)) for side in (positive, negative))
        if self.labels.ndim == 2:
            if len(ones) != 1 or zeros:
                raise ValueError("of several findings at once ask for one: against('mass')")
            return replace(self, labels=self.labels[:, ones[0]].float(), classes=())
        is_one, is_zero = (
            torch.isin(self.labels, self.labels.new_tensor(s)) for s in (ones, zeros)
        )
        keep = is_one | (is_zero if zeros else torch.ones_like(is_one))
        labels = replace(self, labels=is_one.float(), classes=())
        return labels.take(keep.nonzero()[:, 0])

    def _class(self, which: str | int) -> int:
        if isinstance(which, str) and which in self.classes:
            return self.classes.index(which)
        if isinstance(which, int) and 0 <= which < max(len(self.classes), 2):
            return which
        raise ValueError(f"there is no class {which!r}; the classes are {self.classes or '0, 1'}")

    def normalised(self, done: Normalized) -> Cohort:
        """The same cohort with the images, units and record of ``done``."""
        return replace(self, images=done.images, units=done.units, steps=done.steps)

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
