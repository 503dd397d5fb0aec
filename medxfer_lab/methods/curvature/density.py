r"""The density of all eigenvalues of a matrix that is known by its products.

    rho(t) = (1/d) sum_i delta(t - lambda_i),    int f rho = tr f(A) / d = E[q' f(A) q],

q uniform on the sphere; m Lanczos steps from q give a Gauss rule of m nodes for q' f(A) q, exact
for polynomials up to degree 2m - 1. Averaged over starts: stochastic Lanczos quadrature (Lin, Saad
and Yang, SIAM Review 58 (2016) 34-65; Ubaru, Chen and Saad, SIAM J. Matrix Anal. Appl. 38 (2017)
1075-1099; of networks' Hessians: Ghorbani, Krishnan and Xiao, ICML 2019).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike

from medxfer_lab._checks import finite_array, number, whole
from medxfer_lab.methods.curvature.lanczos import Product, lanczos


@dataclass(frozen=True)
class SpectralDensity:
    """nodes: (starts, steps) float64, Ritz values, largest first. weights: the same shape, rows sum
    to 1; where a start's directions ran out before the steps did, the rest weighs 0.
    """

    nodes: np.ndarray
    weights: np.ndarray

    def density(self, grid: ArrayLike, width: float) -> np.ndarray:
        """(g,) values of rho, smoothed by a Gaussian of standard deviation ``width``.

        grid: (g,) eigenvalues t. width: in the eigenvalues' unit, above 0. Integrates to 1.
        Structure finer than ``width`` is gone; structure finer than the range over ``steps`` was
        never seen, so a smaller width shows the nodes and not the matrix.
        """
        grid = finite_array("grid", grid, 1)
        width = number("width", width, 0.0, open_low=True)
        z = (grid[:, None, None] - self.nodes) / width
        bumps = np.exp(-0.5 * z**2) / (width * math.sqrt(2 * math.pi))
        return (bumps * self.weights).sum(-1).mean(-1)

    def moment(self, k: int) -> float:
        """int t^k rho = tr A^k / d, unbiased for k <= 2 steps - 1."""
        return float(self._moments(k).mean())

    def standard_error(self, k: int) -> float:
        """Of :meth:`moment`, from the spread over starts; at least two of them."""
        if len(self.nodes) < 2:
            raise ValueError("starts is 1; a spread over starts needs at least 2")
        return float(self._moments(k).std(ddof=1) / math.sqrt(len(self.nodes)))

    def _moments(self, k: int) -> np.ndarray:
        """(starts,) sum_j w_j t_j^k of each start."""
        return (self.weights * self.nodes ** whole("k", k, 0)).sum(-1)


def spectral_density(
    product: Product,
    dimension: int,
    starts: int,
    steps: int,
    seed: int,
    device: str | torch.device = "cpu",
) -> SpectralDensity:
    """Stochastic Lanczos quadrature from ``starts`` random directions, ``starts * steps`` products.

    product: (d,) float64 -> (d,), a symmetric matrix's; e.g. `gauss_newton_operator`.
    dimension: d. steps: m <= d.

    A single direction among d carries weight 1/d: an outlying eigenvalue's node is found well, its
    weight poorly, since (v'q)^2 has mean 1/d and about sqrt(2) times that as standard deviation.
    """
    starts, steps = whole("starts", starts, 1), whole("steps", steps, 1)
    generator = torch.Generator().manual_seed(seed)
    nodes, weights = np.zeros((starts, steps)), np.zeros((starts, steps))
    for row in range(starts):
        q = torch.randn(dimension, dtype=torch.float64, generator=generator)
        found = lanczos(product, dimension, steps, device=device, start=q)
        m = len(found.diagonal)
        nodes[row, :m], weights[row, :m] = found.ritz_values, found.weights
        nodes[row, m:] = found.ritz_values[-1]
    return SpectralDensity(nodes, weights)
