"""MMD: the statistic by loops and in closed form, the p-value by enumeration, size and power."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy import stats
from scipy.spatial.distance import cdist

from medxfer_lab.methods.shift_tests import mmd_test
from medxfer_lab.methods.shift_tests.mmd import unbiased_mmd


def samples(seed: int, n: int = 20, m: int = 25, k: int = 2, shift: float = 0.0, scale: float = 1):
    rng = np.random.default_rng((seed, 31))
    return rng.standard_normal((n, k)), shift + scale * rng.standard_normal((m, k))


def test_statistic_by_loops():
    x, y = samples(0, n=5, m=7, k=3, shift=0.5)
    pooled = np.concatenate([x, y])
    a, b = list(x / pooled.std(0)), list(y / pooled.std(0))
    rows = a + b
    h = np.median([np.linalg.norm(u - v) for u in rows for v in rows if u is not v])

    def kernel(u, v):
        return np.exp(-((u - v) ** 2).sum() / (2 * h**2))

    within = [np.mean([kernel(u, v) for u in s for v in s if u is not v]) for s in (a, b)]
    across = np.mean([kernel(u, v) for u in a for v in b])
    assert mmd_test(x, y, seed=0).statistic == pytest.approx(sum(within) - 2 * across, rel=1e-10)


def test_statistic_is_unbiased():
    """N(0, 1) against N(d, 1): E k(x, y) = h/sqrt(h^2 + 2) exp(-d^2/(2 (h^2 + 2)))."""
    shift, h, n, m = 0.7, 0.9, 6, 9
    truth = 2 * h / np.sqrt(h**2 + 2) * (1 - np.exp(-(shift**2) / (2 * (h**2 + 2))))
    rng, member = np.random.default_rng(1), np.repeat([1.0, 0.0], [n, m])[None]
    values = []
    for _ in range(3000):
        z = np.r_[rng.normal(size=n), rng.normal(shift, size=m)][:, None]
        values.append(unbiased_mmd(np.exp(-(cdist(z, z) ** 2) / (2 * h**2)), member)[0])
    assert np.mean(values) == pytest.approx(truth, abs=5 * np.std(values) / np.sqrt(3000))


def test_p_value_against_all_permutations():
    """4 against 3: every one of the 35 splits enumerated; the Monte Carlo p must agree."""
    x, y = samples(4, n=4, m=3, shift=1.0)
    pooled, observed = np.concatenate([x, y]), mmd_test(x, y, seed=0).statistic
    every = []
    for chosen in combinations(range(7), 4):
        rest = [i for i in range(7) if i not in chosen]
        split = mmd_test(pooled[list(chosen)], pooled[rest], seed=0, permutations=1)
        every.append(split.statistic >= observed - 1e-9)
    exact = np.mean(every)
    assert 0.02 < exact < 0.98  # otherwise this would test little
    estimate = mmd_test(x, y, seed=1, permutations=19_999).p_value
    assert estimate == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 2e4))


@pytest.mark.parametrize("alpha", [0.05, 0.5])
def test_size_is_alpha(alpha):
    """Heavy tails and unequal sizes: exact all the same."""
    rng = np.random.default_rng(5)
    p = [
        mmd_test(
            rng.standard_cauchy((12, 2)), rng.standard_cauchy((30, 2)), seed=s, permutations=19
        ).p_value
        for s in range(600)
    ]
    rejections = int((np.array(p) <= alpha + 1e-12).sum())
    low, high = stats.binom.ppf([5e-5, 1 - 5e-5], 600, alpha)
    assert low <= rejections <= high


@pytest.mark.parametrize("change", [{"shift": 0.8}, {"scale": 2.5}])
def test_power(change):
    rate = np.mean(
        [
            mmd_test(*samples(s, 60, 60, **change), seed=s, permutations=99).rejects()
            for s in range(30)
        ]
    )
    assert rate >= 0.9


def test_units_do_not_matter():
    x, y = samples(6, shift=0.5)
    plain = mmd_test(x, y, seed=0)
    factor, offset = np.array([1e-3, 40.0]), np.array([5.0, -2.0])
    scaled = mmd_test(x * factor + offset, y * factor + offset, seed=0)
    idle = mmd_test(*(np.column_stack([a, np.full(len(a), 0.1)]) for a in (x, y)), seed=0)
    assert scaled.statistic == pytest.approx(plain.statistic, rel=1e-9)
    assert idle == plain and scaled.p_value == plain.p_value


def test_many_equal_rows():
    """More than half of all distances are zero: the median is taken over the others."""
    x = np.repeat([[0.0], [1.0]], [18, 2], axis=0)
    assert mmd_test(x, x, seed=0).p_value == 1.0
    assert mmd_test(x, 1 - x, seed=0).p_value == pytest.approx(1 / 200)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: mmd_test(np.zeros((4, 2)), np.zeros((4, 3)), seed=0), "2 features and second 3"),
        (lambda: mmd_test(np.zeros(4), np.zeros(4), seed=0), "constant"),
        (lambda: mmd_test([0.0, 1], [1.0, 2.0], seed=0, permutations=0), "permutations is 0"),
    ],
)
def test_errors_say_what_is_wrong(call, words):
    with pytest.raises(ValueError, match=words):
        call()
