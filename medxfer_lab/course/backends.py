"""Jobs through any backend that joblib knows by name; Dask has a way of its own (`cluster`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from medxfer_lab.course.jobfile import Failure, Job, Task, compute, keep
from medxfer_lab.course.threads import limited_threads


def through_joblib(
    tasks: Sequence[Task],
    function: Callable[..., Any],
    backend: str,
    processes: int | None,
    threads: int,
) -> Iterator[Failure | None]:
    """Outcomes as they come; each result is saved by this process.

    When a worker dies joblib gives up its whole call: jobs that were out get one more try, each
    alone, and those that were not yet sent go into the next call. Raises ValueError for a backend
    that is not registered.
    """
    from joblib import parallel

    known = sorted({"local", *parallel.BACKENDS, *parallel.EXTERNAL_BACKENDS})
    if backend not in known:
        raise ValueError(f"no backend is called {backend!r}; known: {', '.join(known)}")
    return _rounds(tasks, function, {"backend": backend, "n_jobs": processes or -1}, threads)


def _rounds(
    tasks: Sequence[Task], function: Callable[..., Any], how: dict, threads: int
) -> Iterator[Failure | None]:
    waiting, suspects = list(tasks), []
    while waiting:
        out: dict[str, Task] = {}
        try:
            for task, outcome in _call(waiting, out, function, how, threads):
                yield keep(task, outcome)
        except Exception:
            if not out:  # it is not a job that broke it
                raise
            suspects += out.values()
    for task in suspects:
        try:
            ((_, outcome),) = _call([task], {}, function, how, threads)
        except Exception as error:
            why = f"{type(error).__name__}: {error}".splitlines()[0]
            text = f"its worker died twice: out of memory? ({why})"
            outcome = Failure(task.job.key, task.job.parameters, text)
        yield keep(task, outcome)


def _call(
    waiting: list[Task],
    out: dict[str, Task],
    function: Callable[..., Any],
    how: dict,
    threads: int,
) -> Iterator[tuple[Task, Any]]:
    """One call of joblib, which draws jobs from ``waiting`` as it goes; ``out``: drawn, not back.

    One job a batch: a batch would come back, and be lost, as a whole.
    """
    from joblib import Parallel, delayed

    def draw() -> Iterator[Any]:
        while waiting:
            task = waiting.pop(0)
            out[task.job.key] = task
            yield delayed(_compute)(task.job, function, threads)

    for key, outcome in Parallel(return_as="generator_unordered", batch_size=1, **how)(draw()):
        yield out.pop(key), outcome


def _compute(job: Job, function: Callable[..., Any], threads: int) -> tuple[str, Any]:
    with limited_threads(threads):
        return job.key, compute(job, function)
