"""Oracles: the sum of the diagonal, Hutchinson's variance in closed form, exact low ranks."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medxfer_lab.methods.curvature import (
    gauss_newton_operator,
    hessian_operator,
    hutch_plus_plus_trace,
    hutchinson_trace,
)
from tests.methods.curvature.cases import (
    NAMES,
    case,
    dense_gauss_newton,
    dense_hessian,
    symmetric,
)

torch.set_num_threads(1)
ESTIMATORS = (hutchinson_trace, hutch_plus_plus_trace)


def product_of(matrix):
    return lambda v: matrix @ v


@pytest.mark.parametrize("name", NAMES)
def test_trace_of_a_network_s_gauss_newton_matrix(name):
    """Hutchinson within 4 deviations by theory; Hutch++ exact: rank <= 12 (K - 1) <= 24."""
    c, samples = case(name), 30
    operator = gauss_newton_operator(c.network, c.inputs)
    dense = dense_gauss_newton(c)
    deviation = math.sqrt(2 * float((dense - dense.diagonal().diag()).square().sum()) / samples)
    plain = hutchinson_trace(operator, operator.dimension, samples, seed=0)
    assert abs(plain.estimate - float(dense.trace())) < 4 * deviation
    sketched = hutch_plus_plus_trace(operator, operator.dimension, 72, seed=0)
    assert sketched.estimate == pytest.approx(float(dense.trace()), rel=1e-10)


@pytest.mark.parametrize("name", NAMES)
def test_trace_of_a_network_s_hessian(name):
    """A sketch of every direction is exact, for an indefinite matrix too."""
    c = case(name)
    operator = hessian_operator(c.network, c.inputs, c.labels)
    found = hutch_plus_plus_trace(operator, operator.dimension, 3 * operator.dimension, seed=0)
    assert found.estimate == pytest.approx(float(dense_hessian(c).trace()), rel=1e-9)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_unbiased_and_honest_about_its_error(estimator):
    """Over 400 seeds: the mean is the trace, and the standard errors are the spread."""
    matrix = symmetric(torch.linspace(-1, 3, 30).double() ** 3)
    runs = [estimator(product_of(matrix), 30, 18, seed=s) for s in range(400)]
    found = np.array([run.estimate for run in runs])
    spread = found.std(ddof=1)
    assert abs(found.mean() - float(matrix.trace())) < 4 * spread / math.sqrt(400)
    # E[SE^2] is the variance given the sketch; the sample variance of 400 is within 4 * 7 %
    claimed = math.sqrt(np.mean([run.standard_error**2 for run in runs]))
    assert 0.8 < claimed / spread < 1.25


def test_hutchinson_s_variance_is_the_one_of_theory():
    matrix, samples = symmetric(torch.linspace(0, 1, 40).double()), 10
    theory = 2 * float((matrix - matrix.diagonal().diag()).square().sum()) / samples
    found = [hutchinson_trace(product_of(matrix), 40, samples, s).estimate for s in range(1000)]
    assert np.var(found, ddof=1) == pytest.approx(theory, rel=4 * math.sqrt(2 / 999))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), d=st.integers(8, 40), rank=st.integers(1, 4))
def test_hutch_plus_plus_is_exact_up_to_a_third_of_its_products(seed, d, rank):
    values = torch.zeros(d, dtype=torch.float64)
    values[:rank] = torch.from_numpy(np.random.default_rng(seed).uniform(0.5, 2, rank))
    found = hutch_plus_plus_trace(product_of(symmetric(values, seed)), d, 12, seed)
    assert found.estimate == pytest.approx(float(values.sum()), rel=1e-9)
    assert found.products == 12


def test_hutch_plus_plus_wins_where_the_spectrum_falls():
    """The reason it exists: at equal products, squared errors over 50 seeds, on 1/i^2."""
    values = 1 / torch.arange(1, 101).double() ** 2
    matrix, exact = symmetric(values), float(values.sum())
    error = {
        f: np.mean([(f(product_of(matrix), 100, 30, s).estimate - exact) ** 2 for s in range(50)])
        for f in ESTIMATORS
    }
    assert error[hutch_plus_plus_trace] < 0.05 * error[hutchinson_trace]


def test_special_matrices_are_exact():
    diagonal = torch.arange(7).double().diag()
    found = hutchinson_trace(product_of(diagonal), 7, 2, seed=0)
    assert (found.estimate, found.standard_error, found.products) == (21, 0, 2)
    small = hutch_plus_plus_trace(product_of(symmetric([1.0, -2.0, 4.0])), 3, 9, seed=0)
    assert small.estimate == pytest.approx(3, abs=1e-12) and small.standard_error == 0


def test_products_are_counted_as_they_were_made():
    calls, matrix = [], symmetric(torch.linspace(0, 1, 20).double())

    def product(v):
        calls.append(v)
        return matrix @ v

    for estimator, asked in ((hutchinson_trace, 5), (hutch_plus_plus_trace, 11)):
        calls.clear()
        assert estimator(product, 20, asked, seed=0).products == asked == len(calls)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="samples is 1"):
        hutchinson_trace(lambda v: v, 3, 1, seed=0)
    with pytest.raises(ValueError, match="products is 5"):
        hutch_plus_plus_trace(lambda v: v, 3, 5, seed=0)
