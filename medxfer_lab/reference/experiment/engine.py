"""How fast training is, as ratios to what a user would pick instead: benchmarks/ into a record.

    medxfer run reference --experiment engine --preset full

Each script of benchmarks/ runs in a process of its own, with the threads that a user's process has,
asserts equal answers before it forms a ratio, and hands over its rows. Runs last for minutes: take
them with nothing else running; the load of the machine before each script is in the record.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from medxfer_lab.course.jobs import Job
from medxfer_lab.course.machine import device_name

NAME, DATA, VERSION = "engine", "simulated", 1
#: results are times of now: no job is taken from an earlier run, and jobs run one by one
TIMING = True
FOLDER = Path(__file__).resolve().parents[3] / "benchmarks"
#: script -> its arguments, by preset
PRESETS = {
    "smoke": {
        "scripts": {"training.py": ["--repeats", "1", "--parts", "many", "--most", "2"]},
    },
    "quick": {
        "scripts": {
            "heads.py": ["--repeats", "1"],
            "training.py": ["--repeats", "1", "--most", "32"],
            "loops.py": ["--repeats", "1", "--tasks", "mlp", "cnn"],
        },
    },
    "full": {
        "scripts": {
            "heads.py": ["--repeats", "3", "--parts", "logistic", "ridge", "growth"],
            "training.py": ["--repeats", "3"],
            "loops.py": ["--repeats", "5"],
            "curvature.py": ["--repeats", "3", "--threads", "2"],
        },
    },
}


@dataclass(frozen=True)
class Promise:
    """A least ratio that the course set itself; the smallest row that ``rows`` picks decides."""

    words: str
    least: float
    script: str
    rows: Callable[[dict], bool]


def _heads(n: int) -> Callable[[dict], bool]:
    return lambda r: (
        r["name"] == "logistic heads, d = 1280"
        and r["sizes"] == f"n = {n}"
        and r["opponent"].endswith("tol 1e-9")
        and r["note"] != "growth"
    )


def _at_32(name: str) -> Callable[[dict], bool]:
    return lambda r: r["name"] == name and r.get("networks") == 32 and r["threads"] > 1


#: written down before the engine was built, for two cores
PROMISES = {
    "heads_100": Promise("logistic heads, 200 sets of 100, equal to 1e-6", 6, "heads", _heads(100)),
    "heads_200": Promise("logistic heads, 200 sets of 200, equal to 1e-6", 6, "heads", _heads(200)),
    "heads_500": Promise("logistic heads, 200 sets of 500, equal to 1e-6", 6, "heads", _heads(500)),
    "heads_processes": Promise(
        "the same against two processes of one thread (least of three sizes)",
        6,
        "heads",
        lambda r: (
            r["name"] == "logistic heads, d = 1280"
            and r["opponent"].endswith("tol 1e-9, 2 processes")
        ),
    ),
    "ridge": Promise(
        "ridge, 40 strengths, against a loop of Ridge (least of three sizes)",
        10,
        "heads",
        lambda r: r["opponent"].startswith("Ridge, "),
    ),
    "frozen_2": Promise(
        "cached activations, last 2 blocks of Lite0",
        3,
        "training",
        lambda r: r["name"].startswith("Lite0, the last 2"),
    ),
    "frozen_head": Promise(
        "cached activations, head of Lite0 only",
        7,
        "training",
        lambda r: r["name"] == "Lite0, the head only",
    ),
    "mlp": Promise("fit_many, 32 perceptrons", 3, "training", _at_32("MLP 256-64")),
    "linear_256": Promise(
        "fit_many, 32 linear models, d = 256", 4, "training", _at_32("linear, d = 256")
    ),
    "linear_1280": Promise(
        "fit_many, 32 linear models, d = 1280", 4, "training", _at_32("linear, d = 1280")
    ),
    "small_cnn": Promise("fit_many, 32 small CNNs", 2.5, "training", _at_32("small_cnn")),
    "never_slower": Promise(
        "fit_many, never slower than the loop (least of all counts)",
        1,
        "training",
        lambda r: r["opponent"] == "bare loop" and r["threads"] > 1,
    ),
    "overhead": Promise(
        "our loop against the bare loop (at most 5 % more time)",
        1 / 1.05,
        "loops",
        lambda r: r["opponent"] == "bare loop",
    ),
    "other_loops": Promise(
        "our loop against DataLoader, skorch and Lightning (least)",
        1,
        "loops",
        lambda r: r["opponent"] in ("bare loop, DataLoader", "skorch", "Lightning"),
    ),
}


def targets(rows: dict[str, list[dict]]) -> dict[str, dict]:
    """Every promise whose rows were measured: least ratio promised, least found, whether kept."""
    found = {}
    for key, promise in PROMISES.items():
        ratios = [
            r["ratio"] for r in rows.get(promise.script, []) if r["ratio"] and promise.rows(r)
        ]
        if ratios:
            found[key] = {
                "words": promise.words,
                "least": float(promise.least),
                "measured": min(ratios),
                "met": min(ratios) >= promise.least,
            }
    return found


def at_32(rows: list[dict]) -> dict[str, dict[str, float]]:
    """Ratios and shares of the floor of 32 networks, by kind, for the prose."""
    found: dict[str, dict[str, float]] = {}
    names = {"linear, d = 256": "linear_256", "linear, d = 1280": "linear_1280"}
    names |= {"MLP 256-64": "mlp", "small_cnn": "small_cnn"}
    for r in rows:
        if r["name"] in names and r.get("networks") == 32:
            suffix = "_one_thread" if r["threads"] == 1 else ""
            found[names[r["name"]] + suffix] = {
                "ratio": r["ratio"],
                "share_percent": 100 * r["share"],
                "seconds": r["ours_s"],
                "gigaflops": r["floor_gigaflops"],
            }
    return found


def script_job(script: str, arguments: list[str]) -> dict:
    """One script's rows; a script that fails is an error with the end of what it said."""
    if not (FOLDER / script).is_file():
        raise FileNotFoundError(
            f"benchmarks/{script} is not here: it comes with the sources, not with the package"
        )
    load = os.getloadavg()[0]
    hidden = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    environment = {k: v for k, v in os.environ.items() if k not in hidden}
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "rows.json"
        command = [sys.executable, str(FOLDER / script), *arguments, "--json", str(target)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"benchmarks/{script} failed:\n{done.stderr[-2000:]}")
        return {"rows": json.loads(target.read_text(encoding="utf-8")), "load_before": load}


def run(parameters: dict, runner) -> dict:
    """Rows by script, and which targets were met."""
    jobs = [
        Job(script, {"script": script, "arguments": arguments})
        for script, arguments in parameters["scripts"].items()
    ]
    done = runner(jobs, script_job)
    rows = {script.removesuffix(".py"): found["rows"] for script, found in done.items()}
    return {
        "processor": device_name("cpu"),
        "cores": os.cpu_count(),
        "load_before": {s.removesuffix(".py"): found["load_before"] for s, found in done.items()},
        "rows": rows,
        "targets": targets(rows),
        "at_32": at_32(rows.get("training", [])),
    }
