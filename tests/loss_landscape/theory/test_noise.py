"""Oracles: every batch written out, Monte Carlo, the iterations themselves, torch's Adam."""

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medxfer_lab.loss_landscape.theory import descent, noise

law = settings(max_examples=30, deadline=None)


@pytest.mark.parametrize("batch", [1, 2, 4])
def test_at_the_mean_square_edge_a_step_changes_nothing_on_average(batch):
    """All 4^b batches of four images, each as likely as the other."""
    curves = np.array([0.2, 1.0, 1.5, 5.0])
    edge = noise.mean_square_edge(curves.mean(), curves.std(), batch)
    means = np.array([np.mean(drawn) for drawn in product(curves, repeat=batch)])
    assert np.mean((1 - edge * means) ** 2) == pytest.approx(1)
    assert np.mean((1 - 0.9 * edge * means) ** 2) < 1 < np.mean((1 - 1.1 * edge * means) ** 2)


def test_the_mean_square_edge_in_simulation():
    """2e5 starts, three steps: E delta^2 = factor^3, within four standard errors."""
    rng = np.random.default_rng(0)
    h, s, batch = 2.0, 3.0, 4
    for share in (0.7, 1.0, 1.2):
        eta = share * noise.mean_square_edge(h, s, batch)
        drawn = h + s / np.sqrt(batch) * rng.normal(size=(200_000, 3))
        squares = ((1 - eta * drawn) ** 2).prod(axis=1)
        expected = ((1 - eta * h) ** 2 + eta**2 * s**2 / batch) ** 3
        assert abs(squares.mean() - expected) < 4 * squares.std() / np.sqrt(len(squares))
        assert np.sign(expected - 1) == pytest.approx(np.sign(share - 1)) or share == 1


def test_beyond_the_mean_square_edge_a_typical_path_may_still_shrink():
    h, s = 1.0, 2.0
    eta = 1.1 * noise.mean_square_edge(h, s, 1)
    factors = 1 - eta * (h + s * np.array([-1.0, 1.0]))  # two images
    assert np.mean(factors**2) > 1 and np.mean(np.log(np.abs(factors))) < 0


def test_the_batch_edge_from_proportional_to_the_full_batchs():
    edges = [noise.mean_square_edge(2.0, 30.0, b) for b in (1, 2, 10**9)]
    assert edges[1] / edges[0] == pytest.approx(2, rel=0.01)
    assert edges[2] == pytest.approx(descent.stable_step(2.0))
    assert noise.mean_square_edge(2.0, 0.0, 1) == descent.stable_step(2.0)


@pytest.mark.parametrize("beta", [0.0, 0.5, 0.9])
def test_the_edge_of_averaged_momentum_by_walking(beta):
    edge = noise.adam_edge(3.0, beta)
    for factor, settles in ((0.97, True), (1.03, False)):
        delta, mean = 1.0, 0.0
        for _ in range(400):
            mean = beta * mean + (1 - beta) * 3.0 * delta
            delta -= factor * edge * mean
        assert (abs(delta) < 1e-6) == settles and (abs(delta) > 1e6) == (not settles)
    assert noise.adam_edge(1.0) == pytest.approx(38)
    assert np.allclose(noise.adam_edge([1.0, 2.0]), [38, 19])


def test_the_edge_of_torchs_adam_with_a_settled_preconditioner():
    """beta2 = 1 - 1e-12 keeps the v it is given; from the top direction, 3 % below and above."""
    rng = np.random.default_rng(2)
    features = rng.normal(size=(6, 3)) * [1.0, 10.0, 0.1]
    h, v = features.T @ features / 6, np.array([0.04, 9.0, 1e-4])
    curves, vectors = np.linalg.eigh(noise.preconditioned(h, v))
    edge, matrix = noise.adam_edge(curves[-1]), torch.tensor(h)
    for factor in (0.97, 1.03):
        delta = torch.tensor(vectors[:, -1] / v**0.25, requires_grad=True)
        adam = torch.optim.Adam([delta], lr=factor * edge, betas=(0.9, 1 - 1e-12))
        state = {"step": torch.tensor(1e15), "exp_avg": torch.zeros(3, dtype=torch.float64)}
        adam.state[delta] = state | {"exp_avg_sq": torch.tensor(v)}
        losses = []
        for _ in range(100):
            loss = delta @ matrix @ delta / 2
            adam.zero_grad()
            loss.backward()
            adam.step()
            losses.append(loss.item())
        if factor < 1:
            assert losses[-1] < 1e-3 * losses[0]
        else:  # far out the squares of the gradients do change v
            assert max(losses) > 1e3 * losses[0]


@law
@given(st.integers(0, 10_000), st.floats(0.01, 100))
def test_adam_sees_units_once_where_descent_sees_them_twice(seed, factor):
    rng = np.random.default_rng(seed)
    features, gradients = rng.normal(size=(5, 3)), rng.normal(size=(9, 3))
    here, there = (
        noise.preconditioned(f.T @ f, (g**2).mean(0), 0.0)
        for f, g in ((features, gradients), (features / factor, gradients / factor))
    )
    assert np.allclose(there, here / factor)


def test_preconditioned_has_the_eigenvalues_of_p_inverse_h():
    rng = np.random.default_rng(4)
    features, v = rng.normal(size=(5, 3)), rng.uniform(size=3)
    h = features.T @ features
    got = np.linalg.eigvalsh(noise.preconditioned(h, v, 0.1))
    assert np.allclose(got, np.sort(np.linalg.eigvals(h / (np.sqrt(v) + 0.1)[:, None]).real))


@law
@given(st.floats(-2, 2), st.floats(-2, 2), st.floats(0.1, 5))
def test_a_step_of_the_catapult_by_autograd_and_in_output_and_curvature(u, v, relative):
    if u**2 + v**2 < 1e-3:
        return
    step = relative / (u**2 + v**2)
    start = torch.tensor([u, v], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad((start.prod() ** 2) / 2, start)
    path = noise.catapult(u, v, step, 1)
    assert np.allclose(path[1], (start - step * gradient).detach())
    f, curvature = path.prod(axis=1), (path**2).sum(axis=1)
    assert np.isclose(f[1], f[0] * (1 - step * curvature[0] + step**2 * f[0] ** 2))
    assert np.isclose(curvature[1], curvature[0] + step * f[0] ** 2 * (step * curvature[0] - 4))
    at_minimum = torch.tensor([0.0, v], dtype=torch.float64)
    hessian = torch.autograd.functional.hessian(lambda p: (p.prod() ** 2) / 2, at_minimum)
    assert np.isclose(np.linalg.eigvalsh(hessian)[-1], v**2)


@law
@given(st.floats(1e-3, 1.0), st.floats(0.1, 1.0), st.floats(0.05, 3.9))
def test_below_four_over_the_curvature_it_always_comes_down_where_it_is_flatter(u, v, relative):
    start = u**2 + v**2
    path = noise.catapult(u, v, relative / start, 4000)
    loss, curvature = path.prod(axis=1) ** 2 / 2, (path**2).sum(axis=1)
    assert (np.diff(curvature) <= 1e-12).all()
    # the sum of eta f^2 (4 - eta lambda_0) is at most what curvature there was to lose
    assert 2 * loss.sum() * relative / start * (4 - relative) <= start * (1 + 1e-9)
    assert loss[-1] < 1e-4 * start**2
    assert curvature[-1] <= 2 / (relative / start) * 1.02


def test_catapult_and_what_lies_on_either_side():
    """Sharp valley, output .01: descends, leaves and comes back flatter, is lost."""
    u, v = 0.005, 2.0
    curvature = u**2 + v**2
    losses, curves = {}, {}
    for relative in (1.5, 3.0):
        path = noise.catapult(u, v, relative / curvature, 300)
        losses[relative], curves[relative] = path.prod(1) ** 2 / 2, (path**2).sum(1)
    assert (np.diff(losses[1.5]) <= 0).all() and curves[1.5][-1] > 0.999 * curvature
    assert losses[3.0].max() > 1e3 * losses[3.0][0] and losses[3.0][-1] < 1e-12
    assert curves[3.0][-1] <= 2 / 3 * curvature
    assert not np.isfinite(noise.catapult(u, v, 4.2 / curvature, 300)[-1]).any()


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="curvature is 0"):
        noise.mean_square_edge(0.0, 1.0, 1)
    with pytest.raises(ValueError, match="batch is 0"):
        noise.mean_square_edge(1.0, 1.0, 0)
    with pytest.raises(ValueError, match="preconditioned_curvature is -1"):
        noise.adam_edge([1.0, -1.0])
    with pytest.raises(ValueError, match="beta1 is 1"):
        noise.adam_edge(1.0, 1.0)
    with pytest.raises(ValueError, match="pass a positive epsilon"):
        noise.preconditioned(np.eye(2), [1, 0], 0.0)
    with pytest.raises(ValueError, match="second_moment reaches -1"):
        noise.preconditioned(np.eye(2), [1, -1])
    with pytest.raises(ValueError, match="second_moment 3"):
        noise.preconditioned(np.eye(2), [1, 1, 1])
    with pytest.raises(ValueError, match="step is 0"):
        noise.catapult(1, 1, 0.0, 1)
