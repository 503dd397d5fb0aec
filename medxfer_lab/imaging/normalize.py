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
