"""A job, how it ended, and its file: a ``.npz`` of its arrays and a JSON text for the rest."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medxfer_lab.course.atomic import write_atomically
from medxfer_lab.course.record import canonical_json

_META = "meta_json"


@dataclass(frozen=True)
class Job:
    """One call: ``function(**parameters)``. ``key`` names it and is unique within the run."""

    key: str
    parameters: dict[str, Any]


class ClusterError(RuntimeError):
    """A cluster that cannot be reached, has no workers, or would give other results."""


@dataclass(frozen=True)
class Failure:
    """A job that raised, or whose process died."""

    key: str
    parameters: dict[str, Any]
    error: str
    traceback: str = ""

    def __str__(self) -> str:
        """``job 'set 3', seed 3, parameters {...}: what went wrong``."""
        seeds = [f"{k.replace('_', ' ')} {v}" for k, v in self.parameters.items() if "seed" in k]
        words = ", ".join([f"job {self.key!r}", *seeds, f"parameters {self.parameters}"])
        return f"{words}: {self.error}"


def compute(
    job: Job, function: Callable[..., Mapping[str, Any]]
) -> tuple[Mapping[str, Any], float] | Failure:
    """Result and seconds of ``function(**parameters)``; a failure is returned, not raised."""
    start = time.perf_counter()
    try:
        result = function(**job.parameters)
        if not isinstance(result, Mapping):
            raise TypeError(f"job functions return a dict; this one gave {type(result).__name__}")
    except (Exception, SystemExit) as error:  # sys.exit in a job must not end the others
        return _failure(job, error)
    return result, time.perf_counter() - start


def keep(task: Task, outcome: tuple[Mapping[str, Any], float] | Failure) -> Failure | None:
    """Save what :func:`compute` gave; what cannot be saved is a failure too."""
    if isinstance(outcome, Failure):
        return outcome
    try:
        task.save(*outcome)
    except Exception as error:
        return _failure(task.job, error)
    return None


def _failure(job: Job, error: BaseException) -> Failure:
    text = f"{type(error).__name__}: {error}"
    return Failure(job.key, job.parameters, text, traceback.format_exc())


def job_fingerprint(job: Job, function: Callable[..., Any], context: Any = None) -> str:
    """SHA-256 of the job's key and parameters, the function's name and the context."""
    name = f"{function.__module__.rsplit('.', 1)[-1]}.{function.__qualname__}"
    content = {"key": job.key, "parameters": job.parameters, "function": name, "context": context}
    return hashlib.sha256(canonical_json(content).encode()).hexdigest()


@dataclass(frozen=True)
class Task:
    """A job with its place on disk."""

    job: Job
    folder: Path
    fingerprint: str

    @property
    def path(self) -> Path:
        slug = re.sub(r"[^A-Za-z0-9_=-]+", "-", self.job.key)[:80]
        return self.folder / f"{slug}.{self.fingerprint[:16]}.npz"

    def load(self) -> tuple[dict[str, Any], float] | None:
        """Result and seconds from disk; None where there is no usable file.

        A truncated or foreign file is removed, so that it is computed again.
        """
        try:
            with np.load(self.path, allow_pickle=False) as file:
                meta = json.loads(file[_META].tobytes().decode())
                if meta["fingerprint"] != self.fingerprint:
                    raise ValueError("it belongs to other parameters")
                return _decode(meta["result"], file), float(meta["seconds"])
        except FileNotFoundError:
            return None
        except Exception as error:  # a damaged zip raises almost anything
            if not is_quiet():
                reason = f"{type(error).__name__}: {error}".splitlines()[0]
                print(f"job file {self.path.name} is unusable ({reason}): computed again")
            self.path.unlink(missing_ok=True)
            return None

    def save(self, result: Mapping[str, Any], seconds: float) -> None:
        arrays: dict[str, np.ndarray] = {}
        meta = {
            "fingerprint": self.fingerprint,
            "key": self.job.key,
            "seconds": seconds,
            "result": _encode(result, arrays, "result"),
        }
        arrays[_META] = np.frombuffer(json.dumps(meta, sort_keys=True).encode(), dtype=np.uint8)
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **arrays)
        write_atomically(self.path, buffer.getvalue())


def _encode(value: Any, arrays: dict[str, np.ndarray], where: str) -> Any:
    """JSON with the arrays taken out; raises TypeError naming what cannot be kept."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufcSU":
        name = f"a{len(arrays)}"
        arrays[name] = value
        return {"__array__": name}
    if isinstance(value, list | tuple):
        return [_encode(item, arrays, f"{where}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, Mapping):
        return {str(k): _encode(v, arrays, f"{where}.{k}") for k, v in value.items()}
    raise TypeError(
        f"{where} is a {type(value).__name__}: a job returns numpy arrays, numbers, text, None, "
        "dicts and lists (tensors: use .cpu().numpy())"
    )


def _decode(value: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    if isinstance(value, dict):
        if set(value) == {"__array__"}:
            return arrays[value["__array__"]]
        return {key: _decode(item, arrays) for key, item in value.items()}
    if isinstance(value, list):
        return [_decode(item, arrays) for item in value]
    return value


def is_quiet() -> bool:
    """Whether MEDXFER_QUIET asks for silence, as site builds do."""
    return os.environ.get("MEDXFER_QUIET", "") not in ("", "0")
