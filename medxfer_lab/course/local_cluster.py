"""A small Dask cluster on this machine alone, each part a process: to try a cluster before use."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

START_S = 60.0
#: nothing but this machine reaches the cluster; the second is the pages on its state
_LOOPBACK = ("--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0")


@dataclass(frozen=True)
class LocalCluster:
    """The scheduler's address, and the processes."""

    address: str
    scheduler: subprocess.Popen
    workers: list[subprocess.Popen]


@contextlib.contextmanager
def local_cluster(
    workers: int = 2,
    preload: str = "",
    worker_options: tuple[str, ...] = ("--nthreads", "1", "--no-nanny"),
    environment: Mapping[str, str] | None = None,
) -> Iterator[LocalCluster]:
    """A scheduler and so many workers on 127.0.0.1, all of which end with the block.

    preload: a module that workers import before they take jobs. environment: more variables, such
    as DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES. Without a nanny a worker that is killed is not
    started again. Raises RuntimeError, with what they said, where they do not come up.
    """
    variables = {**os.environ, "OMP_NUM_THREADS": "1", **(environment or {})}
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cluster-")))

        def start(name: str, *arguments: str) -> subprocess.Popen:
            command = [sys.executable, "-m", *arguments]
            with open(folder / f"{name}.log", "wb") as log:
                child = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=variables
                )
            stack.callback(_end, child)
            return child

        found = folder / "scheduler.json"
        # should this process be killed, the scheduler ends when idle, and the workers with it
        scheduler = start(
            *("scheduler", "distributed.cli.dask_scheduler", *_LOOPBACK, "--port", "0"),
            *("--scheduler-file", str(found), "--idle-timeout", "120 seconds"),
        )
        address = _address(found, scheduler, folder)
        options = [*_LOOPBACK, *worker_options, "--local-directory", str(folder)]
        options += ["--death-timeout", "60", *(("--preload", preload) if preload else ())]
        started = [
            start(f"worker{i}", "distributed.cli.dask_worker", address, *options)
            for i in range(workers)
        ]
        if workers:
            _wait_for(workers, address, folder)
        yield LocalCluster(address, scheduler, started)


def _address(path: Path, scheduler: subprocess.Popen, folder: Path) -> str:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and scheduler.poll() is None:
        with contextlib.suppress(FileNotFoundError, ValueError):  # not yet there, or half of it
            return json.loads(path.read_text())["address"]
        time.sleep(0.05)
    raise RuntimeError(f"the Dask scheduler did not start:\n{_said(folder)}")


def _wait_for(workers: int, address: str, folder: Path) -> None:
    from distributed import Client

    with Client(address, timeout=START_S, set_as_default=False) as client:
        try:
            client.wait_for_workers(workers, timeout=START_S)
        except TimeoutError:
            raise RuntimeError(f"the Dask workers did not start:\n{_said(folder)}") from None


def _said(folder: Path) -> str:
    return "\n".join(path.read_text()[-1500:] for path in sorted(folder.glob("*.log")))


def _end(child: subprocess.Popen) -> None:
    """Ask, wait, and then do not ask: a worker that has lost its scheduler may hang."""
    child.terminate()
    try:
        child.wait(2)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
