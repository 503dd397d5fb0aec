"""The same computation in the arrangement that this device is fast at."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812


def memory_format(network: nn.Module) -> torch.memory_format:
    """Channels last for convolutions with batch normalisation, else the usual order.

    Channels last makes convolutions faster on CPU and GPU alike; torch's group normalisation is
    slow on it, which costs a small network what the convolutions gain, or more: the sign depends
    on the processor.
    """
    convolves = any(isinstance(module, nn.Conv2d) for module in network.modules())
    grouped = any(isinstance(module, nn.GroupNorm) for module in network.modules())
    return torch.channels_last if convolves and not grouped else torch.contiguous_format


def arrange(x: Tensor, order: torch.memory_format) -> Tensor:
    """Pictures (n, C, H, W) in that order in memory; anything else contiguous."""
    return x.contiguous(memory_format=order if x.ndim == 4 else torch.contiguous_format)


@contextmanager
def products_for_convolutions(network: nn.Module) -> Iterator[None]:
    """Inside, convolutions without groups are matrix products over patches where gradients are
    taken: with the networks of a stack they are batched products instead of grouped convolutions.

    The values are the convolution's but for the order of summation.
    """
    swapped = [m for m in network.modules() if isinstance(m, nn.Conv2d) and _suits(m)]
    for convolution in swapped:
        convolution.forward = _patches(convolution)
    try:
        yield
    finally:
        for convolution in swapped:
            del convolution.forward


def _suits(convolution: nn.Conv2d) -> bool:
    return (
        convolution.groups == 1
        and convolution.padding_mode == "zeros"
        and not isinstance(convolution.padding, str)
        and type(convolution).forward is nn.Conv2d.forward  # not a subclass with its own padding
        and not nn.utils.parametrize.is_parametrized(convolution)
    )


def _patches(convolution: nn.Conv2d):
    """forward(x): (b, C, H, W) -> (b, O, h, w) as W (O, C k k) times patches (b, C k k, h w)."""
    kernel, stride = convolution.kernel_size, convolution.stride
    padding, dilation = convolution.padding, convolution.dilation

    def forward(x: Tensor) -> Tensor:
        if not torch.is_grad_enabled():
            return nn.Conv2d.forward(convolution, x)
        patches = F.unfold(x, kernel, dilation, padding, stride)  # (b, C k k, h w)
        out = convolution.weight.flatten(1) @ patches
        if convolution.bias is not None:
            out = out + convolution.bias[:, None]
        height, width = (
            (size + 2 * p - d * (k - 1) - 1) // s + 1
            for size, p, d, k, s in zip(x.shape[-2:], padding, dilation, kernel, stride)
        )
        return out.unflatten(-1, (height, width))

    return forward
