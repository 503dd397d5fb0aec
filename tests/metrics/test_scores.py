"""Oracles: scikit-learn, PyTorch, counting pairs, and simulation for the biases."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics as sk

from medxfer_lab.metrics import auc, brier, calibration_error, log_loss, squared_calibration_error


def two_classes(n, seed=0):
    rng = np.random.default_rng(seed)
    return np.append(rng.integers(0, 2, n - 2), [0, 1])


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(int, st.integers(2, 30), elements=st.integers(-3, 3)), st.integers(0, 10**6))
def test_auc_counts_pairs_with_ties_as_half(scores, seed):
    y = two_classes(scores.size, seed)
    pairs = scores[y == 1][:, None] - scores[y == 0][None]
    expected = (pairs > 0).mean() + (pairs == 0).mean() / 2
    assert auc(scores, y) == pytest.approx(expected, abs=1e-12)
    assert auc(scores, y) == pytest.approx(sk.roc_auc_score(y, scores), abs=1e-12)
    assert auc(-scores, y) == pytest.approx(1 - expected, abs=1e-12)
    assert auc(np.exp(scores) * 7.0, y) == pytest.approx(expected, abs=1e-12)


def test_scores_of_many_runs_are_those_of_each():
    rng = np.random.default_rng(0)
    z, y = rng.normal(size=(4, 30)), two_classes(30)
    p = 1 / (1 + np.exp(-z))
    for many, one in (
        (auc(z, y), [auc(r, y) for r in z]),
        (log_loss(z, y), [sk.log_loss(y, r) for r in p]),
        (brier(p, y), [sk.brier_score_loss(y, r) for r in p]),
        (calibration_error(p, y), [calibration_error(r, y) for r in p]),
    ):
        assert many.shape == (4,) and np.allclose(many, one)


def test_log_loss_of_large_logits_and_of_probabilities():
    z, y = np.array([800.0, -800.0, 3.0]), np.array([0.0, 0.0, 1.0])
    expected = torch.nn.functional.binary_cross_entropy_with_logits(
        torch.tensor(z), torch.tensor(y)
    )
    assert log_loss(z, y) == pytest.approx(float(expected))
    eta = np.array([0.3, 0.8])
    by_hand = eta * log_loss([1.0], [1]) + (1 - eta) * log_loss([1.0], [0])
    assert log_loss([1.0, 1.0], eta) == pytest.approx(by_hand.mean())
    assert log_loss([np.inf, -np.inf], [1, 0]) == 0
    assert log_loss([np.inf, 0.0], [0, 1]) == np.inf


def test_calibration_error_by_hand():
    p, y = np.array([0.1, 0.2, 0.7, 0.9]), np.array([0, 1, 1, 1])
    assert calibration_error(p, y, bins=2) == pytest.approx((0.35 + 0.2) / 2)
    assert squared_calibration_error(p, y, 2, debias=False) == pytest.approx((0.35**2 + 0.2**2) / 2)
    assert squared_calibration_error(p, y, 2) == pytest.approx((0.35**2 - 0.25 + 0.2**2) / 2)


def test_equal_predictions_share_a_bin_whatever_the_order():
    y = np.repeat([0, 1], 50)
    assert calibration_error(np.full(100, 0.5), y) == 0
    p = np.random.default_rng(0).integers(1, 4, 100) / 4
    order = np.random.default_rng(1).permutation(100)
    assert calibration_error(p, y) == pytest.approx(calibration_error(p[order], y[order]))


def test_the_bias_of_the_calibration_error_is_as_stated_and_the_square_has_none():
    rng = np.random.default_rng(0)
    bins, per_bin = 10, 40
    p = np.repeat(np.linspace(0.2, 0.8, bins), per_bin)  # one value a bin: perfectly calibrated
    plain, squared = [], []
    for _ in range(1500):
        y = (rng.uniform(size=p.size) < p).astype(int)
        plain.append(calibration_error(p, y, bins))
        squared.append(squared_calibration_error(p, y, bins))
    stated = np.sqrt(2 * p * (1 - p) / (np.pi * per_bin)).mean()
    assert np.mean(plain) == pytest.approx(stated, rel=0.03)  # the half-normal approximation
    assert abs(np.mean(squared)) < 4 * np.std(squared) / np.sqrt(len(squared))


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="all 3 labels are 1"):
        auc([1, 2, 3], [1, 1, 1])
    with pytest.raises(ValueError, match="labels hold 2.0"):
        auc([1, 2, 3], [0, 1, 2])
    with pytest.raises(ValueError, match="scores has length 3 and labels 2"):
        auc([1, 2, 3], [0, 1])
    with pytest.raises(ValueError, match=r"probabilities span \[0.1, 3\]"):
        brier([0.1, 3.0], [0, 1])
    with pytest.raises(ValueError, match="NaN"):
        log_loss([np.nan], [1])
    with pytest.raises(ValueError, match="every bin holds one patient"):
        squared_calibration_error([0.1, 0.9], [0, 1], bins=2)
