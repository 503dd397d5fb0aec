"""Ultrasound: scatterers, point-spread function, attenuation, envelope, log compression."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from medxfer_lab.imaging.anatomy import CHANNELS
from medxfer_lab.imaging.geometry import View
from medxfer_lab.imaging.scanners.acoustics import (
    ATTENUATION,
    ECHOGENICITY,
    SOUND_SPEED,
)
from medxfer_lab.imaging.scanners.base import stream
from medxfer_lab.imaging.scanners.echoes import FWHM, Grid, echo, field


@dataclass(frozen=True)
class Ultrasound:
    """An ultrasound probe on the opened skull, dura open.

    The echo field at depth z and lateral position x is, after demodulation, the complex sum
        F(z, x) = sum_j a_j h_z(z - z_j) h_x(x - x_j; z_j) 10^(-L(z_j, x_j)/20) + mirror + noise,
    with scatterers j of complex amplitude a_j (the phase 2 k z_j of a place known only to a
    fraction of the wavelength is uniform), a Gaussian pulse h_z, a Gaussian beam h_x as wide as the
    depth of the scatterer makes it, and the round-trip loss L in dB. The envelope is |F|.

    frequency_mhz, bandwidth: centre of the spectrum, and its full width at half amplitude (-6 dB)
        as a fraction of the centre, transmit and receive together.
    aperture_mm, focus_mm: width of the active aperture and depth of the transmit focus.
    f_number: the receive aperture follows the depth, min(aperture, depth / f_number).
    tgc_db_cm_mhz: attenuation that time-gain compensation assumes: it adds
        2 tgc frequency depth decibels, to the noise as well.
    scatterers: mean number in a resolution cell at the focus, each of circular Gaussian amplitude;
        math.inf is the limit of fully developed speckle. Cells of brain are micrometres large and a
        resolution cell tenths of a millimetre, so the limit is the default.
    dynamic_range_db, gain_db: white matter's rms echo is mid-grey when gain is 0; the grey scale
        spans the dynamic range.
    noise_db: electronic noise, dB relative to white matter's rms echo at the probe's face.
    specular_db: echo of a perfect reflector facing the probe, dB over white matter's rms echo. It
        scales the mirror term, at boundaries where the impedance jumps between two rows of pixels.
        A flat glass plate is 60 dB over brain (bovine, 5 MHz, University of Mississippi); the
        brain's interfaces are curved and rough on the scale of a wavelength: 40 is our choice.
    pixels: "mean" averages the grey values within a pixel (as resizing a stored image does),
        "sample" takes the one at its centre.

    Left out: refraction, reverberation, the sector's shape, phase curvature away from the focus (so
    speckle there widens with the beam, which real speckle does less), the pulse's loss of high
    frequencies on the way, the third dimension.
    """

    name: str
    frequency_mhz: float
    bandwidth: float = 0.6
    aperture_mm: float = 20.0
    focus_mm: float = 40.0
    f_number: float = 2.0
    tgc_db_cm_mhz: float = 0.6
    scatterers: float = math.inf
    dynamic_range_db: float = 60.0
    gain_db: float = 0.0
    noise_db: float = -60.0
    specular_db: float = 40.0
    pixels: str = "mean"
    field_of_view_mm: float = 70.0

    def __post_init__(self) -> None:
        positive = ("frequency_mhz", "aperture_mm", "focus_mm", "f_number", "scatterers")
        for key in (*positive, "dynamic_range_db", "field_of_view_mm"):
            if not getattr(self, key) > 0:
                raise ValueError(f"{key} is {getattr(self, key)}; it must be positive")
        if not 0 < self.bandwidth <= 2:
            raise ValueError(f"bandwidth is {self.bandwidth}; it is a fraction in (0, 2]")
        if not self.tgc_db_cm_mhz >= 0:
            raise ValueError(f"tgc_db_cm_mhz is {self.tgc_db_cm_mhz}; use 0 for no compensation")
        if self.pixels not in ("mean", "sample"):
            raise ValueError(f'pixels is {self.pixels!r}; choose "mean" or "sample"')

    @property
    def units(self) -> str:
        """Grey levels 0 to 255, as a machine stores them: decibels are lost in its display map."""
        return "grey level"

    @property
    def view(self) -> View:
        """The plane under the probe: rows are depth."""
        return View("probe", self.field_of_view_mm)

    @property
    def wavelength_mm(self) -> float:
        """c / f."""
        return SOUND_SPEED / self.frequency_mhz

    @property
    def axial_fwhm_mm(self) -> float:
        """Full width at half amplitude of the pulse, in depth: (2 ln 2 / pi) c / (bandwidth f).

        A Gaussian spectrum of full width B at half amplitude has a pulse of 4 ln 2 / (pi B) in
        time; depth is half of speed times time.
        """
        return 2 * math.log(2) / math.pi * SOUND_SPEED / (self.bandwidth * self.frequency_mhz)

    def lateral_fwhm_mm(self, depth_mm: Tensor | float) -> Tensor:
        """Full width at half amplitude of the beam, transmit times receive, at each depth.

        One way, an aperture D focused at z_f has a Gaussian profile exp(-x^2 / w^2) with
        w^2 = w0^2 (1 - z/z_f)^2 + (wavelength z / (pi w0))^2 (Siegman 1986, Lasers, chapter 17:
        a Gaussian beam behind a lens); receive is focused at every depth with the aperture
        min(D, z / f_number). w0 is set so that at the focus the product has the width of the
        rectangular aperture's, sinc^2: 0.886 wavelength z / D.
        """
        z = torch.as_tensor(depth_mm, dtype=torch.float64)
        # one way, in the far field: w = spread * wavelength * z / D, and w0 = D / (pi * spread)
        spread = 0.8859 * math.sqrt(2) / (2 * math.sqrt(math.log(2)))
        waist = self.aperture_mm / (math.pi * spread)
        far = spread * self.wavelength_mm * z / self.aperture_mm
        transmit = (waist * (1 - z / self.focus_mm)) ** 2 + far**2
        receive = (spread * self.wavelength_mm * (z / self.aperture_mm).clamp(self.f_number)) ** 2
        return 2 * math.sqrt(math.log(2)) / torch.sqrt(1 / transmit + 1 / receive)

    @property
    def cell_mm2(self) -> float:
        """Area of the resolution cell at the focus, (int h^2)^2 / int h^4 = 2 pi sigma_x sigma_z.

        Of a Gaussian point-spread function it is also the area of a speckle: the integral of the
        squared autocorrelation coefficient (Wagner et al. 1983, IEEE Trans Sonics Ultrason 30:156).
        """
        lateral = float(self.lateral_fwhm_mm(self.focus_mm))
        return 2 * math.pi * lateral * self.axial_fwhm_mm / FWHM**2

    def penetration_mm(self, tissue: str = "white_matter") -> float:
        """Depth at which the echo of one uniform tissue is as strong as the noise.

        (echogenicity - noise) / (2 attenuation frequency), in dB over dB/cm, times 10 mm/cm.
        """
        loss = 2 * ATTENUATION[tissue] * self.frequency_mhz
        return 10 * (ECHOGENICITY[tissue] - self.noise_db) / loss

    def grid(self, height: int, width: int) -> Grid:
        """The fine grid of an image: at least two samples a full width at half amplitude."""
        spacing = self.view.spacing_mm(width)
        lateral = self.lateral_fwhm_mm(torch.linspace(0, height * spacing, 1000))
        axial_count = _odd(2 * spacing / self.axial_fwhm_mm)
        lateral_count = _odd(2 * spacing / float(lateral.min()))
        reach = 3 / FWHM / spacing  # three standard deviations, in pixels
        margin = (
            math.ceil(reach * float(lateral.max())),
            math.ceil(reach * self.axial_fwhm_mm),
        )
        return Grid(
            rows=height * axial_count,
            columns=width * lateral_count,
            axial=axial_count,
            lateral=lateral_count,
            margin=margin,
            step_mm=(spacing / axial_count, spacing / lateral_count),
        )

    def acquire(self, fractions: Tensor, ids: Tensor, seed: int) -> Tensor:
        """Image patients: fractions (n, 11, H, W) as CHANNELS -> (n, 1, H, W), grey levels.

        Rows are depth, columns lateral. Scatterers and noise of patient ``id`` come from the stream
        (seed, id), and patients are imaged one at a time: the pixels do not depend on the batch.
        """
        grid = self.grid(*fractions.shape[-2:])
        grey = [
            self._cut(self.compress(envelope), grid)
            for envelope in self._envelopes(fractions, ids, seed, grid)
        ]
        return torch.stack(grey)[:, None]

    def envelope(self, fractions: Tensor, ids: Tensor, seed: int) -> Tensor:
        """The envelope before compression on the fine grid: (n, 11, H, W) -> (n, 1, rows, columns).

        Units: white matter's rms echo, with time-gain compensation. Speckle's theory is about this.
        """
        grid = self.grid(*fractions.shape[-2:])
        return torch.stack(list(self._envelopes(fractions, ids, seed, grid)))[:, None]

    def compress(self, envelope: Tensor) -> Tensor:
        """Grey level 255 (1/2 + (20 log10 A + gain) / dynamic range), clipped to [0, 255]."""
        decibel = 20 * torch.log10(envelope) + self.gain_db
        return (255 * (0.5 + decibel / self.dynamic_range_db)).clamp(0, 255)

    def _envelopes(self, fractions: Tensor, ids: Tensor, seed: int, grid: Grid):
        """One patient's envelope after the other, each (rows, columns)."""
        if fractions.ndim != 4 or fractions.shape[1] != len(CHANNELS):
            raise ValueError(
                f"fractions have shape {tuple(fractions.shape)}; expected (n, {len(CHANNELS)}, H, "
                'W), the tissues of CHANNELS in the plane of view "probe"'
            )
        if len(ids) != len(fractions):
            raise ValueError(
                f"{len(ids)} ids for {len(fractions)} patients; pass one id a patient: their "
                "speckle is drawn from it"
            )
        for patient, patient_id in zip(fractions, ids, strict=True):
            draw = stream(seed, patient_id)
            echoes = echo(self, field(self, patient[None], draw, grid), grid)[: grid.rows]
            depth_cm = (torch.arange(grid.rows).to(echoes.real) + 0.5) * grid.step_mm[0] / 10
            gain = 10 ** (2 * self.tgc_db_cm_mhz * self.frequency_mhz * depth_cm / 20)
            power = echoes.real.square() + echoes.imag.square()
            # the root of a power of exactly zero has no derivative
            yield gain[:, None] * torch.sqrt(power + torch.finfo(power.dtype).tiny)

    def _cut(self, grey: Tensor, grid: Grid) -> Tensor:
        """Pixels (H, W) from the fine image."""
        blocks = grey.reshape(
            grid.rows // grid.axial, grid.axial, grid.columns // grid.lateral, grid.lateral
        )
        if self.pixels == "mean":
            return blocks.mean((1, 3))
        return blocks[:, grid.axial // 2, :, grid.lateral // 2]


def _odd(at_least: float) -> int:
    """The smallest odd number that is at least this."""
    return 2 * math.ceil((at_least - 1) / 2) + 1 if at_least > 1 else 1


#: makers are invented; frequencies, depths and apertures are of the usual size for such probes
#: a small phased array that sees deep: coarse, and lights up what lies behind fluid
PHASED_5 = Ultrasound("Borealis phased 5 MHz", frequency_mhz=5.0)
#: a curved probe for craniotomies, same depth: finer, more contrast, noise at the bottom
CURVED_8 = Ultrasound(
    "Borealis curved 8 MHz",
    frequency_mhz=8.0,
    aperture_mm=18.0,
    focus_mm=30.0,
    tgc_db_cm_mhz=0.5,
    dynamic_range_db=50.0,
)
#: a linear probe for what lies near: finest, and blind beyond 4 cm
LINEAR_12 = Ultrasound(
    "Meridian linear 12 MHz",
    frequency_mhz=12.0,
    bandwidth=0.7,
    aperture_mm=12.0,
    focus_mm=20.0,
    f_number=1.5,
    dynamic_range_db=65.0,
    gain_db=3.0,
    field_of_view_mm=40.0,
)
