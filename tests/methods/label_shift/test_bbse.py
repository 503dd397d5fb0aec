"""BBSE: exact worlds, Rogan and Gladen's formula, Monte Carlo for error and coverage."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from medxfer_lab.methods.label_shift import black_box_shift_estimate
from medxfer_lab.methods.label_shift.bbse import Moments
from tests.methods.label_shift.worlds import exact_sample, posterior

SEPARATION = 1.735  # AUC .89 for two normal scores of equal spread


def scores(rng, n, prevalence, separation=SEPARATION):
    y = (rng.random(n) < prevalence).astype(int)
    return stats.norm.cdf(separation * (y - 0.5) + rng.standard_normal(n)), y


def draw(seed, n_source, n_target, rho, separation=SEPARATION):
    rng = np.random.default_rng(seed)
    source, y = scores(rng, n_source, 1 / 3, separation)
    return source, y, scores(rng, n_target, rho, separation)[0]


@pytest.mark.parametrize("score", ["calibrated", "overconfident", "hard", "odd scale"])
@pytest.mark.parametrize("healthy, diseased", [(49, 1), (8, 2), (1, 4), (3, 0)])
def test_exact_in_a_finite_world_whatever_the_calibration(score, healthy, diseased):
    eta = posterior(1 / 3)
    f = {
        "calibrated": eta,
        "overconfident": eta**3 / (eta**3 + (1 - eta) ** 3),
        "hard": (eta > 0.5).astype(float),
        "odd scale": np.array([-700.0, 3, 2, 40]),
    }[score]
    source, y = exact_sample(2, 1)
    target, _ = exact_sample(healthy, diseased)
    estimate = black_box_shift_estimate(f[source], y, f[target])
    assert estimate.raw == pytest.approx(diseased / (healthy + diseased), abs=1e-12)
    assert estimate.compatible and estimate.prevalence in estimate


def test_hard_decisions_are_rogan_and_gladens():
    """(apparent prevalence + specificity - 1)/(sensitivity + specificity - 1), and its variance."""
    y = np.repeat([0, 1], [200, 100])
    called = np.concatenate([np.arange(200) < 30, np.arange(100) < 80])
    target = np.arange(500) < 140
    estimate = black_box_shift_estimate(called, y, target, interval="delta")
    se, sp, apparent = 0.8, 0.85, 0.28
    raw = (apparent + sp - 1) / (se + sp - 1)
    variance = (
        apparent * (1 - apparent) / 499
        + (1 - raw) ** 2 * sp * (1 - sp) / 199
        + raw**2 * se * (1 - se) / 99
    ) / (se + sp - 1) ** 2
    assert estimate.raw == pytest.approx(raw)
    assert estimate.standard_error == pytest.approx(np.sqrt(variance))
    confusion = np.array([[sp, 1 - se], [1 - sp, se]])
    values = np.linalg.eigvalsh(confusion.T @ confusion)
    assert estimate.condition_number == pytest.approx(np.sqrt(values[1] / values[0]))
    assert (estimate.n_source, estimate.n_target) == (300, 500)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.floats(-50, 50), st.floats(0.01, 20), st.booleans())
def test_an_affine_map_of_the_score_changes_nothing(seed, shift, scale, flip):
    source, y, target = draw(seed, 60, 50, 0.3)
    factor = -scale if flip else scale
    first = black_box_shift_estimate(source, y, target)
    second = black_box_shift_estimate(factor * source + shift, y, factor * target + shift)
    for name in ("raw", "low", "high", "standard_error"):
        assert getattr(second, name) == pytest.approx(getattr(first, name), rel=1e-6, abs=1e-8)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10**6), st.floats(0, 1), st.sampled_from([0.3, 0.8, 1.7, 3.0]))
def test_fiellers_set_is_what_the_test_does_not_reject(seed, rho, separation):
    """Grid inversion of the t test: hull of the accepted prevalences, and emptiness."""
    rng = np.random.default_rng(seed)
    source, y = scores(rng, 40, 0.4, separation)
    target = scores(rng, 40, rho)[0]  # another separation: the model may be wrong
    assume(2 <= y.sum() <= 38)
    estimate = black_box_shift_estimate(source, y, target)
    moments = Moments.of(source, y, target)
    quantile = stats.t.ppf(0.975, moments.degrees_of_freedom(estimate.prevalence))
    grid = np.linspace(0, 1, 2001)
    m0, m1, mt = source[y == 0].mean(), source[y == 1].mean(), target.mean()
    parts = [np.var(g, ddof=1) / g.size for g in (source[y == 0], source[y == 1], target)]
    spread = np.sqrt(parts[2] + (1 - grid) ** 2 * parts[0] + grid**2 * parts[1])
    kept = grid[np.abs(mt - (1 - grid) * m0 - grid * m1) <= quantile * spread]
    if kept.size:
        assert (estimate.low, estimate.high) == pytest.approx((kept[0], kept[-1]), abs=6e-4)
    else:
        assert estimate.high - estimate.low < 1e-3


def test_the_delta_error_is_that_of_repetitions():
    """Standard deviation over 2,000 repetitions against the root mean square of the claimed one.

    A standard deviation of N normal draws has relative error 1/sqrt(2N) = 1.6 %; 4 of those. Half
    of the error is the source's here, so leaving that out would show.
    """
    made = [black_box_shift_estimate(*draw([1, i], 400, 400, 0.3)) for i in range(2000)]
    claimed = np.sqrt(np.mean([e.standard_error**2 for e in made]))
    assert np.std([e.raw for e in made]) == pytest.approx(claimed, rel=4 / np.sqrt(4000))
    target_only = np.sqrt(np.mean([target_part(i) for i in range(200)]))
    assert target_only < 0.85 * claimed


def target_part(i):
    moments = Moments.of(*draw([1, i], 400, 400, 0.3))
    return moments.variances[2] / moments.gap**2


@pytest.mark.parametrize("interval", ["fieller", "delta"])
@pytest.mark.parametrize("rho", [0.02, 0.2, 0.8])
def test_intervals_cover(interval, rho):
    """800 repetitions at level .9: 4 standard errors of a share are .042; raw is not clipped."""
    made = [
        black_box_shift_estimate(*draw([2, i], 150, 200, rho), level=0.9, interval=interval)
        for i in range(800)
    ]
    assert np.mean([rho in e for e in made]) == pytest.approx(0.9, abs=0.042)
    if rho == 0.02:
        outside = [e for e in made if not e.inside]
        assert len(outside) > 100  # clipping alone would bias the mean upwards
        assert all(e.prevalence == 0 and e.raw < 0 for e in outside)
        error = np.std([e.raw for e in made]) / np.sqrt(800)
        assert np.mean([e.raw for e in made]) == pytest.approx(rho, abs=4 * error)


def test_a_weak_score_keeps_fiellers_coverage_and_is_refused_by_delta():
    """AUC .53, 20 patients a class: level .9 still covers, mostly by saying it knows nothing."""
    made = [
        black_box_shift_estimate(*draw([3, i], 60, 60, 0.1, 0.1), level=0.9) for i in range(600)
    ]
    assert np.mean([0.1 in e for e in made]) >= 0.9 - 4 * np.sqrt(0.09 / 600)
    assert np.mean([e.high - e.low for e in made]) > 0.9
    with pytest.raises(ValueError, match='delta interval is not valid: use "fieller"'):
        black_box_shift_estimate(*draw([3, 0], 60, 60, 0.1, 0.1), interval="delta")


def test_a_target_no_prevalence_explains_is_named():
    source, y, _ = draw(0, 400, 2, 0.3)
    moved = np.clip(scores(np.random.default_rng(1), 400, 0.0)[0] - 0.2, 0, 1)
    for interval in ("fieller", "delta"):
        estimate = black_box_shift_estimate(source, y, moved, interval=interval)
        assert estimate.raw < 0 and not estimate.inside and not estimate.compatible
        assert (estimate.prevalence, estimate.low, estimate.high) == (0, 0, 0)


def test_no_false_positive_seen_is_not_certainty():
    y = np.repeat([0, 1], [30, 30])
    called = (y == 1) & (np.arange(60) % 10 > 0)
    estimate = black_box_shift_estimate(called, y, np.zeros(300))
    assert estimate.raw == 0 and estimate.high > 1 / 30


def test_the_interval_is_a_leaf_of_a_record():
    estimate = black_box_shift_estimate(*draw(0, 100, 100, 0.3))
    leaf = estimate.interval.record()
    assert leaf["mean"] == estimate.prevalence and leaf["method"] == "BBSE, fieller"


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: black_box_shift_estimate([0.2] * 4, [0, 0, 1, 1], [0.1, 0.3]), "singular"),
        (lambda: black_box_shift_estimate([0.2, 0.1, 0.9], [0, 0, 1], [0.1, 0.3]), "1 diseased"),
        (lambda: black_box_shift_estimate([0.2, 0.1], [0, 0], [0.1, 0.3]), "0 diseased"),
        (lambda: black_box_shift_estimate([0.2] * 4, [0, 0, 1, 1], [0.1]), "1 target"),
        (
            lambda: black_box_shift_estimate([0, 0.1, 1, 0.9], [0, 0, 1, 1], [0, 1], interval="t"),
            "'t'",
        ),
        (
            lambda: black_box_shift_estimate([0, 0.1, 1, 0.9], [0, 0, 1, 1], [0, 1], 95),
            "level is 95",
        ),
    ],
)
def test_errors_say_what_is_wrong(call, words):
    with pytest.raises(ValueError, match=words):
        call()
