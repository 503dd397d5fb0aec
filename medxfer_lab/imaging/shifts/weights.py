"""Importance weights: how much evidence is left, and how to spend it as unweighted patients."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def effective_sample_size(weights: Tensor) -> float:
    """Kish's (sum w)^2 / sum w^2: n for equal weights, 1 when one patient carries everything.

    A weighted mean of values that do not depend on the weights has the variance of a plain mean
    of this many patients. weights: (n,), not negative.
    """
    w = checked_weights(weights)
    return float(w.sum() ** 2 / (w**2).sum())


def thin(weights: Tensor, seed: int, largest: float | None = None) -> Tensor:
    """Positions of patients kept with probability w / largest: an unweighted sample of the target.

    Rejection sampling: if the source is an independent sample of p and w is proportional to q/p,
    the patients kept are an independent sample of q. *Exact* when ``largest`` bounds w over all
    patients that could come; the default, the sample's own maximum, is exact when w takes few
    values, all of them seen. On average a share mean(w)/largest is kept.

    weights: (n,), not negative. Returns (m,) int64, increasing.
    """
    w = checked_weights(weights)
    bound = float(w.max()) if largest is None else largest
    if bound < float(w.max()):
        raise ValueError(f"largest is {bound}, but a weight is {float(w.max())}; it must bound all")
    uniform = torch.from_numpy(np.random.default_rng((seed, 7)).random(len(w)))
    return (uniform.to(w.device) < w / bound).nonzero().flatten()


def checked_weights(weights: Tensor) -> Tensor:
    """Weights as float64, checked to be finite, not negative and not all zero."""
    w = torch.as_tensor(weights).double()
    if w.ndim != 1 or len(w) == 0:
        raise ValueError(f"weights have shape {tuple(w.shape)}; expected (n,), one a patient")
    if not torch.isfinite(w).all() or (w < 0).any() or w.sum() == 0:
        raise ValueError(
            f"weights span [{float(w.min()):.3g}, {float(w.max()):.3g}]; expected finite values, "
            "none negative, not all zero"
        )
    return w
