r"""The diagonal of the Fisher information of a network's labels given its inputs.

    F_j = (1/n) sum_i  E_{y ~ p(y | x_i; theta)} [ (d log p(y | x_i; theta) / d theta_j)^2 ]

The mean of squares, of one example's gradient each: the square of a batch's mean gradient is
something else, which vanishes where training has converged. The labels are the model's own, not
the data's: with the data's ("empirical") it vanishes too, wherever the network fits its labels
(Kunstner, Balles and Hennig, NeurIPS 2019). F is the diagonal of the Gauss-Newton matrix.

Elastic weight consolidation (Kirkpatrick et al., PNAS 2017, eq. 3) ties each parameter by it:
``sum((F[name] * (theta[name] - theta_0[name]) ** 2).sum() for name in F)``.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import vjp, vmap

from medxfer_lab._checks import whole
from medxfer_lab.methods.curvature.functional import (
    Parameters,
    check_labels,
    check_logits,
    chosen,
    logits_of,
)

#: one example's logits () or (K,), and its row of draws or labels -> (k,) or (k, K)
Pulls = Callable[[Tensor, Tensor], Tensor]


def fisher_diagonal(
    network: nn.Module,
    inputs: Tensor,
    *,
    seed: int | None = None,
    samples: int = 1,
    labels: str = "model",
    targets: Tensor | None = None,
    parameters: Parameters | None = None,
    chunk_size: int = 32,
) -> dict[str, Tensor]:
    """F_j for each parameter, name -> tensor of its shape, in the network's precision.

    network: inputs (n, ...) -> logits (n,) or (n, K); batch normalisation in evaluation mode.
    labels: ``"model"``: ``samples`` labels an example, drawn from the model by ``seed``; unbiased.
        ``"exact"``: the expectation over the model's labels in closed form (for K classes K
        gradients an example, for a binary network one).
        ``"empirical"``: the data's own labels, ``targets`` (n,). To be compared, not to be used.
    parameters: name -> tensor, a block; the rest is held. ``None``: all, frozen ones too.
    chunk_size: examples whose gradients are held at once; it does not change the result.

    Raises ``ValueError`` for a seed or targets that are missing, and for batch normalisation or
    dropout in training mode.
    """
    values, logits = chosen(network, parameters), logits_of(network)
    rows = _rows(labels, len(inputs), seed, whole("samples", samples, 1), targets, inputs)
    with torch.no_grad():
        first = logits(values, inputs[:1])
    check_logits(first)
    if labels == "empirical":
        check_labels(first.expand(len(inputs), *first.shape[1:]), targets)
    pulls = _PULLS[labels]

    def squares(x: Tensor, row: Tensor) -> dict[str, Tensor]:
        outputs, pull = vjp(lambda v: logits(v, x[None])[0], values)
        weights = pulls(outputs.detach(), row)
        # the common case, one pull an example, without a second vmap: twice as fast
        if len(weights) == 1:
            return {name: g.square() for name, g in pull(weights[0])[0].items()}
        return {name: g.square().sum(0) for name, g in vmap(pull)(weights)[0].items()}

    total = {name: torch.zeros_like(value) for name, value in values.items()}
    chunk = whole("chunk_size", chunk_size, 1)
    for x, row in zip(inputs.split(chunk), rows.split(chunk), strict=True):
        for name, part in vmap(squares)(x, row).items():
            total[name] += part.sum(0) / len(inputs)
    return total


def _model_pulls(logits: Tensor, draws: Tensor) -> Tensor:
    """sqrt(share of label y among the draws) * (e_y - p): squares add up to the draws' mean.

    draws: (samples,) uniform in [0, 1), each turned into a label by the inverse of p's cdf.
    """
    if logits.ndim == 0:
        p = torch.sigmoid(logits)
        return ((draws < p).to(p) - p).square().mean().sqrt()[None]
    p = torch.softmax(logits, 0)
    drawn = (draws[:, None] >= p.cumsum(0)[:-1]).sum(1)  # (samples,) class indices
    hits = drawn[:, None] == torch.arange(len(p), device=p.device)
    if len(draws) < len(p):
        return (hits.to(p) - p) / len(draws) ** 0.5
    return hits.to(p).mean(0).sqrt()[:, None] * _centred(p)


def _exact_pulls(logits: Tensor, _: Tensor) -> Tensor:
    """sqrt(p_y) (e_y - p) for each label y; for a binary network one sqrt(p (1 - p))."""
    if logits.ndim == 0:
        p = torch.sigmoid(logits)
        return (p * torch.sigmoid(-logits)).sqrt()[None]
    p = torch.softmax(logits, 0)
    return p.sqrt()[:, None] * _centred(p)


def _empirical_pulls(logits: Tensor, label: Tensor) -> Tensor:
    if logits.ndim == 0:
        return label.to(logits)[None] - torch.sigmoid(logits)
    p = torch.softmax(logits, 0)
    return ((label == torch.arange(len(p), device=p.device)).to(p) - p)[None]


_PULLS: dict[str, Pulls] = {
    "model": _model_pulls,
    "exact": _exact_pulls,
    "empirical": _empirical_pulls,
}


def _centred(p: Tensor) -> Tensor:
    """(K, K): row y is e_y - p, the gradient of log p_y by the logits."""
    return torch.eye(len(p), dtype=p.dtype, device=p.device) - p


def _rows(
    labels: str, n: int, seed: int | None, samples: int, targets: Tensor | None, inputs: Tensor
) -> Tensor:
    """What each example's label is made from, (n, ...); drawn at once, so chunks do not matter."""
    if labels not in _PULLS:
        raise ValueError(f'labels is {labels!r}; expected "model", "exact" or "empirical"')
    if n == 0:
        raise ValueError("inputs are empty; a mean needs at least one example")
    if (targets is None) == (labels == "empirical"):
        state = "missing" if targets is None else "given"
        raise ValueError(f'targets are {state} with labels="{labels}"; only "empirical" takes them')
    if labels == "empirical":
        return targets.to(inputs.device)
    if labels == "exact":
        return torch.zeros(n, 1, device=inputs.device)
    if seed is None:
        raise ValueError('labels="model" draws labels: give seed, or ask for labels="exact"')
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(n, samples, generator=generator).to(inputs.device)
