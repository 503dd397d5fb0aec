"""Reading one PNG, JPEG or TIFF file into numbers."""

from __future__ import annotations

import io
import os
import warnings

import numpy as np
import torch
from torch import Tensor

from medxfer_lab.imaging.archive.errors import refusal
from medxfer_lab.imaging.archive.limits import DEFAULT_LIMITS, Limits, guarded, opened

FORMATS = ("PNG", "JPEG", "TIFF")
#: no format here packs a picture more tightly than this many values into a byte
DENSEST, DENSEST_FROM = 2000, 1 << 24
_GREY, _COLOUR = {"1", "L", "LA"}, {"P", "PA", "RGB", "RGBA"}
_DEEP = {"I;16", "I;16L", "I;16B", "I;16N", "I"}


def read_picture(
    path: str | os.PathLike, grey: bool = False, limits: Limits = DEFAULT_LIMITS
) -> tuple[Tensor, str, tuple[str, ...]]:
    """One PNG, JPEG or TIFF file: (C, H, W) float32, its units, and notes on what was dropped."""
    import PIL.Image

    # from memory: Pillow asks for as many bytes as a damaged header says, and a file on disk would
    # set aside room for all of them
    with opened(path, limits) as file:
        data = file.read()
    with guarded(path, "reading the picture"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's own bound on pixels; ours follows
        with PIL.Image.open(io.BytesIO(data), formats=FORMATS) as image:
            width, height = image.size
            deep = image.mode in _DEEP
            colour = image.mode in _COLOUR and not grey
            shape = (1, 3 if colour else 1, height, width)
            values = limits.check_shape(path, shape, "the picture")
            if values > DENSEST_FROM and values > DENSEST * len(data):
                raise refusal(
                    path,
                    f"claims {height:,} x {width:,} pixels in {len(data):,} bytes",
                    f"at most {DENSEST} in a byte",
                    "a file like this is damaged or made to exhaust memory",
                )
            if not (deep or image.mode in _GREY | _COLOUR):
                raise refusal(
                    path, f"has mode {image.mode}", "grey of 8 or 16 bits, or colour of 8 bits"
                )
            if getattr(image, "n_frames", 1) > 1:
                raise refusal(
                    path, f"holds {image.n_frames} pictures", "one", "save every page by itself"
                )
            notes = _dropped(data, image)
            pixels = np.array(image if deep else image.convert("RGB" if colour else "L"))
    if deep and (pixels.min() < 0 or pixels.max() > 65535):
        raise refusal(path, f"reaches from {pixels.min()} to {pixels.max()}", "0 to 65535")
    pixels = torch.from_numpy(pixels.astype(np.float32))
    units = "0 to 65535" if deep else "0 to 255"
    return (pixels.movedim(-1, 0).contiguous() if colour else pixels[None]), units, notes


def _dropped(data, image) -> tuple[str, ...]:
    """What turning the picture into numbers loses."""
    notes = []
    if "A" in image.mode:
        notes.append("Transparency was dropped.")
    if image.mode == "RGB" and image.format == "PNG":
        # after the signature, IHDR's length and name, width and height: bits of a channel
        if data[24:25] == b"\x10":
            notes.append("Colour of 16 bits was read as 8 bits: Pillow keeps no more.")
    return tuple(notes)
