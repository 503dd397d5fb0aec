"""Fitted weights against a ratio that is known: two normal densities."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import stats

from medxfer_lab.domain_shift.experiment import conditions as c
from medxfer_lab.domain_shift.experiment import ratio
from medxfer_lab.methods.calibration import fit_calibration


@pytest.fixture
def cohorts(monkeypatch):
    """Cohorts that are their statistics: (n, 8) numbers."""
    monkeypatch.setattr(ratio.m, "statistics", lambda cohort: cohort.x)

    def make(n: int, mean: float, seed: int):
        x = np.random.default_rng(seed).standard_normal((n, 8))
        x[:, 0] += mean
        return SimpleNamespace(x=torch.from_numpy(x))

    return make


@pytest.mark.parametrize("mean", [0.5, 1.0])
def test_weights_of_two_normals(cohorts, mean):
    """log w = mean x_1 - mean^2/2, a function of one column: ranks, mean, and effective size."""
    source, target = cohorts(1500, 0.0, 0), cohorts(1000, mean, 1)
    found = ratio.fitted_weights(source, target, seed=2)
    known = np.exp(mean * source.x[:, 0].numpy() - mean**2 / 2)
    assert found.known.mean() == pytest.approx(1) and found.cut == 0
    # 8 coefficients from 2,500 patients of information eta (1 - eta) > .15 each; the norm of their
    # error is twice its root mean square in less than one of a million cases
    error = 2 * np.sqrt(8 / (2500 * 0.15))
    assert np.std(np.log(found.known) - np.log(known)) < error
    assert stats.spearmanr(found.known, known).statistic > mean / np.hypot(mean, error)
    wanted = stats.norm.cdf(mean / np.sqrt(2))
    # Hanley and McNeil's bound on the variance of an AUC, and what fitting seven idle columns costs
    error = np.sqrt(wanted * (1 - wanted) / 1000)
    assert wanted - 4 * error - 0.03 < found.domain_auc < wanted + 4 * error


def test_nobody_is_scored_by_a_classifier_that_saw_them(cohorts):
    """60 patients, no shift: in-sample, eight columns would tell the domains apart."""
    aucs = [
        ratio.fitted_weights(cohorts(30, 0.0, 10 + s), cohorts(30, 0.0, 500 + s), s).domain_auc
        for s in range(40)
    ]
    # null AUC has mean 1/2 (crosswise a little below) and variance (n + m + 1)/(12 n m)
    error = np.sqrt(61 / (12 * 900) / 40)
    assert 0.5 - 0.08 < np.mean(aucs) < 0.5 + 4 * error


def test_domains_that_part_are_cut_and_it_is_said(cohorts):
    """Log odds of parted domains grow with log n: only large samples reach the cut."""
    found = ratio.fitted_weights(cohorts(9000, 0.0, 0), cohorts(6000, 60.0, 1), 0)
    assert found.domain_auc == 1 and 0 < found.cut <= 1
    assert np.isfinite(found.known).all() and found.known.mean() == pytest.approx(1)
    assert np.ptp(np.log(found.known)) <= 2 * ratio.LARGEST_LOG_ODDS + 1e-9
    few = ratio.fitted_weights(cohorts(100, 0.0, 0), cohorts(80, 60.0, 1), 0)
    assert few.domain_auc == 1 and few.cut == 0  # so the AUC must be read beside the weights


def test_weighted_calibration_counts_patients(gaussian):
    """A weight of k is the patient k times; the likelihood is, nearly, without a penalty."""
    rng = np.random.default_rng(3)
    drawn, times = gaussian(400, 0.4, rng), rng.integers(0, 5, 400)
    found = ratio.weighted_calibration(drawn.z, drawn.y, times.astype(float))
    expected = fit_calibration(np.repeat(drawn.z, times), np.repeat(drawn.y, times))
    assert found.slope == pytest.approx(expected.slope, abs=2e-3)
    assert found.intercept == pytest.approx(expected.intercept, abs=2e-3)


def test_seed_sets_the_folds(cohorts):
    pair = cohorts(100, 0.0, 0), cohorts(80, 0.4, 1)
    a, b, other = (ratio.fitted_weights(*pair, seed) for seed in (1, 1, 2))
    assert np.array_equal(a.known, b.known) and not np.array_equal(a.known, other.known)


@pytest.mark.parametrize("name", ["select.30", "vendor.90"])
def test_of_images_they_follow_the_known_weights(ward, pool, name):
    index = c.target(pool, name, 0).index
    found = ratio.fitted_weights(ward, ward.take(index), 0)
    known = c.known_weights(ward, name)
    assert stats.spearmanr(found.known, known).statistic > 0.7
    assert found.domain_auc > 0.65
