"""The record of a normalisation: what was done to images, and what they were before and after."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

UNIT_RANGE = "[0, 1]"
STANDARDISED = "standard deviations"
REMEDY = "normalise the images as they came from the file"


@dataclass(frozen=True)
class Normalization:
    """One step: what was done to the images, and what they were before and after.

    method and parameters: the function and its arguments. input_range and output_range: smallest
    and largest value. units_in, units_out: what the values mean.
    """

    method: str
    parameters: tuple[tuple[str, object], ...]
    input_range: tuple[float, float]
    output_range: tuple[float, float]
    units_in: str
    units_out: str

    def __str__(self) -> str:
        """E.g. "window(level=40, width=80): HU -1024 to 1186 -> [0, 1] 0 to 1"."""
        arguments = ", ".join(f"{key}={value}" for key, value in self.parameters)
        before, after = (
            f"{units} {low:.6g} to {high:.6g}"
            for units, (low, high) in (
                (self.units_in, self.input_range),
                (self.units_out, self.output_range),
            )
        )
        return f"{self.method}({arguments}): {before} -> {after}"

    def record(self) -> dict:
        """As plain values for JSON."""
        return {
            "method": self.method,
            "parameters": dict(self.parameters),
            "input_range": list(self.input_range),
            "output_range": list(self.output_range),
            "units_in": self.units_in,
            "units_out": self.units_out,
        }


@dataclass(frozen=True)
class Normalized:
    """images: (n, C, H, W) float32 in ``units``; steps: how they came to be so, in order."""

    images: Tensor
    units: str
    steps: tuple[Normalization, ...] = ()

    def __str__(self) -> str:
        return "\n".join(map(str, self.steps))

    def record(self) -> list[dict]:
        """Every step as plain values for JSON."""
        return [step.record() for step in self.steps]


class Known(Protocol):
    """Images that know their units and history: a Normalized or a Cohort."""

    images: Tensor
    units: str
    steps: tuple[Normalization, ...]


def as_known(
    images: Tensor | Known,
    units: str | None,
    method: str,
    channels: tuple[int, ...] | None = None,
) -> Normalized:
    """The images as float32 with units and history, if ``method`` can be applied at all.

    units: of a plain tensor. channels: the channel counts that ``method`` takes; None: any.
    """
    if isinstance(images, Tensor):
        known = Normalized(images, units or "unknown")
    elif units is not None and units != images.units:
        raise ValueError(f"units is {units!r}, but the images know theirs: {images.units!r}")
    else:
        known = Normalized(images.images, images.units, images.steps)
    pixels = known.images
    if pixels.ndim not in (4, 5) or 0 in pixels.shape:
        raise ValueError(
            f"images have shape {tuple(pixels.shape)}; expected (n, channels, height, width): add "
            "the missing axes with images[:, None]"
        )
    if channels is not None and pixels.shape[1] not in channels:
        raise ValueError(
            f"images have {pixels.shape[1]} channels (shape {tuple(pixels.shape)}); {method} takes "
            f"{' or '.join(map(str, channels))}: take one channel with images[:, :1]"
        )
    if pixels.dtype in (torch.int8, torch.bool) or pixels.is_complex():
        raise ValueError(
            f"images are {str(pixels.dtype).removeprefix('torch.')}; int8 ends at 127, so 8-bit "
            "greys above it have turned negative: read them as uint8, 16-bit files as int16 or "
            "uint16"
        )
    if any(step.method == method for step in known.steps):
        raise ValueError(f"{method} was applied before ({known}): once is enough; {REMEDY}")
    if known.units.startswith("input of"):
        raise ValueError(f"images are the {known.units} already ({known}); {REMEDY}")
    pixels = pixels.float()  # first: torch can do little else with uint16
    if not torch.isfinite(pixels).all():
        raise ValueError("images hold NaN or infinity; clean them before normalising")
    return Normalized(pixels, known.units, known.steps)


def extent(images: Tensor) -> tuple[float, float]:
    """Smallest and largest value."""
    low, high = torch.aminmax(images)
    return float(low), float(high)


def done(before: Normalized, images: Tensor, method: str, units: str, **parameters) -> Normalized:
    """The result of one more step."""
    step = Normalization(
        method,
        tuple(parameters.items()),
        extent(before.images),
        extent(images),
        before.units,
        units,
    )
    return Normalized(images, units, (*before.steps, step))
