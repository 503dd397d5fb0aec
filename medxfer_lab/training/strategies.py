"""Strategies of adaptation, as data: which parameters move, how fast, what they are tied to.

A strategy knows no backbone and holds no loop; :func:`medxfer_lab.training.fit` serves them all.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class Strategy:
    """What a training run may change.

    name: key of :data:`medxfer_lab.course.style.COLOURS`.
    start: "pretrained" or "untrained": the weights that the caller is expected to pass in.
    body_rate: learning rate of the body relative to the head's; 0 freezes the body.
    tie: strength alpha of the penalty alpha/2 ||theta - theta_start||^2 on the body (0: none).
    """

    name: str
    start: str = "pretrained"
    body_rate: float = 1.0
    tie: float = 0.0

    def __post_init__(self) -> None:
        if self.start not in ("pretrained", "untrained"):
            raise ValueError(f"start is {self.start!r}; it is 'pretrained' or 'untrained'")
        if self.body_rate < 0 or self.tie < 0:
            raise ValueError(
                f"body_rate is {self.body_rate} and tie is {self.tie}; neither can be negative"
            )

    def groups(self, network: nn.Module, learning_rate: float) -> list[dict]:
        """Parameter groups for an optimizer; parameters that do not move are switched off."""
        body, head = list(network.body.parameters()), list(network.head.parameters())
        for parameter in body:
            parameter.requires_grad_(self.body_rate > 0)
        groups = [{"params": head, "lr": learning_rate}]
        if self.body_rate > 0:
            groups.append({"params": body, "lr": learning_rate * self.body_rate})
        return groups

    def describe(self, network: nn.Module) -> str:
        """One table: parameters of each block, how many move, relative rate, penalty."""
        rows = [
            f"{self.name}: starts {self.start}",
            f"{'block':<22}{'parameters':>12}{'rate':>8}  tie",
        ]
        for block in network.blocks:
            count = sum(p.numel() for n, p in network.named_parameters() if n.startswith(block))
            in_head = block.startswith("head")
            rate = 1.0 if in_head else self.body_rate
            tie = "" if in_head or not self.tie else f"{self.tie:g}"
            rows.append(f"{block:<22}{count:>12,}{rate:>8g}  {tie}")
        return "\n".join(rows)


def Scratch() -> Strategy:  # noqa: N802 (reads as the strategy's name)
    """Everything moves, from an untrained start."""
    return Strategy("scratch", start="untrained")


def LinearProbe() -> Strategy:  # noqa: N802
    """Only the linear head moves; the pretrained body is frozen."""
    return Strategy("linear_probe", body_rate=0.0)


def FullFineTuning() -> Strategy:  # noqa: N802
    """Everything moves, from the pretrained start."""
    return Strategy("full_fine_tuning")


def L2SP(strength: float) -> Strategy:  # noqa: N802
    """Everything moves, and the body is tied to its pretrained start (Li et al. 2018)."""
    if not strength > 0:
        raise ValueError(f"strength is {strength}; L2-SP without a tie is FullFineTuning()")
    return Strategy("l2sp", tie=strength)
