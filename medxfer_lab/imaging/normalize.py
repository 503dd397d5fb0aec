"""From a scanner's units to [0, 1], explicitly."""

from __future__ import annotations

import torch
from torch import Tensor


def percentile(images: Tensor, low: float = 1.0, high: float = 99.5) -> Tensor:
    """Scale each image so that its ``low`` and ``high`` percentiles become 0 and 1, then clip.

    images: (n, C, H, W) in any unit -> the same shape, float32 in [0, 1]. Per image, not per
    cohort: the pixel scale of a magnetic resonance image means nothing across scanners.
    """
    if images.ndim != 4:
        raise ValueError(
            f"images have shape {tuple(images.shape)}; expected (n, channels, height, width): "
            "add the missing axes with images[:, None]"
        )
    if not 0 <= low < high <= 100:
        raise ValueError(f"percentiles are {low} and {high}; need 0 <= low < high <= 100")
    if not torch.isfinite(images).all():
        raise ValueError("images hold NaN or infinity; clean them before normalising")
    flat = images.float().flatten(1)
    levels = torch.quantile(flat, torch.tensor([low / 100, high / 100], device=flat.device), dim=1)
    floor, ceiling = levels[:, :, None, None, None]
    spread = ceiling - floor
    if (spread <= 0).any():
        index = int((spread <= 0).flatten().nonzero()[0])
        raise ValueError(f"image {index} is constant: nothing to scale; leave it out")
    return ((images.float() - floor) / spread).clamp(0, 1)


def foreground_median(images: Tensor, headroom: float = 2.0) -> Tensor:
    """Scale each image so that its foreground median becomes 1/headroom, then clip to [0, 1].

    Foreground: pixels above 35 % of the image's 90th percentile (head against air). The median of
    a brain hardly moves when a few per cent of it fall ill, so the lesion does not darken the rest
    of the picture as it does under :func:`percentile`: one shortcut less.

    images: (n, 1, H, W) in any unit -> the same shape, float32 in [0, 1].
    """
    if images.ndim != 4 or images.shape[1] != 1:
        raise ValueError(f"images have shape {tuple(images.shape)}; expected (n, 1, height, width)")
    if not torch.isfinite(images).all():
        raise ValueError("images hold NaN or infinity; clean them before normalising")
    flat = images.float().flatten(1)
    bright = torch.quantile(flat, 0.9, dim=1, keepdim=True)
    if (bright <= 0).any():
        index = int((bright <= 0).flatten().nonzero()[0])
        raise ValueError(f"image {index} has no bright tenth: is it empty? leave it out")
    middle = flat.where(flat > 0.35 * bright, float("nan")).nanmedian(dim=1).values
    return (images.float() / (headroom * middle[:, None, None, None])).clamp(0, 1)
