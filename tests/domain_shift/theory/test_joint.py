"""Oracles: loops over the table, brute force over all rules, the data-processing inequality."""

from itertools import product
from math import log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medxfer_lab.domain_shift import theory

SEEDS = st.integers(0, 10**6)


def world(seed, k=4):
    return np.random.default_rng(seed).dirichlet(np.ones(2 * k)).reshape(k, 2)


def channel(rng, m, k):
    return rng.dirichlet(np.ones(k), size=m)


@settings(max_examples=40, deadline=None)
@given(SEEDS)
def test_each_pure_shift_keeps_what_it_says_and_changes_the_rest(seed):
    rng = np.random.default_rng(seed)
    p, w = world(seed), rng.uniform(0.1, 3, 4)
    covariate = theory.covariate_shift(p, w)
    assert np.allclose(covariate.sum(1) / p.sum(1), w / (w @ p.sum(1)))
    got = theory.kept(p, covariate)
    assert (got.y_given_x, got.x, got.x_given_y) == (True, False, False)
    assert got.kinds == ("covariate shift",)

    rho = float(rng.uniform(0.05, 0.95))
    label = theory.label_shift(p, rho)
    assert label.sum(0)[1] == pytest.approx(rho)
    got = theory.kept(p, label)
    assert (got.x_given_y, got.y, got.y_given_x) == (True, False, False)
    assert got.kinds == ("label shift",)
    odds = theory.eta(label) / (
        1 - theory.eta(label)
    )  # Bayes: the prior's odds ratio, nothing else
    old, pi = theory.eta(p) / (1 - theory.eta(p)), p.sum(0)[1]
    assert np.allclose(odds / old, rho / (1 - rho) * (1 - pi) / pi)

    concept = theory.concept_shift(p, rng.uniform(size=4))
    got = theory.kept(p, concept)
    assert (got.x, got.y_given_x) == (True, False) and got.kinds == ("concept shift",)


def test_nothing_changed_is_no_shift_and_two_shifts_can_be_one():
    p = world(0)
    assert theory.kept(p, p).kinds == () and theory.kept(p, p).unseen == 0
    settled = np.array([[0.3, 0.0], [0.2, 0.0], [0.0, 0.4], [0.0, 0.1]])  # x settles y
    both = theory.kept(settled, theory.label_shift(settled, 0.8))
    assert set(both.kinds) == {"covariate shift", "label shift"}
    mixed = theory.label_shift(theory.concept_shift(p, [0.9, 0.1, 0.4, 0.2]), 0.7)
    assert theory.kept(p, mixed).kinds == ()


def test_conditionals_are_compared_only_where_both_have_mass():
    p = np.array([[0.3, 0.2], [0.25, 0.25], [0.0, 0.0]])
    apart = np.array([[0.0, 0.0], [0.0, 0.0], [0.4, 0.6]])
    got = theory.kept(p, apart)
    assert got.y_given_x is None and got.unseen == 1 and got.kinds == ()
    partly = 0.5 * p + 0.5 * apart
    got = theory.kept(p, partly)
    assert got.y_given_x is True and got.unseen == pytest.approx(0.5) and got.kinds == ()
    assert np.isnan(theory.eta(p)[2])


@settings(max_examples=40, deadline=None)
@given(SEEDS)
def test_a_new_scanner_keeps_the_patients_and_not_the_posterior(seed):
    rng = np.random.default_rng(seed)
    patients = world(seed, 3)
    one, two = channel(rng, 3, 4), channel(rng, 3, 4)
    p, q = theory.acquisition_shift(patients, one, two)
    by_hand = np.zeros((4, 2))
    for z, x, y in product(range(3), range(4), (0, 1)):
        by_hand[x, y] += patients[z, y] * one[z, x]
    assert np.allclose(p, by_hand)
    got = theory.kept(p, q)
    assert got.y and not got.x and got.y_given_x is False and got.kinds == ()
    assert theory.excess_log_loss(p, q) > 0


@settings(max_examples=40, deadline=None)
@given(SEEDS)
def test_noise_added_to_a_scanner_only_loses(seed):
    """Data processing: a second channel behind the first never lowers a Bayes loss."""
    rng = np.random.default_rng(seed)
    first = channel(rng, 3, 4)
    p, q = theory.acquisition_shift(world(seed, 3), first, first @ channel(rng, 4, 4))
    assert theory.bayes_risk(q) >= theory.bayes_risk(p) - 1e-12
    assert theory.bayes_log_loss(q) >= theory.bayes_log_loss(p) - 1e-12


def test_when_a_new_scanner_is_covariate_shift_and_when_it_only_recodes():
    rng = np.random.default_rng(3)
    patients, one, two = world(3, 3), channel(rng, 3, 2), channel(rng, 3, 2)

    def mixture(share):  # two vendors that the picture tells apart, in shares of the hospital
        return np.hstack([share * one, (1 - share) * two])

    p, q = theory.acquisition_shift(patients, mixture(0.7), mixture(0.2))
    assert theory.kept(p, q).kinds == ("covariate shift",)
    assert theory.excess_log_loss(p, q) == pytest.approx(0, abs=1e-12)
    only_old, only_new = theory.acquisition_shift(patients, mixture(1.0), mixture(0.0))
    assert theory.kept(only_old, only_new).y_given_x is None
    # a recoding loses nothing, and the old rule is wrong all the same
    p, q = theory.acquisition_shift(patients, one, one[:, ::-1])
    assert theory.bayes_log_loss(q) == pytest.approx(theory.bayes_log_loss(p))
    assert theory.kept(p, q).y_given_x is False and theory.excess_log_loss(p, q) > 0


@settings(max_examples=30, deadline=None)
@given(SEEDS)
def test_losses_by_brute_force(seed):
    p, q = world(seed), world(seed + 1)

    def risk(table, rule):
        return sum(table[x, 1 - rule[x]] for x in range(4))

    rules = list(product((0, 1), repeat=4))
    assert theory.bayes_risk(p) == pytest.approx(min(risk(p, r) for r in rules))
    old = min(rules, key=lambda r: risk(p, r))
    assert theory.excess_risk(p, q) == pytest.approx(risk(q, old) - min(risk(q, r) for r in rules))

    def log_loss(table, eta):
        return -sum(table[x, 0] * log(1 - eta[x]) + table[x, 1] * log(eta[x]) for x in range(4))

    assert theory.bayes_log_loss(q) == pytest.approx(log_loss(q, theory.eta(q)))
    worse = log_loss(q, theory.eta(p)) - theory.bayes_log_loss(q)
    assert theory.excess_log_loss(p, q) == pytest.approx(worse, abs=1e-12)


def test_certainty_contradicted_costs_infinitely_and_a_kept_side_costs_no_error():
    sure = np.array([[0.5, 0.0], [0.2, 0.3]])
    contradicted = theory.concept_shift(sure, [0.1, 0.6])
    assert theory.excess_log_loss(sure, contradicted) == np.inf
    assert theory.excess_risk(sure, contradicted) == 0
    assert theory.kept(sure, contradicted).y_given_x is False


def test_bad_input_is_named():
    p = world(0)
    with pytest.raises(ValueError, match="source sums to 2"):
        theory.kept(2 * p, p)
    with pytest.raises(ValueError, match=r"expected \(k, 2\)"):
        theory.eta(np.full((2, 3), 1 / 6))
    with pytest.raises(ValueError, match="weights span"):
        theory.covariate_shift(p, [-1, 1, 1, 1])
    with pytest.raises(ValueError, match="no case of a label"):
        theory.label_shift([[0.5, 0.0], [0.5, 0.0]], 0.1)
    with pytest.raises(ValueError, match="target_eta spans"):
        theory.concept_shift(p, [0, 0, 0, 1.5])
    with pytest.raises(ValueError, match="channel_target"):
        theory.acquisition_shift(p, np.eye(4), 2 * np.eye(4))
    with pytest.raises(ValueError, match="never shows"):
        theory.excess_risk([[0.5, 0.5], [0, 0]], [[0, 0], [0.5, 0.5]])
