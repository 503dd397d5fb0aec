"""Long runs as many small jobs: each is on disk the moment it is done, and a rerun resumes.

A job is a function call with JSON-able parameters. Its result lies in one ``.npz`` file (arrays,
and a JSON text for the rest; no pickles) named after the job and a fingerprint of everything the
result depends on, so that a result of other parameters can never be taken for this one.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medxfer_lab.course.atomic import sweep_leftovers
from medxfer_lab.course.jobfile import Job, Task, is_quiet, job_fingerprint

__all__ = ["Failure", "Job", "JobError", "JobReport", "job_fingerprint", "run_jobs"]


class JobError(RuntimeError):
    """Some jobs of a run failed; the message says which and why."""


@dataclass(frozen=True)
class Failure:
    """A job that raised, or whose process died."""

    key: str
    parameters: dict[str, Any]
    error: str
    traceback: str = ""


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
            lines = [f"{f.key} {f.parameters}: {f.error}" for f in self.failed[:10]]
            raise JobError(
                f"{len(self.failed)} of {len(self.failed) + len(self.results)} jobs failed:\n"
                + "\n".join(lines)
                + f"\n\n{self.failed[0].traceback}"
            )
        return self


def run_jobs(
    jobs: Sequence[Job],
    function: Callable[..., Mapping[str, Any]],
    folder: str | Path,
    processes: int = 1,
    progress: bool = True,
    label: str = "",
    context: Any = None,
    threads: int = 1,
) -> JobReport:
    """Run ``function(**job.parameters)`` for every job not yet on disk under ``folder``.

    The function returns a dict whose values are arrays, numbers, text, None, or dicts and lists of
    these. ``context`` is whatever else the results depend on (digests of weights and data, the
    experiment's version): with another context nothing on disk is reused. Randomness must come from
    the parameters; then results do not depend on ``processes``, on order, or on interruptions.

    ``processes`` > 1 starts that many worker processes, each with ``threads`` threads (one thread
    per process is the fastest and the only reproducible choice); the function must then live in an
    importable module. A job that raises, or whose process dies, is reported in ``failed`` and does
    not stop the others. The progress bar is silent when MEDXFER_QUIET=1.

    Raises ValueError for keys that are not unique and for a function that workers cannot import.
    """
    folder = Path(folder)
    keys = [job.key for job in jobs]
    if len(set(keys)) < len(keys):
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"job key {twice!r} occurs twice: every job needs a key of its own")
    if processes < 1:
        raise ValueError(f"processes={processes}: expected 1 or more")
    sweep_leftovers(folder)
    tasks = [Task(job, folder, job_fingerprint(job, function, context)) for job in jobs]
    waiting = [task for task in tasks if task.load() is None]
    failed: list[Failure] = []
    with _bar(len(tasks), len(tasks) - len(waiting), progress, label) as tick:
        if processes > 1 and len(waiting) > 1:
            _check_importable(function)
            outcomes = _in_processes(waiting, function, processes, threads)
        else:
            outcomes = _in_this_process(waiting, function, threads)
        for failure in outcomes:
            failed += [failure] if failure else []
            tick()
    report = _collect(tasks, failed, len(waiting))
    if failed and not is_quiet():
        for failure in report.failed:
            print(f"failed: {failure.key} {failure.parameters}: {failure.error}")
    return report


def _run(task: Task, function: Callable[..., Mapping[str, Any]]) -> Failure | None:
    """Run and save one job; a failure is returned, not raised."""
    start = time.perf_counter()
    try:
        result = function(**task.job.parameters)
        if not isinstance(result, Mapping):
            raise TypeError(f"job functions return a dict; this one gave {type(result).__name__}")
        task.save(result, time.perf_counter() - start)
    except Exception as error:
        text = f"{type(error).__name__}: {error}"
        return Failure(task.job.key, task.job.parameters, text, traceback.format_exc())
    return None


def _in_this_process(
    tasks: Sequence[Task], function: Callable[..., Any], threads: int
) -> Iterator[Failure | None]:
    with _threads(threads):
        for task in tasks:
            yield _run(task, function)


def _in_processes(
    tasks: Sequence[Task], function: Callable[..., Any], processes: int, threads: int
) -> Iterator[Failure | None]:
    """Outcomes as they come. Jobs in flight when a process died get one more try, each alone."""
    from concurrent.futures import FIRST_COMPLETED, wait
    from concurrent.futures.process import BrokenProcessPool

    waiting, suspects = list(reversed(tasks)), []
    while waiting:
        with _pool(min(processes, len(waiting)), threads) as pool:
            flying: dict[Any, Task] = {}
            broken = False
            while flying or (waiting and not broken):
                while waiting and not broken and len(flying) < processes:
                    task = waiting.pop()
                    try:
                        flying[pool.submit(_run, task, function)] = task
                    except BrokenProcessPool:
                        waiting.append(task)
                        broken = True
                done = wait(flying, return_when=FIRST_COMPLETED).done if flying else ()
                for future in done:
                    task = flying.pop(future)
                    try:
                        yield future.result()
                    except BrokenProcessPool:
                        broken = True
                        suspects.append(task)
    for task in suspects:
        yield _alone(task, function, threads)


def _alone(task: Task, function: Callable[..., Any], threads: int) -> Failure | None:
    from concurrent.futures.process import BrokenProcessPool

    if task.path.exists():  # it was saved just before its process died
        return None
    try:
        with _pool(1, threads) as pool:
            return pool.submit(_run, task, function).result()
    except BrokenProcessPool:
        return Failure(
            task.job.key,
            task.job.parameters,
            "the worker process died twice: out of memory, or the calling script lacks "
            "`if __name__ == '__main__':`",
        )


@contextlib.contextmanager
def _pool(processes: int, threads: int) -> Iterator[Any]:
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    spawn = multiprocessing.get_context("spawn")
    with _thread_variables(threads):
        with ProcessPoolExecutor(processes, spawn, _follow_parent) as pool:
            yield pool


def _follow_parent() -> None:
    """A killed parent cannot end its workers, so each worker watches it and ends itself."""
    import multiprocessing
    import threading

    parent = multiprocessing.parent_process()

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


@contextlib.contextmanager
def _thread_variables(threads: int) -> Iterator[None]:
    """The variables that numerical libraries read when they are first imported."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, str(threads)))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _threads(threads: int) -> Iterator[None]:
    """The same number of threads here as a worker has, so that sums are taken in one order."""
    from threadpoolctl import threadpool_limits

    torch = sys.modules.get("torch")  # where it is not loaded yet, the variables suffice
    before = torch.get_num_threads() if torch else None
    with _thread_variables(threads), threadpool_limits(threads):
        if torch:
            torch.set_num_threads(threads)
        try:
            yield
        finally:
            if torch:
                torch.set_num_threads(before)


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


def _check_importable(function: Callable[..., Any]) -> None:
    main = sys.modules["__main__"]
    interactive = function.__module__ == "__main__" and not hasattr(main, "__file__")
    try:
        pickle.dumps(function)
    except Exception:
        interactive = True
    if interactive:
        raise ValueError(
            f"worker processes cannot import {function.__qualname__!r}: put it at the top level of "
            "a module, or use processes=1"
        )


@contextlib.contextmanager
def _bar(total: int, done: int, progress: bool, label: str) -> Iterator[Callable[[], None]]:
    if not progress or is_quiet() or total == done:
        yield lambda: None
        return
    from tqdm import tqdm

    with tqdm(total=total, initial=done, desc=label or None, unit="job", file=sys.stdout) as bar:
        yield lambda: bar.update(1) and None
