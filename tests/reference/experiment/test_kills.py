"""Kills: the record says what it should, trials are repeated, damage is noticed."""

from __future__ import annotations

import dataclasses
import importlib.util
import json

import psutil
import pytest

from medxfer_lab.course.record import Record, every_record
from medxfer_lab.reference import small_sweep
from medxfer_lab.reference.experiment import kills

RECORDS = {record.experiment: record for record in every_record("reference")}


def test_every_kill_of_the_record_left_the_identical_one():
    results = RECORDS["kills"].results
    assert results["jobs"] == kills.JOBS
    for kind, least in {"process": 10, "worker": 5, "cluster": 10}.items():
        found = results[kind]
        assert found["missing"] == "" and found["trials"] >= least, kind
        assert found["kills"] == found["identical"] == found["trials"]
        assert found["differences"] == []
        # no job was lost, or computed again once it was on disk; no kill came too late
        assert found["files"] == [kills.JOBS] * found["trials"]
        assert found["reused"] == found["finished_at_kill"]
        assert max(found["finished_at_kill"]) < kills.JOBS
        assert len(set(found["finished_at_kill"])) > 2, "the moments were not random"


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> str:
    """The sweep's record from this very process."""
    folder = tmp_path_factory.mktemp("sweep")
    small_sweep.LABORATORY.run("smoke", folder=folder, progress=False)
    return kills._record(folder)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["process", "cluster"])
def test_a_trial(kind, undisturbed):
    """One more kill (of a local worker: see the tests of jobs), and no process left behind."""
    if kind == "cluster":
        pytest.importorskip("distributed")
    trial = kills.trial_job(kind, seed=5)
    assert kills._compare(trial["record"], undisturbed) == []
    assert trial["files"] == kills.JOBS and trial["reused"] == trial["finished_at_kill"]
    left = [child.cmdline() for child in psutil.Process().children(recursive=True)]
    assert not [line for line in left if "dask" in str(line) or "small_sweep" in str(line)]


def record(runner) -> str:
    """A sweep's record as text, from two short jobs in this process."""
    results = small_sweep.run({"networks": 2, "steps": 3}, runner)
    one = Record(
        **dict(chapter="reference", experiment="small_sweep", data="simulated", device="cpu"),
        **dict(preset="smoke", version=1, fingerprint="0" * 64, results=results),
    )
    return json.dumps({"schema": 1, **dataclasses.asdict(one)})


def test_one_digit_that_moved_is_a_difference(runner):
    wanted = record(runner)
    assert kills._compare(record(runner), wanted) == []
    moved = json.loads(wanted)
    moved["results"]["network-1"]["weight_sum"] *= 1 + 2**-52
    moved["date"] = "1999-01-01"
    (found,) = kills._compare(json.dumps(moved), wanted)
    assert found.startswith("results.network-1.weight_sum: ")
    zero = json.loads(wanted)
    zero["results"]["network-1"]["weight_sum"] = 0.0
    negative = json.loads(wanted)
    negative["results"]["network-1"]["weight_sum"] = -0.0  # equal as a number, not as digits
    assert kills._compare(json.dumps(zero), json.dumps(negative))


def test_kills_that_come_too_late_are_drawn_again_and_not_for_ever(monkeypatch):
    draws = []

    def trial(kind, folder, rng):
        draws.append(rng.random())
        return {"record": "{}"} if len(draws) == 3 else None

    monkeypatch.setattr(kills, "_trial", trial)
    assert kills.trial_job("process", 1) == {"record": "{}", "too_late": 2}
    assert len(set(draws)) == 3
    with pytest.raises(RuntimeError, match="20 kills in a row came too late"):
        kills.trial_job("process", 2)


def test_a_sweep_that_cannot_start_says_why(monkeypatch, tmp_path):
    monkeypatch.setattr(kills, "_CODE", "import no_such_module_at_all; ")
    with pytest.raises(RuntimeError, match="(?s)did not start.*no_such_module_at_all"):
        with kills._sweep(tmp_path):
            pass


def test_without_dask_the_others_are_run_and_it_is_said(monkeypatch, runner):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        kills.importlib.util, "find_spec", lambda n, *a: None if n == "distributed" else find(n, *a)
    )
    wanted = record(runner)
    monkeypatch.setattr(kills, "undisturbed_job", lambda: {"record": wanted})
    monkeypatch.setattr(
        kills,
        "trial_job",
        lambda kind, seed: (
            {"record": wanted, "too_late": 1, "reused": 4}
            | {"finished_at_kill": 4, "files": kills.JOBS}
        ),
    )
    found = kills.run(kills.PRESETS["quick"], runner)
    assert "pip install dask distributed" in found["cluster"]["missing"]
    assert "kills" not in found["cluster"]
    assert found["process"]["identical"] == 2 and found["process"]["too_late"] == 2
    monkeypatch.setattr(kills, "trial_job", lambda kind, seed: pytest.fail("ran"))
    nothing = kills.run({"trials": {"cluster": 3}, "seed": 1}, runner)
    assert set(nothing["cluster"]) == {"missing", "trials"}


def test_the_sweep_learns_and_repeats_itself():
    """Else 'identical' would say little: its numbers depend on the seed and on training."""
    first, again = (small_sweep.network_job(3, 40) for _ in range(2))
    assert first["losses"] == again["losses"]
    assert first["weights"].tobytes() == again["weights"].tobytes()
    assert first["losses"][-1] < 0.5 * first["losses"][0]
    assert small_sweep.network_job(4, 40)["losses"] != first["losses"]
