"""Ridge regression for a whole grid of strengths from one decomposition a training set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from medxfer_lab.training.heads.checks import Index, pools, strength_path, values_of_sets
from medxfer_lab.training.heads.sets import Sets, groups


@dataclass(frozen=True)
class RidgePath:
    """Linear heads: weights (k, m, d, t), intercepts (k, m, t); k strengths, m sets, t targets.

    loo: (k, m, t) mean squared error of each patient predicted by the others' head, exact.
    """

    weights: Tensor
    intercepts: Tensor
    loo: Tensor
    strengths: tuple[float, ...]

    def predict(self, features: Tensor) -> Tensor:
        """(k, m, n, t) predictions for features (n, d)."""
        return features.to(self.weights) @ self.weights + self.intercepts[..., None, :]

    def best(self) -> Tensor:
        """(m, t) index of the strength with the least leave-one-out error; ties: the stronger."""
        order = torch.tensor(sorted(range(len(self.strengths)), key=lambda i: -self.strengths[i]))
        order = order.to(self.loo.device)
        return order[self.loo[order].argmin(0)]


def ridge_path(
    features: Tensor,
    targets: Tensor | Sequence[Tensor],
    strengths: float | Sequence[float],
    *,
    index: Index | None = None,
    centre: Tensor | None = None,
    intercept: bool = True,
) -> RidgePath:
    """Minimise mean squared error / 2 + strength/2 ||w - centre||^2, intercept unpenalised.

    features: (m, n, d) or (n, d), or a pool (N, d) with ``index`` as in `probe`. targets: (m, n),
    (n,) or with an axis of t targets behind. centre: (d,) or (d, t), zero by default: what the
    weights are tied to. In scikit-learn's terms alpha = n strength.

    With centred features X = U S V' (from the eigenvectors U of X X' if n <= d, else V of X'X),
    weights are V diag(s / (s^2 + n strength)) U'y for every strength; float64. Leave-one-out errors
    come from the diagonal h of the smoother, 1/n for the intercept included: e_i / (1 - h_i)
    (Hastie, Tibshirani and Friedman 2009, equation 7.64).
    """
    path = strength_path(strengths)
    x, rows = pools(features, index)
    y = values_of_sets("targets", targets, features, rows)
    y = [v.double() if v.ndim == 2 else v.double()[:, None] for v in y]
    if not all(bool(torch.isfinite(v).all()) for v in y):
        raise ValueError("targets hold NaN or infinity; leave those patients out")
    d, t, m = x.shape[-1], y[0].shape[1], len(y)
    shift = _centre(centre, d, t, x)
    weights = torch.empty(len(path), m, d, t, dtype=torch.float64, device=x.device)
    intercepts, loo = weights.new_empty(len(path), m, t), weights.new_empty(len(path), m, t)
    grid = torch.tensor(path, dtype=torch.float64, device=x.device)
    for members, sets in groups(x, rows):
        chosen = torch.stack([y[i] for i in members])
        for part in sets.chunks(8 * (3 * sets.n * d + len(path) * (d + sets.n) * t)):
            into = members[part]
            found = _solve(sets, part, chosen[part], grid, shift, intercept)
            weights[:, into], intercepts[:, into], loo[:, into] = found
    return RidgePath(weights, intercepts, loo, path)


def _solve(
    sets: Sets, part: slice, y: Tensor, grid: Tensor, shift: Tensor, intercept: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Weights (k, c, d, t), intercepts (k, c, t), leave-one-out errors (k, c, t) of a chunk."""
    x = sets.rows(part)  # (c, n, d)
    n, d = x.shape[1:]
    y = y - x @ shift  # what the centre leaves to explain
    mean_x = x.mean(1, keepdim=True) if intercept else x.new_zeros(len(x), 1, d)
    mean_y = y.mean(1, keepdim=True) if intercept else torch.zeros_like(y[:, :1])
    x, y = x - mean_x, y - mean_y
    if n <= d:
        values, left = torch.linalg.eigh(x @ x.mT)  # s^2 (c, n), U (c, n, n)
        project = left.mT @ y  # U'y
    else:
        values, right = torch.linalg.eigh(x.mT @ x)  # s^2 (c, d), V (c, d, d)
        project = right.mT @ (x.mT @ y)  # S U'y
        left = x @ right  # U S
    values = values.clamp(min=0)
    shrink = 1 / (values[..., None] + n * grid)  # (c, r, k)
    solved = (project[:, :, None] * shrink[..., None]).flatten(
        2
    )  # (c, r, k t): one product for all
    # fitted values U S^2 solved and weights X'U solved, or U S solved and V solved
    fitted = left @ (values[..., None] * solved) if n <= d else left @ solved
    gap = x.mT @ (left @ solved) if n <= d else right @ solved
    share = values[..., None] * shrink if n <= d else shrink
    hat = left.square() @ share + (1 / n if intercept else 0.0)  # (c, n, k)
    sides = (len(grid), y.shape[2])
    miss = (y[:, :, None] - fitted.unflatten(2, sides)) / (1 - hat)[..., None]
    gap = gap.unflatten(2, sides).permute(2, 0, 1, 3)  # (k, c, d, t)
    level = (mean_y - (mean_x @ gap))[:, :, 0]
    return gap + shift, level, miss.square().mean(1).transpose(0, 1)


def _centre(centre: Tensor | None, d: int, t: int, like: Tensor) -> Tensor:
    if centre is None:
        return like.new_zeros(d, t, dtype=torch.float64)
    given = centre.to(like.device, torch.float64)
    given = given[:, None] if given.ndim == 1 else given
    if given.shape not in ((d, t), (d, 1)):
        raise ValueError(
            f"centre has shape {tuple(centre.shape)}; expected ({d},) or ({d}, {t}), as the weights"
        )
    return given.expand(d, t)
