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
    plane, head = _plane_and_head(images)
    return _mean_inside(plane, head)


def head_size(images: Tensor) -> Tensor:
    """Share of the image that the head covers: (n,) in [0, 1]."""
    return _plane_and_head(images)[1].float().mean((1, 2))


def central_fluid_area(images: Tensor) -> Tensor:
    """Share of the image that is dark in the middle of the head, as the ventricles on FLAIR: (n,).

    Dark: below 35 % of the image's 90th percentile. Middle: within half the head's mean radius of
    its centre, where neither bone nor the fluid around the brain reaches.
    """
    plane, head = _plane_and_head(images)
    dark = plane < 0.35 * _bright(plane)
    return (dark & _middle(head)).float().mean((1, 2))


def bright_area(images: Tensor) -> Tensor:
    """Share of the image above 1.25 times the head's median, as lesions on FLAIR: (n,)."""
    plane, head = _plane_and_head(images)
    return _area_above(plane, head, 1.25 * _levels(plane, head, [0.5]))


def bright_level(images: Tensor) -> Tensor:
    """97th percentile of the head over its median: rises with a bright lesion's size: (n,)."""
    middle, high = _levels(*_plane_and_head(images), [0.5, 0.97]).unbind(1)
    return high / middle


#: ready-made reasons to select a patient, by name
MEASURES: dict[str, Callable[[Tensor], Tensor]] = {
    "brightness": brightness,
    "bright_area": bright_area,
    "bright_level": bright_level,
    "central_fluid_area": central_fluid_area,
    "head_size": head_size,
}


def pooled_statistics(images: Tensor) -> Tensor:
    """Eight statistics of each image for tests on few patients: (n, 8).

    In order: log brightness; the head's 10th, 75th, 90th, 97th and 99.5th percentile and its mean
    absolute difference between neighbouring pixels, each over the head's median, so that they do
    not move with the gain; share of the image above 1.25 times that median.
    """
    plane, head = _plane_and_head(images)
    levels = _levels(plane, head, [0.5, 0.10, 0.75, 0.90, 0.97, 0.995])
    middle = levels[:, :1]
    rough = plane.diff(dim=2).abs() * (head[:, :, 1:] & head[:, :, :-1])
    rough = rough.sum((1, 2)) / head.sum((1, 2)).clamp(min=1)
    return torch.column_stack(
        [
            _mean_inside(plane, head).clamp(min=1e-12).log(),
            levels[:, 1:] / middle,
            rough / middle[:, 0],
            _area_above(plane, head, 1.25 * middle),
        ]
    )


def _plane_and_head(images: Tensor) -> tuple[Tensor, Tensor]:
    """Pixels (n, H, W) float32, and whether each lies in the head: rows, first to last bright one.

    An image without a bright pixel counts as all head.
    """
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
    plane = images[:, 0].float()
    bright = (plane > 0.35 * _bright(plane)).int()
    left = bright.cummax(2).values
    right = bright.flip(2).cummax(2).values.flip(2)
    head = (left & right).bool()
    return plane, head | ~head.flatten(1).any(1)[:, None, None]


def _bright(plane: Tensor) -> Tensor:
    """90th percentile of each image: (n, 1, 1)."""
    return torch.quantile(plane.flatten(1), 0.9, dim=1)[:, None, None]


def _mean_inside(plane: Tensor, head: Tensor) -> Tensor:
    return (plane * head).sum((1, 2)) / head.sum((1, 2))


def _levels(plane: Tensor, head: Tensor, shares: list[float]) -> Tensor:
    """Quantiles of each head, positive: (n, len(shares))."""
    inside = plane.where(head, torch.nan).flatten(1)
    levels = torch.nanquantile(inside, torch.tensor(shares).to(inside), dim=1)
    return levels.T.clamp(min=1e-12)


def _area_above(plane: Tensor, head: Tensor, level: Tensor) -> Tensor:
    """Share of the image that is head and above its level (n, 1): (n,)."""
    return (head & (plane > level[:, :, None])).float().mean((1, 2))


def _middle(head: Tensor) -> Tensor:
    """Disc of half the head's mean radius around its centre: (n, H, W) bool."""
    rows, columns = torch.meshgrid(
        *(torch.arange(side, device=head.device).float() for side in head.shape[1:]), indexing="ij"
    )
    area = head.sum((1, 2)).float()
    centre_row = (rows * head).sum((1, 2)) / area
    centre_column = (columns * head).sum((1, 2)) / area
    squared = (rows - centre_row[:, None, None]) ** 2 + (
        columns - centre_column[:, None, None]
    ) ** 2
    return squared <= (area / torch.pi / 4)[:, None, None]
