"""Oracles: scipy's normal densities and adaptive quadrature, Monte Carlo, logistic regression."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import expit
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from medxfer_lab.domain_shift import theory
from medxfer_lab.domain_shift.theory import Scanner

scanners = st.builds(
    Scanner, noise=st.floats(0.3, 3), gain=st.floats(0.5, 2), offset=st.floats(-2, 2)
)


def densities(x, scanner, delta):
    sd = scanner.gain * scanner.noise
    return [norm.pdf(x, scanner.offset + scanner.gain * delta * y, sd) for y in (0, 1)]


def sample(scanner, delta, prevalence, n, seed):
    rng = np.random.default_rng(seed)
    y = rng.uniform(size=n) < prevalence
    return y, scanner.offset + scanner.gain * (delta * y + scanner.noise * rng.normal(size=n))


@settings(max_examples=40, deadline=None)
@given(scanners, st.floats(0.1, 4), st.floats(0.02, 0.98))
def test_log_odds_are_bayes_rule(scanner, delta, prevalence):
    x = scanner.offset + scanner.gain * np.linspace(-2, 3, 7)
    healthy, diseased = densities(x, scanner, delta)
    oracle = np.log(prevalence * diseased) - np.log((1 - prevalence) * healthy)
    got = theory.log_odds(x, scanner, delta, prevalence)
    assert np.allclose(got, oracle, atol=1e-8)
    assert np.allclose(np.diff(got) / np.diff(x), theory.slope(scanner, delta))


def test_auc_by_monte_carlo_and_blind_to_the_gain():
    scanner, delta, n = Scanner(1.3, 2.0, -1.0), 1.8, 20_000
    y, x = sample(scanner, delta, 0.5, n, 0)
    # Hanley and McNeil's bound on the standard error: sqrt(A(1 - A)/min(n1, n0))
    a = theory.auc(scanner, delta)
    assert abs(roc_auc_score(y, x) - a) < 4 * np.sqrt(a * (1 - a) / min(y.sum(), (~y).sum()))
    assert a == theory.auc(Scanner(1.3), delta)
    assert theory.auc(scanner, 0) == 0.5


@settings(max_examples=15, deadline=None)
@given(scanners, scanners, st.floats(0.2, 3), st.floats(0.05, 0.95))
def test_losses_by_adaptive_quadrature(source, target, delta, prevalence):
    got = theory.old_rule(source, target, delta, prevalence)

    def expected(loss):
        """E loss(x, eta_target(x)) over the target's p(x), cut in pieces one deviation long."""
        sd, low = target.gain * target.noise, target.offset
        edges = np.linspace(low - 9 * sd, low + target.gain * delta + 9 * sd, 25)

        def integrand(x):
            h, d = densities(x, target, delta)
            mass = (1 - prevalence) * h + prevalence * d
            return mass * loss(float(theory.log_odds(x, target, delta, prevalence)), x)

        return sum(quad(integrand, a, b, epsabs=1e-12)[0] for a, b in zip(edges, edges[1:]))

    def used(x):
        return float(theory.log_odds(x, source, delta, prevalence))

    def log_loss(true, odds):
        return expit(true) * np.logaddexp(0, -odds) + expit(-true) * np.logaddexp(0, odds)

    assert got.best_log_loss == pytest.approx(expected(lambda t, x: log_loss(t, t)), abs=1e-8)
    assert got.log_loss == pytest.approx(expected(lambda t, x: log_loss(t, used(x))), abs=1e-8)
    assert got.excess_log_loss == pytest.approx(got.log_loss - got.best_log_loss, abs=1e-9)
    assert got.excess_log_loss >= 0 and got.error >= got.best_error - 1e-12


@settings(max_examples=40, deadline=None)
@given(scanners, scanners, st.floats(0.2, 3), st.floats(0.05, 0.95))
def test_calibration_is_exact_everywhere(source, target, delta, prevalence):
    got = theory.old_rule(source, target, delta, prevalence)
    x = np.linspace(-5, 5, 9)
    old = theory.log_odds(x, source, delta, prevalence)
    true = theory.log_odds(x, target, delta, prevalence)
    assert np.allclose(got.calibration_intercept + got.calibration_slope * old, true, atol=1e-8)
    ratio = source.gain * source.noise**2 / (target.gain * target.noise**2)
    assert got.calibration_slope == pytest.approx(ratio)


def test_logistic_recalibration_finds_that_slope_and_the_losses_are_the_samples():
    source, target, delta, prevalence, n = Scanner(0.8), Scanner(1.2, 1.1, 0.3), 2.0, 1 / 3, 40_000
    y, x = sample(target, delta, prevalence, n, 1)
    old = theory.log_odds(x, source, delta, prevalence)
    got = theory.old_rule(source, target, delta, prevalence)
    fit = LogisticRegression(C=np.inf, tol=1e-8).fit(old[:, None], y)
    p = expit(got.calibration_intercept + got.calibration_slope * old)
    design = np.stack([np.ones(n), old], axis=1)
    se = np.sqrt(np.diag(np.linalg.inv(design.T @ (design * (p * (1 - p))[:, None]))))
    assert abs(fit.intercept_[0] - got.calibration_intercept) < 4 * se[0]
    assert abs(fit.coef_[0, 0] - got.calibration_slope) < 4 * se[1]
    losses = np.where(y, np.logaddexp(0, -old), np.logaddexp(0, old))
    assert abs(losses.mean() - got.log_loss) < 4 * losses.std() / np.sqrt(n)
    errors = (old > 0) != y
    assert abs(errors.mean() - got.error) < 4 * errors.std() / np.sqrt(n)
    sensitivity, specificity = theory.operating_point(1.0, source, target, delta, prevalence)
    for rate, calls in ((sensitivity, old[y] > 1), (specificity, old[~y] <= 1)):
        assert abs(calls.mean() - rate) < 4 * np.sqrt(rate * (1 - rate) / len(calls))


@settings(max_examples=30, deadline=None)
@given(st.floats(0.4, 2), st.floats(1.05, 3), st.floats(0.2, 3))
def test_noise_alone_makes_the_old_rule_too_sure_and_keeps_its_calls_at_even_prevalence(
    noise, ratio, delta
):
    got = theory.old_rule(Scanner(noise), Scanner(noise * ratio), delta)
    assert got.calibration_slope == pytest.approx(ratio**-2)
    assert got.calibration_intercept == pytest.approx(0, abs=1e-9)
    assert got.excess_log_loss > 0 and got.error == pytest.approx(got.best_error)
    uneven = theory.old_rule(Scanner(1.0), Scanner(ratio), 2.0, 0.2)
    assert uneven.error > uneven.best_error  # the even prevalence is what kept the threshold


def test_the_same_scanner_costs_nothing_and_a_gain_costs_without_losing_information():
    same = theory.old_rule(Scanner(1.0), Scanner(1.0), 2.0, 0.2)
    assert (same.calibration_slope, same.excess_log_loss) == (1, 0)
    got = theory.old_rule(Scanner(1.0), Scanner(1.0, 1.5, 0.4), 2.0, 0.2)
    assert got.best_log_loss == pytest.approx(same.best_log_loss)
    assert got.best_error == pytest.approx(same.best_error) and got.excess_log_loss > 0.01


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="noise is 0"):
        Scanner(0.0)
    with pytest.raises(ValueError, match="gain is -1"):
        Scanner(1.0, -1.0)
    with pytest.raises(ValueError, match="prevalence is 1"):
        theory.log_odds(0.0, Scanner(1.0), 1.0, 1.0)
    with pytest.raises(ValueError, match="delta is 0"):
        theory.old_rule(Scanner(1.0), Scanner(2.0), 0.0)
