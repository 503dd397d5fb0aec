"""L2-SP and its bias and variance when the design X is held fixed (only the noise is random)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import linalg

from medxfer_lab._checks import finite_array, number, same_length


@dataclass(frozen=True)
class Decomposition:
    """Squared bias and variance of a predictor; `excess` is their sum (risk above the noise).

    Floats for one strength, arrays (k,) for k strengths. Units: those of y squared.
    """

    bias2: float | np.ndarray
    variance: float | np.ndarray

    @property
    def excess(self) -> float | np.ndarray:
        """E (prediction - true mean)^2 = bias2 + variance."""
        return self.bias2 + self.variance


def retained(spectrum: np.ndarray, strength: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights of the data, s/(s + k), and of the centre, k/(s + k), for strengths k in [0, inf].

    spectrum: (d,); strength: (...,); both results: (..., d). A direction with s = 0 stays with
    the centre whatever the strength, the limit k -> 0 included. Each weight is computed on its
    own because 1 - s/(s + k) loses all digits where k is far below s.
    """
    k = np.asarray(strength, dtype=np.float64)[..., None]
    null = (spectrum == 0) & (k == 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        data = np.where(null, 0.0, 1 / (1 + k / spectrum))
        centre = np.where(null, 1.0, 1 / (1 + spectrum / k))
    return data, centre


def clean_spectrum(eigenvalues: ArrayLike) -> np.ndarray:
    """Eigenvalues (d,) as float64, those below rounding error (numpy's rank rule) set to 0."""
    s = finite_array("eigenvalues", eigenvalues, 1)
    floor = max(s.max(), 0.0) * s.size * np.finfo(np.float64).eps
    if s.min() < -max(floor, 1e-12 * max(s.max(), 0.0)):
        raise ValueError(
            f"the smallest eigenvalue is {s.min():.3g}; a covariance has none below 0: "
            "symmetrise the matrix and use numpy.linalg.eigvalsh"
        )
    return np.where(s <= floor, 0.0, s)


def l2sp(X: ArrayLike, y: ArrayLike, lam: float, centre: ArrayLike | None = None) -> np.ndarray:
    """Least squares tied to a centre (ridge when the centre is 0).

    theta_hat = c + (X'X/n + lam I)^{-1} X'(y - X c)/n. For lam = 0 this is the least-squares
    solution nearest to the centre (unique even when n < d), the limit lam -> 0.

    Args:
        X: (n, d) design. y: (n,) or (n, m) targets, one column per data set on the same design.
        lam: strength >= 0, per observation (scikit-learn's Ridge alpha is n * lam).
        centre: (d,) parameters to be tied to; None means 0.

    Returns:
        (d,) or (d, m) parameters.
    """
    X = finite_array("X", X, 2)
    y = finite_array("y", y, (1, 2))
    same_length("X", X, "y", y, axis=0)
    lam = number("lam", lam, 0.0)
    n, d = X.shape
    c = np.zeros(d) if centre is None else finite_array("centre", centre, 1)
    same_length("X", X, "centre", c)
    prior_prediction = X @ c
    residual = y - (prior_prediction if y.ndim == 1 else prior_prediction[:, None])
    if lam == 0:
        step = linalg.lstsq(X, residual)[0]
    elif n >= d:
        step = linalg.solve(X.T @ X / n + lam * np.eye(d), X.T @ residual / n, assume_a="pos")
    else:  # n unknowns instead of d: X'(XX'/n + lam I)^{-1} r/n is the same vector
        step = X.T @ linalg.solve(X @ X.T / n + lam * np.eye(n), residual / n, assume_a="pos")
    return step + (c if y.ndim == 1 else c[:, None])


def fixed_design(
    X: ArrayLike,
    theta: ArrayLike,
    centre: ArrayLike | None,
    sigma2: float,
    lam: float | ArrayLike,
    second_moment: ArrayLike | None = None,
) -> Decomposition:
    """Bias and variance of L2-SP at a fixed design: expectations over the noise eps alone.

    With G = X'X/n, H = (G + lam I)^{-1}, b = theta - centre, and A the second moment of the
    inputs at which the predictor is judged:

        E_eps[theta_hat] - theta = -lam H b        bias2    = lam^2 b' H A H b
        Cov_eps[theta_hat] = sigma2/n H G H        variance = sigma2/n tr(A H G H)

    The centre stands in the bias only: **at fixed X and lam, moving the centre cannot change
    the variance**. Transfer cuts the variance in two other ways: over random designs (see
    `random_design`, whose variance contains b), and because a good centre lets you afford a
    larger lam (see `optimal_strength`).

    Args:
        X: (n, d). theta: (d,) true parameters. centre: (d,), or None for 0.
        sigma2: noise variance. lam: strength(s) >= 0, scalar or (k,); inf is the centre alone.
        second_moment: (d, d) matrix A; None judges in-sample, A = X'X/n.

    Returns:
        Decomposition of floats, or of (k,) arrays.
    """
    X = finite_array("X", X, 2)
    b = finite_array("theta", theta, 1) - (0.0 if centre is None else np.asarray(centre, float))
    same_length("X", X, "theta", b)
    sigma2 = number("sigma2", sigma2, 0.0)
    strengths = check_strengths(lam)
    n, d = X.shape
    values, vectors = linalg.eigh(X.T @ X / n)
    g = clean_spectrum(values)
    data, kept = retained(g, strengths)  # (..., d)
    gap = kept * (vectors.T @ b)
    if second_moment is None:
        bias2, in_direction = (gap**2 * g).sum(-1), g
    else:
        A = finite_array("second_moment", second_moment, 2)
        if A.shape != (d, d):
            raise ValueError(f"second_moment has shape {A.shape}; expected ({d}, {d})")
        A = vectors.T @ A @ vectors
        bias2, in_direction = ((gap @ A) * gap).sum(-1), np.diag(A)
    inverse = np.divide(1.0, g, out=np.zeros_like(g), where=g > 0)
    variance = sigma2 / n * (in_direction * inverse * data**2).sum(-1)
    return Decomposition(as_given(bias2), as_given(variance))


def check_strengths(lam: float | ArrayLike) -> np.ndarray:
    """Strengths as float64, scalar or (k,); each in [0, inf]."""
    strengths = np.asarray(lam, dtype=np.float64)
    if strengths.ndim > 1 or strengths.size == 0 or not (strengths >= 0).all():
        raise ValueError(f"lam is {lam!r}; expected one strength >= 0 or a flat list of them")
    return strengths


def as_given(value: np.ndarray) -> float | np.ndarray:
    """A float for a 0-d array, the array itself otherwise."""
    return float(value) if np.ndim(value) == 0 else value
