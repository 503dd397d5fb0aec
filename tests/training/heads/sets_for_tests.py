"""Training sets for heads, scikit-learn's answer to them, and the gradient of what is minimised."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch.nn import functional as F  # noqa: N812


def problem(n: int, d: int, m: int = 1, seed: int = 0, classes: int = 2) -> tuple[Tensor, Tensor]:
    """m training sets (m, n, d) with noisy linear labels (m, n), uneven classes."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((m, n, d)) * rng.uniform(0.3, 3, d) + rng.standard_normal(d)
    scores = x @ rng.standard_normal((d, classes - 1)) / np.sqrt(d) - 0.8
    scores = np.concatenate([np.zeros((m, n, 1)), scores], 2)
    y = (scores + rng.gumbel(size=scores.shape)).argmax(2).astype(float)
    y[:, :classes] = range(classes)
    return torch.from_numpy(x), torch.from_numpy(y)


def sklearn_head(x: Tensor, y: Tensor, strength: float) -> tuple[np.ndarray, np.ndarray]:
    """mean log loss + strength/2 ||W||^2 is scikit-learn's objective with C = 1/(n strength).

    Coefficients (C, d) and intercepts (C,), one row for two classes.
    """
    model = LogisticRegression(
        C=1 / (len(y) * strength), solver="newton-cg", tol=1e-12, max_iter=10_000
    )
    model.fit(x.double().numpy(), y.numpy())
    return model.coef_, model.intercept_


def gradient(
    x: Tensor, y: Tensor, strength: float, weights: Tensor, intercepts: Tensor
) -> tuple[Tensor, Tensor]:
    """Autograd's gradient of the stated objective in weights (C, d) or (d,) and intercepts."""
    w = weights.detach().clone().requires_grad_()
    b = intercepts.detach().clone().requires_grad_()
    scores = x.double() @ w.mT + b if w.ndim == 2 else x.double() @ w + b
    if w.ndim == 2:
        loss = F.cross_entropy(scores, y.long())
    else:
        loss = F.binary_cross_entropy_with_logits(scores, y.double())
    (loss + strength / 2 * w.square().sum()).backward()
    return w.grad, b.grad
