"""Train one network by one strategy; the network that comes in is never changed."""

from __future__ import annotations

import copy
import math
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from tqdm import trange

from medxfer_lab.training.adapters import add_adapters, merge_adapters
from medxfer_lab.training.batches import draw_batches
from medxfer_lab.training.inputs import check_training, check_weights, log_loss
from medxfer_lab.training.layout import arrange, memory_format
from medxfer_lab.training.plan import Plan, importance_for, plan
from medxfer_lab.training.prefix import Feed, feed
from medxfer_lab.training.strategies import Strategy

#: steps between two looks at the loss of the whole training set, where one is asked for
CHECK_EVERY = 25
#: what takes the steps
OPTIMIZERS = ("adam", "sgd")
#: of "sgd": v <- MOMENTUM v + gradient, theta <- theta - rate v
MOMENTUM = 0.9


@dataclass(frozen=True)
class Fit:
    """A trained network and what happened on the way.

    losses: (steps,) mini-batch log loss, nats. distance: ||theta - theta_start|| / ||theta_start||
    of the body at the end. matched_distance: the same at the first check (every 25 steps) at which
    the loss on the whole training set was at most ``match_loss``; None if it never was.
    train_loss: log loss on the whole training set at the end, nats.
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
    importance: Mapping[str, Tensor] | None = None,
    sample_weights: Tensor | None = None,
    cache_prefix: bool = True,
    precision: torch.dtype = torch.float32,
    optimizer: str = "adam",
    device: str | torch.device = "cpu",
    progress: bool = False,
) -> Fit:
    """Minimise mean log loss + the strategy's penalty, by mini-batches.

    network: has a ``body`` (nn.Sequential of blocks) and a ``head`` (nn.Linear).
    inputs: (n, C, H, W), already through ``network.prepare``, or (n, d) for a network of vectors.
    labels: (n,) 0 or 1 for one logit, whole numbers 0..K-1 for K logits.
    The rate warms up over a tenth of the steps and then falls as a cosine. Mini-batches are drawn
    by ``seed`` with replacement across epochs, without within one. flip: mirror images left to
    right at random, which is right where the label does not know the side.
    importance: Fisher information by parameter name, for strategies that weigh by it.
    sample_weights: (n,) w_i >= 0, scaled to mean 1 over the set; the loss becomes the mean of
    w_i times patient i's log loss, as for covariate shift with w = q/p (Shimodaira, Journal of
    Statistical Planning and Inference 90 (2000) 227-244). ``train_loss`` and ``match_loss`` stay
    unweighted.
    cache_prefix: run blocks that stand still once instead of at each step; the result is the same.
    precision: torch.bfloat16 computes under autocast; weights and optimiser stay float32.
    optimizer: "adam" (Kingma and Ba, ICLR 2015), or "sgd": stochastic gradient descent with
    momentum .9 (v <- .9 v + g, theta <- theta - rate v; Polyak 1964). The rates are the same
    numbers and not the same steps: Adam's is about the rate a parameter, whatever the gradient.
    Same seed, same device, same thread count: same result.
    """
    labels = check_training(network, inputs, labels, steps, learning_rate)
    check_optimizer(optimizer)
    weights = importance_for(strategy, network, importance)
    shares = None if sample_weights is None else check_weights(sample_weights, labels).to(device)
    order = memory_format(network)
    trained = copy.deepcopy(network).to(device, memory_format=order)
    start = {n: p.detach().clone() for n, p in trained.body.named_parameters()}
    if strategy.moves == "low_rank":
        add_adapters(trained.body, strategy.rank, seed)
        trained.to(device)
    settings = plan(strategy, trained)
    run = _Run(trained, settings, start, weights, learning_rate, steps, optimizer)
    inputs, labels = arrange(inputs.to(device), order), labels.to(device)
    batches = draw_batches(len(labels), batch_size, steps, seed, flip)
    kind = torch.device(device).type
    losses, matched = torch.zeros(steps, device=device), None
    now, phase = None, -1
    for step in trange(
        steps, disable=not progress, file=sys.stdout, desc=strategy.name, leave=False
    ):
        if run.schedule[step][0] != phase:
            phase = run.schedule[step][0]
            settings.open(trained, phase)
            frozen = settings.frozen_blocks(phase) if cache_prefix else 0
            now = feed(trained, inputs, frozen, flip)
        index = batches.index[step].to(device)
        coins = None if batches.mirrored is None else batches.mirrored[step].to(device)
        with torch.autocast(kind, precision, enabled=precision != torch.float32):
            loss = _batch_loss(now.model(now.batch(index, coins)), labels, shares, index)
        losses[step] = loss.detach()
        run.step(loss, step)
        checked = match_loss is not None and matched is None
        if checked and step % CHECK_EVERY == CHECK_EVERY - 1:
            if _whole_loss(now, labels) <= match_loss:
                matched = (run.distance(), step + 1)
    final = _whole_loss(now, labels)
    merge_adapters(trained.body)
    distance = run.distance()
    trained.to(memory_format=torch.contiguous_format).eval().requires_grad_(True)
    for parameter in trained.parameters():
        parameter.grad = None
    reached = matched or (None, None)
    return Fit(trained, losses.cpu(), distance, reached[0], reached[1], final)


def _batch_loss(logits: Tensor, labels: Tensor, shares: Tensor | None, index: Tensor) -> Tensor:
    """Mean log loss of a batch; with weights, mean of w_i times patient i's log loss."""
    if shares is None:
        return log_loss(logits, labels[index])
    return (shares[index] * log_loss(logits, labels[index], "none")).mean()


class _Run:
    """One optimiser, its rates, the penalty's pull, and how far the body has come."""

    def __init__(
        self,
        network: nn.Module,
        settings: Plan,
        start: dict[str, Tensor],
        importance: dict[str, Tensor] | None,
        learning_rate: float,
        steps: int,
        optimizer: str,
    ) -> None:
        self.network, self.settings, self.start = network, settings, start
        self.learning_rate, self.schedule = learning_rate, settings.schedule(steps)
        groups = settings.groups(dict(network.named_parameters()), learning_rate)
        self.optimizer = new_optimizer(optimizer, groups)
        self.tied = []
        if settings.strategy.tie:
            for name, parameter in network.body.named_parameters():
                share = importance[f"body.{name}"].to(parameter) if importance else None
                self.tied.append((parameter, start[name], share))

    def step(self, loss: Tensor, step: int) -> None:
        """One step of the optimiser along the gradient of loss + penalty."""
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        with torch.no_grad():
            for parameter, start, share in self.tied:
                if parameter.grad is not None:  # tie * w * (theta - start): the penalty's gradient
                    gap = parameter - start
                    gap = gap if share is None else gap * share
                    parameter.grad.add_(gap, alpha=self.settings.strategy.tie)
        phase, factor = self.schedule[step]
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate * factor * group["rates"][phase]
        self.optimizer.step()

    @torch.no_grad()
    def distance(self) -> float:
        """||theta - theta_start|| / ||theta_start|| of the body, adapters included."""
        moved = [
            float((weight(self.network.body, name) - start).square().sum())
            for name, start in self.start.items()
        ]
        return relative(moved, [float(start.square().sum()) for start in self.start.values()])


def check_optimizer(name: str) -> None:
    """Raise unless ``name`` is one of OPTIMIZERS."""
    if name not in OPTIMIZERS:
        raise ValueError(f"optimizer is {name!r}; known: {', '.join(OPTIMIZERS)}")


def new_optimizer(name: str, groups: list[dict]) -> torch.optim.Optimizer:
    """The optimiser called ``name`` on parameter groups; their rates are set before each step."""
    check_optimizer(name)
    if name == "sgd":
        return torch.optim.SGD(groups, momentum=MOMENTUM, fused=True)
    return torch.optim.Adam(groups, fused=True)


def relative(moved: list[float], size: list[float]) -> float:
    """sqrt(sum of squared moves / sum of squared weights); 0 for a body without weights."""
    return math.sqrt(sum(moved) / sum(size)) if size else 0.0


def weight(body: nn.Module, name: str) -> Tensor:
    """A weight by its plain name; with an adapter on it, the sum."""
    module, _, last = name.rpartition(".")
    return getattr(body.get_submodule(module), last)


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Inside, everything is in evaluation mode; afterwards each module is as it was."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


@torch.no_grad()
def predict(network: nn.Module, inputs: Tensor, batch_size: int = 256) -> Tensor:
    """Logits (n,) or (n, K) of prepared inputs, in evaluation mode, on the CPU."""
    network.eval()
    device = next(network.parameters()).device
    return torch.cat([network(part.to(device)).cpu() for part in inputs.split(batch_size)])


def training_loss(network: nn.Module, inputs: Tensor, labels: Tensor) -> float:
    """Mean log loss in nats over a whole set; every module's mode is left as it was."""
    with evaluating(network):
        return float(log_loss(predict(network, inputs), labels.cpu()))


def _whole_loss(now: Feed, labels: Tensor) -> float:
    return training_loss(now.model, now.pictures, labels)
