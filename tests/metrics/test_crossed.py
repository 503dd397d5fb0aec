"""Oracle: all choices of two training sets and two seeds from a tiny world, enumerated."""

from itertools import product

import numpy as np
import pytest

from medxfer_lab.metrics import crossed_variance
from medxfer_lab.metrics.crossed import components


def test_components_are_unbiased_by_enumeration():
    g = np.random.default_rng(0).normal(size=(3, 2, 2))  # 3 training sets, 2 seeds, 2 patients
    wd, ws = np.array([0.5, 0.3, 0.2]), np.array([0.6, 0.4])
    mean = np.einsum("d,s,dsj->j", wd, ws, g)
    a, b = np.einsum("s,dsj->dj", ws, g) - mean, np.einsum("d,dsj->sj", wd, g) - mean
    c = g - mean - a[:, None] - b[None]
    true = [
        (wd @ a**2).mean(),
        (ws @ b**2).mean(),
        np.einsum("d,s,dsj->j", wd, ws, c**2).mean(),
    ]
    expected = np.zeros(3)
    for ds in product(range(3), repeat=2):
        for ss in product(range(2), repeat=2):
            chance = wd[list(ds)].prod() * ws[list(ss)].prod()
            expected += chance * components(g[np.ix_(ds, ss)])
    assert np.allclose(expected, true, atol=1e-12)


def draw(rng, D, S, sd=(0.3, 0.2, 0.1), k=30):
    """Additive effects that patients share through two directions, so that they correlate."""
    L = np.random.default_rng(7).normal(size=(3, 2, k))
    L /= np.sqrt((L**2).sum(1, keepdims=True))
    a, b, c = (rng.normal(size=s) for s in ((D, 1, 2), (1, S, 2), (D, S, 2)))
    return sum(s * (e @ M) for s, e, M in zip(sd, (a, b, c), L))


def test_coverage_of_the_two_way_jackknife():
    """Nominal .95; at least .87 with ten training sets and five seeds, less 3 binomial sd."""
    rng, trials = np.random.default_rng(0), 300
    true = np.array([0.09, 0.04, 0.01])
    hits = np.zeros(4)
    for _ in range(trials):
        got = crossed_variance(draw(rng, 10, 5))
        intervals = (got.data, got.seed, got.interaction, got.total)
        hits += [value in i for value, i in zip([*true, true.sum()], intervals)]
    assert (hits / trials > 0.87 - 3 * np.sqrt(0.87 * 0.13 / trials)).all(), hits / trials


def test_one_factor_alone_is_seen_as_such():
    rng = np.random.default_rng(0)
    data_only = crossed_variance(np.repeat(rng.normal(size=(6, 1, 8)), 4, 1))
    assert data_only.seed.estimate == pytest.approx(0, abs=1e-12)
    assert data_only.interaction.estimate == pytest.approx(0, abs=1e-12)
    seed_only = crossed_variance(np.repeat(rng.normal(size=(1, 5, 8)), 4, 0))
    assert seed_only.data.estimate == pytest.approx(0, abs=1e-12)
    assert seed_only.total.estimate == pytest.approx(seed_only.seed.estimate)


def test_swapping_the_factors_swaps_their_components():
    f = draw(np.random.default_rng(1), 6, 4)
    one, other = crossed_variance(f), crossed_variance(f.swapaxes(0, 1))
    assert one.data.estimate == pytest.approx(other.seed.estimate)
    assert one.data.high == pytest.approx(other.seed.high)
    total = one.data.estimate + one.seed.estimate + one.interaction.estimate
    assert one.total.estimate == pytest.approx(total)
    assert set(one.record()) == {"data", "seed", "interaction", "total"}


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="4 training sets and 2 seeds"):
        crossed_variance(np.zeros((4, 2, 3)))
    with pytest.raises(ValueError, match="need 2 of each"):
        components(np.zeros((4, 1, 3)))
    with pytest.raises(ValueError, match="expected 3 axes"):
        crossed_variance(np.zeros((4, 2)))
