"""Magnetic resonance: signal equation, bias field, k-space, motion, Rician noise."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from medxfer_lab.imaging.anatomy import CHANNELS
from medxfer_lab.imaging.geometry import View
from medxfer_lab.imaging.scanners.base import stream
from medxfer_lab.imaging.scanners.relaxation import (
    RELAXATION_1_5T,
    relaxation,
    t1_with_contrast_ms,
)

__all__ = [
    "CORVID",
    "FLAIR",
    "FLAIR_3T",
    "FLAIR_CORVID",
    "FLAIR_MERGANSER",
    "MERGANSER",
    "MRI",
    "PD",
    "PD_3T",
    "PRESETS",
    "RELAXATION_1_5T",
    "T1",
    "T1_3T",
    "T1_POST",
    "T1_POST_3T",
    "T2",
    "T2_3T",
    "at_field",
    "nulling_ti_ms",
]


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
    field_t: 1.5 or 3.0 tesla; it selects the relaxation times. The noise is what ``snr`` says: use
        :func:`at_field` to carry a sequence with its noise to another field.
    contrast_agent_mmol: gadobutrol in vessels and enhancing tissue, mmol/l: 1/T1 = 1/T1_0 + r1 C.
    ghosting: amplitude a in mm of a periodic motion along the phase-encode axis (image columns,
        left to right). Lines of k-space are acquired one after another while the head is displaced
        by a sin(theta), so the line at spatial frequency k (cycles/mm) is multiplied by
        exp(-2 pi i k a sin(theta)), theta = 2 pi motion_cycles j/W + phase for the j-th of W
        lines. By Jacobi and Anger's expansion the image is a sum of ghosts m = 0, +-1, +-2, ...,
        the m-th displaced by m motion_cycles pixels (wrapping around), its spectrum multiplied by
        J_m(2 pi k a): faint, and made of edges (Wood and Henkelman 1985, Med Phys 12:143).
    motion_cycles: periods of that motion during the scan, scan time over period.

    Real parameters may be 0-d tensors: gradients then flow to them.
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
    field_t: float = 1.5
    contrast_agent_mmol: float = 0.0
    ghosting: float = 0.0
    motion_cycles: float = 12.0

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
        for key in ("bias", "contrast_agent_mmol", "ghosting", "motion_cycles"):
            if not getattr(self, key) >= 0:
                raise ValueError(f"{key} is {getattr(self, key)}; it must not be negative")
        if not 0 < self.k_space <= 1:
            raise ValueError(f"k_space is {self.k_space}; it is a fraction in (0, 1]")
        if self.ti_ms is not None and not 0 < self.ti_ms < self.tr_ms:
            raise ValueError(f"ti_ms is {self.ti_ms}; it must lie between 0 and tr_ms")
        relaxation(self.field_t)

    def signal(self, tissue: str) -> float | Tensor:
        """Noise-free signal of a pure tissue, by the formula above, before gain."""
        _, t2, density = relaxation(self.field_t)[tissue]
        t1 = t1_with_contrast_ms(tissue, self.field_t, self.contrast_agent_mmol)
        recovery = 1 - _exp(-self.tr_ms / t1)
        if self.ti_ms is not None:
            recovery = abs(1 - 2 * _exp(-self.ti_ms / t1) + _exp(-self.tr_ms / t1))
        return density * recovery * _exp(-self.te_ms / t2)

    def acquire(self, fractions: Tensor, ids: Tensor, seed: int) -> Tensor:
        """Image patients: fractions (n, 11, H, W) as CHANNELS -> (n, 1, H, W), pixel units.

        A pixel's signal is the fraction-weighted sum of its tissues' signals (partial volume).
        Bias field, noise and phase of the motion of patient ``id`` come from the stream
        (seed, id): not from the batch. The coil's sensitivity is taken to move with the head.
        """
        _check_fractions(fractions)
        height, width = fractions.shape[-2:]
        streams = [stream(seed, i) for i in ids]
        signals = [torch.as_tensor(self.signal(t), dtype=torch.float64) for t in CHANNELS]
        weights = torch.stack([signal.to(fractions) for signal in signals])
        # brain and lesion first, the rest one by one: where there is none of it, the sum is to the
        # last bit what committed records were made from
        clean = torch.einsum("c,nchw->nhw", weights[:4], fractions[:, :4])
        for weight, fraction in zip(weights[4:], fractions[:, 4:].unbind(1), strict=True):
            clean = clean + weight * fraction
        clean = clean * torch.exp(self._log_sensitivity(streams, clean))
        noise_sd = self.signal("white_matter") / self.snr
        noise = np.stack([s.standard_normal((2, height, width), dtype=np.float32) for s in streams])
        noise = noise_sd * torch.from_numpy(noise).to(clean)
        if self.ghosting > 0:
            clean = self._ghosts(clean, streams)
            complex_image = clean + torch.complex(noise[:, 0], noise[:, 1])
        else:
            complex_image = torch.complex(clean + noise[:, 0], noise[:, 1])
        return (self.gain * self._truncate(complex_image).abs())[:, None]

    def _log_sensitivity(self, streams: list, like: Tensor) -> Tensor:
        knots = np.stack([s.standard_normal((1, 3, 3), dtype=np.float32) for s in streams])
        return torch.nn.functional.interpolate(
            self.bias * torch.from_numpy(knots).to(like),
            like.shape[-2:],
            mode="bicubic",
            align_corners=True,
        )[:, 0]

    def _ghosts(self, image: Tensor, streams: list) -> Tensor:
        """Displace line by line of k-space: (n, H, W) real -> (n, H, W) complex."""
        width = image.shape[-1]
        kind = {"dtype": image.dtype, "device": image.device}
        phase = torch.tensor([s.uniform(0, 2 * math.pi) for s in streams], **kind)
        frequency = torch.fft.fftfreq(width, self.view.spacing_mm(width), **kind)  # cycles/mm
        line = torch.fft.ifftshift(torch.arange(width, **kind))  # the most negative k is line 0
        theta = 2 * math.pi * self.motion_cycles * line / width + phase[:, None]  # (n, W)
        turn = -2 * math.pi * frequency * self.ghosting * torch.sin(theta)
        spectrum = torch.fft.fft(image, dim=-1)
        return torch.fft.ifft(spectrum * torch.exp(1j * turn)[:, None], dim=-1)

    def _truncate(self, image: Tensor) -> Tensor:
        """Keep the central part of k-space: blur and Gibbs ringing, as a shorter scan has."""
        if self.k_space == 1:
            return image
        keep = torch.ones(image.shape[-2:], device=image.device)
        for axis, length in ((-2, image.shape[-2]), (-1, image.shape[-1])):
            distance = torch.fft.fftfreq(length, 1 / length, device=image.device).abs()
            inside = (distance <= self.k_space * length / 2).float()
            keep = keep * (inside[:, None] if axis == -2 else inside)
        return torch.fft.ifft2(torch.fft.fft2(image) * keep)


def _exp(value: float | Tensor) -> float | Tensor:
    return torch.exp(value) if isinstance(value, Tensor) else math.exp(value)


def _check_fractions(fractions: Tensor) -> None:
    if fractions.ndim != 4 or fractions.shape[1] != len(CHANNELS):
        raise ValueError(
            f"fractions have shape {tuple(fractions.shape)}; expected "
            f"(n, {len(CHANNELS)}, H, W), one channel for each of {', '.join(CHANNELS)}: a slice "
            "of a volume is fractions[:, :, k]"
        )


def nulling_ti_ms(tr_ms: float, tissue: str = "csf", field_t: float = 1.5) -> float:
    """The inversion time at which a tissue gives no signal: T1 ln(2 / (1 + exp(-TR/T1)))."""
    t1 = relaxation(field_t)[tissue][0]
    return t1 * math.log(2 / (1 + math.exp(-tr_ms / t1)))


def at_field(scanner: MRI, field_t: float, **changes) -> MRI:
    """The same sequence in a magnet of another strength, other fields changed by name.

    The magnetisation's voltage over the noise of a patient grows as the field B (Edelstein et al.
    1986, MRM 3:604), so a fully relaxed signal PD has its SNR multiplied by B'/B; what the longer
    T1 and shorter T2 take away comes off: snr' = snr (B'/B) s'_white / s_white, at the parameters
    *after* the changes. An inversion time follows the fluid it nulls, unless it is among the
    changes.
    """
    moved = replace(scanner, field_t=field_t, **changes)
    if scanner.ti_ms is not None and "ti_ms" not in changes:
        old = nulling_ti_ms(scanner.tr_ms, "csf", scanner.field_t)
        new = nulling_ti_ms(moved.tr_ms, "csf", field_t)
        moved = replace(moved, ti_ms=scanner.ti_ms * new / old)
    if "snr" in changes:
        return moved
    signal = moved.signal("white_matter") / scanner.signal("white_matter")
    return replace(moved, snr=scanner.snr * field_t / scanner.field_t * signal)


#: fluid-attenuated inversion recovery: fluid dark, lesions bright
FLAIR = MRI("FLAIR 1.5 T", tr_ms=9000.0, te_ms=110.0, ti_ms=nulling_ti_ms(9000.0))
#: T1-weighted spin echo: white matter bright, lesions dark
T1 = MRI("T1 spin echo 1.5 T", tr_ms=500.0, te_ms=15.0)
#: T2-weighted spin echo: fluid bright
T2 = MRI("T2 spin echo 1.5 T", tr_ms=4000.0, te_ms=100.0)
#: proton-density weighted: both relaxation times kept out
PD = MRI("PD spin echo 1.5 T", tr_ms=4000.0, te_ms=15.0)
#: T1 after contrast agent: vessels and enhancing lesions bright. 0.5 mmol/l is our rounded choice.
T1_POST = replace(T1, name="T1 post-contrast 1.5 T", contrast_agent_mmol=0.5)

FLAIR_3T = at_field(FLAIR, 3.0, name="FLAIR 3 T")
T1_3T = at_field(T1, 3.0, name="T1 spin echo 3 T")
T2_3T = at_field(T2, 3.0, name="T2 spin echo 3 T")
PD_3T = at_field(PD, 3.0, name="PD spin echo 3 T")
T1_POST_3T = at_field(T1_POST, 3.0, name="T1 post-contrast 3 T")

#: two invented vendors: what each does to any sequence. Corvid reconstructs sharply with an even
#: coil; Merganser scans fewer lines, its coil is uneven and its patients are less well held.
CORVID = {"bias": 0.06, "k_space": 0.9, "gain": 2400.0}
MERGANSER = {"bias": 0.22, "k_space": 0.6, "gain": 310.0, "ghosting": 0.8}

_SEQUENCES = (FLAIR, T1, T2, PD, T1_POST, FLAIR_3T, T1_3T, T2_3T, PD_3T, T1_POST_3T)
_VENDORS = {"Corvid": CORVID, "Merganser": MERGANSER}
#: every preset by name: ten sequences, bare and at each vendor
PRESETS: dict[str, MRI] = {s.name: s for s in _SEQUENCES} | {
    f"{vendor} {s.name}": replace(s, name=f"{vendor} {s.name}", **settings)
    for vendor, settings in _VENDORS.items()
    for s in _SEQUENCES
}
FLAIR_CORVID = PRESETS["Corvid FLAIR 1.5 T"]
FLAIR_MERGANSER = PRESETS["Merganser FLAIR 1.5 T"]
