"""A strategy resolved on a network: which parameter moves in which phase, and how fast."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import nn

from medxfer_lab.training.strategies import Strategy

NORMALISATIONS = (
    nn.modules.batchnorm._NormBase,
    nn.GroupNorm,
    nn.LayerNorm,
)


@dataclass(frozen=True)
class Row:
    """One block: its parameters, those that ever move, and its relative rate in each phase."""

    block: str
    parameters: int
    names: tuple[str, ...]
    moving: int
    rates: tuple[float, ...]


@dataclass(frozen=True)
class Plan:
    """What a strategy does to one network."""

    strategy: Strategy
    rows: tuple[Row, ...]

    def starts(self, steps: int) -> list[int]:
        """First step of each phase, 0 first; a phase may be left without steps by rounding."""
        shares = [phase.share for phase in self.strategy.phases]
        total = math.fsum(shares)
        return [round(steps * math.fsum(shares[:i]) / total) for i in range(len(shares))]

    def frozen_blocks(self, phase: int) -> int:
        """How many of the body's first blocks stand still in a phase: the frozen prefix."""
        body = self.rows[:-1]
        for i, row in enumerate(body):
            if row.names and row.rates[phase] > 0:
                return i
        return len(body)

    def rate(self, step: int, steps: int) -> float:
        """Factor of the learning rate: a rise over a tenth of the steps, then half a cosine.

        Over the whole training, or over each phase if the strategy restarts.
        """
        if self.strategy.restart:
            ends = [*self.starts(steps), steps]
            phase = self.phase_at(step, steps)
            step, steps = step - ends[phase], ends[phase + 1] - ends[phase]
        warm = max(1, steps // 10)
        if step < warm:
            return (step + 1) / warm
        return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))

    def phase_at(self, step: int, steps: int) -> int:
        """Index of the phase that a step belongs to."""
        return max(i for i, start in enumerate(self.starts(steps)) if start <= step)

    def schedule(self, steps: int) -> list[tuple[int, float]]:
        """(phase, factor of the learning rate) of every step."""
        return [(self.phase_at(step, steps), self.rate(step, steps)) for step in range(steps)]

    def groups(self, named: Mapping[str, torch.Tensor], learning_rate: float) -> list[dict]:
        """Parameter groups for an optimizer, one a block that ever moves; "rates" by phase.

        named: parameters by name, a network's own or a stack's.
        """
        return [
            {"params": [named[n] for n in row.names], "lr": learning_rate, "rates": row.rates}
            for row in self.rows
            if row.names and any(row.rates)
        ]

    def open(self, network: nn.Module, phase: int) -> None:
        """Switch gradients and training mode on where the phase moves something, else off.

        A frozen block is in evaluation mode: the running statistics of its batch normalisation
        would otherwise drift although no parameter moves.
        """
        moving = [row for row in self.rows if row.names and row.rates[phase] > 0]
        names = {n for row in moving for n in row.names}
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(name in names)
        network.train(len(moving) == len(self.rows))
        for row in moving:
            network.get_submodule(row.block).train()

    def table(self) -> str:
        """Parameters of each block, how many move, relative rate (by phase), penalty."""
        s = self.strategy
        phases = f", {len(s.phases)} phases" if len(s.phases) > 1 else ""
        low_rank = f", adapters of rank {s.rank}" if s.rank else ""
        lines = [f"{s.name}: starts {s.start}{phases}{low_rank}"]
        width = 9 * len(s.phases)
        lines.append(f"{'block':<22}{'parameters':>12}{'moving':>12}{'rate':>{width}}  tie")
        for row in self.rows:
            rates = "".join(f" {rate if row.moving else 0:>8.2g}" for rate in row.rates)
            tied = s.tie > 0 and row is not self.rows[-1] and row.names
            tie = f"{s.tie:g}{' x Fisher' if s.weighting == 'fisher' else ''}" if tied else ""
            lines.append(
                f"{row.block:<22}{row.parameters:>12,}{row.moving:>12,}{rates}  {tie}".rstrip()
            )
        total, moving = sum(r.parameters for r in self.rows), sum(r.moving for r in self.rows)
        lines.append(f"{'all':<22}{total:>12,}{moving:>12,}")
        return "\n".join(lines)


def plan(strategy: Strategy, network: nn.Module) -> Plan:
    """Resolve a strategy on a network that has a ``body`` and a ``head``.

    For low-rank strategies the adapters are counted before they exist; after
    :func:`~medxfer_lab.training.adapters.add_adapters` the plan names them.
    Raises ``ValueError`` where phases or block_rates ask for blocks that the body has not.
    """
    blocks = blocks_of(network)
    body = blocks[:-1]
    counts = [phase.count(len(body)) for phase in strategy.phases]
    given = strategy.block_rates
    if given and len(given) != len(body):
        raise ValueError(
            f"block_rates holds {len(given)} rates and the body has {len(body)} blocks "
            f"({', '.join(body)}): give one a block, from the input on"
        )
    rows = []
    for i, block in enumerate(body):
        depth = len(body) - i  # 1 for the block next to the head
        rate = given[i] if given else strategy.body_rate * strategy.decay**depth
        rates = tuple(rate if depth <= count else 0.0 for count in counts)
        names, moving = _moving(strategy, network, block) if any(rates) else ((), 0)
        rows.append(Row(block, _size(network, block), names, moving, rates))
    head = tuple(n for n, _ in _parameters(network, "head"))
    size = _size(network, "head")
    rows.append(Row("head", size, head, size, (1.0,) * len(counts)))
    return Plan(strategy, tuple(rows))


def blocks_of(network: nn.Module) -> tuple[str, ...]:
    """Prefixes of parameter names from input to head, e.g. ("body.conv1", ..., "head").

    A body that is one wrapped model (torchvision's) is taken apart one level further.
    """
    prefix, body = "body", network.body
    while True:
        found = [name for name, child in body.named_children() if list(child.parameters())]
        if len(found) != 1 or not list(getattr(body, found[0]).children()):
            break
        prefix, body = f"{prefix}.{found[0]}", getattr(body, found[0])
    return (*(f"{prefix}.{name}" for name in found), "head")


def _parameters(network: nn.Module, block: str) -> Iterator[tuple[str, nn.Parameter]]:
    for name, parameter in network.named_parameters():
        if name.startswith(block + "."):
            yield name, parameter


def _size(network: nn.Module, block: str) -> int:
    """Parameters of a block, its adapters not counted."""
    return sum(p.numel() for n, p in _parameters(network, block) if not _is_adapter(n))


def _is_adapter(name: str) -> bool:
    return ".parametrizations.weight.0." in name


def _moving(strategy: Strategy, network: nn.Module, block: str) -> tuple[tuple[str, ...], int]:
    """Names of the block's parameters that may move, and how many numbers they hold."""
    found = list(_parameters(network, block))
    if strategy.moves == "low_rank":
        adapters = [(n, p) for n, p in found if _is_adapter(n)]
        if adapters:
            return tuple(n for n, _ in adapters), sum(p.numel() for _, p in adapters)
        sides = [
            (p.shape[0], p[0].numel()) for n, p in found if n.endswith("weight") and p.ndim > 1
        ]
        return (), sum(strategy.rank * (m + k) for m, k in sides if min(m, k) > strategy.rank)
    if strategy.moves == "bias":
        found = [(n, p) for n, p in found if n.rpartition(".")[2] == "bias"]
    elif strategy.moves == "normalisation":
        norms = {name for name, m in network.named_modules() if isinstance(m, NORMALISATIONS)}
        found = [(n, p) for n, p in found if n.rpartition(".")[0] in norms]
    return tuple(n for n, _ in found), sum(p.numel() for _, p in found)


def importance_for(
    strategy: Strategy, network: nn.Module, importance: dict[str, torch.Tensor] | None
) -> dict[str, torch.Tensor] | None:
    """The Fisher information that a strategy asks for, checked against the body; None if unasked.

    importance: parameter name -> non-negative tensor of its shape (names as in the network, the
    head's are ignored).
    """
    if strategy.weighting != "fisher":
        return None
    if importance is None:
        raise ValueError(
            f"{strategy.name} needs importance=, the Fisher information of the source task by "
            "parameter name: see medxfer_lab.methods.curvature.fisher_diagonal"
        )
    found = {}
    for name, parameter in network.body.named_parameters(prefix="body"):
        if name not in importance:
            raise ValueError(f"importance lacks {name!r}; it has {', '.join(list(importance)[:3])}")
        weight = importance[name]
        if weight.shape != parameter.shape or not bool((weight >= 0).all()):
            raise ValueError(
                f"importance of {name!r} has shape {tuple(weight.shape)} and least value "
                f"{float(weight.min()):.3g}; expected {tuple(parameter.shape)} and none below 0"
            )
        found[name] = weight.detach().to(parameter)
    return found
