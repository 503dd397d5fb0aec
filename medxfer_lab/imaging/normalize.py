"""From a scanner's units to what a network takes, explicitly, with a record of what was done.

``percentile`` and ``foreground_median`` take and give plain tensors. The others know what they are
given: a :class:`Normalized`, a cohort, or a tensor with its ``units`` named. They refuse what makes
no sense in those units, and what they give carries the record of every step.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from medxfer_lab.imaging.steps import (
    REMEDY,
    STANDARDISED,
    UNIT_RANGE,
    Known,
    Normalization,
    Normalized,
    as_known,
    done,
    extent,
)

__all__ = [
    "Normalization",
    "Normalized",
    "backbone",
    "foreground_median",
    "percentile",
    "recorded",
    "three_channels",
    "window",
    "zscore",
]


def window(
    images: Tensor | Known, level: float, width: float, units: str | None = None
) -> Normalized:
    """See Hounsfield units through a window: y = (x - level)/width + 1/2, clipped to [0, 1].

    images: (n, 1, H, W), "HU" (a plain tensor needs ``units="HU"``). level and width in Hounsfield
    units, width positive. An image that lies wholly on one side of the window is refused.

    Source: DICOM PS3.3, C.11.2.1.3.2 (LINEAR_EXACT); common windows are in
    :mod:`medxfer_lab.imaging.windows`.
    """
    from medxfer_lab.imaging.windows import Window

    given = as_known(images, units, channels=(1,), method="window")
    if given.units != "HU":
        raise ValueError(
            f"images are in {given.units!r}; a window is defined in 'HU'. Pictures of 0 to 255 or "
            "of magnetic resonance have no Hounsfield units: use percentile; raw values of a CT "
            "file: read it with archive.read_dicom, which rescales; a plain tensor in Hounsfield "
            "units: pass units='HU'"
        )
    low, high = extent(given.images)
    if low >= 0 and high <= 1:
        raise ValueError(
            f"images are called HU and lie in [{low:.3g}, {high:.3g}]: they were windowed before; "
            + REMEDY
        )
    seen = Window(float(level), float(width), exact=True).apply(given.images)
    _refuse_constant(
        seen, f"seen through level {level:g}, width {width:g}", "choose another window"
    )
    return done(given, seen, "window", UNIT_RANGE, level=level, width=width)


def zscore(images: Tensor | Known, units: str | None = None) -> Normalized:
    """Each image to mean 0 and standard deviation 1 over its own pixels and channels.

    images: (n, C, H, W) or (n, C, D, H, W) in any units. Deviation with N in the denominator.
    """
    given = as_known(images, units, method="zscore")
    flat = given.images.double().flatten(1)
    spread, mean = torch.std_mean(flat, dim=1, correction=0)
    if given.units == STANDARDISED or (
        (mean.abs() < 1e-3).all() and ((spread - 1).abs() < 1e-3).all()
    ):
        raise ValueError(
            "images have mean 0 and deviation 1 already: zscore was applied before; " + REMEDY
        )
    _refuse_constant(given.images, "", "leave it out")
    standard = ((flat - mean[:, None]) / spread[:, None]).float().reshape(given.images.shape)
    return done(given, standard, "zscore", STANDARDISED)


def recorded(
    scale: Callable[..., Tensor], images: Tensor | Known, units: str | None = None, **parameters
) -> Normalized:
    """``scale(images, **parameters)`` with a record: ``recorded(percentile, cohort, low=2.0)``.

    scale: :func:`percentile` or :func:`foreground_median`.
    """
    method = scale.__name__
    given = as_known(images, units, method=method)
    if given.units == STANDARDISED:
        raise ValueError(f"images are in standard deviations: {method} would undo it; {REMEDY}")
    return done(given, scale(given.images, **parameters), method, UNIT_RANGE, **parameters)


def three_channels(
    images: Tensor | Known,
    windows: tuple[tuple[float, float], ...] | None = None,
    units: str | None = None,
    bits: int = 16,
) -> Normalized:
    """One grey channel, up to 16 bits deep, to the three of a network for photographs, in [0, 1].

    windows: three (level, width) in Hounsfield units, one for each channel: what no single window
    of 256 greys can show. Without them the values 0 to 2^bits - 1 become 0 to 1 and the channel is
    repeated; float32 keeps all 16 bits, an 8-bit picture would keep 8.

    images: (n, 1, H, W) -> (n, 3, H, W).
    """
    given = as_known(images, units, channels=(1,), method="three_channels")
    if windows is not None:
        if len(windows) != 3:
            raise ValueError(f"windows are {windows}; expected three pairs (level, width)")
        seen = torch.cat([window(given, *pair).images for pair in windows], dim=1)
        return done(given, seen, "three_channels", UNIT_RANGE, windows=windows)
    top, (low, high) = 2**bits - 1, extent(given.images)
    if not 8 <= bits <= 16:
        raise ValueError(f"bits is {bits}; expected 8 to 16")
    if low < 0 or high > top or given.units == "HU":
        raise ValueError(
            f"images reach from {low:.6g} to {high:.6g} ({given.units}); {bits} bits without sign "
            f"hold 0 to {top}: for Hounsfield units name three windows, otherwise scale by "
            "percentile"
        )
    if high <= 1:
        raise ValueError(
            f"images reach {high:.6g}; expected values up to {top}: they are in [0, 1] already, "
            "and backbone repeats the channel itself"
        )
    deep = (given.images / top).expand(-1, 3, -1, -1)
    return done(given, deep, "three_channels", UNIT_RANGE, bits=bits)


def backbone(images: Tensor | Known, name: str, units: str | None = None) -> Normalized:
    """From [0, 1] to the scale that the network ``name`` was trained on; no resizing.

    efficientnet_lite0: (255 x - 127)/128, grey repeated to three channels. small_cnn: (x - 0.5)/
    0.25, one channel. Any network of torchvision: ImageNet's mean and standard deviation per
    channel. ``Network.prepare`` does the same, and resizes: use one of the two, never both.

    images: (n, 1 or 3, H, W) float in [0, 1] -> (n, 3 or 1, H, W).
    """
    from medxfer_lab.nets.network import check_images

    channels, scale = _backbone(name)
    given = as_known(images, units, method="backbone")
    if given.units not in (UNIT_RANGE, "unknown"):
        raise ValueError(
            f"images are in {given.units!r}; {name} expects [0, 1]: divide 8-bit pictures by 255, "
            "window Hounsfield units, take percentile for everything else"
        )
    scaled = scale(check_images(given.images, channels))
    return done(given, scaled, "backbone", f"input of {name}", name=name)


def _backbone(name: str) -> tuple[tuple[int, ...], Callable[[Tensor], Tensor]]:
    from medxfer_lab.nets import efficientnet_lite0, small_cnn, vision

    if name == "efficientnet_lite0":
        return (1, 3), efficientnet_lite0.normalise
    if name == "small_cnn":
        return (1,), small_cnn.normalise
    if name not in vision.torchvision().models.list_models():
        raise ValueError(
            f"no network {name!r}: there are efficientnet_lite0, small_cnn and torchvision's names"
        )
    return (1, 3), vision.normalise


def _refuse_constant(images: Tensor, how: str, remedy: str) -> None:
    flat = images.flatten(1)
    constant = flat.amax(1) == flat.amin(1)
    if constant.any():
        index = int(constant.nonzero()[0])
        said = f"image {index} is constant {how}".rstrip()
        raise ValueError(f"{said} (every pixel is {float(flat[index, 0]):.6g}): {remedy}")


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
