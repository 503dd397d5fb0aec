"""Windows: the part of a wide range of values that a screen shows."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Window:
    """A range of values to show: ``center`` and ``width`` in the picture's units.

    name: what the file calls it, e.g. "BRAIN", or "".
    exact: the window of width w covers w instead of w - 1 units (DICOM's LINEAR_EXACT).
    """

    center: float
    width: float
    name: str = ""
    exact: bool = False

    def __post_init__(self) -> None:
        smallest = 0.0 if self.exact else 1.0
        if not (math.isfinite(self.center) and math.isfinite(self.width) and self.width > smallest):
            raise ValueError(
                f"window is {self.center} wide {self.width}; "
                f"expected finite numbers and a width above {smallest:g}"
            )

    def apply(self, pixels: Tensor) -> Tensor:
        """Grey levels in [0, 1]: y = (x - (c - 0.5))/(w - 1) + 0.5, clipped.

        Exact: y = (x - c)/w + 0.5.
        Source: DICOM PS3.3, C.11.2.1.2 (window centre and window width).
        """
        shift, span = (0.0, self.width) if self.exact else (0.5, self.width - 1)
        return ((pixels - (self.center - shift)) / span + 0.5).clamp(0, 1)


#: (level, width) in Hounsfield units, for :func:`window`
BRAIN_WINDOW = (40.0, 80.0)
SUBDURAL_WINDOW = (75.0, 215.0)
BONE_WINDOW = (600.0, 2800.0)


def window(hounsfield: Tensor, level: float, width: float) -> Tensor:
    """Map [level - width/2, level + width/2] to [0, 1] and clip the rest; any shape.

    DICOM's LINEAR_EXACT function. `normalize.window` does the same to a cohort's images and keeps
    a record of it.
    """
    return Window(level, width, exact=True).apply(hounsfield)
