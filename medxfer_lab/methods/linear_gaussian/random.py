r"""Bias and variance of L2-SP over random designs, by deterministic equivalents.

Write S = X'X/n, R = (S + lam I)^{-1}, b = theta - centre. The error of the parameters is

    theta_hat - theta = -lam R b + R X'eps/n.

The functions below give the law of total variance for a fresh input x with second moment T
(T = Sigma unless said otherwise), every expectation taken over the training set (X, eps):

    bias2           = E_x ( E_{X,eps} x'theta_hat - x'theta )^2    = b' E[lam R] T E[lam R] b
    variance_design = E_x Var_X ( E_eps[x'theta_hat | X] )
    variance_noise  = E_x E_X Var_eps( x'theta_hat | X )

**kappa.** Leave one row out of S: R x_i = R_{-i} x_i / (1 + x_i'R_{-i}x_i/n), and the quadratic
form x_i'R_{-i}x_i/n settles near a number c = tr(Sigma R)/n. Put this into I - lam R = R S:
E[lam R] is close to kappa (Sigma + kappa I)^{-1} with kappa = lam (1 + c), that is

    kappa - lam = kappa df1(kappa)/n,          df1 = sum_i s_i/(s_i + kappa).

So the *mean* predictor is ridge at infinite data with the larger strength kappa, and
bias2 = kappa^2 b'(Sigma + kappa)^{-1} T (Sigma + kappa)^{-1} b.

**Variance of the design.** E over X of ||T^{1/2} lam R b||^2 is minus the derivative at t = 0 of
lam b'(S + lam(I + tT))^{-1} b. Differentiate its equivalent, kappa_t b'(Sigma + kappa_t(I +
tT))^{-1} b, through kappa_t as well. With df2 = sum_i s_i^2/(s_i + kappa)^2 and
df2_T = tr(T Sigma (Sigma + kappa)^{-2}) the fixed point gives kappa' = -kappa^2 df2_T/(n - df2):

    bias2 + variance_design = bias2 + B df2_T/(n - df2),
    B = kappa^2 b'Sigma(Sigma + kappa)^{-2} b.

**Variance of the noise.** (sigma2/n) tr(T R S R) is (sigma2/n) d/dlam tr(T lam R), and
dkappa/dlam = n/(n - df2), so variance_noise = sigma2 df2_T/(n - df2).

**A finite pool.** Experiments draw n rows without replacement from a pool of N images; Sigma is
then the pool's own second moment, and as n nears N the training sets become one and the same. Rows
drawn so act like a free compression of the pool, for which the fixed point becomes

    kappa (1 - df1/n) = lam (1 - df1/N)

and the same two derivatives, with g = 1/n - lam/(kappa N) and D = 1 - df1/n + g (df1 - df2), give
variance_design = B g df2_T/D and variance_noise = (sigma2/n) df2_T (1 - df1/N)/D (the noise being
drawn afresh for each training set). N = inf gives back the formulas above; n = N the fixed design.
Drawing with replacement is N = inf, Sigma still the pool's.

How exact: leading order as n and d grow together; the relative error for Gaussian rows is
O(1/(n - df2)). (Ridgeless, n > d, Gaussian rows: the exact variance_noise is
sigma2 d/(n - d - 1), here sigma2 d/(n - d).) Near n = rank with lam near 0 no formula of this kind
is good. For real features the rows are not Gaussian and the spectrum is estimated: the gap must
be measured.

Sources: E. Dobriban and S. Wager, Annals of Statistics 46 (2018) 247-279 (risk of ridge with a
general spectrum); D. Wu and J. Xu, NeurIPS 2020 (general b); T. Hastie, A. Montanari, S. Rosset and
R. Tibshirani, Annals of Statistics 50 (2022) 949-986 (ridgeless, fixed b); F. Bach, SIAM Journal on
Mathematics of Data Science 6 (2024) 26-50 (degrees of freedom, kappa as implicit strength);
D. LeJeune, P. Patil, H. Javadi, R. Baraniuk and R. Tibshirani, "Asymptotics of the sketched
pseudoinverse", arXiv 2211.03751 (the equivalence for free compressions).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from medxfer_lab._checks import finite_array, number, same_length, whole
from medxfer_lab.methods.linear_gaussian.fixed import (
    as_given,
    check_strengths,
    clean_spectrum,
    retained,
)

MAX_NEWTON_STEPS = 200


@dataclass(frozen=True)
class RandomDesign:
    """Risk of L2-SP over (X, eps), split by the law of total variance; floats or (k,) arrays.

    kappa is the effective strength, df1 and df2 the degrees of freedom at kappa. bias2,
    variance_design, variance_noise are in units of y squared; the noise sigma2 of a fresh label
    comes on top of `excess`.
    """

    kappa: float | np.ndarray
    df1: float | np.ndarray
    df2: float | np.ndarray
    bias2: float | np.ndarray
    variance_design: float | np.ndarray
    variance_noise: float | np.ndarray

    @property
    def variance(self) -> float | np.ndarray:
        """Variance of the prediction over training sets."""
        return self.variance_design + self.variance_noise

    @property
    def excess(self) -> float | np.ndarray:
        """E (prediction - true mean)^2 = bias2 + variance."""
        return self.bias2 + self.variance


def power_law(d: int, decay: float) -> np.ndarray:
    """Eigenvalues s_i proportional to i^(-decay), scaled to mean 1: (d,). decay 0: isotropic."""
    s = np.arange(1, whole("d", d, 1) + 1, dtype=np.float64) ** -number("decay", decay, 0.0)
    return s / s.mean()


def effective_regularisation(
    eigenvalues: ArrayLike, n: float, lam: float | ArrayLike, pool: float = np.inf
) -> float | np.ndarray:
    """kappa, the largest root of kappa (1 - df1/n) = lam (1 - df1/pool). Scalar or (k,), like lam.

    h(kappa) = kappa (1 - df1/n) - lam (1 - df1/pool) is convex, because kappa df1 is concave and
    df1 convex in kappa; so Newton's method started above the root, at lam + tr(Sigma)/n, comes down
    to it without overshooting. For lam = 0: kappa > 0 if n is below the rank (the design itself
    regularises), else 0. pool: images the n are drawn from without replacement.
    """
    s = clean_spectrum(eigenvalues)
    n, pool = training_size(n, pool)
    lam = check_strengths(lam)
    kappa = lam + s.sum() / n
    for _ in range(MAX_NEWTON_STEPS):
        data, _ = retained(s, kappa)
        df1, df2 = data.sum(-1), (data**2).sum(-1)
        with np.errstate(invalid="ignore", divide="ignore"):
            slope = 1 - df2 / n - lam * (df1 - df2) / (kappa * pool)
            value = kappa * (1 - df1 / n) - lam * (1 - df1 / pool)
            step = np.where(np.isfinite(kappa) & (slope > 0), value / slope, 0.0)
        step = np.clip(
            step, 0.0, np.where(np.isfinite(kappa), kappa / 2, 0.0)
        )  # rounding must not push kappa below the root
        kappa = kappa - step
        if (step <= 1e-15 * kappa).all():
            break
    no_implicit = (lam == 0) & (np.count_nonzero(s) <= n)
    return as_given(np.where(no_implicit, 0.0, kappa))


def random_design(
    eigenvalues: ArrayLike,
    theta_minus_centre: ArrayLike,
    sigma2: float,
    n: float,
    lam: float | ArrayLike,
    target: ArrayLike | None = None,
    pool: float = np.inf,
) -> RandomDesign:
    """Bias and variance of L2-SP over (X, eps); formulas and derivation in the module's docstring.

    Args:
        eigenvalues: (d,) of the training inputs' second moment Sigma, any order.
        theta_minus_centre: (d,) b = theta - centre in Sigma's eigenbasis, in the same order.
        sigma2: noise variance. n: training size. lam: strength(s) in [0, inf], scalar or (k,).
        target: second moment T of the inputs judged, (d,) diagonal or (d, d), in Sigma's
            eigenbasis; None is Sigma. Give X_test'X_test/n_test to judge on a given test set, or
            another hospital's second moment under covariate shift.
        pool: number of images from which the n are drawn without replacement (Sigma is theirs);
            inf for independent draws, with replacement from a pool included.

    Returns:
        RandomDesign of floats, or of (k,) arrays. Infinite variance at lam = 0, n = rank < pool.
    """
    s = clean_spectrum(eigenvalues)
    kappa = effective_regularisation(s, n, lam, pool)
    return risk_at_kappa(s, theta_minus_centre, sigma2, n, kappa, target, pool)


def risk_at_kappa(
    s: np.ndarray,
    theta_minus_centre: ArrayLike,
    sigma2: float,
    n: float,
    kappa: float | np.ndarray,
    target: ArrayLike | None = None,
    pool: float = np.inf,
) -> RandomDesign:
    """`random_design` at a given effective strength kappa (scalar or (k,))."""
    b = finite_array("theta_minus_centre", theta_minus_centre, 1)
    same_length("eigenvalues", s, "theta_minus_centre", b)
    sigma2 = number("sigma2", sigma2, 0.0)
    n, pool = training_size(n, pool)
    data, kept = retained(s, kappa)
    gap = kept * b
    df1, df2 = data.sum(-1), (data**2).sum(-1)
    B = (gap**2 * s).sum(-1)
    bias2, df2_target = judged(s, data, gap, target)
    of_n, of_pool = 1 - df1 / n, 1 - df1 / pool
    if n == pool:  # every training set is the whole pool: the design is fixed, kappa is lam
        g, slope = np.zeros_like(df1), np.ones_like(df1)
        by_design = g
    else:
        g = 1 / n - of_n / of_pool / pool  # of_n/of_pool = lam/kappa, also where both vanish
        D = of_n + g * (df1 - df2)
        with np.errstate(divide="ignore"):
            slope, by_design = of_pool / D, g / D  # slope = dkappa/dlam
    with np.errstate(invalid="ignore"):  # 0 * inf: no error to vary, no noise to fit
        design = np.where(B == 0, 0.0, B * by_design * df2_target)
        noise = np.where(sigma2 == 0, 0.0, sigma2 / n * slope * df2_target)
    return RandomDesign(*map(as_given, (np.asarray(kappa), df1, df2, bias2, design, noise)))


def training_size(n: float, pool: float) -> tuple[float, float]:
    """n and pool as floats with 0 < n <= pool."""
    n, pool = number("n", n, 0.0, open_low=True), number("pool", pool, 0.0)
    if n > pool:
        raise ValueError(
            f"n is {n:g} and pool {pool:g}: no more images can be drawn without replacement than "
            "the pool holds; for draws with replacement leave pool at inf"
        )
    return n, pool


def judged(
    s: np.ndarray, data: np.ndarray, gap: np.ndarray, target: ArrayLike | None
) -> tuple[np.ndarray, np.ndarray]:
    """gap' T gap and tr(T Sigma (Sigma + kappa)^{-2}) for T = Sigma, a diagonal or a matrix."""
    T = s if target is None else finite_array("target", target, (1, 2))
    if T.shape not in ((s.size,), (s.size, s.size)):
        raise ValueError(f"target has shape {T.shape}; expected ({s.size},) or twice {s.size}")
    diagonal = T if T.ndim == 1 else np.diag(T)
    bias2 = (gap**2 * T).sum(-1) if T.ndim == 1 else ((gap @ T) * gap).sum(-1)
    inverse = np.divide(1.0, s, out=np.zeros_like(s), where=s > 0)
    return bias2, (diagonal * inverse * data**2).sum(-1)


def plug_in(
    eigenvalues: ArrayLike,
    theta_minus_centre: ArrayLike,
    sigma2: float,
    n: float,
    lam: float | ArrayLike,
) -> RandomDesign:
    """The naive formula, for contrast: X'X/n replaced by its expectation Sigma everywhere.

    bias2 = lam^2 sum s b^2/(s + lam)^2, variance_noise = sigma2/n sum s^2/(s + lam)^2, and no
    variance of the design. Right for n far above d. For n < d it is badly wrong: as lam -> 0 it
    promises no bias and the variance sigma2 d/n, as if n rows could span d directions.

    Arguments as in `random_design`. The result's kappa is lam itself.
    """
    s = clean_spectrum(eigenvalues)
    b = finite_array("theta_minus_centre", theta_minus_centre, 1)
    same_length("eigenvalues", s, "theta_minus_centre", b)
    n = number("n", n, 0.0, open_low=True)
    lam = check_strengths(lam)
    data, kept = retained(s, lam)
    df1, df2 = data.sum(-1), (data**2).sum(-1)
    bias2 = ((kept * b) ** 2 * s).sum(-1)
    noise = number("sigma2", sigma2, 0.0) * df2 / n
    zero = np.zeros_like(noise)
    return RandomDesign(*map(as_given, (lam, df1, df2, bias2, zero, noise)))
