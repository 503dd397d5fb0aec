"""Softmax heads against a tightly converged scikit-learn, and against the binary head."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medxfer_lab.training.heads.logistic import probe
from medxfer_lab.training.heads.multinomial import multinomial_probe
from tests.training.heads.sets_for_tests import gradient, problem, sklearn_head


@pytest.mark.parametrize("classes", [3, 5])
@pytest.mark.parametrize(("n", "d"), [(25, 60), (60, 8), (30, 30)])
@pytest.mark.parametrize("space", ["kernel", "primal"])
def test_equals_scikit_learn(classes, n, d, space):
    x, y = problem(n, d, seed=n + d, classes=classes)
    path = (10.0, 0.1, 1e-2)
    heads = multinomial_probe(x[0], y[0], path, space=space)
    assert heads.weights.shape == (3, 1, classes, d) and heads.intercepts.shape == (3, 1, classes)
    for k, strength in enumerate(path):
        weights, intercepts = sklearn_head(x[0], y[0], strength)
        np.testing.assert_allclose(heads.weights[k, 0], weights, rtol=0, atol=1e-5)
        np.testing.assert_allclose(heads.intercepts[k, 0], intercepts, rtol=0, atol=1e-5)


@pytest.mark.parametrize("space", ["kernel", "primal"])
def test_objective_is_stationary_and_rows_sum_to_zero(space):
    x, y = problem(40, 12, m=3, seed=1, classes=4)
    heads = multinomial_probe(x, y, (1.0, 0.03), space=space)
    spread = float(x.square().mean(1).max().sqrt())
    for k, strength in enumerate(heads.strengths):
        for m in range(3):
            of_w, of_b = gradient(x[m], y[m], strength, heads.weights[k, m], heads.intercepts[k, m])
            assert of_w.abs().max() < 1e-10 * spread * 1.01 and of_b.abs().max() < 2e-10
    # the mean row has gradient strength times itself and nothing else
    assert heads.weights.sum(2).abs().max() < 1e-7 and heads.intercepts.sum(2).abs().max() < 1e-9


@pytest.mark.parametrize(("n", "d"), [(25, 60), (60, 8)])
@pytest.mark.parametrize("space", ["kernel", "primal"])
def test_two_classes_are_the_binary_head_at_half_strength(n, d, space):
    x, y = problem(n, d, m=2, seed=n)
    path = (2.0, 0.2, 0.02)
    heads = multinomial_probe(x, y, path, space=space)
    binary = probe(x, y, [s / 2 for s in path])
    gap = heads.weights[:, :, 1] - heads.weights[:, :, 0]
    torch.testing.assert_close(gap, binary.weights, rtol=0, atol=1e-7)
    gap = heads.intercepts[..., 1] - heads.intercepts[..., 0]
    torch.testing.assert_close(gap, binary.intercepts, rtol=0, atol=1e-7)


@pytest.mark.parametrize("space", ["kernel", "primal"])
def test_classes_may_change_their_names(space):
    x, y = problem(30, 20, seed=2, classes=3)
    names = torch.tensor([2, 0, 1])
    heads = multinomial_probe(x, y, 0.1, space=space)
    renamed = multinomial_probe(x, names[y.long()], 0.1, space=space)
    torch.testing.assert_close(renamed.weights[:, :, names], heads.weights, rtol=0, atol=1e-7)


def test_rows_of_a_pool_are_explicit_features():
    x, y = (t[0] for t in problem(80, 20, seed=3, classes=3))
    generator = torch.Generator().manual_seed(0)
    # the first patients hold every class
    index = [torch.cat([torch.arange(3), 3 + torch.randperm(77, generator=generator)[:n]])
             for n in (20, 40, 20)]  # fmt: skip
    heads = multinomial_probe(x, y, (1.0, 0.1), index=index)
    own = multinomial_probe(x, [y[i] for i in index], (1.0, 0.1), index=index)
    assert torch.equal(own.weights, heads.weights)
    for m, rows in enumerate(index):
        alone = multinomial_probe(x[rows], y[rows], (1.0, 0.1))
        torch.testing.assert_close(heads.weights[:, m], alone.weights[:, 0], rtol=0, atol=1e-7)
        torch.testing.assert_close(
            heads.intercepts[:, m], alone.intercepts[:, 0], rtol=0, atol=1e-7
        )


def test_logits_are_the_linear_map():
    x, y = problem(20, 7, m=2, seed=6, classes=3)
    heads = multinomial_probe(x, y, (1.0, 0.1))
    fresh = torch.randn(5, 7, generator=torch.Generator().manual_seed(0))
    found = heads.logits(fresh)  # float32 features, float64 weights
    assert found.shape == (2, 2, 5, 3)
    for k, m, i in np.ndindex(2, 2, 5):
        expected = heads.weights[k, m] @ fresh[i].double() + heads.intercepts[k, m]
        torch.testing.assert_close(found[k, m, i], expected, rtol=0, atol=1e-12)


def test_errors_name_the_training_set_and_the_way_out():
    x, y = problem(12, 5, m=3, classes=3)
    with pytest.raises(ValueError, match="from 0 to 2; expected 0 or 1"):
        multinomial_probe(x, y, 1.0, classes=2)
    with pytest.raises(ValueError, match="training set 0 holds no patient of class 3"):
        multinomial_probe(x, y, 1.0, classes=4)
    with pytest.raises(ValueError, match="classes is 1; a head tells at least 2 apart"):
        multinomial_probe(x, y * 0, 1.0, classes=1)
    with pytest.raises(ValueError, match="training set 0 holds one class only"):
        multinomial_probe(x, y * 0, 1.0)
    y[1][y[1] == 1] = 0
    with pytest.raises(ValueError, match="training set 1 holds no patient of class 1"):
        multinomial_probe(x, y, 1.0)
    with pytest.raises(ValueError, match="labels reach from -1 to 1; expected whole numbers|0 or"):
        multinomial_probe(x, y - 1, 1.0)
    with pytest.raises(ValueError, match="each must be positive"):
        multinomial_probe(x, y, 0.0)
