"""Logistic heads against a tightly converged scikit-learn, and against their own definition."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medxfer_lab.training.heads.logistic import probe
from tests.training.heads.sets_for_tests import gradient, problem, sklearn_head


@pytest.mark.parametrize(("n", "d"), [(20, 60), (60, 8), (40, 40), (120, 300)])
@pytest.mark.parametrize("strength", [10.0, 0.1, 1e-3])
def test_equals_scikit_learn(n, d, strength):
    x, y = problem(n, d, seed=n + d)
    heads = probe(x[0], y[0], strength)
    weights, intercept = sklearn_head(x[0], y[0], strength)
    assert heads.weights.shape == (1, 1, d) and heads.weights.dtype == torch.float64
    np.testing.assert_allclose(heads.weights[0, 0], weights[0], rtol=0, atol=1e-6)
    np.testing.assert_allclose(heads.intercepts[0], intercept, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("n", "d"), [(30, 90), (90, 10)])
@pytest.mark.parametrize("space", ["kernel", "primal"])
def test_objective_is_stationary_in_the_weights_themselves(n, d, space):
    """The gradient of the stated objective, by autograd in the d weights, vanishes."""
    x, y = problem(n, d, m=4, seed=3)
    heads = probe(x, y, (0.5, 0.02), space=space)
    # the tolerance a patient, times the mean size of a feature, which its root mean square bounds
    spread = float(x.square().mean(1).max().sqrt())
    for k, strength in enumerate(heads.strengths):
        for m in range(4):
            of_w, of_b = gradient(x[m], y[m], strength, heads.weights[k, m], heads.intercepts[k, m])
            assert of_w.abs().max() < 1e-10 * spread * 1.01 and of_b.abs() < 2e-10


@pytest.mark.parametrize(("n", "d"), [(20, 60), (60, 8), (40, 40)])
@pytest.mark.parametrize("strength", [10.0, 0.1, 1e-3])
def test_both_spaces_reach_the_same_head(n, d, strength):
    x, y = problem(n, d, m=3, seed=n)
    kernel = probe(x, y, strength, space="kernel", tolerance=1e-12)
    primal = probe(x, y, strength, space="primal", tolerance=1e-12)
    torch.testing.assert_close(kernel.weights, primal.weights, rtol=0, atol=1e-8)
    torch.testing.assert_close(kernel.intercepts, primal.intercepts, rtol=0, atol=1e-8)


@pytest.mark.parametrize("space", ["kernel", "primal"])
def test_a_far_origin_of_the_features_moves_the_intercept_alone(space):
    """Single precision may steer, never decide: at an offset of 300 it keeps few digits."""
    x, y = problem(30, 60, seed=1)
    for strength in (10.0, 0.1, 1e-3):
        near = probe(x, y, strength, space=space, tolerance=1e-12)
        far = probe(x + 300, y, strength, space=space, tolerance=1e-12)
        torch.testing.assert_close(far.weights, near.weights, rtol=0, atol=1e-7)


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
    weights, _ = sklearn_head(x[0], y[0], 1e-4)
    np.testing.assert_allclose(heads.weights[0, 0], weights[0], rtol=0, atol=1e-6)


def test_features_of_a_network_that_still_learns():
    """A head is a number, not a part of the graph: nothing is kept for a backward pass."""
    x, y = problem(20, 30, seed=2)
    heads = probe(x.clone().requires_grad_(), y, 0.1)
    assert not heads.weights.requires_grad
    torch.testing.assert_close(heads.weights, probe(x, y, 0.1).weights, rtol=0, atol=0)


def test_labels_of_any_type():
    x, y = problem(20, 30, seed=2)
    expected = probe(x, y, 0.1)
    for labels in (y.float(), y.long(), y.bool(), y.to(torch.uint8)):
        torch.testing.assert_close(probe(x, labels, 0.1).weights, expected.weights)
    half = probe(x.half(), y, 0.1)  # stored in half precision, solved in float64
    exact = probe(x.half().double(), y, 0.1)
    torch.testing.assert_close(half.weights, exact.weights, rtol=0, atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(6, 30),
    d=st.integers(1, 30),
    seed=st.integers(0, 2**20),
    strength=st.sampled_from([3.0, 0.3, 0.01]),
    space=st.sampled_from(["kernel", "primal"]),
)
def test_laws_of_the_objective(n, d, seed, strength, space):
    """Patients in another order, each twice, or a feature's other origin: the same head."""
    x, y = (t[0] for t in problem(n, d, seed=seed))
    fit = {"space": space, "tolerance": 1e-12}
    head = probe(x, y, strength, **fit)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    moved = x.clone()
    moved[:, seed % d] += 2.5
    cases = {
        "permuted": (x[order], y[order], 0.0),
        "doubled": (torch.cat([x, x]), torch.cat([y, y]), 0.0),
        "moved": (moved, y, 2.5 * float(head.weights[0, 0, seed % d])),
    }
    for name, (features, labels, lost) in cases.items():
        other = probe(features, labels, strength, **fit)
        gap = (other.weights - head.weights).abs().max()
        assert gap < 1e-7, f"{name}: weights are {float(gap):g} apart"
        gap = (other.intercepts - (head.intercepts - lost)).abs().max()
        assert gap < 1e-7, f"{name}: intercepts are {float(gap):g} apart"


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


def test_labels_other_than_0_and_1():
    x, y = problem(12, 5, m=2)
    with pytest.raises(
        ValueError, match=r"from -1 to 1; expected 0 or 1.*pass \(labels \+ 1\) / 2"
    ):
        probe(x, 2 * y - 1, 1.0)
    with pytest.raises(ValueError, match="labels reach from 0 to 2; expected 0 or 1$"):
        probe(x, 2 * y, 1.0)
    with pytest.raises(ValueError, match="expected 0 or 1"):
        probe(x, y / 2 + 0.25, 1.0)
    for bad in (float("nan"), float("inf")):
        broken = y.clone()
        broken[1, 3] = bad
        with pytest.raises(ValueError, match="labels hold NaN or infinity; leave those patients"):
            probe(x, broken, 1.0)
    with pytest.raises(ValueError, match=r"labels of a training set have shape \(12, 1\)"):
        probe(x, y[..., None], 1.0)


def test_features_and_space_are_checked():
    x, y = problem(12, 5)
    with pytest.raises(ValueError, match="features are torch.int64; expected floating point"):
        probe(x.long(), y, 1.0)
    with pytest.raises(ValueError, match='space is "?.dual.*expected "kernel", "primal" or None'):
        probe(x, y, 1.0, space="dual")
    x[0, 0, 0] = float("inf")
    with pytest.raises(ValueError, match="features hold NaN or infinity"):
        probe(x, y, 1.0)
