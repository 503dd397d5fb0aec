"""Oracles: counting every artefact, every label vector (with linear programming), simulation."""

from itertools import product

import numpy as np
import pytest
from scipy.optimize import linprog

from medxfer_lab.bias_variance import theory


@pytest.mark.parametrize("n1, n0, k", [(2, 3, 2), (3, 3, 3), (1, 4, 4), (3, 2, 5)])
def test_an_artefact_that_separates_by_counting_every_assignment(n1, n0, k):
    hits = sum(
        not set(values[:n1]) & set(values[n1:]) for values in product(range(k), repeat=n1 + n0)
    )
    assert theory.artefact_separates(n1, n0, k) == pytest.approx(hits / k ** (n1 + n0))


def test_limits_of_the_artefact():
    assert theory.artefact_separates(5, 5) == 2 * 2.0**-10
    assert theory.artefact_separates(8, 8, 10**5) > 0.999  # an identifier explains everything
    chances = [theory.artefact_separates(n, n, 4) for n in (2, 4, 8, 16)]
    assert (np.diff(chances) < 0).all()
    assert theory.artefact_separates(7, 2, 3) == pytest.approx(theory.artefact_separates(2, 7, 3))


@pytest.mark.parametrize("q", [0.5, 0.2])
def test_features_that_separate_by_counting_every_feature(q):
    n1, n0 = 2, 3
    chance = 0.0
    for bits in product([0, 1], repeat=n1 + n0):
        weight = np.where(np.array(bits) == 1, q, 1 - q).prod()
        chance += weight * (bits in ((1, 1, 0, 0, 0), (0, 0, 1, 1, 1)))
    assert theory.expected_separating_features(40, n1, n0, q) == pytest.approx(40 * chance)
    some = theory.some_feature_separates(40, n1, n0, q)
    assert some == pytest.approx(1 - (1 - chance) ** 40)
    assert some < theory.expected_separating_features(40, n1, n0, q)


def test_the_expected_count_in_simulated_noise():
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], 4)
    bits = rng.integers(0, 2, (3000, 200, 8))
    counts = ((bits == y).all(-1) | (bits == 1 - y).all(-1)).sum(1)
    expected = theory.expected_separating_features(200, 4, 4)
    assert abs(counts.mean() - expected) < 4 * counts.std() / np.sqrt(3000)
    some = theory.some_feature_separates(200, 4, 4)
    assert abs((counts > 0).mean() - some) < 4 * np.sqrt(some * (1 - some) / 3000)


def test_labels_against_shortcuts_is_the_first_size_that_does():
    for p, allowed in ((1, 1.0), (1280, 1.0), (1280, 0.05), (10**6, 1.0), (3, 100.0)):
        n = theory.labels_against_shortcuts(p, allowed)
        assert 2 * p * 2.0**-n <= allowed
        assert n == 2 or 2 * p * 2.0 ** -(n - 1) > allowed
    assert theory.labels_against_shortcuts(2560) == theory.labels_against_shortcuts(1280) + 1


def separable(X, y):
    """Is there w, c with y (X w + c) >= 1? A linear programme without an objective."""
    rows = np.column_stack([X, np.ones(len(X))])
    sign = 2 * np.array(y) - 1
    return linprog(
        np.zeros(rows.shape[1]), -sign[:, None] * rows, -np.ones(len(X)), bounds=(None, None)
    ).success


@pytest.mark.parametrize("n, d", [(4, 2), (6, 2), (5, 1)])
def test_linear_separability_by_trying_every_labelling(n, d):
    """Cover's count is exact for every set in general position, so one random set will do."""
    X = np.random.default_rng(0).normal(size=(n, d))
    share = np.mean([separable(X, y) for y in product([0, 1], repeat=n)])
    assert theory.linearly_separable(n, d) == pytest.approx(share)
    if d > 1:
        assert theory.linearly_separable(n, d) == theory.linearly_separable(n, d + 1, False)


def test_limits_of_linear_separability():
    assert theory.linearly_separable(21, 20) == 1
    assert theory.linearly_separable(42, 20) == pytest.approx(0.5)
    assert theory.linearly_separable(500, 20) < 1e-60


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="n_positive is 0"):
        theory.artefact_separates(0, 5)
    with pytest.raises(ValueError, match="values is 1"):
        theory.artefact_separates(2, 5, 1)
    with pytest.raises(ValueError, match="frequency is 2"):
        theory.expected_separating_features(5, 2, 2, 2.0)
    with pytest.raises(ValueError, match="expected is 0"):
        theory.labels_against_shortcuts(5, 0)
