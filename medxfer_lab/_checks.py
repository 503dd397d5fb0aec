"""Argument checks shared by the numerical floor (`methods`, `metrics`) and the theory rooms.

Each returns the argument as float64, or raises a ValueError that names the value, the
expectation and the way out.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def finite_array(name: str, value: ArrayLike, ndim: int | tuple[int, ...]) -> np.ndarray:
    """`value` as a finite float64 array with the given number of axes."""
    array = np.asarray(value, dtype=np.float64)
    allowed = (ndim,) if isinstance(ndim, int) else ndim
    if array.ndim not in allowed:
        wanted = " or ".join(str(k) for k in allowed)
        raise ValueError(f"{name} has shape {array.shape}; expected {wanted} axes: reshape it")
    if array.size == 0:
        raise ValueError(f"{name} is empty (shape {array.shape}); pass at least one value")
    if not np.isfinite(array).all():
        count = int((~np.isfinite(array)).sum())
        raise ValueError(f"{name} holds {count} values that are NaN or infinite: remove them first")
    return array


def number(
    name: str, value: float, low: float = -np.inf, high: float = np.inf, *, open_low: bool = False
) -> float:
    """`value` as a float inside [low, high], or (low, high] with `open_low`."""
    x = float(value)
    below = x <= low if open_low else x < low
    if np.isnan(x) or below or x > high:
        raise ValueError(f"{name} is {value}; expected {'(' if open_low else '['}{low}, {high}]")
    return x


def whole(name: str, value: int, low: int) -> int:
    """`value` as an int that is at least `low`."""
    if int(value) != value or value < low:
        raise ValueError(f"{name} is {value}; expected a whole number of at least {low}")
    return int(value)


def same_length(name_a: str, a: np.ndarray, name_b: str, b: np.ndarray, axis: int = -1) -> None:
    """Raise unless `a` and `b` have equal length along `axis`."""
    if a.shape[axis] != b.shape[axis]:
        raise ValueError(
            f"{name_a} has length {a.shape[axis]} and {name_b} {b.shape[axis]} along axis {axis}; "
            "they must be equal: check which axis counts patients"
        )
