"""Oracles: integration on a grid, autograd's Hessian, sequential updating, L2-SP."""

import numpy as np
import pytest
import torch

from medxfer_lab.methods.linear_gaussian import (
    bayes_strength,
    l2sp,
    posterior,
    prior_sample_size,
    shrinkage,
)


def problem(n, d, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)), rng.normal(size=n), rng.normal(size=d)


def test_mean_and_covariance_by_integration_on_a_grid():
    X, y, centre = problem(5, 2)
    P, sigma2 = np.array([[2.0, 0.5], [0.5, 1.0]]), 0.7
    got = posterior(X, y, centre, P, sigma2)
    axis = np.linspace(-8, 8, 801)
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    log_density = -((y - grid @ X.T) ** 2).sum(1) / (2 * sigma2)
    log_density -= np.einsum("ki,ij,kj->k", grid - centre, P, grid - centre) / 2
    weight = np.exp(log_density - log_density.max())
    weight /= weight.sum()
    mean = weight @ grid
    assert np.allclose(got.mean, mean, atol=1e-6)
    assert np.allclose(
        got.covariance, (grid - mean).T @ ((grid - mean) * weight[:, None]), atol=1e-6
    )


@pytest.mark.parametrize("n", [4, 40])
def test_the_mean_is_l2sp(n):
    X, y, centre = problem(n, 9)
    tau2, sigma2 = 0.3, 0.7
    got = posterior(X, y, centre, 1 / tau2, sigma2).mean
    assert np.allclose(got, l2sp(X, y, bayes_strength(sigma2, tau2, n), centre), atol=1e-10)


def test_the_precision_is_autograds_hessian():
    X, y, centre = problem(6, 3)
    P = np.array([0.5, 1.0, 2.0])
    got = posterior(X, y, centre, P, 0.7)

    def minus_log_density(theta):
        fit = ((torch.tensor(y) - torch.tensor(X) @ theta) ** 2).sum() / (2 * 0.7)
        return fit + (torch.tensor(P) * (theta - torch.tensor(centre)) ** 2).sum() / 2

    hessian = torch.autograd.functional.hessian(minus_log_density, torch.tensor(got.mean))
    assert np.allclose(np.linalg.inv(got.covariance), hessian.numpy())


def test_today_s_posterior_is_tomorrow_s_prior():
    X, y, centre = problem(10, 4)
    whole = posterior(X, y, centre, 0.8, 0.7)
    first = posterior(X[:3], y[:3], centre, 0.8, 0.7)
    then = posterior(X[3:], y[3:], first.mean, np.linalg.inv(first.covariance), 0.7)
    assert np.allclose(whole.mean, then.mean) and np.allclose(whole.covariance, then.covariance)


def test_prior_sample_size_is_where_prior_and_data_weigh_the_same():
    s = np.array([4.0, 1.0, 0.01, 0.0])
    n0 = prior_sample_size(s, sigma2=0.5, tau2=0.1)
    assert np.isinf(n0[3])
    for k in range(3):
        assert shrinkage(s, n0[k], sigma2=0.5, tau2=0.1)[k] == pytest.approx(0.5)
    n = 37
    assert np.allclose(n0[:3], prior_sample_size(s, lam=bayes_strength(0.5, 0.1, n), n=n)[:3])
    assert np.allclose(shrinkage(s, n, sigma2=0.5, tau2=0.1), n / (n + n0))


def test_fixed_shrinkage_is_what_the_posterior_mean_does():
    """Noise-free labels: the posterior mean moves from centre to truth by the weight, exactly."""
    X, _, centre = problem(5, 8)
    theta = centre + 1.0
    e, V = np.linalg.eigh(X.T @ X / 5)
    mean = posterior(X, X @ theta, centre, 1 / 0.1, 0.5).mean
    moved = (V.T @ (mean - centre)) / (V.T @ (theta - centre))
    assert np.allclose(moved, shrinkage(np.maximum(e, 0), 5, sigma2=0.5, tau2=0.1), atol=1e-9)
    assert np.allclose(moved[:3], 0, atol=1e-9)  # 8 - 5 null directions stay with the prior


def test_random_shrinkage_is_the_mean_over_designs():
    rng = np.random.default_rng(0)
    d, n, sigma2, tau2 = 40, 20, 0.5, 0.2
    s = np.linspace(0.2, 3, d)
    draws = []
    for _ in range(600):
        X = rng.normal(size=(n, d)) * np.sqrt(s)
        H = np.linalg.inv(X.T @ X / n + bayes_strength(sigma2, tau2, n) * np.eye(d))
        draws.append(np.diag(H @ X.T @ X / n))
    draws = np.array(draws)
    mean, se = draws.mean(0), draws.std(0) / np.sqrt(len(draws))
    got = shrinkage(s, n, sigma2=sigma2, tau2=tau2, design="random")
    assert (np.abs(got - mean) < 4.5 * se + 1.0 * got / n).all()
    naive = shrinkage(s, n, sigma2=sigma2, tau2=tau2)
    assert (naive - mean > 20 * se).all()  # n Sigma instead of X'X promises far too much


def test_no_data_no_weight():
    assert (shrinkage([1.0, 2.0], 0, sigma2=1, tau2=1) == 0).all()


def test_bad_input_is_named():
    X, y, centre = problem(3, 5)
    with pytest.raises(ValueError, match="the posterior is improper"):
        posterior(X, y, centre, 0.0, 1.0)
    with pytest.raises(ValueError, match="prior_precision has shape"):
        posterior(X, y, centre, np.eye(4), 1.0)
    with pytest.raises(ValueError, match="exactly one pair"):
        prior_sample_size([1.0])
    with pytest.raises(ValueError, match="whole pair"):
        prior_sample_size([1.0], sigma2=1.0)
    with pytest.raises(ValueError, match="design is 'none'"):
        shrinkage([1.0], 3, sigma2=1, tau2=1, design="none")
