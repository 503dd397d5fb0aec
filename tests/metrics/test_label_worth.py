"""Oracle: curves whose answer is known in closed form."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.isotonic import isotonic_regression

from medxfer_lab.metrics import label_worth
from medxfer_lab.metrics.label_worth import labels_needed, monotone

SIZES = np.array([16, 32, 64, 128, 256, 512, 1024])


def curves(shift, m=20, noise=0.0, seed=0):
    """Scratch rises by .05 a doubling; transfer does at n what scratch does at n * 2**shift."""
    rng = np.random.default_rng(seed)
    shared = noise * rng.normal(size=(m, SIZES.size))
    scratch = 0.5 + 0.05 * np.log2(SIZES / 16) + shared
    return scratch, scratch + 0.05 * shift


def test_a_shift_by_two_doublings_is_worth_four_labels():
    scratch, transfer = curves(2)
    got = label_worth(SIZES, scratch, transfer, seed=0)
    assert [w.worth for w in got[:4]] == pytest.approx([4] * 4)
    assert [w.censored for w in got] == [""] * 5 + ["above"] * 2
    record = got[-1].record()
    assert record["mean"] == ">1024" and record["high"] == ">1024"


def test_halfway_between_sizes_is_geometric():
    scratch, transfer = curves(0.5)
    got = label_worth(SIZES, scratch, transfer, seed=0)[0]
    assert got.scratch_labels == pytest.approx(16 * np.sqrt(2))


def test_worse_than_scratch_at_its_smallest_is_censored_below():
    scratch, transfer = curves(-1)
    got = label_worth(SIZES, scratch, transfer, seed=0)
    assert got[0].censored == "below" and got[0].record()["mean"] == "<16"
    assert got[3].worth == pytest.approx(0.5)


def test_identical_curves_are_worth_one():
    scratch, _ = curves(0, noise=0.001)
    got = label_worth(SIZES, scratch, scratch, seed=0)
    assert [w.worth for w in got] == pytest.approx([1] * 7, abs=0.05)


def test_the_interval_covers_and_pairing_narrows_it():
    """Rows share their noise, so the paired interval is the right one and far narrower."""
    scratch, transfer = curves(1, noise=0.05)
    paired = label_worth(SIZES, scratch, transfer, seed=0)[2]
    loose = label_worth(SIZES, scratch, transfer[::-1], seed=0, paired=False)[2]
    assert paired.low <= paired.scratch_labels <= paired.high
    assert paired.high / paired.low < loose.high / loose.low


def test_coverage_with_independent_rows():
    trials, hits = 150, 0
    for seed in range(trials):
        scratch, _ = curves(1, noise=0.02, seed=seed)
        _, transfer = curves(1, noise=0.02, seed=1000 + seed)
        got = label_worth(SIZES, scratch, transfer, seed=0, paired=False, resamples=200)[2]
        hits += got.low <= 128 <= got.high
    assert hits / trials > 0.93 - 3 * np.sqrt(0.93 * 0.07 / trials)


def test_the_first_crossing_of_the_monotone_curve():
    curve = np.array([0.5, 0.7, 0.6, 0.6, 0.9])  # 0.7, 0.6, 0.6 are pooled to 0.6333
    sizes = np.array([10.0, 20, 40, 80, 160])
    pooled = 1.9 / 3
    got = labels_needed(sizes, curve, np.array([0.5, pooled, 0.9, 0.91, 0.49]))
    assert got == pytest.approx([10, 20, 160, np.inf, 0])
    share = (0.8 - pooled) / (0.9 - pooled)
    assert labels_needed(sizes, curve, np.array([0.8]))[0] == pytest.approx(80 * 2**share)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 9), st.integers(0, 10**6))
def test_the_monotone_curve_is_scikit_learns(k, seed):
    curves = np.random.default_rng(seed).normal(size=(3, k))
    assert np.allclose(monotone(curves), [isotonic_regression(c) for c in curves], atol=1e-12)


def test_bad_input_is_named():
    scratch, transfer = curves(1)
    with pytest.raises(ValueError, match="expected at least 2, positive, increasing"):
        label_worth(SIZES[::-1], scratch, transfer, seed=0)
    with pytest.raises(ValueError, match="20 scratch rows and 5 transfer rows"):
        label_worth(SIZES, scratch, transfer[:5], seed=0)
    with pytest.raises(ValueError, match="sizes has length 6"):
        label_worth(SIZES[:6], scratch, transfer, seed=0)
