"""Projection and filtered back-projection of a batch, against a loop over scikit-image.

    python benchmarks/projection.py [--device cpu] [--batch 256] [--repeats 5]

Prints a table: seconds for the batch and the ratio, medians of interleaved repeats (ours, theirs,
ours, ...), with one and with two threads, and how far the two results are apart. The loop is the
obvious one: one call of `radon` or `iradon` an image, in float32, outputs stacked. scikit-image
works on one thread whatever is allowed, so "two threads" runs it in two processes at a time, each
with half of the batch. Building the sparse matrices is timed apart: it happens once a geometry.
"""

from __future__ import annotations

import argparse
import multiprocessing
import platform
import time
from statistics import median

import numpy as np
import torch
from skimage.transform import iradon, radon

from medxfer_lab.imaging.scanners.projection import ParallelBeam


def loop_project(images: np.ndarray, angles_deg: np.ndarray) -> np.ndarray:
    """scikit-image's Radon transform, image after image."""
    return np.stack([radon(image, theta=angles_deg).T for image in images])


def loop_reconstruct(sinograms: np.ndarray, angles_deg: np.ndarray) -> np.ndarray:
    """scikit-image's filtered back-projection, image after image."""
    return np.stack([iradon(sinogram.T, theta=angles_deg) for sinogram in sinograms])


def seconds(work) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def interleaved(ours, theirs, repeats: int) -> tuple[float, float]:
    """Median seconds of each; the first call of both is a warm-up and does not count."""
    ours(), theirs()
    times = [(seconds(ours), seconds(theirs)) for _ in range(repeats)]
    return median(t[0] for t in times), median(t[1] for t in times)


def phantoms(beam: ParallelBeam, batch: int) -> np.ndarray:
    """Random images that are zero outside the circle, as `radon` asks."""
    return (np.random.default_rng(0).random((batch, beam.size, beam.size)) * beam.circle()).astype(
        np.float32
    )


def compare(beam: ParallelBeam, batch: int, repeats: int, threads: int, device: str, pool) -> None:
    """Print one block of the table."""
    torch.set_num_threads(threads)
    images, angles = phantoms(beam, batch), beam.angles_deg
    tensor = torch.from_numpy(images).to(device)
    sinograms = beam.project(tensor)
    host = sinograms.cpu().numpy()

    def loop(work, values):
        if threads == 1:
            return work(values, angles)
        halves = np.array_split(values, threads)
        return np.concatenate(pool.starmap(work, [(half, angles) for half in halves]))

    rows = (
        ("project", lambda: beam.project(tensor), lambda: loop(loop_project, images)),
        ("reconstruct", lambda: beam.backproject(sinograms), lambda: loop(loop_reconstruct, host)),
    )
    for name, ours, theirs in rows:
        mine, other = interleaved(ours, theirs, repeats)
        apart = np.abs(ours().cpu().numpy() - theirs())
        scale = np.abs(theirs()).max()
        print(
            f"| {name} | {beam.size} | {len(angles)} | {threads} | {mine:.4f} | {other:.3f} | "
            f"{other / mine:.0f} | {apart.max() / scale:.1e} |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    name = torch.cuda.get_device_name() if arguments.device.startswith("cuda") else "CPU"
    print(
        f"{name}, {platform.machine()}, torch {torch.__version__}, batch {arguments.batch}, "
        f"median of {arguments.repeats} interleaved runs\n"
    )
    print("| what | size | views | threads | ours, s | scikit-image, s | ratio | max difference |")
    print("|---|---|---|---|---|---|---|---|")
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        for threads in (1, 2):
            for size in (64, 96):
                compare(
                    ParallelBeam(size, 60),
                    arguments.batch,
                    arguments.repeats,
                    threads,
                    arguments.device,
                    pool,
                )
    for size in (64, 96):
        beam = ParallelBeam(size, 59)  # a geometry that nothing has cached yet
        image = torch.zeros(1, size, size)
        build = seconds(lambda b=beam, x=image: b.backproject(b.project(x)))
        print(f"\nbuilding both matrices at {size} px and 59 views: {build:.2f} s, once")


if __name__ == "__main__":
    main()
