"""Jobs on a Dask cluster: results come back to the caller, who saves each at once.

    dask scheduler
    dask worker tcp://the-scheduler:8786 --nworkers 8 --nthreads 1

Not through joblib's "dask" backend: with joblib 1.6 its call waits for ever once a job has killed
its workers (the error reaches the future, never the callback that the call waits for). Dask itself
gives the jobs of a dead worker to another one. Its nodes run what they are sent: keep the scheduler
on a network that you trust.
"""

from __future__ import annotations

import hashlib
import queue
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from medxfer_lab._version import __version__
from medxfer_lab.course.jobfile import ClusterError, Failure, Job, Task, compute, is_quiet, keep
from medxfer_lab.course.machine import device_name, software_versions
from medxfer_lab.course.threads import limited_threads

#: seconds to wait for the scheduler, for a first worker, and in mid-run for one to come back
CONNECT_S, WORKERS_S, LOST_S = 10.0, 10.0, 60.0
_START = "`dask scheduler`, then on every node `dask worker ADDRESS --nworkers N --nthreads 1`"


def on_cluster(
    tasks: Sequence[Task],
    function: Callable[..., Any],
    address: str | None,
    processes: int | None,
    threads: int,
) -> Iterator[Failure | None]:
    """Outcomes as they come: None where the result is on this machine's disk.

    At most ``processes`` jobs are out at once (default: as many as there are). A job whose worker
    died as often as the scheduler allows (its setting ``allowed-failures``, 3 by default) may have
    been the victim of another one on the same worker: such jobs are tried once more, each alone.

    Raises ModuleNotFoundError where Dask is not installed, :class:`ClusterError` for a scheduler
    that does not answer or has no workers, and for workers with other software or more than one
    thread.
    """
    client = connect(address)
    try:
        here = _ask_workers(client)
    except BaseException:
        client.close()
        raise
    return _outcomes(client, tasks, function, here, processes, threads)


def _outcomes(
    client: Any, tasks: Sequence[Task], function: Any, here: Any, most: Any, threads: int
):
    died: list[Task] = []
    try:
        for task, outcome in _dispatch(client, tasks, function, here, most, threads):
            if outcome is None:
                died.append(task)
            else:
                yield keep(task, outcome)
        for task, outcome in _dispatch(client, died, function, here, 1, threads):
            yield keep(task, outcome or _failure(task, "its workers died: out of memory?"))
    finally:
        client.close()


def connect(address: str | None) -> Any:
    """A client of the scheduler at ``address`` that has a worker, or an error that says why not."""
    try:
        from distributed import Client
    except ImportError:
        raise ModuleNotFoundError(
            "backend='dask' needs Dask: `pip install dask distributed`, here and on every node"
        ) from None
    if not address:
        raise ValueError(
            f"backend='dask' needs the scheduler's address, e.g. tcp://127.0.0.1:8786: {_START}"
        )
    try:
        client = Client(address, timeout=CONNECT_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ClusterError(
            f"no Dask scheduler answers at {address!r} ({type(error).__name__}: {error}): "
            f"start {_START}"
        ) from None
    try:
        client.wait_for_workers(1, timeout=WORKERS_S)
    except TimeoutError:
        client.close()
        raise ClusterError(
            f"the Dask scheduler at {address!r} has no workers: start some on every node with "
            f"`dask worker {address} --nworkers N --nthreads 1`"
        ) from None
    return client


def software() -> dict[str, str]:
    """What must be the same everywhere for a record to be: versions, and the course's code."""
    return {"medxfer_lab": __version__, "code": _CODE, **software_versions()}


def _digest() -> str:
    """Of the package's source, taken on import: a worker may have been up since before an edit."""
    root = Path(__file__).resolve().parents[1]
    every = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        every.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return every.hexdigest()[:12]


_CODE = _digest()


def _refusal(there: Mapping[str, str], here: Mapping[str, str], jobs_at_once: int) -> str:
    """Why a worker must not take jobs of this run; nothing where it may."""
    if there != here:
        parts = [
            f"{name} {there.get(name, 'missing')} (here {here.get(name, 'missing')})"
            for name in sorted({*there, *here})
            if there.get(name) != here.get(name)
        ]
        return f"has {', '.join(parts)}: install the same there, and restart it"
    if jobs_at_once > 1:
        return f"takes {jobs_at_once} jobs at once in one process: start it with --nthreads 1"
    return ""


def _describe(dask_worker: Any) -> tuple[dict[str, str], int, str]:
    return software(), dask_worker.state.nthreads, device_name("cpu")


def _ask_workers(client: Any) -> dict[str, str]:
    """The software of this process, once every worker that answers is known to have the same."""
    here = software()
    answers = client.run(_describe, on_error="return")
    problems = []
    for address, answer in answers.items():
        if isinstance(answer, OSError):
            continue  # it is just dying: the scheduler will notice
        if isinstance(answer, Exception):
            problems.append(f"{address} cannot run the course: {type(answer).__name__}: {answer}")
        elif why := _refusal(*(answer[0], here, answer[1])):
            problems.append(f"{address} {why}")
    if problems:
        shown = "\n".join(problems[:5])
        raise ClusterError(
            f"{len(problems)} of {len(answers)} Dask workers would not give this machine's "
            f"results:\n{shown}"
        )
    processors = {answer[2] for answer in answers.values() if isinstance(answer, tuple)}
    if processors - {device_name("cpu")} and not is_quiet():
        print(
            f"note: the workers' processors are {', '.join(sorted(processors))}, this one is a "
            f"{device_name('cpu')}: results may differ in their last bits"
        )
    return here


def _dispatch(
    client: Any,
    tasks: Sequence[Task],
    function: Callable[..., Any],
    here: Mapping[str, str],
    most: int | None,
    threads: int,
) -> Iterator[tuple[Task, Any]]:
    """(task, what `compute` gave) as jobs end; None for what, where its workers died."""
    finished: queue.SimpleQueue[str] = queue.SimpleQueue()
    waiting, flying, seen = list(reversed(tasks)), {}, time.monotonic()
    try:
        while waiting or flying:
            while waiting and (most is None or len(flying) < most):
                task = waiting.pop()
                # a name of its own: Dask must not answer with a result of an earlier run
                key = f"{task.path.stem}-{uuid.uuid4().hex}"
                future = client.submit(_on_worker, task.job, function, here, threads, key=key)
                flying[key] = task, future
                future.add_done_callback(lambda future: finished.put(future.key))
            try:
                task, future = flying.pop(finished.get(timeout=1.0))
            except queue.Empty:
                if client.status != "running" or client.nthreads():
                    seen = time.monotonic()
                elif time.monotonic() - seen > LOST_S:
                    lost = f"no worker was left, and for {LOST_S:.0f} s none came back"
                    for task in [*(task for task, _ in flying.values()), *reversed(waiting)]:
                        yield task, _failure(task, lost)
                    return
                continue
            seen = time.monotonic()
            yield task, _outcome(task, future)
    finally:
        client.cancel([future for _, future in flying.values()])


def _outcome(task: Task, future: Any) -> Any:
    from distributed import CancelledError, KilledWorker

    try:
        return future.result()
    except KilledWorker:
        return None
    except CancelledError as error:
        return _failure(task, f"the connection to the scheduler was lost ({error})")
    except Exception as error:
        # raised outside of the job: it could not be sent, or not be loaded over there
        return _failure(task, f"{type(error).__name__}: {error}")


def _failure(task: Task, error: str) -> Failure:
    return Failure(task.job.key, task.job.parameters, error)


def _on_worker(
    job: Job, function: Callable[..., Any], here: Mapping[str, str], threads: int
) -> Any:
    """Compute, unless this worker, which may have joined in mid-run, is not like the caller."""
    from distributed import get_worker

    worker = get_worker()
    if why := _refusal(software(), here, worker.state.nthreads):
        return Failure(job.key, job.parameters, f"refused: the worker {worker.address} {why}")
    with limited_threads(threads):
        return compute(job, function)
