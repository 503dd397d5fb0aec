"""How long pictures take: 1,000 slices of 96 x 96 a modality, patients drawn, tissue to pixels.

    medxfer run reference --experiment speed --preset full

Each modality on one process and on two, each process with one thread. wall_s is what a clock on the
wall says, cpu_s the processor time of all processes: on a busy machine the second still tells the
work. What is loaded once (template, sparse matrices, imports) is done before the clock starts.
"""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from types import ModuleType

import numpy as np
import torch

from medxfer_lab.course.jobs import Job
from medxfer_lab.course.machine import device_name
from medxfer_lab.imaging import ADULTS, draw_patients, tissue
from medxfer_lab.imaging.scanners import CT_ROUTINE, CURVED_8, FLAIR, RADIOGRAPH_LATERAL

NAME, DATA, VERSION = "speed", "simulated", 1
#: results are times of now: no job is taken from an earlier run, and jobs run one by one
TIMING = True
_COUNTS = {"MR": 1000, "CT": 1000, "ultrasound": 1000, "radiograph": 100}
PRESETS = {
    "smoke": {"counts": dict.fromkeys(_COUNTS, 2), "size": 48, "batch": 4, "repeats": 1},
    "quick": {"counts": {**dict.fromkeys(_COUNTS, 100), "radiograph": 4}, "size": 96}
    | {"batch": 32, "repeats": 3},
    "full": {"counts": _COUNTS, "size": 96, "batch": 256, "repeats": 3},
}
SCANNERS = {
    "MR": FLAIR,
    "CT": CT_ROUTINE,
    "ultrasound": CURVED_8,
    "radiograph": RADIOGRAPH_LATERAL,
}
PROCESSES = (1, 2)
#: seconds for 1,000 slices on two processes that the course promises
TARGETS_S = {"MR": 20.0, "CT": 60.0, "ultrasound": 60.0}
_CHUNK = {"axial": 64, "probe": 64, "volume": 2}
_SEED = 9000


def acquire_job(modality: str, count: int, size: int, processes: int) -> dict:
    """Seconds for ``count`` pictures on so many processes."""
    load = os.getloadavg()[0]
    shares = [part for part in np.array_split(range(count), processes) if len(part)]
    work = [(modality, int(part[0]), len(part), size) for part in shares]
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, spawn, _one_thread) as pool:
        # a warm-up lasts long enough that no worker takes two of them
        list(pool.map(_warm_up, [modality] * processes, [size] * processes))
        start = time.perf_counter()
        cpu = list(pool.map(_acquire, *zip(*work)))
        wall = time.perf_counter() - start
    return {"count": count, "wall_s": wall, "cpu_s": sum(cpu), "load_before": load}


def projection_job(batch: int, repeats: int, size: int, views: int) -> dict:
    """Projection and reconstruction of a batch against scikit-image's loop, on one thread."""
    benchmark = _benchmark()
    if isinstance(benchmark, str):
        return {"missing": benchmark}
    from medxfer_lab.imaging.scanners.projection import ParallelBeam

    beam = ParallelBeam(size, views)
    images, angles = benchmark.phantoms(beam, batch), beam.angles_deg
    tensor = torch.from_numpy(images)
    sinograms = beam.project(tensor)
    host = sinograms.numpy()
    pairs = {
        "project": (
            lambda: beam.project(tensor),
            lambda: benchmark.loop_project(images, angles),
        ),
        "reconstruct": (
            lambda: beam.backproject(sinograms),
            lambda: benchmark.loop_reconstruct(host, angles),
        ),
    }
    out: dict = {"missing": "", "batch": batch, "size": size, "views": views}
    for name, (ours, theirs) in pairs.items():
        mine, other = benchmark.interleaved(ours, theirs, repeats)
        expected = theirs()
        apart = np.abs(ours().numpy() - expected).max() / np.abs(expected).max()
        out[name] = {"ours_s": mine, "loop_s": other, "ratio": other / mine}
        out[name]["largest_difference"] = float(apart)
    return out


def run(parameters: dict, runner) -> dict:
    """Seconds by modality and number of processes; ratios to scikit-image; the machine."""
    jobs = [
        Job(
            f"{modality}-{k}",
            {"modality": modality, "count": n, "size": parameters["size"]} | {"processes": k},
        )
        for modality, n in parameters["counts"].items()
        for k in PROCESSES
    ]
    done = runner(jobs, acquire_job)
    projection = {key: parameters[key] for key in ("batch", "repeats")} | {"size": 64, "views": 60}
    out: dict = {
        "processor": device_name("cpu"),
        "cores": os.cpu_count(),
        "torch_threads": 1,
        "targets_s": TARGETS_S,
        "load_at_start": done[jobs[0].key]["load_before"],
        "projection": runner([Job("projection", projection)], projection_job)["projection"],
    }
    for modality, n in parameters["counts"].items():
        cells = {f"processes_{k}": dict(done[f"{modality}-{k}"]) for k in PROCESSES}
        for cell in cells.values():
            cell["per_1000_wall_s"] = cell["wall_s"] * 1000 / n
            cell["per_1000_cpu_s"] = cell["cpu_s"] * 1000 / n
        out[modality] = {"scanner": SCANNERS[modality].name, "count": n, **cells}
    return out


def _one_thread() -> None:
    torch.set_num_threads(1)


def _warm_up(modality: str, size: int) -> None:
    torch.set_num_threads(1)
    _acquire(modality, 0, 1, size)
    time.sleep(1.0)


def _acquire(modality: str, first: int, count: int, size: int) -> float:
    """Draw patients, render and image them; returns this process's processor seconds."""
    scanner = SCANNERS[modality]
    start = time.process_time()
    patients = draw_patients(count, _SEED, ADULTS, first=first)
    step = _CHUNK[scanner.view.plane]
    for at in range(0, count, step):
        part = patients.take(slice(at, at + step))
        fractions, _ = tissue(part, size, view=scanner.view)
        scanner.acquire(fractions, part.ids, _SEED)
    return time.process_time() - start


def _benchmark() -> ModuleType | str:
    """The functions of benchmarks/projection.py, which is no part of the package; or why not."""
    if importlib.util.find_spec("skimage") is None:
        return "scikit-image is not installed (`pip install scikit-image`)"
    path = Path(__file__).resolve().parents[3] / "benchmarks" / "projection.py"
    if not path.is_file():
        return "benchmarks/projection.py is not here: it comes with the sources, not the package"
    spec = importlib.util.spec_from_file_location("projection_benchmark", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
