"""Magnetic resonance: signal equation, bias field, k-space, Rician noise."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from medxfer_lab.imaging.anatomy import CHANNELS
from medxfer_lab.imaging.geometry import View
from medxfer_lab.imaging.scanners.base import stream

#: (T1 ms, T2 ms, relative proton density) at 1.5 T: the BrainWeb phantom's table (Kwan, Evans and
#: Pike 1999, IEEE TMI 18:1085); "lesion" is its multiple-sclerosis lesion.
RELAXATION_1_5T: dict[str, tuple[float, float, float]] = {
    "csf": (2569.0, 329.0, 1.00),
    "grey_matter": (833.0, 83.0, 0.86),
    "white_matter": (500.0, 70.0, 0.77),
    "lesion": (752.0, 237.0, 0.76),
}


@dataclass(frozen=True)
class MRI:
    """A magnetic resonance scanner running one sequence.

    Noise-free signal of a tissue with relaxation times T1, T2 and proton density PD,
    spin echo:            PD (1 - exp(-TR/T1)) exp(-TE/T2),
    inversion recovery:   PD |1 - 2 exp(-TI/T1) + exp(-TR/T1)| exp(-TE/T2)
    (Bernstein, King and Zhou 2004, Handbook of MRI Pulse Sequences, chapter 14; perfect pulses, TE
    much shorter than TR).

    tr_ms, te_ms: repetition and echo time. ti_ms: inversion time, None for spin echo.
    bias: standard deviation of the log receive sensitivity at the knots of a 3 x 3 grid.
    snr: white-matter signal over the standard deviation of the noise in each quadrature channel;
        the magnitude image is then Rician.
    k_space: fraction of k-space kept along each axis, in (0, 1]; 1 keeps all.
    gain: pixel units per unit of signal. MR pixels have no physical unit.
    """

    name: str
    tr_ms: float
    te_ms: float
    ti_ms: float | None = None
    bias: float = 0.12
    snr: float = 20.0
    k_space: float = 1.0
    gain: float = 1000.0
    field_of_view_mm: float = 192.0

    @property
    def units(self) -> str:
        """MR pixels have no physical unit."""
        return "arbitrary"

    @property
    def view(self) -> View:
        """One axial slice."""
        return View("axial", self.field_of_view_mm)

    def __post_init__(self) -> None:
        for key in ("tr_ms", "te_ms", "snr", "gain"):
            if not getattr(self, key) > 0:
                raise ValueError(f"{key} is {getattr(self, key)}; it must be positive")
        if not 0 < self.k_space <= 1:
            raise ValueError(f"k_space is {self.k_space}; it is a fraction in (0, 1]")
        if self.ti_ms is not None and not 0 < self.ti_ms < self.tr_ms:
            raise ValueError(f"ti_ms is {self.ti_ms}; it must lie between 0 and tr_ms")

    def signal(self, tissue: str) -> float:
        """Noise-free signal of a pure tissue, by the formula above, before gain."""
        t1, t2, density = RELAXATION_1_5T[tissue]
        recovery = 1 - math.exp(-self.tr_ms / t1)
        if self.ti_ms is not None:
            recovery = abs(1 - 2 * math.exp(-self.ti_ms / t1) + math.exp(-self.tr_ms / t1))
        return density * recovery * math.exp(-self.te_ms / t2)

    def acquire(self, fractions: Tensor, ids: Tensor, seed: int) -> Tensor:
        """Image patients: fractions (n, 11, H, W) as CHANNELS -> (n, 1, H, W), pixel units.

        A pixel's signal is the fraction-weighted sum of its tissues' signals (partial volume).
        Bias field and noise of patient ``id`` come from the stream (seed, id): not from the batch.
        """
        n, _, height, width = fractions.shape
        streams = [stream(seed, i) for i in ids]
        weights = fractions.new_tensor(
            [self.signal(t) if t in RELAXATION_1_5T else 0.0 for t in CHANNELS]
        )
        clean = torch.einsum("c,nchw->nhw", weights, fractions)
        clean = clean * torch.exp(self._log_sensitivity(streams, height, width).to(clean))
        noise_sd = self.signal("white_matter") / self.snr
        noise = np.stack([s.standard_normal((2, height, width), dtype=np.float32) for s in streams])
        noise = noise_sd * torch.from_numpy(noise).to(clean)
        complex_image = torch.complex(clean + noise[:, 0], noise[:, 1])
        return (self.gain * self._truncate(complex_image).abs())[:, None]

    def _log_sensitivity(self, streams: list, height: int, width: int) -> Tensor:
        knots = np.stack([s.standard_normal((1, 3, 3), dtype=np.float32) for s in streams])
        return torch.nn.functional.interpolate(
            self.bias * torch.from_numpy(knots), (height, width), mode="bicubic", align_corners=True
        )[:, 0]

    def _truncate(self, image: Tensor) -> Tensor:
        """Keep the central part of k-space: blur and Gibbs ringing, as a shorter scan has."""
        if self.k_space == 1:
            return image
        spectrum = torch.fft.fftshift(torch.fft.fft2(image), dim=(-2, -1))
        keep = torch.zeros(image.shape[-2:], device=image.device)
        for axis, length in enumerate(image.shape[-2:]):
            distance = (torch.arange(length, device=image.device) - length // 2).abs()
            inside = (distance <= self.k_space * length / 2).float()
            keep = keep + (inside[:, None] if axis == 0 else inside[None, :])
        return torch.fft.ifft2(torch.fft.ifftshift(spectrum * (keep == 2), dim=(-2, -1)))


def nulling_ti_ms(tr_ms: float, tissue: str = "csf") -> float:
    """The inversion time at which a tissue gives no signal: T1 ln(2 / (1 + exp(-TR/T1)))."""
    t1 = RELAXATION_1_5T[tissue][0]
    return t1 * math.log(2 / (1 + math.exp(-tr_ms / t1)))


#: fluid-attenuated inversion recovery: fluid dark, lesions bright
FLAIR = MRI("FLAIR 1.5 T", tr_ms=9000.0, te_ms=110.0, ti_ms=nulling_ti_ms(9000.0))
#: T1-weighted spin echo: white matter bright, lesions dark
T1 = MRI("T1 spin echo 1.5 T", tr_ms=500.0, te_ms=15.0)
