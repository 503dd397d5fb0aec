"""Patients, features, teacher, training sets: what every experiment stands on."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medxfer_lab import nets
from medxfer_lab.bias_variance.experiment import EXPERIMENTS, ridge
from medxfer_lab.bias_variance.experiment import material as m


@pytest.fixture(scope="module")
def world(small):
    return small["n_test"], small["n_pool"]


def test_eta_is_a_probability_with_the_stated_spread(world):
    """Over the pool the teacher's log-odds have mean 0 and standard deviation TEACHER_SPREAD."""
    teacher = m.teacher(*world)
    pool = m.reference("imagenet", 0, *world).pool
    eta = teacher.eta(pool)
    assert eta.dtype == torch.float64 and ((eta > 0) & (eta < 1)).all()
    odds = torch.logit(eta)
    assert float(odds.mean()) == pytest.approx(0, abs=1e-6)
    assert float(odds.std()) == pytest.approx(m.TEACHER_SPREAD, rel=1e-6)
    lesion = m.fixed_cohort("pool", world[1]).labels
    assert eta[lesion > 0].mean() > eta[lesion == 0].mean()  # it was fitted to lesions


def test_teacher_depends_on_the_pool_alone(world):
    other = m.teacher(world[0] - 10, world[1])
    assert torch.equal(other.weights, m.teacher(*world).weights)
    assert other.gain == m.teacher(*world).gain


def test_eta_is_a_function_of_the_picture(world):
    """By hand: prepare, features, the pool's scale, the teacher's weights, sigmoid; one by one."""
    teacher, base = m.teacher(*world), m.reference("imagenet", 0, *world)
    network = nets.load("efficientnet_lite0", "imagenet")
    pictures = m.images(m.fixed_cohort("test", world[0]))[:4]
    expected = m.truth(*world).eta[:4]
    for picture, known in zip(pictures, expected):
        with torch.no_grad():
            raw = network.features(network.prepare(picture[None])).numpy()[0]
        scaled = (raw - base.mean) / base.deviation
        odds = teacher.gain * (scaled.astype(float) @ teacher.weights.numpy() + teacher.intercept)
        # float32 features of another batch size, summed over 1,280 weights
        assert 1 / (1 + np.exp(-odds)) == pytest.approx(known, abs=1e-4)


def test_truth_of_the_test_patients(world):
    truth, test = m.truth(*world), m.fixed_cohort("test", world[0])
    assert np.array_equal(truth.lesion, (test.burden >= 1).numpy())
    assert np.array_equal(truth.labels("lesion"), truth.lesion)
    assert np.array_equal(truth.labels("teacher"), truth.teacher)
    assert set(truth.teacher) == {0.0, 1.0} and not np.array_equal(truth.teacher, truth.lesion)


def test_sets_are_nested_and_share_no_patient(world):
    few, many = (m.training_set(3, n, *world, m.TRAINING_SEED) for n in (10, 16))
    torch.testing.assert_close(few.pictures, many.pictures[:10], rtol=0, atol=1e-5)
    for kind in m.LABELS:
        assert torch.equal(few.labels[kind], many.labels[kind][:10])
    # a batch of another size sums in another order, in each of fifty layers: 1e-4 of a feature's
    # size before it is divided by its spread, which is small for some
    spread = torch.from_numpy(m.reference("imagenet", 0, *world).deviation)
    alive = torch.isfinite(spread)
    gap = ((few.imagenet - many.imagenet[:10]) * spread)[:, alive].abs().max()
    assert gap <= 1e-4 * spread[alive].median()
    other = m.training_set(4, 16, *world, m.TRAINING_SEED)
    gaps = (many.pictures[:, None] - other.pictures[None]).abs().flatten(2).mean(2)
    assert gaps.min() > 0.02  # a mean over 4,096 pixels: no picture comes back


def test_no_seed_serves_two_purposes():
    """Hospital seeds of training, tuning, test, pool and population over every preset: disjoint."""
    uses: dict[int, str] = {
        m.TEST_SEED: "test",
        m.POOL_SEED: "pool",
        ridge.POPULATION_SEED: "ridge",
    }
    assert len(uses) == 3
    sets = max(p.get("sets", 0) for x in EXPERIMENTS.values() for p in x.PRESETS.values())
    tuning = max(p.get("tuning_sets", 0) for x in EXPERIMENTS.values() for p in x.PRESETS.values())
    for first, count in ((m.TRAINING_SEED, sets), (m.TUNING_SEED, tuning)):
        seeds = range(first, first + count)
        assert not uses.keys() & set(seeds)
        uses |= dict.fromkeys(seeds, "sets")


def test_pictures_are_on_the_scale_networks_ask_for(world):
    pictures = m.images(m.fixed_cohort("test", world[0]))
    assert pictures.shape[1:] == (1, m.SIZE, m.SIZE)
    assert pictures.min() >= 0 and pictures.max() <= 1
    for picture in pictures.flatten(1).numpy():
        bright = picture[picture > 0.35 * np.percentile(picture, 90)]
        assert np.median(bright) == pytest.approx(0.5, abs=0.01)


def test_pixels_are_block_means():
    picture = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    found = m.raw_features(picture, "pixels", 0)
    assert found.shape == (2, 256)
    for i, r, c in ((0, 0, 0), (1, 3, 15), (0, 15, 7)):
        block = picture[i, 0, 4 * r : 4 * r + 4, 4 * c : 4 * c + 4].numpy()
        assert found[i, 16 * r + c] == pytest.approx(block.mean(), abs=1e-6)


@pytest.mark.parametrize("backbone", ["imagenet", "pixels", "small_cnn"])
def test_features_are_standardised_by_the_pool(backbone, world):
    base = m.reference(backbone, 0, *world)
    alive = np.isfinite(base.deviation)
    assert alive.mean() > 0.5
    np.testing.assert_allclose(base.pool.mean(0)[alive], 0, atol=1e-4)
    np.testing.assert_allclose(base.pool.numpy().std(0)[alive], 1, atol=1e-4)
    raw = m.raw_features(m.images(m.fixed_cohort("test", world[0])), backbone, 0)
    torch.testing.assert_close(base.standardise(raw), base.test)
    assert abs(float(base.test[:, alive].mean())) > 1e-4  # the test set's own mean is not removed


def test_dead_features_become_zero_and_not_loud():
    raw = np.random.default_rng(0).standard_normal((50, 5)).astype(np.float32)
    raw[:, 2] = 3.0
    raw[:, 4] *= 1e-5
    deviation = m.usable_deviation(raw)
    assert np.isinf(deviation).tolist() == [False, False, True, False, True]
    assert deviation.dtype == np.float32
    assert not ((raw - raw.mean(0)) / deviation)[:, [2, 4]].any()
    np.testing.assert_allclose(deviation[[0, 1, 3]], raw[:, [0, 1, 3]].std(0), rtol=1e-6)


def test_networks_take_turns():
    assert [m.network_seed("untrained", k) for k in range(5)] == [0, 1, 2, 0, 1]
    assert [m.network_seed("small_cnn", k) for k in range(4)] == [0, 1, 2, 0]
    for fixed in ("imagenet", "pixels"):
        assert {m.network_seed(fixed, k) for k in range(5)} == {0}


def test_digests_are_those_of_the_weights():
    found = m.digests()
    assert found["imagenet.0"] == nets.load("efficientnet_lite0", "imagenet").digest
    for seed in range(3):
        expected = nets.load("small_cnn", "photographs", seed=seed).digest
        assert found[f"small_cnn.{seed}"] == expected
    assert len(set(found.values())) == len(found) == 4
