"""Small networks with a body of blocks and a head, and data that they can learn a little from."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import torch
from torch import Tensor, nn


class Perceptron(nn.Module):
    """Vectors (n, sizes[0]) -> logits; a block a layer. One size: a linear model, empty body."""

    def __init__(self, sizes: tuple[int, ...], seed: int, outputs: int = 1) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            layers = [
                (f"layer{i}", nn.Sequential(nn.Linear(a, b), nn.ReLU()))
                for i, (a, b) in enumerate(zip(sizes[:-1], sizes[1:]), start=1)
            ]
            self.body = nn.Sequential(OrderedDict(layers))
            self.head = nn.Linear(sizes[-1], outputs)

    def forward(self, x: Tensor) -> Tensor:
        logits = self.head(self.body(x))
        return logits[:, 0] if self.head.out_features == 1 else logits


class Convolutions(nn.Module):
    """Pictures (n, 1, s, s) -> logits: two blocks with batch normalisation, a pool."""

    def __init__(self, seed: int, outputs: int = 1) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            blocks = [
                (
                    f"conv{i}",
                    nn.Sequential(
                        nn.Conv2d(a, b, 3, 2, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU()
                    ),
                )
                for i, (a, b) in enumerate(((1, 4), (4, 6)), start=1)
            ]
            pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
            self.body = nn.Sequential(OrderedDict([*blocks, ("pool", pool)]))
            self.head = nn.Linear(6, outputs)

    forward = Perceptron.forward


def vectors(n: int, d: int, seed: int, classes: int = 2) -> tuple[Tensor, Tensor]:
    """Normal vectors, labels by the largest of ``classes`` noisy directions."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, d))
    scores = x[:, :classes] + 0.5 * rng.standard_normal((n, classes))
    labels = scores.argmax(1)
    labels[:classes] = range(classes)
    return torch.tensor(x, dtype=torch.float32), torch.tensor(labels).float()


def pictures(n: int, size: int, seed: int) -> tuple[Tensor, Tensor]:
    """Noise, brighter on the left in one class."""
    rng = np.random.default_rng(seed)
    labels = (np.arange(n) % 2)[rng.permutation(n)]
    x = rng.standard_normal((n, 1, size, size))
    x[:, 0, :, : size // 2] += labels[:, None, None]
    return torch.tensor(x, dtype=torch.float32), torch.tensor(labels).float()


def weights(network: nn.Module) -> Tensor:
    """All parameters, one after another."""
    return torch.cat([p.detach().flatten() for p in network.parameters()])
