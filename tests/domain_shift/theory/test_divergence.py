"""Oracles: brute force over all pairs of rules, scipy's quadrature, fine grids."""

from itertools import combinations_with_replacement

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import norm

from medxfer_lab.domain_shift import theory

SEEDS = st.integers(0, 10**6)
values = st.lists(st.integers(0, 6), min_size=1, max_size=8)


def rules(k):
    """Every threshold rule on k pictures, as calls: (2 (k + 1), k)."""
    above = [(np.arange(k) >= i).astype(int) for i in range(k + 1)]
    return above + [1 - r for r in above]


def pair(seed, k=5):
    rng = np.random.default_rng(seed)
    return (rng.dirichlet(np.full(2 * k, 0.5)).reshape(k, 2) for _ in range(2))


@settings(max_examples=60, deadline=None)
@given(values, values)
def test_sample_divergence_is_the_supremum_over_pairs_of_rules(a, b):
    a, b = np.array(a), np.array(b)
    cuts = np.arange(-1, 8) + 0.5
    best = 0.0
    for s, t in combinations_with_replacement(cuts, 2):
        best = max(best, abs(((a > s) != (a > t)).mean() - ((b > s) != (b > t)).mean()))
    assert theory.sample_divergence(a, b) == pytest.approx(2 * best)
    assert theory.sample_divergence(b, a) == pytest.approx(2 * best)


@settings(max_examples=30, deadline=None)
@given(SEEDS)
def test_table_divergence_and_the_risks_by_brute_force(seed):
    p, q = pair(seed)
    best = max(abs(p.sum(1) @ (r != s) - q.sum(1) @ (r != s)) for r in rules(5) for s in rules(5))
    assert theory.table_divergence(p, q) == pytest.approx(2 * best)
    assert theory.table_divergence(p, q) <= theory.total_divergence(p, q) + 1e-12
    risks = [sum(p[x, 1 - r[x]] for x in range(5)) for r in rules(5)]
    assert theory.threshold_risks(p).ravel() == pytest.approx(risks)


@settings(max_examples=60, deadline=None)
@given(SEEDS)
def test_the_bound_holds_for_every_rule(seed):
    p, q = pair(seed)
    got = theory.divergence_bound(p, q)
    assert (got.target_risk <= got.bound + 1e-12).all()
    both = [sum(p[x, 1 - r[x]] + q[x, 1 - r[x]] for x in range(5)) for r in rules(5)]
    assert got.joint_error == pytest.approx(min(both))
    source, target, bound = got.source_best
    assert source == got.source_risk.min() and target <= bound + 1e-12


@settings(max_examples=40, deadline=None)
@given(st.floats(-2, 2), st.floats(0.3, 3), st.floats(-2, 2), st.floats(0.3, 3))
def test_gaussian_divergence_on_a_fine_grid(a, s, b, t):
    x = np.linspace(min(a - 8 * s, b - 8 * t), max(a + 8 * s, b + 8 * t), 40_001)
    gap = norm.cdf(x, a, s) - norm.cdf(x, b, t)
    grid = 2 * (gap.max() - gap.min())
    got = theory.gaussian_divergence(a, s, b, t)
    # at a turn the gap is flat: a grid of step h misses at most h^2/8 times its curvature, twice
    curvature = (1 / s**2 + 1 / t**2) * norm.pdf(1)
    assert grid - 1e-9 <= got <= grid + 2 * 2 * curvature * (x[1] - x[0]) ** 2 / 8 + 1e-9
    assert theory.gaussian_divergence(b, t, a, s) == pytest.approx(got, abs=1e-9)


def test_gaussian_divergence_is_twice_total_variation_and_closed_for_equal_spreads():
    for a, s, b, t in ((0, 1, 1.5, 1), (0, 1, 0.5, 2), (-1, 0.4, 1, 1.1)):
        apart = quad(
            lambda x, a=a, s=s, b=b, t=t: abs(norm.pdf(x, a, s) - norm.pdf(x, b, t)),
            -15,
            15,
            limit=400,
            points=[a, b],
        )[0]
        assert theory.gaussian_divergence(a, s, b, t) == pytest.approx(apart, abs=1e-6)
    assert theory.gaussian_divergence(0, 2, 3, 2) == pytest.approx(2 * (2 * norm.cdf(0.75) - 1))
    assert theory.gaussian_divergence(1, 2, 1, 2) == 0
    close = theory.gaussian_divergence(0, 1, 1, 1 + 1e-9)
    assert close == pytest.approx(theory.gaussian_divergence(0, 1, 1, 1), abs=1e-7)


def test_samples_converge_to_the_gaussian_value():
    """Kuiper's statistic of n and n: each F within sqrt(log(2/alpha)/(2n)) (DKW, Massart)."""
    rng, n = np.random.default_rng(0), 20_000
    got = theory.sample_divergence(rng.normal(size=n), 0.8 + 1.5 * rng.normal(size=n))
    off = np.sqrt(np.log(2 / 1e-4) / (2 * n))  # sup |F_n - F|, in each of two samples
    assert abs(got - theory.gaussian_divergence(0, 1, 0.8, 1.5)) < 2 * 2 * 2 * off


@settings(max_examples=40, deadline=None)
@given(SEEDS)
def test_any_domain_classifier_bounds_from_below_only(seed):
    p, q = pair(seed)
    rng = np.random.default_rng(seed)
    called = rng.uniform(size=5)
    error = theory.domain_error(p, q, called)
    by_hand = sum(p[x].sum() * called[x] + q[x].sum() * (1 - called[x]) for x in range(5)) / 2
    assert error == pytest.approx(by_hand)
    proxy = theory.proxy_divergence(error)
    assert proxy <= theory.total_divergence(p, q) + 1e-12
    best = theory.domain_error(p, q, q.sum(1) > p.sum(1))
    assert theory.proxy_divergence(best) == pytest.approx(theory.total_divergence(p, q))
    for rule in rules(5):  # a threshold on the domain is an interval, so below d as well
        stump = theory.proxy_divergence(theory.domain_error(p, q, rule))
        assert stump <= theory.table_divergence(p, q) + 1e-12


def test_a_classifier_outside_the_class_can_exceed_d():
    p, q = theory.divergence_examples()["interleaved"]
    odd = np.arange(len(p)) % 2
    assert theory.proxy_divergence(theory.domain_error(p, q, odd)) == pytest.approx(2)
    assert theory.table_divergence(p, q) < 0.3


def test_examples_part_divergence_from_harm():
    found = {}
    for name, (p, q) in theory.divergence_examples().items():
        got = theory.divergence_bound(p, q)
        stump = max(
            theory.proxy_divergence(theory.domain_error(p, q, rule)) for rule in rules(len(p))
        )
        source, target, bound = got.source_best
        found[name] = (got.divergence, theory.total_divergence(p, q), stump, got.joint_error)
        assert source == pytest.approx(0) and target <= bound + 1e-12
        if name == "harmless":
            assert target == pytest.approx(0)
        else:
            assert target > 0.9 and got.joint_error > 0.8
    assert found["harmless"] == pytest.approx((2, 2, 1, 0))
    assert found["concept"][:3] == pytest.approx((0, 0, 0))
    assert found["interleaved"][1] == pytest.approx(2)
    assert found["interleaved"][2] <= found["interleaved"][0] < 0.3


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="first is empty"):
        theory.sample_divergence([], [1.0])
    with pytest.raises(ValueError, match="deviation_q is 0"):
        theory.gaussian_divergence(0, 1, 0, 0)
    with pytest.raises(ValueError, match="domain_error is 1.5"):
        theory.proxy_divergence(1.5)
    p, q = pair(0)
    with pytest.raises(ValueError, match="called_target has shape"):
        theory.domain_error(p, q, [0.0, 1.0])
