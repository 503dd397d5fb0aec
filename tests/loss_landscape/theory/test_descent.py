"""Oracles: the iteration itself, numpy's eigenvalues of its matrix, torch's SGD, random draws."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medxfer_lab.loss_landscape.theory import descent

seeds, momenta = st.integers(0, 10_000), st.sampled_from([0.0, 0.5, 0.9])
law = settings(max_examples=30, deadline=None)


def random_psd(rng, d, rank=None, decades=2):
    """A Gram matrix; the scales of the parameters span up to twice `decades`."""
    features = rng.normal(size=(rank or d + 2, d)) * 10 ** rng.uniform(-decades, decades, size=d)
    return features.T @ features / len(features)


def random_blocks(rng, d, count):
    """d indices in random order, cut into `count` blocks that are not empty."""
    cuts = np.sort(rng.choice(np.arange(1, d), count - 1, replace=False))
    return np.split(rng.permutation(d), cuts)


def growth(hessian, steps, momentum):
    """Spectral radius of (delta_t, delta_(t-1)) -> (delta_(t+1), delta_t), by numpy."""
    d = len(hessian)
    eye, rates = np.eye(d), np.broadcast_to(steps, d)
    first = (1 + momentum) * eye - rates[:, None] * hessian
    return abs(np.linalg.eigvals(np.block([[first, -momentum * eye], [eye, 0 * eye]]))).max()


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_below_the_edge_it_settles_and_above_it_leaves(momentum):
    edge = descent.stable_step(3.0, momentum)
    assert edge == pytest.approx(2 * (1 + momentum) / 3)
    for factor, settles in ((0.97, True), (1.03, False)):
        path = descent.descend([[3.0]], [0.0], factor * edge, 400, momentum, [1.0])[:, 0]
        assert (abs(path[-1]) < 1e-6) == settles and (abs(path[-1]) > 1e6) == (not settles)
    at_edge = abs(descent.descend([[3.0]], [0.0], edge, 400, momentum, [1.0])[:, 0])
    assert (
        at_edge[-1] == pytest.approx(at_edge[-2], rel=1e-6) and at_edge[-1] >= 1 - 1e-6
    )  # neither
    many = descent.stable_step([3.0, 0.0], momentum)
    assert many.tolist() == [edge, np.inf]


@law
@given(seeds, momenta, st.floats(0.05, 3.0))
def test_stability_is_what_the_spectral_radius_says(seed, momentum, factor):
    rng = np.random.default_rng(seed)
    h = random_psd(rng, 4)
    steps = factor * descent.block_steps(h, random_blocks(rng, 4, 2))
    radius = growth(h, steps, momentum)
    if abs(radius - 1) > 1e-7:  # eigenvalues of a matrix that is not symmetric carry rounding
        assert descent.is_stable(h, steps, momentum) == (radius < 1)
    edge = descent.joint_edge(h, steps, momentum)
    assert descent.is_stable(h, 0.999 * edge * steps, momentum)
    assert not descent.is_stable(h, 1.001 * edge * steps, momentum)
    assert growth(h, 1.001 * edge * steps, momentum) > 1


def test_the_path_is_that_of_torch():
    rng = np.random.default_rng(0)
    h, g, start = random_psd(rng, 3), rng.normal(size=3), rng.normal(size=3)
    steps = 0.3 * descent.block_steps(h, [[0], [1, 2]])
    path = descent.descend(h, g, steps, 25, 0.8, start)
    delta = [torch.tensor(start[i : i + 1], requires_grad=True) for i in range(3)]
    groups = [{"params": [p], "lr": step} for p, step in zip(delta, steps)]
    optimizer = torch.optim.SGD(groups, lr=1.0, momentum=0.8)
    for t in range(25):
        whole = torch.cat(delta)
        assert np.allclose(whole.detach(), path[t], rtol=1e-9)
        loss = torch.tensor(g) @ whole + whole @ torch.tensor(h) @ whole / 2
        expected = descent.quadratic_loss(h, g, path[t])
        assert loss.item() == pytest.approx(float(expected), rel=1e-9)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    losses = descent.quadratic_loss(h, g, path)
    assert losses.shape == (26,) and losses[3] == descent.quadratic_loss(h, g, path[3])
    assert descent.descend(h, g, steps, 0).tolist() == [[0, 0, 0]]


def test_flat_and_frozen_directions_stand_still_and_downward_ones_never_hold():
    flat = np.diag([2.0, 0.0])
    assert descent.is_stable(flat, 0.9) and not descent.is_stable(flat, 1.1)
    assert descent.is_stable(flat, [0.9, 1e6])
    end = descent.descend(flat, [0, 0], 0.9, 50, start=[1, 1])[-1]
    assert end[0] == pytest.approx(0.8**50) and end[1] == 1
    saddle = np.diag([2.0, -1e-3])
    assert not descent.is_stable(saddle, 1e-6)
    assert descent.joint_edge(saddle, 1.0) == 1
    assert descent.is_stable(saddle, [0.5, 0.0])
    assert descent.joint_edge(np.zeros((2, 2)), 1.0) == np.inf == descent.joint_edge(saddle, 0.0)


@law
@given(seeds, st.integers(2, 4), momenta)
def test_one_bth_of_every_blocks_own_edge_is_safe_jointly(seed, count, momentum):
    """For random rank, scales, blocks and shares that sum to less than 1."""
    rng = np.random.default_rng(seed)
    h = random_psd(rng, 7, rank=int(rng.integers(1, 10)))
    blocks = random_blocks(rng, 7, count)
    steps = descent.block_steps(h, blocks)
    assert 1 / count - 1e-9 <= descent.joint_edge(h, steps) <= 1 + 1e-9
    assert descent.is_stable(h, 0.999 / count * (1 + momentum) * steps, momentum)
    shares = 0.999 * (1 + momentum) * rng.dirichlet(np.ones(count))
    assert descent.is_stable(h, descent.block_steps(h, blocks, shares), momentum)
    assert not descent.is_stable(h, 1.001 * (1 + momentum) * steps, momentum)


@law
@given(seeds, st.integers(2, 4))
def test_one_rate_for_all_is_safe_below_two_over_the_sum(seed, count):
    rng = np.random.default_rng(seed)
    h = random_psd(rng, 7)
    curves = descent.block_curvatures(h, random_blocks(rng, 7, count))
    edge = descent.joint_edge(h, 1.0)
    assert 2 / curves.sum() * (1 - 1e-9) <= edge <= (2 / curves).min() * (1 + 1e-9)
    assert descent.is_stable(h, 0.999 * 2 / curves.sum())


def test_rates_that_hold_for_each_block_alone_may_diverge_together():
    """Three blocks of two parameters; nine tenths of the own edge each, then a third of that."""
    h = random_psd(np.random.default_rng(3), 6, rank=2)
    blocks = [[0, 3], [1, 4], [2, 5]]
    steps = descent.block_steps(h, blocks, 0.9)
    start = np.linalg.eigh(h)[1][:, -1]
    for block in blocks:
        alone = np.zeros(6)
        alone[block] = steps[block]
        assert descent.is_stable(h, alone)
        losses = descent.quadratic_loss(
            h, np.zeros(6), descent.descend(h, [0] * 6, alone, 40, 0.0, start)
        )
        assert (np.diff(losses) <= 1e-9 * losses[0]).all()
    together = descent.descend(h, np.zeros(6), steps, 40, start=start)
    assert descent.quadratic_loss(h, np.zeros(6), together[-1]) > 1e6
    assert growth(h, steps, 0.0) > 1 > growth_off_flat(h, steps / 3)


def growth_off_flat(hessian, steps):
    """Largest |1 - s| over the eigenvalues s of DH that are not 0, by numpy."""
    s = np.linalg.eigvals(steps[:, None] * hessian)
    return abs(1 - s[abs(s) > 1e-8]).max()


@pytest.mark.parametrize("a, b", [(1.0, 1.0), (100.0, 0.3)])
def test_the_bounds_are_met_by_two_blocks_coupled_entirely(a, b):
    for coupling in (-1, 1):
        h = descent.two_block_hessian(a, b, coupling)
        assert descent.joint_edge(h, descent.block_steps(h, [[0], [1]])) == pytest.approx(1 / 2)
        assert descent.joint_edge(h, 1.0) == pytest.approx(2 / (a + b))
    free = descent.two_block_hessian(a, b, 0)
    assert descent.joint_edge(free, descent.block_steps(free, [[0], [1]])) == pytest.approx(1)
    assert descent.joint_edge(free, 1.0) == pytest.approx(min(2 / a, 2 / b))


@law
@given(st.floats(0, 0.999), st.floats(-1, 1), st.floats(0.1, 10), st.floats(0.1, 10))
def test_the_boundary_of_the_two_block_region_is_the_joint_edge(p, coupling, a, b):
    q = float(descent.two_block_edge(p, coupling))
    h = descent.two_block_hessian(a, b, coupling)
    steps = descent.block_steps(h, [[0], [1]], [p, q])
    assert descent.joint_edge(h, steps) == pytest.approx(1, abs=1e-9)
    assert descent.two_block_edge([0, 1], 0.0).tolist() == [1, 1]


@law
@given(seeds, st.integers(2, 4))
def test_rates_by_curvature_are_within_the_number_of_blocks_of_the_best(seed, count):
    """Against 60 random choices of one rate per block, each over four decades."""
    rng = np.random.default_rng(seed)
    h, blocks = random_psd(rng, 6, decades=0.5), random_blocks(rng, 6, count)
    matched = descent.condition_number(h, descent.block_steps(h, blocks), rtol=1e-14)
    rivals = [descent.block_steps(h, blocks, 10 ** rng.uniform(-2, 2, count)) for _ in range(60)]
    best = min(descent.condition_number(h, steps, 1e-14) for steps in (np.ones(6), *rivals))
    assert matched <= count * best * (1 + 1e-6)


def test_rates_by_curvature_can_be_worse_than_one_rate_for_all():
    h = np.array([[1.0, 3, 2], [3, 14, 9], [2, 9, 6]])
    matched = descent.condition_number(h, descent.block_steps(h, [[0], [1, 2]]))
    assert 1.5 * np.linalg.cond(h) < matched < 2 * np.linalg.cond(h)


def test_condition_numbers_and_the_steps_they_cost():
    rng = np.random.default_rng(1)
    h = random_psd(rng, 5)
    steps = np.exp(rng.normal(size=5))
    roots = np.sort(np.linalg.eigvals(steps[:, None] * h).real)
    assert descent.condition_number(h, steps) == pytest.approx(roots[-1] / roots[0], rel=1e-6)
    assert descent.condition_number(h) == pytest.approx(np.linalg.cond(h), rel=1e-6)
    assert descent.condition_number(np.diag([8.0, 2.0, 0.0])) == pytest.approx(4)
    assert descent.condition_number(np.diag([8.0, 2.0]), [1, 4]) == pytest.approx(1)


@pytest.mark.parametrize("condition", [1.0, 1.5, 30.0])
def test_iterations_by_walking(condition):
    """Both extreme directions, so the distance shrinks by the slowest rate at each step."""
    n = descent.iterations(condition, 1e-3)
    h = np.diag([condition, 1.0])
    path = descent.descend(h, [0, 0], 2 / (condition + 1), n, start=[1.0, 1.0])
    distance = np.linalg.norm(path, axis=1) / np.sqrt(2)
    assert distance[n] <= 1e-3 < distance[n - 1]
    assert descent.iterations(1e12, 0.1) == pytest.approx(5e11 * np.log(10), rel=1e-6)
    assert descent.iterations(30.0, 1.0) == 0


def test_bad_input_is_named():
    h = np.eye(2)
    with pytest.raises(ValueError, match="curvature is -1"):
        descent.stable_step(-1)
    with pytest.raises(ValueError, match="momentum is 1"):
        descent.joint_edge(h, 1.0, 1)
    with pytest.raises(ValueError, match="differs from its transpose by 1"):
        descent.is_stable([[1, 1], [0, 1]], 1.0)
    with pytest.raises(ValueError, match=r"expected \(d, d\)"):
        descent.symmetric(np.ones((2, 3)))
    with pytest.raises(ValueError, match="one rate of at least 0, or 2"):
        descent.descend(h, [0, 0], [1, 1, 1], 1)
    with pytest.raises(ValueError, match="least value -1"):
        descent.is_stable(h, -1)
    for blocks in ([[0]], [[0, 1], [1]], [[0, 1], []], [[0], [2]], []):
        with pytest.raises(ValueError, match="each of 0 to 1 in exactly one block"):
            descent.block_curvatures(h, blocks)
    with pytest.raises(ValueError, match="block 1 has top curvature 0"):
        descent.block_steps(np.diag([1.0, 0]), [[0], [1]])
    with pytest.raises(ValueError, match="expected one or 2 numbers"):
        descent.block_steps(h, [[0], [1]], [1, 1, 1])
    with pytest.raises(ValueError, match="coupling is 1.1"):
        descent.two_block_hessian(1, 1, 1.1)
    with pytest.raises(ValueError, match="beyond 1 block a diverges"):
        descent.two_block_edge(1.2, 0.5)
    with pytest.raises(ValueError, match="use the Gauss-Newton"):
        descent.condition_number(np.diag([1.0, -1]))
    with pytest.raises(ValueError, match="condition is 0.5"):
        descent.iterations(0.5, 0.1)
    with pytest.raises(ValueError, match="delta has length 3 and gradient 2"):
        descent.quadratic_loss(h, [0, 0], [1, 2, 3])
