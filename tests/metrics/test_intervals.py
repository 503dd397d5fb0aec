"""Oracles: scipy's own intervals, coverage by simulation."""

import numpy as np
import pytest
from scipy import stats

from medxfer_lab.metrics import (
    bootstrap_interval,
    mean_interval,
    paired_bootstrap_interval,
    pseudo_value_interval,
)

VALUES = np.random.default_rng(0).exponential(size=25)


def test_t_interval_is_scipys():
    expected = stats.ttest_1samp(VALUES, 0).confidence_interval(0.9)
    got = mean_interval(VALUES, level=0.9)
    assert (got.low, got.high) == pytest.approx((expected.low, expected.high))
    assert got.n == 25 and VALUES.mean() in got and got.high + 1 not in got


@pytest.mark.parametrize("method, name", [("percentile", "percentile"), ("bca", "BCa")])
@pytest.mark.parametrize("statistic", [None, lambda v: np.log(v.mean()), lambda v: v.std(ddof=1)])
def test_bootstrap_is_scipys_up_to_resampling(method, name, statistic):
    count = 4000
    got = bootstrap_interval(VALUES, statistic, seed=1, resamples=count, method=method)

    def over(v, axis):
        return np.apply_along_axis(statistic or np.mean, axis, v)

    seen = stats.bootstrap(
        (VALUES,), over, n_resamples=count, method=name, random_state=np.random.default_rng(2)
    )
    # an end of the interval is a quantile of the draws: its own sd, times 5, for each of the two
    draws = seen.bootstrap_distribution
    density = stats.gaussian_kde(draws)
    for mine, theirs in zip((got.low, got.high), seen.confidence_interval):
        sd = np.sqrt(0.025 * 0.975 / count) / max(density(theirs)[0], 0.01)
        assert abs(mine - theirs) < 5 * np.sqrt(2) * sd + 1e-12


def test_bca_corrects_what_percentile_does_not():
    plain = bootstrap_interval(VALUES, seed=0)
    accelerated = bootstrap_interval(VALUES, seed=0, method="bca")
    assert accelerated.low > plain.low and accelerated.high > plain.high  # skewed to the right


def test_whole_rows_are_resampled_and_curves_get_an_interval_each():
    rows = np.stack([VALUES, VALUES * 2 + 1], 1)
    got = bootstrap_interval(rows, seed=3)
    one = bootstrap_interval(VALUES, seed=3)
    assert got.low == pytest.approx([one.low, 2 * one.low + 1])
    by_statistic = bootstrap_interval(rows, lambda v: v.mean(0), seed=3, method="bca")
    assert by_statistic.high[1] == pytest.approx(2 * by_statistic.high[0] + 1)


def test_pairing_removes_what_the_pairs_share():
    shared = np.random.default_rng(1).normal(size=40) * 10
    a, b = shared + 0.1 * VALUES.mean(), shared + 0.01 * np.random.default_rng(2).normal(size=40)
    got = paired_bootstrap_interval(a, b, seed=0)
    assert got.high - got.low < 0.01
    same = paired_bootstrap_interval(a, b, np.mean, seed=0)
    assert (same.low, same.high) == pytest.approx((got.low, got.high))
    spread = paired_bootstrap_interval(a, 2 * a, np.std, seed=0)
    assert spread.estimate == pytest.approx(-np.std(a))


def test_pseudo_values_of_a_mean_and_of_a_biased_variance():
    left = np.array([np.delete(VALUES, i).mean() for i in range(25)])
    got, expected = pseudo_value_interval(VALUES.mean(), left), mean_interval(VALUES)
    assert (got.estimate, got.low) == pytest.approx((expected.estimate, expected.low))
    left = np.array([np.delete(VALUES, i).var() for i in range(25)])
    assert pseudo_value_interval(VALUES.var(), left).estimate == pytest.approx(VALUES.var(ddof=1))


def test_the_same_seed_gives_the_same_interval():
    first, second, third = (bootstrap_interval(VALUES, seed=s) for s in (5, 5, 6))
    assert first == second and first != third


def test_coverage_of_the_t_interval_and_the_shortness_of_the_percentile_one():
    """Binomial 4 sd bounds; m = 10 normal rows: the stated factor .82 means coverage near .89."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(10, 1500))
    t, p = mean_interval(rows), bootstrap_interval(rows, seed=1, resamples=800)
    width = 4 * np.sqrt(0.95 * 0.05 / 1500)
    assert abs(((t.low <= 0) & (t.high >= 0)).mean() - 0.95) < width
    short = (p.high - p.low).mean() / (t.high - t.low).mean()
    assert short == pytest.approx(np.sqrt(0.9) * 1.96 / 2.262, rel=0.03)


def test_a_record_leaf_is_plain():
    leaf = mean_interval(VALUES).record()
    assert set(leaf) == {"mean", "low", "high", "n", "level", "method"}
    assert isinstance(leaf["mean"], float)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="at least 2 independent rows"):
        mean_interval([1.0])
    with pytest.raises(ValueError, match="first has 3 rows and second 2"):
        paired_bootstrap_interval([1, 2, 3], [1, 2], seed=0)
    with pytest.raises(ValueError, match="method is 'magic'"):
        bootstrap_interval(VALUES, seed=0, method="magic")
    with pytest.raises(ValueError, match="level is 1"):
        mean_interval(VALUES, level=1.0)
    with pytest.raises(ValueError, match="NaN"):
        mean_interval([1.0, np.nan])
