"""Echoes: random scatterers and mirrors, what reaches them, and the blur of beam and pulse."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from medxfer_lab.imaging.scanners.acoustics import attenuation, backscatter, reflection

if TYPE_CHECKING:
    from medxfer_lab.imaging.scanners.ultrasound import Ultrasound

FWHM = 2 * math.sqrt(2 * math.log(2))  # full width at half maximum over standard deviation
_MIRROR = 0.9999  # share of power a perfect reflector takes: what passes is 80 dB down, not zero


@dataclass(frozen=True)
class Grid:
    """The fine grid on which echoes interfere, and how pixels are cut from it.

    rows, columns: shape of the fine image, ``axial`` and ``lateral`` samples a pixel (both odd, so
    that a sample lies at each pixel's centre). margin: (columns left and right, rows below), in
    pixels, simulated beyond the image so that its edges are like its middle.
    step_mm: (axial, lateral) distance of fine samples.
    """

    rows: int
    columns: int
    axial: int
    lateral: int
    margin: tuple[int, int]
    step_mm: tuple[float, float]


def field(scanner: Ultrasound, fractions: Tensor, draw: np.random.Generator, grid: Grid) -> Tensor:
    """One patient's echoes before the pulse blurs them: (1, 11, H, W) -> fine, complex."""
    sides, below = grid.margin
    wide = torch.nn.functional.pad(fractions, (sides, sides, 0, below), mode="replicate")
    amplitude, mirror = _strength(scanner, wide, grid)  # (H, axial, W) and (H, W)
    height, axial, width = amplitude.shape
    shape = (height * axial, width * grid.lateral)
    scatterers = _scatterers(scanner, draw, shape, grid).to(amplitude.device)
    amplitude = amplitude.repeat_interleave(grid.lateral, dim=2).reshape(shape)
    echoes = beam(scanner, amplitude * scatterers, grid)
    mirror = mirror.repeat_interleave(grid.lateral, dim=1)
    echoes[::axial] = echoes[::axial] + _flat(scanner, mirror, grid)
    echoes = echoes[:, sides * grid.lateral : shape[1] - sides * grid.lateral]
    noise = _circular_gaussian(draw, echoes.shape).to(echoes)
    return torch.add(echoes, noise, alpha=10 ** (scanner.noise_db / 20))


def _strength(scanner: Ultrasound, fractions: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """Amplitude of scattering (H, axial, W) and of mirrors at upper edges (H, W), after loss.

    Loss in dB, there and back: 2 f times the attenuation summed over the way, and
    -20 log10(1 - R^2) at every boundary crossed.
    """
    spacing = grid.axial * grid.step_mm[0]
    swallowed = 2 * scanner.frequency_mhz * attenuation(fractions)[0] * spacing / 10
    above = swallowed.cumsum(0) - swallowed
    bounce = reflection(fractions)[0]
    passed = -20 * torch.log10(1 - _MIRROR * bounce.square())
    reach = (torch.arange(grid.axial).to(swallowed) + 0.5) / grid.axial
    loss = (above + passed.cumsum(0))[:, None] + swallowed[:, None] * reach[:, None]
    amplitude = backscatter(fractions)[0].sqrt()[:, None] * 10 ** (-loss / 20)
    edge = above + passed.cumsum(0) - passed
    mirror = bounce * 10 ** ((scanner.specular_db - edge) / 20)
    return amplitude, mirror / pulse(scanner, grid).max().to(mirror)  # the pulse brings it back up


def _scatterers(
    scanner: Ultrasound, draw: np.random.Generator, shape: tuple[int, int], grid: Grid
) -> Tensor:
    """Complex (rows, columns), unit mean power at every node.

    A node holds a Poisson number of scatterers of circular Gaussian amplitude, whose sum is the
    square root of the number times such an amplitude.
    """
    scatterers = _circular_gaussian(draw, shape)
    if math.isfinite(scanner.scatterers):
        per_node = scanner.scatterers * grid.step_mm[0] * grid.step_mm[1] / scanner.cell_mm2
        number = draw.poisson(per_node, shape) / per_node
        scatterers = scatterers * torch.from_numpy(np.sqrt(number, dtype=np.float32))
    return scatterers


def _circular_gaussian(draw: np.random.Generator, shape: tuple[int, int]) -> Tensor:
    """Complex64 of unit mean power: exponential power, uniform phase (Box and Muller's way)."""
    first, second = torch.from_numpy(draw.random((2, *shape), dtype=np.float32))
    modulus, phase = (-torch.log1p(-first)).sqrt(), 2 * math.pi * second
    # half the time of torch.polar
    return torch.complex(modulus * phase.cos(), modulus * phase.sin())


def beam(scanner: Ultrasound, scatterers: Tensor, grid: Grid) -> Tensor:
    """Scatterers (rows, columns), complex, blurred across by the beam of each row's own depth.

    Each row's point-spread function has unit energy, so that many random scatterers of unit
    power give a field of unit power at every depth.
    """
    transfer = _blur(scanner, grid, *scatterers.shape, scatterers.real.dtype)
    spectrum = torch.fft.fft(scatterers)
    return torch.fft.ifft(spectrum.mul_(transfer.to(spectrum.device)))


@lru_cache(maxsize=8)
def _blur(scanner: Ultrasound, grid: Grid, rows: int, columns: int, dtype: torch.dtype) -> Tensor:
    """The beam's transfer function per row of the fine grid, unit energy: (rows, columns).

    The same for all patients of a scanner, and costly next to the rest of an image: kept.
    """
    depth = (torch.arange(rows) + 0.5) * grid.step_mm[0]
    sigma = scanner.lateral_fwhm_mm(depth) / FWHM
    frequency = 2 * math.pi * torch.fft.fftfreq(columns, grid.step_mm[1], dtype=torch.float64)
    transfer = torch.exp(-((sigma[:, None] * frequency) ** 2) / 2)
    return (transfer / transfer.square().mean(1, keepdim=True).sqrt()).to(dtype)


def _flat(scanner: Ultrasound, mirror: Tensor, grid: Grid) -> Tensor:
    """Mirrors blurred across; a mirror wider than the beam keeps its amplitude."""
    depth = torch.arange(len(mirror)) * grid.axial * grid.step_mm[0]
    sigma = scanner.lateral_fwhm_mm(depth) / FWHM
    frequency = torch.fft.rfftfreq(mirror.shape[1], grid.step_mm[1], dtype=torch.float64)
    transfer = torch.exp(-((2 * math.pi * sigma[:, None] * frequency) ** 2) / 2).to(mirror)
    return torch.fft.irfft(torch.fft.rfft(mirror) * transfer, n=mirror.shape[1])


def pulse(scanner: Ultrasound, grid: Grid) -> Tensor:
    """The pulse's envelope sampled along depth, unit energy: (taps,) float64, odd length."""
    sigma = scanner.axial_fwhm_mm / FWHM
    reach = math.ceil(3 * sigma / grid.step_mm[0])
    depth = torch.arange(-reach, reach + 1, dtype=torch.float64) * grid.step_mm[0]
    taps = torch.exp(-((depth / sigma) ** 2) / 2)
    return taps / taps.square().sum().sqrt()


def echo(scanner: Ultrasound, field: Tensor, grid: Grid) -> Tensor:
    """Blur a complex field (rows, columns) along depth by the pulse; nothing lies outside."""
    taps = pulse(scanner, grid).tolist()
    reach = len(taps) // 2
    half = taps[reach:]
    rows = len(field)
    parts = torch.nn.functional.pad(torch.view_as_real(field), (0, 0, 0, 0, reach, reach))
    blurred = half[0] * parts[reach : reach + rows]
    # a few sums of shifted rows: many times faster than conv2d with a kernel one column wide
    for lag in range(1, reach + 1):
        pair = parts[reach - lag : reach - lag + rows] + parts[reach + lag : reach + lag + rows]
        blurred = torch.add(blurred, pair, alpha=half[lag])
    return torch.view_as_complex(blurred)
