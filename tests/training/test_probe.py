"""Logistic heads against a tightly converged scikit-learn, and against their own definition."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from medxfer_lab.training import probe


def problem(n: int, d: int, m: int = 1, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """m training sets (m, n, d) with noisy linear labels (m, n), uneven classes."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((m, n, d)) * rng.uniform(0.3, 3, d) + rng.standard_normal(d)
    logits = x @ rng.standard_normal(d) / np.sqrt(d) - 0.8
    y = (rng.random((m, n)) < 1 / (1 + np.exp(-logits))).astype(float)
    y[:, 0], y[:, 1] = 0, 1
    return torch.from_numpy(x), torch.from_numpy(y)


def sklearn_head(x: np.ndarray, y: np.ndarray, strength: float) -> tuple[np.ndarray, float]:
    """mean log loss + strength/2 ||w||^2 is scikit-learn's objective with C = 1/(n strength)."""
    model = LogisticRegression(
        C=1 / (len(y) * strength), solver="newton-cholesky", tol=1e-12, max_iter=10_000
    )
    model.fit(x, y)
    return model.coef_[0], float(model.intercept_[0])


@pytest.mark.parametrize(("n", "d"), [(20, 60), (60, 8), (40, 40), (120, 300)])
@pytest.mark.parametrize("strength", [10.0, 0.1, 1e-3])
def test_equals_scikit_learn(n, d, strength):
    x, y = problem(n, d, seed=n + d)
    heads = probe(x[0], y[0], strength)
    weights, intercept = sklearn_head(x[0].numpy(), y[0].numpy(), strength)
    assert heads.weights.shape == (1, 1, d) and heads.weights.dtype == torch.float64
    np.testing.assert_allclose(heads.weights[0, 0], weights, atol=1e-5)
    assert float(heads.intercepts[0, 0]) == pytest.approx(intercept, abs=1e-5)


def test_objective_is_stationary_in_the_weights_themselves():
    """The gradient of the stated objective, by autograd in the d weights, vanishes."""
    x, y = problem(30, 90, m=4, seed=3)
    heads = probe(x, y, (0.5, 0.02))
    for k, strength in enumerate(heads.strengths):
        for m in range(4):
            w = heads.weights[k, m].clone().requires_grad_()
            b = heads.intercepts[k, m].clone().requires_grad_()
            loss = torch.nn.functional.binary_cross_entropy_with_logits(x[m] @ w + b, y[m])
            (loss + strength / 2 * w.square().sum()).backward()
            # dual residual below 1e-9 a patient, times features of the order of 10
            assert w.grad.abs().max() < 1e-7 and b.grad.abs() < 1e-8


def test_many_sets_at_once_are_the_sets_one_by_one():
    x, y = problem(25, 50, m=6, seed=4)
    path = (3.0, 0.3, 0.03)
    together = probe(x, y, path)
    for m in range(6):
        alone = probe(x[m], y[m], path)
        torch.testing.assert_close(together.weights[:, m], alone.weights[:, 0], rtol=0, atol=1e-7)
        torch.testing.assert_close(
            together.intercepts[:, m], alone.intercepts[:, 0], rtol=0, atol=1e-7
        )


def test_strengths_in_any_order():
    x, y = problem(25, 50, m=2, seed=5)
    path = (0.1, 10.0, 0.01, 1.0)
    heads = probe(x, y, path)
    assert heads.strengths == path and heads.weights.shape == (4, 2, 50)
    for k, strength in enumerate(path):
        alone = probe(x, y, strength)
        torch.testing.assert_close(heads.weights[k], alone.weights[0], rtol=0, atol=1e-7)
        torch.testing.assert_close(heads.intercepts[k], alone.intercepts[0], rtol=0, atol=1e-7)
    norms = heads.weights.norm(dim=-1).mean(1)
    assert norms[2] > norms[0] > norms[3] > norms[1]  # stronger is smaller


def test_logits_are_the_linear_map():
    x, y = problem(20, 7, m=3, seed=6)
    heads = probe(x, y, (1.0, 0.1))
    fresh = torch.randn(5, 7, generator=torch.Generator().manual_seed(0))
    found = heads.logits(fresh)  # float32 features, float64 weights
    assert found.shape == (2, 3, 5)
    for k, m, i in np.ndindex(2, 3, 5):
        expected = float(heads.weights[k, m] @ fresh[i].double() + heads.intercepts[k, m])
        assert float(found[k, m, i]) == pytest.approx(expected, abs=1e-12)


def test_intercept_is_not_penalised():
    """At a huge strength the weights vanish and the head predicts the training set's prevalence."""
    x, y = problem(40, 30, m=2, seed=7)
    heads = probe(x, y, 1e6)
    assert heads.weights.abs().max() < 1e-4
    torch.testing.assert_close(heads.intercepts[0].sigmoid(), y.mean(1), rtol=0, atol=1e-4)


def test_order_of_patients_and_sign_of_labels():
    x, y = problem(30, 60, seed=8)
    heads = probe(x[0], y[0], 0.1)
    shuffled = torch.from_numpy(np.random.default_rng(0).permutation(30))
    again = probe(x[0][shuffled], y[0][shuffled], 0.1)
    torch.testing.assert_close(again.weights, heads.weights, rtol=0, atol=1e-7)
    turned = probe(x[0], 1 - y[0], 0.1)
    torch.testing.assert_close(turned.weights, -heads.weights, rtol=0, atol=1e-7)
    torch.testing.assert_close(turned.intercepts, -heads.intercepts, rtol=0, atol=1e-7)


def test_separable_data_under_a_weak_penalty():
    """n far below d is separable; the penalised head stays finite and is scikit-learn's."""
    x, y = problem(16, 400, seed=9)
    heads = probe(x[0], y[0], 1e-4)
    weights, _ = sklearn_head(x[0].numpy(), y[0].numpy(), 1e-4)
    np.testing.assert_allclose(heads.weights[0, 0], weights, atol=1e-5)


@pytest.mark.parametrize("strengths", [0.0, -1.0, float("nan"), (), (1.0, 0.0)])
def test_strengths_must_be_positive(strengths):
    x, y = problem(10, 5)
    with pytest.raises(ValueError, match="each must be positive: an unpenalised head has no"):
        probe(x[0], y[0], strengths)


def test_errors_name_the_training_set_and_the_way_out():
    x, y = problem(12, 5, m=3)
    y[2] = 1
    with pytest.raises(ValueError, match="training set 2 holds one class only.*another seed"):
        probe(x, y, 1.0)
    x, y = problem(12, 5, m=3)
    x[1, 0, 0] = float("nan")
    with pytest.raises(ValueError, match="features hold NaN or infinity; look at the network"):
        probe(x, y, 1.0)
    x, y = problem(12, 5, m=3)
    for features, labels in ((x, y[0]), (x[0], y), (x[:, :-1], y), (x[0, 0], y[0])):
        with pytest.raises(ValueError, match=r"expected \(m, n, d\) and \(m, n\), or"):
            probe(features, labels, 1.0)


def test_no_convergence_is_an_error():
    x, y = problem(30, 60)
    with pytest.raises(RuntimeError, match="not converged in 2 steps at strength 0.001"):
        probe(x[0], y[0], 1e-3, max_iterations=2)
