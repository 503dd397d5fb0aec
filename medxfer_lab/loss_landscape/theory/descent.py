"""How long a step may be: gradient descent on a quadratic, one rate for all or one per block.

Around a point with gradient g and Hessian H (symmetric, d x d) the loss of a move delta is
g'delta + delta'H delta/2. Descent with one rate per parameter, D = diag(steps), and heavy-ball
momentum beta (SGD's momentum in PyTorch; Polyak 1964) is

    delta_(t+1) = delta_t - D (H delta_t + g) + beta (delta_t - delta_(t-1)).

DH has the eigenvalues of the symmetric S = D^1/2 H D^1/2. Along an eigenvector of S with
eigenvalue s the distance z to the minimum obeys z_(t+1) = (1 + beta - s) z_t - beta z_(t-1). The
roots of r^2 - (1 + beta - s) r + beta lie inside the unit circle iff |1 + beta - s| < 1 + beta:

    0 < s < 2 (1 + beta).

All that follows is this line. Curvature is loss per squared unit of a parameter, a rate its
inverse: change the units of the parameters and both change; their product s does not.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from medxfer_lab._checks import finite_array, number, same_length, whole

#: below this share of the largest, an eigenvalue counts as zero: a direction that never moves
FLAT = 1e-10


def stable_step(curvature: ArrayLike, momentum: float = 0.0) -> float | np.ndarray:
    """The rate at the edge in a direction of this curvature, 2 (1 + momentum)/curvature.

    From 0 < s < 2 (1 + momentum) with s = rate * curvature (module docstring). Momentum .9 nearly
    doubles it. At curvature 0 any step holds: inf.

    Args:
        curvature: scalar or array, at least 0. momentum: in [0, 1).
    """
    curves, beta = np.asarray(curvature, dtype=np.float64), _momentum(momentum)
    if np.isnan(curves).any() or (curves < 0).any():
        raise ValueError(
            f"curvature is {curvature}; expected at least 0: where the loss curves downwards no "
            "step is stable, use the Gauss-Newton curvature or is_stable"
        )
    with np.errstate(divide="ignore"):
        edge = 2 * (1 + beta) / curves
    return edge if curves.ndim else float(edge)


def quadratic_loss(hessian: ArrayLike, gradient: ArrayLike, delta: ArrayLike) -> np.ndarray:
    """g'delta + delta'H delta/2, the change of loss to second order.

    hessian: (d, d). gradient: (d,). delta: (..., d), one move or many. Returns shape (...).
    """
    h, g = _problem(hessian, gradient)
    moves = np.asarray(delta, dtype=np.float64)
    same_length("delta", np.atleast_1d(moves), "gradient", g)
    return moves @ g + np.einsum("...i,ij,...j->...", moves, h, moves) / 2


def descend(
    hessian: ArrayLike,
    gradient: ArrayLike,
    steps: ArrayLike,
    n_steps: int,
    momentum: float = 0.0,
    start: ArrayLike | None = None,
) -> np.ndarray:
    """The path of gradient descent with momentum on the quadratic (module docstring).

    Args:
        hessian: (d, d). gradient: (d,), at delta = 0. steps: rate for all, or (d,); 0 freezes.
        n_steps: how many. momentum: in [0, 1). start: (d,); default 0, the pretrained point.

    Returns:
        (n_steps + 1, d), the start first. A path that diverges long enough ends in inf and NaN.
    """
    h, g = _problem(hessian, gradient)
    rates, beta = _rates(steps, g.size), _momentum(momentum)
    path = np.zeros((whole("n_steps", n_steps, 0) + 1, g.size))
    if start is not None:
        path[0] = finite_array("start", start, 1)
    move = np.zeros(g.size)
    with np.errstate(over="ignore", invalid="ignore"):
        for t in range(n_steps):
            move = beta * move - rates * (h @ path[t] + g)
            path[t + 1] = path[t] + move
    return path


def is_stable(hessian: ArrayLike, steps: ArrayLike, momentum: float = 0.0) -> bool:
    """Does descent with these rates shrink the distance to the minimum in every moving direction?

    True iff every nonzero eigenvalue of S = D^1/2 H D^1/2 lies in (0, 2 (1 + momentum)). Directions
    without curvature, and frozen ones (rate 0), stand still and are left out. One direction of
    negative curvature makes it False at any rate. At the edge itself rounding decides.
    """
    s, beta = scaled_eigenvalues(hessian, steps), _momentum(momentum)
    moving = s[np.abs(s) > FLAT * np.abs(s).max()]
    return bool(((moving > 0) & (moving < 2 * (1 + beta))).all())


def joint_edge(hessian: ArrayLike, steps: ArrayLike, momentum: float = 0.0) -> float:
    """The factor c at which rates c * steps, taken by all parameters at once, reach the edge.

        c = 2 (1 + momentum)/lambda_max(D^1/2 H D^1/2),    D = diag(steps)

    With steps = 1 it is the largest uniform rate. inf if nothing that moves curves upwards.
    Directions of negative curvature grow at any rate; they are left out here (see `is_stable`).

    For positive semi-definite H, blocks with rates eta_b and own top eigenvalues lambda_b:

        max_b eta_b lambda_b <= lambda_max(S) <= sum_b eta_b lambda_b.

    Left: a vector inside one block. Right: S = A'A with A = [A_1 ... A_B], |A_b|^2 = eta_b lambda_b
    and |A x| <= sum_b |A_b| |x_b| <= (sum_b |A_b|^2)^1/2 |x|. So **sum_b eta_b lambda_b < 2
    (1 + momentum) is safe** whatever couples the blocks, and a rate that is safe for each block
    alone need not be: one rate for all is safe below 2/sum_b lambda_b, not below min_b 2/lambda_b.
    """
    top = scaled_eigenvalues(hessian, steps)[-1]
    edge = 2 * (1 + _momentum(momentum))
    return float(edge / top) if top > 0 else np.inf


def block_curvatures(hessian: ArrayLike, blocks: Sequence[ArrayLike]) -> np.ndarray:
    """The top eigenvalue of each diagonal block, lambda_b: (B,).

    2/lambda_b is the edge of the block's rate if it moves *alone*, all others frozen.
    blocks: B arrays of indices that hold every one of the d parameters once.
    """
    h = symmetric(hessian)
    return np.array([np.linalg.eigvalsh(h[np.ix_(b, b)])[-1] for b in _blocks(blocks, len(h))])


def block_steps(
    hessian: ArrayLike, blocks: Sequence[ArrayLike], scale: ArrayLike = 1.0
) -> np.ndarray:
    """Rates matched to curvature: every parameter of block b gets scale * 2/lambda_b; (d,).

    With scale 1 each block is at its own edge; all at once may diverge. S then has blocks with top
    eigenvalue 2 scale, so for H positive semi-definite (see `joint_edge`)

        2 scale <= lambda_max(S) <= 2 B scale:    **scale below 1/B is always safe.**

    With one scale per block: safe if they sum to less than 1. The bound is met when the blocks'
    top directions move the outputs alike: [[a, sqrt(ab)], [sqrt(ab), b]] has lambda_max(S) = 4 at
    scale 1 (`two_block_hessian`, coupling 1 or -1); uncoupled blocks allow scale 1.

    Rates proportional to 1/lambda_b are also nearly the best that one rate per block can do: for H
    positive definite the condition number of S is at most B times the least that any choice
    reaches. (Let lambda_b = 1, T = ESE another choice, e^2 the largest entry of E^2. Then
    lambda_max(T) >= e^2 and lambda_min(T) <= e^2 lambda_min(S), while lambda_max(S) <= B. Blocks
    of one parameter: van der Sluis, Numerische Mathematik 14 (1969) 14-23.) It need not be better
    than one rate for all.

    Args:
        scale: one for all blocks, or (B,); at least 0.
    """
    curves = block_curvatures(hessian, blocks)
    if (curves <= 0).any():
        b = int(np.argmin(curves))
        raise ValueError(
            f"block {b} has top curvature {curves[b]:.3g}; expected more than 0: a flat block has "
            "no edge, join it to another or give it a rate by hand"
        )
    share = finite_array("scale", scale, (0, 1))
    if (share < 0).any() or share.ndim and share.shape != curves.shape:
        raise ValueError(f"scale is {scale}; expected one or {curves.size} numbers of at least 0")
    steps = np.empty(len(np.asarray(hessian)))
    for b, step in zip(blocks, share * stable_step(curves), strict=True):
        steps[np.asarray(b)] = step
    return steps


def two_block_hessian(a: float, b: float, coupling: float) -> np.ndarray:
    """[[a, c sqrt(ab)], [c sqrt(ab), b]]: two blocks of one parameter with curvatures a and b.

    coupling c in [-1, 1] is the cosine between what the two do to the outputs; the eigenvalues,
    (a + b)/2 +- ((a - b)^2/4 + c^2 ab)^1/2, are never negative. The uniform rate's edge lies
    between 2/(a + b), met at |c| = 1, and min(2/a, 2/b), met at c = 0.
    """
    a, b = (number(n, v, 0.0, open_low=True) for n, v in (("a", a), ("b", b)))
    beside = number("coupling", coupling, -1.0, 1.0) * np.sqrt(a * b)
    return np.array([[a, beside], [beside, b]])


def two_block_edge(share_a: ArrayLike, coupling: float) -> np.ndarray:
    """The share q of block b's own edge 2/b that is left when block a takes share p of 2/a.

        q = (1 - p)/(1 - p (1 - coupling^2))

    The boundary of the stable region for `two_block_hessian`: 2 - S is positive semi-definite iff
    p, q <= 1 and (1 - p)(1 - q) >= c^2 pq. A square at c = 0, the triangle p + q = 1 at |c| = 1.

    share_a: p in [0, 1], scalar or array. Returns its shape; 1 at p = 1, c = 0.
    """
    p, c2 = np.asarray(share_a, dtype=np.float64), number("coupling", coupling, -1.0, 1.0) ** 2
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"share_a is {share_a}; expected [0, 1]: beyond 1 block a diverges alone")
    return np.where(c2 == 0, 1.0, (1 - p) / np.where(c2 == 0, 1.0, 1 - p * (1 - c2)))


def condition_number(
    hessian: ArrayLike, steps: ArrayLike | None = None, rtol: float = FLAT
) -> float:
    """lambda_max/lambda_min of S = D^1/2 H D^1/2 over its nonzero eigenspace.

    steps: (d,), only their ratios matter; None: one rate for all. Eigenvalues below `rtol` times
    the largest count as zero. Raises ValueError if one is below -rtol times it: descent has no
    minimum to go to.
    """
    s = scaled_eigenvalues(hessian, 1.0 if steps is None else steps)
    if s[-1] <= 0 or s[0] < -rtol * s[-1]:
        raise ValueError(
            f"eigenvalues span [{s[0]:.3g}, {s[-1]:.3g}]; expected some above 0 and none below: "
            "use the Gauss-Newton matrix"
        )
    return float(s[-1] / s[s > rtol * s[-1]][0])


def iterations(condition: float, accuracy: float) -> int:
    """Steps until the distance to the minimum has shrunk to `accuracy`, in the worst direction.

    At the best rate, 2/(lambda_max + lambda_min), the slowest directions shrink by
    (k - 1)/(k + 1) a step, k the condition number; about k log(1/accuracy)/2 steps for large k.

    condition: at least 1. accuracy: in (0, 1].
    """
    k = number("condition", condition, 1.0, np.finfo(float).max)
    accuracy = number("accuracy", accuracy, 0.0, 1.0, open_low=True)
    if k == 1 or accuracy == 1:
        return int(accuracy < 1)
    return int(np.ceil(np.log(accuracy) / np.log1p(-2 / (k + 1))))


def scaled_eigenvalues(hessian: ArrayLike, steps: ArrayLike) -> np.ndarray:
    """Eigenvalues of D^1/2 H D^1/2, ascending: (d,). They are those of DH, rate times curvature."""
    h = symmetric(hessian)
    root = np.sqrt(_rates(steps, len(h)))
    return np.linalg.eigvalsh(root[:, None] * h * root)


def symmetric(hessian: ArrayLike) -> np.ndarray:
    """A checked square matrix, made exactly symmetric; 1e-6 of its largest entry is forgiven."""
    h = finite_array("hessian", hessian, 2)
    if h.shape[0] != h.shape[1]:
        raise ValueError(f"hessian has shape {h.shape}; expected (d, d)")
    apart = np.abs(h - h.T).max()
    if apart > 1e-6 * np.abs(h).max():
        raise ValueError(
            f"hessian differs from its transpose by {apart:.3g}; expected a symmetric matrix: "
            "was a block of rows taken instead of a diagonal block?"
        )
    return (h + h.T) / 2


def _problem(hessian: ArrayLike, gradient: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    h, g = symmetric(hessian), finite_array("gradient", gradient, 1)
    same_length("hessian", h, "gradient", g)
    return h, g


def _momentum(momentum: float) -> float:
    beta = float(momentum)
    if not 0 <= beta < 1:
        raise ValueError(f"momentum is {momentum}; expected [0, 1)")
    return beta


def _rates(steps: ArrayLike, d: int) -> np.ndarray:
    """One rate per parameter, (d,), from one for all or one for each."""
    rates = finite_array("steps", steps, (0, 1))
    if rates.ndim and rates.size != d or (rates < 0).any():
        raise ValueError(
            f"steps have shape {rates.shape} and least value {rates.min():.3g}; expected one rate "
            f"of at least 0, or {d}: block_steps gives one rate per parameter from one per block"
        )
    return np.broadcast_to(rates, d)


def _blocks(blocks: Sequence[ArrayLike], d: int) -> list[np.ndarray]:
    """Checked index arrays: together they hold 0..d-1 once."""
    arrays = [np.asarray(b) for b in blocks]
    held = np.concatenate([np.ravel(b) for b in arrays]) if arrays else np.array([])
    if any(b.ndim != 1 or b.size == 0 for b in arrays) or not np.array_equal(
        np.sort(held), np.arange(d)
    ):
        raise ValueError(
            f"{len(arrays)} blocks hold {held.size} indices; expected each of 0 to {d - 1} in "
            "exactly one block, and no block empty"
        )
    return arrays
