"""Long runs: resumed after a kill, nothing lost, nothing stale, one bad job sinks no other."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from medxfer_lab.course.jobs import Failure, Job, JobError, job_fingerprint, run_jobs
from medxfer_lab.course.record import INCIDENTAL, Record, differences

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import jobs_for_tests as toy  # noqa: E402

JOBS = [Job(f"seed={s}", {"seed": s}) for s in range(5)]


def same(a, b) -> bool:
    """Equal to the last bit, arrays included."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.tobytes() == b.tobytes()
    return a == b


@pytest.fixture
def start(monkeypatch):
    """Start the toy experiment in a process of its own, forked from a server that has imported
    everything, so that start-up takes no time and kills fall among the jobs."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE.parents[1]), str(HERE)]))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["jobs_for_tests"])

    def go(folder: Path, record: Path, processes: int) -> multiprocessing.Process:
        process = context.Process(target=toy.main, args=(folder, record, processes))
        process.start()
        return process

    return go


@pytest.mark.slow
def test_killed_runs_resume_to_the_identical_record(tmp_path, start):
    """Ten runs, each killed (SIGKILL) at random moments until it gets through."""
    rng = np.random.default_rng(7)
    reference = toy.experiment(tmp_path / "reference", processes=1)
    reference.save(tmp_path / "reference.json")
    want = lines_that_count(tmp_path / "reference.json")
    kills = 0
    for run in range(10):
        folder, path = tmp_path / f"run{run}", tmp_path / f"run{run}.json"
        while not path.exists():
            process = start(folder, path, processes=2 if run == 9 else 1)
            done_before = len(list(folder.glob("*.npz")))
            while len(list(folder.glob("*.npz"))) == done_before and process.is_alive():
                time.sleep(0.005)  # the start-up is over: the kill falls among the jobs
            time.sleep(rng.uniform(0, 0.25))
            kills += process.is_alive()
            process.kill()  # SIGKILL
            process.join()
        assert differences(Record.load(path), reference) == []
        assert lines_that_count(path) == want
        assert len(list(folder.glob("*.npz"))) == 12, "a job lost or counted twice"
        assert not [p for p in tmp_path.iterdir() if p.name.endswith(".tmp")]
    assert kills >= 10, "the kills came too late to test anything"


def lines_that_count(path: Path) -> bytes:
    """A record's bytes without the lines of wall time and date."""
    lines = path.read_bytes().splitlines()
    skip = tuple(f' "{name}":'.encode() for name in ("wall_s", "date"))
    assert set(("wall_s", "date")) <= set(INCIDENTAL)
    return b"\n".join(line for line in lines if not line.startswith(skip))


def test_two_processes_give_the_bits_of_one(tmp_path):
    one = run_jobs(JOBS, toy.draw, tmp_path / "one", progress=False)
    two = run_jobs(JOBS[::-1], toy.draw, tmp_path / "two", processes=2, progress=False)
    assert not one.failed and not two.failed
    assert same(one.results, two.results)
    assert list(one.results) == [job.key for job in JOBS]


def test_a_rerun_computes_nothing(tmp_path):
    first = run_jobs(JOBS[:3], toy.draw, tmp_path, progress=False)
    second = run_jobs(JOBS, toy.draw, tmp_path, progress=False)
    third = run_jobs(JOBS, toy.draw, tmp_path, progress=False)
    assert (first.computed, first.reused) == (3, 0)
    assert (second.computed, second.reused) == (2, 3)
    assert (third.computed, third.reused) == (0, 5)
    assert same(second.results, third.results)
    assert set(third.seconds) == {job.key for job in JOBS}


@pytest.mark.parametrize("processes", [1, 2])
def test_a_failing_job_is_reported_and_sinks_no_other(tmp_path, processes, capsys, monkeypatch):
    monkeypatch.delenv("MEDXFER_QUIET", raising=False)
    report = run_jobs(JOBS, toy.draw_or_fail, tmp_path, processes, progress=False)
    assert [f.key for f in report.failed] == ["seed=2"]
    assert report.failed[0].parameters == {"seed": 2}
    assert "ZeroDivisionError: seed 2 does not converge" in report.failed[0].error
    assert sorted(report.results) == ["seed=0", "seed=1", "seed=3", "seed=4"]
    assert report.computed == 4
    words = "job 'seed=2', seed 2, parameters {'seed': 2}: ZeroDivisionError: seed 2 does not"
    assert f"failed: {words}" in capsys.readouterr().out
    with pytest.raises(JobError, match="1 of 5 jobs failed") as error:
        report.raise_if_failed()
    assert words in str(error.value)


@pytest.mark.parametrize("processes", [1, 2])
def test_a_job_that_exits_sinks_no_other(tmp_path, processes):
    report = run_jobs(JOBS[:3], toy.draw_or_exit, tmp_path, processes, progress=False)
    assert [f.error for f in report.failed] == ["SystemExit: seed 1 has had enough"]
    assert sorted(report.results) == ["seed=0", "seed=2"]


def test_a_failure_says_every_seed_in_words():
    parameters = {"n": 5, "seed": 3, "data_seed": 11}
    assert str(Failure("k", parameters, "too bad")) == (
        f"job 'k', seed 3, data seed 11, parameters {parameters}: too bad"
    )
    assert str(Failure("k", {"n": 5}, "too bad")) == "job 'k', parameters {'n': 5}: too bad"


def test_a_dying_process_is_reported_and_sinks_no_other(tmp_path):
    report = run_jobs(JOBS[:4], toy.draw_or_die, tmp_path, processes=2, progress=False)
    assert [f.key for f in report.failed] == ["seed=1"]
    assert "died" in report.failed[0].error
    assert sorted(report.results) == ["seed=0", "seed=2", "seed=3"]


def test_a_stale_file_is_never_used(tmp_path):
    job = JOBS[0]
    run_jobs([job], toy.draw, tmp_path, progress=False, context="weights A")
    again = run_jobs([job], toy.draw, tmp_path, progress=False, context="weights B")
    assert again.computed == 1
    changed = Job(job.key, {"seed": 0, "n": 7})
    assert run_jobs([changed], toy.draw, tmp_path, progress=False).results[job.key][
        "gram"
    ].shape == (7, 7)
    # even under the right name, another job's content is refused
    paths = {p.name: p for p in tmp_path.glob("*.npz")}
    a, b = (job_fingerprint(job, toy.draw, c)[:16] for c in ("weights A", "weights B"))
    os.replace(paths[f"seed=0.{a}.npz"], paths[f"seed=0.{b}.npz"])
    report = run_jobs([job], toy.draw, tmp_path, progress=False, context="weights B")
    assert report.computed == 1


@pytest.mark.parametrize("damage", ["truncated", "empty", "foreign", "flipped", "pickled"])
def test_a_damaged_file_is_computed_again(tmp_path, damage, capsys, monkeypatch):
    monkeypatch.delenv("MEDXFER_QUIET", raising=False)
    want = run_jobs(JOBS[:1], toy.draw, tmp_path, progress=False).results
    (path,) = tmp_path.iterdir()
    content = bytearray(path.read_bytes())
    if damage == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "foreign":
        path.write_text("my shopping list")
    elif damage == "flipped":
        content[len(content) // 3] ^= 255
        path.write_bytes(content)
    else:
        np.savez(path, meta_json=np.array([{"a": 1}], dtype=object))
    report = run_jobs(JOBS[:1], toy.draw, tmp_path, progress=False)
    assert report.computed == 1 and same(report.results, want)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    assert "computed again" in capsys.readouterr().out


def test_leftovers_of_a_killed_process_are_swept(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    (tmp_path / f".seed=0.npz.{gone.pid}.tmp").write_bytes(b"half")
    (tmp_path / f".seed=1.npz.{os.getpid()}.tmp").write_bytes(b"still being written")
    run_jobs(JOBS[:1], toy.draw, tmp_path, progress=False)
    assert [p.name for p in tmp_path.glob(".*")] == [f".seed=1.npz.{os.getpid()}.tmp"]


def test_a_result_that_cannot_be_stored_is_a_failure_that_names_the_place(tmp_path):
    report = run_jobs(JOBS[:1], toy.not_storable, tmp_path, progress=False)
    assert "result.thing.inner is a object" in report.failed[0].error
    assert not list(tmp_path.glob("*"))


def test_bad_calls_are_refused(tmp_path):
    with pytest.raises(ValueError, match="'seed=0' occurs twice"):
        run_jobs([JOBS[0], JOBS[0]], toy.draw, tmp_path)
    with pytest.raises(ValueError, match="processes=0"):
        run_jobs(JOBS, toy.draw, tmp_path, processes=0)
    with pytest.raises(ValueError, match="only backend='dask' has one, not 'local'"):
        run_jobs(JOBS, toy.draw, tmp_path, address="tcp://127.0.0.1:8786")
    with pytest.raises(ValueError, match="no backend is called 'slurm'; known: dask, local, loky"):
        run_jobs(JOBS, toy.draw, tmp_path, backend="slurm")
    with pytest.raises(ValueError, match="top level of a module"):
        run_jobs(JOBS, lambda seed: {}, tmp_path, processes=2)


def test_progress_goes_to_stdout_and_can_be_silenced(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("MEDXFER_QUIET", raising=False)
    run_jobs(JOBS[:2], toy.draw, tmp_path / "a", label="toy run")
    out, err = capsys.readouterr()
    assert "toy run" in out and "2/2" in out and err == ""
    monkeypatch.setenv("MEDXFER_QUIET", "1")
    run_jobs(JOBS[:2], toy.draw, tmp_path / "b", label="toy run")
    assert capsys.readouterr() == ("", "")
