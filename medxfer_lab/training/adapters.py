"""Low-rank adapters: W + B A in place of W, and back to a plain weight once trained."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize


class Adapter(nn.Module):
    """weight (m, ...) -> weight + (up @ down) of the same shape.

    up: (m, r), zeros. down: (r, k), normal with variance 1/k, k the product of the other sides.
    Hu et al., "LoRA", ICLR 2022, equation 3 (their scale alpha/r is left to the learning rate).
    """

    def __init__(self, weight: Tensor, rank: int, generator: torch.Generator) -> None:
        super().__init__()
        outputs, inputs = weight.shape[0], weight[0].numel()
        drawn = torch.randn(rank, inputs, generator=generator) / inputs**0.5
        self.down = nn.Parameter(drawn.to(weight))
        self.up = nn.Parameter(weight.new_zeros(outputs, rank))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + (self.up @ self.down).view_as(weight)


def add_adapters(body: nn.Module, rank: int, seed: int) -> list[str]:
    """Put an adapter on every weight matrix of ``body``, in place; the names of those weights.

    Convolutions count as matrices (outputs, everything else). A weight with a side of at most
    ``rank`` gets none: there is no lower rank to be had. No weight large enough is an error.
    """
    generator = torch.Generator().manual_seed(seed)
    adapted = []
    for name, module in list(body.named_modules()):
        weight = getattr(module, "weight", None)
        if not isinstance(weight, nn.Parameter) or weight.ndim < 2:
            continue
        if min(weight.shape[0], weight[0].numel()) > rank:
            adapter = Adapter(weight.detach(), rank, generator)
            parametrize.register_parametrization(module, "weight", adapter)
            adapted.append(f"{name}.weight")
    if not adapted:
        raise ValueError(
            f"rank is {rank}, and no weight of the body has a higher rank: take a smaller one"
        )
    return adapted


def merge_adapters(body: nn.Module) -> None:
    """Make the sums W + B A plain weights, in place; parameter names are as before."""
    for module in list(body.modules()):
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)
            for name in [n for n in module._parameters if n != "weight"]:  # weight first, as it was
                module._parameters[name] = module._parameters.pop(name)
