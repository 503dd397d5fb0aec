"""Mixture family: the minimum by brute force, size, power, coverage, and the theorem's limit."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import minimize_scalar
from scipy.special import expit, logit

from medxfer_lab.methods.shift_tests import calibration_test, mixture_family_test
from medxfer_lab.methods.shift_tests.mixture_family import nearest_mixture, resampled_groups


def patients(
    rng: np.random.Generator, n: int, prevalence: float, *, dim: int = 3, keep=None, scanner=0.0
) -> tuple[np.ndarray, np.ndarray]:
    """x | y ~ N(1.2 y e_1 + .5 y e_2, I); kept with chance keep(x); a scanner moves x_last."""
    total = n if keep is None else 6 * n
    y = (rng.random(total) < prevalence).astype(float)
    x = rng.normal(size=(total, dim))
    x[:, 0] += 1.2 * y
    x[:, 1] += 0.5 * y
    if keep is not None:
        kept = np.flatnonzero(rng.random(total) < keep(x))[:n]
        x, y = x[kept], y[kept]
    x[:, -1] += scanner
    return x, y


def outcomes(repetitions: int, prevalence: float, n: int = 200, resamples: int = 39, **target):
    """The test on fresh source (prevalence 1/3) and target samples."""
    for s in range(repetitions):
        rng = np.random.default_rng((s, 34))
        x, y = patients(rng, n, 1 / 3, dim=target.get("dim", 3))
        t, _ = patients(rng, n, prevalence, **target)
        yield mixture_family_test(x, y, t, seed=s, resamples=resamples)


def energy(rho: float, x: np.ndarray, y: np.ndarray, t: np.ndarray) -> float:
    """Energy distance between target and mixture, by loops over pairs of different patients."""
    scale = np.concatenate([x, t]).std(0)
    healthy, sick, target = (list(a / scale) for a in (x[y == 0], x[y == 1], t))

    def mean(a, b):
        return np.mean([np.linalg.norm(u - v) for u in a for v in b if u is not v])

    mixed = (1 - rho) ** 2 * mean(healthy, healthy) + rho**2 * mean(sick, sick)
    mixed += 2 * rho * (1 - rho) * mean(healthy, sick)
    across = (1 - rho) * mean(healthy, target) + rho * mean(sick, target)
    return 2 * across - mean(target, target) - mixed


@pytest.mark.parametrize("prevalence, scanner", [(0.5, 0.3), (0.02, -1.0), (0.98, 1.0)])
def test_minimum_by_brute_force(prevalence, scanner):
    """Minimised numerically over [0, 1], ends included."""
    rng = np.random.default_rng(1)
    x, y = patients(rng, 18, 0.5)
    t, _ = patients(rng, 11, prevalence, scanner=scanner)
    best = minimize_scalar(
        energy, bounds=(0, 1), args=(x, y, t), method="bounded", options={"xatol": 1e-10}
    )
    outcome = mixture_family_test(x, y, t, seed=0, resamples=19)
    least = min(best.fun, energy(0, x, y, t), energy(1, x, y, t))
    assert outcome.statistic == pytest.approx(least, abs=1e-9)
    assert energy(outcome.prevalence, x, y, t) == pytest.approx(least, abs=1e-9)
    assert outcome.prevalence == np.clip(outcome.raw, 0, 1)
    assert outcome.sizes == (int((1 - y).sum()), int(y.sum()), 11)


def test_a_parabola_open_downwards_is_least_at_the_better_end():
    """Classes of one law and five patients: the curvature's estimate is often negative."""
    ends = set()
    for s in range(30):
        x, t = np.split(np.random.default_rng((s, 37)).normal(size=(16, 1)), [10])
        y = np.repeat([0.0, 1.0], 5)
        outcome = mixture_family_test(x, y, t, seed=s, resamples=1)
        if np.isnan(outcome.raw):
            least = min(energy(0, x, y, t), energy(1, x, y, t))
            assert outcome.statistic == pytest.approx(least, abs=1e-12)
            assert energy(outcome.prevalence, x, y, t) == pytest.approx(least, abs=1e-12)
            ends.add(outcome.prevalence)
    assert ends == {0.0, 1.0}


def test_counts_are_repeated_patients():
    """A resample by counts is the same patients written out, a patient at distance 0 of himself."""
    rng = np.random.default_rng(2)
    x = rng.normal(size=(12, 2))
    distance = np.linalg.norm(x[:, None] - x[None], axis=-1)
    counts = rng.integers(0, 4, size=(3, 2, 12)).astype(float)
    counts[:, 1] = counts[:, 0, rng.permutation(12)]  # sizes are equal over resamples
    together = np.stack(nearest_mixture(distance, counts))
    for b in range(2):
        rows = [np.repeat(np.arange(12), counts[g, b].astype(int)) for g in range(3)]
        pooled = np.concatenate(rows)
        groups = np.zeros((3, 1, len(pooled)))
        ends = np.cumsum([0, *map(len, rows)])
        for g in range(3):
            groups[g, 0, ends[g] : ends[g + 1]] = 1
        alone = np.stack(nearest_mixture(distance[np.ix_(pooled, pooled)], groups))
        np.testing.assert_allclose(together[:, b], alone[:, 0], rtol=1e-10)


def test_resamples_have_the_null_worlds_law():
    """Class sizes are kept, classes stay apart, the target holds rho of the diseased."""
    y = np.repeat([0.0, 1.0, 0.0], [5, 10, 15])
    healthy, sick, target = resampled_groups(y, 0.3, 50, 4000, np.random.default_rng(6))
    assert (healthy.sum(1) == 20).all() and (healthy[:, y == 1] == 0).all()
    assert (sick.sum(1) == 10).all() and (sick[:, y == 0] == 0).all()
    assert (target.sum(1) == 50).all()
    expected = 50 * np.where(y == 1, 0.3 / 10, 0.7 / 20)
    error = np.sqrt(expected / 4000)
    assert (abs(target.mean(0) - expected) < 5 * error).all()


def test_swapped_classes_and_other_units():
    rng = np.random.default_rng(3)
    x, y = patients(rng, 60, 0.4)
    t, _ = patients(rng, 50, 0.6)
    plain = mixture_family_test(x, y, t, seed=0)
    swapped = mixture_family_test(x, 1 - y, t, seed=0)
    assert swapped.statistic == pytest.approx(plain.statistic, abs=1e-10)
    assert swapped.raw == pytest.approx(1 - plain.raw, abs=1e-10)
    factor = np.array([1e3, 1.0, 1e-2])
    scaled = mixture_family_test(7 + x * factor, y, 7 + t * factor, seed=0)
    assert scaled.raw == pytest.approx(plain.raw, abs=1e-9)
    assert scaled.p_value == plain.p_value


@pytest.mark.parametrize("prevalence", [0.0, 0.05, 1 / 3, 0.8, 1.0])
def test_size_and_interval_under_label_shift(prevalence):
    """Within binomial intervals of chance 1e-4 around .05 and .95; the vertex centres on rho."""
    found = list(outcomes(250, prevalence))
    low, high = stats.binom.ppf([5e-5, 1 - 5e-5], 250, 0.05)
    assert low <= sum(o.rejects(0.05 + 1e-12) for o in found) <= high
    middle = stats.binom.ppf([5e-5, 1 - 5e-5], 250, 0.5)
    assert middle[0] <= sum(o.rejects(0.5 + 1e-12) for o in found) <= middle[1]
    missed = sum(not o.low <= prevalence <= o.high for o in found)
    assert low <= missed <= high or (missed < low and prevalence in (0, 1))
    raw = np.array([o.raw for o in found])
    assert raw.mean() == pytest.approx(prevalence, abs=5 * raw.std() / np.sqrt(250))


@pytest.mark.parametrize("dim", [2, 8])
@pytest.mark.parametrize(
    "shift", [{"scanner": 0.6}, {"keep": lambda x: expit(1.5 * x[:, -1])}], ids=["scanner", "keep"]
)
def test_power_against_scanner_and_selection(dim, shift):
    found = outcomes(40, 1 / 3, dim=dim, resamples=99, **shift)
    assert np.mean([o.rejects() for o in found]) >= 0.85


class Twins:
    """x ~ N(y, 1), source prevalence .3. Two target worlds with one q(x), that of rho = .6."""

    pi, rho = 0.3, 0.6

    @staticmethod
    def mixture(x, prevalence):
        return (1 - prevalence) * stats.norm.pdf(x) + prevalence * stats.norm.pdf(x, 1)

    def source_eta(self, x):
        return self.pi * stats.norm.pdf(x, 1) / self.mixture(x, self.pi)

    def weight(self, x):
        change = (stats.norm.pdf(x, 1) - stats.norm.pdf(x)) / self.mixture(x, self.pi)
        return 1 + (self.rho - self.pi) * change

    def draw(self, rng, n, prevalence):
        y = (rng.random(n) < prevalence).astype(float)
        return rng.normal(y), y

    def covariate_shifted(self, rng, n):
        """Source patients (x, y) kept with chance w(x)/max w: a sample of q with source eta."""
        x, y = self.draw(rng, 8 * n, self.pi)
        bound = max(self.rho / self.pi, (1 - self.rho) / (1 - self.pi))
        kept = np.flatnonzero(rng.random(8 * n) < self.weight(x) / bound)[:n]
        return x[kept], y[kept]


def test_covariate_shift_with_the_mixtures_ratio_has_the_same_image_density():
    """The theorem: p(x) w(x) = (1 - rho) p(x|0) + rho p(x|1) everywhere, yet p(y|x) differs."""
    twins, x = Twins(), np.linspace(-6, 7, 2001)
    w = twins.weight(x)
    assert w.min() > 0
    np.testing.assert_allclose(
        twins.mixture(x, twins.pi) * w, twins.mixture(x, twins.rho), rtol=1e-12
    )
    label_eta = twins.rho * stats.norm.pdf(x, 1) / twins.mixture(x, twins.rho)
    shifted = logit(label_eta) - logit(twins.source_eta(x))
    np.testing.assert_allclose(shifted, logit(twins.rho) - logit(twins.pi), rtol=1e-8)


def test_no_unlabelled_test_tells_the_twins_apart_and_labels_do():
    twins, rejected, estimates, labels_say = Twins(), [], [], []
    for s in range(200):
        rng = np.random.default_rng((s, 35))
        x, y = twins.draw(rng, 200, twins.pi)
        for target, found in (
            (twins.covariate_shifted(rng, 200), labels_say),
            (twins.draw(rng, 200, twins.rho), None),
        ):
            test = mixture_family_test(x, y, target[0], seed=s, resamples=39)
            if found is not None:
                rejected.append(test.rejects(0.05 + 1e-12))
                estimates.append(test.raw)
            z = logit(twins.source_eta(target[0]))
            labels_say.append(calibration_test(z, target[1], seed=s, draws=99).rejects())
    low, high = stats.binom.ppf([5e-5, 1 - 5e-5], 200, 0.05)
    assert low <= sum(rejected) <= high
    # it reports the prevalence label shift would have; the real one is E_q[eta], about .36
    assert np.mean(estimates) == pytest.approx(0.6, abs=5 * np.std(estimates) / np.sqrt(200))
    covariate, label = labels_say[::2], labels_say[1::2]
    assert sum(covariate) <= high and np.mean(label) > 0.95


def test_selection_along_the_log_odds_is_hard_to_see():
    """Kept with a chance that grows with the log odds: power near the size, a scanner is seen."""
    keep = {"keep": lambda x: expit(x[:, 0] + 0.4 * x[:, 1])}
    hard = np.mean([o.rejects() for o in outcomes(60, 1 / 3, dim=8, resamples=99, **keep)])
    easy = np.mean([o.rejects() for o in outcomes(60, 1 / 3, dim=8, resamples=99, scanner=0.6)])
    assert hard < 0.2 < 0.8 < easy


def test_classes_that_cannot_be_told_apart_leave_the_prevalence_open():
    """Both classes hold the very same rows: the parabola opens downwards."""
    x = np.random.default_rng(4).normal(size=(30, 2))
    y = np.repeat([0.0, 1.0], 30)
    outcome = mixture_family_test(np.concatenate([x, x]), y, x + 0.1, seed=0)
    assert np.isnan(outcome.raw) and (outcome.low, outcome.high) == (0.0, 1.0)
    assert outcome.prevalence in (0.0, 1.0) and np.isfinite(outcome.statistic)


def test_few_patients_of_equal_classes_leave_it_open_too():
    """Six patients of each class, drawn from one law: resamples without a vertex must count."""
    found = []
    for s in range(120):
        x, t = np.split(np.random.default_rng((s, 36)).normal(size=22), [12])
        found.append(mixture_family_test(x, np.repeat([0.0, 1.0], 6), t, seed=s))
    vertex = [o for o in found if np.isfinite(o.raw)]
    assert len(vertex) > 20
    assert np.mean([(o.low, o.high) == (0.0, 1.0) for o in vertex]) > 0.9


def test_a_column_that_only_the_target_varies_is_seen():
    rng = np.random.default_rng(5)
    x, y = patients(rng, 100, 0.4)
    t, _ = patients(rng, 100, 0.4)
    x, t = np.column_stack([x, np.zeros(100)]), np.column_stack([t, np.ones(100)])
    assert mixture_family_test(x, y, t, seed=0).p_value == pytest.approx(1 / 200)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: mixture_family_test([0.0, 1, 2], [0, 0, 1], [0.0, 1], seed=0), "1 diseased"),
        (lambda: mixture_family_test([0.0, 1], [0, 0, 1], [0.0, 1], seed=0), "length 2"),
        (lambda: mixture_family_test([0.0, 1], [0, 3], [0.0, 1], seed=0), "labels hold 3"),
        (
            lambda: mixture_family_test(
                [0.0, 1, 2, 3], [0, 0, 1, 1], [0.0, 1], seed=0, resamples=0
            ),
            "resamples is 0",
        ),
    ],
)
def test_errors_say_what_is_wrong(call, words):
    with pytest.raises(ValueError, match=words):
        call()
