"""Networks of one architecture as one: parameters stacked, every step taken by all at once.

theta: name -> (m, ...) for m networks. One forward pass under vmap, one backward pass of the sum of
the m losses (no network's loss depends on another's parameters, so the gradient of the sum is every
network's own), one elementwise step. On a GPU this turns m small launches into one; on a
processor it pays for linear models and perceptrons, not for convolutions.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from tqdm import trange

from medxfer_lab.training.adapters import add_adapters, merge_adapters
from medxfer_lab.training.batches import draw_batches
from medxfer_lab.training.fit import (
    CHECK_EVERY,
    Fit,
    evaluating,
    new_optimizer,
    relative,
    weight,
)
from medxfer_lab.training.inputs import log_loss
from medxfer_lab.training.layout import products_for_convolutions
from medxfer_lab.training.plan import Plan, importance_for, plan
from medxfer_lab.training.prefix import feed
from medxfer_lab.training.strategies import Strategy


def same_architecture(networks: Sequence[nn.Module]) -> bool:
    """Whether the networks' modules, names and shapes are the same, so that they can be stacked."""
    shapes = {tuple((n, tuple(t.shape)) for n, t in net.state_dict().items()) for net in networks}
    return len(shapes) == 1 and len({repr(net) for net in networks}) == 1


def fit_stack(
    networks: Sequence[nn.Module],
    cohorts: Sequence[tuple[Tensor, Tensor]],
    strategy: Strategy,
    *,
    seeds: Sequence[int],
    steps: int = 250,
    batch_size: int = 32,
    learning_rate: float = 1e-3,
    flip: bool = False,
    match_loss: float | None = None,
    importance: Mapping[str, Tensor] | None = None,
    cache_prefix: bool = True,
    precision: torch.dtype = torch.float32,
    optimizer: str = "adam",
    device: str | torch.device = "cpu",
    convolutions: str = "grouped",
    progress: bool = False,
) -> list[Fit]:
    """What :func:`fit` does to each network, done to all at once; arguments as there.

    networks: of one architecture. cohorts: (inputs, labels) each, all of one size n, labels as
    :func:`~medxfer_lab.training.inputs.check_training` returns them. seeds: one a network.
    convolutions: "grouped" lets vmap make one grouped convolution of m; "products" makes batched
    matrix products of them.
    Results equal fit's but for the order of sums in floating point.
    """
    weights = importance_for(strategy, networks[0], importance)
    stack = _Stack(networks, strategy, seeds, weights, learning_rate, steps, optimizer, device)
    inputs = [x.to(device) for x, _ in cohorts]
    labels = torch.stack([y for _, y in cohorts]).to(device)
    drawn = [draw_batches(labels.shape[1], batch_size, steps, s, flip) for s in seeds]
    index = torch.stack([d.index for d in drawn], 1).to(device)  # (steps, m, b)
    coins = torch.stack([d.mirrored for d in drawn], 1).to(device) if flip else None
    rows = torch.arange(len(networks), device=device)[:, None]
    kind = torch.device(device).type
    losses = torch.zeros(steps, len(networks), device=device)
    matched: list[tuple[float, int] | None] = [None] * len(networks)
    phase = -1
    ways = {"grouped": nullcontext(), "products": products_for_convolutions(stack.template)}
    with ways[convolutions]:
        for step in trange(
            steps, disable=not progress, file=sys.stdout, desc=strategy.name, leave=False
        ):
            if stack.schedule[step][0] != phase:
                phase = stack.schedule[step][0]
                stack.enter(phase, inputs, flip, cache_prefix)
            x = stack.batch(rows, index[step], None if coins is None else coins[step])
            with torch.autocast(kind, precision, enabled=precision != torch.float32):
                logits = stack.logits(x)
                loss = _mean_loss(logits, labels[rows, index[step]])
            losses[step] = loss.detach()
            stack.step(loss.sum(), step)
            if match_loss is not None and step % CHECK_EVERY == CHECK_EVERY - 1:
                _match(stack, labels, match_loss, step, matched)
    final = stack.whole_loss(labels).tolist()
    return stack.take_apart(losses.cpu().T.contiguous(), matched, final)


class _Stack:
    """Stacked parameters and buffers, the template they are called with, their optimiser."""

    def __init__(
        self,
        networks: Sequence[nn.Module],
        strategy: Strategy,
        seeds: Sequence[int],
        importance: dict[str, Tensor] | None,
        learning_rate: float,
        steps: int,
        optimizer: str,
        device: str | torch.device,
    ) -> None:
        self.single = [copy.deepcopy(network) for network in networks]
        named = [dict(network.to(device).named_parameters()) for network in self.single]
        self.plain = {n: [p[n].detach().clone() for p in named] for n in named[0]}
        if strategy.moves == "low_rank":
            for network, seed in zip(self.single, seeds, strict=True):
                add_adapters(network.body, strategy.rank, seed)
        self.single = [network.to(device) for network in self.single]
        self.template = copy.deepcopy(self.single[0])
        self.settings: Plan = plan(strategy, self.template)
        self.schedule = self.settings.schedule(steps)
        parameters, self.buffers = stack_module_state(self.single)
        self.parameters = {name: p.detach() for name, p in parameters.items()}
        self.start = {name: p.clone() for name, p in self.parameters.items()}
        on_device = {name: w.to(device) for name, w in (importance or {}).items()}
        self.importance, self.learning_rate = on_device, learning_rate
        groups = self.settings.groups(self.parameters, learning_rate)
        self.optimizer = new_optimizer(optimizer, groups)

    def enter(self, phase: int, inputs: list[Tensor], flip: bool, cache_prefix: bool) -> None:
        """Open what the phase moves; run what stands still once, by every network's own blocks."""
        self.settings.open(self.template, phase)
        moving = {n for n, p in self.template.named_parameters() if p.requires_grad}
        for name, parameter in self.parameters.items():
            parameter.requires_grad_(name in moving)
            parameter.grad = None
        frozen = self.settings.frozen_blocks(phase) if cache_prefix else 0
        for network in self.single:
            network.eval()
        feeds = [
            feed(network, x, frozen, flip) for network, x in zip(self.single, inputs, strict=True)
        ]
        self.model = feed(self.template, inputs[0][:1], frozen, flip).model
        if type(feeds[0].model) is not type(self.model):  # too much to keep: whole networks
            self.model = self.template
        names = {n for n, _ in self.model.named_parameters()}
        kept = {n for n, _ in self.model.named_buffers()}
        self.called = (
            {n: p for n, p in self.parameters.items() if n in names},
            {n: b for n, b in self.buffers.items() if n in kept},
        )
        self.pictures = torch.stack([f.pictures for f in feeds])
        self.mirrored = (
            None if feeds[0].mirrored is None else torch.stack([f.mirrored for f in feeds])
        )

    def batch(self, rows: Tensor, index: Tensor, coins: Tensor | None) -> Tensor:
        """(m, b, ...) inputs of one step."""
        chosen = _rows(self.pictures, rows, index)
        if coins is None:
            return chosen
        turned = chosen.flip(-1) if self.mirrored is None else _rows(self.mirrored, rows, index)
        return torch.where(coins.view(*coins.shape, *[1] * (chosen.ndim - 2)), turned, chosen)

    def logits(self, x: Tensor) -> Tensor:
        """(m, b, ...) -> (m, b) or (m, b, K)."""

        def one(parameters: dict, buffers: dict, inputs: Tensor) -> Tensor:
            return functional_call(self.model, (parameters, buffers), (inputs,))

        return vmap(one)(*self.called, x)

    def step(self, loss: Tensor, step: int) -> None:
        """One step of the optimiser for all; the penalty's gradient is added where one ties."""
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        tie = self.settings.strategy.tie
        with torch.no_grad():
            for name, parameter in self.parameters.items() if tie else ():
                if parameter.grad is not None and name.startswith("body."):
                    gap = parameter - self.start[name]
                    gap = gap * self.importance[name] if self.importance else gap
                    parameter.grad.add_(gap, alpha=tie)
        phase, factor = self.schedule[step]
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate * factor * group["rates"][phase]
        self.optimizer.step()

    @torch.no_grad()
    def whole_loss(self, labels: Tensor) -> Tensor:
        """(m,) log loss of every network on its whole training set, in evaluation mode."""
        with evaluating(self.model):
            parts = [self.logits(part) for part in self.pictures.split(64, dim=1)]
        return _mean_loss(torch.cat(parts, 1), labels)

    @torch.no_grad()
    def distances(self) -> list[float]:
        """||theta - theta_start|| / ||theta_start|| of each body."""
        self._write_back()
        bodies = [network.body for network in self.single]
        names = [name for name in self.plain if name.startswith("body.")]
        return [
            relative(
                [
                    float((weight(body, n.removeprefix("body.")) - self.plain[n][k]).square().sum())
                    for n in names
                ],
                [float(self.plain[n][k].square().sum()) for n in names],
            )
            for k, body in enumerate(bodies)
        ]

    @torch.no_grad()
    def _write_back(self) -> None:
        for k, network in enumerate(self.single):
            state = {n: t[k] for n, t in (self.parameters | self.buffers).items()}
            for name, tensor in [*network.named_parameters(), *network.named_buffers()]:
                tensor.copy_(state[name])

    def take_apart(
        self, losses: Tensor, matched: list[tuple[float, int] | None], final: list[float]
    ) -> list[Fit]:
        """One Fit a network."""
        distances = self.distances()
        fits = []
        for k, network in enumerate(self.single):
            merge_adapters(network.body)
            reached = matched[k] or (None, None)
            done = network.requires_grad_(True).eval()
            fits.append(Fit(done, losses[k], distances[k], reached[0], reached[1], final[k]))
        return fits


def _rows(pictures: Tensor, rows: Tensor, index: Tensor) -> Tensor:
    """pictures (m, n, ...)[k, index[k]] -> (m, b, ...), whole rows copied at a time."""
    flat = (rows * pictures.shape[1] + index).flatten()
    return pictures.flatten(0, 1).index_select(0, flat).unflatten(0, index.shape)


def _mean_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """(m, b) or (m, b, K) logits, (m, b) labels -> (m,) mean log loss."""
    m, b = labels.shape
    each = log_loss(logits.reshape(m * b, *logits.shape[2:]), labels.reshape(-1), "none")
    return each.view(m, b).mean(1)


def _match(
    stack: _Stack, labels: Tensor, bound: float, step: int, matched: list[tuple[float, int] | None]
) -> None:
    reached = (stack.whole_loss(labels) <= bound).tolist()
    if any(r and m is None for r, m in zip(reached, matched)):
        distances = stack.distances()
        for k, good in enumerate(reached):
            if good and matched[k] is None:
                matched[k] = (distances[k], step + 1)
