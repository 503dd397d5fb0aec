"""Two-sample tests: statistics against scipy and brute force, exact size, power and its limits."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy import stats
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from medxfer_lab.metrics import auc
from medxfer_lab.metrics.two_sample import (
    binomial_interval,
    classifier_test,
    energy_test,
    holm,
    kolmogorov_smirnov_test,
    linear_discriminant,
    monte_carlo_p_value,
    prevalence_test,
    rejection_rate,
)


def samples(seed: int, n: int = 20, m: int = 25, k: int = 2, shift: float = 0.0, scale: float = 1):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, k)), shift + scale * rng.standard_normal((m, k))


def assert_size(p_values, alpha=0.05):
    """Rejections lie within a two-sided binomial interval of chance 1e-4 around alpha."""
    rejections = int((np.asarray(p_values) <= alpha + 1e-12).sum())
    low, high = stats.binom.ppf([5e-5, 1 - 5e-5], len(p_values), alpha)
    assert low <= rejections <= high, f"{rejections} of {len(p_values)}"


def test_energy_statistic_is_scipys_in_one_dimension():
    """scipy's energy_distance is the square root of 2 E|x-y| - E|x-x'| - E|y-y'|."""
    x, y = samples(0, k=1, shift=0.4)
    spread = np.concatenate([x, y]).std()
    expected = stats.energy_distance(x[:, 0] / spread, y[:, 0] / spread) ** 2 * 20 * 25 / 45
    assert energy_test(x, y, seed=0).statistic == pytest.approx(expected, rel=1e-10)


def test_energy_statistic_by_loops():
    x, y = samples(1, n=5, m=7, k=3)
    spread = np.concatenate([x, y]).std(0)
    a, b = x / spread, y / spread

    def mean(u, v):
        return np.mean([[np.sqrt(((p - q) ** 2).sum()) for q in v] for p in u])

    expected = 35 / 12 * (2 * mean(a, b) - mean(a, a) - mean(b, b))
    assert energy_test(x, y, seed=0).statistic == pytest.approx(expected, rel=1e-12)


def test_energy_p_value_against_all_permutations():
    """4 against 4: every one of the 70 splits enumerated; the Monte Carlo p must agree."""
    x, y = samples(3, n=4, m=4, shift=1.0)
    pooled = np.concatenate([x, y])
    observed = energy_test(x, y, seed=0).statistic
    every = []
    for chosen in combinations(range(8), 4):
        rest = [i for i in range(8) if i not in chosen]
        every.append(energy_test(pooled[list(chosen)], pooled[rest], seed=0, permutations=1))
    exact = np.mean([t.statistic >= observed - 1e-9 for t in every])
    estimate = energy_test(x, y, seed=1, permutations=19_999).p_value
    assert estimate == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 2e4))


@pytest.mark.parametrize("test", [energy_test, classifier_test])
def test_size_is_alpha(test):
    """B = 19: p <= .05 only if the observed statistic is the largest of 20: chance 1/20."""
    p = [test(*samples(100 + s), seed=s, permutations=19).p_value for s in range(600)]
    assert_size(p)
    assert_size(p, alpha=0.5)


def test_size_with_skewed_and_heavy_tails():
    rng = np.random.default_rng(5)
    p = [
        energy_test(
            rng.standard_cauchy((12, 2)), rng.standard_cauchy((30, 2)), seed=s, permutations=19
        ).p_value
        for s in range(400)
    ]
    assert_size(p)


def test_ties_do_not_reject():
    """Equal rows in both samples: every permutation ties with the observation."""
    x = np.repeat([[0.0], [1.0]], 10, axis=0)
    assert energy_test(x, x, seed=0).p_value == 1.0
    assert monte_carlo_p_value(1.0, np.full(9, 1.0 - 1e-15)) == 1.0


def test_power_and_blindness():
    """A shift of the mean: both see it. A change of scale only: no linear score can."""
    moved = [samples(s, 60, 60, shift=0.8) for s in range(30)]
    wider = [samples(s, 60, 60, scale=2.5) for s in range(30)]
    for test, data, low, high in (
        (energy_test, moved, 0.9, 1.0),
        (classifier_test, moved, 0.9, 1.0),
        (energy_test, wider, 0.9, 1.0),
        (classifier_test, wider, 0.0, 0.35),
    ):
        rate = np.mean(
            [test(*pair, seed=s, permutations=99).rejects() for s, pair in enumerate(data)]
        )
        assert low <= rate <= high, (test.__name__, rate)


def test_linear_discriminant_is_scikit_learns():
    x, y = samples(7, 40, 30, k=3, shift=0.5)
    labels = np.repeat([0, 1], [40, 30])
    peer = LinearDiscriminantAnalysis(solver="lsqr").fit(np.concatenate([x, y]), labels).coef_[0]
    ours = linear_discriminant(x, y, ridge=0.0)
    np.testing.assert_allclose(ours / np.linalg.norm(ours), peer / np.linalg.norm(peer), rtol=1e-9)


def test_classifier_statistic_is_an_auc_on_unseen_patients():
    """Sorted input: without shuffled halves this would fail."""
    x, y = np.linspace(0, 1, 40)[:, None], np.linspace(2, 3, 40)[:, None]
    outcome = classifier_test(x, y, seed=0)
    assert outcome.statistic == 1.0 and outcome.sizes == (20, 20)
    assert outcome.p_value == pytest.approx(1 / 200)
    a, b = samples(2, 400, 400, k=1, shift=1.0)
    labels = np.repeat([0, 1], 400)
    everyone = auc(np.concatenate([a, b])[:, 0], labels)
    assert classifier_test(a, b, seed=0).statistic == pytest.approx(everyone, abs=0.06)


def test_holm_by_its_definition():
    """Step down at alpha: reject in order while p_(j) <= alpha/(k - j + 1)."""
    p = np.array([0.04, 0.001, 0.02, 0.6, 0.012, 0.02])
    adjusted = holm(p)
    for alpha in np.linspace(0.002, 0.999, 400):
        rejected = set()
        for j, i in enumerate(np.argsort(p, kind="stable")):
            if p[i] > alpha / (len(p) - j):
                break
            rejected.add(int(i))
        assert rejected == set(np.flatnonzero(adjusted <= alpha + 1e-12).tolist()), alpha


def test_kolmogorov_smirnov_names_the_feature():
    x, y = samples(4, 80, 80, k=4)
    y[:, 2] += 1.5
    test, adjusted = kolmogorov_smirnov_test(x, y)
    assert np.flatnonzero(adjusted <= 0.05).tolist() == [2]
    assert test.p_value == adjusted.min() and test.rejects()
    assert test.statistic == stats.ks_2samp(x[:, 2], y[:, 2]).statistic
    p = [kolmogorov_smirnov_test(*samples(900 + s, 15, 15, 5))[0].p_value for s in range(400)]
    assert np.mean(np.array(p) <= 0.05) <= 0.05 + 4 * np.sqrt(0.05 * 0.95 / 400)


def test_prevalence_by_the_hypergeometric_sum():
    a, b = np.repeat([1, 0], [7, 3]), np.repeat([1, 0], [2, 13])
    law = stats.hypergeom(25, 9, 10)
    table = law.pmf(np.arange(10))
    expected = table[table <= law.pmf(7) * (1 + 1e-9)].sum()
    test = prevalence_test(a, b)
    assert test.p_value == pytest.approx(expected)
    assert test.statistic == pytest.approx(0.7 - 2 / 15)


def test_binomial_interval_covers():
    """Coverage by enumeration of all outcomes, at least the level for every probability."""
    ends = [binomial_interval(k, 20) for k in range(21)]
    for probability in np.linspace(0.01, 0.99, 99):
        mass = stats.binom.pmf(np.arange(21), 20, probability)
        assert sum(m for m, end in zip(mass, ends) if probability in end) >= 0.95
    peer = stats.binomtest(3, 20).proportion_ci(0.9, method="exact")
    ours = binomial_interval(3, 20, 0.9)
    assert (ours.low, ours.high) == pytest.approx((peer.low, peer.high))
    assert binomial_interval(0, 20).high == pytest.approx(1 - 0.025 ** (1 / 20))


def test_rejection_rate_counts_alpha_itself():
    """p = .05 rejects at alpha = .05, although 10/200 and .05 may differ in the last bit."""
    assert rejection_rate([10 / 200, 0.06, 0.2, 0.01]).estimate == 0.5


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: energy_test(np.zeros((4, 2)), np.zeros((4, 3)), seed=0), "same features"),
        (lambda: energy_test(np.zeros((4, 2)), np.zeros((4, 2)), seed=0), "constant"),
        (lambda: energy_test([np.nan, 1.0], [0.0, 1.0], seed=0), "NaN"),
        (lambda: energy_test([0.0], [1.0, 2.0], seed=0), "needs 2"),
        (lambda: energy_test([0.0, 1], [1.0, 2.0], seed=0, permutations=0), "permutations is 0"),
        (lambda: classifier_test([0.0, 1, 2], [1.0, 2, 3, 4], seed=0), "at least 4"),
        (lambda: holm([0.2, 1.2]), "1.2"),
        (lambda: binomial_interval(5, 4), "5 of 4"),
    ],
)
def test_errors_say_what_is_wrong(call, words):
    with pytest.raises(ValueError, match=words):
        call()
