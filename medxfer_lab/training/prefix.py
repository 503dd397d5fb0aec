"""The frozen part of a network, run once instead of at every step."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from medxfer_lab.training.plan import blocks_of


class Suffix(nn.Module):
    """The blocks of ``network`` from child ``first`` of its body on, and the head; same weights.

    Activations of the blocks before -> logits (n,) for one output, else (n, K).
    """

    def __init__(self, network: nn.Module, first: int) -> None:
        super().__init__()
        self.body = network.body[first:]
        self.head = network.head

    def forward(self, x: Tensor) -> Tensor:
        logits = self.head(self.body(x))
        return logits[:, 0] if self.head.out_features == 1 else logits


@dataclass(frozen=True)
class Feed:
    """What the steps of a phase read.

    model: what they train: the network, or its part behind the frozen blocks.
    pictures: (n, ...) the model's inputs. mirrored: the same of the mirrored pictures, where they
    cannot be mirrored on the way (activations), else None.
    """

    model: nn.Module
    pictures: Tensor
    mirrored: Tensor | None = None

    def batch(self, index: Tensor, coins: Tensor | None) -> Tensor:
        """Inputs of one step; coins: (b,) bool, which of them are mirrored left to right."""
        chosen = self.pictures.index_select(0, index)
        if coins is None:
            return chosen
        turned = chosen.flip(-1) if self.mirrored is None else self.mirrored.index_select(0, index)
        return torch.where(coins.view(-1, *[1] * (chosen.ndim - 1)), turned, chosen)


def feed(
    network: nn.Module, inputs: Tensor, frozen: int, flip: bool, limit_bytes: int = 2**30
) -> Feed:
    """A feed that runs the first ``frozen`` blocks once on all inputs, if that is possible.

    The frozen blocks are in evaluation mode, so a picture's activations do not depend on its
    batch, and mirroring is the only augmentation, so both versions of a picture are kept and
    nothing is approximated. The whole network is run at each step instead where the body is not a
    chain of blocks, or the activations would take more than ``limit_bytes``.
    """
    first = _first_child(network, frozen)
    if not first:
        return Feed(network, inputs)
    prefix, suffix = network.body[:first], Suffix(network, first)
    with torch.no_grad():
        sample = prefix(inputs[:1])
        kept = sample.numel() * sample.element_size() * len(inputs) * (2 if flip else 1)
        if kept > limit_bytes:
            return Feed(network, inputs)
        versions = [inputs, inputs.flip(-1)] if flip else [inputs]
        done = [torch.cat([prefix(part) for part in v.split(64)]) for v in versions]
    return Feed(suffix, done[0], done[1] if flip else None)


def _first_child(network: nn.Module, frozen: int) -> int:
    """Index of the first child of the body that is not frozen; 0 if nothing can be left out."""
    blocks = blocks_of(network)
    wrapped = len(blocks) > 1 and blocks[0].count(".") > 1
    if not frozen or wrapped or not isinstance(network.body, nn.Sequential):
        return 0
    if frozen == len(blocks) - 1:
        return len(network.body)
    names = [name for name, _ in network.body.named_children()]
    return names.index(blocks[frozen].removeprefix("body."))
