"""What the reference pages measure: one file an experiment, one way to run them all.

Every experiment has NAME, DATA, VERSION, PRESETS and ``run(parameters, runner) -> results``; its
jobs are independent and seeded, each is saved as soon as it is done, and a killed run resumes.
An experiment that rests on files (weights, real pictures) has ``digests() -> {name: SHA-256}`` too.
Experiments whose results *are* timings keep no jobs from run to run (``TIMING = True``).
"""

from __future__ import annotations

import shutil
from pathlib import Path
from types import ModuleType

from medxfer_lab.course.jobs import run_jobs
from medxfer_lab.course.progress import home
from medxfer_lab.course.record import Record, fingerprint
from medxfer_lab.reference.experiment import (
    invariance,
    modality,
    population,
    radiograph,
    realism,
    speed,
)

CHAPTER = "reference"
EXPERIMENTS: dict[str, ModuleType] = {
    module.NAME: module for module in (modality, realism, radiograph, population, invariance, speed)
}


def run(
    preset: str = "quick",
    processes: int = 1,
    experiment: str | None = None,
    folder: str | Path | None = None,
    progress: bool = True,
) -> list[Record]:
    """Run experiments by preset and return their records.

    Only the ``full`` preset writes the records that the pages read; the others write theirs beside
    their jobs. folder: where finished jobs are kept (default: the course's folder in your home).
    """
    if experiment is not None and experiment not in EXPERIMENTS:
        raise ValueError(f"no experiment is called {experiment!r}; known: {', '.join(EXPERIMENTS)}")
    names = [experiment] if experiment else list(EXPERIMENTS)
    root = Path(folder) if folder else home() / "runs" / CHAPTER / preset
    return [_record(EXPERIMENTS[name], preset, processes, root, progress) for name in names]


def digests(module: ModuleType) -> dict[str, str]:
    """SHA-256 of the files an experiment rests on."""
    return module.digests() if hasattr(module, "digests") else {}


def record_fingerprint(module: ModuleType, parameters: dict) -> str:
    """What a record's results depend on: parameters, files, version."""
    return fingerprint(parameters, weights=digests(module), version=module.VERSION)


def _record(module: ModuleType, preset: str, processes: int, root: Path, progress: bool) -> Record:
    if preset not in module.PRESETS:
        raise ValueError(f"no preset is called {preset!r}; known: {', '.join(module.PRESETS)}")
    parameters = dict(module.PRESETS[preset])
    context = {"files": digests(module), "version": module.VERSION}
    name = f"{module.NAME}.{module.DATA}"
    timing = getattr(module, "TIMING", False)
    if timing:  # an old clock tells nothing about now, and two jobs at a time disturb each other
        shutil.rmtree(root / name, ignore_errors=True)
    seconds: dict[str, float] = {}

    def runner(jobs, function):
        report = run_jobs(
            jobs,
            function,
            root / name,
            1 if timing else processes,
            progress,
            label=name,
            context=context,
        )
        report.raise_if_failed()
        seconds.update(report.seconds)
        return report.results

    results = module.run(parameters, runner)
    record = Record(
        chapter=CHAPTER,
        experiment=module.NAME,
        data=module.DATA,
        device="cpu",
        preset=preset,
        version=module.VERSION,
        fingerprint=record_fingerprint(module, parameters),
        results=results,
        parameters=parameters,
        wall_s=sum(seconds.values()),
    )
    record.save(None if preset == "full" else root / f"{name}.json")
    return record
