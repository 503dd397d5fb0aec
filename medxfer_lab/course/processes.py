"""Jobs on this machine: in this process, or in worker processes that may die without harm."""

from __future__ import annotations

import contextlib
import os
import pickle
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from medxfer_lab.course.jobfile import Failure, Task, compute, keep
from medxfer_lab.course.threads import limited_threads, thread_variables


def _run(task: Task, function: Callable[..., Any]) -> Failure | None:
    return keep(task, compute(task.job, function))


def in_this_process(
    tasks: Sequence[Task], function: Callable[..., Any], threads: int
) -> Iterator[Failure | None]:
    """Outcomes one by one: None where the result is on disk."""
    with limited_threads(threads):
        for task in tasks:
            yield _run(task, function)


def in_processes(
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
    with thread_variables(threads):
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


def check_importable(function: Callable[..., Any]) -> None:
    """ValueError for a function that another process could not import."""
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
