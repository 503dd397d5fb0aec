"""Job functions and a script for the tests of long runs: importable by worker processes.

As a script (``python jobs_for_tests.py FOLDER RECORD PROCESSES``) it runs an experiment of a dozen
short jobs and writes its record: the tests kill it at random moments and start it again.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import numpy as np

from medxfer_lab.course.jobs import Job, run_jobs
from medxfer_lab.course.record import Record, fingerprint


def draw(seed: int, n: int = 200, pause: float = 0.0) -> dict:
    """A sum whose bits would show another order or another number of threads."""
    time.sleep(pause)
    x = np.random.default_rng(seed).standard_normal((n, n))
    return {"gram": x @ x.T, "mean": x.mean(), "info": {"seed": seed, "words": "ok", "none": None}}


def draw_or_fail(seed: int) -> dict:
    if seed == 2:
        raise ZeroDivisionError("seed 2 does not converge")
    return draw(seed, n=5)


def draw_or_die(seed: int) -> dict:
    if seed == 1:
        os._exit(9)
    return draw(seed, n=5)


def not_storable(seed: int) -> dict:
    return {"thing": {"inner": object()}}


PARAMETERS = [{"seed": seed, "n": 60, "pause": 0.02} for seed in range(12)]


def experiment(folder: Path, processes: int) -> Record:
    jobs = [Job(f"set {p['seed']}", p) for p in PARAMETERS]
    report = run_jobs(jobs, draw, folder, processes, progress=False).raise_if_failed()
    return Record(
        chapter="bias_variance",
        experiment="toy",
        data="simulated",
        device="cpu",
        preset="smoke",
        version=1,
        fingerprint=fingerprint({"jobs": PARAMETERS}),
        parameters={"jobs": PARAMETERS},
        seeds=list(range(12)),
        results={key.replace(" ", "_"): r["gram"][:2] for key, r in report.results.items()},
        wall_s=sum(report.seconds.values()),
    )


if __name__ == "__main__":
    experiment(Path(sys.argv[1]), int(sys.argv[3])).save(sys.argv[2])
