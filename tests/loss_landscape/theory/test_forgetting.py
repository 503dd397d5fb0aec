"""Oracles: autograd (first, second and third derivatives), scikit-learn, the mean over a sphere."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from torch.nn import functional as F  # noqa: N812 (torch's own idiom)

from medxfer_lab.loss_landscape.theory.forgetting import (
    LOGISTIC_THIRD,
    Forgetting,
    LogisticTask,
    eigen_shares,
    forgetting,
    remainder_bound,
    steepness,
)

torch.set_num_threads(1)


def task(seed=0, n=40, d=4):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d)) * rng.uniform(0.3, 3, d)
    y = (rng.uniform(size=n) < expit(x @ rng.normal(size=d) / 2)).astype(float)
    return LogisticTask(x, y), rng.normal(size=d)


def torch_loss(old):
    x, y = torch.from_numpy(old.x), torch.from_numpy(old.y)
    return lambda theta: F.binary_cross_entropy_with_logits(x @ theta, y)


@pytest.mark.parametrize("seed", range(3))
def test_derivatives_are_autograds(seed):
    old, theta = task(seed)
    loss, point = torch_loss(old), torch.from_numpy(theta)
    assert old.loss(theta) == pytest.approx(float(loss(point)), rel=1e-12)
    first = torch.autograd.functional.jacobian(loss, point)
    second = torch.autograd.functional.hessian(loss, point)
    np.testing.assert_allclose(old.gradient(theta), first, rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(old.hessian(theta), second, rtol=1e-10, atol=1e-14)
    each = [torch_loss(LogisticTask(old.x[[i]], old.y[[i]])) for i in range(3)]
    expected = [torch.autograd.functional.jacobian(one, point).numpy() for one in each]
    np.testing.assert_allclose(old.gradients(theta)[:3], expected, rtol=1e-10, atol=1e-14)


def test_no_third_derivative_of_the_logistic_function_is_larger_and_one_is_as_large():
    z = torch.linspace(-6, 6, 2001, dtype=torch.float64, requires_grad=True)
    first = torch.autograd.grad(torch.sigmoid(z).sum(), z, create_graph=True)[0]
    second = torch.autograd.grad(first.sum(), z)[0].abs().max()
    assert LOGISTIC_THIRD * (1 - 1e-4) < float(second) <= LOGISTIC_THIRD


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 1000), st.floats(1e-3, 30))
def test_truth_lies_within_the_remainder(seed, length):
    """Any start, any direction, any length; along the direction the bound is tighter, and holds."""
    old, theta = task(seed)
    direction = np.random.default_rng(seed + 1).normal(size=4)
    delta = length * direction / np.linalg.norm(direction)
    forecast = forgetting(old.gradient(theta), old.hessian(theta), delta)
    gap = abs(old.loss(theta + delta) - old.loss(theta) - forecast.total)
    along = remainder_bound(length, old.third_bound(direction))
    assert gap <= along + 1e-12 <= remainder_bound(length, old.third_bound()) + 2e-12


def test_remainder_is_of_third_order():
    """Half the displacement, an eighth of the error; the bound is met where sigma'' peaks."""
    peak = -np.log(2 + np.sqrt(3))  # sigma'' = 1/(6 sqrt 3) here
    old = LogisticTask([[1.0]], [0.0])
    gaps = []
    for step in (1e-2, 5e-3):
        forecast = forgetting(old.gradient([peak]), old.hessian([peak]), [step])
        gaps.append(old.loss([peak + step]) - old.loss([peak]) - forecast.total)
    assert gaps[0] / gaps[1] == pytest.approx(8, rel=0.01)
    assert gaps[0] == pytest.approx(remainder_bound(1e-2, old.third_bound()), rel=1e-2)


def test_linear_term_vanishes_at_the_minimum_and_only_there():
    old, _ = task(3, n=300)
    ridge, delta = 0.05, np.array([0.1, -0.2, 0.05, 0.3])
    at_minimum = forgetting(old.gradient(old.minimum()), old.hessian(old.minimum()), delta)
    assert abs(at_minimum.linear) < 1e-10 and at_minimum.quadratic > 0
    decayed = old.minimum(ridge)
    linear = forgetting(old.gradient(decayed), old.hessian(decayed), delta).linear
    assert linear == pytest.approx(-ridge * decayed @ delta, rel=1e-9) and abs(linear) > 1e-4


@pytest.mark.parametrize("ridge", [0.02, 1.0])
def test_minimum_is_scikit_learns(ridge):
    old, _ = task(5, n=80)
    model = LogisticRegression(C=1 / (ridge * 80), fit_intercept=False, tol=1e-10, max_iter=1000)
    np.testing.assert_allclose(
        old.minimum(ridge), model.fit(old.x, old.y).coef_[0], rtol=1e-5, atol=1e-7
    )


def test_several_displacements_are_each_its_own():
    old, theta = task()
    g, H = old.gradient(theta), old.hessian(theta)
    deltas = np.random.default_rng(2).normal(size=(5, 4))
    found = forgetting(g, H, deltas)
    each = [forgetting(g, H, delta) for delta in deltas]
    np.testing.assert_allclose(found.linear, [e.linear for e in each])
    np.testing.assert_allclose(found.quadratic, [e.quadratic for e in each])
    assert isinstance(each[0].total, float) and Forgetting(-1.0, 3.0).total == 2


def test_shares_and_steepness_of_eigenvectors():
    old, theta = task()
    values, vectors = np.linalg.eigh(old.hessian(theta))
    v = 2 * vectors[:, 1] - vectors[:, 3]
    np.testing.assert_allclose(eigen_shares(v, vectors), [0, 0.8, 0, 0.2], atol=1e-12)
    for value, vector in zip(values, vectors.T):
        steep = steepness(3 * vector, old.hessian(theta))
        assert steep == pytest.approx(value / values.mean(), rel=1e-9)
    shares = eigen_shares(theta, vectors)
    assert shares.sum() == pytest.approx(1)
    assert steepness(theta, old.hessian(theta)) == pytest.approx(shares @ values / values.mean())


def test_a_random_direction_has_steepness_one():
    old, theta = task()
    H, draws = old.hessian(theta), np.random.default_rng(0).normal(size=(4000, 4))
    found = np.array([steepness(v, H) for v in draws])
    assert abs(found.mean() - 1) < 4 * found.std() / np.sqrt(len(found))


def test_what_is_refused():
    old, theta = task()
    H, g = old.hessian(theta), old.gradient(theta)
    for call, words in (
        (lambda: LogisticTask([[1.0], [2.0]], [0.0]), "must be equal"),
        (lambda: LogisticTask([[1.0]], [2.0]), "labels in"),
        (lambda: old.loss([1.0, 2.0]), "expected 4 parameters"),
        (lambda: LogisticTask([[1.0], [-1.0]], [1.0, 0.0]).minimum(), "separate"),
        (lambda: old.minimum(-1.0), "ridge is"),
        (lambda: old.third_bound([0.0] * 4), "no direction"),
        (lambda: forgetting(g, np.triu(H), theta), "not symmetric"),
        (lambda: forgetting(g[:3], H, theta), "gradient has shape"),
        (lambda: forgetting(g, H, theta[:3]), "delta has shape"),
        (lambda: forgetting(g, H, theta * np.nan), "NaN"),
        (lambda: remainder_bound(-1.0, 1.0), "distance is -1"),
        (lambda: remainder_bound(1.0, -1.0), "third is"),
        (lambda: eigen_shares(np.zeros(4), np.eye(4)), "no direction"),
        (lambda: eigen_shares(theta, 2 * np.eye(4)), "orthonormal"),
        (lambda: steepness(theta, -H), "trace is"),
        (lambda: steepness(theta[:2], H), "vector has shape"),
    ):
        with pytest.raises(ValueError, match=words):
            call()
