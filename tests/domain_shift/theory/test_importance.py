"""Oracles: adaptive quadrature, scipy's densities, Monte Carlo, exchangeability."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.polynomial import Polynomial
from scipy.integrate import quad
from scipy.stats import norm

from medxfer_lab.domain_shift import theory

deltas, spreads = st.floats(-1.5, 1.5), st.floats(0.4, 1.25)


def integral(f):
    return quad(f, -40, 40, limit=800, points=[-3, 0, 3], epsabs=1e-13)[0]


@settings(max_examples=25, deadline=None)
@given(deltas, spreads)
def test_weights_and_their_moments_by_quadrature(delta, spread):
    x = np.linspace(-3, 3, 7)
    assert np.allclose(theory.weights(x, delta, spread), norm.pdf(x, delta, spread) / norm.pdf(x))
    q = norm(delta, spread).pdf

    def square(x):  # q^2/p from logs: both densities underflow far out
        return np.exp(2 * norm.logpdf(x, delta, spread) - norm.logpdf(x))

    second = integral(square)
    assert theory.second_moment(delta, spread) == pytest.approx(second, rel=1e-6)
    assert theory.renyi_divergence(delta, spread) == pytest.approx(np.log(second), abs=1e-6)
    assert theory.effective_share(delta, spread) == pytest.approx(1 / second, rel=1e-6)
    kl = integral(lambda x: q(x) * (norm.logpdf(x, delta, spread) - norm.logpdf(x)))
    assert theory.kl_divergence(delta, spread) == pytest.approx(kl, abs=1e-8)
    assert theory.renyi_divergence(delta, spread) >= theory.kl_divergence(delta, spread) - 1e-12


@settings(max_examples=25, deadline=None)
@given(deltas, spreads, st.lists(st.floats(-2, 2), min_size=1, max_size=4), st.booleans())
def test_variance_of_the_weighted_mean_by_quadrature(delta, spread, coefficients, normalise):
    f = Polynomial(coefficients)
    mu = integral(lambda x: norm.pdf(x, delta, spread) * f(x))
    centre = mu if normalise else 0.0

    def squared(x):
        return np.exp(2 * norm.logpdf(x, delta, spread) - norm.logpdf(x)) * (f(x) - centre) ** 2

    expected = (integral(squared) - (0 if normalise else mu**2)) / 50
    got = theory.weighted_mean_variance(coefficients, 50, delta, spread, normalise=normalise)
    assert got == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_the_weighted_mean_is_unbiased_with_that_variance_in_simulation():
    """f = x over 60 source patients; means of 20,000 repetitions, spread within its own error."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20_000, 60))
    w = theory.weights(x, 0.5)
    means = (w * x).mean(1)
    variance = theory.weighted_mean_variance([0, 1], 60, 0.5)
    assert abs(means.mean() - 0.5) < 4 * np.sqrt(variance / len(means))
    squares = (means - 0.5) ** 2
    assert abs(squares.mean() - variance) < 4 * squares.std() / np.sqrt(len(means))
    square = (w**2).mean()  # E w^2 = 1/share; E w is 1
    assert abs(square - 1 / theory.effective_share(0.5)) < 4 * (w**2).std() / np.sqrt(w.size)
    assert theory.effective_share(0.5) == pytest.approx(np.exp(-0.25))


def test_a_constant_is_not_constant_without_normalising():
    got = theory.weighted_mean_variance([1.0], 10, 1.0)
    assert got == pytest.approx((np.e - 1) / 10)
    assert theory.weighted_mean_variance([1.0], 10, 1.0, normalise=True) == 0
    assert theory.weighted_mean_variance([0.0], 10, 1.0, 2.0) == 0
    assert theory.weighted_mean_variance([0, 1.0], 10, 0.0, 1.0) == pytest.approx(0.1)


def test_from_twice_the_variance_on_the_weights_have_no_second_moment():
    below = [theory.second_moment(0.0, np.sqrt(2 - g)) for g in (1e-2, 1e-4, 1e-6)]
    assert np.allclose(below, 1 / np.sqrt([2e-2, 2e-4, 2e-6]), rtol=0.01)
    for spread in (np.sqrt(2) + 1e-12, 1.5, 3.0):
        assert theory.second_moment(0.3, spread) == np.inf == theory.renyi_divergence(0.3, spread)
        assert theory.effective_share(0.3, spread) == 0
        assert theory.weighted_mean_variance([1.0], 10, 0.3, spread) == np.inf
        assert np.isfinite(theory.kl_divergence(0.3, spread))


def test_an_equal_law_has_weight_one():
    assert np.allclose(theory.weights([-2.0, 0.0, 5.0], 0.0), 1)
    assert theory.effective_share(0.0) == 1 and theory.kl_divergence(0.0) == 0


@pytest.mark.parametrize("n", [1, 5, 100, 10_000])
def test_without_shift_each_of_n_plus_one_patients_is_as_likely_to_be_extreme(n):
    assert theory.outside_range(n, 0.0) == pytest.approx(2 / (n + 1), rel=1e-6)


def test_outside_range_by_monte_carlo_and_growing_with_the_shift():
    rng = np.random.default_rng(1)
    x, fresh = rng.normal(size=(20_000, 30)), 1.5 + 0.7 * rng.normal(size=20_000)
    outside = (fresh > x.max(1)) | (fresh < x.min(1))
    p = theory.outside_range(30, 1.5, 0.7)
    assert abs(outside.mean() - p) < 4 * np.sqrt(p * (1 - p) / 20_000)
    shares = [theory.outside_range(200, d) for d in (0, 1, 2, 3, 5)]
    assert (np.diff(shares) > 0).all() and shares[-1] > 0.95


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(-2, 2), min_size=1, max_size=4), st.floats(0, 1))
def test_parted_supports_by_quadrature(coefficients, gap):
    f = Polynomial(coefficients)
    got = theory.parted_supports(coefficients, gap)
    assert got.limit == pytest.approx(quad(f, gap, 1)[0], abs=1e-9)
    assert got.truth == pytest.approx(quad(f, gap, 1 + gap)[0], abs=1e-9)
    assert got.truth - got.limit == pytest.approx(quad(f, 1, 1 + gap)[0], abs=1e-9)


def test_the_effective_sample_size_does_not_see_missing_support():
    """Simulated: 20 % of the target unseen, n_eff at 80 %, the mean of x wrong by a third."""
    x = np.random.default_rng(2).uniform(size=100_000)
    w = (x > 0.2).astype(float)  # q/p for q uniform on [0.2, 1.2]
    got = theory.parted_supports([0, 1], 0.2)
    assert abs((w * x).mean() - got.limit) < 4 * (w * x).std() / np.sqrt(len(x))
    share = w.mean() ** 2 / (w**2).mean()
    assert abs(share - got.effective_share) < 4 * np.sqrt(0.2 * 0.8 / len(x))
    assert got.truth == pytest.approx(0.7) and got.limit == pytest.approx(0.48)
    assert theory.parted_supports([1], 0.2).limit == pytest.approx(0.8)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="spread is 0"):
        theory.second_moment(0.0, 0.0)
    with pytest.raises(ValueError, match="gap is 1.5"):
        theory.parted_supports([1], 1.5)
    with pytest.raises(ValueError, match="n is 0"):
        theory.weighted_mean_variance([1], 0, 0.0)
