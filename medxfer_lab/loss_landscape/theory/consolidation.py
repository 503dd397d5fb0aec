r"""Elastic weight consolidation where every valley is a quadratic, and the ways to get it wrong.

EWC (Kirkpatrick et al., "Overcoming catastrophic forgetting in neural networks", PNAS 2017, eq. 3)
minimises, with F the old task's Fisher information at its optimum theta_o,

    L_n(theta) + (strength/2) (theta - theta_o)' F (theta - theta_o);

there F is a diagonal. F = I is L2-SP. It is Bayes' rule with Laplace's approximation: after n_o
old examples the posterior is about N(theta_o, (n_o F + P)^-1), P the prior's precision, and it is
the prior of the new task. Divide the new log posterior by n_n:

    strength = n_o/n_n    for mean losses, with n_o F + P in place of n_o F where there is a prior.

In a linear-Gaussian model nothing of this is approximate: full-matrix EWC is the posterior mean of
both data sets at once (`methods.linear_gaussian.posterior`); with the diagonal it is not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import linalg

from medxfer_lab._checks import finite_array, number, same_length, whole
from medxfer_lab.loss_landscape.theory.forgetting import LogisticTask, symmetric


@dataclass(frozen=True)
class TradeOff:
    """Stability against plasticity along k strengths.

    strengths: (k,). solutions: (k, d). old_loss, new_loss: (k,) excess over each task's own
    minimum, >= 0: what is forgotten, and what is not learned.
    """

    strengths: np.ndarray
    solutions: np.ndarray
    old_loss: np.ndarray
    new_loss: np.ndarray


def ewc_solution(
    new_hessian: ArrayLike,
    new_optimum: ArrayLike,
    importance: ArrayLike,
    old_optimum: ArrayLike,
    strength: float,
) -> np.ndarray:
    """(H_n + s F)^-1 (H_n theta_n + s F theta_o), (d,): EWC's minimum in a quadratic new valley.

    L_n = (theta - theta_n)' H_n (theta - theta_n)/2. new_hessian: (d, d), PSD. importance: F, (d,)
    of a diagonal or (d, d), PSD. new_optimum, old_optimum: (d,). strength: s >= 0.

    Raises ValueError where H_n + s F is singular: neither task says anything about a direction.
    """
    H, F = _psd("new_hessian", new_hessian), _matrix("importance", importance)
    n, o = finite_array("new_optimum", new_optimum, 1), finite_array("old_optimum", old_optimum, 1)
    for name, v in (("new_optimum", n), ("old_optimum", o), ("importance", F[0])):
        same_length("new_hessian", H[0], name, v)
    s = number("strength", strength, 0.0, np.finfo(float).max)
    both = H + s * F
    values = linalg.eigvalsh(both)
    if values[0] <= 1e-13 * len(H) * values[-1]:
        raise ValueError(
            f"H_n + {s:g} F is singular: neither the new task nor the importance says anything "
            "about some direction; take a strength or importances above 0"
        )
    return o + linalg.solve(both, H @ (n - o), assume_a="pos")


def stability_plasticity(
    old_hessian: ArrayLike,
    new_hessian: ArrayLike,
    old_optimum: ArrayLike,
    new_optimum: ArrayLike,
    importance: ArrayLike,
    strengths: ArrayLike,
) -> TradeOff:
    """EWC's solutions for several strengths, and both tasks' excess loss there.

    importance: old_hessian itself is full-matrix EWC, its diagonal (d,) is EWC, ones (d,) L2-SP.
    strengths: (k,), >= 0. With the full matrix the curve is the **Pareto front**: it minimises
    L_n + s L_o, so no parameters at all, hence no other importance, are below it.
    """
    H = _psd("old_hessian", old_hessian)
    N, s = _psd("new_hessian", new_hessian), finite_array("strengths", strengths, 1)
    found = np.stack([ewc_solution(N, new_optimum, importance, old_optimum, x) for x in s])
    same_length("old_hessian", H, "new_hessian", N)

    def excess(matrix: np.ndarray, optimum: ArrayLike) -> np.ndarray:
        delta = found - np.asarray(optimum, dtype=np.float64)
        return np.maximum(np.sum(delta @ matrix * delta, axis=1) / 2, 0)

    return TradeOff(s, found, excess(H, old_optimum), excess(N, new_optimum))


def laplace_precision(
    fisher_mean: ArrayLike, n: float, prior_precision: float | ArrayLike = 0.0
) -> np.ndarray:
    """n F + P, (d, d): the precision of the old task's posterior by Laplace's approximation.

    fisher_mean: F, (d,) or (d, d): Fisher information (or Hessian) of the *mean* log loss, nats.
    n: examples it was learned from. prior_precision: P, a number 1/tau^2, (d,) or (d, d).
    It is an importance with strength 1/n_new; without a prior that is F with `laplace_strength`.
    """
    F = _matrix("fisher_mean", fisher_mean)
    P = finite_array("prior_precision", prior_precision, (0, 1, 2))
    P = np.full(len(F), P) if P.ndim == 0 else P
    same_length("fisher_mean", F, "prior_precision", P)
    return number("n", n, 0.0) * F + _matrix("prior_precision", P)


def laplace_strength(n_old: float, n_new: float) -> float:
    """n_old/n_new: EWC's strength for mean losses and F of the mean, by Bayes' rule.

    A million photographs against a hundred patients: 10,000. Two premises are behind it: one theta
    serves both tasks, and the old log posterior is quadratic as far as the new optimum.
    """
    return number("n_old", n_old, 0.0) / number("n_new", n_new, 0.0, open_low=True)


def diagonal_error(importance: ArrayLike, direction: ArrayLike) -> float:
    """v' diag(F) v/(v' F v): how a diagonal misjudges the price of a direction.

    At least 1/d (F <= d diag(F), with equality for d parameters that act as one), and unbounded:
    inf where F is flat along v. Below 1 the diagonal protects too little, above 1 too much.

    importance: F, (d, d), PSD. direction: v, (d,), not 0.
    """
    F, v = _psd("importance", importance), finite_array("direction", direction, 1)
    same_length("importance", F, "direction", v)
    priced, true = float(v @ (np.diag(F) * v)), float(v @ F @ v)
    if priced == 0:
        raise ValueError("F is 0 along the direction, with and without its off-diagonal part")
    return priced / true if true > 1e-14 * priced else float("inf")


def per_example_importance(gradients: ArrayLike) -> np.ndarray:
    """mean_i g_ij^2, (d,): the diagonal of the Fisher information, from (n, d) gradients.

    Fisher's if the labels were drawn from the model; with the data's own it is the empirical one.
    """
    return np.mean(finite_array("gradients", gradients, 2) ** 2, axis=0)


def batch_mean_importance(gradients: ArrayLike, batch: int, seed: int) -> np.ndarray:
    """What a training loop gives if it squares each batch's mean gradient: a bug, (d,).

    gradients: (n, d), one example a row; shuffled by the seed, then cut into batches of `batch`;
    what is left over is dropped. See `expected_batch_mean_importance` for what it is an estimate
    of: about 1/batch of the Fisher diagonal where gradients have mean 0.
    """
    G, b = _batches(gradients, batch)
    order = np.random.default_rng(seed).permutation(len(G))[: len(G) // b * b]
    return np.mean(G[order].reshape(-1, b, G.shape[1]).mean(1) ** 2, axis=0)


def expected_batch_mean_importance(gradients: ArrayLike, batch: int) -> np.ndarray:
    """Mean over shuffles of `batch_mean_importance`, (d,).

        mean_j^2 + (variance_j/b) (n - b)/(n - 1),

    variance_j of the n gradients, divided by n. The last factor comes from drawing without
    replacement. One example a batch: the right answer. One batch of all: mean_j^2, 0 where
    training has converged. Between: labels from the model (mean about 0) give F_j/b. A constant
    factor would be a matter of the strength; where the mean is not 0 it is none.
    """
    G, b = _batches(gradients, batch)
    n = len(G)
    left = (n - b) / (n - 1) if n > 1 else 0.0
    return G.mean(0) ** 2 + G.var(0) / b * left


def model_importance(task: LogisticTask, theta: ArrayLike) -> np.ndarray:
    """mean_i p_i (1 - p_i) x_ij^2, (d,): the diagonal with the model's own labels; the Hessian's.

    An example of margin m (log odds of its label) weighs p (1 - p) = 1/(2 + 2 cosh m), about
    e^-|m| where |m| is large.
    """
    p = task.probabilities(theta)
    return (p * (1 - p)) @ task.x**2 / len(p)


def empirical_importance(task: LogisticTask, theta: ArrayLike) -> np.ndarray:
    """mean_i (p_i - y_i)^2 x_ij^2, (d,): the same with the data's labels, "empirical" Fisher.

    An example of margin m weighs sigma(-m)^2, about e^-2m where it is fitted well; over the model's
    weight that is e^-m exactly (`empirical_share`). Both go to 0 as a network interpolates, this
    one first. A label that is fitted badly weighs e^|m| times too much instead. They agree on
    average only if labels follow the model's probabilities (Kunstner, Balles and Hennig,
    "Limitations of the empirical Fisher approximation for natural gradient descent", NeurIPS 2019).
    """
    return per_example_importance(task.gradients(theta))


def empirical_share(margin: ArrayLike) -> np.ndarray:
    """(1 - q)^2/(q (1 - q)) = e^-m, of one example: empirical over model importance.

    margin: m, the log odds of the label it has, q = sigma(m); a number, (n,) or (n, k).
    """
    return np.exp(-finite_array("margin", margin, (0, 1, 2)))


def _batches(gradients: ArrayLike, batch: int) -> tuple[np.ndarray, int]:
    G, b = finite_array("gradients", gradients, 2), whole("batch", batch, 1)
    if b > len(G):
        raise ValueError(f"batch is {b}, there are {len(G)} gradients; take at most as many")
    return G, b


def _matrix(name: str, value: ArrayLike) -> np.ndarray:
    """A diagonal (d,) or a matrix (d, d), as a PSD matrix."""
    array = finite_array(name, value, (1, 2))
    return _psd(name, np.diag(array) if array.ndim == 1 else array)


def _psd(name: str, value: ArrayLike) -> np.ndarray:
    M = symmetric(name, value)
    low = float(linalg.eigvalsh(M)[0])
    if low < -1e-9 * np.abs(M).max():
        raise ValueError(
            f"{name} has the eigenvalue {low:.3g}; expected none below 0: take the Gauss-Newton or "
            "Fisher matrix, which has none"
        )
    return M
