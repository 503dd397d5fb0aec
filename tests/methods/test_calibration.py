"""Recalibration against scikit-learn, scipy's optimiser, the score equations and an exact truth."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import optimize
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression

from medxfer_lab.methods.calibration import KINDS, Calibration, fit_calibration


def patients(n, slope=1.0, intercept=0.0, seed=0):
    rng = np.random.default_rng(seed)
    z = 2 * rng.standard_normal(n)
    return z, (rng.random(n) < expit(slope * z + intercept)).astype(int)


def loss(slope, intercept, z, targets):
    margin = slope * z + intercept
    return (np.logaddexp(0, margin) - targets * margin).mean()


@pytest.mark.parametrize("scale", [1e-3, 1.0, 50.0])
def test_platt_is_logistic_regression(scale):
    z, y = patients(300, 0.5, -1.0)
    model = LogisticRegression(C=np.inf, tol=1e-12, max_iter=10_000).fit(z[:, None], y)
    ours = fit_calibration(z * scale + 3, y)
    expected = expit(z * model.coef_[0, 0] + model.intercept_[0])
    assert np.allclose(ours.probabilities(z * scale + 3), expected, atol=1e-6)


def test_temperature_is_logistic_regression_without_intercept():
    z, y = patients(300, 0.5)
    model = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-12).fit(z[:, None], y)
    ours = fit_calibration(z, y, "temperature")
    assert ours.slope == pytest.approx(model.coef_[0, 0], rel=1e-6) and ours.intercept == 0
    assert ours.temperature == pytest.approx(1 / ours.slope)


@pytest.mark.parametrize("smooth", [False, True])
def test_offset_is_where_scipys_search_ends(smooth):
    z, y = patients(200, 1.0, -2.0)
    targets = np.where(y == 1, (y.sum() + 1) / (y.sum() + 2), 1 / ((1 - y).sum() + 2))
    targets = targets if smooth else y
    best = optimize.minimize_scalar(lambda b: loss(1.0, b, z, targets), bracket=(-9, 9), tol=1e-12)
    ours = fit_calibration(z, y, "offset", smooth=smooth)
    assert ours.slope == 1 and ours.intercept == pytest.approx(best.x, abs=1e-5)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10**6),
    st.floats(-3, 3).filter(lambda s: abs(s) > 0.1),
    st.floats(-30, 30),
    st.sampled_from(KINDS),
    st.booleans(),
)
def test_the_score_equations_hold(seed, slope, intercept, kind, smooth):
    """At the maximum the residuals are orthogonal to each free column, whatever the scale."""
    rng = np.random.default_rng(seed)
    z = slope * rng.standard_normal(40) + (0 if kind == "temperature" else intercept)
    y = rng.integers(0, 2, 40)
    assume(0 < y.sum() < 40)
    fit = fit_calibration(z, y, kind, smooth=smooth)
    n1 = y.sum()
    targets = np.where(y == 1, (n1 + 1) / (n1 + 2), 1 / (42 - n1)) if smooth else y
    residual = targets - fit.probabilities(z)
    if kind != "temperature":
        assert abs(residual.mean()) < 1e-9
    if kind != "offset":
        centred = (z - z.mean()) if kind == "platt" else z
        assert abs((residual * centred).mean()) < 1e-9 * max(1, np.abs(z).max())


def test_an_exact_line_is_recovered_exactly():
    """Labels in the exact proportions of a line: its slope and intercept are the maximum."""
    p = np.array([0.1, 0.5, 0.8])
    seen = np.repeat(2 * logit(p) + 1, 10)
    y = np.concatenate([np.arange(10) < round(10 * q) for q in p]).astype(int)
    fit = fit_calibration(seen, y)
    assert (fit.slope, fit.intercept) == pytest.approx((0.5, -0.5), abs=1e-9)


def test_a_change_of_prevalence_is_an_offset():
    """Counts in the exact proportions after a shift of the log odds by a constant."""
    p = np.array([0.2, 0.5, 0.8])
    y = np.concatenate([np.arange(10) < round(10 * q) for q in p]).astype(int)
    fit = fit_calibration(np.repeat(logit(p) + 1.7, 10), y, "offset")
    assert fit.intercept == pytest.approx(-1.7, abs=1e-10)
    platt = fit_calibration(np.repeat(logit(p) + 1.7, 10), y)
    assert (platt.slope, platt.intercept) == pytest.approx((1, -1.7), abs=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_separable_classes_are_refused_or_smoothed(kind):
    z, y = np.array([-3.0, -2, -1, 1, 2, 4]), np.array([0, 0, 0, 1, 1, 1])
    if kind == "offset":
        y = np.ones(6)
    with pytest.raises(ValueError, match="infinite: label more patients, or pass smooth=True"):
        fit_calibration(z, y, kind)
    fit = fit_calibration(z, y, kind, smooth=True)
    assert np.isfinite([fit.slope, fit.intercept]).all()
    targets = np.where(y == 1, (y.sum() + 1) / (y.sum() + 2), 1 / ((1 - y).sum() + 2))
    here = loss(fit.slope, fit.intercept, z, targets)
    for step in (1e-3, -1e-3):
        moved = (fit.slope + step, 0 if kind == "temperature" else fit.intercept)
        if kind == "offset":
            moved = (1.0, fit.intercept + step)
        assert loss(*moved, z, targets) > here


def test_classes_that_touch_in_one_value_have_no_finite_slope():
    with pytest.raises(ValueError, match="threshold separates the 2 healthy from the 2 diseased"):
        fit_calibration([-1.0, 0, 0, 1], [0, 0, 1, 1])
    with pytest.raises(ValueError, match="threshold separates"):
        fit_calibration([-1.0, 0, 0, 1], [1, 1, 0, 0])
    assert fit_calibration([-1.0, 0, 0, -1], [0, 0, 1, 1]).slope == pytest.approx(0, abs=1e-9)


def test_saturated_log_odds_do_not_stop_the_search():
    z, y = patients(400, 1.0)
    fit = fit_calibration(1000 * z, y)
    assert 1000 * fit.slope == pytest.approx(fit_calibration(z, y).slope, rel=1e-8)
    assert fit_calibration(z + 5000, y, "offset").intercept == pytest.approx(
        fit_calibration(z, y, "offset").intercept - 5000, abs=1e-8
    )


def test_apply_keeps_the_shape():
    line = Calibration(2.0, -1.0)
    assert line.apply([[0.0, 1.0]]).tolist() == [[-1.0, 1.0]]
    assert line.probabilities(0.5) == 0.5
    assert Calibration(0.0).temperature == np.inf


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: fit_calibration([0.0, 1], [0, 1, 1]), "log_odds has length 2 and labels 3"),
        (lambda: fit_calibration([0.0, 1], [0, 2]), "labels hold 2.0"),
        (lambda: fit_calibration([0.0, np.inf], [0, 1]), "NaN or infinite"),
        (lambda: fit_calibration([0.0, 1], [0, 1], "isotonic"), "kind is 'isotonic'"),
        (lambda: fit_calibration([2.0, 2, 2], [0, 1, 1]), 'all 3 log odds are 2.*kind="offset"'),
        (lambda: fit_calibration([0.0, 0], [0, 1], "temperature"), "no slope"),
    ],
)
def test_errors_say_what_is_wrong(call, words):
    with pytest.raises(ValueError, match=words):
        call()
