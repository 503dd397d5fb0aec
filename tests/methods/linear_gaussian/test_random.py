"""Deterministic equivalents against Monte Carlo, exact small results, and their own laws.

Tolerance against Monte Carlo: 4 standard errors plus the formulas' own O(1/(n - df2)) relative
error, with constant 1.5 (it is exactly 1 for the ridgeless variance, test below; elsewhere less).
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medxfer_lab.methods.linear_gaussian import (
    effective_regularisation,
    fixed_design,
    l2sp,
    plug_in,
    power_law,
    random_design,
)
from medxfer_lab.metrics import decompose_squared

BATCHES, PER_BATCH = 25, 40
TERMS = ("bias2", "variance_design", "variance_noise")


def simulate(s, b, sigma2, n, strengths, target=None, seed=0):
    """Unbiased Monte Carlo estimates and standard errors, (terms, strengths) each.

    Every design gets two independent noises: the product of the two errors estimates
    bias2 + variance_design, half their squared difference variance_noise, and products across
    designs bias2. Standard errors from independent batches.
    """
    rng = np.random.default_rng(seed)
    root = np.sqrt(s if target is None else target)
    estimates = []
    for _ in range(BATCHES):
        errors = np.empty((2, len(strengths), PER_BATCH, s.size))
        for r in range(PER_BATCH):
            X = rng.normal(size=(n, s.size)) * np.sqrt(s)
            noise = rng.normal(size=(n, 2)) * np.sqrt(sigma2)
            U, w, Vt = np.linalg.svd(X, full_matrices=False)
            for k, lam in enumerate(strengths):
                data = w**2 / (w**2 + n * lam)
                gap = -b + Vt.T @ (data * (Vt @ b))
                step = Vt.T @ ((data / w)[:, None] * (U.T @ noise))
                errors[:, k, r] = (gap[:, None] + step).T * root
        same = (errors[0] * errors[1]).sum(-1).mean(-1)
        spread = ((errors[0] - errors[1]) ** 2).sum(-1).mean(-1) / 2
        total = errors[0].sum(1)
        across = (total**2).sum(-1) - (errors[0] ** 2).sum((-1, -2))
        bias2 = across / (PER_BATCH * (PER_BATCH - 1))
        estimates.append([bias2, same - bias2, spread])
    estimates = np.array(estimates)
    return estimates.mean(0), estimates.std(0, ddof=1) / np.sqrt(BATCHES)


def check(s, b, n, strengths, target=None, seed=0):
    sigma2 = 0.5
    mean, error = simulate(s, b, sigma2, n, strengths, target, seed)
    got = random_design(s, b, sigma2, n, strengths, target)
    for name, value, se in zip(TERMS, mean, error):
        formula = getattr(got, name)
        tolerance = 4 * se + 1.5 * formula / (n - got.df2)
        assert (np.abs(formula - value) <= tolerance).all(), (name, formula, value, se)


@pytest.mark.parametrize("n", [30, 120])
@pytest.mark.parametrize("decay", [0.0, 1.0])
def test_bias_and_both_variances_against_monte_carlo(n, decay):
    s = power_law(60, decay)
    b = np.random.default_rng(3).normal(size=60) / np.sqrt(60)
    check(s, b, n, np.array([0.0, 0.1, 1.0]), seed=n)


def test_judged_on_another_population():
    s = power_law(60, 1.0)
    b = np.random.default_rng(3).normal(size=60) / np.sqrt(60)
    check(s, b, 40, np.array([0.05, 0.5]), target=s[::-1].copy())


@pytest.mark.parametrize("n", [40, 90, 145])
def test_drawn_without_replacement_from_a_finite_pool(n):
    """Skewed, non-Gaussian features; fits by `l2sp` on subsets of one fixed pool of 150."""
    rng = np.random.default_rng(0)
    N, d, sigma2, lam, runs = 150, 60, 0.1, 0.3, 400
    pool = np.maximum(rng.normal(size=(N, d)) @ rng.normal(size=(d, d)) / d**0.5 + 0.2, 0)
    test = np.maximum(rng.normal(size=(80, d)), 0)
    s, V = np.linalg.eigh(pool.T @ pool / N)
    b = rng.normal(size=d) / np.sqrt(s.sum())
    target = V.T @ (test.T @ test / 80) @ V
    predictions = []
    for _ in range(runs):
        X = pool[rng.choice(N, n, replace=False)]
        y = X @ V @ b + np.sqrt(sigma2) * rng.normal(size=n)
        predictions.append(test @ l2sp(X, y, lam))
    measured = decompose_squared(np.array(predictions), eta=test @ V @ b, noise=sigma2)
    got = random_design(s, b, sigma2, n, lam, target, pool=N)
    endless = random_design(s, b, sigma2, n, lam, target)
    for name in ("bias2", "variance"):
        term, formula = getattr(measured, name), getattr(got, name)
        tolerance = 1.1 * (term.high - term.low) + 1.5 * formula / (n - got.df2)  # 4.3 se + O(1/n)
        assert abs(term.estimate - formula) < tolerance
    if n == 145:  # training sets overlap almost wholly; without the pool the formula misses that
        assert endless.variance > 1.2 * measured.variance.high


def test_the_whole_pool_is_a_fixed_design():
    rng = np.random.default_rng(0)
    for N, lam in ((50, 0.2), (15, 0.2), (50, 0.0)):
        pool, b = rng.normal(size=(N, 20)), rng.normal(size=20)
        s, V = np.linalg.eigh(pool.T @ pool / N)
        exact = fixed_design(pool, V @ b, None, 0.5, lam)
        got = random_design(s.clip(0), b, 0.5, N, lam, pool=N)
        assert np.isclose(got.kappa, lam) and got.variance_design == 0
        assert np.isclose(got.bias2, exact.bias2) and np.isclose(got.variance, exact.variance)


def test_a_vast_pool_is_no_pool():
    s, b = power_law(30, 1.0), np.linspace(-1, 1, 30)
    for n in (20, 60):
        vast = random_design(s, b, 0.5, n, [0.0, 0.3], pool=1e12)
        none = random_design(s, b, 0.5, n, [0.0, 0.3])
        assert np.allclose(vast.bias2, none.bias2) and np.allclose(vast.variance, none.variance)


def test_ridgeless_and_isotropic_against_exact_results():
    """Below: the mean of a random projection. Above: the inverse Wishart mean, d/(n - d - 1)."""
    d, sigma2, b = 90, 0.6, np.full(90, 0.2)
    power = (b**2).sum()
    for n in (10, 45, 80):
        got = random_design(np.ones(d), b, sigma2, n, 0.0)
        assert np.isclose(got.bias2, (1 - n / d) ** 2 * power)
        assert np.isclose(got.variance_design, (1 - n / d) * n / d * power)
        exact = sigma2 * n / (d - n - 1)
        assert np.isclose(got.variance_noise / exact, 1 - 1 / (d - n))
    for n in (110, 200, 900):
        got = random_design(np.ones(d), b, sigma2, n, 0.0)
        assert got.bias2 == got.variance_design == 0
        exact = sigma2 * d / (n - d - 1)
        assert np.isclose(got.variance_noise / exact, 1 - 1 / (n - d))


def test_plug_in_fails_below_the_dimension_and_is_right_far_above():
    s, b = power_law(540, 0.0), np.zeros(540)
    naive, right = (f(s, b, 1.0, 100, 0.0).variance for f in (plug_in, random_design))
    rng = np.random.default_rng(0)  # exact given X: sigma2 tr((X X')^-1), averaged over designs
    draws = [np.linalg.norm(np.linalg.pinv(rng.normal(size=(100, 540)))) ** 2 for _ in range(20)]
    assert abs(np.mean(draws) - right) < 4 * np.std(draws) / 20**0.5 + 1.5 * right / (100 - 18.5)
    assert naive == pytest.approx(5.4)
    assert naive > 20 * right
    b = np.full(540, 0.1)
    far = 10**6
    assert np.isclose(
        plug_in(s, b, 1.0, far, 0.3).excess, random_design(s, b, 1.0, far, 0.3).excess, rtol=2e-3
    )


spectra = st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=30).map(np.array)


@settings(max_examples=60, deadline=None)
@given(spectra, st.integers(1, 60), st.floats(1e-6, 1e3))
def test_kappa_solves_its_equation_and_grows_with_the_strength(s, n, lam):
    kappa = effective_regularisation(s, n, np.array([lam, 2 * lam]))
    df1 = (s / (s + kappa[:, None])).sum(1)
    # 1 - df1/n loses digits to cancellation: rounding in units of kappa
    assert np.allclose(kappa * (1 - df1 / n), [lam, 2 * lam], rtol=1e-9, atol=1e-12 * kappa.max())
    assert lam <= kappa[0] < kappa[1]
    assert (df1 < n).all()
    kappa = effective_regularisation(s, n, lam, pool=2.5 * n)
    df1 = (s / (s + kappa)).sum()
    expected = lam * (1 - df1 / (2.5 * n))
    assert np.isclose(kappa * (1 - df1 / n), expected, rtol=1e-9, atol=1e-12 * (kappa + lam))


@settings(max_examples=40, deadline=None)
@given(spectra, st.integers(1, 60))
def test_kappa_without_a_strength(s, n):
    kappa = effective_regularisation(s, n, 0.0)
    if s.size <= n:
        assert kappa == 0
    else:
        assert np.isclose((s / (s + kappa)).sum(), n, rtol=1e-6)


@settings(max_examples=40, deadline=None)
@given(spectra, st.integers(1, 60), st.floats(1e-3, 10), st.floats(0.1, 10))
def test_the_risk_does_not_depend_on_the_units_of_the_features(s, n, lam, scale):
    b = np.linspace(-1, 1, s.size) + 0.1
    one = random_design(s, b, 0.5, n, lam)
    other = random_design(s * scale, b / np.sqrt(scale), 0.5, n, lam * scale)
    assert np.isclose(one.bias2, other.bias2, rtol=1e-6)
    assert np.isclose(one.variance, other.variance, rtol=1e-6)
    assert 0 < one.df2 <= one.df1 * (1 + 1e-9) < n + 1


def test_the_centre_does_move_the_variance_over_random_designs():
    s, b = power_law(40, 0.5), np.full(40, 0.3)
    near, far = random_design(s, b, 0.5, 20, 0.2), random_design(s, 3 * b, 0.5, 20, 0.2)
    assert np.isclose(far.variance_design, 9 * near.variance_design)
    assert far.variance_noise == near.variance_noise


def test_a_matrix_a_diagonal_and_no_target_agree():
    s, b = power_law(20, 1.0), np.linspace(-1, 1, 20)
    plain = random_design(s, b, 0.5, 12, [0.0, 0.3])
    for target in (s, np.diag(s)):
        got = random_design(s, b, 0.5, 12, [0.0, 0.3], target)
        assert np.allclose(got.bias2, plain.bias2) and np.allclose(got.variance, plain.variance)
    # a rotation leaves the trace alone but couples directions in the bias
    u = np.eye(20) - 2 * np.full((20, 20), 1 / 20)
    turned = u @ np.diag(s) @ u.T
    got = random_design(s, b, 0.5, 12, 0.3, turned)
    gap = got.kappa / (s + got.kappa) * b
    assert np.isclose(got.bias2, gap @ turned @ gap)
    resolvent = np.diag(1 / (s + got.kappa))
    df2 = np.trace(turned @ np.diag(s) @ resolvent @ resolvent)
    assert np.isclose(got.variance_noise, 0.5 * df2 / (12 - got.df2))


def test_the_ends_of_the_range_of_strengths():
    s = np.append(power_law(20, 1.0), 0.0)  # one null direction
    b = np.append(np.full(20, 0.2), 5.0)
    prior_alone = random_design(s, b, 0.5, 12, np.inf)
    assert prior_alone.variance == 0 and np.isclose(prior_alone.bias2, (s * b**2).sum())
    assert random_design(s, b, 0.5, 20, 0.0).variance == np.inf
    assert random_design(s, b, 0.5, 40, 0.0).bias2 == 0


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="smallest eigenvalue is -1"):
        random_design([1.0, -1.0], [0, 0], 1, 5, 0.1)
    with pytest.raises(ValueError, match="length 2 and theta_minus_centre 3"):
        random_design([1.0, 1.0], [0, 0, 0], 1, 5, 0.1)
    with pytest.raises(ValueError, match="lam is -0.1"):
        random_design([1.0, 1.0], [0, 0], 1, 5, -0.1)
    with pytest.raises(ValueError, match="n is 9 and pool 5"):
        random_design([1.0, 1.0], [0, 0], 1, 9, 0.1, pool=5)
    with pytest.raises(ValueError, match="target has shape"):
        random_design([1.0, 1.0], [0, 0], 1, 5, 0.1, np.ones(3))
