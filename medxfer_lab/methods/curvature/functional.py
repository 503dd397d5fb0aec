"""A network as a function of its parameters, and the log loss of its logits."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F  # noqa: N812 (torch's own idiom)

Parameters = Mapping[str, Tensor]

_BatchNorm, _Dropout = nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd


def block(network: nn.Module, *prefixes: str) -> dict[str, Tensor]:
    """The parameters whose names start with one of ``prefixes``, name -> tensor.

    A prefix is a whole part of the name: ``"body.conv1"`` takes ``body.conv1.0.weight``, not
    ``body.conv10.0.weight``. Raises ``ValueError`` for a prefix that names nothing.
    """
    every = dict(network.named_parameters())
    for prefix in prefixes:
        if not any(_below(name, prefix) for name in every):
            first = ", ".join(list(every)[:4])
            raise ValueError(f"no parameter is called {prefix!r} or {prefix}.*; there are {first}")
    return {n: p for n, p in every.items() if any(_below(n, prefix) for prefix in prefixes)}


def _below(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(f"{prefix}.")


def chosen(network: nn.Module, parameters: Parameters | None) -> dict[str, Tensor]:
    """Detached values of the parameters asked for (``None``: all of them, frozen ones too)."""
    every = dict(network.named_parameters())
    if parameters is None:
        parameters = every
    if not isinstance(parameters, Mapping) or not parameters:
        raise ValueError(
            f"parameters is {parameters!r:.60}; expected a dict name -> tensor, "
            "e.g. curvature.block(network, 'head')"
        )
    for name, value in parameters.items():
        if name not in every:
            raise ValueError(f"the network has no parameter {name!r}; it has {', '.join(every)}")
        if value.shape != every[name].shape:
            raise ValueError(
                f"{name} has shape {tuple(value.shape)}; the network's has "
                f"{tuple(every[name].shape)}"
            )
    return {name: value.detach() for name, value in parameters.items()}


def logits_of(network: nn.Module) -> Callable[[Parameters, Tensor], Tensor]:
    """(values, inputs (n, ...)) -> logits (n,) or (n, K); what values leave out is as it stands.

    Raises ``ValueError`` where batch normalisation or dropout is in training mode: the loss is
    then no function of the parameters alone, or no mean over examples.
    """
    for name, module in network.named_modules():
        kind = f"{name} ({type(module).__name__})"
        if isinstance(module, _BatchNorm | _Dropout) and module.training:
            raise ValueError(
                f"{kind} is in training mode, where an example's loss depends on its batch or on "
                "chance: call network.eval() first"
            )
        if isinstance(module, _BatchNorm) and module.running_mean is None:
            raise ValueError(
                f"{kind} keeps no running statistics, so an example's loss depends on its batch "
                "in evaluation mode too: build it with track_running_stats=True"
            )
    # detached, so that a graph holds the parameters asked for and nothing else
    rest = {name: p.detach() for name, p in network.named_parameters()}

    def logits(values: Parameters, inputs: Tensor) -> Tensor:
        return functional_call(network, {**rest, **values}, (inputs,))

    return logits


def log_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean of -log p(label | logits) over examples, nats.

    logits (n,): p(1) = 1/(1 + exp(-f)), labels (n,) in [0, 1].
    logits (n, K): p = softmax(f), labels (n,) whole numbers from 0 to K - 1.
    """
    check_labels(logits, labels)
    if logits.ndim == 1:
        return F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype))
    return F.cross_entropy(logits, labels.long())


def check_logits(logits: Tensor) -> None:
    """Raise unless logits are (n,) or (n, K) with K >= 2."""
    if logits.ndim == 1 or (logits.ndim == 2 and logits.shape[1] > 1):
        return
    hint = "squeeze the last axis" if logits.ndim == 2 else "flatten them in the network"
    raise ValueError(
        f"the network's logits have shape {tuple(logits.shape)}; expected (n,), or (n, K) with "
        f"K >= 2: {hint}"
    )


def check_labels(logits: Tensor, labels: Tensor) -> None:
    """Raise unless labels are (n,), in the range that the logits' shape asks for."""
    check_logits(logits)
    if labels.shape != logits.shape[:1]:
        raise ValueError(
            f"labels have shape {tuple(labels.shape)} beside logits {tuple(logits.shape)}; "
            f"expected ({len(logits)},), one label an example"
        )
    top = 1 if logits.ndim == 1 else logits.shape[1] - 1
    low, high = (float(v) for v in torch.aminmax(labels))
    if not (low >= 0 and high <= top):
        raise ValueError(
            f"labels run from {low:g} to {high:g}; logits {tuple(logits.shape)} allow 0 to {top}"
        )
    if logits.ndim == 2 and bool((labels != labels.round()).any()):
        raise ValueError("labels of several classes must be whole numbers, the classes' indices")
