"""Long runs as many small jobs: each is on disk the moment it is done, and a rerun resumes.

A job is a function call with JSON-able parameters. Its result lies in one ``.npz`` file (arrays,
and a JSON text for the rest; no pickles) named after the job and a fingerprint of everything the
result depends on, so that a result of other parameters can never be taken for this one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medxfer_lab.course.atomic import sweep_leftovers
from medxfer_lab.course.bar import bar
from medxfer_lab.course.jobfile import (
    ClusterError,
    Failure,
    Job,
    Task,
    is_quiet,
    job_fingerprint,
)
from medxfer_lab.course.processes import check_importable, in_processes, in_this_process

__all__ = [
    "ClusterError",
    "Failure",
    "Job",
    "JobError",
    "JobReport",
    "is_quiet",
    "job_fingerprint",
    "run_jobs",
]


class JobError(RuntimeError):
    """Some jobs of a run failed; the message says which and why."""


@dataclass(frozen=True)
class JobReport:
    """``results``: key -> result, in the order of the jobs (failed ones missing);
    ``failed``: what failed and how; ``computed`` and ``reused``: how many were run now and how many
    were found on disk; ``seconds``: key -> seconds the job took when it ran."""

    results: dict[str, dict[str, Any]]
    failed: list[Failure]
    computed: int
    reused: int
    seconds: dict[str, float] = field(default_factory=dict)

    def raise_if_failed(self) -> JobReport:
        """This report, or a :class:`JobError` that shows the failed jobs (the first in full)."""
        if self.failed:
            raise JobError(
                f"{len(self.failed)} of {len(self.failed) + len(self.results)} jobs failed:\n"
                + "\n".join(map(str, self.failed[:10]))
                + f"\n\n{self.failed[0].traceback}"
            )
        return self


def run_jobs(
    jobs: Sequence[Job],
    function: Callable[..., Mapping[str, Any]],
    folder: str | Path,
    processes: int | None = None,
    progress: bool = True,
    label: str = "",
    context: Any = None,
    threads: int = 1,
    backend: str = "local",
    address: str | None = None,
) -> JobReport:
    """Run ``function(**job.parameters)`` for every job not yet on disk under ``folder``.

    The function returns a dict whose values are arrays, numbers, text, None, or dicts and lists of
    these. ``context`` is whatever else the results depend on (digests of weights and data, the
    experiment's version): with another context nothing on disk is reused. Randomness must come from
    the parameters; then results do not depend on ``processes``, ``backend``, order, or
    interruptions.

    ``backend``: where jobs run, each with ``threads`` threads (one thread is the fastest and the
    only reproducible choice).

    - ``"local"``: in this process, or with ``processes`` > 1 in that many worker processes; the
      function must then live in an importable module.
    - ``"dask"``: on the workers of the Dask scheduler at ``address``, on every one of them or at
      most ``processes`` jobs at once. Results come back here and are saved here: the workers need
      the course installed, but no common disk.
    - any other name of a joblib backend (``"loky"``, ``"ray"``, ...), with ``processes`` as
      joblib's ``n_jobs``.

    A job that raises, or whose process dies, is reported in ``failed`` and does not stop the
    others. The progress bar is silent when MEDXFER_QUIET=1.

    Raises ValueError for keys that are not unique, for a function that workers cannot import and
    for an unknown backend, ModuleNotFoundError for a backend that is not installed, and
    :class:`ClusterError` for a cluster that cannot be used.
    """
    folder = Path(folder)
    keys = [job.key for job in jobs]
    if len(set(keys)) < len(keys):
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"job key {twice!r} occurs twice: every job needs a key of its own")
    if processes is not None and processes < 1:
        raise ValueError(f"processes={processes}: expected 1 or more")
    if backend != "dask" and address is not None:
        raise ValueError(f"address={address!r}: only backend='dask' has one, not {backend!r}")
    sweep_leftovers(folder)
    tasks = [Task(job, folder, job_fingerprint(job, function, context)) for job in jobs]
    waiting = [task for task in tasks if task.load() is None]
    outcomes = _outcomes(waiting, function, processes, threads, backend, address)
    failed: list[Failure] = []
    with bar(len(tasks), len(tasks) - len(waiting), progress, label) as tick:
        for failure in outcomes:
            failed += [failure] if failure else []
            tick(failure)
    return _collect(tasks, failed, len(waiting))


def _outcomes(
    tasks: Sequence[Task],
    function: Callable[..., Mapping[str, Any]],
    processes: int | None,
    threads: int,
    backend: str,
    address: str | None,
) -> Iterator[Failure | None]:
    """One after another as jobs end, in any order: None where the result is on disk."""
    if not tasks:
        return iter(())
    if backend == "dask":
        from medxfer_lab.course.cluster import on_cluster

        return on_cluster(tasks, function, address, processes, threads)
    if backend != "local":
        from medxfer_lab.course.backends import through_joblib

        return through_joblib(tasks, function, backend, processes, threads)
    if (processes or 1) > 1 and len(tasks) > 1:
        check_importable(function)
        return in_processes(tasks, function, processes, threads)
    return in_this_process(tasks, function, threads)


def _collect(tasks: Sequence[Task], failed: list[Failure], waiting: int) -> JobReport:
    bad = {failure.key for failure in failed}
    results, seconds = {}, {}
    for task in tasks:
        if task.job.key in bad:
            continue
        found = task.load()
        if found is None:  # removed behind our back
            failed.append(
                Failure(task.job.key, task.job.parameters, "its result vanished from disk")
            )
        else:
            results[task.job.key], seconds[task.job.key] = found
    order = {task.job.key: i for i, task in enumerate(tasks)}
    failed = sorted(failed, key=lambda failure: order[failure.key])
    return JobReport(results, failed, waiting - len(failed), len(tasks) - waiting, seconds)
