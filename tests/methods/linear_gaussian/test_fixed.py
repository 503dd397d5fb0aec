"""Oracles: scikit-learn, autograd, and the estimator itself applied to unit vectors."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge

from medxfer_lab.methods.linear_gaussian import fixed_design, l2sp

CASES = [(7, 12, 0.3), (30, 12, 0.3), (12, 12, 0.05), (7, 12, 0.0), (30, 12, 0.0)]


def problem(n, d, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d)) * np.linspace(0.3, 2, d)
    return X, rng.normal(size=d), rng.normal(size=d), rng.normal(size=n)


@pytest.mark.parametrize("n, d, lam", [c for c in CASES if c[2] > 0])
def test_ridge_is_scikit_learns(n, d, lam):
    X, _, _, y = problem(n, d)
    expected = Ridge(alpha=n * lam, fit_intercept=False, tol=1e-12).fit(X, y).coef_
    assert np.allclose(l2sp(X, y, lam), expected, atol=1e-9)


@pytest.mark.parametrize("n, d, lam", CASES)
def test_l2sp_is_where_autograd_finds_no_gradient(n, d, lam):
    X, _, centre, y = problem(n, d)
    theta = torch.tensor(l2sp(X, y, lam, centre), requires_grad=True)
    residual = torch.tensor(y) - torch.tensor(X) @ theta
    loss = (residual**2).mean() + lam * ((theta - torch.tensor(centre)) ** 2).sum()
    loss.backward()
    assert theta.grad.abs().max() < 1e-10


def test_without_a_strength_the_nearest_solution_to_the_centre():
    X, _, centre, y = problem(7, 12)
    theta = l2sp(X, y, 0.0, centre)
    assert np.allclose(X @ theta, y)
    null = np.linalg.svd(X)[2][7:]  # the move from the centre must not enter the null space
    assert np.abs(null @ (theta - centre)).max() < 1e-10
    assert np.allclose(theta, l2sp(X, y, 1e-10, centre), atol=1e-6)


def test_many_targets_at_once():
    X, _, centre, y = problem(9, 5)
    both = l2sp(X, np.stack([y, 2 * y], 1), 0.2, centre)
    assert np.allclose(both[:, 1], l2sp(X, 2 * y, 0.2, centre))


@pytest.mark.parametrize("n, d, lam", CASES)
@pytest.mark.parametrize("in_sample", [True, False])
def test_bias_and_variance_against_the_estimators_own_linear_map(n, d, lam, in_sample):
    """theta_hat is affine in y: reading off its map gives mean and covariance with no formula."""
    X, theta, centre, _ = problem(n, d)
    offset = l2sp(X, np.zeros(n), lam, centre)
    linear = l2sp(X, np.eye(n), lam, centre) - offset[:, None]  # (d, n)
    A = X.T @ X / n if in_sample else np.cov(np.random.default_rng(1).normal(size=(d, 40)))
    gap = offset + linear @ X @ theta - theta
    got = fixed_design(X, theta, centre, 0.7, lam, None if in_sample else A)
    assert np.isclose(got.bias2, gap @ A @ gap, rtol=1e-8, atol=1e-14)
    assert np.isclose(got.variance, 0.7 * np.trace(A @ linear @ linear.T), rtol=1e-8)


def test_many_strengths_and_the_limits():
    X, theta, centre, _ = problem(7, 12)
    got = fixed_design(X, theta, centre, 0.7, [0.0, 0.1, np.inf])
    assert np.isclose(got.variance[1], fixed_design(X, theta, centre, 0.7, 0.1).variance)
    assert got.variance[2] == 0
    assert np.isclose(got.bias2[2], ((X @ (theta - centre)) ** 2).mean())
    assert np.isclose(got.variance[0], 0.7)  # n < d interpolates: in-sample it repeats the noise
    assert np.allclose(got.excess, got.bias2 + got.variance)


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 15), st.integers(1, 15), st.floats(1e-3, 10), st.integers(0, 10**6))
def test_moving_the_centre_moves_the_bias_and_never_the_variance(n, d, lam, seed):
    X, theta, centre, _ = problem(n, d, seed)
    near, far = (fixed_design(X, theta, theta + t * (centre - theta), 1.0, lam) for t in (1, 3))
    assert near.variance == far.variance
    assert np.isclose(far.bias2, 9 * near.bias2, rtol=1e-6, atol=1e-12)


def test_bad_input_is_named():
    X, theta, centre, y = problem(9, 5)
    with pytest.raises(ValueError, match="lam is -1"):
        l2sp(X, y, -1)
    with pytest.raises(ValueError, match="X has length 5 and centre 4"):
        l2sp(X, y, 0.1, centre[:4])
    with pytest.raises(ValueError, match="NaN"):
        l2sp(X, y * np.nan, 0.1)
    with pytest.raises(ValueError, match="second_moment has shape"):
        fixed_design(X, theta, centre, 1.0, 0.1, np.eye(3))
