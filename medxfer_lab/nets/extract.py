"""Features of many images, in batches."""

from __future__ import annotations

import os
import sys

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
) -> np.ndarray:
    """Images (n, 1, H, W), float in [0, 1] -> features (n, d), float32, on the processor.

    The network is used in evaluation mode and left in the mode and on the device it was in.
    ``device`` moves it meanwhile; ``size`` as in :meth:`Network.prepare`. Memory grows with
    ``batch_size``, not with n.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; expected at least 1")
    was_training, home = network.training, network.device
    network.eval().to(home if device is None else device)
    found = np.empty((len(images), network.n_features), dtype=np.float32)
    try:
        for start in _batches(len(images), batch_size, progress):
            x = network.prepare(images[start : start + batch_size], size)
            x = x.contiguous(memory_format=torch.channels_last)
            found[start : start + batch_size] = network.features(x).float().cpu().numpy()
    finally:
        network.to(home).train(was_training)
    return found


def _batches(n: int, batch_size: int, progress: bool):
    starts = range(0, n, batch_size)
    if not progress:
        return starts
    from tqdm import tqdm

    quiet = os.environ.get("MEDXFER_QUIET", "") not in ("", "0")
    return tqdm(starts, desc="features", unit="batch", file=sys.stdout, disable=quiet)
