"""One way to run them all: records that are valid, runs that resume, refusals that explain."""

from __future__ import annotations

import numpy as np
import pytest

from medxfer_lab.bias_variance import experiment
from medxfer_lab.bias_variance.experiment import EXPERIMENTS, material, ridge
from medxfer_lab.course import experiments
from medxfer_lab.course import jobs as course_jobs
from medxfer_lab.course.record import Record, differences


@pytest.fixture
def tiny(monkeypatch):
    """The smoke preset of ridge, smaller still."""
    monkeypatch.setitem(
        ridge.PRESETS, "smoke", {"sets": 6, "sizes": [16, 24], "pool": 120, "dimension": 30}
    )


JOBS = 6 * len(ridge.SCALINGS)


def run(folder) -> Record:
    (record,) = experiment.run("smoke", experiment="ridge", folder=folder, progress=False)
    return record


def test_a_run_leaves_a_valid_record_beside_its_jobs(tiny, tmp_path):
    record = run(tmp_path)
    assert Record.load(tmp_path / "ridge.simulated.json") == record
    assert (record.experiment, record.data, record.preset) == ("ridge", "simulated", "smoke")
    assert record.parameters == ridge.PRESETS["smoke"] and record.sizes == [16, 24]
    assert record.wall_s > 0 and record.version == ridge.VERSION
    assert len(list((tmp_path / "ridge.simulated").glob("*.npz"))) == JOBS


def test_a_resumed_run_is_the_same_run(tiny, tmp_path, monkeypatch):
    first = run(tmp_path)
    files = sorted((tmp_path / "ridge.simulated").glob("*.npz"))
    for gone in files[1::2]:
        gone.unlink()
    files[0].write_bytes(files[0].read_bytes()[:100])  # killed while writing, say
    calls = []
    original = ridge.sampling_job

    def counted(k, **rest):
        calls.append(k)
        return original(k, **rest)

    counted.__module__, counted.__qualname__ = original.__module__, original.__qualname__
    monkeypatch.setattr(ridge, "sampling_job", counted)
    again = run(tmp_path)
    assert differences(first, again) == []
    assert len(calls) == len(files[1::2]) + 1
    calls.clear()
    assert differences(first, run(tmp_path)) == [] and not calls


@pytest.mark.parametrize("what", ["experiment", "material", "weights"])
def test_other_circumstances_reuse_nothing(tiny, tmp_path, monkeypatch, what):
    run(tmp_path)
    if what == "experiment":
        monkeypatch.setattr(ridge, "VERSION", ridge.VERSION + 1)
    elif what == "material":
        monkeypatch.setattr(material, "VERSION", material.VERSION + 1)
    else:
        digests = material.digests() | {"imagenet.0": "0" * 64}
        monkeypatch.setattr(material, "digests", lambda: digests)
    reports = []
    original = course_jobs.run_jobs
    monkeypatch.setattr(
        experiments, "run_jobs", lambda *a, **k: reports.append(original(*a, **k)) or reports[-1]
    )
    run(tmp_path)
    assert [(r.computed, r.reused) for r in reports] == [(6, 0)] * len(ridge.SCALINGS)


def test_fingerprint_follows_parameters_and_weights(tiny, tmp_path, monkeypatch):
    first = run(tmp_path / "a").fingerprint
    assert run(tmp_path / "b").fingerprint == first
    digests = material.digests() | {"imagenet.0": "0" * 64}
    monkeypatch.setattr(material, "digests", lambda: digests)
    assert run(tmp_path / "c").fingerprint != first


def test_a_failing_job_stops_the_record_and_says_which(tiny, tmp_path, monkeypatch):
    original = ridge.sampling_job

    def failing(k, **rest):
        if k == 4:
            raise ZeroDivisionError("planted")
        return original(k, **rest)

    failing.__module__, failing.__qualname__ = original.__module__, original.__qualname__
    monkeypatch.setattr(ridge, "sampling_job", failing)
    with pytest.raises(course_jobs.JobError, match="(?s)1 of 6 .*ised-004.*planted"):
        run(tmp_path)
    assert not (tmp_path / "ridge.simulated.json").exists()
    assert len(list((tmp_path / "ridge.simulated").glob("*.npz"))) == 5


def test_only_the_full_preset_writes_where_the_pages_read(tiny, tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr(Record, "save", lambda self, path=None: saved.append(path))
    run(tmp_path)
    monkeypatch.setitem(ridge.PRESETS, "full", ridge.PRESETS["smoke"])
    experiment.run("full", experiment="ridge", folder=tmp_path, progress=False)
    assert saved == [tmp_path / "ridge.simulated.json", None]


def test_every_experiment_has_the_same_door():
    for name, module in EXPERIMENTS.items():
        assert module.NAME == name and isinstance(module.VERSION, int)
        assert set(module.PRESETS) == {"smoke", "quick", "full"}
        full = module.PRESETS["full"]
        for preset in module.PRESETS.values():
            assert set(preset) == set(full)
            assert preset["sizes"] == sorted(preset["sizes"])
            assert preset["sets"] >= 3 and preset["sets"] <= full["sets"]
    assert np.all([m.PRESETS["full"]["sets"] >= 10 for m in EXPERIMENTS.values()])


def test_unknown_names_are_refused_with_the_known_ones(tmp_path):
    with pytest.raises(ValueError, match="no experiment is called 'ride'; known: heads, networks"):
        experiment.run("smoke", experiment="ride", folder=tmp_path)
    with pytest.raises(ValueError, match="no preset is called 'huge'; known: smoke, quick, full"):
        experiment.run("huge", experiment="ridge", folder=tmp_path)


def test_no_real_data_is_said_and_is_no_error(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("MEDXFER_DATA", raising=False)
    assert experiment.run("smoke", experiment="real", folder=tmp_path) == []
    assert "real: no data found; set MEDXFER_DATA" in capsys.readouterr().out
