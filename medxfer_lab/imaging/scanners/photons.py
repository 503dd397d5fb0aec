"""Counting photons: Poisson noise that is the same wherever it is drawn, and has a gradient."""

from __future__ import annotations

import numpy as np
import torch
from scipy import special, stats
from torch import Tensor

from medxfer_lab.imaging.scanners.base import stream

_FEW = 10.0  # below, the expansion is not good enough: exact quantiles
#: photons that a detector element without any is taken to have seen, so that a logarithm exists
DARK_COUNT = 0.5


def standard_normals(seed: int, ids: Tensor, shape: tuple[int, ...]) -> Tensor:
    """(n, *shape) float32 standard normal draws, each patient's from ``stream(seed, id)``."""
    draws = [stream(seed, i).standard_normal(shape, dtype=np.float32) for i in ids]
    return torch.from_numpy(np.stack(draws))


def poisson_counts(expected: Tensor, normal: Tensor, quantise: bool = True) -> Tensor:
    """Poisson counts as a function of their mean and of a standard normal draw (inverse method).

    The count is the quantile of Poisson(expected) at probability Phi(normal). Three orders of its
    normal expansion, rounded down, give it (Giles, ACM Algorithm 955, doi:10.1145/2699466),
        q = m + sqrt(m) w + (1/3 + w^2/6) + (-w/36 - w^3/72)/sqrt(m)
            + (-8/405 + 7 w^2/810 + w^4/270)/m,         m = expected, w = normal,
    off by one in fewer than one draw of 1,000 at m = 10 and ever more rarely above; below 10 the
    exact quantile is taken. So noise is reparametrised: the same draw serves whatever the mean,
    and the count changes smoothly with it, dq/dm = 1 + w / (2 sqrt(m)) + ...; rounding down is
    passed straight through by the gradient.

    expected: any shape, photons, not negative. normal: the same shape. quantise: False leaves q
    unrounded (for finite differences). Returns the counts, same shape and dtype as expected.
    """
    if expected.shape != normal.shape:
        raise ValueError(
            f"normal has shape {tuple(normal.shape)}; expected one draw a count: "
            f"{tuple(expected.shape)}"
        )
    w = normal.to(expected)
    mean = expected.clamp(min=1e-12)  # the root's slope must stay finite where nothing arrives
    plenty = expected.clamp(min=_FEW)
    q = mean + mean.sqrt() * w + (1 / 3 + w**2 / 6)
    q = q - (w / 36 + w**3 / 72) / plenty.sqrt()
    q = q + (-8 / 405 + 7 / 810 * w**2 + w**4 / 270) / plenty
    if not quantise:
        return q.clamp(min=0)
    counts = q.detach().floor()
    few = expected.detach() < _FEW
    if few.any():
        probability = special.ndtr(w[few].double().cpu().numpy())
        exact = stats.poisson.ppf(probability, expected.detach()[few].double().cpu().numpy())
        counts[few] = torch.from_numpy(np.asarray(exact)).to(counts).clamp(min=0)
    return counts + (q - q.detach())


def log_transform(counts: Tensor, photons: float) -> Tensor:
    """Line integrals from counts, p = ln(photons / counts); no photon counts as half a one."""
    return torch.log(photons / counts.clamp(min=DARK_COUNT))
