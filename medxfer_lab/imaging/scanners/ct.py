"""Computed tomography: attenuation, parallel beam, photon counts, filtered back-projection."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from medxfer_lab.imaging.anatomy import CHANNELS
from medxfer_lab.imaging.attenuation import (
    IODINE_HU,
    TABLE_ENERGY_KEV,
    tissue_attenuation,
    to_hounsfield,
)
from medxfer_lab.imaging.geometry import View
from medxfer_lab.imaging.scanners.photons import log_transform, poisson_counts, standard_normals
from medxfer_lab.imaging.scanners.projection import KERNELS, ParallelBeam

#: the 12 bits that a scanner's Hounsfield units come in, stored in 16
LOWEST_HU, HIGHEST_HU = -1024, 3071


@dataclass(frozen=True)
class CT:
    """A CT scanner: one axial slice, parallel beam, filtered back-projection.

    With mu the linear attenuation coefficient (per mm), a ray that meets the line integral
    p = integral mu ds delivers N ~ Poisson(photons exp(-p)) of its photons (Beer-Lambert); the
    scanner knows ln(photons / N), reconstructs mu from all of them, and reports
    1000 (mu / mu_water - 1) Hounsfield units (Kak and Slaney 1988, chapters 3 and 4). A ray that
    delivers no photon is taken to have delivered half a one.

    photons: incident photons per ray, the dose; math.inf for no noise. A ray is as wide as a pixel,
        so more pixels at the same number mean more dose.
    kernel: "sharp", the band-limited ramp, or "smooth", the ramp times a Hann window.
    views: directions over 180 degrees; pi/2 times the pixels across sample the circle fully.
    energy_kev: energy of the photons. The beam has one energy only, every photon is either
        transmitted or lost, and rays are parallel: no beam hardening, no scatter, no cone.
    contrast_hu: what a contrast agent adds in blood and in what takes it up, 0 without.
    quantise: counts are whole, Hounsfield units are rounded and clipped to -1024 ... 3071. False
        keeps them smooth, for finite differences.

    The detector is wide enough for the corners of the field of view.
    """

    name: str
    photons: float = 3e5
    kernel: str = "smooth"
    views: int = 180
    energy_kev: float = TABLE_ENERGY_KEV
    contrast_hu: float = 0.0
    field_of_view_mm: float = 240.0
    quantise: bool = True

    def __post_init__(self) -> None:
        if not self.photons > 0:
            raise ValueError(f"photons is {self.photons}; a ray needs a positive number of them")
        if self.kernel not in KERNELS:
            raise ValueError(f"kernel is {self.kernel!r}; the kernels are {', '.join(KERNELS)}")
        if self.views < 1:
            raise ValueError(f"views is {self.views}; a scan needs at least one")
        tissue_attenuation(self.energy_kev, self.contrast_hu)  # names an energy out of range

    @property
    def units(self) -> str:
        """Hounsfield units."""
        return "HU"

    @property
    def view(self) -> View:
        """One axial slice."""
        return View("axial", self.field_of_view_mm)

    def acquire(self, fractions: Tensor, ids: Tensor, seed: int) -> Tensor:
        """Image patients: fractions (n, 11, H, H) as CHANNELS -> (n, 1, H, H) Hounsfield units.

        Integer-valued float32 unless ``quantise`` is off. The gradient flows to the fractions:
        noise is reparametrised (:func:`~medxfer_lab.imaging.scanners.photons.poisson_counts`),
        rounding is passed straight through, clipping stops it.
        """
        counts = self.expected_counts(fractions)
        if self.noisy:
            normal = standard_normals(seed, ids, tuple(counts.shape[1:]))
            counts = poisson_counts(counts, normal, self.quantise)
        return self._store(self.reconstruct(counts, fractions.shape[-1]))

    def expected_counts(self, fractions: Tensor) -> Tensor:
        """Mean photons per ray: (n, 11, H, H) -> (n, views, detectors); of 1 without noise."""
        square = fractions.ndim == 4 and fractions.shape[-2] == fractions.shape[-1]
        if not square or fractions.shape[1] != len(CHANNELS):
            raise ValueError(
                f"fractions have shape {tuple(fractions.shape)}; expected (n, {len(CHANNELS)}, "
                "size, size) from a view with plane 'axial'"
            )
        size = fractions.shape[-1]
        table = fractions.new_tensor(tissue_attenuation(self.energy_kev, self.contrast_hu))
        attenuation = torch.einsum("c,nchw->nhw", table, fractions)
        line = self._beam(size).project(attenuation) * self.view.spacing_mm(size)
        return self._incident * torch.exp(-line)

    def reconstruct(self, counts: Tensor, size: int) -> Tensor:
        """Hounsfield units from photons per ray: (n, views, detectors) -> (n, 1, size, size).

        Not rounded, not clipped.
        """
        line = log_transform(counts, self._incident) if self.noisy else -torch.log(counts)
        attenuation = self._beam(size).backproject(line, self.kernel) / self.view.spacing_mm(size)
        return to_hounsfield(attenuation, self.energy_kev)[:, None]

    @property
    def noisy(self) -> bool:
        """Is the number of photons finite?"""
        return not math.isinf(self.photons)

    @property
    def _incident(self) -> float:
        return self.photons if self.noisy else 1.0

    def _beam(self, size: int) -> ParallelBeam:
        return ParallelBeam(size, self.views, detectors=math.ceil(math.sqrt(2) * size) + 1)

    def _store(self, hounsfield: Tensor) -> Tensor:
        if not self.quantise:
            return hounsfield
        clipped = hounsfield.clamp(LOWEST_HU, HIGHEST_HU)
        return clipped.detach().round() + (clipped - clipped.detach())


def to_int16(hounsfield: Tensor) -> Tensor:
    """The stored pixels of a CT image: Hounsfield units as 16-bit signed integers."""
    whole = hounsfield.detach().round()
    if not torch.isfinite(whole).all() or whole.min() < LOWEST_HU or whole.max() > HIGHEST_HU:
        raise ValueError(
            f"Hounsfield units reach from {float(whole.min()):.6g} to {float(whole.max()):.6g}; a "
            f"scanner stores {LOWEST_HU} to {HIGHEST_HU}: clip them, or acquire with quantise=True"
        )
    return whole.to(torch.int16)


#: routine head scan: enough photons, smooth kernel
CT_ROUTINE = CT("Vendor A routine head", photons=3e5, kernel="smooth")
#: fewer photons and a sharp kernel: noisy, crisp
CT_SHARP_LOW_DOSE = CT("Vendor B sharp low dose", photons=1e5, kernel="sharp")
#: routine scan after contrast agent
CT_CONTRAST = CT("Vendor A head with contrast", photons=3e5, contrast_hu=IODINE_HU)
