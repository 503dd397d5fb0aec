"""Penalised logistic heads on cached features, for many training sets at once.

With n labels and d features, n below d, the head lies in the span of the n feature vectors
(representer theorem): w = X' a. So Newton's method runs on n unknowns instead of d, all training
sets in one batch, and one Cholesky factor of an (n, n) matrix a step is the whole price.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812


@dataclass(frozen=True)
class Heads:
    """Linear heads: weights (k, m, d), intercepts (k, m); k strengths, m training sets."""

    weights: Tensor
    intercepts: Tensor
    strengths: tuple[float, ...]
    iterations: int

    def logits(self, features: Tensor) -> Tensor:
        """(k, m, n) logits of features (n, d)."""
        return self.weights @ features.to(self.weights).T + self.intercepts[..., None]


def probe(
    features: Tensor,
    labels: Tensor,
    strengths: float | tuple[float, ...],
    *,
    tolerance: float = 1e-9,
    max_iterations: int = 100,
) -> Heads:
    """Fit logistic heads: minimise mean log loss + strength/2 ||w||^2, intercept unpenalised.

    features: (m, n, d) or (n, d). labels: (m, n) or (n,), 0 or 1. In scikit-learn's terms
    C = 1 / (n strength). Newton's method (iteratively reweighted least squares, e.g. Hastie,
    Tibshirani and Friedman 2009, section 4.4.1) in kernel space, float64, with step halving;
    strengths are solved from strongest to weakest, each from the last one's solution.
    Converged when the objective's gradient in function space is below ``tolerance``.
    """
    x, y, path = _checked(features, labels, strengths)
    kernel = x @ x.transpose(-1, -2)
    dual = torch.zeros_like(y)
    intercept = torch.logit(y.mean(1))
    solutions, worst = {}, 0
    for strength in sorted(set(path), reverse=True):
        dual, intercept, used = _newton(
            kernel, y, strength, dual, intercept, tolerance, max_iterations
        )
        worst = max(worst, used)
        solutions[strength] = (torch.einsum("mnd,mn->md", x, dual), intercept)
    return Heads(
        torch.stack([solutions[s][0] for s in path]),
        torch.stack([solutions[s][1] for s in path]),
        path,
        worst,
    )


def _newton(
    kernel: Tensor,
    y: Tensor,
    strength: float,
    dual: Tensor,
    intercept: Tensor,
    tolerance: float,
    max_iterations: int,
) -> tuple[Tensor, Tensor, int]:
    """Solve (K + n strength W^-1) a + b = z with 1'a = 0, W and z from the current fit."""
    n = y.shape[1]
    for iteration in range(1, max_iterations + 1):
        logits = torch.einsum("mij,mj->mi", kernel, dual) + intercept[:, None]
        p = torch.sigmoid(logits)
        # stationarity: a = (y - p) / (n strength) and sum(a) = 0
        if float((n * strength * dual - (y - p)).abs().max()) < tolerance:
            if float((y - p).sum(1).abs().max()) < tolerance * n:
                return dual, intercept, iteration
        root = (p * (1 - p)).clamp(min=1e-10).sqrt()
        working = logits + (y - p) / root.square()
        system = root[:, :, None] * kernel * root[:, None, :]
        system.diagonal(dim1=1, dim2=2).add_(n * strength)
        factor = torch.linalg.cholesky(system)
        right = torch.stack([root * working, root], dim=-1)
        solved = root[..., None] * torch.cholesky_solve(right, factor)  # M z and M 1
        new_intercept = solved[..., 0].sum(1) / solved[..., 1].sum(1)
        new_dual = solved[..., 0] - new_intercept[:, None] * solved[..., 1]
        dual, intercept = _halved(kernel, y, strength, (dual, intercept), (new_dual, new_intercept))
    raise RuntimeError(
        f"Newton's method has not converged in {max_iterations} steps at strength {strength:g}: "
        "separable data need a stronger penalty"
    )


def _halved(
    kernel: Tensor,
    y: Tensor,
    strength: float,
    old: tuple[Tensor, Tensor],
    new: tuple[Tensor, Tensor],
) -> tuple[Tensor, Tensor]:
    """Step towards ``new``, halved in each training set until its objective does not rise."""
    before = _objective(kernel, y, strength, *old)
    size = torch.ones_like(before)
    for _ in range(30):
        dual = old[0] + size[:, None] * (new[0] - old[0])
        intercept = old[1] + size * (new[1] - old[1])
        worse = _objective(kernel, y, strength, dual, intercept) > before + 1e-12
        if not worse.any():
            break
        size = torch.where(worse, size / 2, size)
    return dual, intercept


def _objective(
    kernel: Tensor, y: Tensor, strength: float, dual: Tensor, intercept: Tensor
) -> Tensor:
    span = torch.einsum("mij,mj->mi", kernel, dual)
    loss = F.binary_cross_entropy_with_logits(span + intercept[:, None], y, reduction="none")
    return loss.mean(1) + strength / 2 * (dual * span).sum(1)


def _checked(
    features: Tensor, labels: Tensor, strengths: float | tuple[float, ...]
) -> tuple[Tensor, Tensor, tuple[float, ...]]:
    path = (strengths,) if isinstance(strengths, int | float) else tuple(strengths)
    if not path or not all(s > 0 for s in path):
        raise ValueError(
            f"strengths are {path}; each must be positive: an unpenalised head has no finite "
            "solution on separable data"
        )
    x = features if features.ndim == 3 else features[None]
    y = labels if labels.ndim == 2 else labels[None]
    if x.ndim != 3 or x.shape[:2] != y.shape:
        raise ValueError(
            f"features have shape {tuple(features.shape)} and labels {tuple(labels.shape)}; "
            "expected (m, n, d) and (m, n), or (n, d) and (n,)"
        )
    x, y = x.double(), y.double()
    if not torch.isfinite(x).all():
        raise ValueError("features hold NaN or infinity; look at the network or its normalisation")
    single = (y.mean(1) <= 0) | (y.mean(1) >= 1)
    if single.any():
        which = int(single.nonzero()[0])
        raise ValueError(
            f"training set {which} holds one class only: no head can be fitted; "
            "draw more patients or another seed"
        )
    return x, y, path
