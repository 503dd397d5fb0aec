"""Does each shift keep what it says it keeps, and would the test have seen it if not?

One job a repetition; the tests are in :mod:`medxfer_lab.reference.experiment.shift_study`.
"""

from __future__ import annotations

from functools import lru_cache

from medxfer_lab.course.jobs import Job
from medxfer_lab.imaging.shifts import posterior_change, scanner_error
from medxfer_lab.reference.experiment.shift_study import (
    TARGET_MIXTURE,
    TWO_SCANNERS,
    Known,
    known,
    repetition_p_values,
    summary,
)

NAME, DATA, VERSION = "invariance", "simulated", 1
PRESETS = {
    "smoke": {"repetitions": 2, "n": 60, "size": 32, "seed": 1},
    "quick": {"repetitions": 10, "n": 200, "size": 32, "seed": 1},
    "full": {"repetitions": 100, "n": 300, "size": 32, "seed": 1},
}


@lru_cache(maxsize=2)
def _known(size: int, seed: int) -> Known:
    return known(size, seed)


def repetition_job(repetition: int, n: int, size: int, seed: int) -> dict:
    """One p-value for each cell of the matrix, from patients drawn for this repetition alone."""
    return repetition_p_values(_known(size, seed), n, size, seed, repetition)


def scanner_job(n: int, size: int, seed: int) -> dict:
    """How often the two scanners are mistaken, at most, and how far p(y | x) can then move."""
    found = scanner_error(TWO_SCANNERS.draw(2 * n, seed + 1, size), seed)
    weights = [weight for _, weight in TWO_SCANNERS.scanners]
    bound = posterior_change(weights, TARGET_MIXTURE, found.upper)
    return {"errors": found.errors, "tried": found.tried, "upper": found.upper, "moves": bound}


def run(parameters: dict, runner) -> dict:
    """Rejection rates of every test under every shift, and how well scanners are told apart."""
    shared = {key: parameters[key] for key in ("n", "size", "seed")}
    jobs = [
        Job(f"repetition-{k:03d}", {"repetition": k, **shared})
        for k in range(1, parameters["repetitions"] + 1)
    ]
    repetitions = list(runner(jobs, repetition_job).values())
    (scanners,) = runner([Job("scanners", shared)], scanner_job).values()
    settings = {"repetitions": len(repetitions), "n": parameters["n"], "pixels": parameters["size"]}
    return settings | summary(repetitions) | {"scanners": scanners}
