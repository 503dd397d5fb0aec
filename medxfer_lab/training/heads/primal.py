r"""Heads in weight space: (d + 1) C unknowns a set, for more labels than features.

Stationarity of mean loss + strength/2 ||W||^2 is X'(Y - P)/n = strength W and 1'(Y - P) = 0. The
Hessian has, for each pair of classes, the block Z'diag(v)Z/n (Z = [X 1], v the loss's curvature
p_c (1{c=k} - p_k)), plus strength on the weights' diagonal.
"""

from __future__ import annotations

import torch
from torch import Tensor

from medxfer_lab.training.heads.kernel import SMALLEST
from medxfer_lab.training.heads.newton import Point


class PrimalSystem:
    """One score or several. features: (c, n, d) float64."""

    step_error = 0.0

    def __init__(self, features: Tensor):
        self.features = features
        self.n, self.d = features.shape[1:]
        self.spread = features.square().mean(1).sqrt()[..., None]  # (c, d, 1)
        self.lower = None

    def start(self, intercepts: Tensor) -> Point:
        """The head without weights: (c, C) intercepts alone."""
        c, classes = intercepts.shape
        scores = intercepts[:, None].expand(c, self.n, classes).clone()
        return Point(self.features.new_zeros(c, self.d, classes), intercepts, scores)

    def scores(self, coefficients: Tensor, intercepts: Tensor) -> Tensor:
        """(c, n, C) scores of the training patients."""
        return torch.baddbmm(intercepts[:, None], self.features, coefficients)

    def residual(self, point: Point, error: Tensor, strength: float) -> Tensor:
        # (c, d + 1, C), the intercepts' row last
        weights = (error.mT @ self.features).mT / self.n - strength * point.coefficients
        return torch.cat([weights, error.mean(1, keepdim=True)], 1)

    def size(self, residual: Tensor) -> Tensor:
        # a gradient is an error times a feature: in units of the feature it is an error
        scaled = residual[:, :-1].abs() / self.spread.clamp(min=torch.finfo(torch.float64).tiny)
        return torch.maximum(scaled.amax((1, 2)), residual[:, -1].abs().amax(1))

    def floor(self, strength: float) -> Tensor:
        # |score| <= |x| |w| and |w| <= |x| / strength
        eps = torch.finfo(torch.float64).eps
        return eps * self.features.square().sum(-1).amax(1) / strength

    def factor(self, p: Tensor, strength: float, which: Tensor) -> None:
        fresh = torch.linalg.cholesky(self._hessian(p[which], strength, which))
        if len(which) == len(self.features):
            self.lower = fresh
        else:
            self.lower[which] = fresh

    def _hessian(self, p: Tensor, strength: float, which: Tensor) -> Tensor:
        """(c, (d + 1) C, (d + 1) C), ordered by class, each class's intercept last."""
        x = self.features if len(which) == len(self.features) else self.features[which]
        c, classes, size = len(p), p.shape[-1], self.d + 1
        out = x.new_empty(c, classes, size, classes, size)
        for i in range(classes):
            for j in range(i + 1):
                own = 1.0 if i == j else 0.0
                v = (p[..., i] * (own - p[..., j])) / self.n
                v = v.clamp(min=SMALLEST / self.n) if classes == 1 else v
                weighted = v[..., None] * x
                block = out[:, i, :, j, :]
                block[:, : self.d, : self.d] = weighted.mT @ x
                block[:, : self.d, -1] = block[:, -1, : self.d] = weighted.sum(1)
                # adding a constant to all intercepts changes nothing: they sum to zero
                block[:, -1, -1] = v.sum(1) + (1 / classes if classes > 1 else 0)
                if i == j:
                    block.diagonal(dim1=1, dim2=2)[:, :-1] += strength
                else:
                    out[:, j, :, i, :] = block.mT
        return out.reshape(c, classes * size, classes * size)

    def solve(self, residual: Tensor, strength: float) -> Point:
        c, size, classes = residual.shape
        flat = residual.mT.reshape(c, classes * size, 1)
        half = torch.linalg.solve_triangular(self.lower, flat, upper=False)
        whole = torch.linalg.solve_triangular(self.lower.mT, half, upper=True)
        step = whole.reshape(c, classes, size).mT
        coefficients, intercepts = step[:, :-1], step[:, -1]
        return Point(coefficients, intercepts, self.scores(coefficients, intercepts))

    def pair(self, step: Point, residual: Tensor) -> Tensor:
        own = (step.coefficients * residual[:, :-1]).sum((1, 2))
        return own + (step.intercepts * residual[:, -1]).sum(1)

    def inner(self, one: Point, other: Point) -> Tensor:
        return (one.coefficients * other.coefficients).sum((1, 2))

    def select(self, which: Tensor) -> PrimalSystem:
        out = PrimalSystem(self.features[which])
        if self.lower is not None:
            out.lower = self.lower[which]
        return out
