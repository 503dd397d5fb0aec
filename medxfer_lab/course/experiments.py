"""Running a chapter's experiments: parameters by preset, jobs that resume, a record at the end.

An experiment is a module with NAME, DATA (the data set of its record), VERSION, PRESETS (preset ->
parameters) and ``run(parameters, runner) -> results``, where ``runner(jobs, function)`` runs seeded
jobs and returns their results by key. A module whose results *are* timings sets ``TIMING = True``:
its jobs run one at a time and are never reused.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from medxfer_lab.course.jobs import run_jobs
from medxfer_lab.course.progress import home
from medxfer_lab.course.record import Record, fingerprint
from medxfer_lab.course.threads import limited_threads


@dataclass(frozen=True)
class Sources:
    """What results rest on besides parameters and version.

    files: name -> SHA-256 of weights or pictures. data: SHA-256 of the data set's file.
    """

    files: Mapping[str, str] = field(default_factory=dict)
    data: str = ""


def no_sources(module: ModuleType, data: str) -> Sources:
    """Of an experiment that rests on nothing but its parameters."""
    return Sources()


@dataclass(frozen=True)
class Laboratory:
    """A chapter's experiments and how to run them.

    sources: (module, data set) -> what its results rest on.
    data_sets: module -> the data sets it can run on here; by default its DATA.
    seeds: of the material that the experiments share, for the record.
    """

    chapter: str
    experiments: Mapping[str, ModuleType]
    sources: Callable[[ModuleType, str], Sources] = no_sources
    data_sets: Callable[[ModuleType], list[str]] = lambda module: [module.DATA]
    seeds: Mapping[str, int] = field(default_factory=dict)

    def run(
        self,
        preset: str = "quick",
        processes: int | None = None,
        experiment: str | None = None,
        folder: str | Path | None = None,
        progress: bool = True,
        backend: str = "local",
        address: str | None = None,
    ) -> list[Record]:
        """Run experiments by preset and return their records.

        Only the ``full`` preset writes the records that the pages read; the others write theirs
        beside their jobs. folder: where finished jobs are kept (default: the course's folder in
        your home). processes, progress, backend, address: see
        :func:`~medxfer_lab.course.jobs.run_jobs`; experiments that measure time run here, one job
        after another, whatever these say.
        """
        if experiment is not None and experiment not in self.experiments:
            known = ", ".join(self.experiments)
            raise ValueError(f"no experiment is called {experiment!r}; known: {known}")
        root = Path(folder) if folder else home() / "runs" / self.chapter / preset
        how = {"processes": processes, "backend": backend, "address": address}
        return [
            self._record(self.experiments[name], data, preset, root, {"progress": progress} | how)
            for name in ([experiment] if experiment else self.experiments)
            for data in self.data_sets(self.experiments[name])
        ]

    def fingerprint(self, module: ModuleType, parameters: Mapping[str, Any], data: str) -> str:
        """What a record's results depend on: parameters, files, data, version."""
        rests = self.sources(module, data)
        return fingerprint(parameters, weights=rests.files, data=rests.data, version=module.VERSION)

    def _record(
        self,
        module: ModuleType,
        data: str,
        preset: str,
        root: Path,
        how: dict[str, Any],
    ) -> Record:
        if preset not in module.PRESETS:
            known = ", ".join(module.PRESETS)
            raise ValueError(f"no preset is called {preset!r}; known: {known}")
        parameters = dict(module.PRESETS[preset])
        if data != getattr(module, "DATA", None):
            parameters["data"] = data
        name = f"{module.NAME}.{data}"
        timing = getattr(module, "TIMING", False)
        if timing:  # an old clock says nothing about now, nor another machine's about this one
            shutil.rmtree(root / name, ignore_errors=True)
            how = {"progress": how["progress"]}
        context = {"fingerprint": self.fingerprint(module, parameters, data)}
        seconds: dict[str, float] = {}

        def runner(jobs, function):
            report = run_jobs(jobs, function, root / name, label=name, context=context, **how)
            report.raise_if_failed()
            seconds.update(report.seconds)
            return report.results

        with limited_threads(1):  # what an experiment computes between jobs, as in its jobs
            results = module.run(parameters, runner)
        record = Record(
            chapter=self.chapter,
            experiment=module.NAME,
            data=data,
            device="cpu",
            preset=preset,
            version=module.VERSION,
            fingerprint=self.fingerprint(module, parameters, data),
            results=results,
            parameters=parameters,
            seeds=self.seeds or None,
            sizes=parameters.get("sizes"),
            wall_s=sum(seconds.values()),
        )
        record.save(None if preset == "full" else root / f"{name}.json")
        return record
