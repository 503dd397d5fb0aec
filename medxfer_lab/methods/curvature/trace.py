"""The trace of a symmetric matrix that is known by its products."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from medxfer_lab._checks import whole

Product = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Trace:
    """An unbiased estimate, its standard error, and the number of products it took."""

    estimate: float
    standard_error: float
    products: int


def hutchinson_trace(
    product: Product,
    dimension: int,
    samples: int,
    seed: int,
    device: str | torch.device = "cpu",
) -> Trace:
    """tr A = E[z' A z], z with independent signs +-1 (Hutchinson 1990); the mean of ``samples``.

    product: (d,) float64 -> (d,), a symmetric matrix's. One estimate has the variance
    2 sum_{i != j} A_ij^2: diagonal matrices are exact. The standard error is the sample's own.
    """
    samples = whole("samples", samples, 2)
    generator = torch.Generator().manual_seed(seed)
    z = _signs(samples, whole("dimension", dimension, 1), generator, device)
    return Trace(*_mean(torch.stack([v @ product(v) for v in z])), samples)


def hutch_plus_plus_trace(
    product: Product,
    dimension: int,
    products: int,
    seed: int,
    device: str | torch.device = "cpu",
) -> Trace:
    """Hutch++: the trace on a sketch of A's range is exact, only the rest is sampled.

        Q = orth(A S),  tr A = tr Q'AQ + tr (I - QQ') A (I - QQ'),

    S (d, k) and the signs for the second term both random, k = products/3. Meyer, Musco, Musco and
    Woodruff, "Hutch++: Optimal stochastic trace estimation", SOSA 2021, algorithm 1: for A >= 0 a
    relative error eps takes O(1/eps) products instead of O(1/eps^2). Unbiased for every symmetric
    A; exact where the rank is at most k. The standard error is that of the second term given Q,
    and 0 where the sketch has every direction.

    products: at least 6 (a third for S, a third for Q, a third for the signs); what is left over
    after division by three goes to the signs.
    """
    products = whole("products", products, 6)
    dimension = whole("dimension", dimension, 1)
    k = min(products // 3, dimension)
    generator = torch.Generator().manual_seed(seed)
    s = _signs(k, dimension, generator, device)
    q = torch.linalg.qr(torch.stack([product(v) for v in s]).T)[0].T  # (k, d), orthonormal rows
    sketched = sum(float(v @ product(v)) for v in q)
    if k == dimension:
        return Trace(sketched, 0.0, 2 * k)
    rest = _signs(products - 2 * k, dimension, generator, device)
    rest = rest - (rest @ q.T) @ q
    mean, error = _mean(torch.stack([v @ product(v) for v in rest]))
    return Trace(sketched + mean, error, products)


def _signs(
    count: int, dimension: int, generator: torch.Generator, device: str | torch.device
) -> Tensor:
    coins = torch.randint(0, 2, (count, dimension), generator=generator)
    return (2.0 * coins.double() - 1.0).to(device)


def _mean(values: Tensor) -> tuple[float, float]:
    return float(values.mean()), float(values.std() / math.sqrt(len(values)))
