"""Sweeps that are killed at random moments: is their record that of the undisturbed one?

    medxfer run reference --experiment kills --preset full

A trial starts a small sweep (:mod:`medxfer_lab.reference.small_sweep`) in a process of its own and
sends SIGKILL at a moment drawn from its seed: so many jobs are on disk, then a share of a job's
time later. Three kinds of trial:

- ``process``: one process runs the sweep and is killed whole; a second start resumes it.
- ``worker``: two local worker processes, one of which is killed; the sweep must go on by itself.
- ``cluster``: a Dask scheduler and two workers on 127.0.0.1, one of which is killed.

A kill that finds the sweep finished tests nothing: it is counted and another moment is drawn.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil

from medxfer_lab.course.jobs import Job
from medxfer_lab.course.local_cluster import local_cluster
from medxfer_lab.course.record import Record, canonical_json, differences
from medxfer_lab.reference import small_sweep

NAME, DATA, VERSION = "kills", "simulated", 1
KINDS = ("process", "worker", "cluster")
_SEED = 7100
PRESETS = {
    "smoke": {"trials": dict.fromkeys(KINDS, 1), "seed": _SEED},
    "quick": {"trials": dict.fromkeys(KINDS, 2), "seed": _SEED},
    "full": {"trials": {"process": 10, "worker": 6, "cluster": 10}, "seed": _SEED},
}
JOBS = small_sweep.PRESETS["smoke"]["networks"]
#: seconds that a job of the sweep takes, about; and that a whole one takes at the very most
_JOB_S, _PATIENCE_S = 0.4, 240.0
_DRAWS = 20
_CODE = "import sys; from medxfer_lab.reference.small_sweep import main; "


def undisturbed_job() -> dict:
    """The record of a sweep that nobody kills, as text."""
    with tempfile.TemporaryDirectory() as name, _sweep(Path(name)) as sweep:
        _finish(sweep)
        return {"record": _record(Path(name))}


def trial_job(kind: str, seed: int) -> dict:
    """One kill and what came of it.

    record: the sweep's record, as text; finished_at_kill: jobs that were on disk then; reused:
    those of their files that are still the same, byte by byte; files: how many there are at the
    end; too_late: kills that found the sweep finished.
    """
    rng = np.random.default_rng(seed)
    for draw in range(_DRAWS):
        with tempfile.TemporaryDirectory() as name:
            found = _trial(kind, Path(name), rng)
        if found:
            return found | {"too_late": draw}
    raise RuntimeError(f"{_DRAWS} kills in a row came too late: is _JOB_S = {_JOB_S} s too long?")


def _trial(kind: str, folder: Path, rng: np.random.Generator) -> dict | None:
    # workers exist for certain only once one of them has finished a job
    finished = int(rng.integers(0 if kind == "process" else 1, JOBS - 1))
    moment, which = rng.uniform(0, _JOB_S), int(rng.integers(2))
    with contextlib.ExitStack() as stack:
        options: dict = {"processes": 2 if kind == "worker" else 1}
        if kind == "cluster":
            cluster = stack.enter_context(local_cluster(2, preload=small_sweep.__name__))
            options = {"processes": None, "backend": "dask", "address": cluster.address}
        sweep = stack.enter_context(_sweep(folder, **options))
        _wait_for_jobs(sweep, folder, finished)
        time.sleep(moment)
        if kind == "process":
            victims = [sweep]
        else:
            victims = _workers(sweep) if kind == "worker" else cluster.workers
        if not victims:
            return None
        victims[which % len(victims)].kill()
        if kind == "process":
            sweep.wait()
        then = _files(folder)
        if len(then) == JOBS:
            return None
        if kind == "process":
            sweep = stack.enter_context(_sweep(folder, **options))
        _finish(sweep)
        now = _files(folder)
    reused = sum(now.get(name) == content for name, content in then.items())
    return {
        "record": _record(folder),
        "finished_at_kill": len(then),
        "reused": reused,
        "files": len(now),
    }


def run(parameters: dict, runner) -> dict:
    """By kind of trial: kills, identical records, jobs that were not computed twice."""
    jobs, results = [], {"jobs": JOBS}
    for number, (kind, trials) in enumerate(parameters["trials"].items()):
        results[kind] = {"missing": _missing(kind), "trials": trials}
        for i in range(0 if _missing(kind) else trials):
            seed = parameters["seed"] + 1000 * number + i
            jobs.append(Job(f"{kind}-{i}", {"kind": kind, "seed": seed}))
    wanted = runner([Job("undisturbed", {})], undisturbed_job)["undisturbed"]["record"]
    done = runner(jobs, trial_job)
    for kind in parameters["trials"]:
        trials = [done[job.key] for job in jobs if job.parameters["kind"] == kind]
        if trials:
            results[kind] |= _summary(trials, wanted)
    return results


def _summary(trials: list[dict], wanted: str) -> dict:
    found = [_compare(trial["record"], wanted) for trial in trials]
    return {
        "kills": len(trials),
        "too_late": sum(trial["too_late"] for trial in trials),
        "identical": found.count([]),
        "differences": [text for texts in found for text in texts[:5]],
        "finished_at_kill": [trial["finished_at_kill"] for trial in trials],
        "reused": [trial["reused"] for trial in trials],
        "files": [trial["files"] for trial in trials],
    }


def _compare(record: str, wanted: str) -> list[str]:
    """Where two records differ; nothing where their results are the same to the last digit."""
    a, b = (
        Record(**{k: v for k, v in json.loads(t).items() if k != "schema"})
        for t in (record, wanted)
    )
    found = differences(a, b)
    if not found and canonical_json(a.results) != canonical_json(b.results):
        found = ["results: other digits of the same numbers"]
    return found


def _missing(kind: str) -> str:
    if kind == "cluster" and importlib.util.find_spec("distributed") is None:
        return "Dask is not installed (`pip install dask distributed`)"
    return ""


@contextlib.contextmanager
def _sweep(folder: Path, **options) -> Iterator[subprocess.Popen]:
    """The sweep in a process that is ready to begin its jobs, and does not outlive the block."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MEDXFER_QUIET": "1"}
    call = f"main({str(folder)!r}, **{options!r})"
    with open(folder / "errors.txt", "ab") as errors:
        sweep = subprocess.Popen(
            [sys.executable, "-c", _CODE + call],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=environment,
        )
    try:
        if sweep.stdout.readline().strip() != small_sweep.READY.encode():
            raise RuntimeError(f"the sweep did not start:\n{_said(folder)}")
        yield sweep
    finally:
        sweep.kill()  # its workers follow
        sweep.wait()
        sweep.stdout.close()


def _finish(sweep: subprocess.Popen) -> None:
    if sweep.wait(_PATIENCE_S):
        raise RuntimeError(f"the sweep ended with exit code {sweep.returncode}")


def _wait_for_jobs(sweep: subprocess.Popen, folder: Path, count: int) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while len(_files(folder)) < count and sweep.poll() is None:
        if time.monotonic() > deadline:
            raise RuntimeError(f"no {count} jobs in {_PATIENCE_S:.0f} s:\n{_said(folder)}")
        time.sleep(0.005)


def _workers(sweep: subprocess.Popen) -> list[psutil.Process]:
    """The two worker processes, not the helper that Python starts beside them."""
    found = []
    for child in psutil.Process(sweep.pid).children():
        with contextlib.suppress(psutil.Error):  # it ended while we looked
            found += [child] if any("spawn_main" in part for part in child.cmdline()) else []
    return found


def _files(folder: Path) -> dict[str, bytes]:
    there = (folder / f"{small_sweep.NAME}.{small_sweep.DATA}").glob("*.npz")
    return {path.name: path.read_bytes() for path in there}


def _record(folder: Path) -> str:
    return (folder / f"{small_sweep.NAME}.{small_sweep.DATA}.json").read_text(encoding="utf-8")


def _said(folder: Path) -> str:
    return (folder / "errors.txt").read_text()[-1500:]
