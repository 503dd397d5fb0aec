"""Calibration test: score by autograd, p-value by all labellings, size, power, hard cases."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import expit

from medxfer_lab.methods.shift_tests import calibration_test


def world(seed: int, n: int, truth=lambda z: z) -> tuple[np.ndarray, np.ndarray]:
    """Log odds and labels drawn with log odds truth(z)."""
    rng = np.random.default_rng((seed, 33))
    z = 1.5 * rng.normal(size=n)
    return z, (rng.random(n) < expit(truth(z))).astype(float)


def test_statistic_is_raos_score():
    """Gradient and information of the log likelihood at intercept 0, slope 1, by autograd."""
    z, y = world(0, 15)

    def log_likelihood(beta):
        logit = beta[0] + beta[1] * torch.tensor(z)
        return (torch.tensor(y) * logit - torch.nn.functional.softplus(logit)).sum()

    null = torch.tensor([0.0, 1.0], dtype=torch.float64)
    score = torch.autograd.functional.jacobian(log_likelihood, null)
    information = -torch.autograd.functional.hessian(log_likelihood, null)
    expected = float(score @ torch.linalg.solve(information, score))
    assert calibration_test(z, y, seed=0).statistic == pytest.approx(expected, rel=1e-9)


def test_p_value_against_all_labellings():
    z, y = world(1, 8)
    y[:2] = 1 - y[:2]
    observed, p = calibration_test(z, y, seed=0, draws=1).statistic, expit(z)
    exact = 0.0
    for other in map(np.array, product([0.0, 1.0], repeat=8)):
        if calibration_test(z, other, seed=0, draws=1).statistic >= observed * (1 - 1e-9):
            exact += np.where(other == 1, p, 1 - p).prod()
    assert 0.02 < exact < 0.98
    estimate = calibration_test(z, y, seed=2, draws=19_999).p_value
    assert estimate == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 2e4))


@pytest.mark.parametrize("n", [10, 40])
def test_size_is_alpha(n):
    """19 draws; labels are discrete, so ties keep the size of ten at or below alpha."""
    p = [calibration_test(*world(s, n), seed=s, draws=19).p_value for s in range(800)]
    low, high = stats.binom.ppf([5e-5, 1 - 5e-5], 800, 0.05)
    assert low <= (np.array(p) <= 0.05 + 1e-12).sum() <= high


@pytest.mark.parametrize(
    "n, truth, least",
    [
        (10, lambda z: -z, 0.85),  # concept shift: the classes changed sides
        (20, lambda z: -z, 0.97),
        (50, lambda z: z - 1.5, 0.9),  # label shift
        (100, lambda z: z / 3, 0.9),  # overconfident
    ],
)
def test_power(n, truth, least):
    rate = np.mean([calibration_test(*world(s, n, truth), seed=s).rejects() for s in range(60)])
    assert rate >= least


def test_separated_labels_and_one_class_are_no_special_case():
    z = np.array([-4.0, -3, -3, -2, -2, 2, 2, 3, 3, 4])
    good, bad = (z > 0).astype(float), (z < 0).astype(float)
    assert calibration_test(z, good, seed=0).p_value > 0.2
    assert calibration_test(z, bad, seed=0).p_value == pytest.approx(1 / 1000)
    assert calibration_test(z - 6, np.zeros(10), seed=0).p_value > 0.2
    assert calibration_test(z, np.zeros(10), seed=0).p_value < 0.01


def test_equal_scores_test_the_prevalence_alone():
    y = np.repeat([0.0, 1.0], [6, 4])
    eta = expit(-1.0)
    expected = (4 - 10 * eta) ** 2 / (10 * eta * (1 - eta))
    outcome = calibration_test(np.full(10, -1.0), y, seed=0)
    assert outcome.statistic == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("size", [40.0, 1000.0])
def test_a_contradicted_certainty_rejects(size):
    z = np.array([size, size, -size, -size])
    assert calibration_test(z, [1, 1, 0, 0], seed=0).p_value == 1.0
    assert calibration_test(z, [0, 1, 0, 0], seed=0).p_value == pytest.approx(1 / 1000)


def test_errors_say_what_is_wrong():
    with pytest.raises(ValueError, match="length 2 and labels 3"):
        calibration_test([0.0, 1.0], [0, 1, 1], seed=0)
    with pytest.raises(ValueError, match="labels hold 2"):
        calibration_test([0.0, 1.0], [0, 2], seed=0)
    with pytest.raises(ValueError, match="infinite"):
        calibration_test([0.0, np.inf], [0, 1], seed=0)
