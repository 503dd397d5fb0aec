r"""The same function in other units, and measures of curvature that do not notice.

A **rescaling symmetry** is a diagonal matrix D with positive entries for which the parameters
theta and D theta give the same function, whatever theta. Two are in every network of this course:

- ReLU(a z) = a ReLU(z) for a > 0: what leaves one layer times a enters the next divided by a.
- A convolution whose output is normalised by its own mean and spread (group normalisation) may be
  multiplied by any c > 0. The normalisation's epsilon limits this: c is the same as epsilon/c^2.

Differentiate L(D theta) = L(theta) once and twice:

    grad L(D theta) = D^-1 grad L(theta),    H(D theta) = D^-1 H(theta) D^-1.

So a block's raw curvature can be made anything: times c, its top eigenvalue is divided by c^2
(Dinh, Pascanu, Bengio and Bengio, "Sharp minima can generalize for deep nets", ICML 2017). What
D leaves alone is curvature per *relative* change: with T = diag(|theta|),

    T' H' T' = (D T)(D^-1 H D^-1)(D T) = T H T,

hence its eigenvalues and its trace. It is the Hessian by e at e = 0 of L(theta (1 + e)), each
parameter's e its own (up to the signs of theta, which change neither). Kwon, Kim, Park and Choi,
"ASAM: adaptive sharpness-aware minimization", ICML 2021, build on the same scaling.

Three limits. A parameter that is exactly 0 has no relative change: it is left out. Biases and the
scale and shift of a normalisation are treated like all others, though a shift's zero is a
convention. And only rescalings are covered: a rotation of the parameters that leaves the function
alone does change these measures.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from medxfer_lab._checks import finite_array, number, whole
from medxfer_lab.methods import curvature

Net = TypeVar("Net", bound=nn.Module)
Product = Callable[[Tensor], Tensor]


def rescaled(network: Net, factors: Mapping[str, float]) -> Net:
    """A copy with the convolutions of some blocks times a factor: the same function.

    factors: block -> c > 0, e.g. ``{"body.conv1": 10.0}``. A block is a `torch.nn.Sequential` that
        starts with a convolution and a `torch.nn.GroupNorm`; a bias of the convolution is
        multiplied as well. The function changes only as if the normalisation's epsilon were
        epsilon/c^2.

    Raises ValueError for a block that is not built so. Batch normalisation in use is one of these:
    its statistics are constants and do not follow the convolution.
    """
    other = copy.deepcopy(network)
    with torch.no_grad():
        for name, factor in factors.items():
            convolution = _normalised_convolution(other, name)
            c = number(f"the factor of {name}", factor, 0.0, np.finfo(float).max, open_low=True)
            for parameter in convolution.parameters():
                parameter.mul_(c)
    return other


def _normalised_convolution(network: nn.Module, name: str) -> nn.Module:
    """The convolution at the start of a block, if group normalisation follows it."""
    modules = {n: m for n, m in network.named_modules() if isinstance(m, nn.Sequential)}
    good = {n: m[0] for n, m in modules.items() if len(m) > 1 and _follows(m[0], m[1])}
    if name not in good:
        raise ValueError(
            f"{name!r} is no block that starts with a convolution and group normalisation, so a "
            f"factor would change the function; such blocks here: {', '.join(good) or 'none'}"
        )
    return good[name]


def _follows(first: nn.Module, second: nn.Module) -> bool:
    convolutions = nn.Conv1d | nn.Conv2d | nn.Conv3d
    return isinstance(first, convolutions) and isinstance(second, nn.GroupNorm)


def relu_pair(u: float, v: float, x: ArrayLike) -> np.ndarray:
    """The smallest network with a rescaling symmetry: v ReLU(u x), shape of x.

    relu_pair(a u, v/a, x) is the same for every a > 0.
    """
    return number("v", v) * np.maximum(number("u", u) * finite_array("x", x, (0, 1, 2)), 0)


def relu_pair_hessian(u: float, v: float, x: ArrayLike, y: ArrayLike) -> np.ndarray:
    """Hessian (2, 2) by (u, v) of the mean of (relu_pair(u, v, x) - y)^2/2 over n examples.

    With m the mean of x^2 and r that of x y, examples with u x <= 0 counting as 0:

        [[v^2 m, 2 u v m - r], [2 u v m - r, u^2 m]].

    x, y: (n,). At (a u, v/a) the diagonal is (v^2 m/a^2, a^2 u^2 m): the trace grows without
    bound for small and for large a, and u^2 H_uu = v^2 H_vv = (u v)^2 m stays.
    """
    u, v = number("u", u), number("v", v)
    x, y = finite_array("x", x, 1), finite_array("y", y, 1)
    if x.shape != y.shape:
        raise ValueError(f"x has shape {x.shape} and y {y.shape}; expected one y for each x")
    active = u * x > 0
    m, r = float(np.mean(active * x**2)), float(np.mean(active * x * y))
    cross = 2 * u * v * m - r
    return np.array([[v**2 * m, cross], [cross, u**2 * m]])


def relative_trace(diagonal: Mapping[str, Tensor], parameters: Mapping[str, Tensor]) -> float:
    """sum_j theta_j^2 H_jj = tr T H T: no rescaling symmetry changes it.

    As noise: L(theta (1 + s e)) with e_j independent, mean 0, variance 1, rises by s^2/2 times
    this on average, to second order in s where L is smooth. Automatic differentiation knows no
    curvature of ReLU's kinks; noise moves activations across them, and its rise counts them.

    diagonal: name -> tensor, of the Hessian or of the Fisher information; of a block if you like.
    parameters: name -> tensor of the same shape; names that the diagonal lacks are ignored.
    """
    if not diagonal:
        raise ValueError("diagonal is empty; pass the diagonal of at least one parameter")
    total = 0.0
    for name, curved in diagonal.items():
        value = _value(name, curved.shape, parameters)
        total += float((value.cpu().double().square() * curved.detach().cpu().double()).sum())
    return total


def _value(name: str, shape: torch.Size, parameters: Mapping[str, Tensor]) -> Tensor:
    if name not in parameters:
        raise ValueError(f"parameters lack {name!r}; they are {', '.join(parameters) or 'empty'}")
    value = parameters[name].detach()
    if value.shape != shape:
        raise ValueError(
            f"{name} has shape {tuple(value.shape)}, its curvature {tuple(shape)}: were they taken "
            "from one network?"
        )
    return value


def relative_operator(operator: curvature.Operator, parameters: Mapping[str, Tensor]) -> Product:
    """T H T as a product v -> |theta| * H(|theta| * v), (d,) -> (d,), d the operator's dimension.

    operator: `methods.curvature.hessian_operator` or `gauss_newton_operator`, of all or a block.
    parameters: name -> tensor, where the operator was taken; other names are ignored.

        product = relative_operator(operator, dict(network.named_parameters()))
        top = top_eigenvalues(product, operator.dimension, 1, seed=0)
    """
    shapes = operator.unflatten(torch.zeros(operator.dimension))
    values = {name: _value(name, part.shape, parameters) for name, part in shapes.items()}
    size = operator.flatten(values).abs()

    def product(vector: Tensor) -> Tensor:
        scale = size.to(vector)
        return scale * operator(scale * vector)

    return product


def relative_noise(
    network: Net,
    loss: Callable[[Net], float],
    spread: float,
    draws: int,
    seed: int,
    blocks: tuple[str, ...] = (),
) -> float:
    """Mean rise of the loss when every parameter is multiplied by 1 + spread * e, e ~ N(0, 1).

    loss: network -> number, e.g. ``lambda net: material.loss(net, data)``.
    draws: each e is tried with both signs, so that the linear term cancels: 2 draws + 1 losses.
    blocks: prefixes of the parameters that are disturbed; none means all.

    No rescaling symmetry changes it, at any spread, not only where the second order is enough:
    theta (1 + s e) goes to D theta (1 + s e). One seed gives one noise for every network with
    these names and shapes, so two of them can be compared draw by draw.
    """
    spread = number("spread", spread, 0.0, np.finfo(float).max, open_low=True)
    draws, generator = whole("draws", draws, 1), torch.Generator().manual_seed(seed)
    other = copy.deepcopy(network)
    disturbed = curvature.block(other, *blocks) if blocks else dict(other.named_parameters())
    before = {name: p.detach().clone() for name, p in disturbed.items()}
    with torch.no_grad():
        start, total = float(loss(network)), 0.0
        for _ in range(draws):
            noise = {n: torch.randn(p.shape, generator=generator).to(p) for n, p in before.items()}
            for sign in (1.0, -1.0):
                for name, parameter in disturbed.items():
                    parameter.copy_(before[name] * (1 + sign * spread * noise[name]))
                total += float(loss(other))
    return total / (2 * draws) - start
