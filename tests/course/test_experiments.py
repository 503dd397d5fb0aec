"""A laboratory runs any module that is an experiment, and refuses what is none."""

from __future__ import annotations

import types

import pytest

from medxfer_lab.course.experiments import Laboratory, Sources
from medxfer_lab.course.jobs import Job
from medxfer_lab.course.record import Record


def squared(x: int, power: int) -> dict:
    return {"value": x**power}


def experiment(**more) -> types.ModuleType:
    module = types.ModuleType("powers")
    module.NAME, module.DATA, module.VERSION = "powers", "simulated", 1
    module.PRESETS = {"smoke": {"power": 2}, "full": {"power": 3}}

    def run(parameters, runner):
        jobs = [Job(f"x{x}", {"x": x, "power": parameters["power"]}) for x in range(3)]
        done = runner(jobs, squared)
        return {key: result["value"] for key, result in done.items()}

    module.run = run
    for key, value in more.items():
        setattr(module, key, value)
    return module


def laboratory(module, **more) -> Laboratory:
    return Laboratory("sample", {"powers": module}, **more)


def test_a_run_leaves_its_record(tmp_path):
    (record,) = laboratory(experiment()).run("smoke", folder=tmp_path, progress=False)
    assert record.results == {"x0": 0, "x1": 1, "x2": 4}
    assert record.parameters == {"power": 2} and record.chapter == "sample"
    assert Record.load(tmp_path / "powers.simulated.json") == record
    assert record.wall_s > 0


def test_finished_jobs_are_kept_unless_they_are_timings(tmp_path, monkeypatch):
    from medxfer_lab.course import experiments

    reports = []
    original = experiments.run_jobs
    monkeypatch.setattr(
        experiments, "run_jobs", lambda *a, **k: reports.append(original(*a, **k)) or reports[-1]
    )
    for module in (experiment(), experiment(), experiment(TIMING=True), experiment(VERSION=2)):
        laboratory(module).run("smoke", folder=tmp_path, progress=False)
    assert [(r.computed, r.reused) for r in reports] == [(3, 0), (0, 3), (3, 0), (3, 0)]


def test_where_jobs_run_is_handed_on_but_times_are_taken_here(tmp_path, monkeypatch):
    from medxfer_lab.course import experiments

    calls = []
    original = experiments.run_jobs

    def watching(jobs, function, folder, processes=None, backend="local", address=None, **more):
        calls.append((processes, backend, address))
        return original(jobs, function, folder, **more)

    monkeypatch.setattr(experiments, "run_jobs", watching)
    for module in (experiment(), experiment(TIMING=True)):
        laboratory(module).run(
            *("smoke", 3), folder=tmp_path, progress=False, backend="dask", address="tcp://a:1"
        )
    assert calls == [(3, "dask", "tcp://a:1"), (None, "local", None)]


def test_between_jobs_there_is_one_thread_too(tmp_path):
    """Else a record made here, where jobs and the rest share a process, is not a cluster's."""
    import torch

    def run(parameters, runner):
        return {"threads": torch.get_num_threads()}

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        (record,) = laboratory(experiment(run=run)).run("smoke", folder=tmp_path)
        assert record.results == {"threads": 1} and torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_the_fingerprint_follows_everything_it_should():
    module = experiment()
    parameters = {"power": 2}
    base = laboratory(module).fingerprint(module, parameters, "simulated")
    others = [
        laboratory(module).fingerprint(module, {"power": 3}, "simulated"),
        laboratory(module, sources=lambda m, d: Sources({"net": "a"})).fingerprint(
            module, parameters, "simulated"
        ),
        laboratory(module, sources=lambda m, d: Sources(data="b")).fingerprint(
            module, parameters, "simulated"
        ),
        laboratory(module).fingerprint(experiment(VERSION=2), parameters, "simulated"),
    ]
    assert len({base, *others}) == 5
    assert laboratory(experiment()).fingerprint(module, parameters, "simulated") == base


def test_each_data_set_gets_its_record(tmp_path):
    def run(parameters, runner):
        return {"data": parameters["data"]}

    module = experiment(run=run)
    del module.DATA
    found = laboratory(module, data_sets=lambda m: ["a", "b"]).run(
        "smoke", folder=tmp_path, progress=False
    )
    assert [(r.data, r.results) for r in found] == [("a", {"data": "a"}), ("b", {"data": "b"})]
    assert laboratory(module, data_sets=lambda m: []).run("smoke", folder=tmp_path) == []


def test_only_full_writes_into_the_package(tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr(Record, "save", lambda self, path=None: saved.append(path))
    for preset in ("smoke", "full"):
        laboratory(experiment()).run(preset, folder=tmp_path, progress=False)
    assert saved == [tmp_path / "powers.simulated.json", None]


def test_refusals_name_what_is_known(tmp_path):
    with pytest.raises(ValueError, match="no experiment is called 'cubes'; known: powers"):
        laboratory(experiment()).run("smoke", experiment="cubes", folder=tmp_path)
    with pytest.raises(ValueError, match="no preset is called 'quick'; known: smoke, full"):
        laboratory(experiment()).run("quick", folder=tmp_path)
