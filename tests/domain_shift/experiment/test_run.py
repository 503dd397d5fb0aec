"""One way to run them all: records that are valid, runs that resume, refusals that explain."""

from __future__ import annotations

import numpy as np
import pytest

from medxfer_lab.course import experiments
from medxfer_lab.course import jobs as course_jobs
from medxfer_lab.course.record import Record, differences
from medxfer_lab.domain_shift import experiment
from medxfer_lab.domain_shift.experiment import EXPERIMENTS, material, prevalence

CELLS = len(prevalence.TARGETS) * len(prevalence.PREVALENCES)
JOBS = 2 * CELLS  # repetitions, and the family test


@pytest.fixture
def tiny(monkeypatch, gaussian):
    """The smoke preset of prevalence, smaller still, in a population that no network scored."""
    parameters = {"repetitions": 2, "n": 80, "m": 60, "population": 4000, "steps": 1}
    monkeypatch.setitem(prevalence.PRESETS, "smoke", parameters)
    monkeypatch.setattr(prevalence, "FAMILY_REPETITIONS", 1)

    def population(size, steps):
        drawn = gaussian(size, 1 / 3, np.random.default_rng(0))
        healthy, diseased = drawn.z[drawn.y == 0], drawn.z[drawn.y == 1]
        return prevalence.Population(
            dict.fromkeys(prevalence.TARGETS, healthy),
            dict.fromkeys(prevalence.TARGETS, diseased),
            float(drawn.y.mean()),
        )

    monkeypatch.setattr(prevalence, "_population", population)


def run(folder) -> Record:
    (record,) = experiment.run("smoke", experiment="prevalence", folder=folder, progress=False)
    return record


def test_a_run_leaves_a_valid_record_beside_its_jobs(tiny, tmp_path):
    record = run(tmp_path)
    assert Record.load(tmp_path / "prevalence.simulated.json") == record
    assert (record.experiment, record.data, record.preset) == ("prevalence", "simulated", "smoke")
    assert record.parameters == prevalence.PRESETS["smoke"] and record.wall_s > 0
    assert record.seeds == {"training": material.TRAINING_SEED, "tuning": material.TUNING_SEED}
    assert len(list((tmp_path / "prevalence.simulated").glob("*.npz"))) == JOBS


def test_a_resumed_run_is_the_same_run(tiny, tmp_path, monkeypatch):
    first = run(tmp_path)
    files = [
        p for p in sorted((tmp_path / "prevalence.simulated").glob("*.npz")) if "fam" not in p.name
    ]
    for gone in files[1::2]:
        gone.unlink()
    files[0].write_bytes(files[0].read_bytes()[:100])  # killed while writing, say
    calls = []
    original = prevalence.repetitions_job

    def counted(**parameters):
        calls.append(parameters)
        return original(**parameters)

    counted.__module__, counted.__qualname__ = original.__module__, original.__qualname__
    monkeypatch.setattr(prevalence, "repetitions_job", counted)
    again = run(tmp_path)
    assert differences(first, again) == []
    assert len(calls) == len(files[1::2]) + 1
    calls.clear()
    assert differences(first, run(tmp_path)) == [] and not calls


@pytest.mark.parametrize("what", ["experiment", "material", "weights"])
def test_other_circumstances_reuse_nothing(tiny, tmp_path, monkeypatch, what):
    first = run(tmp_path).fingerprint
    if what == "experiment":
        monkeypatch.setattr(prevalence, "VERSION", prevalence.VERSION + 1)
    elif what == "material":
        monkeypatch.setattr(material, "VERSION", material.VERSION + 1)
    else:
        digests = material.digests() | {"small_cnn.1": "0" * 64}
        monkeypatch.setattr(material, "digests", lambda: digests)
    reports = []
    original = course_jobs.run_jobs
    monkeypatch.setattr(
        experiments, "run_jobs", lambda *a, **k: reports.append(original(*a, **k)) or reports[-1]
    )
    assert run(tmp_path).fingerprint != first
    assert [(r.computed, r.reused) for r in reports] == [(CELLS, 0)] * 2


def test_a_failing_job_stops_the_record_and_says_which(tiny, tmp_path, monkeypatch):
    original = prevalence.repetitions_job

    def failing(**parameters):
        if parameters["target"] == "vendor" and parameters["prevalence"] == 50:
            raise ZeroDivisionError("planted")
        return original(**parameters)

    failing.__module__, failing.__qualname__ = original.__module__, original.__qualname__
    monkeypatch.setattr(prevalence, "repetitions_job", failing)
    with pytest.raises(course_jobs.JobError, match="(?s)1 of 15 .*vendor-50.*planted"):
        run(tmp_path)
    assert not (tmp_path / "prevalence.simulated.json").exists()
    assert len(list((tmp_path / "prevalence.simulated").glob("*.npz"))) == CELLS - 1


def test_only_the_full_preset_writes_where_the_pages_read(tiny, tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr(Record, "save", lambda self, path=None: saved.append(path))
    run(tmp_path)
    monkeypatch.setitem(prevalence.PRESETS, "full", prevalence.PRESETS["smoke"])
    experiment.run("full", experiment="prevalence", folder=tmp_path, progress=False)
    assert saved == [tmp_path / "prevalence.simulated.json", None]


def test_every_experiment_has_the_same_door():
    for name, module in EXPERIMENTS.items():
        assert module.NAME == name and isinstance(module.VERSION, int)
        assert set(module.PRESETS) == {"smoke", "quick", "full"}
        full = module.PRESETS["full"]
        for preset in module.PRESETS.values():
            assert set(preset) == set(full)
            for key in ("sets", "n", "pool", "n_test", "pairs", "repetitions", "limit", "steps"):
                assert preset.get(key, 0) <= full.get(key, 0), (name, key)
        assert full.get("sets", 8) >= 8  # Student's t with seven degrees of freedom or more
        assert callable(module.run) and callable(module.recheck)


def test_real_data_are_part_of_the_fingerprint(tmp_path, monkeypatch):
    from medxfer_lab.domain_shift.experiment import real

    monkeypatch.setenv("MEDXFER_DATA", str(tmp_path))
    prints = []
    for content in (b"one", b"two"):
        (tmp_path / "pneumoniamnist.npz").write_bytes(content)
        p = real.PRESETS["smoke"]
        prints.append(experiment.LABORATORY.fingerprint(real, p, "pneumoniamnist"))
    assert prints[0] != prints[1]


def test_unknown_names_are_refused_with_the_known_ones(tmp_path):
    with pytest.raises(ValueError, match="no experiment is called 'shift'; known: shifts, acqui"):
        experiment.run("smoke", experiment="shift", folder=tmp_path)
    with pytest.raises(ValueError, match="no preset is called 'huge'; known: smoke, quick, full"):
        experiment.run("huge", experiment="prevalence", folder=tmp_path)


def test_no_real_data_is_said_and_is_no_error(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("MEDXFER_DATA", raising=False)
    assert experiment.run("smoke", experiment="real", folder=tmp_path) == []
    assert "real: no data found; set MEDXFER_DATA" in capsys.readouterr().out
