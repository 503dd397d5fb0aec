"""Three kinds of model: weights count patients, seeds repeat, tuning goes on from old weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medxfer_lab import nets
from medxfer_lab.domain_shift.experiment import material as m
from medxfer_lab.domain_shift.experiment import models
from medxfer_lab.domain_shift.experiment.models import CANDIDATES, choose, go_on, look, train
from medxfer_lab.metrics import log_loss
from medxfer_lab.training import probe

RATE = {"learning_rate": 1e-3}
SETTINGS = {"head": {"strength": 0.3}, "network": RATE, "statistics": {}}


@pytest.fixture(scope="module")
def few(ward):
    return ward.take(torch.arange(40))


@pytest.fixture(scope="module")
def others(ward):
    return ward.take(torch.arange(40, 70))


@pytest.fixture(scope="module")
def features(few, others):
    return look("head", few), look("head", others)


def head(seen, labels, strength=0.3, weights=None):
    return train("head", seen, labels, {"strength": strength}, 0, 0, weights)


def test_a_weight_of_k_is_the_patient_k_times(few, features):
    seen, new = features
    times = np.random.default_rng(0).integers(0, 4, len(few))
    index = torch.from_numpy(np.repeat(np.arange(len(few)), times))
    weighted = head(seen, few.labels, weights=times / times.mean()).fitted(new)
    # the penalty counts patients: mean loss + strength/2 |w|^2 is the same for both
    repeated = head(seen[index], few.labels[index]).fitted(new)
    np.testing.assert_allclose(weighted, repeated, atol=1e-3)
    assert np.abs(weighted - head(seen, few.labels).fitted(new)).max() > 0.05


@pytest.mark.parametrize("scale", [1.0, 7.0])
def test_equal_weights_are_none(few, features, scale):
    seen, new = features
    plain = probe(seen, few.labels, 0.3).logits(new)[0, 0].numpy()
    np.testing.assert_allclose(head(seen, few.labels).fitted(new), plain)
    weights = np.full(len(few), scale)
    np.testing.assert_allclose(
        head(seen, few.labels, weights=weights).fitted(new), plain, atol=1e-3
    )


def test_a_line_on_eight_numbers_does_not_depend_on_their_units(few, others):
    seen, new = look("statistics", few), look("statistics", others)
    assert seen.shape == (40, 8)
    gain, shift = torch.linspace(0.1, 50, 8).double(), torch.linspace(-3, 3, 8).double()
    a = train("statistics", seen, few.labels, {}, 0, 0).fitted(new)
    b = train("statistics", seen * gain + shift, few.labels, {}, 0, 0).fitted(new * gain + shift)
    np.testing.assert_allclose(a, b, atol=1e-4)
    heavy = 1 + 9 * few.labels.numpy()
    weighted = train("statistics", seen, few.labels, {}, 0, 0, heavy / heavy.mean()).fitted(new)
    assert weighted.mean() > a.mean() + 0.5  # ten times the diseased: log 10 nats, less the penalty


@pytest.mark.parametrize("kind", ["head", "network", "statistics"])
def test_a_fixed_cohort_is_scored_as_any_other(kind, few, drawn_from_the_ward):
    model = train(kind, look(kind, few), few.labels, SETTINGS[kind], 0, 2)
    np.testing.assert_allclose(
        model.on_fixed(20, 3), model(m.draw(20, 3)), atol=2e-3 if kind == "head" else 1e-5
    )
    assert (model.network is not None) == (kind == "network")
    some = torch.tensor([3, 11, 4])
    part = model.on_fixed(20, 3, index=some)
    np.testing.assert_allclose(part, model.on_fixed(20, 3)[some], atol=1e-4)


def network(cohort, seed, steps=3, rate=1e-3, weights=None):
    settings = {"learning_rate": rate}
    return train("network", look("network", cohort), cohort.labels, settings, seed, steps, weights)


def test_a_network_repeats_with_its_seed_and_takes_checkpoints_in_turn(few, others):
    a, b, c = network(few, 4), network(few, 4), network(few, 5)
    assert np.array_equal(a(others), b(others))
    assert np.abs(a(others) - c(others)).max() > 1e-3
    for seed in (1, 4):
        start = nets.load("small_cnn", "photographs", seed=1)
        start.reset_head(seed)
        found = network(few, seed, steps=1, rate=1e-12).network
        for x, y in zip(found.parameters(), start.parameters(), strict=True):
            torch.testing.assert_close(x, y, rtol=0, atol=1e-9)


def test_weights_reach_the_network(few, others):
    ones = np.ones(len(few))
    np.testing.assert_allclose(network(few, 0, weights=ones)(others), network(few, 0)(others))
    diseased = few.labels.numpy() * 0.98 + 0.02
    pulled = network(few, 0, steps=20, weights=diseased / diseased.mean())(others)
    assert pulled.mean() > network(few, 0, steps=20)(others).mean() + 0.2


def test_going_on_starts_from_the_old_weights_and_leaves_them(few, others):
    old = network(few, 0, steps=5)
    before = [p.clone() for p in old.network.parameters()]
    seen = look("network", others)
    still = go_on(old, seen, others.labels, {"learning_rate": 1e-12}, 7, 1)
    for x, y in zip(still.network.parameters(), before, strict=True):
        torch.testing.assert_close(x, y, rtol=0, atol=1e-9)
    moved = go_on(old, seen, 1 - others.labels, RATE, 7, 5)
    assert np.abs(moved(few) - old(few)).max() > 1e-3
    for x, y in zip(old.network.parameters(), before, strict=True):
        assert torch.equal(x, y)


def test_only_a_network_can_go_on(few, features):
    with pytest.raises(ValueError, match="'head' model has no network to tune on; train a new one"):
        go_on(head(features[0], few.labels), features[0], few.labels, RATE, 0, 1)


def test_tuning_scores_every_trial_on_other_patients(drawn_from_the_ward):
    found = models.tuning_job(1, 30, 2)
    drawn, held = m.draw(30, m.TUNING_SEED + 1), m.draw(30, m.TUNING_SEED + 51)
    assert set(found) == set(CANDIDATES)
    for kind, trial in (("head", 2), ("network", 4)):
        assert found[kind].shape == (5,)
        one = train(kind, look(kind, drawn), drawn.labels, CANDIDATES[kind][trial], 1, 2)
        expected = log_loss(one.fitted(look(kind, held)), held.labels.numpy())
        assert found[kind][trial] == pytest.approx(float(expected), abs=1e-4)


def test_the_least_mean_loss_is_chosen():
    assert {len(trials) for trials in CANDIDATES.values()} == {5}
    tuned = [
        {"head": np.array([5.0, 4, 3, 9, 9]), "network": np.array([1.0, 2, 3, 4, 5])},
        {"head": np.array([5.0, 1, 3, 9, 9]), "network": np.array([9.0, 2, 3, 4, 5])},
    ]
    settings, record = choose(tuned)
    assert settings == {"head": {"strength": 1.0}, "network": {"learning_rate": 6e-4}}
    assert set(record) == {"head", "network"}
