"""The hospital is what the page says of it; features and pictures belong to one image alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from medxfer_lab import nets
from medxfer_lab.domain_shift.experiment import acquisition, league, prevalence
from medxfer_lab.domain_shift.experiment import material as m
from medxfer_lab.imaging.shifts import pooled_statistics, scanner_error


def within(count: float, n: int, p: float, sigmas: float = 4.0) -> bool:
    """Is a binomial count within so many standard deviations of n p?"""
    return abs(count - n * p) <= sigmas * np.sqrt(n * p * (1 - p))


def test_prevalence_is_a_third_by_derivation(ward):
    """Half affected, log-uniform 10 to 80 ml, disease from 20 ml: 1/2 log 4/log 8 = 1/3."""
    affected = ward.burden > 0
    assert within(int(affected.sum()), len(ward), 0.5)
    logs = np.log(ward.burden[affected].numpy().astype(float) / 10) / np.log(8)
    assert stats.kstest(logs, "uniform").pvalue > 1e-4
    assert torch.equal(ward.labels, (ward.burden >= 20).float())
    assert within(int(ward.labels.sum()), len(ward), 1 / 3)


def test_two_vendors_seven_to_three_told_apart_in_the_image(ward):
    assert within(int((ward.scanner == 1).sum()), len(ward), 0.3)
    found = scanner_error(ward, 0)
    assert found.errors == 0 and found.tried == len(ward) // 2


def test_pictures_have_the_brain_s_median_at_one_half(ward):
    shown = m.pictures(ward.take(torch.arange(50)))
    assert shown.shape == (50, 1, m.SIZE, m.SIZE) and shown.min() >= 0 and shown.max() <= 1
    tissue = torch.stack([image[image > 0.25].median() for image in shown])
    assert ((tissue - 0.5).abs() < 0.1).all()


def test_a_picture_does_not_depend_on_its_company(ward):
    """Neither picture, feature nor statistic: else a target's sample would normalise its shift."""
    few, many = ward.take(torch.arange(3)), ward.take(torch.arange(40))
    assert torch.equal(m.pictures(few), m.pictures(many)[:3])
    torch.testing.assert_close(m.features(few), m.features(many)[:3], atol=2e-3, rtol=1e-3)
    torch.testing.assert_close(m.statistics(few), m.statistics(many)[:3], atol=1e-6, rtol=1e-6)


def test_computed_tomography_goes_through_the_brain_window():
    cohort = acquisition.admitted(4, 1, "ct")
    assert cohort.units == "HU"
    shown = m.pictures(cohort)
    centre, width = m.BRAIN_WINDOW
    expected = ((cohort.images - (centre - width / 2)) / width).clamp(0, 1)
    torch.testing.assert_close(shown, expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(m.statistics(cohort), pooled_statistics(shown).double())


def test_features_are_standardised_by_the_cohort_that_only_sets_scales(ward):
    """The formula on 60 patients of that cohort; over others the mean is near 0, the spread 1."""
    scale = nets.features(m.imagenet(), m.pictures(m.draw(60, m.SCALE_SEED)))
    mean, spread = scale.mean(0), scale.std(0)
    alive = spread > 1e-3 * np.median(spread)
    found = m._scale.__wrapped__(60)
    np.testing.assert_allclose(found[0], mean, atol=1e-4)
    np.testing.assert_allclose(found[1][alive], spread[alive], rtol=1e-3)
    assert np.isinf(found[1][~alive]).all()
    x = m.features(ward.take(torch.arange(60)))
    assert x.shape == (60, 1280) and x.isfinite().all()
    raw = nets.features(m.imagenet(), m.pictures(ward.take(torch.arange(60))))
    centre, width = m._scale()
    np.testing.assert_allclose(x, (raw - centre) / width, atol=1e-4)
    assert x.mean(0).abs().median() < 0.2 and (x.std(0).median() - 1).abs() < 0.1


def test_fixed_cohort_is_the_draw_and_its_features_are_those_of_its_pictures(drawn_from_the_ward):
    fixed = m.fixed_cohort(30, 3)
    assert fixed is m.fixed_cohort(30, 3)
    same = m.draw(30, 3)
    assert torch.equal(m.fixed_pictures(30, 3), m.pictures(same))
    torch.testing.assert_close(m.fixed_features(30, 3), m.features(same), atol=2e-3, rtol=1e-3)


def seeds_in_use() -> dict[str, set[int]]:
    """Seeds of draws, at the full presets, by what they are for; read off the experiments."""
    t = m.TRAINING_SEED
    full = {e.NAME: e.PRESETS["full"] for e in (acquisition, league, prevalence)}
    pairs = range(1000, 1000 + full["league"]["pairs"])
    return {
        "tuning": {m.TUNING_SEED + k for k in range(25)},
        "tuning, held out": {m.TUNING_SEED + 50 + k for k in range(25)},
        "scale": {m.SCALE_SEED},
        "test": {m.TEST_SEED, m.TEST_SEED + 1, m.TEST_SEED + 7},
        "shifts": {t + k for k in range(30)},
        "shifts, burden": {2 * t + k for k in range(30)},
        "acquisition": {t + 10_000 + k for k in range(16)},
        "acquisition, visitors": {t + 15_000 + k for k in range(16)},
        "retraining": {t + 30_000 + k for k in range(20)},
        "league, deployed": {t + 50_000 + k for k in range(league.NETWORKS)},
        "league, pairs": {7_000_000 + 10 * j + s for j in pairs for s in (0, 5)},
        "prevalence": {t - 1, t - 2},
    }


def test_no_two_draws_share_a_seed():
    used = seeds_in_use()
    assert len(set().union(*used.values())) == sum(map(len, used.values()))


def test_digests_name_every_weight_in_use():
    found = m.digests()
    assert set(found) == {"imagenet", *(f"small_cnn.{k}" for k in range(m.CHECKPOINTS))}
    assert all(len(digest) == 64 for digest in found.values())
    assert len(set(found.values())) == len(found)


def test_a_burden_of_volumes_between_ten_and_eighty():
    assert m.HOSPITAL.burden.volume_ml == (10.0, 80.0)
    assert m.HOSPITAL.criterion.volume_ml == pytest.approx(20.0)
