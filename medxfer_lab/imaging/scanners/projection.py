"""Parallel-beam projection and filtered back-projection, batched, as sparse matrices.

Both are linear in the image, so each is one sparse matrix, built once per geometry from bilinear
indices and applied to a whole batch. The gradient is the transposed matrix.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

KERNELS = ("sharp", "smooth")


def ramp_kernel(kernel: str, length: int) -> np.ndarray:
    """The reconstruction filter at the lags 0 ... length - 1, in 1/pixel (it is even).

    "sharp" is the band-limited ramp, Kak and Slaney (1988), chapter 3, equation 61, at unit
    detector spacing: h(0) = 1/4, h(k) = -1/(pi k)^2 for odd k, 0 for even k. Sampling the filter in
    space keeps the image's mean right, where sampling |f| in frequency would not. "smooth" times
    its spectrum by the Hann window (1 + cos 2 pi f)/2, f in cycles per detector: in space
    h(k)/2 + (h(k - 1) + h(k + 1))/4.
    """
    if kernel not in KERNELS:
        raise ValueError(f"kernel is {kernel!r}; the kernels are {', '.join(KERNELS)}")
    lag = np.arange(-1, length + 1)
    ramp = np.zeros(length + 2)
    odd = lag % 2 == 1
    ramp[odd] = -1 / (math.pi * lag[odd]) ** 2
    ramp[lag == 0] = 0.25
    if kernel == "smooth":
        return ramp[1:-1] / 2 + (ramp[:-2] + ramp[2:]) / 4
    return ramp[1:-1]


@dataclass(frozen=True)
class ParallelBeam:
    """A parallel beam turning around a square image. Lengths are in pixels.

    size: the image is size x size; the axis of rotation is the centre of pixel
        (size // 2, size // 2).
    angles: number of views, equally spaced over 180 degrees from 0, or the views in degrees. At 0
        degrees rays run along columns, and detector d sees column d.
    detectors: number of detector elements, one pixel wide, the axis over element detectors // 2;
        None for ``size``. From sqrt(2) size + 1 on they see the corners too.

    What lies outside the circle of radius detectors // 2 around the axis is not seen by all views,
    so the reconstruction is 0 there.
    """

    size: int
    angles: int | tuple[float, ...] = 180
    detectors: int | None = None

    def __post_init__(self) -> None:
        if self.size < 2:
            raise ValueError(f"size is {self.size}; a projection needs at least 2 pixels")
        if self.width < 2:
            raise ValueError(f"detectors is {self.detectors}; a projection needs at least 2")
        if len(self.angles_deg) == 0:
            raise ValueError("angles is empty; a projection needs at least one view")

    @property
    def width(self) -> int:
        """Number of detector elements."""
        return self.size if self.detectors is None else self.detectors

    @property
    def angles_deg(self) -> np.ndarray:
        """(views,) angles of the views, degrees."""
        if isinstance(self.angles, tuple):
            return np.array(self.angles, dtype=float)
        return np.arange(self.angles) * (180 / max(self.angles, 1))

    def project(self, images: Tensor) -> Tensor:
        """Line integrals: (n, size, size) -> (n, views, detectors), image unit times pixel.

        Each ray sums bilinear samples one pixel apart (Radon transform, Kak and Slaney chapter 3,
        equation 4); the image is 0 beyond its edge.
        """
        self._check("images", images, (self.size, self.size))
        sinograms = _apply(_projector(self), images.flatten(1))
        return sinograms.unflatten(1, (len(self.angles_deg), self.width))

    def backproject(self, sinograms: Tensor, kernel: str | None = "sharp") -> Tensor:
        """Filtered back-projection: (n, views, detectors) -> (n, size, size), per pixel.

        Ramp-filter each view, then sum the views along their rays, linear between detectors, times
        pi / views (Kak and Slaney, chapter 3, equations 62 to 64). The filtered view is evaluated
        wherever a ray of the circle falls, also beyond the last detector: the ramp's tail is not 0
        there. Linear in the sinograms, whatever the views' spacing. kernel None leaves the filter
        out.
        """
        self._check("sinograms", sinograms, (len(self.angles_deg), self.width))
        if kernel is not None:
            sinograms = sinograms @ _filter(self, kernel).to(sinograms)
        else:
            sinograms = torch.nn.functional.pad(sinograms, (0, _beyond(self)))
        return _apply(_backprojector(self), sinograms.flatten(1)).unflatten(
            1, (self.size, self.size)
        )

    def circle(self) -> np.ndarray:
        """(size, size) bool: pixels that every view sees, at most detectors // 2 from the axis."""
        offset = np.arange(self.size) - self.size // 2
        return offset[:, None] ** 2 + offset[None, :] ** 2 <= (self.width // 2) ** 2

    def _check(self, name: str, values: Tensor, shape: tuple[int, int]) -> None:
        if values.ndim != 3 or tuple(values.shape[1:]) != shape:
            raise ValueError(
                f"{name} have shape {tuple(values.shape)}; expected (n, {shape[0]}, {shape[1]})"
            )
        if not values.is_floating_point():
            raise ValueError(f"{name} are {values.dtype}; convert them with .float()")


def _beyond(beam: ParallelBeam) -> int:
    """How many detector positions the circle needs after the last one: 1 if their number is even.

    Then the axis is over element width // 2, so elements reach from -width // 2 to width // 2 - 1.
    """
    return 1 - beam.width % 2


@lru_cache(maxsize=8)
def _filter(beam: ParallelBeam, kernel: str) -> Tensor:
    """(detectors, detectors + beyond) matrix: discrete linear convolution with the filter."""
    target = np.arange(beam.width + _beyond(beam))
    lag = np.abs(np.arange(beam.width)[:, None] - target[None, :])
    return torch.from_numpy(ramp_kernel(kernel, int(lag.max()) + 1)[lag])


@lru_cache(maxsize=8)
def _projector(beam: ParallelBeam) -> Operator:
    """(views * detectors, size^2): entry = weight of a pixel in a ray."""
    centre, detector_centre = beam.size // 2, beam.width // 2
    across = np.arange(beam.width) - detector_centre  # detector positions
    along = across[:, None]  # samples along a ray
    pixels, rays, weights = [], [], []
    for view, angle in enumerate(np.deg2rad(beam.angles_deg)):
        column = across * math.cos(angle) + along * math.sin(angle) + centre
        row = -across * math.sin(angle) + along * math.cos(angle) + centre
        ray = np.broadcast_to(view * beam.width + np.arange(beam.width), column.shape)
        for pixel, weight, inside in _corners(row, column, beam.size):
            pixels.append(pixel[inside])
            rays.append(ray[inside])
            weights.append(weight[inside])
    entries = np.concatenate(weights), (np.concatenate(rays), np.concatenate(pixels))
    return Operator(
        scipy.sparse.csr_matrix(entries, (len(beam.angles_deg) * beam.width, beam.size**2))
    )


def _corners(row: np.ndarray, column: np.ndarray, size: int):
    """The four pixels around each point: flat index, bilinear weight, and is it in the image?"""
    top, left = np.floor(row).astype(np.int64), np.floor(column).astype(np.int64)
    down, right = row - top, column - left
    for step_row, weight_row in ((0, 1 - down), (1, down)):
        for step_column, weight_column in ((0, 1 - right), (1, right)):
            r, c, weight = top + step_row, left + step_column, weight_row * weight_column
            inside = (r >= 0) & (r < size) & (c >= 0) & (c < size) & (weight > 0)
            yield r * size + c, weight, inside


@lru_cache(maxsize=8)
def _backprojector(beam: ParallelBeam) -> Operator:
    """(size^2, views * extended detectors): linear interpolation, circle and pi / views."""
    width = beam.width + _beyond(beam)
    row, column = np.nonzero(beam.circle())
    y, x = row - beam.size // 2, column - beam.size // 2
    pixels, rays, weights = [], [], []
    for view, angle in enumerate(np.deg2rad(beam.angles_deg)):
        position = x * math.cos(angle) - y * math.sin(angle) + beam.width // 2
        # |position - centre| <= radius: rounding must not push the rim off the last detector
        position = position.clip(0, width - 1)
        left = np.floor(position).astype(np.int64).clip(max=width - 2)
        for step, weight in ((0, 1 - (position - left)), (1, position - left)):
            pixels.append(row * beam.size + column)
            rays.append(view * width + left + step)
            weights.append(weight * math.pi / len(beam.angles_deg))
    entries = np.concatenate(weights), (np.concatenate(pixels), np.concatenate(rays))
    return Operator(scipy.sparse.csr_matrix(entries, (beam.size**2, len(beam.angles_deg) * width)))


class Operator:
    """A sparse matrix and its transpose, kept in the dtype and on the device last asked for."""

    def __init__(self, matrix: scipy.sparse.csr_matrix) -> None:
        matrix.eliminate_zeros()
        self._matrix = matrix
        self._ready: dict[tuple, Tensor] = {}

    def on(self, like: Tensor, transposed: bool) -> Tensor:
        """The matrix (or its transpose) as a CSR tensor of like's dtype, on its device."""
        key = like.dtype, like.device, transposed
        if key not in self._ready:
            matrix = self._matrix.T.tocsr() if transposed else self._matrix
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # "CSR support is in beta": nothing to act on
                self._ready[key] = torch.sparse_csr_tensor(
                    torch.from_numpy(matrix.indptr),
                    torch.from_numpy(matrix.indices),
                    torch.from_numpy(matrix.data).to(like.dtype),
                    matrix.shape,
                ).to(like.device)
        return self._ready[key]


class _SparseProduct(torch.autograd.Function):
    """x (n, columns) -> x M^T (n, rows); the gradient is the product with M, so twice is fine."""

    @staticmethod
    def forward(ctx, x: Tensor, operator: Operator, transposed: bool) -> Tensor:
        ctx.operator, ctx.transposed = operator, transposed
        matrix = operator.on(x, transposed)
        result = x.new_empty(len(x), matrix.shape[0])
        # a block of columns that stays in a processor's cache: measured fastest at 64
        block = 64 if x.device.type == "cpu" else max(len(x), 1)
        for start in range(0, len(x), block):
            part = slice(start, start + block)
            result[part] = (matrix @ x[part].T.contiguous()).T
        return result

    @staticmethod
    def backward(ctx, gradient: Tensor):
        return _SparseProduct.apply(gradient, ctx.operator, not ctx.transposed), None, None


def _apply(operator: Operator, x: Tensor) -> Tensor:
    return _SparseProduct.apply(x, operator, False)
