"""What the reference pages measure: one file an experiment, one way to run them all.

What an experiment is and how it runs: :mod:`medxfer_lab.course.experiments`. One that rests on
files (weights, real pictures) has ``digests() -> {name: SHA-256}`` too.
"""

from __future__ import annotations

from types import ModuleType

from medxfer_lab.course.experiments import Laboratory, Sources
from medxfer_lab.reference.experiment import (
    acquisition,
    engine,
    invariance,
    kills,
    modality,
    population,
    radiograph,
    realism,
    speed,
)

CHAPTER = "reference"
EXPERIMENTS: dict[str, ModuleType] = {
    module.NAME: module
    for module in (
        modality,
        realism,
        radiograph,
        population,
        invariance,
        acquisition,
        speed,
        kills,
        engine,
    )
}


def sources(module: ModuleType, data: str) -> Sources:
    """SHA-256 of the files an experiment rests on."""
    return Sources(module.digests() if hasattr(module, "digests") else {})


LABORATORY = Laboratory(CHAPTER, EXPERIMENTS, sources)
run = LABORATORY.run
