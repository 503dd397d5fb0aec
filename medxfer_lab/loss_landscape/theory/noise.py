"""What moves the edge of stability: small batches, Adam's preconditioner, steps beyond the edge.

The edge of full-batch descent is in `descent`: rate times curvature below 2 (1 + momentum).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from medxfer_lab._checks import finite_array, number, same_length, whole
from medxfer_lab.loss_landscape.theory.descent import symmetric


def mean_square_edge(curvature: float, spread: float, batch: int) -> float:
    """The rate below which SGD shrinks the mean square distance to a minimum all images share.

    One parameter; image i has loss h_i delta^2/2, so no noise is left at the minimum. A batch of
    b drawn with replacement multiplies delta by 1 - eta h_batch, and

        E delta^2 <- ((1 - eta h)^2 + eta^2 s^2/b) E delta^2,

    less than 1 iff eta < 2 h/(h^2 + s^2/b): the full-batch edge 2/h for a large batch, proportional
    to b for a small one; they part near b = s^2/h^2. Batches drawn from n images without
    replacement have s^2/b times (n - b)/(n - 1) (Wu, Ma and E, "How SGD selects the global minima
    in over-parameterized learning", NeurIPS 31 (2018)). A typical path may still shrink beyond the
    edge, since E log|1 - eta h_batch| stays below 0 longer: the mean is carried by few paths.

    Args:
        curvature: h, mean over images, above 0. spread: s, their standard deviation. batch: b.
    """
    h = number("curvature", curvature, 0.0, open_low=True)
    s, b = number("spread", spread, 0.0), whole("batch", batch, 1)
    return 2 * h / (h**2 + s**2 / b)


def adam_edge(preconditioned_curvature: ArrayLike, beta1: float = 0.9) -> float | np.ndarray:
    """Adam's rate at the edge once its preconditioner P has settled.

        (2 + 2 beta1)/((1 - beta1) lambda),    lambda = lambda_max(P^-1/2 H P^-1/2)

    38/lambda at beta1 = .9. Adam averages gradients, m <- beta1 m + (1 - beta1) g, where heavy ball
    adds them up: it is heavy ball at rate (1 - beta1) eta in the units of P, whose edge is
    2 (1 + beta1)/lambda. Cohen et al., "Adaptive gradient methods at the edge of stability",
    arXiv 2207.14484 (2022).

    Args:
        preconditioned_curvature: lambda, scalar or array, above 0. beta1: in [0, 1).
    """
    curves, beta = finite_array("preconditioned_curvature", preconditioned_curvature, (0, 1)), beta1
    if (curves <= 0).any():
        raise ValueError(f"preconditioned_curvature is {curves.min():.3g}; expected more than 0")
    if not 0 <= beta < 1:
        raise ValueError(f"beta1 is {beta1}; expected [0, 1)")
    edge = 2 * (1 + beta) / ((1 - beta) * curves)
    return edge if curves.ndim else float(edge)


def preconditioned(
    hessian: ArrayLike, second_moment: ArrayLike, epsilon: float = 1e-8
) -> np.ndarray:
    """P^-1/2 H P^-1/2 with P = diag(sqrt(v) + epsilon): the curvature Adam's steps meet, (d, d).

    In other units, w' = c w, H is divided by c^2 and sqrt(v) by c, so this is divided by c: Adam
    sees units once where plain descent sees them twice. A rate of Adam is a length in the
    parameter's own unit.

    Args:
        hessian: (d, d). second_moment: v, (d,), Adam's running mean of squared gradients, with its
            bias corrected. epsilon: at least 0.
    """
    h, v = symmetric(hessian), finite_array("second_moment", second_moment, 1)
    same_length("hessian", h, "second_moment", v)
    if (v < 0).any():
        raise ValueError(f"second_moment reaches {v.min():.3g}; expected squares, at least 0")
    p = np.sqrt(v) + number("epsilon", epsilon, 0.0)
    if (p == 0).any():
        raise ValueError(
            f"second_moment is 0 for {int((p == 0).sum())} parameters and epsilon is 0; they would "
            "take endless steps: pass a positive epsilon"
        )
    root = 1 / np.sqrt(p)
    return root[:, None] * h * root


def catapult(u: float, v: float, step: float, n_steps: int) -> np.ndarray:
    """Gradient descent on (uv)^2/2, where a step too long for a valley finds a flatter one.

    With output f = uv and curvature lambda = u^2 + v^2 (the Hessian's at f = 0), a step eta gives

        f <- f (1 - eta lambda + eta^2 f^2),    lambda <- lambda + eta f^2 (eta lambda - 4).

    Below 2/lambda the loss falls at once. Between 2/lambda and 4/lambda a small f grows; but lambda
    falls whenever f is not 0, by at least eta f^2 (4 - eta lambda_0), so the sum of f^2 over all
    steps is finite and f -> 0: it always comes down, in general where lambda <= 2/eta. Beyond
    4/lambda both grow, from small f. Lewkowycz et al., "The large learning rate phase of deep
    learning: the catapult mechanism", arXiv 2003.02218 (2020): their model, of width one.

    Args:
        u, v: start. step: eta, above 0. n_steps: how many.

    Returns:
        (n_steps + 1, 2), the pairs (u, v), the start first; inf and NaN once it has blown up.
    """
    eta = number("step", step, 0.0, open_low=True)
    path = np.empty((whole("n_steps", n_steps, 0) + 1, 2))
    path[0] = finite_array("(u, v)", (u, v), 1)
    with np.errstate(over="ignore", invalid="ignore"):
        for t in range(n_steps):
            path[t + 1] = path[t] - eta * path[t].prod() * path[t, ::-1]
    return path
