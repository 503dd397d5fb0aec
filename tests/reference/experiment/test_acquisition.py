"""Lines of P(y | t): size and power of their comparison; control alike, noisy scanner not."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from medxfer_lab.reference.experiment.acquisition import LogisticLine, acquisition_posterior


def sample(rng, n: int = 400, moved: float = 0.0):
    """A curve that is no logistic line: flat in the middle."""
    z = 1.5 * rng.standard_normal(n)
    return z, (rng.random(n) < expit(z**3 / 3 - 0.5 + moved)).astype(float)


def test_size_and_power_where_the_line_is_wrong():
    rng = np.random.default_rng(0)
    size, power = [], []
    for _ in range(400):
        first = LogisticLine.fitted(*sample(rng))
        size.append(first.p_value(LogisticLine.fitted(*sample(rng))))
        power.append(first.p_value(LogisticLine.fitted(*sample(rng, moved=0.8))))
    low, high = stats.binom.ppf([1e-4, 1 - 1e-4], 400, 0.05)
    assert low <= np.sum(np.array(size) <= 0.05) <= high
    assert np.mean(np.array(power) <= 0.05) > 0.9


def test_line_is_scikit_learns_and_its_spread_the_samples():
    rng = np.random.default_rng(1)
    z, y = sample(rng)
    peer = LogisticRegression(C=1e8, tol=1e-10).fit(z[:, None], y)
    line = LogisticLine.fitted(z, y)
    np.testing.assert_allclose(line.beta, np.r_[peer.intercept_, peer.coef_[0]], atol=1e-4)
    np.testing.assert_allclose(line.predict(z), peer.predict_proba(z[:, None])[:, 1], atol=1e-4)
    lines = [LogisticLine.fitted(*sample(rng)) for _ in range(800)]
    spread = np.cov(np.array([one.beta for one in lines]).T)
    mean = np.mean([one.covariance for one in lines], axis=0)
    # 800 draws estimate a variance to 5 %; the sandwich is a little small at n = 400
    np.testing.assert_allclose(np.diag(mean), np.diag(spread), rtol=0.2)


@pytest.mark.slow
def test_posterior_moves_with_the_scanner_and_not_without():
    found = acquisition_posterior(600, 32, seed=11, snrs=(20.0, 5.0))
    _, control, noisy = found.values()
    assert control["p_value"] > 1e-3 and noisy["p_value"] < 1e-6
    assert control["prevalence"] == noisy["prevalence"]
    assert abs(control["mean_prediction"] - control["prevalence"]) < 0.08
    assert noisy["mean_prediction"] > noisy["prevalence"] + 0.2
