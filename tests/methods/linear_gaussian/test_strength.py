"""Oracles: a dense grid over the public risk, the Bayes strength, and simulated truths."""

import numpy as np
import pytest

from medxfer_lab.methods.linear_gaussian import (
    bayes_strength,
    fixed_design,
    l2sp,
    optimal_strength,
    power_law,
    random_design,
)


@pytest.mark.parametrize("n", [25, 200])
@pytest.mark.parametrize("seed", range(4))
def test_random_design_beats_a_dense_grid(n, seed):
    rng = np.random.default_rng(seed)
    s, b = power_law(50, rng.uniform(0, 2)), rng.normal(size=50) * rng.uniform(0.02, 1)
    best = optimal_strength(s, b, 0.5, n)
    grid = random_design(s, b, 0.5, n, np.append(np.geomspace(1e-6, 1e6, 4000), 0.0)).excess
    assert best.risk.excess <= grid.min() * (1 + 1e-9)
    assert best.risk.excess == pytest.approx(grid.min(), rel=1e-4)
    assert random_design(s, b, 0.5, n, best.lam).excess == pytest.approx(best.risk.excess, rel=1e-6)


@pytest.mark.parametrize("n", [25, 200])
def test_fixed_design_is_the_minimum_of_the_in_sample_risk(n):
    rng = np.random.default_rng(n)
    X, b = rng.normal(size=(n, 50)), rng.normal(size=50) * 0.3
    e, V = np.linalg.eigh(X.T @ X / n)
    best = optimal_strength(np.maximum(e, 0), V.T @ b, 0.5, n, design="fixed")
    grid = fixed_design(X, b, None, 0.5, np.geomspace(1e-6, 1e6, 4000)).excess
    assert best.risk.excess == pytest.approx(grid.min(), rel=1e-4)
    assert fixed_design(X, b, None, 0.5, best.lam).excess == pytest.approx(best.risk.excess)


@pytest.mark.parametrize("design", ["random", "fixed"])
@pytest.mark.parametrize("n", [20, 150])
@pytest.mark.parametrize("decay", [0.0, 1.0])
def test_an_even_error_wants_the_bayes_strength(design, n, decay):
    tau2, sigma2 = 0.04, 0.5
    s = power_law(60, decay)
    best = optimal_strength(s, np.full(60, np.sqrt(tau2)), sigma2, n, design)
    assert best.lam == pytest.approx(bayes_strength(sigma2, tau2, n), rel=1e-4)


def test_bayes_strength_wins_on_truths_drawn_from_the_prior():
    """No formula: paired squared errors of simulated fits, theta - centre ~ N(0, tau2 I)."""
    rng = np.random.default_rng(0)
    d, n, sigma2, tau2 = 20, 15, 0.5, 0.1
    best, centre = bayes_strength(sigma2, tau2, n), rng.normal(size=d)
    errors = []
    for _ in range(1500):
        X = rng.normal(size=(n, d))
        theta = centre + np.sqrt(tau2) * rng.normal(size=d)
        y = X @ theta + np.sqrt(sigma2) * rng.normal(size=n)
        fits = [l2sp(X, y, lam, centre) for lam in (best, best / 3, best * 3)]
        errors.append([((fit - theta) ** 2).sum() for fit in fits])
    errors = np.array(errors)
    for other in (1, 2):
        gap = errors[:, other] - errors[:, 0]
        assert gap.mean() > 4 * gap.std() / np.sqrt(len(gap))


def test_limits():
    s = power_law(10, 1.0)
    perfect = optimal_strength(s, np.zeros(10), 0.5, 30)
    assert perfect.lam == np.inf and perfect.risk.excess == 0
    noiseless = optimal_strength(s, np.ones(10), 0.0, 30)
    assert noiseless.lam == 0 and noiseless.risk.excess == 0
    # signal on the strong directions only, n < d: no positive strength beats none
    b = np.zeros(400)
    b[:3] = 10.0
    assert optimal_strength(power_law(400, 0.8), b, 1e-4, 100).lam == 0


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="design is 'both'"):
        optimal_strength([1.0], [1.0], 1, 5, design="both")
    with pytest.raises(ValueError, match="every eigenvalue is 0"):
        optimal_strength([0.0], [1.0], 1, 5)
    with pytest.raises(ValueError, match="target is only for"):
        optimal_strength([1.0], [1.0], 1, 5, design="fixed", target=[1.0])
