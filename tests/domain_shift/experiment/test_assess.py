"""Corrections in a world whose log odds are exact: there Bayes' loss is an integral.

x | y ~ N(1.75 y, 1); a model that knows the source's log odds, a target of another prevalence.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats
from sklearn import metrics as sk

from medxfer_lab.domain_shift.experiment import assess as a
from medxfer_lab.domain_shift.experiment.assess import ARMS, MEASURES, Scores, assess, sigmoid

PI, RHO = 1 / 3, 0.08


def bayes_loss(distance: float, prevalence: float, believed: float | None = None) -> float:
    """Expected log loss at a prevalence, of one who believes another: by quadrature."""
    pi = prevalence if believed is None else believed

    def at(x: float, y: int) -> float:
        z = distance * x - distance**2 / 2 + np.log(pi / (1 - pi))
        return stats.norm.pdf(x - distance * y) * np.logaddexp(0, -z if y else z)

    parts = [integrate.quad(at, -12, 14, args=(y,), epsabs=1e-10)[0] for y in (0, 1)]
    return (1 - prevalence) * parts[0] + prevalence * parts[1]


@pytest.fixture(scope="module")
def world(gaussian):
    """Many source patients, a target sample and test patients, under label shift to RHO."""
    rng = np.random.default_rng(0)
    n = 40_000
    drawn = [(n, PI, PI), (n, RHO, PI), (2 * n, RHO, PI)]
    return [gaussian(size, rho, rng, source=pi) for size, rho, pi in drawn]


def column(found: a.Assessment, measure: str) -> dict[str, float]:
    return dict(zip(ARMS, found.measured[:, MEASURES.index(measure)]))


def test_the_known_prevalence_reaches_bayes_loss(world, gaussian):
    calibration, sample, test = world
    found = column(assess(calibration, sample, test), "log_loss")
    half = test.part(slice(len(test.y) // 2, None))
    exact = half.z + np.log(RHO / (1 - RHO)) - np.log(PI / (1 - PI))
    losses = np.logaddexp(0, np.where(half.y == 1, -exact, exact))
    best = bayes_loss(gaussian.distance, RHO)
    # the mean loss of the exact posterior has this error; a line fitted to n patients adds 1/n
    # (two parameters, half a nat each), more where the fit is extrapolated: ten times that
    error = losses.std() / np.sqrt(len(losses))
    for arm in ("known_prevalence", "bbse", "em", "oracle"):
        assert abs(found[arm] - best) < 4 * error + 10 / len(calibration.y), arm
        assert abs(found[arm] - losses.mean()) < 20 / len(calibration.y), arm
    # uncorrected, the price is the mean Kullback-Leibler divergence
    price = bayes_loss(gaussian.distance, RHO, PI) - best
    assert price > 0.05
    assert found["deployed"] - found["oracle"] == pytest.approx(price, abs=4 * error)


def test_estimates_and_numbers(world):
    calibration, sample, test = world
    found = assess(calibration, sample, test)
    half = test.part(slice(len(test.y) // 2, None))
    assert found.auc == pytest.approx(sk.roc_auc_score(half.y, half.z))
    assert found.prevalence == test.y.mean()
    # EM at AUC .89 is worth at least a third of as many labels
    error = np.sqrt(3 * RHO * (1 - RHO) / len(sample.y)) + 0.002
    assert abs(found.em - RHO) < 4 * error and abs(found.bbse - RHO) < 4 * error
    arrays = found.arrays("x.y")
    assert np.array_equal(arrays["measured.x.y"], found.measured)
    assert arrays["numbers.x.y"].tolist() == [found.auc, found.prevalence, found.bbse, found.em]


def test_what_ranks_alike_has_one_auc_and_calibration_is_seen(world):
    found = assess(*world)
    gap = column(found, "mean_gap")
    assert gap["deployed"] > 0.05
    assert all(abs(gap[arm]) < 0.01 for arm in ("known_prevalence", "bbse", "em", "oracle"))
    squared = column(found, "calibration")
    assert squared["deployed"] > 0.002 > 10 * abs(squared["oracle"])


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("slope", [0.5, 1.0, 2.0])
def test_the_oracle_is_never_worse_than_the_deployed(gaussian, seed, slope):
    """On n test patients its two parameters cost 1/n on average; a chi-squared bounds the rest."""
    rng = np.random.default_rng((1, seed))
    calibration, test = gaussian(3000, PI, rng), gaussian(12_000, PI, rng)
    test = Scores(slope * test.z, test.y)  # a shift that slope 1 says nothing about
    found = column(assess(calibration, test.part(slice(400)), test), "log_loss")
    assert found["oracle"] <= found["deployed"] + 20 / 6000
    if slope != 1:
        assert found["oracle"] < found["deployed"] - 0.005


def spoilt(scores: Scores, which: slice) -> Scores:
    y = scores.y.copy()
    y[which] = 1 - y[which]
    return Scores(scores.z, y)


@pytest.mark.parametrize(
    ("which", "sees"),
    [
        (slice(0, 20), {"offset_20", "platt_100"}),
        (slice(20, 100), {"platt_100"}),
        (slice(100, None), set()),
    ],
)
def test_who_looks_at_which_labels_of_the_sample(gaussian, which, sees):
    rng = np.random.default_rng(2)
    parts = [gaussian(n, PI, rng) for n in (300, 300, 400)]
    before = assess(*parts).measured
    after = assess(parts[0], spoilt(parts[1], which), parts[2]).measured
    changed = {arm for arm, x, y in zip(ARMS, before, after) if not np.array_equal(x, y)}
    assert changed == sees


def test_only_the_oracle_looks_at_the_first_half_of_the_test_patients(gaussian):
    rng = np.random.default_rng(3)
    calibration, sample, test = (gaussian(n, PI, rng) for n in (300, 300, 400))
    mixed = test.y.copy()
    mixed[:200] = rng.permutation(mixed[:200])  # the prevalence stays what it was
    before = assess(calibration, sample, test).measured
    after = assess(calibration, sample, Scores(test.z, mixed)).measured
    assert [arm for arm, x, y in zip(ARMS, before, after) if not np.array_equal(x, y)] == ["oracle"]
    shuffled = Scores(rng.permutation(sample.z[100:]), sample.y[100:])
    joined = Scores(np.r_[sample.z[:100], shuffled.z], sample.y)
    np.testing.assert_allclose(assess(calibration, joined, test).measured, before, atol=1e-9)


def test_measures_by_brute_force():
    rng = np.random.default_rng(4)
    z, y = rng.normal(-1, 2, 300), (rng.random(300) < 0.3).astype(float)
    found = dict(zip(MEASURES, a.measures(z, y)))
    p = 1 / (1 + np.exp(-z))
    called = p >= 0.25  # a missed disease costs three false alarms
    assert found["log_loss"] == pytest.approx(sk.log_loss(y, p))
    assert found["mean_gap"] == pytest.approx(p.mean() - y.mean())
    assert found["sensitivity"] == pytest.approx(sk.recall_score(y, called))
    assert found["specificity"] == pytest.approx(sk.recall_score(1 - y, ~called))
    cost = [3.0 if yi and not c else 1.0 if c and not yi else 0.0 for yi, c in zip(y, called)]
    assert found["cost"] == pytest.approx(np.mean(cost))


def test_the_cost_threshold_is_the_cheapest_where_probabilities_are_right(gaussian):
    scores = gaussian(200_000, PI, np.random.default_rng(5))
    cost = {d: a.measures(scores.z + d, scores.y)[-1] for d in (-1.0, -0.5, 0.0, 0.5, 1.0)}
    assert min(cost, key=cost.get) == 0.0
    edge = np.log(1 / 3) + 1e-9 * np.repeat([1.0, -1.0], 40)
    assert a.measures(edge, np.repeat([1.0, 0.0], 40))[3:5] == [1.0, 1.0]


@given(st.floats(-0.5, 1.5), st.integers(1, 10_000))
def test_inside_leaves_odds(prevalence, n):
    found = a.inside(prevalence, n)
    assert 0 < found < 1 and np.isfinite(np.log(found / (1 - found)))
    if 0.5 / n <= prevalence <= 1 - 0.5 / n:
        assert found == prevalence
    else:
        assert min(found, 1 - found) == pytest.approx(0.5 / n)


def test_offset_moves_by_one_constant_and_matches_the_mean():
    rng = np.random.default_rng(6)
    z, y = rng.normal(size=20), (rng.random(20) < 0.3).astype(float)
    moved = a.offset(z, y)(z)
    assert np.ptp(moved - z) < 1e-9
    n1 = y.sum()
    target = np.where(y == 1, (n1 + 1) / (n1 + 2), 1 / (20 - n1 + 2)).mean()
    assert sigmoid(moved).mean() == pytest.approx(target)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(3, 12))
def test_won_back_is_the_jackknife(seed, sets):
    rng = np.random.default_rng(seed)
    oracle = rng.uniform(0.2, 0.3, sets)
    deployed, arm = oracle + rng.uniform(0.05, 0.3, sets), oracle + rng.uniform(0, 0.1, sets)

    def share(keep):
        d, m, o = deployed[keep].mean(), arm[keep].mean(), oracle[keep].mean()
        return (d - m) / (d - o)

    everyone = np.arange(sets)
    pseudo = np.array(
        [sets * share(everyone) - (sets - 1) * share(everyone != i) for i in range(sets)]
    )
    half = stats.t.ppf(0.975, sets - 1) * pseudo.std(ddof=1) / np.sqrt(sets)
    found = a.won_back(deployed, arm, oracle)
    assert found["mean"] == pytest.approx(pseudo.mean())
    assert found["low"] == pytest.approx(pseudo.mean() - half)
    assert found["high"] == pytest.approx(pseudo.mean() + half)


def test_won_back_says_when_there_is_nothing_to_win():
    oracle = np.linspace(0.2, 0.3, 8)
    noise = np.array([1.0, -1, 1, -1, 1, -1, 1, -1]) * 1e-3
    assert a.won_back(oracle + 0.05 + noise, oracle, oracle)["meant"] is True
    assert a.won_back(oracle + 0.004 + noise, oracle, oracle)["meant"] is False
    assert a.won_back(oracle + 0.0055 + noise, oracle, oracle)["meant"] is False  # not surely
    assert a.won_back(oracle + 0.1, oracle, oracle)["mean"] == pytest.approx(1)
    assert a.won_back(oracle + 0.1, oracle + 0.2, oracle)["mean"] == pytest.approx(-1)


def test_summary_over_sets():
    rng = np.random.default_rng(7)
    rows, numbers = rng.uniform(0.1, 1, (5, len(ARMS), len(MEASURES))), rng.uniform(size=(5, 4))
    found = a.summary(rows, numbers)
    assert found["auc"]["mean"] == pytest.approx(numbers[:, 0].mean()) and found["auc"]["n"] == 5
    assert found["prevalence"] == pytest.approx(numbers[:, 1].mean())
    away = numbers[:, 3] - numbers[:, 1]
    assert found["em_error"]["mean"] == pytest.approx(away.mean())
    assert found["em_error"]["root_mean_square"] == pytest.approx(np.sqrt((away**2).mean()))
    for i, arm in enumerate(ARMS):
        for j, measure in enumerate(MEASURES):
            leaf = found[arm][measure]
            half = stats.t.ppf(0.975, 4) * rows[:, i, j].std(ddof=1) / np.sqrt(5)
            assert leaf["mean"] == pytest.approx(rows[:, i, j].mean())
            assert leaf["high"] - leaf["mean"] == pytest.approx(half)
        if arm != "oracle":
            gap = rows[:, i, 0] - rows[:, ARMS.index("oracle"), 0]
            assert found[arm]["excess"]["mean"] == pytest.approx(gap.mean())
            assert "meant" in found[arm]["won_back"]
    assert "excess" not in found["oracle"]
