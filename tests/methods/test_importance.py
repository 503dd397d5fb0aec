"""Importance weights: ratios from known densities, Renyi in closed form, means by enumeration."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from medxfer_lab.imaging.shifts.weights import effective_sample_size
from medxfer_lab.methods.importance import density_ratio, renyi_divergence, weighted_mean
from medxfer_lab.metrics import mean_interval

positive = arrays(np.float64, st.integers(2, 30), elements=st.floats(1e-3, 1e3))


def gaussian_weights(x: np.ndarray, shift: float) -> np.ndarray:
    """q/p for p = N(0, 1) and q = N(shift, 1)."""
    return np.exp(shift * x - shift**2 / 2)


def test_density_ratio_is_the_ratio_of_densities():
    """Bayes: the best classifier's log odds are log q + log n_target - log p - log n_source."""
    x = np.linspace(-4, 4, 50)
    p, q = stats.norm(0, 1), stats.norm(0.7, 0.8)
    log_odds = np.log(300 * q.pdf(x)) - np.log(900 * p.pdf(x))
    np.testing.assert_allclose(density_ratio(log_odds, 900, 300), q.pdf(x) / p.pdf(x), rtol=1e-12)


def test_density_ratio_from_a_fitted_classifier():
    """Error of the fitted log weights within five standard errors of logistic regression."""
    rng = np.random.default_rng(0)
    n, m, shift = 3000, 1000, 0.8
    x = np.r_[rng.normal(size=n), rng.normal(shift, size=m)][:, None]
    domain = np.repeat([0, 1], [n, m])
    model = LogisticRegression(C=np.inf, tol=1e-10).fit(x, domain)
    grid = np.linspace(-2, 2, 9)[:, None]
    fitted = np.log(density_ratio(model.decision_function(grid), n, m))
    design = np.column_stack([np.ones(n + m), x])
    e = model.predict_proba(x)[:, 1]
    covariance = np.linalg.inv(design.T @ ((e * (1 - e))[:, None] * design))
    at = np.column_stack([np.ones(9), grid])
    error = np.sqrt(np.einsum("ij,jk,ik->i", at, covariance, at))
    assert (abs(fitted - np.log(gaussian_weights(grid[:, 0], shift))) < 5 * error).all()


@given(positive, st.floats(1e-6, 1e6))
def test_renyi_divergence_is_what_the_effective_sample_size_says(w, factor):
    """ESS = n exp(-D2), 0 <= D2 <= log n, any constant cancels."""
    d2 = renyi_divergence(w)
    assert len(w) * np.exp(-d2) == pytest.approx(effective_sample_size(torch.tensor(w)), rel=1e-9)
    assert -1e-12 <= d2 <= np.log(len(w)) + 1e-12
    assert renyi_divergence(factor * w) == pytest.approx(d2, abs=1e-9)


def test_renyi_divergence_of_two_gaussians():
    """D2(N(d, 1) || N(0, 1)) = d^2; tolerance from var(w^2) = exp(6 d^2) - exp(2 d^2)."""
    shift, n = 0.5, 400_000
    w = gaussian_weights(np.random.default_rng(1).normal(size=n), shift)
    error = np.sqrt((np.exp(6 * shift**2) - np.exp(2 * shift**2)) / n) / np.exp(shift**2)
    assert renyi_divergence(w) == pytest.approx(shift**2, abs=5 * error)
    assert renyi_divergence([0.0, 0, 5, 0]) == pytest.approx(np.log(4))


def test_unbiased_form_is_unbiased_and_the_other_is_not():
    """Every sample of two patients from three kinds, with its probability."""
    p, q, value = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.3, 0.5]), np.array([1.0, 4.0, -2.0])
    expected = {True: 0.0, False: 0.0}
    for kinds in map(list, product(range(3), repeat=2)):
        for normalise in expected:
            outcome = weighted_mean(value[kinds], (q / p)[kinds], normalise)
            expected[normalise] += p[kinds].prod() * outcome.estimate
    assert expected[False] == pytest.approx(q @ value, abs=1e-12)
    assert abs(expected[True] - q @ value) > 0.1


@pytest.mark.parametrize("normalise", [True, False])
def test_equal_weights_are_students_interval(normalise):
    values = np.random.default_rng(2).gamma(1.0, size=13)
    ours, plain = weighted_mean(values, np.ones(13), normalise, 0.9), mean_interval(values, 0.9)
    assert (ours.estimate, ours.low, ours.high) == pytest.approx(
        (plain.estimate, plain.low, plain.high), rel=1e-9
    )
    assert ours.n == 13 and ours.level == 0.9


def test_standard_error_by_loops():
    rng = np.random.default_rng(3)
    v, w = rng.normal(size=9), rng.gamma(1.0, size=9)
    mean = sum(a * b for a, b in zip(v, w)) / sum(w)
    error2 = sum((b / sum(w)) ** 2 * (a - mean) ** 2 / (1 - b / sum(w)) for a, b in zip(v, w))
    ess = sum(w) ** 2 / sum(b * b for b in w)
    outcome = weighted_mean(v, w)
    assert outcome.estimate == pytest.approx(mean, rel=1e-12)
    assert outcome.high - mean == pytest.approx(
        stats.t.ppf(0.975, ess - 1) * np.sqrt(error2), rel=1e-9
    )
    assert f"{ess:.1f}" in outcome.method


@settings(deadline=None)
@given(positive, st.floats(-100, 100), st.floats(1e-3, 1e3), st.integers(0, 99))
def test_self_normalised_mean_moves_with_its_values_only(w, constant, factor, seed):
    v = np.random.default_rng(seed).normal(size=len(w))
    plain, moved = weighted_mean(v, w), weighted_mean(v + constant, factor * w)
    assert moved.estimate - constant == pytest.approx(plain.estimate, abs=1e-9)
    assert v.min() - 1e-9 <= plain.estimate <= v.max() + 1e-9


def coverage(shift: float, n: int, repetitions: int) -> dict[str, float]:
    """How often the intervals hold E_q[y], y ~ Bernoulli(sigmoid(x)), q = N(shift, 1)."""
    nodes, mass = np.polynomial.hermite_e.hermegauss(80)
    truth = (expit(nodes + shift) * mass).sum() / mass.sum()
    hits = np.zeros(3)
    for s in range(repetitions):
        rng = np.random.default_rng((s, 4))
        x = rng.normal(size=n)
        w, y = gaussian_weights(x, shift), (rng.random(n) < expit(x)).astype(float)
        share = w / w.sum()
        plain = 1.96 * np.sqrt((share**2 * (y - share @ y) ** 2).sum())
        hits += [
            truth in weighted_mean(y, w),
            truth in weighted_mean(y, w, normalise=False),
            abs(share @ y - truth) < plain,
        ]
    return dict(zip(("self-normalised", "unbiased", "plain delta"), hits / repetitions))


def test_interval_covers_with_many_effective_patients():
    """ESS about 190 of 500: nominal, within a binomial interval of chance 1e-4."""
    low, high = stats.binom.ppf([5e-5, 1 - 5e-5], 800, 0.95) / 800
    rate = coverage(1.0, 500, 800)
    assert low <= rate["self-normalised"] <= high and low <= rate["unbiased"] <= high


def test_interval_says_when_few_patients_carry_it():
    """ESS about 8 of 50: the plain delta interval misses one time in five, ours one in ten."""
    rate = coverage(2.0, 50, 800)
    assert rate["plain delta"] < 0.83 < 0.88 < rate["self-normalised"]
    assert rate["unbiased"] < 0.8  # the missing heavy patients; said in the docstring


@pytest.mark.parametrize("normalise", [True, False])
def test_one_patient_proves_nothing(normalise):
    alone = weighted_mean([1.0, 0.0, 1.0], [3.0, 0.0, 0.0], normalise)
    assert (alone.low, alone.high) == (-np.inf, np.inf)
    nearly = weighted_mean([1.0, 0.0, 1.0], [3.0, 1e-3, 1e-3], normalise)
    assert nearly.high - nearly.low > 100


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: density_ratio([0.0, 900.0], 10, 10), "900 nats"),
        (lambda: density_ratio([0.0], 0, 10), "n_source is 0"),
        (lambda: renyi_divergence([1.0, -0.5]), "-0.5"),
        (lambda: renyi_divergence([0.0, 0.0]), "not all zero"),
        (lambda: weighted_mean([1.0, 2.0], [1.0]), "length 2 and weights 1"),
        (lambda: weighted_mean([1.0], [1.0]), "at least 2"),
        (lambda: weighted_mean([1.0, 2.0], [1.0, np.inf]), "infinite"),
        (lambda: weighted_mean([1.0, 2.0], [1.0, 1.0], level=1.0), "level is 1"),
    ],
)
def test_errors_say_what_is_wrong(call, words):
    with pytest.raises(ValueError, match=words):
        call()
