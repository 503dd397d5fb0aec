"""What the chapter trains and measures: one file an experiment, one way to run them all.

What an experiment is and how it runs: :mod:`medxfer_lab.course.experiments`.
"""

from __future__ import annotations

from types import ModuleType

from medxfer_lab.course.experiments import Laboratory, Sources
from medxfer_lab.domain_shift.experiment import (
    acquisition,
    league,
    material,
    prevalence,
    real,
    retraining,
    shifts,
)

CHAPTER = "domain_shift"
EXPERIMENTS: dict[str, ModuleType] = {
    module.NAME: module for module in (shifts, acquisition, retraining, prevalence, league, real)
}


def sources(module: ModuleType, data: str) -> Sources:
    """Weights, the version of patients and models, and the data set's file."""
    files = material.digests() | {"material": str(material.VERSION)}
    return Sources(files, real.digest(data) if module is real else "")


def data_sets(module: ModuleType) -> list[str]:
    """The data sets that an experiment can run on here."""
    if module is not real:
        return [module.DATA]
    if not real.available():
        print(f"{real.NAME}: no data found; set MEDXFER_DATA to a folder with {real.FILES}")
    return real.available()


LABORATORY = Laboratory(
    CHAPTER,
    EXPERIMENTS,
    sources,
    data_sets,
    {"training": material.TRAINING_SEED, "tuning": material.TUNING_SEED},
)
run = LABORATORY.run
