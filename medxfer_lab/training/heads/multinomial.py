"""Penalised softmax heads on cached features, for many training sets at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from medxfer_lab.training.heads import checks
from medxfer_lab.training.heads.path import solve
from medxfer_lab.training.heads.sets import groups


@dataclass(frozen=True)
class MultinomialHeads:
    """Softmax heads: weights (k, m, K, d), intercepts (k, m, K) that sum to zero over classes."""

    weights: Tensor
    intercepts: Tensor
    strengths: tuple[float, ...]
    iterations: int

    def logits(self, features: Tensor) -> Tensor:
        """(k, m, n, K) scores of features (n, d); softmax over the last axis."""
        return features.to(self.weights) @ self.weights.mT + self.intercepts[..., None, :]


def multinomial_probe(
    features: Tensor,
    labels: Tensor | Sequence[Tensor],
    strengths: float | Sequence[float],
    *,
    classes: int | None = None,
    index: checks.Index | None = None,
    space: str | None = None,
    tolerance: float = 1e-10,
    max_iterations: int = 100,
) -> MultinomialHeads:
    """Fit softmax heads: minimise mean log loss + strength/2 ||W||_F^2, intercepts unpenalised.

    labels: whole numbers 0 to K - 1, each in every set; ``classes`` is K, None the largest label
    plus one. The rest as in `probe`. Newton's method with the full Hessian across classes: in
    kernel space K + 1 factors of (n, n) matrices (see `kernel.KernelSoftmax`), in weight space
    one of ((d + 1) K, (d + 1) K). Weights and intercepts sum to zero over the classes: the penalty
    asks for the first, and the second fixes what the loss leaves open, as scikit-learn does.

    For K = 2 the difference of the two rows is `probe`'s head at half the strength.
    """
    path = checks.strength_path(strengths)
    pools, rows = checks.pools(features, index)
    y = checks.classes(checks.values_of_sets("labels", labels, features, rows), classes)
    count = classes or int(max(int(v.max()) for v in y)) + 1
    weights = pools.new_empty(len(path), len(y), count, pools.shape[-1], dtype=torch.float64)
    intercepts = weights.new_empty(len(path), len(y), count)
    slowest = 0
    for members, sets in groups(pools, rows):
        targets = F.one_hot(torch.stack([y[i] for i in members]), count).double()
        for done in solve(sets, targets, path, space, tolerance, max_iterations):
            into = members[done.part]
            weights[:, into] = done.weights()
            intercepts[:, into] = done.intercepts
            slowest = max(slowest, done.iterations)
    return MultinomialHeads(weights, intercepts, path, slowest)
