"""Black-box shift detection: against scipy, and what it can and cannot see."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from scipy.special import expit, softmax

from medxfer_lab.methods.shift_tests import black_box_test


def scores(seed: int, n: int, prevalence: float, sick: float = 1.5) -> np.ndarray:
    rng = np.random.default_rng((seed, 32))
    return rng.normal(sick * (rng.random(n) < prevalence))


def test_one_score_is_scipys_test():
    a, b = scores(0, 80, 0.3), scores(1, 60, 0.6)
    ours, peer = black_box_test(a, b), stats.ks_2samp(a, b)
    assert (ours.statistic, ours.p_value) == pytest.approx((peer.statistic, peer.pvalue))
    assert ours.sizes == (80, 60) and "1 score" in ours.method


def test_many_scores_are_combined_after_bonferroni():
    rng = np.random.default_rng(2)
    a = softmax(rng.normal(size=(90, 3)), axis=1)
    b = softmax(rng.normal(size=(70, 3)) + [0.4, 0, 0], axis=1)
    each = [stats.ks_2samp(u, v).pvalue for u, v in zip(a.T, b.T)]
    assert 3 * min(each) < 1
    assert black_box_test(a, b).p_value == pytest.approx(3 * min(each))


def test_log_odds_and_probabilities_agree():
    a, b = scores(3, 50, 0.3), scores(4, 50, 0.5)
    assert black_box_test(a, b) == black_box_test(expit(a), expit(b))


def test_size_and_power():
    """At most alpha without shift (exact, so conservative); label shift .1 to .5 is seen."""
    alike = [
        black_box_test(scores(s, 200, 0.3), scores(10_000 + s, 200, 0.3)).p_value
        for s in range(500)
    ]
    assert (np.array(alike) <= 0.05).sum() <= stats.binom.ppf(1 - 1e-4, 500, 0.05)
    seen = [
        black_box_test(scores(s, 200, 0.1), scores(10_000 + s, 200, 0.5)).rejects()
        for s in range(50)
    ]
    assert np.mean(seen) > 0.9


def test_what_the_score_ignores_goes_undetected():
    """A scanner moves a feature of weight zero by five standard deviations: same scores."""
    rng = np.random.default_rng(5)
    x = rng.normal(size=(100, 2))
    moved, weights = x + [0.0, 5.0], np.array([1.0, 0.0])
    assert black_box_test(x @ weights, moved @ weights).p_value == 1.0


def test_errors_say_what_is_wrong():
    with pytest.raises(ValueError, match="2 features and second 3"):
        black_box_test(np.zeros((4, 2)), np.zeros((4, 3)))
    with pytest.raises(ValueError, match="NaN or infinite"):
        black_box_test([np.inf, 0.0], [0.0, 1.0])
