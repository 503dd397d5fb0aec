"""What the scripts against peers share: interleaved medians, rows, one table."""

from __future__ import annotations

import importlib
import json
import os
import time
from collections.abc import Callable, Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median

import torch

from medxfer_lab.course.atomic import write_atomically

COLUMNS = (
    ("name", "what"),
    ("sizes", "sizes"),
    ("opponent", "against"),
    ("threads", "threads"),
    ("ours_s", "ours, s"),
    ("theirs_s", "theirs, s"),
    ("ratio", "ratio"),
    ("largest_difference", "difference"),
    ("note", "note"),
)
HOW = "pip install -c constraints.txt --no-deps -r benchmarks/peers.txt"
#: these import torchvision, which the course has to help where its operators do not load
_NEEDS_TORCHVISION = ("lightning", "fastai.learner")
_DISTRIBUTION = {
    "pyhessian": "PyHessian",
    "curvlinops": "curvlinops-for-pytorch",
    "backpack": "backpack-for-pytorch",
}


def row(name: str, sizes: str, opponent: str, **values: object) -> dict:
    """One line of a table; what is not given is empty."""
    line = dict.fromkeys(key for key, _ in COLUMNS) | {"note": ""}
    return line | {"name": name, "sizes": sizes, "opponent": opponent} | values


def missing(module: str) -> str | None:
    """Why a peer cannot take part and how to get it; None where it can."""
    try:
        if module in _NEEDS_TORCHVISION:
            from medxfer_lab.nets.vision import torchvision

            torchvision()
        importlib.import_module(module)
    except ImportError as error:
        return f"missing ({error}): {HOW}"
    return None


#: cpu: processor time of the whole process, for one thread on a machine that others use
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def seconds(work: Callable[[], object], clock: str = "wall") -> float:
    """Time of one call."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    start = CLOCKS[clock]()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return CLOCKS[clock]() - start


def interleaved(
    works: Iterable[Callable[[], object]], repeats: int, clock: str = "wall"
) -> list[float]:
    """Median seconds of each, one call of each in turn; they have been called before."""
    works = list(works)
    times = [[seconds(work, clock) for work in works] for _ in range(repeats)]
    return [median(column) for column in zip(*times, strict=True)]


def agree(what: str, difference: float, tolerance: float) -> float:
    """The difference, or an error: a ratio between different answers is none."""
    if not difference <= tolerance:
        raise AssertionError(f"{what}: the results differ by {difference:.2e} (> {tolerance:.0e})")
    return difference


def versions(*packages: str) -> str:
    """``name version`` of those installed, with torch and the load of the machine."""
    found = [f"torch {torch.__version__}"]
    for package in packages:
        name = _DISTRIBUTION.get(package, package)
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"{name} missing")
    load = f"load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return ", ".join([*found, f"{os.cpu_count()} cores", load])


def show(rows: Iterable[dict], *more: tuple[str, str], path: str = "") -> None:
    """Print rows as they come, as a Markdown table; more: (key, title) of further columns.

    path: a JSON file for the rows, written when all are there.
    """
    columns = (*COLUMNS[:-1], *more, COLUMNS[-1])
    print("| " + " | ".join(title for _, title in columns) + " |")
    print("|" + "---|" * len(columns))
    done = []
    for line in rows:
        done.append(line)
        print("| " + " | ".join(_cell(line[key], key) for key, _ in columns) + " |", flush=True)
    if path:
        write_atomically(Path(path), json.dumps(done))


def _cell(value: object, key: str) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        form = {"largest_difference": ".1e", "ratio": ".2f", "to_bare": ".2f"}.get(key, ".3f")
        return format(value, form)
    return str(value)
