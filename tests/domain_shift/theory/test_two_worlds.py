"""Oracles: the game solved by a linear programme, exact sums over data sets, simulation."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog, minimize_scalar

from medxfer_lab.domain_shift import theory

SEEDS = st.integers(0, 10**6)


def data_sets(q, etas, k):
    """Every labelled data set of k patients, and its probability in both worlds: (m, 2)."""
    points = list(product(range(len(q)), (0, 1)))
    law = np.array([[q[x] * (e[x] if y else 1 - e[x]) for x, y in points] for e in etas])
    return np.array(
        [law[:, list(chosen)].prod(1) for chosen in product(range(len(points)), repeat=k)]
    )


def game_value(q, etas, k, excess=False):
    """Least worst-world error over all randomised rules (data set, fresh x) -> P(call disease)."""
    chances = data_sets(q, etas, k)
    m, n = len(chances), len(q)
    best = [q @ np.minimum(e, 1 - e) for e in etas] if excess else [0.0, 0.0]
    # variables: r[data set, x], then v; error_j = const_j + sum chance_j q (1 - 2 eta_j) r
    rows = [
        np.append((chances[:, j, None] * q * (1 - 2 * e)).ravel(), -1.0) for j, e in enumerate(etas)
    ]
    limits = [-(chances[:, j].sum() * (q @ e)) + best[j] for j, e in enumerate(etas)]
    cost = np.append(np.zeros(m * n), 1.0)
    bounds = [(0, 1)] * (m * n) + [(None, None)]
    solved = linprog(cost, A_ub=np.array(rows), b_ub=limits, bounds=bounds)
    assert solved.status == 0
    return solved.fun


@settings(max_examples=25, deadline=None)
@given(SEEDS, st.integers(0, 3))
def test_the_minimax_risk_is_the_value_of_the_game(seed, k):
    rng = np.random.default_rng(seed)
    q, worlds = rng.dirichlet(np.ones(3)), rng.integers(0, 2, (2, 3)).astype(float)
    d = theory.disagreement(q, *worlds)
    assert d == pytest.approx(sum(q[i] for i in range(3) if worlds[0, i] != worlds[1, i]))
    assert theory.minimax_risk(min(d, 1.0), k) == pytest.approx(game_value(q, worlds, k), abs=1e-8)


@settings(max_examples=40, deadline=None)
@given(SEEDS)
def test_every_rule_loses_half_the_disagreement_in_one_world(seed):
    rng = np.random.default_rng(seed)
    q, (a, b) = rng.dirichlet(np.ones(5)), rng.integers(0, 2, (2, 5))
    d = theory.disagreement(q, a, b)
    one, two = theory.risks(q, a, b, rng.uniform(size=5))
    assert one + two >= d - 1e-12 and max(one, two) >= d / 2 - 1e-12
    attained = theory.risks(q, a, b, (a + b) / 2)
    assert attained == pytest.approx((d / 2, d / 2))
    assert theory.risks(q, a, b, a) == pytest.approx((0, d))  # the source's faith, in either world


def test_the_rule_of_the_proof_in_simulation():
    rng = np.random.default_rng(0)
    d, k, n = 0.3, 4, 40_000
    told = (rng.uniform(size=(n, k)) < d).any(1)
    wrong = (rng.uniform(size=n) < d) & ~told & (rng.uniform(size=n) < 0.5)
    p = theory.minimax_risk(d, k)
    assert abs(wrong.mean() - p) < 4 * np.sqrt(p * (1 - p) / n)


@settings(max_examples=60, deadline=None)
@given(st.floats(0.001, 1), st.floats(0.0005, 0.6))
def test_labels_needed_is_the_first_that_is_enough(d, risk):
    k = theory.labels_needed(d, risk)
    assert theory.minimax_risk(d, k) <= risk
    assert k == 0 or theory.minimax_risk(d, k - 1) > risk


@settings(max_examples=60, deadline=None)
@given(st.floats(0.001, 1), st.floats(0.001, 0.999))
def test_labels_to_tell_is_the_first_that_is_enough(d, confidence):
    k = theory.labels_to_tell(d, confidence)
    assert (1 - d) ** k <= 1 - confidence
    assert k == 0 or (1 - d) ** (k - 1) > 1 - confidence


def test_labels_at_the_edges_and_the_rule_of_three():
    assert theory.labels_needed(0.0, 0.01) == theory.labels_needed(0.2, 0.1) == 0
    assert theory.labels_to_tell(0.5, 0.0) == theory.labels_to_tell(1.0, 0.0) == 0
    assert theory.labels_needed(1.0, 0.01) == 1 == theory.labels_to_tell(1.0)
    assert theory.labels_to_tell(0.01) == pytest.approx(3 / 0.01, rel=0.01)


@pytest.mark.parametrize("k", [0, 1, 5, 50])
def test_the_hardest_disagreement_is_the_numeric_maximum(k):
    d = theory.hardest_disagreement(k)
    found = minimize_scalar(lambda v: -theory.minimax_risk(v, k), bounds=(0, 1), method="bounded")
    assert -found.fun <= theory.minimax_risk(d, k) + 1e-12
    assert d == pytest.approx(found.x, abs=1e-3)
    promised = (k / (k + 1)) ** k / (2 * (k + 1))
    assert theory.minimax_risk(d, k) == pytest.approx(promised)


@settings(max_examples=25, deadline=None)
@given(SEEDS, st.integers(0, 3))
def test_noisy_bounds_lie_below_the_game_and_the_shared_law(seed, k):
    rng = np.random.default_rng(seed)
    q, etas = rng.dirichlet(np.ones(2)), rng.uniform(size=(2, 2))
    got = theory.noisy_bound(q, *etas, k)
    assert got.overlap <= data_sets(q, etas, k).min(1).sum() + 1e-12
    assert got.risk <= game_value(q, etas, k, excess=True) + 1e-8
    assert 0 <= got.overlap <= 1


@settings(max_examples=30, deadline=None)
@given(SEEDS, st.integers(0, 2))
def test_the_brier_bound_lies_below_bayes_and_is_attained_without_labels(seed, k):
    """Bayes under a fair coin of worlds predicts E[eta | data]; its mean excess <= the worst's."""
    rng = np.random.default_rng(seed)
    q, (a, b) = rng.dirichlet(np.ones(2)), rng.uniform(size=(2, 2))
    chances = data_sets(q, (a, b), k)
    first = chances[:, :1] / chances.sum(1, keepdims=True)
    best = first * a + (1 - first) * b  # (data sets, x)
    excess = (chances[:, 0] @ (best - a) ** 2 + chances[:, 1] @ (best - b) ** 2) @ q / 2
    got = theory.noisy_bound(q, a, b, k).brier
    assert got <= excess + 1e-12
    if k == 0:
        assert got == pytest.approx(excess)


def test_without_noise_the_theorem_is_sharper_and_labels_wear_the_bound_down():
    q, a, b = [0.3, 0.7], [1.0, 0.0], [0.0, 0.0]
    for k in range(6):
        assert theory.noisy_bound(q, a, b, k).risk <= theory.minimax_risk(0.3, k) + 1e-12
    assert theory.noisy_bound(q, a, b).risk == pytest.approx(theory.minimax_risk(0.3))
    noisy = [theory.noisy_bound([1.0], [0.6], [0.3], k).risk for k in (0, 1, 10, 100)]
    assert noisy[0] == pytest.approx(0.1) and (np.diff(noisy) < 0).all()


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="mass sums to 0.5"):
        theory.disagreement([0.2, 0.3], [0, 1], [1, 1])
    with pytest.raises(ValueError, match="first holds 0.5"):
        theory.disagreement([0.5, 0.5], [0.5, 1], [1, 1])
    with pytest.raises(ValueError, match="rule spans"):
        theory.risks([0.5, 0.5], [0, 1], [1, 1], [2, 0])
    with pytest.raises(ValueError, match="disagreement is 1.2"):
        theory.minimax_risk(1.2)
    with pytest.raises(ValueError, match="risk is 0"):
        theory.labels_needed(0.5, 0.0)
    with pytest.raises(ValueError, match="confidence is 1"):
        theory.labels_to_tell(0.1, 1.0)
