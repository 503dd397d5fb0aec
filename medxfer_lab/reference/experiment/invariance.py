"""Does each shift keep what it says it keeps, and would the test have seen it if not?"""

from __future__ import annotations

from medxfer_lab.course.jobs import Job
from medxfer_lab.reference.imaging.invariance import invariance_study

NAME, DATA, VERSION = "invariance", "simulated", 1
PRESETS = {
    "smoke": {"repetitions": 2, "n": 60, "size": 32, "seed": 1},
    "quick": {"repetitions": 10, "n": 200, "size": 32, "seed": 1},
    "full": {"repetitions": 100, "n": 300, "size": 32, "seed": 1},
}


def study_job(repetitions: int, n: int, size: int, seed: int) -> dict:
    """The whole matrix: see :func:`~medxfer_lab.reference.imaging.invariance.invariance_study`."""
    return invariance_study(repetitions, n, size, seed)


def run(parameters: dict, runner) -> dict:
    """Rejection rates of every test under every shift."""
    (result,) = runner([Job("study", dict(parameters))], study_job).values()
    return result
