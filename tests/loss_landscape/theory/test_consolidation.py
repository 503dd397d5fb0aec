"""Oracles: the posterior of both data sets at once, a numerical minimiser, Monte Carlo, torch."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from torch.nn import functional as F  # noqa: N812 (torch's own idiom)

from medxfer_lab.loss_landscape.theory.consolidation import (
    batch_mean_importance,
    diagonal_error,
    empirical_importance,
    empirical_share,
    ewc_solution,
    expected_batch_mean_importance,
    laplace_precision,
    laplace_strength,
    model_importance,
    per_example_importance,
    stability_plasticity,
)
from medxfer_lab.loss_landscape.theory.forgetting import LogisticTask
from medxfer_lab.methods.curvature import fisher_diagonal
from medxfer_lab.methods.linear_gaussian import posterior

SIGMA2 = 0.7


def valley(seed, d=3):
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(d, d)) * rng.uniform(0.2, 2, d)
    return root @ root.T + 0.01 * np.eye(d), rng.normal(size=d)


def data(seed, n, d=3, correlation=0.8):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d)) + correlation * rng.normal(size=(n, 1))
    return X, X @ rng.normal(size=d) + rng.normal(size=n) * SIGMA2**0.5


def learned(n_old=30, n_new=12):
    """Mean-loss Fisher matrix and least-squares optimum of two data sets, and the sets."""
    sets = [data(0, n_old), data(1, n_new)]
    return sets, [(X.T @ X / (len(X) * SIGMA2), np.linalg.lstsq(X, y)[0]) for X, y in sets]


@pytest.mark.parametrize("prior", [0.3, [0.2, 1.0, 4.0]])
def test_full_ewc_is_the_posterior_of_both_data_sets(prior):
    ((X, y), (Xn, yn)), ((F_old, _), (F_new, best_new)) = learned()
    old = posterior(X, y, None, prior, SIGMA2)
    precision = laplace_precision(F_old, len(X), prior)
    np.testing.assert_allclose(np.linalg.inv(old.covariance), precision, rtol=1e-9)
    found = ewc_solution(F_new, best_new, precision, old.mean, 1 / len(Xn))
    both = posterior(np.vstack([X, Xn]), np.hstack([y, yn]), None, prior, SIGMA2)
    np.testing.assert_allclose(found, both.mean, rtol=1e-9)
    diagonal = ewc_solution(F_new, best_new, np.diag(precision), old.mean, 1 / len(Xn))
    assert np.abs(diagonal - both.mean).max() > 0.01


def test_without_a_prior_the_strength_is_the_ratio_of_the_sample_sizes():
    ((X, y), (Xn, yn)), ((F_old, best_old), (F_new, best_new)) = learned()
    found = ewc_solution(F_new, best_new, F_old, best_old, laplace_strength(len(X), len(Xn)))
    both = np.linalg.lstsq(np.vstack([X, Xn]), np.hstack([y, yn]))[0]
    np.testing.assert_allclose(found, both, rtol=1e-9)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 500), st.floats(0, 50), st.booleans())
def test_solution_is_the_minimum(seed, strength, diagonal):
    (H, n), (W, o) = valley(seed), valley(seed + 1000)
    W = np.diag(W) if diagonal else W
    full = np.diag(W) if diagonal else W

    def objective(t):
        return (t - n) @ H @ (t - n) / 2 + strength / 2 * (t - o) @ full @ (t - o)

    def gradient(t):
        return H @ (t - n) + strength * full @ (t - o)

    found = ewc_solution(H, n, W, o, strength)
    scale = np.abs(H @ n).max() + strength * np.abs(full @ o).max() + 1
    assert np.abs(gradient(found)).max() < 1e-10 * scale
    best = minimize(objective, o, jac=gradient, method="BFGS", options={"gtol": 1e-8})
    assert objective(found) <= best.fun + 1e-9 * scale


def test_a_flat_new_valley_stays_at_the_old_optimum():
    H = np.diag([1.0, 0.0])
    found = ewc_solution(H, [2.0, 5.0], [1.0, 1.0], [0.0, -1.0], 1.0)
    np.testing.assert_allclose(found, [1.0, -1.0])


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 500))
def test_ends_and_monotony_of_the_trade_off(seed):
    (H, o), (N, n) = valley(seed), valley(seed + 1000)
    for importance in (H, np.diag(H), np.ones(3)):
        curve = stability_plasticity(H, N, o, n, importance, [0, 0.1, 1, 10, 1e9])
        assert (np.diff(curve.new_loss) >= -1e-9).all() and curve.new_loss[0] < 1e-9
        assert curve.old_loss[-1] < 1e-6 * max(1, curve.old_loss[0])
        delta = curve.solutions[2] - o
        assert curve.old_loss[2] == pytest.approx(delta @ H @ delta / 2)
    full = stability_plasticity(H, N, o, n, H, [0, 0.1, 1, 10])
    assert (np.diff(full.old_loss) <= 1e-9).all()


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 500), st.floats(0.01, 100))
def test_nothing_lies_below_the_full_matrix(seed, strength):
    """The full curve minimises L_n + s L_o: any parameters, those of other penalties too."""
    (H, o), (N, n) = valley(seed), valley(seed + 1000)
    front = stability_plasticity(H, N, o, n, H, [strength])
    best = front.new_loss[0] + strength * front.old_loss[0]
    for importance in (np.diag(H), np.ones(3), valley(seed + 7)[0]):
        other = stability_plasticity(H, N, o, n, importance, np.geomspace(1e-3, 1e3, 13))
        assert (other.new_loss + strength * other.old_loss >= best * (1 - 1e-9)).all()


@settings(deadline=None)
@given(st.integers(0, 500))
def test_a_diagonal_underrates_at_most_d_fold(seed):
    H, v = valley(seed, d=4)
    assert diagonal_error(H, v) >= 1 / 4 - 1e-12
    assert diagonal_error(np.diag(np.diag(H)), v) == pytest.approx(1)


def test_both_ends_of_the_diagonals_error():
    """Parameters that act as one: d-fold too cheap together, infinitely too dear against another"""
    one = np.ones((4, 4))
    assert diagonal_error(one, np.ones(4)) == pytest.approx(1 / 4)
    assert diagonal_error(one, [1, -1, 0, 0]) == np.inf


@pytest.mark.parametrize("batch", [1, 3, 7, 20])
def test_batch_mean_importance_by_monte_carlo(batch):
    """20 is all examples at once; 7 leaves six over."""
    G = np.random.default_rng(0).normal([0.0, 0.4], [1.0, 0.5], size=(20, 2))
    draws = np.array([batch_mean_importance(G, batch, seed) for seed in range(2000)])
    gap = np.abs(draws.mean(0) - expected_batch_mean_importance(G, batch))
    assert (gap <= 4 * draws.std(0) / 2000**0.5 + 1e-12).all()


def test_ends_of_the_batch_mean():
    G = np.random.default_rng(1).normal(size=(50, 3))
    G -= G.mean(0)
    right = per_example_importance(G)
    np.testing.assert_allclose(batch_mean_importance(G, 1, 0), right, rtol=1e-12)
    np.testing.assert_allclose(expected_batch_mean_importance(G, 1), right, rtol=1e-12)
    assert batch_mean_importance(G, 50, 0).max() < 1e-30
    share = expected_batch_mean_importance(G, 10) / right
    np.testing.assert_allclose(share, 40 / 49 / 10)
    assert expected_batch_mean_importance([[2.0]], 1) == pytest.approx(4)


def logistic(n=60, d=3, seed=0):
    rng = np.random.default_rng(seed)
    theta = rng.normal(size=d)
    x = rng.normal(size=(n, d))
    return LogisticTask(
        x, (rng.uniform(size=n) < 1 / (1 + np.exp(-x @ theta))).astype(float)
    ), theta


def test_importances_are_the_floors():
    task, theta = logistic()

    class Linear(torch.nn.Linear):
        def forward(self, x):
            return F.linear(x, self.weight)[:, 0]

    network = Linear(3, 1, bias=False).double()
    network.weight.data = torch.from_numpy(theta)[None]
    x, y = torch.from_numpy(task.x), torch.from_numpy(task.y)
    exact = fisher_diagonal(network, x, labels="exact")["weight"][0]
    np.testing.assert_allclose(model_importance(task, theta), exact, rtol=1e-10)
    np.testing.assert_allclose(model_importance(task, theta), np.diag(task.hessian(theta)))
    empirical = fisher_diagonal(network, x, labels="empirical", targets=y)["weight"][0]
    np.testing.assert_allclose(empirical_importance(task, theta), empirical, rtol=1e-10)


def test_empirical_is_the_models_on_average_over_the_models_labels():
    task, theta = logistic(n=1)
    p = task.probabilities(theta)[0]
    each = [empirical_importance(LogisticTask(task.x, [y]), theta) for y in (0.0, 1.0)]
    np.testing.assert_allclose((1 - p) * each[0] + p * each[1], model_importance(task, theta))


def test_empirical_vanishes_first_at_interpolation():
    """Labels that a plane separates, parameters ever larger: both go to 0, the ratio as well."""
    task, theta = logistic()
    fitted = LogisticTask(task.x, (task.x @ theta > 0).astype(float))
    ratios = []
    for size in (1, 10, 100):
        model = model_importance(fitted, size * theta)
        ratios.append(empirical_importance(fitted, size * theta) / model)
    assert (ratios[0] < 1).all() and (np.diff(ratios, axis=0) < 0).all()
    margin = np.array([-3.0, 0.0, 2.0, 8.0])
    q = 1 / (1 + np.exp(-margin))
    np.testing.assert_allclose(empirical_share(margin), (1 - q) ** 2 / (q * (1 - q)), rtol=1e-9)
    one = LogisticTask([[1.0]], [1.0])
    share = empirical_importance(one, [2.0]) / model_importance(one, [2.0])
    np.testing.assert_allclose(share, empirical_share([2.0]))


def test_what_is_refused():
    (H, o), G = valley(0), np.ones((4, 2))
    for call, words in (
        (lambda: ewc_solution(-H, o, H, o, 1.0), "expected none below 0"),
        (lambda: ewc_solution(H, o, -np.ones(3), o, 1.0), "importance has the eigenvalue -1"),
        (lambda: ewc_solution(H, o, np.ones(2), o, 1.0), "must be equal"),
        (lambda: ewc_solution(H, o[:2], H, o, 1.0), "must be equal"),
        (lambda: ewc_solution(H, o, H, o, -1.0), "strength is"),
        (lambda: ewc_solution(np.diag([1.0, 0, 0]), o, np.ones(3), o, 0.0), "singular"),
        (lambda: ewc_solution(np.triu(H), o, H, o, 1.0), "not symmetric"),
        (lambda: stability_plasticity(np.eye(2), H, o, o, np.ones(3), [1.0]), "must be equal"),
        (lambda: stability_plasticity(H, H, o, o, H, [-1.0]), "strength is"),
        (lambda: laplace_precision(H, -1.0), "n is"),
        (lambda: laplace_precision(H, 1.0, -1.0), "prior_precision has the eigenvalue -1"),
        (lambda: laplace_strength(10, 0), "n_new is"),
        (lambda: diagonal_error(H, np.ones(2)), "must be equal"),
        (lambda: diagonal_error(np.diag([1.0, 0.0]), [0.0, 1.0]), "F is 0 along"),
        (lambda: batch_mean_importance(G, 5, 0), "there are 4 gradients"),
        (lambda: batch_mean_importance(G, 0, 0), "batch is"),
        (lambda: per_example_importance(G * np.nan), "NaN"),
    ):
        with pytest.raises(ValueError, match=words):
            call()
