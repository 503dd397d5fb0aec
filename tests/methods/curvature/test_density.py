"""Oracles: dense eigenvalues, and the variance of a quadratic form on the sphere."""

import math

import numpy as np
import pytest
import torch

from medxfer_lab.methods.curvature import (
    SpectralDensity,
    gauss_newton_operator,
    hessian_operator,
    spectral_density,
)
from tests.methods.curvature.cases import (
    NAMES,
    case,
    dense_gauss_newton,
    dense_hessian,
    symmetric,
)

torch.set_num_threads(1)
VALUES = np.concatenate([np.linspace(-1, 1, 35), [3.0, 3.2, 6.0, -2.0, 0.0]])


def product_of(matrix):
    return lambda v: matrix @ v


def form_deviation(f, starts):
    """Of the mean over starts of q' F q, F symmetric with eigenvalues f (d,), q on the sphere:
    var = 2 (mean f^2 - (mean f)^2) / (d + 2), from E[q_i^4] = 3 / (d (d + 2))."""
    return math.sqrt(2 * np.var(f) / (len(f) + 2) / starts)


def smoothed(values, grid, width):
    """(len(values), g): each eigenvalue's bump on the grid, by definition."""
    z = (np.asarray(grid)[None] - np.asarray(values)[:, None]) / width
    return np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi) / width


def test_moments_are_those_of_the_eigenvalues():
    found = spectral_density(product_of(symmetric(VALUES)), 40, starts=150, steps=4, seed=0)
    assert found.nodes.shape == found.weights.shape == (150, 4)
    np.testing.assert_allclose(found.weights.sum(1), 1, rtol=0, atol=1e-12)
    for k in range(8):  # degree 2 * 4 - 1 is the last that the rule knows exactly
        deviation = form_deviation(VALUES**k, 150)
        assert abs(found.moment(k) - (VALUES**k).mean()) <= 4 * deviation + 1e-12
        if k:  # a sample deviation of 150, heavy tails: within half
            assert found.standard_error(k) == pytest.approx(deviation, rel=0.5)


def test_the_density_is_the_smoothed_eigenvalues():
    """At every point within 4.5 deviations by theory; all steps, so the quadrature is exact."""
    matrix, grid, width = symmetric(VALUES), np.linspace(-4, 8, 60), 0.4
    found = spectral_density(product_of(matrix), 40, starts=60, steps=40, seed=1)
    exact = smoothed(VALUES, grid, width)
    gap = np.abs(found.density(grid, width) - exact.mean(0))
    allowed = [4.5 * form_deviation(exact[:, i], 60) for i in range(len(grid))]
    assert (gap <= allowed).all()
    # it could fail: the density of other eigenvalues is farther away
    other = smoothed(VALUES * 0.8, grid, width).mean(0)
    assert (np.abs(found.density(grid, width) - other) > allowed).any()


def test_a_smooth_question_takes_few_steps():
    """Same starts, 12 steps and 40: a Gaussian as wide as this is nearly a polynomial."""
    matrix, grid = symmetric(VALUES), np.linspace(-4, 8, 30)
    few, all_ = (spectral_density(product_of(matrix), 40, 5, m, seed=2) for m in (12, 40))
    gap = np.abs(few.density(grid, 2.0) - all_.density(grid, 2.0)).max()
    assert gap < 1e-6 < np.abs(few.density(grid, 0.05) - all_.density(grid, 0.05)).max()


def test_it_integrates_to_one():
    found = spectral_density(product_of(symmetric(VALUES)), 40, 3, 10, seed=3)
    grid = np.linspace(-12, 16, 4001)
    assert np.trapezoid(found.density(grid, 0.5), grid) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_a_network_s_matrices(name):
    """All steps from one start: every node is an eigenvalue, weights are squared components."""
    c = case(name)
    pairs = (
        (hessian_operator(c.network, c.inputs, c.labels), dense_hessian(c)),
        (gauss_newton_operator(c.network, c.inputs), dense_gauss_newton(c)),
    )
    for operator, dense in pairs:
        d = operator.dimension
        found = spectral_density(operator, d, 1, d, seed=0)
        exact = np.linalg.eigvalsh(dense.numpy())
        kept = found.weights[0] > 1e-12
        gaps = np.abs(found.nodes[0, kept][:, None] - exact).min(1)
        assert gaps.max() < 1e-8 * np.abs(exact).max()
        many = spectral_density(operator, d, 30, 2, seed=0)
        for k in (1, 2):
            assert abs(many.moment(k) - (exact**k).mean()) < 4 * form_deviation(exact**k, 30)


def test_directions_that_run_out_weigh_nothing():
    found = spectral_density(lambda v: 2.5 * v, 6, starts=2, steps=3, seed=0)
    assert found.weights == pytest.approx(np.array([[1, 0, 0]] * 2))
    assert found.nodes == pytest.approx(np.full((2, 3), 2.5))
    assert found.moment(3) == pytest.approx(2.5**3) and found.standard_error(2) < 1e-12
    expected = smoothed([2.5], [2.0, 2.5], 0.3)[0]
    np.testing.assert_allclose(found.density([2.0, 2.5], 0.3), expected, rtol=1e-12)


def test_the_seed_decides():
    matrix = product_of(symmetric(VALUES))
    one, same, other = (spectral_density(matrix, 40, 2, 5, seed=s) for s in (1, 1, 2))
    assert (one.nodes == same.nodes).all() and (one.nodes != other.nodes).all()
    assert (one.nodes[0] != one.nodes[1]).all()


def test_bad_input_is_named():
    one = SpectralDensity(np.zeros((1, 2)), np.full((1, 2), 0.5))
    with pytest.raises(ValueError, match="width is 0"):
        one.density([0.0], 0)
    with pytest.raises(ValueError, match="k is -1"):
        one.moment(-1)
    with pytest.raises(ValueError, match="starts is 1; a spread"):
        one.standard_error(1)
    with pytest.raises(ValueError, match="steps is 3, dimension 2"):
        spectral_density(lambda v: v, 2, 1, 3, seed=0)
    with pytest.raises(ValueError, match="starts is 0"):
        spectral_density(lambda v: v, 2, 0, 1, seed=0)
