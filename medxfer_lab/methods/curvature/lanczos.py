"""Eigenvalues of a symmetric matrix that is known by its products: the Lanczos process."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from scipy.linalg import eigh_tridiagonal
from torch import Tensor

from medxfer_lab._checks import number, whole

Product = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Lanczos:
    r"""What m steps found: A Q' = Q' T + beta_m e_m q_{m+1}', T (m, m) tridiagonal.

    diagonal: (m,) float64, alpha. off_diagonal: (m - 1,) float64, beta_1 .. beta_{m-1}.
    last: beta_m, 0 where the process ran out of directions (then every Ritz value is exact).
    basis: (m, d) float64, orthonormal rows q_1 .. q_m.
    """

    diagonal: np.ndarray
    off_diagonal: np.ndarray
    last: float
    basis: Tensor

    @cached_property
    def _eigen(self) -> tuple[np.ndarray, np.ndarray]:
        values, vectors = eigh_tridiagonal(self.diagonal, self.off_diagonal)
        return values[::-1].copy(), vectors[:, ::-1].copy()

    @property
    def tridiagonal(self) -> np.ndarray:
        """T (m, m)."""
        off = self.off_diagonal
        return np.diag(self.diagonal) + np.diag(off, 1) + np.diag(off, -1)

    @property
    def ritz_values(self) -> np.ndarray:
        """(m,) eigenvalues of T, largest first."""
        return self._eigen[0]

    @property
    def ritz_vectors(self) -> Tensor:
        """(m, d): row j belongs to Ritz value j."""
        return torch.from_numpy(self._eigen[1].T.copy()).to(self.basis) @ self.basis

    @property
    def residual_bounds(self) -> np.ndarray:
        """(m,) ||A y_j - theta_j y_j|| = beta_m |s_mj|; an eigenvalue of A is that near theta_j.

        Parlett, The Symmetric Eigenvalue Problem, 1998, sec. 13.2 and theorem 4.5.1. It holds up
        to the rounding of the products: about 1e-7 ||A|| where those are float32.
        """
        return self.last * np.abs(self._eigen[1][-1])

    @property
    def weights(self) -> np.ndarray:
        """(m,) s_1j^2, which sum to 1: with the Ritz values, the nodes of Gauss quadrature.

        sum_j weights_j f(theta_j) estimates q_1' f(A) q_1, whose mean over starts is tr f(A)/d
        (Ghorbani, Krishnan and Xiao, ICML 2019, sec. 2).
        """
        return self._eigen[1][0] ** 2


@dataclass(frozen=True)
class Eigenvalues:
    """values: (k,) float64. vectors: (k, d), unit rows. residuals: (k,) bounds on the error.

    products: how many times A was asked. converged: every residual met the tolerance.
    """

    values: np.ndarray
    vectors: Tensor
    residuals: np.ndarray
    products: int
    converged: bool


def lanczos(
    product: Product,
    dimension: int,
    steps: int,
    seed: int | None = None,
    reorthogonalise: bool = True,
    device: str | torch.device = "cpu",
    start: Tensor | None = None,
) -> Lanczos:
    """``steps`` steps from a start on the sphere (Lanczos 1950; Golub and Van Loan, ch. 10).

    product: (d,) float64 -> (d,), a symmetric matrix's; e.g. `hessian_operator`.
    dimension: d. steps: m <= d; fewer come back where the start's directions are exhausted.
    reorthogonalise: keep each new vector orthogonal to all before it, at m^2 d operations and
        without a product more. Without it, rounding brings found eigenvalues back as copies
        ("ghosts"), and the vectors are not orthonormal.
    start: (d,), not zero, of any length: q_1 is its direction. ``None``: a random direction, drawn
        by ``seed``, which only then is needed.

    One start finds one vector of each eigenspace: a repeated eigenvalue is seen once.
    """
    steps, dimension = whole("steps", steps, 1), whole("dimension", dimension, 1)
    if steps > dimension:
        raise ValueError(f"steps is {steps}, dimension {dimension}; ask for at most {dimension}")
    first = _random(dimension, seed) if start is None else _direction(start, dimension)
    *_, found = _process(product, steps, first.to(device), reorthogonalise)
    return found


def top_eigenvalues(
    product: Product,
    dimension: int,
    count: int = 1,
    *,
    seed: int,
    which: str = "largest",
    tolerance: float = 1e-3,
    max_steps: int = 100,
    device: str | torch.device = "cpu",
) -> Eigenvalues:
    """The ``count`` largest eigenvalues, from as few products as the tolerance allows.

    which: ``"largest"`` (algebraic), or ``"magnitude"``: negative ones count by their size.
    tolerance: stop when every residual bound is at most tolerance * max |theta|. An eigenvalue's
        error is at most its residual, and about residual^2 / gap where neighbours are a gap away.
    max_steps: stop there in any case; ``converged`` then says False. So it does where the matrix
        has fewer than ``count`` different eigenvalues, and fewer come back.
    """
    count = whole("count", count, 1)
    tolerance = number("tolerance", tolerance, 0.0)
    if which not in ("largest", "magnitude"):
        raise ValueError(f'which is {which!r}; expected "largest" or "magnitude"')
    max_steps = min(whole("max_steps", max_steps, 1), whole("dimension", dimension, 1))
    if count > max_steps:
        raise ValueError(f"count is {count}; {max_steps} steps find at most as many eigenvalues")
    first = _random(dimension, seed).to(device)
    for found in _process(product, max_steps, first, True):
        size = np.abs(found.ritz_values)
        best = (np.argsort(-size) if which == "magnitude" else np.arange(len(size)))[:count]
        bounds = found.residual_bounds[best]
        converged = len(best) == count and bool((bounds <= tolerance * size.max()).all())
        if converged:
            break
    values, vectors = found.ritz_values[best], found.ritz_vectors[best]
    return Eigenvalues(values, vectors, bounds, len(size), converged)


def _process(
    product: Product, steps: int, start: Tensor, reorthogonalise: bool
) -> Iterator[Lanczos]:
    """The state after each step, until ``steps`` are done or nothing new is left."""
    dimension = len(start)
    basis = torch.empty(steps, dimension, dtype=torch.float64, device=start.device)
    q, beta, scale = start / start.norm(), 0.0, 0.0
    alphas, betas = [], []
    for m in range(1, steps + 1):
        basis[m - 1] = q
        r = _checked(product(q), q)
        alphas.append(float(r @ q))
        r = r - alphas[-1] * q - (beta * basis[m - 2] if m > 1 else 0.0)
        if reorthogonalise:
            for _ in range(2):  # once leaves what cancellation hid; twice is enough (Parlett 6.9)
                r = r - (basis[:m] @ r) @ basis[:m]
        beta = float(r.norm())
        scale = max(scale, abs(alphas[-1]), beta)
        exhausted = beta <= 1e-12 * scale or (reorthogonalise and m == dimension)
        last = 0.0 if exhausted else beta
        yield Lanczos(np.array(alphas), np.array(betas), last, basis[:m])
        if exhausted:
            return
        betas.append(beta)
        q = r / beta


def _random(dimension: int, seed: int | None) -> Tensor:
    """(d,) normal: its direction is uniform on the sphere."""
    if seed is None:
        raise ValueError("neither seed nor start is given: one of them must say where to begin")
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(dimension, dtype=torch.float64, generator=generator)


def _direction(start: Tensor, dimension: int) -> Tensor:
    """A given start, float64, checked."""
    if start.shape != (dimension,):
        raise ValueError(f"start has shape {tuple(start.shape)}; expected ({dimension},)")
    start = start.detach().double()
    size = float(start.norm())
    if not (math.isfinite(size) and size > 0):
        raise ValueError(f"start has length {size}; a direction needs a finite one above 0")
    return start


def _checked(answer: Tensor, asked: Tensor) -> Tensor:
    if answer.shape != asked.shape:
        raise ValueError(
            f"the product has shape {tuple(answer.shape)}; expected {tuple(asked.shape)}"
        )
    if not bool(torch.isfinite(answer).all()):
        raise ValueError("the product holds NaN or infinity: check the loss at these parameters")
    return answer.detach().to(asked)
