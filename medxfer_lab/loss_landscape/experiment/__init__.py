"""What the chapter trains and measures: one file an experiment, one way to run them all.

What an experiment is and how it runs: :mod:`medxfer_lab.course.experiments`.
"""

from __future__ import annotations

from types import ModuleType

from medxfer_lab.course.experiments import Laboratory, Sources
from medxfer_lab.loss_landscape.experiment import (
    curvature,
    forgetting,
    lite0,
    lite0_rates,
    material,
    paths,
    rates,
    steps,
    tradeoff,
    valley,
)
from medxfer_lab.nets.photographs import CIFAR10_DIGEST

CHAPTER = "loss_landscape"
EXPERIMENTS: dict[str, ModuleType] = {
    module.NAME: module
    for module in (curvature, steps, forgetting, rates, tradeoff, valley, paths, lite0, lite0_rates)
}


def sources(module: ModuleType, data: str) -> Sources:
    """Weights, the photographs, and the version of patients and networks."""
    files = material.digests() | {"photographs": CIFAR10_DIGEST, "material": str(material.VERSION)}
    return Sources(files)


LABORATORY = Laboratory(
    CHAPTER,
    EXPERIMENTS,
    sources,
    seeds={"training": material.TRAINING_SEED, "tuning": material.TUNING_SEED},
)
run = LABORATORY.run
