"""Oracles: loops over training sets and labels, exact fractions, all 2^n label vectors."""

from fractions import Fraction
from itertools import product
from math import log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medxfer_lab.bias_variance import theory
from medxfer_lab.bias_variance.theory.decompositions import kl
from medxfer_lab.metrics import decompose_log_loss, decompose_squared


def random_world(seed, m=4, k=3):
    rng = np.random.default_rng(seed)
    return rng.uniform(0.02, 0.98, (m, k)), rng.dirichlet(np.ones(m)), rng.uniform(size=k)


def expected_loss(f, w, eta, loss):
    """Sum over training sets, patients and labels of probability times loss."""
    total = 0.0
    for i, j, y in product(range(len(w)), range(len(eta)), (0, 1)):
        chance = w[i] * (eta[j] if y else 1 - eta[j]) / len(eta)
        total += chance * loss(y, f[i, j])
    return total


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6))
def test_both_identities_hold_and_totals_are_the_expected_losses(seed):
    f, w, eta = random_world(seed)
    squared, logs = theory.squared_terms(f, w, eta), theory.log_loss_terms(f, w, eta)
    assert squared.total == pytest.approx(expected_loss(f, w, eta, lambda y, p: (y - p) ** 2))
    assert logs.total == pytest.approx(
        expected_loss(f, w, eta, lambda y, p: -log(p if y else 1 - p))
    )
    for terms in (squared, logs):
        assert terms.total == pytest.approx(terms.noise + terms.bias + terms.variance)
        assert min(terms.noise, terms.bias, terms.variance) >= 0


def test_around_the_arithmetic_mean_log_loss_does_not_add_up():
    f, w, eta = random_world(0)
    mean = w @ f
    naive = kl(eta, mean).mean() + (w @ kl(mean, f)).mean()
    right = theory.log_loss_terms(f, w, eta)
    assert abs(naive - right.bias - right.variance) > 0.01


def test_the_worked_example_in_fractions():
    world = theory.worked_example()
    assert world.weights.sum() == pytest.approx(1) and world.predictions.shape == (3, 2)
    f = [[Fraction(v).limit_denominator(100) for v in row] for row in world.predictions]
    eta = [Fraction(v).limit_denominator(100) for v in world.eta]
    mean = [sum(row[j] for row in f) / 3 for j in (0, 1)]
    noise = sum(e * (1 - e) for e in eta) / 2
    bias = sum((m - e) ** 2 for m, e in zip(mean, eta)) / 2
    variance = sum((row[j] - mean[j]) ** 2 for row in f for j in (0, 1)) / 6
    got = theory.squared_terms(world.predictions, world.weights, world.eta)
    assert got.noise == pytest.approx(float(noise)) and got.bias == pytest.approx(float(bias))
    assert got.variance == pytest.approx(float(variance))
    assert got.bias > 0 and got.variance > 0


def test_the_estimators_reach_the_population_terms_with_many_runs():
    f, w, eta = random_world(1)
    rng = np.random.default_rng(0)
    rows = rng.choice(len(w), size=1500, p=w)
    for exact, got in (
        (theory.squared_terms(f, w, eta), decompose_squared(f[rows], eta=eta)),
        (theory.log_loss_terms(f, w, eta), decompose_log_loss(np.log(f / (1 - f))[rows], eta=eta)),
    ):
        assert got.noise == pytest.approx(exact.noise)
        for name in ("bias", "variance"):
            term = getattr(got, name)
            half = (term.high - term.low) / 2
            assert abs(term.estimate - getattr(exact, name)) < 2.2 * half  # 4 standard errors


@pytest.mark.parametrize("strength", [0.0, 2.0, 7.5])
def test_the_beta_bargain_by_all_label_vectors(strength):
    eta, centre, n = 0.3, 0.6, 6
    labels = np.array(list(product([0, 1], repeat=n)))
    weights = np.where(labels == 1, eta, 1 - eta).prod(1)
    predictions = (strength * centre + labels.sum(1)) / (strength + n)
    exact = theory.squared_terms(predictions[:, None], weights, [eta])
    got = theory.beta_bargain(eta, centre, strength, n)
    for name in ("noise", "bias", "variance", "total"):
        assert getattr(got, name) == pytest.approx(getattr(exact, name), abs=1e-12)


def test_the_beta_bargain_over_strengths():
    got = theory.beta_bargain(0.3, 0.4, np.linspace(0, 500, 5001), 8)
    assert (np.diff(got.bias) > 0).all() and (np.diff(got.variance) < 0).all()
    best = np.linspace(0, 500, 5001)[got.total.argmin()]  # eta(1-eta)/(centre-eta)^2 labels
    assert best == pytest.approx(0.21 / 0.01, abs=0.1)


def test_bad_input_is_named():
    f, w, eta = random_world(0)
    with pytest.raises(ValueError, match="weights sum to 2"):
        theory.squared_terms(f, 2 * w, eta)
    with pytest.raises(ValueError, match="eta spans"):
        theory.squared_terms(f, w, eta + 1)
    with pytest.raises(ValueError, match="strictly between 0 and 1"):
        theory.log_loss_terms(np.round(f), w, eta)
    with pytest.raises(ValueError, match="strength reaches 0.0 with n = 0"):
        theory.beta_bargain(0.3, 0.4, 0.0, 0)
