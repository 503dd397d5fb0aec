"""Job functions and a small experiment for the tests of long runs: importable by processes."""

from __future__ import annotations

import os
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


def draw_or_exit(seed: int) -> dict:
    if seed == 1:
        raise SystemExit("seed 1 has had enough")
    return draw(seed, n=5)


def count_threads(seed: int) -> dict:
    import torch

    return {"threads": torch.get_num_threads()}


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


def main(folder: Path, record: Path, processes: int) -> None:
    """Run the experiment and write its record: what the tests kill at random moments."""
    experiment(folder, processes).save(record)
