"""The range of exact shifts, in small: one condition of each family put together by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medxfer_lab.domain_shift.experiment import conditions as c
from medxfer_lab.domain_shift.experiment import material as m
from medxfer_lab.domain_shift.experiment import models, shifts
from medxfer_lab.domain_shift.experiment.assess import ARMS, Scores, assess

PARAMETERS = {"sets": 2, "n": 40, "pool": 200, "sample": 50, "n_test": 400, "steps": 2}
SHARED = {key: PARAMETERS[key] for key in ("n", "pool", "sample", "n_test", "steps")}
EVERY = (*c.NAMES, *c.BURDEN_NAMES)


@pytest.fixture
def world(drawn_from_the_ward):
    """Burden hospitals are drawn from the ward as well: who they admit is not the matter here."""
    for cached in (shifts.test_target, shifts._test_pool):
        cached.cache_clear()
    yield drawn_from_the_ward
    for cached in (shifts.test_target, shifts._test_pool):
        cached.cache_clear()


@pytest.fixture
def done(world, runner):
    kept: dict[str, dict] = {}

    def watching(jobs, function):
        kept.update(found := runner(jobs, function))
        return found

    return shifts.run(PARAMETERS, watching), kept


@pytest.mark.slow
def test_run_record_and_recheck(done, as_record, tmp_path):
    """One run serves them all: settings, cells, the record's trip to disk, the repeated set."""
    results, jobs = done
    for kind in shifts.MODELS:
        losses = np.mean([jobs[f"tune-{k}"][kind] for k in range(shifts.TUNING_DRAWS)], axis=0)
        assert results["settings"][kind] == models.CANDIDATES[kind][int(losses.argmin())]
        for name in EVERY:
            family, _, strength = name.partition(".")
            cell = results[kind][family][strength or "0"]
            rows = [jobs[f"set-00{k}"][f"measured.{kind}.{name}"] for k in range(2)]
            numbers = [jobs[f"set-00{k}"][f"numbers.{kind}.{name}"] for k in range(2)]
            np.testing.assert_allclose(cell["log_loss_sets"], [r[0, 0] for r in rows], atol=6e-6)
            assert cell["deployed"]["log_loss"]["mean"] == pytest.approx(
                np.mean([r[0, 0] for r in rows])
            )
            assert cell["auc"]["mean"] == pytest.approx(np.mean([v[0] for v in numbers]))
            test = shifts.test_target(name, PARAMETERS["n_test"])
            assert cell["patients_tested"] == len(test.index) // 2
    record = as_record(shifts, PARAMETERS, results)
    assert type(record).load(record.save(tmp_path / "shifts.simulated.cpu.json")) == record
    pairs = shifts.recheck(record, 1)
    assert len(pairs) == len(EVERY) * len(shifts.MODELS)
    for name, (then, now) in pairs.items():
        assert now == pytest.approx(then, abs=1e-4), name


def test_a_set_by_hand(world, monkeypatch):
    """Who trains, who calibrates, whose labels the sample has, on whom it is tested."""
    k, p = 1, PARAMETERS
    monkeypatch.setattr(shifts, "MODELS", ("network",))
    settings = {"network": {"learning_rate": 1e-3}}
    found = shifts.training_job(k, **SHARED, settings=settings)
    everyone = m.draw(2 * p["n"] + p["pool"], m.TRAINING_SEED + k)
    drawn, held = everyone.take(torch.arange(40)), everyone.take(torch.arange(40, 80))
    others = everyone.take(torch.arange(80, 280))
    model = models.train("network", m.pictures(drawn), drawn.labels, {"learning_rate": 1e-3}, k, 2)
    for name in ("label.60", "select.10", "readers.50", "burden.80"):
        if name == "burden.80":
            hospital = c.burden_hospital(name)
            sample = m.draw(p["sample"], 2 * m.TRAINING_SEED + k, hospital)
            test = m.draw(p["n_test"] // 2, m.TEST_SEED + 1, hospital)
        else:
            fixed = m.draw(p["n_test"], m.TEST_SEED)
            chosen = c.target(c.Pool(others), name, k)
            there = c.target(c.Pool(fixed), name, m.TEST_SEED)
            cut = chosen.index[: p["sample"]]
            sample, test = others.take(cut), fixed.take(there.index)
            sample = Scores(model(sample), chosen.labels[: p["sample"]].numpy())
            test = Scores(model(test), there.labels.numpy())
        by_hand = [
            part if isinstance(part, Scores) else Scores(model(part), part.labels.numpy())
            for part in (held, sample, test)
        ]
        expected = assess(*by_hand)
        np.testing.assert_allclose(found[f"measured.network.{name}"], expected.measured, atol=1e-3)
        np.testing.assert_allclose(
            found[f"numbers.network.{name}"][:2], expected.arrays("")["numbers."][:2]
        )


def test_test_patients_are_the_same_for_every_set_and_halves_are_alike(world):
    for name in ("label.5", "select.3", "criterion.10"):
        a, b = shifts.test_target(name, 400), shifts.test_target(name, 400)
        assert a is b
        assert torch.equal(
            a.labels, c.target(c.Pool(m.draw(400, m.TEST_SEED)), name, m.TEST_SEED).labels
        )


def test_presets_differ_in_scale_only_and_pools_suffice():
    """Every condition finds its sample in the full preset's pool, with room to spare."""
    full = shifts.PRESETS["full"]
    for preset in shifts.PRESETS.values():
        assert set(preset) == set(full)
    least = {
        "label.5": full["pool"] * (2 / 3) / 0.95,
        "label.80": full["pool"] / 3 / 0.8,
        "vendor.90": full["pool"] * (0.3 + 0.7 / 21),
    }
    for name, expected in least.items():
        spread = np.sqrt(full["pool"] * 0.25)
        assert expected - 5 * spread > full["sample"], name
    assert full["sets"] >= 20 and ARMS[0] == "deployed"
