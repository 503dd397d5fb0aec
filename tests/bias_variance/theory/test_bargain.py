"""Oracles: simulated fits by `l2sp`, the numeric optimum, the multivariate posterior."""

import numpy as np
import pytest

from medxfer_lab.bias_variance import theory
from medxfer_lab.methods import linear_gaussian as lg


def test_the_curve_against_simulated_fits():
    """Signal of variance 1, a centre that gets a share `wrongness` of it wrong, direction drawn."""
    rng = np.random.default_rng(0)
    n, d, wrongness, sigma2, lam = 40, 60, 0.4, 0.5, 1.5
    s = lg.power_law(d, 1.0)
    excess = []
    for _ in range(800):
        signs = rng.choice([-1.0, 1.0], d)
        theta = signs / np.sqrt(s.sum())
        centre = theta * (1 - np.sqrt(wrongness))
        assert np.isclose((s * (theta - centre) ** 2).sum(), wrongness)
        X = rng.normal(size=(n, d)) * np.sqrt(s)
        fit = lg.l2sp(X, X @ theta + np.sqrt(sigma2) * rng.normal(size=n), lam, centre)
        excess.append((s * (fit - theta) ** 2).sum())
    got = theory.risk_against_strength(
        n, d, wrongness, decay=1.0, sigma2=sigma2, strengths=[lam, 2 * lam]
    )
    tolerance = 4 * np.std(excess) / np.sqrt(800) + 1.5 * got.excess[0] / n
    assert abs(np.mean(excess) - got.excess[0]) < tolerance
    assert np.allclose(got.excess, got.bias2 + got.variance)


def test_the_optimum_lies_below_the_curve_and_is_the_bayes_strength():
    got = theory.risk_against_strength(50, 100, 0.3, sigma2=0.5)
    assert got.best_excess <= got.excess.min() <= got.best_excess * 1.01
    assert got.best_strength == pytest.approx(0.5 * 100 / (50 * 0.3), rel=1e-3)
    assert theory.risk_against_strength(50, 100, 0.0).best_strength == np.inf
    by_hand = theory.risk_against_strength(50, eigenvalues=np.ones(100), wrongness=0.3)
    assert np.allclose(by_hand.excess, got.excess)


def test_best_against_wrongness_is_the_numeric_optimum():
    got = theory.best_against_wrongness(30, 50, [0.0, 0.2, 1.0], decay=1.0, sigma2=0.7)
    for wrong, strength, excess in zip(got.wrongness, got.strength, got.excess):
        best = theory.risk_against_strength(30, 50, wrong, decay=1.0, sigma2=0.7)
        assert excess == pytest.approx(best.best_excess, rel=1e-6)
        assert strength == pytest.approx(best.best_strength, rel=1e-3)
    assert got.excess[0] == 0 and (np.diff(got.excess) > 0).all()
    assert np.allclose(got.bias2 + got.variance, got.excess)


def test_scratch_labels_needed_reach_the_same_risk():
    for n, wrong in ((16, 0.3), (200, 0.05), (1000, 0.6)):
        needed = theory.scratch_labels_needed(n, wrong, decay=1.0)
        scratch = theory.best_against_wrongness(needed, 100, [1.0], decay=1.0).excess
        transfer = theory.best_against_wrongness(n, 100, [wrong], decay=1.0).excess
        assert scratch == pytest.approx(transfer, rel=1e-6) and needed > n
    assert theory.scratch_labels_needed(50, 1.0) == pytest.approx(50)
    assert theory.scratch_labels_needed(50, 0.0) == np.inf
    worth = [theory.scratch_labels_needed(n, 0.3) / n for n in (16, 64, 256, 1024)]
    assert (np.diff(worth) < 0).all()  # the advantage of one label shrinks as labels grow


def test_posterior_against_prior_is_the_posterior():
    rng = np.random.default_rng(0)
    n, theta, centre, tau2, sigma2 = 12, 1.5, -0.5, 0.3, 0.8
    X = rng.normal(size=(n, 1))
    e = float((X**2).mean())
    got = theory.posterior_against_prior([0, n], e, theta, centre, tau2=tau2, sigma2=sigma2)
    exact = lg.posterior(X, X[:, 0] * theta, [centre], 1 / tau2, sigma2)
    assert got.mean[1] == pytest.approx(exact.mean[0])  # noise-free labels give the expectation
    assert got.posterior_sd[1] ** 2 == pytest.approx(exact.covariance[0, 0])
    spread = lg.fixed_design(X, [theta], [centre], sigma2, sigma2 / (n * tau2), np.eye(1)).variance
    assert got.spread[1] ** 2 == pytest.approx(spread)
    assert (got.weight[0], got.mean[0], got.posterior_sd[0]) == (0, centre, np.sqrt(tau2))


def test_half_the_weight_at_the_prior_sample_size_and_none_ever_in_the_null_space():
    got = theory.posterior_against_prior([1, 5, 400], 0.2, 1.0, tau2=0.5, sigma2=0.5)
    assert got.prior_sample_size == pytest.approx(5) and got.weight[1] == pytest.approx(0.5)
    null = theory.posterior_against_prior([0, 10, 10**6], 0.0, 1.0, 0.2, seed=0)
    assert (null.weight == 0).all() and (null.mean == 0.2).all() and (null.path == 0.2).all()
    assert (null.posterior_sd == 1).all() and null.prior_sample_size == np.inf


def test_simulated_paths_have_the_stated_mean_and_spread():
    sizes = [0, 1, 4, 30]
    runs = [theory.posterior_against_prior(sizes, 0.7, 2.0, seed=s) for s in range(1500)]
    paths = np.array([r.path for r in runs])
    se = runs[0].spread / np.sqrt(1500)
    assert (np.abs(paths.mean(0) - runs[0].mean) <= 4 * se).all()
    assert paths.std(0, ddof=1) == pytest.approx(runs[0].spread, rel=4 / np.sqrt(2 * 1499))
    assert np.array_equal(paths[7], theory.posterior_against_prior(sizes, 0.7, 2.0, seed=7).path)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="wrongness is -1"):
        theory.risk_against_strength(50, 100, -1)
    with pytest.raises(ValueError, match="increasing"):
        theory.posterior_against_prior([3, 2], 1.0, 1.0)
    with pytest.raises(ValueError, match="wrongness is 1.5"):
        theory.scratch_labels_needed(50, 1.5)
