r"""What a step that was taken for a new task costs on an old one.

L_o(theta) is the old task's mean loss *with the old head*: the body is tuned for the new task under
a new head, then the old head is put back. With delta the body's displacement and g, H the old
loss's gradient and Hessian where tuning began,

    L_o(theta + delta) - L_o(theta) = g' delta + delta' H delta/2 + R,
    |R| <= M |delta|^3/6,

M a bound on the third derivative along unit directions, all the way (Taylor, Lagrange's remainder).
A second-order term alone is the forecast where g = 0: at a minimum of the very loss that is
measured. Early stopping, weight decay, and other images than those trained on all leave a g.
For one step of descent on the new loss, delta = -eta g_n, the terms are -eta g'g_n and
eta^2 g_n' H g_n/2: the first is a gain where both tasks pull the same way, and it wins for small
eta.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit

from medxfer_lab._checks import finite_array, number, same_length, whole

#: largest |sigma''| of the logistic function, where sigma = 1/2 -+ 1/(2 sqrt 3)
LOGISTIC_THIRD = 1 / (6 * np.sqrt(3))


@dataclass(frozen=True)
class Forgetting:
    """Forecast rise of the old loss, nats: numbers, or (k,) for k displacements.

    linear: g' delta; below 0 where the displacement also helps the old task.
    quadratic: delta' H delta/2.
    """

    linear: float | np.ndarray
    quadratic: float | np.ndarray

    @property
    def total(self) -> float | np.ndarray:
        """linear + quadratic."""
        return self.linear + self.quadratic


@dataclass(frozen=True)
class LogisticTask:
    """An old task whose remainder is known: logistic regression, mean log loss in nats.

        L(theta) = mean_i log(1 + exp(z_i)) - y_i z_i,    z = X theta.

    x: (n, d). y: (n,) in [0, 1]. Parameters theta are (d,).
    """

    x: np.ndarray
    y: np.ndarray

    def __post_init__(self) -> None:
        x, y = finite_array("x", self.x, 2), finite_array("y", self.y, 1)
        same_length("x", x, "y", y, axis=0)
        if y.min() < 0 or y.max() > 1:
            raise ValueError(f"y runs from {y.min():g} to {y.max():g}; expected labels in [0, 1]")
        object.__setattr__(self, "x", x)
        object.__setattr__(self, "y", y)

    def probabilities(self, theta: ArrayLike) -> np.ndarray:
        """p_i = sigma(x_i theta), (n,)."""
        return expit(self._scores(theta))

    def loss(self, theta: ArrayLike) -> float:
        """L(theta), nats."""
        z = self._scores(theta)
        return float(np.mean(np.logaddexp(0, z) - self.y * z))

    def gradients(self, theta: ArrayLike) -> np.ndarray:
        """(n, d): each example's own, (p_i - y_i) x_i."""
        return (self.probabilities(theta) - self.y)[:, None] * self.x

    def gradient(self, theta: ArrayLike) -> np.ndarray:
        """(d,): mean of (p_i - y_i) x_i."""
        return self.gradients(theta).mean(0)

    def hessian(self, theta: ArrayLike) -> np.ndarray:
        """(d, d): mean of p_i (1 - p_i) x_i x_i'; no label in it, so it is the Fisher matrix."""
        p = self.probabilities(theta)
        return (self.x.T * (p * (1 - p))) @ self.x / len(self.x)

    def third_bound(self, direction: ArrayLike | None = None) -> float:
        """M: no third derivative along a unit direction is larger, at any theta.

        sigma''(z) (x'u)^3 is at most |x'u|^3/(6 sqrt 3), and |x'u| <= |x|.
        direction: (d,) for the bound along it alone, which is smaller; of any length above 0.
        """
        if direction is None:
            sizes = np.linalg.norm(self.x, axis=1)
        else:
            u = _nonzero("direction", direction)
            sizes = np.abs(self.x @ _matching(u, self.x.shape[1], "direction")) / np.linalg.norm(u)
        return float(np.mean(sizes**3)) * LOGISTIC_THIRD

    def minimum(self, ridge: float = 0.0, most_steps: int = 100) -> np.ndarray:
        """argmin of L(theta) + ridge |theta|^2/2, (d,), by Newton's method with halved steps.

        With a ridge the gradient of L itself is -ridge theta there, not 0. Raises ValueError where
        no minimum is found: labels that a plane separates have none without a ridge.
        """
        ridge, theta = number("ridge", ridge, 0.0), np.zeros(self.x.shape[1])

        def value(t: np.ndarray) -> float:
            return self.loss(t) + ridge * float(t @ t) / 2

        for _ in range(whole("most_steps", most_steps, 1)):
            gradient = self.gradient(theta) + ridge * theta
            curved = self.hessian(theta) + ridge * np.eye(len(theta))
            step = np.linalg.lstsq(curved, gradient, rcond=None)[0]
            # the step, not the gradient, which dies out even where labels separate
            if np.abs(step).max() <= 1e-9 * (1 + np.abs(theta).max()):
                return theta - step
            scale = 1.0
            most = value(theta) + 1e-13  # near the minimum the gain is below rounding
            while value(theta - scale * step) > most and scale > 1e-8:
                scale /= 2
            theta = theta - scale * step
        raise ValueError(
            f"no minimum within {most_steps} steps: do the labels separate? Give a ridge above 0"
        )

    def _scores(self, theta: ArrayLike) -> np.ndarray:
        return self.x @ _matching(finite_array("theta", theta, 1), self.x.shape[1], "theta")


def forgetting(gradient: ArrayLike, hessian: ArrayLike, delta: ArrayLike) -> Forgetting:
    """Both terms of the forecast, g' delta and delta' H delta/2.

    gradient: (d,), of the old loss where tuning began. hessian: (d, d), symmetric.
    delta: displacement (d,), or (k, d) for k of them, e.g. along tuning.
    """
    H = symmetric("hessian", hessian)
    g = _matching(finite_array("gradient", gradient, 1), len(H), "gradient")
    steps = _matching(finite_array("delta", delta, (1, 2)), len(H), "delta")
    linear, quadratic = steps @ g, np.sum(steps @ H * steps, axis=-1) / 2
    if steps.ndim == 1:
        return Forgetting(float(linear), float(quadratic))
    return Forgetting(linear, quadratic)


def remainder_bound(distance: ArrayLike, third: float) -> float | np.ndarray:
    """third * distance^3/6, nats: how far forecast and truth can be apart.

    distance: |delta| >= 0, one or several. third: M >= 0, a bound on the third derivative along
    the way (e.g. `LogisticTask.third_bound`); networks have none that is known.
    """
    r = finite_array("distance", distance, (0, 1))
    if r.min() < 0:
        raise ValueError(f"distance is {r.min():g}; expected a length of at least 0")
    bound = number("third", third, 0.0) * r**3 / 6
    return float(bound) if bound.ndim == 0 else bound


def eigen_shares(vector: ArrayLike, eigenvectors: ArrayLike) -> np.ndarray:
    """(v'q_j)^2/|v|^2, (k,): the share of a displacement in each eigendirection.

    vector: (d,). eigenvectors: (d, k) orthonormal *columns*, as `numpy.linalg.eigh` gives them
    (`methods.curvature` gives rows: transpose). All d of them: shares sum to 1. A random direction
    has 1/d in each.
    """
    v, Q = _nonzero("vector", vector), finite_array("eigenvectors", eigenvectors, 2)
    same_length("vector", v, "eigenvectors", Q, axis=0)
    off = float(np.abs(Q.T @ Q - np.eye(Q.shape[1])).max())
    if off > 1e-5:
        raise ValueError(
            f"eigenvectors are off orthonormal columns by {off:.2g}; expected (d, k) with Q'Q = I: "
            "are they rows?"
        )
    return (Q.T @ v) ** 2 / (v @ v)


def steepness(vector: ArrayLike, hessian: ArrayLike) -> float:
    """(v'Hv/v'v)/(tr H/d): curvature along a direction, over that along a random one.

    1 for a random direction (the mean over the sphere, exactly), d lambda_max/tr H at most.
    vector: (d,), not 0. hessian: (d, d), symmetric, with a trace above 0. Like all raw curvature
    it depends on the parameters' units (:mod:`.symmetry`).
    """
    H, v = symmetric("hessian", hessian), _nonzero("vector", vector)
    _matching(v, len(H), "vector")
    trace = number("the hessian's trace", np.trace(H), 0.0, open_low=True)
    return float(v @ H @ v / (v @ v) / (trace / len(H)))


def symmetric(name: str, matrix: ArrayLike) -> np.ndarray:
    """`matrix` as float64 (d, d), or a ValueError if it is not symmetric to 1e-8 of its size."""
    M = finite_array(name, matrix, 2)
    if M.shape[0] != M.shape[1] or np.abs(M - M.T).max() > 1e-8 * np.abs(M).max():
        raise ValueError(f"{name} of shape {M.shape} is not symmetric; take (M + M')/2 of it")
    return M


def _nonzero(name: str, vector: ArrayLike) -> np.ndarray:
    v = finite_array(name, vector, 1)
    if not v.any():
        raise ValueError(f"{name} is all zeros and has no direction; give one that moved")
    return v


def _matching(v: np.ndarray, d: int, name: str) -> np.ndarray:
    if v.shape[-1] != d:
        raise ValueError(f"{name} has shape {v.shape}; expected {d} parameters along its last axis")
    return v
