"""What training is given, checked once; and the loss that every part of the engine shares."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (torch's own idiom)


def check_training(
    network: nn.Module, inputs: Tensor, labels: Tensor, steps: int, learning_rate: float
) -> Tensor:
    """The labels as the loss wants them: float 0 or 1 for one logit, integers 0..K-1 for K."""
    if inputs.ndim not in (2, 4, 5) or len(inputs) != len(labels) or labels.ndim != 1:
        raise ValueError(
            f"inputs have shape {tuple(inputs.shape)} and labels {tuple(labels.shape)}; "
            "expected (n, channels, height, width), or (n, d) for a network of vectors, and (n,)"
        )
    if not bool(torch.isfinite(inputs).all()):
        raise ValueError("inputs hold NaN or infinity; look at the pictures or their normalisation")
    if steps < 1 or not learning_rate > 0:
        raise ValueError(f"steps is {steps}, learning_rate {learning_rate}; both must be positive")
    classes = max(2, network.head.out_features)
    values = sorted(float(v) for v in labels.unique())
    if not set(values) <= set(map(float, range(classes))):
        expected = "0 and 1" if classes == 2 else f"whole numbers from 0 to {classes - 1}"
        raise ValueError(f"labels hold {values[:5]}; expected {expected}")
    if len(values) < 2:
        raise ValueError(
            f"all {len(labels)} labels are {values[0]:g}; training needs both classes"
            if classes == 2
            else f"all {len(labels)} labels are {values[0]:g}; training needs at least two classes"
        )
    return labels.float() if network.head.out_features == 1 else labels.long()


def check_weights(weights: Tensor, labels: Tensor) -> Tensor:
    """Weights of the patients as float32 with mean 1."""
    if weights.shape != labels.shape:
        raise ValueError(
            f"sample_weights have shape {tuple(weights.shape)}; expected one a patient: "
            f"{tuple(labels.shape)}"
        )
    if not bool(torch.isfinite(weights).all()) or bool((weights < 0).any()) or weights.sum() == 0:
        raise ValueError(
            f"sample_weights span [{float(weights.min()):.3g}, {float(weights.max()):.3g}]; "
            "expected finite values, none negative, not all zero"
        )
    return (weights.double() / weights.double().mean()).float()


def log_loss(logits: Tensor, labels: Tensor, reduction: str = "mean") -> Tensor:
    """-log p(label): logits (n,) with labels 0 or 1, or logits (n, K) with labels 0..K-1; nats."""
    if logits.ndim == 1:
        return F.binary_cross_entropy_with_logits(
            logits, labels.to(logits.dtype), reduction=reduction
        )
    return F.cross_entropy(logits, labels, reduction=reduction)
