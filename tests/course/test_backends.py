"""Jobs elsewhere: the files of a local run, whoever computes them and whatever dies."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from medxfer_lab.course.jobs import ClusterError, Job, run_jobs

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import jobs_for_tests as toy  # noqa: E402

JOBS = [Job(f"seed={s}", {"seed": s}) for s in range(5)]
SLOW_JOBS = [Job(f"seed={s}", {"seed": s, "pause": 0.3}) for s in range(8)]


def files(folder: Path) -> dict[str, dict[str, bytes]]:
    """Every array of every file, but for the text that holds the seconds."""
    found = {}
    for path in sorted(folder.iterdir()):
        with np.load(path) as file:
            found[path.name] = {k: file[k].tobytes() for k in file.files if k != "meta_json"}
    return found


@contextlib.contextmanager
def cluster_of(workers: int, **environment: str):
    """Workers that can import the toy jobs and, left alone, would use two threads."""
    pytest.importorskip("distributed")
    from medxfer_lab.course.local_cluster import local_cluster

    path = os.pathsep.join([str(HERE.parents[1]), str(HERE)])
    with local_cluster(
        workers, environment={"PYTHONPATH": path, "OMP_NUM_THREADS": "2"} | environment
    ) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def cluster():
    with cluster_of(2) as found:
        yield found


@pytest.fixture
def dask(cluster):
    """Options of a run on the cluster."""
    return {"backend": "dask", "address": cluster.address, "progress": False}


def test_a_cluster_leaves_the_files_of_a_local_run(tmp_path, dask):
    here = run_jobs(JOBS, toy.draw, tmp_path / "here", progress=False)
    there = run_jobs(JOBS[::-1], toy.draw, tmp_path / "there", **dask)
    assert not there.failed and there.computed == 5
    assert files(tmp_path / "here") == files(tmp_path / "there") and len(here.results) == 5
    # and each takes the other's for its own
    assert run_jobs(JOBS, toy.draw, tmp_path / "there", progress=False).reused == 5
    assert run_jobs(JOBS, toy.draw, tmp_path / "here", **dask).reused == 5


def test_a_failing_job_on_a_cluster_sinks_no_other(tmp_path, dask):
    report = run_jobs(JOBS, toy.draw_or_fail, tmp_path, **dask)
    assert [str(f) for f in report.failed] == [
        "job 'seed=2', seed 2, parameters {'seed': 2}: ZeroDivisionError: seed 2 does not converge"
    ]
    assert "draw_or_fail" in report.failed[0].traceback
    assert sorted(report.results) == ["seed=0", "seed=1", "seed=3", "seed=4"]
    report = run_jobs(JOBS[:2], toy.not_storable, tmp_path, **dask)
    assert all("result.thing.inner is a object" in f.error for f in report.failed)


def test_a_job_on_a_cluster_has_one_thread(tmp_path, dask):
    for threads in (1, 2):
        folder = tmp_path / str(threads)
        report = run_jobs(JOBS[:2], toy.count_threads, folder, threads=threads, **dask)
        assert [r["threads"] for r in report.results.values()] == [threads, threads]


def test_at_most_so_many_jobs_are_out(tmp_path, dask, monkeypatch):
    distributed = pytest.importorskip("distributed")
    out, most = set(), []
    submit = distributed.Client.submit

    def watching(self, *arguments, **options):
        future = submit(self, *arguments, **options)
        out.add(future.key)
        future.add_done_callback(lambda f: out.discard(f.key))
        most.append(len(out))
        return future

    monkeypatch.setattr(distributed.Client, "submit", watching)
    run_jobs(JOBS, toy.draw, tmp_path / "one", processes=1, **dask)
    assert len(most) == 5 and max(most) == 1
    run_jobs(JOBS, toy.draw, tmp_path / "all", **dask)
    assert max(most) > 1


def test_other_software_is_refused(tmp_path, dask, monkeypatch):
    from medxfer_lab.course import cluster as room

    real = room.software()
    monkeypatch.setattr(room, "software", lambda: {**real, "torch": "2.0.0"})
    with pytest.raises(ClusterError, match="2 of 2 .*") as error:
        run_jobs(JOBS, toy.draw, tmp_path, **dask)
    assert f"has torch {real['torch']} (here 2.0.0): install the same" in str(error.value)
    # a worker that joins in mid-run is not asked before: each job looks for itself
    monkeypatch.setattr(room, "_ask_workers", lambda client: room.software())
    report = run_jobs(JOBS[:2], toy.draw, tmp_path, **dask)
    assert len(report.failed) == 2 and "refused: the worker tcp://" in report.failed[0].error
    assert list(tmp_path.iterdir()) == []


def test_a_worker_with_several_jobs_in_one_process_is_refused():
    room = pytest.importorskip("medxfer_lab.course.cluster")
    assert room._refusal({"torch": "1"}, {"torch": "1"}, 1) == ""
    assert "start it with --nthreads 1" in room._refusal({"torch": "1"}, {"torch": "1"}, 4)
    assert "code missing (here 9)" in room._refusal({}, {"code": "9"}, 1)


def test_a_cluster_that_is_not_there_is_said_in_words(tmp_path, monkeypatch):
    pytest.importorskip("distributed")
    from medxfer_lab.course import cluster as room

    monkeypatch.setattr(room, "CONNECT_S", 0.5)
    how = {"backend": "dask", "progress": False}
    with pytest.raises(ValueError, match="needs the scheduler's address.*`dask scheduler`"):
        run_jobs(JOBS, toy.draw, tmp_path, **how)
    for address in ("tcp://127.0.0.1:1", "nonsense"):
        with pytest.raises(ClusterError, match=f"no Dask scheduler answers at '{address}'"):
            run_jobs(JOBS, toy.draw, tmp_path, address=address, **how)
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ModuleNotFoundError, match="pip install dask distributed"):
        run_jobs(JOBS, toy.draw, tmp_path, address="tcp://127.0.0.1:1", **how)


def test_only_this_machine_reaches_a_local_cluster(cluster):
    listening = [
        connection.laddr.ip
        for process in (cluster.scheduler, *cluster.workers)
        for connection in psutil.Process(process.pid).net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert len(listening) >= 3 and set(listening) == {"127.0.0.1"}


@pytest.mark.slow
def test_a_job_that_kills_its_workers_sinks_no_other(tmp_path, monkeypatch):
    """Once per try: it costs two of three workers; a second such job then costs the last."""
    from medxfer_lab.course import cluster as room

    monkeypatch.setattr(room, "LOST_S", 1.0)
    with cluster_of(3, DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES="0") as cluster:
        how = {"backend": "dask", "address": cluster.address, "progress": False}
        report = run_jobs(JOBS, toy.draw_or_die, tmp_path / "a", **how)
        assert [str(f) for f in report.failed] == [
            "job 'seed=1', seed 1, parameters {'seed': 1}: its workers died: out of memory?"
        ]
        assert len(report.results) == 4
        report = run_jobs(JOBS, toy.draw_or_die, tmp_path / "b", processes=1, **how)
        assert {f.key: "no worker was left" in f.error for f in report.failed} == {
            f"seed={s}": True for s in (1, 2, 3, 4)
        }
        assert list(report.results) == ["seed=0"]
        monkeypatch.setattr(room, "WORKERS_S", 0.5)
        with pytest.raises(ClusterError, match="has no workers: start some .*--nthreads 1"):
            run_jobs(JOBS, toy.draw, tmp_path / "c", **how)


@pytest.mark.slow
def test_finished_jobs_outlive_the_scheduler_and_no_process_outlives_the_block(tmp_path):
    with contextlib.suppress(KeyboardInterrupt), cluster_of(1) as cluster:
        how = {"backend": "dask", "address": cluster.address, "progress": False}

        def kill_after_two() -> None:
            while len(list(tmp_path.glob("*.npz"))) < 2:
                time.sleep(0.01)
            cluster.scheduler.kill()

        threading.Thread(target=kill_after_two, daemon=True).start()
        report = run_jobs(SLOW_JOBS, toy.draw, tmp_path, **how)
        assert len(report.results) >= 2 and report.failed
        assert all("connection to the scheduler was lost" in f.error for f in report.failed)
        raise KeyboardInterrupt
    assert None not in [process.poll() for process in (cluster.scheduler, *cluster.workers)]
    again = run_jobs(SLOW_JOBS, toy.draw, tmp_path, progress=False)
    assert again.reused == len(report.results) and len(again.results) == len(SLOW_JOBS)


@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_joblibs_backends_leave_the_files_of_a_local_run(tmp_path, backend):
    run_jobs(JOBS, toy.draw, tmp_path / "here", progress=False)
    how = {"backend": backend, "processes": 2, "progress": False}
    report = run_jobs(JOBS[::-1], toy.draw, tmp_path / "there", **how)
    assert report.computed == 5 and files(tmp_path / "here") == files(tmp_path / "there")
    report = run_jobs(JOBS, toy.draw_or_fail, tmp_path / "fail", **how)
    assert [f.key for f in report.failed] == ["seed=2"] and len(report.results) == 4


def test_a_dying_process_of_joblibs_sinks_no_other(tmp_path):
    how = {"backend": "loky", "processes": 2, "progress": False}
    report = run_jobs(JOBS, toy.draw_or_die, tmp_path, **how)
    assert [f.key for f in report.failed] == ["seed=1"] and len(report.results) == 4
    assert "its worker died twice" in report.failed[0].error
