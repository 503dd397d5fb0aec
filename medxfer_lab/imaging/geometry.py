"""Where a scanner looks: the points of a patient that its pixels need."""

from __future__ import annotations

from dataclasses import dataclass

PLANES = ("axial", "volume", "probe")


@dataclass(frozen=True)
class View:
    """A field of view.

    plane: "axial", one slice at the patient's own height, rows from front to back, columns along
        MNI x; "volume", the whole field of view in slices from foot to head, each as in "axial";
        "probe", the plane under an ultrasound probe held against the opened skull (dura open, no
        bone): rows are depth, pointing from the side of the head inwards, columns run from front
        to back; what lies between probe and brain is saline (the "csf" channel).
    field_of_view_mm: edge length of the square (or cube) that is seen. A slice of 192 mm holds the
        brain, 240 mm the head; a probe sees 70 mm.
    """

    plane: str = "axial"
    field_of_view_mm: float = 192.0

    def __post_init__(self) -> None:
        if self.plane not in PLANES:
            raise ValueError(f"plane is {self.plane!r}; the planes are {', '.join(PLANES)}")
        if not self.field_of_view_mm > 0:
            raise ValueError(f"field_of_view_mm is {self.field_of_view_mm}; it must be positive")

    def spacing_mm(self, size: int) -> float:
        """Edge length of a pixel when the field of view is ``size`` pixels wide."""
        return self.field_of_view_mm / size
