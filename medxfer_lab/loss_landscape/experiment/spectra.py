"""Curvature of one network's loss, block by block: the numbers that several experiments share."""

from __future__ import annotations

import numpy as np
from torch import nn

from medxfer_lab.loss_landscape.experiment.material import Set
from medxfer_lab.loss_landscape.theory.symmetry import relative_operator, relative_trace
from medxfer_lab.methods import curvature as cv

#: residual of an eigenvalue, relative to the largest one
TOLERANCE, MOST_PRODUCTS = 1e-2, 40
#: columns of :func:`by_block`
MEASURES = ("top", "trace", "mean", "relative_top", "relative_trace")


def largest(product, dimension: int) -> float:
    """The largest eigenvalue of a symmetric matrix that is known by its products."""
    found = cv.top_eigenvalues(
        product, dimension, seed=0, tolerance=TOLERANCE, max_steps=min(MOST_PRODUCTS, dimension)
    )
    return float(found.values[0])


def top_gauss_newton(network: nn.Module, data: Set, *blocks: str) -> float:
    """Largest eigenvalue of the Gauss-Newton matrix of some blocks; all of them by default."""
    operator = cv.gauss_newton_operator(network, data[0], _block(network, blocks))
    return largest(operator, operator.dimension)


def top_hessian(network: nn.Module, data: Set, *blocks: str) -> float:
    """Largest eigenvalue of the Hessian of some blocks; all of them by default."""
    operator = cv.hessian_operator(network, *data, _block(network, blocks))
    return largest(operator, operator.dimension)


def _block(network: nn.Module, blocks: tuple[str, ...]) -> dict | None:
    return cv.block(network, *blocks) if blocks else None


def by_block(network: nn.Module, data: Set) -> np.ndarray:
    """(blocks, 5): Gauss-Newton curvature of each block of the network, input first.

    top: largest eigenvalue. trace; mean: trace over the number of parameters. relative_top and
    relative_trace: the same in coordinates theta_j (1 + x_j), which no rescaling can change.
    """
    fisher = cv.fisher_diagonal(network, data[0], labels="exact")
    rows = []
    for name in network.blocks:
        operator = cv.gauss_newton_operator(network, data[0], cv.block(network, name))
        part = {n: fisher[n].double() for n in operator.names}
        values = {n: p.detach().double() for n, p in cv.block(network, name).items()}
        trace = sum(float(v.sum()) for v in part.values())
        rows.append(
            (
                largest(operator, operator.dimension),
                trace,
                trace / operator.dimension,
                largest(relative_operator(operator, values), operator.dimension),
                float(relative_trace(part, values)),
            )
        )
    return np.array(rows)
