"""A network small enough to be trained hundreds of times on one processor core."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import torch
from torch import Tensor, nn

from medxfer_lab.nets.files import FOLDER
from medxfer_lab.nets.network import Network, new_head

INPUT_SIZE = 32
N_FEATURES = 64
#: seeds of the pretrained checkpoints that come with the package
CHECKPOINTS = tuple(range(8))
#: (channels in, channels out, kernel, stride) of each block
_BLOCKS = ((1, 16, 5, 2), (16, 32, 3, 2), (32, 48, 3, 1), (48, N_FEATURES, 3, 2))
_GROUPS = 8


def small_cnn(n_classes: int = 1, seed: int = 0) -> Network:
    """The network with torch's own initialisation, drawn from ``seed``.

    (n, 1, 32, 32) -> 16 x 16 x 16 -> 32 x 8 x 8 -> 48 x 8 x 8 -> 64 x 4 x 4 -> mean -> (n, 64)

    Each block is convolution, group normalisation (no batch statistics: the network does the same
    in training and in use, and an image's features do not depend on its neighbours), ReLU. The
    early stride makes it cheap. 46,800 parameters in the body.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        blocks = [(f"conv{i}", _block(*spec)) for i, spec in enumerate(_BLOCKS, start=1)]
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    body = nn.Sequential(OrderedDict([*blocks, ("pool", pool)]))
    head = new_head(N_FEATURES, n_classes, seed)
    return Network("small_cnn", body, head, normalise, INPUT_SIZE)


def _block(c_in: int, c_out: int, kernel: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(c_in, c_out, kernel, stride, padding=kernel // 2, bias=False),
        nn.GroupNorm(_GROUPS, c_out),
        nn.ReLU(),
    )


def normalise(images: Tensor) -> Tensor:
    """[0, 1] -> (x - .5) / .25: about zero mean and unit spread on photographs."""
    return (images - 0.5) / 0.25


def checkpoint_path(seed: int, folder: Path | None = None) -> Path:
    """Where the weights pretrained on photographs from ``seed`` lie."""
    return (folder or FOLDER) / f"small_cnn.photographs.{seed}.safetensors"
