"""Penalised logistic heads on cached features, for many training sets at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from medxfer_lab.training.heads import checks
from medxfer_lab.training.heads.path import solve
from medxfer_lab.training.heads.sets import groups


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
    labels: Tensor | Sequence[Tensor],
    strengths: float | Sequence[float],
    *,
    index: checks.Index | None = None,
    space: str | None = None,
    tolerance: float = 1e-10,
    max_iterations: int = 100,
) -> Heads:
    """Fit logistic heads: minimise mean log loss + strength/2 ||w||^2, intercept unpenalised.

    features: (m, n, d) or (n, d). labels: (m, n) or (n,), 0 or 1. Or, with ``index`` (m, n) or a
    list of m row tensors (n_i,), features (N, d) are a pool that every set draws its rows from,
    and labels are the pool's (N,) or the sets' own (m, n): no set's features are copied, and one
    Gram matrix of the pool serves all where it fits.

    In scikit-learn's terms C = 1 / (n strength). Newton's method (iteratively reweighted least
    squares, e.g. Hastie, Tibshirani and Friedman 2009, section 4.4.1) in float64 on the features'
    device; see `newton`. ``space`` picks the unknowns: "kernel" (n of them, few labels), "primal"
    (d + 1, few features), None the cheaper; both reach the same heads. Strengths are solved from
    strongest to weakest, each from the last ones' solutions. Sets are worked on in chunks of at
    most `sets.MEMORY` (512 MiB). Converged when stationarity fails by less than ``tolerance``, in
    units of one patient's error y - p.

    Raises:
        ValueError: NaN, labels other than 0 and 1, a set of one class, shapes that do not fit.
        RuntimeError: not converged after ``max_iterations`` steps.
    """
    path = checks.strength_path(strengths)
    pools, rows = checks.pools(features, index)
    y = checks.classes(checks.values_of_sets("labels", labels, features, rows), 2)
    m, d = len(y), pools.shape[-1]
    weights = pools.new_empty(len(path), m, d, dtype=torch.float64)
    intercepts = weights.new_empty(len(path), m)
    slowest = 0
    for members, sets in groups(pools, rows):
        targets = torch.stack([y[i] for i in members])[..., None].double()
        for done in solve(sets, targets, path, space, tolerance, max_iterations):
            into = members[done.part]
            weights[:, into] = done.weights()[:, :, 0]
            intercepts[:, into] = done.intercepts[..., 0]
            slowest = max(slowest, done.iterations)
    return Heads(weights, intercepts, path, slowest)
