"""Every condition keeps what it says. Oracles: binomial counts over many seeds, patient by patient.

The ward is held fixed and the seed is drawn: then how often a patient is kept is binomial with a
known chance, and a sum over patients has a known variance, so tolerances are derived.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from scipy import stats

from medxfer_lab.domain_shift.experiment import conditions as c
from medxfer_lab.domain_shift.experiment import material as m
from medxfer_lab.imaging.draw import draw_patients

SEEDS = 200
COVARIATE = [name for name in c.NAMES if c.KEEPS[c.family(name)] == "p(y|x)"]


@pytest.fixture(scope="module")
def kept(pool):
    """name -> whether each patient is kept, (SEEDS, n)."""

    @cache
    def of(name: str) -> np.ndarray:
        out = np.zeros((SEEDS, len(pool.cohort)), dtype=bool)
        for seed in range(SEEDS):
            out[seed, c.target(pool, name, seed).index] = True
        return out

    return of


@pytest.fixture(scope="module")
def chances(pool):
    """name -> what it says of every patient, from the images or the scanner, by hand: (n,)."""

    @cache
    def measured(measure: str) -> tuple[np.ndarray, np.ndarray]:
        cohorts = m.draw(800, m.SCALE_SEED), pool.cohort
        return tuple(c.MEASURES[measure](cohort.images).numpy() for cohort in cohorts)

    def of(name: str) -> np.ndarray:
        kind, value = c.family(name), c.strength(name)
        if kind == "vendor":
            ratio = np.array([(1 - value) / 0.7, value / 0.3])
            return (ratio / ratio.max())[pool.cohort.scanner]
        a, here = measured(c.MEASURED[kind])
        # the lower of the two middle values, as torch has it
        steep = 4 * (here - np.sort(a)[399]) / a.std(ddof=1, dtype=float)
        steep = steep if kind == "select_fluid" else -steep
        return 1 / value + (1 - 1 / value) / (1 + np.exp(-steep))

    return of


@pytest.mark.parametrize("name", COVARIATE)
def test_each_patient_is_kept_with_the_stated_chance(kept, chances, name):
    s = chances(name)
    counts = kept(name).sum(0)
    sure = s >= 1
    assert (counts[sure] == SEEDS).all()
    s, counts = s[~sure], counts[~sure]
    # counts are binomial and independent between patients: a chi-squared with n degrees, nearly
    x2 = ((counts - SEEDS * s) ** 2 / (SEEDS * s * (1 - s))).sum()
    assert abs(x2 - len(s)) < 5 * np.sqrt(2 * len(s)), (x2, len(s))
    assert abs(counts.sum() - SEEDS * s.sum()) < 4 * np.sqrt(SEEDS * (s * (1 - s)).sum())


@pytest.mark.parametrize("name", COVARIATE)
def test_known_weights_times_source_is_the_target(pool, kept, chances, name):
    """Mean of a statistic over the target = weighted mean over the source: label, burden, image."""
    cohort = pool.cohort
    w, s = c.known_weights(cohort, name), chances(name)
    assert w.mean() == pytest.approx(1) and (w > 0).all()
    np.testing.assert_allclose(w, s / s.mean(), rtol=1e-5)
    rows = kept(name)
    for f in (cohort.labels, cohort.burden, pool.bright_area, cohort.scanner):
        f = f.double().numpy()
        away = f - (w * f).mean()
        # over seeds the sum over the kept of (f - weighted mean) has mean 0 and this variance
        error = np.sqrt((s * (1 - s) * away**2).sum() / SEEDS)
        assert abs((rows @ away).mean()) <= 4 * error + 1e-9


@pytest.mark.parametrize("factor", c.FACTORS)
def test_selection_prefers_little_bright_area_and_much_fluid(pool, factor):
    for kind, sign in (("select", -1), ("select_fluid", 1)):
        s = pool.kept_with(kind, factor)
        assert s.min() >= 1 / factor and s.max() <= 1
        area = getattr(pool, c.MEASURED[kind])
        assert stats.spearmanr(area, s).statistic == pytest.approx(sign, abs=1e-6)
        # the range is used, as far as there are such images: no area is below 0
        assert s.max() / s.min() > 0.5 * factor
        torch.testing.assert_close(s, c.selection(kind, factor)(pool.cohort.images))


def test_selection_on_bright_area_moves_prevalence_down_and_labels_stay(pool):
    for name in COVARIATE:
        found = c.target(pool, name, 0)
        assert torch.equal(found.labels, pool.cohort.labels[found.index])
        assert (found.index.diff() > 0).all()
    healthier = c.target(pool, "select.30", 0).labels.mean()
    assert healthier < pool.cohort.prevalence - 0.05


@pytest.mark.parametrize("share", c.VENDOR_SHARES)
def test_vendor_shares(share):
    """Exact at the hospital's mixture: .7 and .3, times the weights."""
    w = c.vendor_weights(share / 100).numpy()
    np.testing.assert_allclose(w * [0.7, 0.3], [1 - share / 100, share / 100])


@pytest.mark.parametrize("rho", c.PREVALENCES)
def test_label_shift_has_the_stated_prevalence_and_patients_of_each_class_alike(pool, rho):
    labels = pool.cohort.labels.numpy()
    times = np.zeros(len(labels))
    for seed in range(SEEDS):
        found = c.target(pool, f"label.{rho}", seed)
        index = found.index.numpy()
        assert len(np.unique(index)) == len(index)
        assert abs(float(found.labels.sum()) - len(index) * rho / 100) < 1
        assert np.array_equal(found.labels, labels[index])
        times[index] += 1
    for y in (0, 1):
        counts = times[labels == y]
        p = counts.mean() / SEEDS
        if p < 1:  # without replacement a class's counts are as even as chance, not more
            x2 = ((counts - SEEDS * p) ** 2 / (SEEDS * p * (1 - p))).sum()
            assert abs(x2 - len(counts)) < 5 * np.sqrt(2 * len(counts))


def test_a_cut_sample_is_the_beginning_and_still_mixed(pool):
    for name in c.NAMES:
        whole, part = c.target(pool, name, 3), c.target(pool, name, 3, 40)
        assert torch.equal(part.index, whole.index[:40])
        assert torch.equal(part.labels, whole.labels[:40])
    first = np.mean([c.target(pool, "label.80", s, 40).labels.mean() for s in range(SEEDS)])
    assert abs(first - 0.8) < 4 * np.sqrt(0.8 * 0.2 / (40 * SEEDS))


@pytest.mark.parametrize("share", c.READER_SHARES)
def test_readers_move_their_share_of_labels_and_look_at_spots_alone(pool, share):
    cohort, p = pool.cohort, share / 100
    spots = (cohort.patients.volume_ml("lookalike") >= 0.5).float()
    disagree = (spots != cohort.labels).numpy()
    moved = np.zeros(len(cohort))
    for seed in range(SEEDS):
        found = c.target(pool, f"readers.{share}", seed)
        assert torch.equal(found.index, torch.arange(len(cohort)))
        now = found.labels
        assert torch.equal(now[~disagree], cohort.labels[~disagree])
        changed = (now != cohort.labels).numpy()
        assert torch.equal(now[changed], spots[changed])
        moved += changed
    total = moved[disagree].sum()
    trials = SEEDS * disagree.sum()
    assert abs(total - trials * p) <= 4 * np.sqrt(trials * p * (1 - p))
    assert 0.2 < disagree.mean() < 0.8


def test_spots_tell_nothing_of_the_large_lesion(ward):
    """The other readers' disease is independent of ours: concept shift at its worst."""
    spots = (ward.patients.volume_ml("lookalike") >= 0.5).numpy()
    table = np.array(
        [[int(((ward.labels.numpy() == a) & (spots == b)).sum()) for a in (0, 1)] for b in (0, 1)]
    )
    assert stats.chi2_contingency(table).pvalue > 1e-3


@pytest.mark.parametrize(("volume", "way"), [(10, 1), (40, -1)])
def test_a_criterion_moves_labels_one_way(pool, volume, way):
    found = c.target(pool, f"criterion.{volume}", 0)
    assert torch.equal(found.index, torch.arange(len(pool.cohort)))
    assert torch.equal(found.labels, (pool.cohort.burden >= volume).float())
    change = found.labels - pool.cohort.labels
    assert set(change.tolist()) == {0.0, float(way)}


def test_none_is_everyone_and_seeds_repeat(pool):
    found = c.target(pool, "none", 1)
    assert torch.equal(found.index, torch.arange(len(pool.cohort)))
    assert torch.equal(found.labels, pool.cohort.labels)
    for name in ("label.60", "select.10", "vendor.70", "readers.50"):
        a, b, other = (c.target(pool, name, seed) for seed in (1, 1, 2))
        assert torch.equal(a.index, b.index) and torch.equal(a.labels, b.labels)
        assert not (torch.equal(a.index, other.index) and torch.equal(a.labels, other.labels))


def test_names():
    assert len(set(c.NAMES)) == len(c.NAMES) and c.NAMES[0] == "none"
    assert {c.family(name) for name in (*c.NAMES, *c.BURDEN_NAMES)} < set(c.KEEPS)
    said = {"label.5": 0.05, "select_fluid.30": 30, "vendor.90": 0.9, "readers.100": 1, "none": 0}
    assert {name: c.strength(name) for name in said} == said
    assert c.strength("criterion.40") == 40 and c.strength("burden.20") == 0.2


def test_unknown_conditions_are_refused(pool):
    with pytest.raises(ValueError, match="'lable.5'; known: none, label.5"):
        c.target(pool, "lable.5", 0)
    for name in ("label.5", "readers.50", "none"):
        with pytest.raises(ValueError, match="is no covariate shift"):
            c.known_weights(pool.cohort, name)


@pytest.mark.parametrize("name", c.BURDEN_NAMES)
def test_burden_is_none_of_them(name):
    """The share of the affected is as stated; p(burden | y = 0) moves, so it is no label shift."""
    there = c.burden_hospital(name)
    share, n = c.strength(name), 3000
    volumes = {}
    for hospital in (m.HOSPITAL, there):
        patients = draw_patients(n, 4, hospital.population, hospital.burden, 0)
        volumes[hospital.name] = patients.volume_ml("glioma").numpy()
    ours, theirs = volumes[m.HOSPITAL.name], volumes[there.name]
    assert abs((theirs > 0).sum() - n * share) < 4 * np.sqrt(n * share * (1 - share))
    assert there.criterion == m.HOSPITAL.criterion and there.scanners == m.HOSPITAL.scanners
    # P(affected | called healthy) = a/3 / (a/3 + 1 - a), 1/4 at the source
    expected = {v: (v / 3) / (1 - 2 * v / 3) for v in (0.5, share)}
    for volume, a in ((ours, 0.5), (theirs, share)):
        healthy = volume[volume < 20]
        p = expected[a]
        assert abs((healthy > 0).sum() - len(healthy) * p) < 4 * np.sqrt(len(healthy) * p * (1 - p))
    assert abs(expected[share] - expected[0.5]) > 0.1
