"""Train one network by one strategy; the network that comes in is never changed."""

from __future__ import annotations

import copy
import math
import sys
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (torch's own idiom)
from tqdm import trange

from medxfer_lab.training.strategies import Strategy


@dataclass(frozen=True)
class Fit:
    """A trained network and what happened on the way.

    losses: (steps,) mini-batch log loss, nats. distance: ||theta - theta_start|| / ||theta_start||
    of the body at the end. matched_distance: the same at the first check (every 25 steps) at which
    the loss on the whole training set was at most ``match_loss``; None if it never was.
    """

    network: nn.Module
    losses: Tensor
    distance: float
    matched_distance: float | None
    matched_step: int | None
    train_loss: float


def fit(
    network: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    strategy: Strategy,
    *,
    seed: int,
    steps: int = 250,
    batch_size: int = 32,
    learning_rate: float = 1e-3,
    flip: bool = False,
    match_loss: float | None = None,
    device: str | torch.device = "cpu",
    progress: bool = False,
) -> Fit:
    """Minimise mean log loss + tie/2 ||theta - theta_start||^2 with Adam.

    inputs: (n, C, H, W), already through ``network.prepare``. labels: (n,) 0 or 1.
    The rate warms up over a tenth of the steps and then falls as a cosine. Mini-batches are drawn
    by ``seed`` with replacement across epochs, without within one. flip: mirror images left to
    right at random, which is right where the label does not know the side.
    Same seed, same device, same thread count: same result.
    """
    _check(inputs, labels, steps, learning_rate)
    trained = copy.deepcopy(network).to(device)
    inputs = inputs.to(device)
    labels = labels.float().to(device)
    optimizer = torch.optim.Adam(strategy.groups(trained, learning_rate))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: _rate(s, steps))
    start = [p.detach().clone() for p in trained.body.parameters()]
    generator = torch.Generator().manual_seed(seed)
    trained.train(strategy.body_rate > 0)
    losses, matched = torch.zeros(steps), None
    order = torch.empty(0, dtype=torch.long)
    for step in trange(
        steps, disable=not progress, file=sys.stdout, desc=strategy.name, leave=False
    ):
        if len(order) < min(batch_size, len(labels)):
            order = torch.randperm(len(labels), generator=generator)
        index, order = order[:batch_size], order[batch_size:]
        batch = _mirror(inputs[index], generator) if flip else inputs[index]
        loss = F.binary_cross_entropy_with_logits(trained(batch), labels[index])
        objective = loss + _penalty(trained, start, strategy.tie) if strategy.tie else loss
        optimizer.zero_grad(set_to_none=True)
        objective.backward()
        optimizer.step()
        schedule.step()
        losses[step] = loss.detach()
        if match_loss is not None and matched is None and step % 25 == 24:
            if training_loss(trained, inputs, labels) <= match_loss:
                matched = (_distance(trained, start), step + 1)
    final = training_loss(trained, inputs, labels)
    trained.eval()
    reached = matched or (None, None)
    return Fit(trained, losses, _distance(trained, start), reached[0], reached[1], final)


@torch.no_grad()
def predict(network: nn.Module, inputs: Tensor, batch_size: int = 256) -> Tensor:
    """Logits (n,) of prepared inputs, in evaluation mode, on the CPU."""
    network.eval()
    device = next(network.parameters()).device
    return torch.cat([network(part.to(device)).cpu() for part in inputs.split(batch_size)])


def training_loss(network: nn.Module, inputs: Tensor, labels: Tensor) -> float:
    """Mean log loss in nats over a whole set; the network's mode is left as it was."""
    mode = network.training
    logits = predict(network, inputs)
    network.train(mode)
    return float(F.binary_cross_entropy_with_logits(logits, labels.cpu()))


def _rate(step: int, steps: int) -> float:
    warm = max(1, steps // 10)
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def _mirror(batch: Tensor, generator: torch.Generator) -> Tensor:
    coin = torch.rand(len(batch), generator=generator) < 0.5
    return torch.where(coin[:, None, None, None].to(batch.device), batch.flip(-1), batch)


def _penalty(network: nn.Module, start: list[Tensor], tie: float) -> Tensor:
    gaps = [(p - s).square().sum() for p, s in zip(network.body.parameters(), start, strict=True)]
    return tie / 2 * torch.stack(gaps).sum()


def _distance(network: nn.Module, start: list[Tensor]) -> float:
    moved = sum(
        float((p.detach() - s).square().sum())
        for p, s in zip(network.body.parameters(), start, strict=True)
    )
    return math.sqrt(moved / sum(float(s.square().sum()) for s in start))


def _check(inputs: Tensor, labels: Tensor, steps: int, learning_rate: float) -> None:
    if inputs.ndim != 4 or len(inputs) != len(labels):
        raise ValueError(
            f"inputs have shape {tuple(inputs.shape)} and labels {tuple(labels.shape)}; "
            "expected (n, channels, height, width) and (n,)"
        )
    values = set(labels.unique().tolist())
    if not values <= {0.0, 1.0}:
        raise ValueError(f"labels hold {sorted(values)[:5]}; expected 0 and 1")
    if len(values) < 2:
        raise ValueError(
            f"all {len(labels)} labels are {values.pop():g}; training needs both classes"
        )
    if steps < 1 or not learning_rate > 0:
        raise ValueError(f"steps is {steps}, learning_rate {learning_rate}; both must be positive")
