"""What the chapter trains and measures: one file an experiment, one way to run them all.

Every experiment has NAME, DATA, VERSION, PRESETS and ``run(parameters, runner) -> results``; its
jobs are independent and seeded, each is saved as soon as it is done, and a killed run resumes.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from medxfer_lab.bias_variance.experiment import (
    crossed,
    distance,
    heads,
    longer,
    material,
    networks,
    parable,
    real,
    ridge,
)
from medxfer_lab.course.jobs import run_jobs
from medxfer_lab.course.progress import home
from medxfer_lab.course.record import Record, fingerprint

CHAPTER = "bias_variance"
EXPERIMENTS: dict[str, ModuleType] = {
    module.NAME: module
    for module in (heads, networks, crossed, ridge, parable, real, longer, distance)
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
    made = []
    for name in names:
        module = EXPERIMENTS[name]
        data_sets = real.available() if module is real else [module.DATA]
        if not data_sets:
            print(f"{name}: no data found; set MEDXFER_DATA to a folder with {real.FILES}")
        made += [_record(module, data, preset, processes, root, progress) for data in data_sets]
    return made


def record_fingerprint(module: ModuleType, parameters: dict, data_digest: str = "") -> str:
    """What a record's results depend on: parameters, weights, data, both versions."""
    depends = material.digests() | {"material": str(material.VERSION)}
    return fingerprint(parameters, weights=depends, data=data_digest, version=module.VERSION)


def _record(
    module: ModuleType, data: str, preset: str, processes: int, root: Path, progress: bool
) -> Record:
    if preset not in module.PRESETS:
        raise ValueError(f"no preset is called {preset!r}; known: {', '.join(module.PRESETS)}")
    parameters = dict(module.PRESETS[preset]) | ({"data": data} if module is real else {})
    weights = material.digests()
    version = {"experiment": module.VERSION, "material": material.VERSION}
    context = {"weights": weights, "version": version}
    if module is real:
        context["data"] = real.digest(data)
    name = f"{module.NAME}.{data}"
    seconds: dict[str, float] = {}

    def runner(jobs, function):
        report = run_jobs(
            jobs, function, root / name, processes, progress, label=name, context=context
        )
        report.raise_if_failed()
        seconds.update(report.seconds)
        return report.results

    results = module.run(parameters, runner)
    record = Record(
        chapter=CHAPTER,
        experiment=module.NAME,
        data=data,
        device="cpu",
        preset=preset,
        version=module.VERSION,
        fingerprint=record_fingerprint(module, parameters, context.get("data", "")),
        results=results,
        parameters=parameters,
        seeds={"training": material.TRAINING_SEED, "tuning": material.TUNING_SEED},
        sizes=parameters["sizes"],
        wall_s=sum(seconds.values()),
    )
    path = None if preset == "full" else root / f"{name}.json"
    record.save(path)
    return record
