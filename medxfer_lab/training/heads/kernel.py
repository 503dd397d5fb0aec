r"""Heads in kernel space: n unknowns a set, for n labels below d features.

By the representer theorem the weights are W = X'A, so only the Gram matrix K = XX' is needed and
scores are KA + 1b'. Stationarity of mean loss + strength/2 ||W||^2 in these coordinates is

    n strength A = Y - P,     1'A = 0.

With the loss's curvature V = diag(p) - pp' at each patient, a Newton step (D, beta) solves
(n strength I + V K) D + V 1 beta = R and 1'D = 0, for the residual R = Y - P - n strength A; from
A = 0 on, 1'A = 0 holds at every step.
"""

from __future__ import annotations

import torch
from torch import Tensor

from medxfer_lab.training.heads.gram import Gram
from medxfer_lab.training.heads.newton import Point

#: curvature below which a patient counts as certain
SMALLEST = 1e-10
#: largest trace of the scaled Hessian (a bound of its condition) that is factored in float32
SINGLE = 1e5
#: what a product in float32 may get wrong, relative to the largest score of a step
SINGLE_ERROR = 2e-6


class KernelSystem:
    """What both losses share. gram: the Gram matrices of c sets."""

    def __init__(self, gram: Gram):
        self.gram, self.step_error = gram, 0.0
        self.c, self.n = gram.diagonal.shape

    def start(self, intercepts: Tensor) -> Point:
        """The head without weights: (c, C) intercepts alone."""
        c, classes = intercepts.shape
        zero = intercepts.new_zeros(c, self.n, classes)
        return Point(zero, intercepts, intercepts[:, None].expand(c, self.n, classes).clone())

    def scores(
        self, coefficients: Tensor, intercepts: Tensor, dtype: torch.dtype = torch.float64
    ) -> Tensor:
        """(c, n, C) scores of the training patients."""
        return self.gram.product(coefficients, dtype) + intercepts[:, None]

    def residual(self, point: Point, error: Tensor, strength: float) -> Tensor:
        # every step keeps 1'A = 0, so the errors' sum is the residual's
        return torch.sub(error, point.coefficients, alpha=self.n * strength)

    def size(self, residual: Tensor) -> Tensor:
        return torch.maximum(residual.abs().amax((1, 2)), residual.mean(1).abs().amax(1))

    def floor(self, strength: float) -> Tensor:
        # |score| <= K_ii sum|a| <= K_ii / strength
        return torch.finfo(torch.float64).eps * self.gram.diagonal.amax(1) / strength

    def pair(self, step: Point, residual: Tensor) -> Tensor:
        # (K D)'R + beta 1'R; the intercept's share of the gradient is 1'R, as 1'A = 0
        return (step.scores * residual).sum((1, 2))

    def inner(self, one: Point, other: Point) -> Tensor:
        return (one.coefficients * (other.scores - other.intercepts[:, None])).sum((1, 2))


class KernelLogistic(KernelSystem):
    """One score, V = p (1 - p): one Cholesky factor of V^1/2 K V^1/2 + n strength I (n, n)."""

    def __init__(self, gram: Gram):
        super().__init__(gram)
        self.root = self.lower = self.ones = self.total = None

    def factor(self, p: Tensor, strength: float, which: Tensor) -> None:
        p = p[which, :, 0]
        root = (p * (1 - p)).clamp(min=SMALLEST).sqrt()
        ridge = self.n * strength
        trace = (root.square() * self.gram.diagonal[which]).sum(1)
        # a certain patient's residual is divided by a small root: its rounding reaches the others
        easy = bool((trace < SINGLE * ridge * root.amin(1)).all())
        lower = _cholesky(self.gram, root, ridge, which, torch.float32 if easy else torch.float64)
        ones = _inverse(lower, root, root[..., None])
        if len(which) < self.c:
            wide = torch.promote_types(self.lower.dtype, lower.dtype)
            self.lower = self.lower.to(wide)
            self.root[which], self.lower[which], self.ones[which] = root, lower.to(wide), ones
        else:
            self.root, self.lower, self.ones = root, lower, ones
        self.total = self.ones.sum(1)
        self.step_error = SINGLE_ERROR if self.lower.dtype == torch.float32 else 0.0

    def solve(self, residual: Tensor, strength: float) -> Point:
        free = _inverse(self.lower, self.root, residual / self.root[..., None])
        intercepts = free.sum(1) / self.total
        coefficients = torch.addcmul(free, self.ones, intercepts[:, None], value=-1)
        dtype = torch.float32 if self.step_error else torch.float64
        return Point(coefficients, intercepts, self.scores(coefficients, intercepts, dtype))

    def select(self, which: Tensor) -> KernelLogistic:
        out = KernelLogistic(self.gram.select(which))
        out.step_error = self.step_error
        if self.lower is not None:
            for name in ("root", "lower", "ones", "total"):
                setattr(out, name, getattr(self, name)[which])
        return out


def _cholesky(gram: Gram, root: Tensor, ridge: float, which: Tensor, dtype: torch.dtype) -> Tensor:
    """Lower factors of root K root + ridge, for the sets ``which``; float64 if float32 fails."""
    scale = root.to(dtype)
    system = gram.scaled(scale, which)
    system.diagonal(dim1=1, dim2=2).add_(ridge)
    lower, failed = torch.linalg.cholesky_ex(system, check_errors=dtype == torch.float64)
    if dtype == torch.float64 or not bool(failed.any()):
        return lower
    return _cholesky(gram, root, ridge, which, torch.float64)


def _inverse(lower: Tensor, root: Tensor, right: Tensor) -> Tensor:
    """root (LL')^-1 right, in float64; the residual is scaled to 1 so float32 cannot underflow."""
    scale = right.abs().amax((1, 2), keepdim=True).clamp(min=torch.finfo(torch.float64).tiny)
    half = torch.linalg.solve_triangular(lower, (right / scale).to(lower.dtype), upper=False)
    whole = torch.linalg.solve_triangular(lower.mT, half, upper=True)
    return root[..., None] * scale * whole.to(right.dtype)


class KernelSoftmax(KernelSystem):
    r"""C scores: C + 1 factors of (n, n) matrices instead of one of (nC, nC).

    M = (K + n strength V^-1)^-1 = E - E R (R'ER)^-1 R'E, where E is block diagonal with blocks
    E_c = (K + n strength / p_c)^-1 and R stacks C identities (Rasmussen and Williams, Gaussian
    Processes for Machine Learning, 2006, equations 3.42 to 3.48 and algorithm 3.3).
    """

    def __init__(self, gram: Gram):
        super().__init__(gram)
        self.blocks = self.lower = self.ones = self.border = None

    def factor(self, p: Tensor, strength: float, which: Tensor) -> None:
        # (c, C, n): classes are one more axis of the batch
        root = p[which].clamp(min=SMALLEST).sqrt().transpose(1, 2)
        kernel = self.gram.matrix[which]
        system = root[..., :, None] * kernel[:, None] * root[..., None, :]
        system.diagonal(dim1=2, dim2=3).add_(self.n * strength)
        half = torch.linalg.solve_triangular(
            torch.linalg.cholesky(system), torch.diag_embed(root), upper=False
        )
        blocks = half.mT @ half  # (c, C, n, n)
        fresh = blocks, torch.linalg.cholesky(blocks.sum(1))
        sums = blocks.sum(-1).transpose(1, 2)  # E_c 1: (c, n, C)
        shared = torch.cholesky_solve(sums, fresh[1])
        # M (1 e_k'): (c, n, C, k)
        ones = torch.diag_embed(sums) - torch.einsum("gcij,gjk->gick", blocks, shared)
        # adding a constant to all intercepts changes nothing: they sum to zero
        border = ones.sum(1) + 1 / ones.shape[2]
        fresh = (*fresh, ones, border)
        names = ("blocks", "lower", "ones", "border")
        for name, value in zip(names, fresh, strict=True):
            if len(which) == self.c:
                setattr(self, name, value)
            else:
                getattr(self, name)[which] = value

    def solve(self, residual: Tensor, strength: float) -> Point:
        ridge = self.n * strength
        free = (residual - self._apply(self.gram.product(residual))) / ridge
        intercepts = torch.linalg.solve(self.border, free.sum(1))
        coefficients = free - torch.einsum("gick,gk->gic", self.ones, intercepts)
        return Point(coefficients, intercepts, self.scores(coefficients, intercepts))

    def _apply(self, v: Tensor) -> Tensor:
        """M v, for v (c, n, C)."""
        own = torch.einsum("gcij,gjc->gic", self.blocks, v)
        shared = torch.cholesky_solve(own.sum(-1, keepdim=True), self.lower)[..., 0]
        return own - torch.einsum("gcij,gj->gic", self.blocks, shared)

    def select(self, which: Tensor) -> KernelSoftmax:
        out = KernelSoftmax(self.gram.select(which))
        if self.blocks is not None:
            for name in ("blocks", "lower", "ones", "border"):
                setattr(out, name, getattr(self, name)[which])
        return out
