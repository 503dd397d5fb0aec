"""The same patients on another scanner: who is whom, and every number of EXTRA by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import expit
from sklearn.metrics import log_loss, roc_auc_score

from medxfer_lab.domain_shift.experiment import acquisition as a
from medxfer_lab.domain_shift.experiment import material as m
from medxfer_lab.domain_shift.experiment import models
from medxfer_lab.domain_shift.experiment.assess import Scores, recalibrated
from medxfer_lab.domain_shift.experiment.ratio import fitted_weights, weighted_calibration

SMALL = {"n": 40, "sample": 40, "n_test": 60, "steps": 2}
SETTINGS = {"head": {"strength": 0.3}, "network": {"learning_rate": 1e-3}}


@pytest.mark.parametrize("modality", ["mri", "ct"])
def test_every_scanner_sees_the_same_patients_with_the_same_labels(modality):
    n = 20
    source = a.test_cohort(modality, "source", n)
    for name, scanner in a.TARGETS[modality].items():
        there = a.test_cohort(modality, name, n)
        assert torch.equal(there.labels, source.labels)
        assert torch.equal(there.burden, source.burden)
        assert torch.equal(there.patient_ids, source.patient_ids)
        assert there.scanners == (scanner,)
        assert not torch.equal(there.images, source.images)  # other noise, at the least
    assert source.scanners == (a.SOURCES[modality],)


def test_again_is_the_same_scanner_and_other_noise():
    """The control: no statistic of the image moves in the mean; any other scanner moves one."""
    n = 40
    source = m.statistics(a.test_cohort("mri", "source", n))
    moved = {}
    for name in a.TARGETS["mri"]:
        away = m.statistics(a.test_cohort("mri", name, n)) - source
        moved[name] = float((away.mean(0) / (away.std(0) / n**0.5)).abs().max())
    assert a.TARGETS["mri"]["again"] == a.SOURCES["mri"]
    assert moved.pop("again") < 4.5 and min(moved.values()) > 10, moved


@pytest.mark.parametrize("kind", ["network", "head"])
def test_test_pictures_of_a_model(kind):
    shown = a.test_look(kind, "mri", "t1", 20)
    expected = models.look(kind, a.test_cohort("mri", "t1", 20))
    torch.testing.assert_close(shown, expected, atol=2e-3, rtol=1e-3)


@pytest.fixture
def small(monkeypatch):
    """Networks alone, the control and one new scanner."""
    monkeypatch.setattr(a, "MODELS", {"mri": ("network",)})
    scanners = {name: a.TARGETS["mri"][name] for name in ("again", "t1")}
    monkeypatch.setattr(a, "TARGETS", {"mri": scanners})


@pytest.mark.slow
def test_run_record_and_recheck(small, runner, as_record, tmp_path):
    kept: dict[str, dict] = {}

    def watching(jobs, function):
        kept.update(found := runner(jobs, function))
        return found

    parameters = {"sets": 2, **SMALL}
    results = a.run(parameters, watching)
    for name in ("again", "t1"):
        cell = results["mri"]["network"][name]
        rows = np.stack([kept[f"mri-00{k}"][f"extra.network.{name}"] for k in range(2)])
        assert rows.shape == (2, len(a.EXTRA))
        column = dict(zip(a.EXTRA, rows.T))
        for key in ("auc_source", "excess", "posterior_gap", "domain_auc"):
            assert cell[key]["mean"] == pytest.approx(column[key].mean())
        left = column["weighted_excess"] - column["log_loss_target"]
        assert cell["weighted_excess"]["mean"] == pytest.approx(left.mean())
        common = column["common_excess"] - column["log_loss_target"]
        assert cell["common_excess"]["mean"] == pytest.approx(common.mean())
        gain = column["excess"] - left
        assert cell["weighting_gain"]["mean"] == pytest.approx(gain.mean())
    # the source's own scanner twice: no domain to be told from another
    assert results["mri"]["network"]["t1"]["domain_auc"]["mean"] > 0.95
    assert results["mri"]["network"]["again"]["domain_auc"]["mean"] < 0.75
    record = as_record(a, parameters, results)
    assert type(record).load(record.save(tmp_path / "acquisition.simulated.cpu.json")) == record
    for name, (then, now) in a.recheck(record, "mri", 1).items():
        assert now == pytest.approx(then, abs=1e-4), name


def test_a_set_by_hand(small):
    """Both models, each calibrated on its own scanner; scores from the second half of the test."""
    k = 3
    found = a.training_job(k, "mri", **SMALL, settings=SETTINGS)["extra.network.t1"]
    seed = m.TRAINING_SEED + 10_000 + k
    everyone = a.admitted(80, seed, "mri")
    drawn, held = everyone.take(torch.arange(40)), everyone.take(torch.arange(40, 80))
    t1 = a.TARGETS["mri"]["t1"]
    drawn_there, held_there = (a.rescan(part, t1, seed + 100_000) for part in (drawn, held))
    train = [m.pictures(x) for x in (drawn, drawn_there)]
    source, native = (
        models.train("network", x, drawn.labels, SETTINGS["network"], k, 2) for x in train
    )
    y = held.labels.numpy()
    lines = [recalibrated(Scores(source(held), y)), recalibrated(Scores(native(held_there), y))]
    on_source, on_t1 = (a.test_cohort("mri", name, 60) for name in ("source", "t1"))
    truth = on_source.labels.numpy()
    deployed, own = lines[0].apply(source(on_t1)), lines[1].apply(native(on_t1))
    p, q = expit(deployed), expit(own)
    expected = {
        "auc_source": roc_auc_score(truth[30:], source(on_source)[30:]),
        "auc_target": roc_auc_score(truth[30:], own[30:]),
        "log_loss_target": log_loss(truth[30:], q[30:]),
        "excess": log_loss(truth[30:], p[30:]) - log_loss(truth[30:], q[30:]),
        "posterior_gap": np.abs(p - q).mean(),
    }
    both = torch.cat(train), torch.cat([drawn.labels] * 2)
    common = models.train("network", *both, SETTINGS["network"], k, 2)
    line = recalibrated(Scores(common(held_there), y))
    # the record's excess is this loss minus the native model's
    expected["common_excess"] = log_loss(truth[30:], expit(line.apply(common(on_t1)))[30:])
    visitors = a.rescan(a.admitted(40, seed + 5_000, "mri"), t1, seed + 200_000)
    weights, held_weights = (fitted_weights(x, visitors, k).known for x in (drawn, held))
    weighted = models.train("network", train[0], drawn.labels, SETTINGS["network"], k, 2, weights)
    line = weighted_calibration(weighted(held), y, held_weights)
    expected["weighted_excess"] = log_loss(truth[30:], expit(line.apply(weighted(on_t1)))[30:])
    column = dict(zip(a.EXTRA, found))
    for name, value in expected.items():
        assert column[name] == pytest.approx(value, abs=1e-3), name


def test_extra_of_models_that_agree():
    """One model for source and native: no excess, no gap, no verdict changed."""
    rng = np.random.default_rng(0)
    z = rng.normal(-0.7, 2, 4000)
    truth = (rng.random(4000) < expit(z)).astype(float)
    fixed = Scores(z[:1000], truth[:1000])
    native = recalibrated(fixed).apply(z)
    found = dict(zip(a.EXTRA, a._extra(truth, fixed, z, z, native)))
    assert found["excess"] == pytest.approx(0) and found["posterior_gap"] == pytest.approx(0)
    assert found["verdicts_changed"] == 0
    assert found["slope"] == pytest.approx(1, abs=0.25)
    assert found["auc_source"] == found["auc_target"]
    assert found["log_loss_source"] == pytest.approx(found["log_loss_target"])


def test_extra_sees_an_overconfident_score_and_changed_verdicts():
    """On the target the score is twice as far out: the slope mends it, verdicts move."""
    rng = np.random.default_rng(1)
    z = rng.normal(-0.7, 2, 40_000)
    truth = (rng.random(40_000) < expit(z)).astype(float)
    fixed = Scores(z, truth)
    found = dict(zip(a.EXTRA, a._extra(truth, fixed, z, 2 * z, z)))
    assert found["slope"] == pytest.approx(0.5, abs=0.03) and found["excess"] > 0.05
    called = [expit(v) >= 0.25 for v in (z, 2 * z)]
    changed = (called[0] != called[1]).mean()
    assert changed > 0.05 and found["verdicts_changed"] == pytest.approx(changed, abs=0.01)
    assert found["posterior_gap"] == pytest.approx(np.abs(expit(2 * z) - expit(z)).mean(), abs=0.01)


def test_visitors_are_other_patients():
    seed = m.TRAINING_SEED + 10_000
    ours, theirs = a.admitted(10, seed, "mri"), a.admitted(10, seed + 5_000, "mri")
    assert not torch.equal(ours.burden, theirs.burden)


def test_new_scanners_of_the_claims_are_measured():
    from medxfer_lab.domain_shift.claims import NEW_SCANNERS

    for modality, names in NEW_SCANNERS.items():
        assert set(names) <= set(a.TARGETS[modality]) - {"again"}
