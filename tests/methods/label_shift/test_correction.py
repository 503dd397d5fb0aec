"""Corrections against Bayes' rule on exact worlds, Elkan's own formula and counted patients."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit

from medxfer_lab.methods.label_shift import (
    correct_log_odds,
    correct_probabilities,
    cost_threshold,
    moved_threshold,
    predictive_values,
)
from tests.methods.label_shift.worlds import posterior

SHARE = st.floats(0.01, 0.99)


@settings(max_examples=100, deadline=None)
@given(SHARE, SHARE, SHARE)
def test_log_odds_probabilities_and_elkans_theorem_agree(p, pi, rho):
    """Elkan (2001), theorem 2: p' = b' (p - p b)/(b - p b + b' p - b b')."""
    elkan = rho * (p - p * pi) / (pi - p * pi + rho * p - pi * rho)
    odds = expit(correct_log_odds(logit(p), pi, rho))
    rows = correct_probabilities([[1 - p, p]], [1 - pi, pi], [1 - rho, rho])
    assert odds == pytest.approx(elkan, rel=1e-9)
    assert rows[0] == pytest.approx([1 - elkan, elkan], rel=1e-9)


@settings(max_examples=100, deadline=None)
@given(st.floats(-20, 20), SHARE, SHARE, SHARE)
def test_corrections_compose_and_undo(z, a, b, c):
    once = correct_log_odds(correct_log_odds(z, a, b), b, c)
    assert once == pytest.approx(correct_log_odds(z, a, c), abs=1e-9)
    assert correct_log_odds(correct_log_odds(z, a, b), b, a) == pytest.approx(z, abs=1e-9)
    assert correct_log_odds(z, a, a) == z


@settings(max_examples=100, deadline=None)
@given(SHARE, SHARE, SHARE, SHARE)
def test_the_moved_threshold_takes_the_same_decisions(p, threshold, pi, rho):
    cut = moved_threshold(threshold, pi, rho)
    corrected = expit(correct_log_odds(logit(p), pi, rho))
    if abs(corrected - threshold) > 1e-9:
        assert (p > cut) == (corrected > threshold)
    assert (cut >= threshold - 1e-12) == (rho <= pi) or abs(cut - threshold) < 1e-9


def test_a_world_of_four_pictures():
    """The posterior of the target by counting is the corrected posterior of the source."""
    for pi, rho in ((1 / 3, 0.02), (0.2, 0.8)):
        assert np.allclose(expit(correct_log_odds(logit(posterior(pi)), pi, rho)), posterior(rho))


def test_classes_that_the_target_lacks_get_nothing():
    p = np.array([[0.2, 0.3, 0.5], [0.6, 0.4, 0.0]])
    out = correct_probabilities(p, [0.5, 0.25, 0.25], [0.5, 0.5, 0.0])
    assert np.allclose(out, [[0.2 / 0.8, 0.6 / 0.8, 0], [0.6 / 1.4, 0.8 / 1.4, 0]])


def test_certain_patients_stay_certain():
    z = correct_log_odds([-np.inf, 0.0, np.inf], 0.5, 0.25)
    assert z.tolist() == [-np.inf, pytest.approx(-np.log(3)), np.inf]


def test_the_cost_threshold_is_where_both_decisions_cost_the_same():
    for fp, fn in ((1, 1), (1, 19), (3.5, 0.2)):
        t = cost_threshold(fp, fn)
        assert (1 - t) * fp == pytest.approx(t * fn)
    assert cost_threshold(1, 1) == 0.5


def test_predictive_values_by_counting_patients():
    """1000 diseased and 9000 healthy, sensitivity .9, specificity .8."""
    values = predictive_values(0.9, 0.8, 0.1)
    assert values.positive == pytest.approx(900 / (900 + 1800))
    assert values.negative == pytest.approx(7200 / (7200 + 100))
    curve = predictive_values(0.9, 0.8, np.array([0.0, 0.1, 1.0]))
    assert curve.positive == pytest.approx([0, 1 / 3, 1])
    assert np.isnan(predictive_values(0.0, 1.0, 0.5).positive)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: correct_log_odds([0.0], 0.0, 0.5), r"source_prevalence is 0.0; .*\(0, 1\)"),
        (lambda: correct_log_odds([0.0], 0.5, 33), "target_prevalence is 33"),
        (lambda: correct_log_odds([np.nan], 0.5, 0.5), "1 NaN"),
        (lambda: correct_probabilities([[0.5, 0.6]], [0.5, 0.5], [0.5, 0.5]), "sums to 1.1"),
        (lambda: correct_probabilities([[0.5, 0.5]], [0.5, 0.5], [0.5, 0.6]), "sum 1.1"),
        (lambda: correct_probabilities([[0.5, 0.5]], [0, 1], [0.5, 0.5]), "0 for class 0"),
        (lambda: correct_probabilities([[1.0, 0.0]], [0.5, 0.5], [0, 1]), "patient 0 has"),
        (lambda: correct_probabilities([[1.0], [1.0]], [1], [1]), "column per class"),
        (lambda: moved_threshold(1.0, 0.5, 0.5), "threshold is 1.0"),
        (lambda: cost_threshold(0, 1), "false_positive is 0"),
        (lambda: predictive_values(90, 0.8, 0.1), "divide percentages by 100"),
    ],
)
def test_errors_say_what_is_wrong(call, words):
    with pytest.raises(ValueError, match=words):
        call()
