"""Tests of p(y | x): exact size under covariate shift, power when p(y | x) moves."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from medxfer_lab.metrics.conditional import (
    conditional_domain_test,
    known_probability_test,
    logistic_fit,
    permuted_within,
    with_intercept,
)
from medxfer_lab.metrics.two_sample import energy_test, prevalence_test

REPETITIONS = 400


def in_band(p_values, alpha: float = 0.05) -> bool:
    """Rejections within a binomial interval of chance 1e-4 around alpha."""
    rejections = int((np.asarray(p_values) <= alpha + 1e-12).sum())
    low, high = stats.binom.ppf([5e-5, 1 - 5e-5], len(p_values), alpha)
    return low <= rejections <= high


def covariate_shift(seed: int, n: int = 80, moved: float = 0.0):
    """x normal; d ~ Bernoulli(e(x)); P(y = 1 | x) is no logistic function, on purpose.

    moved: added to the logit of y in domain 1; 0 is covariate shift.
    """
    rng = np.random.default_rng((seed, 77))
    x = rng.standard_normal((n, 2))
    e = 0.1 + 0.8 * expit(2 * x[:, 0])
    d = (rng.random(n) < e).astype(float)
    y = (rng.random(n) < expit(1.5 * np.sin(3 * x[:, 0]) + x[:, 0] + moved * d)).astype(float)
    return x, y, d, e


def test_known_propensity_has_exact_size_where_plain_tests_reject():
    exact, exact_poor, plain, wrong = [], [], [], []
    for seed in range(REPETITIONS):
        x, y, d, e = covariate_shift(seed)
        how = {"seed": seed, "draws": 99}
        exact.append(conditional_domain_test(x, y, d, propensity=e, **how).p_value)
        # exact for any features: even for those that know nothing of what differs
        poor, flat = x[:, 1], np.full(len(d), d.mean())
        exact_poor.append(conditional_domain_test(poor, y, d, propensity=e, **how).p_value)
        wrong.append(conditional_domain_test(poor, y, d, propensity=flat, **how).p_value)
        plain.append(prevalence_test(y[d == 0], y[d == 1]).p_value)
    assert in_band(exact) and in_band(exact, alpha=0.5)
    assert in_band(exact_poor) and in_band(exact_poor, alpha=0.5)
    assert np.mean(np.array(plain) <= 0.05) > 0.4  # p(y) does change
    assert not in_band(wrong)  # a propensity that ignores x is not the truth, and it shows


def test_power_against_a_moved_posterior():
    p = []
    for seed in range(60):
        x, y, d, e = covariate_shift(seed, n=300, moved=1.5)
        p.append(conditional_domain_test(x, y, d, propensity=e, seed=seed, draws=99).p_value)
    assert np.mean(np.array(p) <= 0.05) > 0.75


def strata_example(seed: int, moved: float = 0.0, n: int = 90):
    """Three scanners; the domains differ in their mixture only (moved = 0)."""
    rng = np.random.default_rng((seed, 78))
    d = np.repeat([0.0, 1.0], n // 2)
    mixture = np.where(d[:, None] == 0, [0.6, 0.3, 0.1], [0.2, 0.3, 0.5]).cumsum(1)
    k = (rng.random((n, 1)) > mixture).sum(1)
    x = k[:, None] + 0.3 * rng.standard_normal((n, 2))
    prevalence = np.array([0.2, 0.5, 0.8])[k] + moved * d * np.where(k == 2, -1, 1)
    return x, (rng.random(n) < prevalence).astype(float), d, k


def test_strata_have_exact_size_and_power():
    size = [
        conditional_domain_test(x, y, d, strata=k, seed=s, draws=99).p_value
        for s in range(REPETITIONS)
        for x, y, d, k in [strata_example(s)]
    ]
    assert in_band(size) and in_band(size, alpha=0.5)
    power = [
        conditional_domain_test(x, y, d, strata=k, seed=s, draws=99).p_value
        for s in range(60)
        for x, y, d, k in [strata_example(s, moved=0.3, n=300)]
    ]
    assert np.mean(np.array(power) <= 0.05) > 0.9


def test_fitted_propensity_is_close_when_its_form_is_right():
    """logit e(x) linear in x: the fit can be right, and size must be near alpha (.03 allowed)."""
    size, power = [], []
    for seed in range(REPETITIONS):
        for moved, kept in ((0.0, size), (1.5, power)):
            rng = np.random.default_rng((seed, 79))
            x = rng.standard_normal((200, 2))
            d = (rng.random(200) < expit(x[:, 0] - 0.3)).astype(float)
            y = (rng.random(200) < expit(2 * x[:, 0] - x[:, 1] + moved * d)).astype(float)
            test = conditional_domain_test(x, y, d, confounders=x, seed=seed, draws=99)
            kept.append(test.p_value)
    assert 0.02 <= np.mean(np.array(size) <= 0.05) <= 0.08 + 0.02
    assert np.mean(np.array(power) <= 0.05) > 0.8


def test_permutations_stay_in_their_stratum():
    d, strata = np.array([1.0, 0, 0, 1, 1, 1]), np.array([0, 0, 0, 5, 5, 5])
    share, drawn = permuted_within(d, strata, 50, np.random.default_rng(0))
    np.testing.assert_allclose(share, [1 / 3] * 3 + [1.0] * 3)
    assert (drawn[:, :3].sum(1) == 1).all() and (drawn[:, 3:] == 1).all()
    assert len(np.unique(drawn, axis=0)) == 3


def test_known_probability_size_and_power():
    """Labels drawn from eta: exact. From a flatter or a shifted eta: seen."""
    size, flatter, shifted = [], [], []
    for seed in range(REPETITIONS):
        rng = np.random.default_rng((seed, 80))
        x = rng.standard_normal((30, 2))
        logit = 2 * x[:, 0] - 0.5
        u = rng.random(30)
        for p, true in ((size, logit), (flatter, 0.2 * logit), (shifted, logit + 2)):
            y = (u < expit(true)).astype(float)
            p.append(known_probability_test(x, y, expit(logit), seed=seed, draws=99).p_value)
    assert in_band(size) and in_band(size, alpha=0.5)
    assert np.mean(np.array(shifted) <= 0.05) > 0.8
    assert np.mean(np.array(flatter) <= 0.05) > 0.5


def test_known_probability_statistic_is_chi_squared_for_many_patients():
    rng = np.random.default_rng(1)
    x = rng.standard_normal((3000, 3))
    eta = expit(x[:, 0])
    y = (rng.random(3000) < eta).astype(float)
    test = known_probability_test(x, y, eta, seed=0, draws=9999)
    tail = stats.chi2(4).sf(test.statistic)
    assert test.p_value == pytest.approx(tail, abs=4 * np.sqrt(0.25 / 1e4) + 0.01)


def test_logistic_fit_is_scikit_learns():
    x, y, _, _ = covariate_shift(3, n=120)
    for ridge in (1e-3, 1.0):
        peer = LogisticRegression(C=1 / ridge, tol=1e-12, max_iter=10_000).fit(x, y)
        np.testing.assert_allclose(
            logistic_fit(with_intercept(x), y, ridge), peer.predict_proba(x)[:, 1], atol=2e-5
        )


def test_logistic_fit_survives_separated_classes():
    x = np.r_[np.linspace(-2, -1, 20), np.linspace(1, 2, 20)][:, None]
    p = logistic_fit(with_intercept(x), np.repeat([0.0, 1.0], 20))
    assert (p[:20] < 0.01).all() and (p[20:] > 0.99).all()


def test_no_overlap_means_no_power_and_says_so():
    """x gives the domain away: p(y | x) cannot be compared, however much it moved."""
    p = []
    for seed in range(40):
        rng = np.random.default_rng((seed, 81))
        d = np.repeat([0.0, 1.0], 60)
        x = 10 * d[:, None] + rng.standard_normal((120, 1))
        y = (rng.random(120) < np.where(d == 1, 0.9, 0.1)).astype(float)
        assert energy_test(x[d == 0], x[d == 1], seed=seed, permutations=19).p_value == 0.05
        p.append(conditional_domain_test(x, y, d, confounders=x, seed=seed, draws=99).p_value)
    assert np.mean(np.array(p) <= 0.05) < 0.2
    assert "power is then low" in conditional_domain_test.__doc__.replace("\n", " ").replace(
        "        ", " "
    )


@pytest.mark.parametrize("how", [{}, {"strata": np.zeros(4), "confounders": np.zeros(4)}])
def test_exactly_one_way(how):
    with pytest.raises(ValueError, match="exactly one"):
        conditional_domain_test(np.zeros(4), [0, 1, 0, 1], [0, 0, 1, 1], seed=0, **how)


def test_errors_say_what_is_wrong():
    with pytest.raises(ValueError, match="only 0"):
        conditional_domain_test(np.zeros(2), [0, 2], [0, 1], seed=0, strata=np.zeros(2))
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        known_probability_test(np.zeros(2), [0, 1], [0.5, 1.5], seed=0)
