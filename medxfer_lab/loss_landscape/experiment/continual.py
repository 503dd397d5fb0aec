"""Fine-tuning that remembers: replay of old examples, and looks at the network on the way.

What :func:`medxfer_lab.training.fit` does not do, with the same batches, the same schedule of
rates and the same Adam: without replay the result is fit's under ``FullFineTuning()``.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from medxfer_lab import nets
from medxfer_lab.loss_landscape.experiment.material import Set
from medxfer_lab.training import FullFineTuning
from medxfer_lab.training.batches import draw_batches
from medxfer_lab.training.inputs import log_loss
from medxfer_lab.training.plan import plan

#: from the target's seed to that of the old examples: they are drawn independently
_OLD = 1_000_003


@dataclass(frozen=True)
class Replay:
    """Old examples that are mixed in: each step minimises L_new + weight * L_old.

    data: prepared inputs and labels of the old task. head: its head, which never moves; L_old is
    the mean log loss of a batch of old examples under the body as it is and this head.
    """

    data: Set
    head: nn.Linear
    weight: float

    def __post_init__(self) -> None:
        if not self.weight > 0:
            raise ValueError(f"weight is {self.weight}; without old examples leave replay out")


def tune_on(
    start: nets.Network,
    data: Set,
    *,
    seed: int,
    steps: int,
    learning_rate: float,
    batch_size: int = 32,
    replay: Replay | None = None,
    look: Callable[[nets.Network], Any] | None = None,
    at: Collection[int] = (),
) -> tuple[nets.Network, dict[int, Any]]:
    """The network tuned whole from ``start`` (which is left alone), and what was seen on the way.

    data: prepared inputs (n, 1, h, w) and labels (n,) of the new task. Pictures of either task
    are mirrored at random. look: asked after the steps in ``at`` (1 is after the first); its
    answers come back by step. The schedule of rates is that of all ``steps``, wherever one looks.
    """
    if late := [step for step in at if not 1 <= step <= steps]:
        raise ValueError(f"at holds {late}; looks come after steps 1 to {steps}")
    network = copy.deepcopy(start).train().requires_grad_(True)
    settings = plan(FullFineTuning(), network)
    groups = settings.groups(dict(network.named_parameters()), learning_rate)
    optimizer = torch.optim.Adam(groups, fused=True)
    new = _feed(data, batch_size, steps, seed)
    old = None if replay is None else _feed(replay.data, batch_size, steps, seed + _OLD)
    head = None if replay is None else copy.deepcopy(replay.head).requires_grad_(False)
    seen = {}
    for step in range(steps):
        loss = _loss(network, new(step)) if old is None else None
        if old is not None:
            loss = _both(network, head, new(step), old(step), replay.weight)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * settings.rate(step, steps)
        optimizer.step()
        if step + 1 in at:
            network.eval()
            seen[step + 1] = look(network)
            network.train()
    optimizer.zero_grad(set_to_none=True)
    return network.eval(), seen


def _feed(data: Set, batch_size: int, steps: int, seed: int) -> Callable[[int], Set]:
    """step -> inputs and labels of its batch."""
    batches = draw_batches(len(data[1]), batch_size, steps, seed, flip=True)

    def batch(step: int) -> Set:
        index, coins = batches.index[step], batches.mirrored[step]
        shown = data[0][index]
        return torch.where(coins.view(-1, 1, 1, 1), shown.flip(-1), shown), data[1][index]

    return batch


def _loss(network: nets.Network, batch: Set) -> Tensor:
    return log_loss(network(batch[0]), batch[1])


def _both(network: nets.Network, head: nn.Linear, new: Set, old: Set, weight: float) -> Tensor:
    """L_new + weight * L_old, one pass through the body for both batches."""
    features = network.body(torch.cat([new[0], old[0]]))
    fresh, kept = features.split([len(new[1]), len(old[1])])
    return log_loss(network.head(fresh)[:, 0], new[1]) + weight * log_loss(head(kept), old[1])
