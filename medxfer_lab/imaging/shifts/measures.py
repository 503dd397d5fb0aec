"""Simple functions of one image: reasons to be selected, and statistics for tests.

Each takes images (n, C, H, W), channel 0, in a unit in which air is near 0 and nothing is negative
(magnetic resonance; Hounsfield units plus 1,000), and returns values of each image that depend on
that image alone. The head is what is brighter than 35 % of the image's 90th percentile, filled
along rows, so that dark fluid inside counts as head. Areas are shares of the image, so they do not
depend on its number of pixels.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def brightness(images: Tensor) -> Tensor:
    """Mean pixel inside the head, in the images' unit: (n,)."""
    plane, head = _plane(images), _head(images)
    return (plane * head).sum((1, 2)) / head.sum((1, 2)).clamp(min=1)


def head_size(images: Tensor) -> Tensor:
    """Share of the image that the head covers: (n,) in [0, 1]."""
    return _head(images).float().mean((1, 2))


def central_fluid_area(images: Tensor) -> Tensor:
    """Share of the image that is dark in the middle of the head, as the ventricles on FLAIR: (n,).

    Dark: below 35 % of the image's 90th percentile. Middle: within half the head's mean radius of
    its centre, where neither bone nor the fluid around the brain reaches.
    """
    dark = _plane(images) < 0.35 * _bright(images)
    return (dark & _middle(_head(images))).float().mean((1, 2))


def bright_area(images: Tensor) -> Tensor:
    """Share of the image above 1.25 times the head's median, as lesions on FLAIR: (n,)."""
    plane, head = _plane(images), _head(images)
    return (head & (plane > 1.25 * _median(plane, head))).float().mean((1, 2))


#: ready-made reasons to select a patient, by name
MEASURES: dict[str, Callable[[Tensor], Tensor]] = {
    "brightness": brightness,
    "bright_area": bright_area,
    "central_fluid_area": central_fluid_area,
    "head_size": head_size,
}


def pooled_statistics(images: Tensor) -> Tensor:
    """Eight statistics of each image for tests on few patients: (n, 8).

    In order: log brightness; the head's 10th, 75th, 90th, 97th and 99.5th percentile and its mean
    absolute difference between neighbouring pixels, each over the head's median, so that they do
    not move with the gain; share of the image above 1.25 times that median.
    """
    plane, head = _plane(images), _head(images)
    middle = _median(plane, head)
    inside = plane.where(head, torch.nan).flatten(1)
    levels = torch.tensor([0.10, 0.75, 0.90, 0.97, 0.995]).to(inside)
    quantiles = torch.nanquantile(inside, levels, dim=1) / middle.flatten()
    rough = (plane.diff(dim=2).abs() * (head[:, :, 1:] & head[:, :, :-1])).sum((1, 2))
    rough = rough / head.sum((1, 2)).clamp(min=1) / middle.flatten()
    lead = brightness(images).clamp(min=1e-12).log()
    return torch.column_stack([lead, *quantiles, rough, bright_area(images)])


def _plane(images: Tensor) -> Tensor:
    if images.ndim != 4:
        raise ValueError(
            f"images have shape {tuple(images.shape)}; expected (n, channels, height, width): "
            "take a slice of a volume first"
        )
    if not images.min() >= 0:
        raise ValueError(
            f"pixels reach {float(images.min()):.4g}; expected none negative and no NaN: add 1000 "
            "to Hounsfield units, so that air is near 0"
        )
    return images[:, 0].float()


def _bright(images: Tensor) -> Tensor:
    """90th percentile of each image: (n, 1, 1)."""
    return torch.quantile(_plane(images).flatten(1), 0.9, dim=1)[:, None, None]


def _head(images: Tensor) -> Tensor:
    """Between the first and the last bright pixel of each row: (n, H, W) bool."""
    bright = (_plane(images) > 0.35 * _bright(images)).int()
    left = bright.cummax(2).values
    right = bright.flip(2).cummax(2).values.flip(2)
    return (left & right).bool()


def _median(plane: Tensor, head: Tensor) -> Tensor:
    """Median pixel of each head: (n, 1, 1); an image without a head counts as all head."""
    head = head | ~head.any(2).any(1)[:, None, None]
    middle = plane.where(head, torch.nan).flatten(1).nanmedian(1).values
    return middle.clamp(min=1e-12)[:, None, None]


def _middle(head: Tensor) -> Tensor:
    """Disc of half the head's mean radius around its centre: (n, H, W) bool."""
    rows, columns = torch.meshgrid(
        *(torch.arange(side, device=head.device).float() for side in head.shape[1:]), indexing="ij"
    )
    area = head.sum((1, 2)).clamp(min=1).float()
    centre_row = (rows * head).sum((1, 2)) / area
    centre_column = (columns * head).sum((1, 2)) / area
    squared = (rows - centre_row[:, None, None]) ** 2 + (
        columns - centre_column[:, None, None]
    ) ** 2
    return squared <= (area / torch.pi / 4)[:, None, None]
