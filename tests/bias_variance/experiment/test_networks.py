"""Networks trained whole, in small: three steps a run, every path of the experiment."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from medxfer_lab import nets
from medxfer_lab.bias_variance.experiment import material as m
from medxfer_lab.bias_variance.experiment import networks
from medxfer_lab.training import L2SP, FullFineTuning, Scratch

SIZES = [16, 24]


@pytest.fixture(scope="module")
def parameters(small):
    return {"sets": 3, "tuning_sets": 1, "sizes": SIZES, **small}


@pytest.fixture(scope="module")
def done(parameters, runner):
    kept: dict[str, dict] = {}

    def watching(jobs, function):
        kept.update(found := runner(jobs, function))
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(networks, "steps_for", lambda n: 3)
        return networks.run(parameters, watching), kept


@pytest.fixture
def drawn(small):
    return m.training_set(0, 16, **small, seed=m.TRAINING_SEED)


def test_every_strategy_gets_as_many_trials_and_the_best_wins(done):
    results, jobs = done
    assert len({len(c) for c in networks.CANDIDATES.values()}) == 1
    for kind in m.LABELS:
        for name in networks.STRATEGIES:
            losses = jobs["tune-0"][f"{kind}.{name}"]
            for i, n in enumerate(SIZES):
                best = networks.CANDIDATES[name][int(losses[i].argmin())]
                assert results["settings"][kind][name][str(n)] == best


def test_names_become_strategies():
    assert networks.strategy_of("scratch", {"learning_rate": 1.0}) == Scratch()
    assert networks.strategy_of("full_fine_tuning", {}) == FullFineTuning()
    assert networks.strategy_of("l2sp", {"tie": 0.03}) == L2SP(0.03)
    assert networks.STRATEGIES == tuple(networks.CANDIDATES)


@pytest.mark.parametrize("name", networks.STRATEGIES)
def test_each_strategy_starts_where_it_should(name, drawn, monkeypatch):
    """At a rate of nearly zero the trained body is the start: untrained, or checkpoint seed % 3."""
    monkeypatch.setattr(networks, "steps_for", lambda n: 1)
    settings = {"learning_rate": 1e-12, "tie": 0.01}
    seed = 4
    picture, label = drawn.pictures, drawn.labels["lesion"]
    found = networks.train(picture, label, name, settings, "lesion", seed).network
    if name == "scratch":
        start = nets.load("small_cnn", "untrained", seed=seed)
    else:
        start = nets.load("small_cnn", "photographs", seed=seed % 3)
        start.reset_head(seed)
    for a, b in zip(found.parameters(), start.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-9)


def test_pictures_are_mirrored_for_lesions_only(drawn, monkeypatch):
    """The teacher's eta belongs to the picture as it is: a mirrored one would have another."""
    flips = {}

    def watched(network, inputs, labels, strategy, **settings):
        flips[settings["match_loss"]] = settings["flip"]
        return copy.copy(settings)

    monkeypatch.setattr(networks, "fit", watched)
    for kind in m.LABELS:
        networks.train(
            drawn.pictures, drawn.labels[kind], "scratch", {"learning_rate": 1e-3}, kind, 0
        )
    assert flips == {networks.MATCH_LOSS: True, None: False}


def test_record_of_the_results(done, parameters, as_record, tmp_path):
    results, jobs = done
    record = as_record(networks, parameters, results)
    assert type(record).load(record.save(tmp_path / "networks.simulated.cpu.json")) == record
    truth = m.truth(parameters["n_test"], parameters["n_pool"])
    assert results["variance_of_eta"] == pytest.approx(float(truth.eta.var()))
    for kind in m.LABELS:
        for name in networks.STRATEGIES:
            rows = [jobs[f"set-00{k}"] for k in range(3)]
            cell = record.value(f"{kind}.{name}.24")
            scores = [roc_auc_score(truth.labels(kind), r[f"{kind}.{name}"][1]) for r in rows]
            np.testing.assert_allclose(cell["auc_sets"], scores, atol=5.1e-6)
            for measure in ("distance", "train_loss"):
                mean = np.mean([r[f"{measure}.{kind}.{name}"][1] for r in rows])
                assert cell[measure]["mean"] == pytest.approx(mean)
            assert cell["matched_reached"] == 0 and "matched_distance" not in cell
    worth = record.value("lesion.label_worth.l2sp")
    assert set(worth) == {"16", "24"} and worth["16"]["size"] == 16


def test_a_matched_loss_is_counted_where_it_was_reached(done, parameters):
    """Three sets, two of which reached the loss at n = 24: no interval from fewer than three."""
    _, jobs = done
    trained = [dict(jobs[f"set-00{k}"]) for k in range(3)]
    for k, job in enumerate(trained):
        job["matched.lesion.scratch"] = np.array([0.2 + k / 10, -1.0 if k == 0 else 0.5])
    truth = m.truth(parameters["n_test"], parameters["n_pool"])
    found = networks._summaries(trained, "lesion", SIZES, truth)["scratch"]
    assert found["16"]["matched_reached"] == 3
    assert found["16"]["matched_distance"]["mean"] == pytest.approx(0.3)
    assert found["24"]["matched_reached"] == 2 and "matched_distance" not in found["24"]
    assert found["24"]["matched_sets"] == [-1.0, 0.5, 0.5]


def test_sets_differ_in_start_and_order_and_repeat_to_the_bit(done, parameters, monkeypatch):
    results, jobs = done
    monkeypatch.setattr(networks, "steps_for", lambda n: 3)
    settings = {
        f"{kind}.{name}.{n}": results["settings"][kind][name][str(n)]
        for kind in m.LABELS
        for name in networks.STRATEGIES
        for n in SIZES
    }
    shared = {k: parameters[k] for k in ("sizes", "n_test", "n_pool")}
    again = networks.training_job(1, settings=settings, **shared)
    for key, value in again.items():
        np.testing.assert_allclose(value, jobs["set-001"][key], atol=1e-5, err_msg=key)
    other = jobs["set-002"]["lesion.scratch"]
    assert not np.allclose(again["lesion.scratch"], other, atol=1e-3)


def test_recheck_repeats_a_set(done, parameters, as_record, monkeypatch):
    monkeypatch.setattr(networks, "steps_for", lambda n: 3)
    pairs = networks.recheck(as_record(networks, parameters, done[0]), 1)
    assert len(pairs) == len(m.LABELS) * len(networks.STRATEGIES) * len(SIZES)
    for name, (then, now) in pairs.items():
        assert abs(then - now) < 3e-3, name  # a swap of two of 40 test patients


def test_presets_hold_what_the_claims_read():
    full = networks.PRESETS["full"]
    assert full["sets"] >= 30 and len(full["sizes"]) >= 6
    assert {16, 32, 100, 1000} <= set(full["sizes"])
    assert [networks.steps_for(n) for n in (16, 32, 33, 100, 101, 1000)] == sorted(
        networks.steps_for(n) for n in (16, 32, 33, 100, 101, 1000)
    )
