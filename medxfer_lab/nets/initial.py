"""Starting points without knowledge: controls for what pretraining brings.

*Untrained* is a network's own initialisation. *Matched scales* goes one step further: each tensor
is drawn at random, but with the mean and the standard deviation that it has after pretraining
("mean-var initialisation" in Raghu et al., "Transfusion: understanding transfer learning for
medical imaging", NeurIPS 2019). What it achieves is owed to scales, not to features.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn


def matched_scales(tensors: dict[str, Tensor], seed: int) -> dict[str, Tensor]:
    """Each tensor replaced by independent normal draws with its own mean and standard deviation.

    Batch-norm statistics (``running_mean``, ``running_var``, ``num_batches_tracked``) are passed
    through as they are: they describe the activations of other weights, so whoever uses the
    result must compute them anew (:func:`calibrate_batch_norm`). A tensor of one element has no
    spread and keeps its value.
    """
    generator = np.random.default_rng(seed)
    drawn = {}
    for name in sorted(tensors):
        tensor = tensors[name]
        if name.rpartition(".")[2] in ("running_mean", "running_var", "num_batches_tracked"):
            drawn[name] = tensor.clone()
            continue
        values = tensor.double().numpy()
        # float32 first, so that the last bits of a sum cannot change what is drawn
        mean, spread = np.float32(values.mean()), np.float32(values.std())
        normal = generator.standard_normal(values.shape)
        drawn[name] = torch.from_numpy((mean + spread * normal).astype(np.float32))
    return drawn


def texture(n: int, size: int, seed: int, channels: int = 1) -> Tensor:
    """Random images (n, channels, size, size) in [0, 1] with amplitude falling as 1 / frequency.

    The spectrum of natural and of medical images, and nothing else of them: they stand for "some
    image" where a statistic is needed before any data may be seen. Channels are equal.
    """
    generator = np.random.default_rng(seed)
    rows, columns = np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :]
    frequency = np.hypot(rows, columns)
    frequency[0, 0] = np.inf
    noise = np.fft.rfft2(generator.standard_normal((n, 1, size, size)))
    images = np.fft.irfft2(noise / frequency, s=(size, size))
    images = 0.5 + images / (4 * images.std(axis=(-2, -1), keepdims=True))
    return torch.from_numpy(images.clip(0, 1).astype(np.float32)).expand(-1, channels, -1, -1)


@torch.no_grad()
def calibrate_batch_norm(body: nn.Module, x: Tensor) -> None:
    """Set every batch-norm layer's statistics to those of one batch ``x`` passed through ``body``.

    With new weights the statistics a layer was created with (mean 0, variance 1) are wrong at
    every depth, and the errors multiply. In the forward pass each layer is normalised by its own
    batch, so that the next one sees what it will see in use.
    """
    layers = [layer for layer in body.modules() if isinstance(layer, nn.BatchNorm2d)]
    if not layers:
        return
    momenta, training = [layer.momentum for layer in layers], body.training
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # cumulative average: after one batch, that batch's statistics
    body.train()
    body(x)
    body.train(training)
    for layer, momentum in zip(layers, momenta):
        layer.momentum = momentum
