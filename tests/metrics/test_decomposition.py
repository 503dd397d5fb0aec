"""The main oracle is a world so small that every possible set of m runs can be enumerated:
expectations of the estimators are then exact sums, and unbiasedness can be checked to rounding."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit

from medxfer_lab.metrics import (
    bias2_standard_error,
    brier,
    compare,
    decompose_log_loss,
    decompose_squared,
    log_loss,
    naive_bias2_floor,
)

# three possible training sets with unequal chances, two patients
F = np.array([[0.8, 0.2], [0.9, 0.6], [0.4, 0.7]])
W = np.array([0.5, 0.3, 0.2])
ETA = np.array([0.9, 0.5])
NOISE = ETA * (1 - ETA)
BIAS2 = ((W @ F - ETA) ** 2).mean()
VARIANCE = (W @ (F - W @ F) ** 2).mean()


def every_sample(m):
    """All sequences of m training sets with their probability."""
    for rows in product(range(3), repeat=m):
        yield F[list(rows)], W[list(rows)].prod()


def test_squared_estimators_are_unbiased_by_enumeration():
    mean = np.zeros(3)
    for f, chance in every_sample(4):
        got = decompose_squared(f, eta=ETA)
        mean += chance * np.array([got.bias2.estimate, got.variance.estimate, got.total.estimate])
    assert np.allclose(mean, [BIAS2, VARIANCE, BIAS2 + VARIANCE + NOISE.mean()], atol=1e-12)


def test_from_labels_bias_plus_noise_is_unbiased_over_runs_and_labels():
    mean = np.zeros(2)
    for y in product([0, 1], repeat=2):
        y = np.array(y)
        label_chance = np.where(y == 1, ETA, 1 - ETA).prod()
        for f, chance in every_sample(3):
            got = decompose_squared(f, labels=y)
            terms = [got.bias2_plus_noise.estimate, got.variance.estimate]
            mean += label_chance * chance * np.array(terms)
    assert np.allclose(mean, [BIAS2 + NOISE.mean(), VARIANCE], atol=1e-12)


@settings(max_examples=50, deadline=None)
@given(st.integers(3, 12), st.integers(1, 6), st.integers(0, 10**6))
def test_total_is_noise_plus_bias_plus_variance_in_every_sample(m, k, seed):
    rng = np.random.default_rng(seed)
    z, eta, y = rng.normal(size=(m, k)) * 2, rng.uniform(size=k), rng.integers(0, 2, k)
    p = expit(z)
    got = decompose_squared(p, eta=eta)
    terms = got.noise + got.bias2.estimate + got.variance.estimate
    expected = (eta * (1 - p) ** 2 + (1 - eta) * p**2).mean()
    assert terms == pytest.approx(expected, abs=1e-12)
    assert got.total.estimate == pytest.approx(expected, abs=1e-12)
    got = decompose_squared(p, labels=y)
    assert got.bias2_plus_noise.estimate + got.variance.estimate == pytest.approx(
        brier(p, y).mean()
    )
    assert got.variance.estimate == pytest.approx(p.var(0, ddof=1).mean(), abs=1e-12)
    got = decompose_log_loss(z, eta=eta)
    terms = got.noise + got.bias.estimate + got.variance.estimate
    assert terms == pytest.approx(log_loss(z, eta).mean(), abs=1e-10)
    got = decompose_log_loss(z, labels=y)
    terms = got.bias_plus_noise.estimate + got.variance.estimate
    assert terms == pytest.approx(log_loss(z, y).mean(), abs=1e-10)
    assert got.total.estimate == pytest.approx(log_loss(z, y).mean(), abs=1e-10)


def log_loss_bias_of_the_estimate(m, corrected=True):
    """Exact expectation of the estimated variance term minus its true value."""
    z = logit(F)
    centre = W @ z
    true = (W @ np.logaddexp(0, z) - np.logaddexp(0, centre)).mean()
    mean = 0.0
    for f, chance in every_sample(m):
        sample = logit(f)
        if corrected:
            mean += chance * decompose_log_loss(sample, eta=ETA).variance.estimate
        else:
            gap = np.logaddexp(0, sample).mean(0) - np.logaddexp(0, sample.mean(0))
            mean += chance * gap.mean()
    return mean - true


def test_the_jackknife_removes_the_first_order_bias_of_the_log_loss_terms():
    naive, three, six = (
        log_loss_bias_of_the_estimate(6, corrected=False),
        log_loss_bias_of_the_estimate(3),
        log_loss_bias_of_the_estimate(6),
    )
    assert abs(six) < 0.1 * abs(naive)
    assert abs(six) < abs(three) / 3  # second order: halving 1/m quarters it, or better
    expected = -(expit(W @ logit(F)) * expit(-W @ logit(F)) * (W @ (logit(F) - W @ logit(F)) ** 2))
    assert naive == pytest.approx((expected / 12).mean(), rel=0.25)  # -p(1-p)Var/(2m), m = 6


@pytest.mark.parametrize("function", [decompose_squared, decompose_log_loss])
@pytest.mark.parametrize("known", ["eta", "labels"])
def test_leave_one_out_values_are_those_without_the_run(function, known):
    rng = np.random.default_rng(0)
    z, truth = rng.normal(size=(6, 9)), rng.integers(0, 2, 9)
    parts = function(z, **{known: truth}).parts
    for i in range(6):
        rest = function(np.delete(z, i, 0), **{known: truth})
        assert np.allclose(parts.left_out[i], rest.parts.whole, atol=1e-12)


def test_per_patient_values_average_to_the_estimates():
    rng = np.random.default_rng(0)
    z, eta = rng.normal(size=(6, 9)), rng.uniform(size=9)
    for got in (decompose_squared(z, eta=eta), decompose_log_loss(z, eta=eta)):
        assert np.allclose(
            got.parts.patients.mean(1), [got.bias.estimate, got.variance.estimate], atol=1e-12
        )


def correlated_runs(rng, m, k, shift=0.1):
    """Predictions whose errors move together over patients (three common directions)."""
    directions = np.random.default_rng(99).normal(size=(3, k)) * 0.1
    eta = np.full(k, 0.4)
    runs = eta + shift + rng.normal(size=(m, 3)) @ directions + 0.05 * rng.normal(size=(m, k))
    return runs, eta, shift**2, (directions**2).sum(0).mean() + 0.05**2


@pytest.mark.parametrize("m", [10, 30])
@pytest.mark.parametrize("shift", [0.0, 0.1])
def test_coverage_of_the_intervals(m, shift):
    """Nominal .95; at least .90 by simulation, less 3 binomial sd."""
    rng, trials = np.random.default_rng(m), 300
    hits = np.zeros(3)
    for _ in range(trials):
        runs, eta, bias2, variance = correlated_runs(rng, m, 40, shift)
        got = decompose_squared(runs, eta=eta)
        total = bias2 + variance + got.noise
        hits += [bias2 in got.bias2, variance in got.variance, total in got.total]
    assert (hits / trials > 0.90 - 3 * np.sqrt(0.9 * 0.1 / trials)).all(), hits / trials


def test_intervals_over_fresh_patients_are_wider_and_cover():
    rng, trials, hits = np.random.default_rng(0), 300, 0
    shifts = np.array([-0.2, 0.0, 0.3])
    true = (shifts**2).mean()
    for _ in range(trials):
        shift = rng.choice(shifts, 30)
        runs = 0.4 + shift + 0.1 * rng.normal(size=(12, 30))
        both = decompose_squared(runs, eta=np.full(30, 0.4), over="both")
        hits += true in both.bias2
    narrow = decompose_squared(runs, eta=np.full(30, 0.4)).bias2
    assert both.bias2.high - both.bias2.low > 2 * (narrow.high - narrow.low)
    assert hits / trials > 0.95 - 4 * np.sqrt(0.95 * 0.05 / trials)


def test_comparison_is_paired():
    rng = np.random.default_rng(0)
    runs, eta, _, variance = correlated_runs(rng, 20, 40)
    shrunk = eta + 0.2 + 0.5 * (runs - eta - 0.1)  # same runs, half the spread, twice the shift
    first, second = decompose_squared(shrunk, eta=eta), decompose_squared(runs, eta=eta)
    gap = compare(first, second)
    assert gap["log_variance_ratio"].estimate == pytest.approx(np.log(0.25))
    assert gap["log_variance_ratio"].high - gap["log_variance_ratio"].low < 1e-9
    for name, key in (("bias", "bias2"), ("variance", "variance"), ("total", "total")):
        expected = getattr(first, key).estimate - getattr(second, key).estimate
        assert gap[name].estimate == pytest.approx(expected)
    by_labels = compare(
        decompose_squared(shrunk, labels=np.ones(40)), decompose_squared(runs, labels=np.ones(40))
    )
    assert by_labels["variance"].estimate == pytest.approx(gap["variance"].estimate)


def test_the_standard_error_of_bias2_is_exact_for_one_patient():
    values, chances, eta, m = np.array([0.1, 0.5, 0.9]), np.array([0.5, 0.3, 0.2]), 0.2, 4
    mean = variance = 0.0
    for rows in product(range(3), repeat=m):
        f, chance = values[list(rows)][:, None], chances[list(rows)].prod()
        estimate = decompose_squared(f, eta=[eta]).bias2.estimate
        mean, variance = mean + chance * estimate, variance + chance * estimate**2
    spread = chances @ (values - chances @ values) ** 2
    expected = bias2_standard_error(spread, m, bias2=(chances @ values - eta) ** 2)
    assert np.sqrt(variance - mean**2) == pytest.approx(expected)


def test_the_floor_of_the_naive_bias():
    """30 sets with variance .12 show a squared bias of .004 that is not there."""
    assert naive_bias2_floor(0.12, 30) == pytest.approx(0.004)
    naive = sum(chance * ((f.mean(0) - W @ F) ** 2).mean() for f, chance in every_sample(4))
    assert naive == pytest.approx(naive_bias2_floor(VARIANCE, 4))


def test_a_real_valued_target_needs_its_noise():
    runs = np.random.default_rng(0).normal(size=(5, 3)) + 4
    got = decompose_squared(runs, eta=[3.0, 4.0, 5.0], noise=0.5)
    assert got.noise == 0.5
    expected = ((runs - [3, 4, 5]) ** 2).mean() + 0.5
    assert got.total.estimate == pytest.approx(expected)
    with pytest.raises(ValueError, match="pass noise"):
        decompose_squared(runs, eta=[3.0, 4.0, 5.0])


def test_diverged_logits_are_refused_with_the_reason():
    z = np.zeros((3, 2))
    z[0, 0] = np.inf
    with pytest.raises(ValueError, match="1 of 6 logits.*separable"):
        decompose_log_loss(z, eta=ETA)
    z[0, 0] = 80.0
    with pytest.warns(UserWarning, match="stopping time"):
        decompose_log_loss(z, eta=ETA)


def test_a_record_holds_every_term():
    record = decompose_squared(F, eta=ETA).record()
    assert set(record) == {"variance", "total", "bias_plus_noise", "bias", "noise"}
    assert set(decompose_squared(F, labels=[0, 1]).record()) == set(record) - {"bias", "noise"}


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="exactly one of eta"):
        decompose_squared(F)
    with pytest.raises(ValueError, match="at least 3"):
        decompose_squared(F[:2], eta=ETA)
    with pytest.raises(ValueError, match="length 2 and eta 3"):
        decompose_squared(F, eta=[0.1, 0.2, 0.3])
    with pytest.raises(ValueError, match="over is .patients."):
        decompose_squared(F, eta=ETA, over="patients")
    with pytest.raises(ValueError, match="runs differs: 3 against 4"):
        compare(decompose_squared(F, eta=ETA), decompose_squared(F[[0, 0, 1, 2]], eta=ETA))
    with pytest.raises(ValueError, match="one was decomposed with eta"):
        compare(decompose_squared(F, eta=ETA), decompose_squared(F, labels=[0, 1]))
    with pytest.raises(AttributeError, match="squared error"):
        _ = decompose_log_loss(logit(F), eta=ETA).bias2
