"""Tuning with a record of the way: the same run as `training.fit` would do, stopped to look.

`training.fit` returns where a run ends; here its places in between are wanted, and full-batch
gradient descent beside Adam.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call

from medxfer_lab.loss_landscape.experiment.material import Set
from medxfer_lab.training.batches import draw_batches
from medxfer_lab.training.inputs import log_loss

Values = dict[str, Tensor]


def values_of(network: nn.Module) -> Values:
    """Every parameter, name -> detached copy."""
    return {name: p.detach().clone() for name, p in network.named_parameters()}


def with_values(network: nn.Module, values: Mapping[str, Tensor]) -> nn.Module:
    """A copy of the network with these parameters (the others stay), in evaluation mode."""
    import copy

    other = copy.deepcopy(network).eval()
    with torch.no_grad():
        for name, parameter in other.named_parameters():
            if name in values:
                parameter.copy_(values[name])
    return other


def adam_walk(
    network: nn.Module,
    data: Set,
    *,
    seed: int,
    steps: int,
    learning_rate: float,
    at: Iterable[int],
    batch_size: int = 32,
    prefixes: tuple[str, ...] = ("",),
) -> dict[int, Values]:
    """Parameters after each step number in ``at`` (0: the start) of Adam on the mean log loss.

    A constant rate: the place after k steps then does not depend on how many will follow.
    prefixes: names of what moves; all by default.
    """
    wanted, batches = set(at), draw_batches(len(data[1]), batch_size, steps, seed, True)
    moving = with_values(network, {}).train()
    for name, parameter in moving.named_parameters():
        parameter.requires_grad_(name.startswith(prefixes))
    optimizer = torch.optim.Adam([p for p in moving.parameters() if p.requires_grad], learning_rate)
    seen = {0: values_of(moving)} if 0 in wanted else {}
    for step in range(1, steps + 1):
        index, coins = batches.index[step - 1], batches.mirrored[step - 1]
        shown = data[0][index]
        shown = torch.where(coins[:, None, None, None], shown.flip(3), shown)
        optimizer.zero_grad()
        log_loss(moving(shown), data[1][index]).backward()
        optimizer.step()
        if step in wanted:
            seen[step] = values_of(moving)
    return seen


Loss = Callable[[Values], Tensor]


def loss_of(network: nn.Module, data: Set) -> Loss:
    """Parameters -> mean log loss on a set; what is left out of the parameters stands still."""
    fixed = values_of(network)

    def loss(values: Values) -> Tensor:
        return log_loss(functional_call(network, {**fixed, **values}, (data[0],)), data[1])

    return loss


def gradient(loss: Loss, values: Values) -> tuple[float, Values]:
    """Loss and its gradient by the parameters given."""
    leaves = {name: v.detach().clone().requires_grad_() for name, v in values.items()}
    found = loss(leaves)
    return float(found.detach()), dict(
        zip(leaves, torch.autograd.grad(found, list(leaves.values())), strict=True)
    )


def descend(
    loss: Loss, values: Values, rates: Mapping[str, float], steps: int, ceiling: float | None = None
) -> list[float]:
    """Losses (steps + 1,) of full-batch gradient descent, one rate a tensor.

    ceiling: stop as soon as the loss is above it (the last entry then is), or not a number.
    """
    values, losses = dict(values), []
    for step in range(steps + 1):
        now, slope = gradient(loss, values)
        losses.append(now)
        if step == steps or not now < float("inf") or (ceiling is not None and now > ceiling):
            break
        values = {name: v - rates[name] * slope[name] for name, v in values.items()}
    return losses
