"""Oracles: the dense eigendecomposition; matrices whose eigenvalues are chosen."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medxfer_lab.methods.curvature import (
    gauss_newton_operator,
    hessian_operator,
    lanczos,
    top_eigenvalues,
)
from tests.methods.curvature.cases import (
    NAMES,
    case,
    dense_gauss_newton,
    dense_hessian,
    symmetric,
)

torch.set_num_threads(1)


def product_of(matrix):
    return lambda v: matrix @ v


@pytest.mark.parametrize("name", NAMES)
def test_all_steps_give_all_eigenvalues_of_a_hessian(name):
    c = case(name)
    operator = hessian_operator(c.network, c.inputs, c.labels)
    d = operator.dimension
    found = lanczos(operator, d, d, seed=0)
    exact = np.linalg.eigvalsh(dense_hessian(c).numpy())
    # a flat direction repeats the eigenvalue 0, and one start sees it once: fewer may come back
    gaps = np.abs(found.ritz_values[:, None] - exact).min(1)
    assert gaps.max() < 1e-10 * np.abs(exact).max()
    assert found.ritz_values[[0, -1]] == pytest.approx(exact[[-1, 0]], rel=1e-10)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), d=st.integers(2, 40), data=st.data())
def test_what_the_process_promises(seed, d, data):
    """Q A Q' = T, Q Q' = I, the residual bound is the residual, and Cauchy interlacing."""
    m = data.draw(st.integers(1, d))
    values = np.random.default_rng(seed).normal(size=d)
    matrix = symmetric(torch.from_numpy(values), seed)
    found = lanczos(product_of(matrix), d, m, seed=seed)
    q, m = found.basis, len(found.diagonal)
    torch.testing.assert_close(q @ q.T, torch.eye(m, dtype=torch.float64), rtol=0, atol=1e-12)
    projected = (q @ matrix @ q.T).numpy()
    np.testing.assert_allclose(projected, found.tridiagonal, rtol=0, atol=1e-11)
    y = found.ritz_vectors
    residual = (y @ matrix - torch.from_numpy(found.ritz_values)[:, None] * y).norm(dim=1)
    np.testing.assert_allclose(residual.numpy(), found.residual_bounds, rtol=0, atol=1e-11)
    exact = np.sort(values)[::-1]
    assert (found.ritz_values <= exact[:m] + 1e-11).all()
    assert (found.ritz_values >= exact[d - m :] - 1e-11).all()


def test_without_reorthogonalising_found_eigenvalues_come_back_as_ghosts():
    values = torch.cat([torch.linspace(0, 1, 199), torch.tensor([10.0])]).double()
    matrix = symmetric(values)
    with_it = lanczos(product_of(matrix), 200, 80, seed=0)
    without = lanczos(product_of(matrix), 200, 80, seed=0, reorthogonalise=False)
    assert (with_it.ritz_values > 5).sum() == 1
    assert (without.ritz_values > 5).sum() > 1
    loss = (without.basis @ without.basis.T - torch.eye(80, dtype=torch.float64)).abs().max()
    assert loss > 0.1


def test_weights_are_gauss_quadrature():
    """sum_j w_j theta_j^k = q_1' A^k q_1, exact up to the power 2m - 1."""
    matrix, m = symmetric(torch.linspace(-1, 2, 30).double()), 4
    found = lanczos(product_of(matrix), 30, m, seed=2)
    v = q = found.basis[0]
    for power in range(2 * m + 1):
        moment = float(q @ v)
        estimate = float((found.weights * found.ritz_values**power).sum())
        assert (estimate == pytest.approx(moment, rel=1e-11)) == (power < 2 * m)
        v = matrix @ v


def test_a_start_can_be_given():
    """Its direction is q_1; a seed's own start, given back, makes the same steps."""
    matrix = symmetric(torch.linspace(-1, 2, 30).double())
    drawn = lanczos(product_of(matrix), 30, 6, seed=4)
    given = lanczos(product_of(matrix), 30, 6, start=-7 * drawn.basis[0])
    torch.testing.assert_close(given.basis[0], -drawn.basis[0], rtol=0, atol=1e-15)
    np.testing.assert_allclose(given.tridiagonal, drawn.tridiagonal, rtol=0, atol=1e-12)
    values, vectors = torch.linalg.eigh(matrix)
    pair = vectors[:, 3] + 2 * vectors[:, 20]  # two directions hold it: two steps end it
    found = lanczos(product_of(matrix), 30, 6, start=pair)
    assert found.ritz_values == pytest.approx(values[[20, 3]].numpy(), abs=1e-12)
    assert found.weights == pytest.approx([0.8, 0.2], abs=1e-12)
    ones = torch.ones(30)  # float32 is lifted; one step is the Rayleigh quotient
    first = lanczos(product_of(matrix), 30, 1, start=ones)
    assert first.ritz_values[0] == pytest.approx(float(matrix.sum()) / 30, rel=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_top_eigenvalues_of_both_matrices_of_a_network(name):
    """To 1e-8 of the dense ones, from products alone."""
    c = case(name)
    pairs = (
        (hessian_operator(c.network, c.inputs, c.labels), dense_hessian(c)),
        (gauss_newton_operator(c.network, c.inputs), dense_gauss_newton(c)),
    )
    for operator, dense in pairs:
        exact = np.linalg.eigvalsh(dense.numpy())[::-1][:2]
        top = top_eigenvalues(operator, operator.dimension, 2, seed=0, tolerance=1e-9)
        assert top.values == pytest.approx(exact, rel=1e-8)


def test_a_start_s_directions_can_run_out():
    found = lanczos(product_of(symmetric([3.0, 3.0, 1.0, 1.0, 1.0])), 5, 5, seed=0)
    assert found.ritz_values == pytest.approx([3, 1], abs=1e-12)
    assert found.last == 0 and not found.residual_bounds.any()
    zero = lanczos(lambda v: 0 * v, 4, 3, seed=0)
    assert zero.ritz_values.tolist() == [0.0]


@pytest.mark.parametrize("which, expected", [("largest", [5, 4, 3]), ("magnitude", [-6, 5, 4])])
def test_top_eigenvalues_and_their_vectors(which, expected):
    values = torch.cat([torch.linspace(-1, 1, 95), torch.tensor([5, 4, 3, -6, -2.0])]).double()
    matrix = symmetric(values)
    top = top_eigenvalues(product_of(matrix), 100, 3, seed=0, which=which, tolerance=1e-6)
    assert top.converged and top.products < 40
    error = np.abs(top.values - expected)
    assert (error <= top.residuals + 1e-12).all() and (top.residuals <= 1e-6 * 6).all()
    image = top.vectors @ matrix
    torch.testing.assert_close(
        image, torch.from_numpy(top.values)[:, None] * top.vectors, rtol=0, atol=1e-5
    )


def test_a_tighter_tolerance_costs_products_and_gains_digits():
    matrix = symmetric(torch.linspace(0, 1, 200).double() ** 4)
    loose, tight = (
        top_eigenvalues(product_of(matrix), 200, seed=1, tolerance=t) for t in (1e-1, 1e-8)
    )
    assert loose.products < tight.products
    assert abs(tight.values[0] - 1) < 1e-12 < abs(loose.values[0] - 1) <= loose.residuals[0]


def test_it_says_when_it_did_not_get_there():
    matrix = symmetric(torch.linspace(0, 1, 200).double())
    short = top_eigenvalues(product_of(matrix), 200, 2, seed=0, tolerance=1e-9, max_steps=5)
    assert not short.converged and short.products == 5
    same = top_eigenvalues(lambda v: 2 * v, 10, 2, seed=0)
    assert not same.converged and same.values == pytest.approx([2.0])


def test_bad_input_is_named():
    matrix = symmetric([1.0, 2.0])
    with pytest.raises(ValueError, match="steps is 3, dimension 2"):
        lanczos(product_of(matrix), 2, 3, seed=0)
    with pytest.raises(ValueError, match="which is 'smallest'"):
        top_eigenvalues(product_of(matrix), 2, seed=0, which="smallest")
    with pytest.raises(ValueError, match="count is 3"):
        top_eigenvalues(product_of(matrix), 2, 3, seed=0)
    with pytest.raises(ValueError, match="neither seed nor start"):
        lanczos(product_of(matrix), 2, 1)
    with pytest.raises(ValueError, match=r"start has shape \(3,\); expected \(2,\)"):
        lanczos(product_of(matrix), 2, 1, start=torch.ones(3))
    for bad, length in ((0.0, "0.0"), (math.nan, "nan"), (math.inf, "inf")):
        with pytest.raises(ValueError, match=f"start has length {length}"):
            lanczos(product_of(matrix), 2, 1, start=torch.full((2,), bad))
    with pytest.raises(ValueError, match="NaN or infinity"):
        lanczos(lambda v: v / 0, 2, 1, seed=0)
    with pytest.raises(ValueError, match=r"product has shape \(1,\)"):
        lanczos(lambda v: v[:1], 2, 1, seed=0)
