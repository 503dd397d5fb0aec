"""Features of many images, in batches."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from medxfer_lab.nets.network import Network


@torch.no_grad()
def features(
    network: Network,
    images: Tensor | np.ndarray,
    batch_size: int = 64,
    device: str | torch.device | None = None,
    progress: bool = False,
    size: int | None = None,
    block: str | None = None,
) -> np.ndarray:
    """Images (n, 1, H, W), float in [0, 1] -> features (n, d), float32, on the processor.

    The network is used in evaluation mode and left in the mode and on the device it was in.
    ``device`` moves it meanwhile; ``size`` as in :meth:`Network.prepare`. Memory grows with
    ``batch_size``, not with n.

    ``block``, e.g. ``"body.conv2"``: the activations (n, C, h, w) that leave this block, instead
    of features. The array keeps the memory layout that the block leaves (channels first or last),
    so that ``torch.from_numpy`` of it, fed batch by batch to the blocks behind it
    (:meth:`Network.split`), gives the features to the last bit.
    """
    forward = network.features if block is None else network.split(block)[0]
    found = None
    with in_use(network, device):
        for start, x in inputs(network, images, batch_size, size, progress):
            out = forward(x).float().cpu().numpy()
            if found is None:
                found = np.empty_like(out, shape=(len(images), *out.shape[1:]))
            found[start : start + batch_size] = out
    return found


@contextlib.contextmanager
def in_use(network: Network, device: str | torch.device | None = None) -> Iterator[None]:
    """Evaluation mode, on ``device``; afterwards every part is in the mode it was in, and back."""
    home, modes = network.device, [(part, part.training) for part in network.modules()]
    network.eval().to(home if device is None else device)
    try:
        yield
    finally:
        network.to(home)
        for part, mode in modes:  # not train(): a frozen batch norm is to stay in evaluation mode
            part.training = mode


def inputs(
    network: Network,
    images: Tensor | np.ndarray,
    batch_size: int,
    size: int | None = None,
    progress: bool = False,
) -> Iterator[tuple[int, Tensor]]:
    """(start, prepared images) of each batch; one empty batch where there are no images."""
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; expected at least 1")
    for start in _batches(len(images), batch_size, progress):
        x = network.prepare(images[start : start + batch_size], size)
        yield start, x.contiguous(memory_format=torch.channels_last)


def _batches(n: int, batch_size: int, progress: bool):
    starts = range(0, max(n, 1), batch_size)
    if not progress:
        return starts
    from tqdm import tqdm

    quiet = os.environ.get("MEDXFER_QUIET", "") not in ("", "0")
    return tqdm(starts, desc="features", unit="batch", file=sys.stdout, disable=quiet)
