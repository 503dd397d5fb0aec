"""The same number of threads wherever a job runs, so that sums are taken in one order."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def thread_variables(threads: int) -> Iterator[None]:
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
def limited_threads(threads: int) -> Iterator[None]:
    """So many threads in this process, libraries that are loaded already included."""
    from threadpoolctl import threadpool_limits

    torch = sys.modules.get("torch")  # where it is not loaded yet, the variables suffice
    before = torch.get_num_threads() if torch else None
    with thread_variables(threads), threadpool_limits(threads):
        if torch:
            torch.set_num_threads(threads)
        try:
            yield
        finally:
            if torch:
                torch.set_num_threads(before)
