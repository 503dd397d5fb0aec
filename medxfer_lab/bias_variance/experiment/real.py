"""The same heads on real labelled pictures, where a folder of them is present (MEDXFER_DATA).

pneumoniamnist.npz (MedMNIST's layout) and busi_128.npz (images, labels, classes). Training sets are
random subsets of a finite pool, so they overlap: intervals cover the choice of subset and nothing
else. The breast ultrasound file has no patient ids and holds near-duplicate frames, so a random
split leaks: its curves compare feature extractors and say little about new patients.
"""

from __future__ import annotations

import hashlib
import os
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import interpolate

from medxfer_lab import metrics
from medxfer_lab.bias_variance.experiment import material as m
from medxfer_lab.course.jobs import Job
from medxfer_lab.training import probe

NAME, VERSION = "real", 1
DATA_SETS = ("pneumoniamnist", "busi")
FILES = {"pneumoniamnist": "pneumoniamnist.npz", "busi": "busi_128.npz"}
PRESETS = {
    "smoke": {"sets": 3, "sizes": [16, 32], "limit": 120, "side": 32},
    "quick": {"sets": 6, "sizes": [20, 100], "limit": 500, "side": 64},
    "full": {"sets": 50, "sizes": [20, 50, 100, 200, 300], "limit": 2000, "side": 96},
}
BACKBONES = ("imagenet", "untrained", "pixels")
STRENGTHS = (3.0, 0.3, 0.03)


def available() -> list[str]:
    """The data sets whose file lies in the folder named by MEDXFER_DATA."""
    folder = os.environ.get("MEDXFER_DATA")
    return [] if not folder else [d for d in DATA_SETS if (Path(folder) / FILES[d]).is_file()]


def digest(data: str) -> str:
    """SHA-256 of the data file: part of the record's fingerprint."""
    path = Path(os.environ["MEDXFER_DATA"]) / FILES[data]
    return hashlib.sha256(path.read_bytes()).hexdigest()


def load(data: str, limit: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(training images, labels, test images, labels); images uint8 (n, H, W), at most ``limit``.

    Malignant against benign for busi (a fixed random half is the test), pneumonia against normal
    for pneumoniamnist (its own test set). Nothing in the files is unpickled.
    """
    with np.load(Path(os.environ["MEDXFER_DATA"]) / FILES[data], allow_pickle=False) as file:
        if data == "pneumoniamnist":
            parts = [
                file[k] for k in ("train_images", "train_labels", "test_images", "test_labels")
            ]
            x, y, z, t = parts
            keep = np.random.default_rng(0).permutation(len(x))[:limit]
            x, y = x[keep], y[keep]
        else:
            pictures, labels = file["images"], file["labels"].ravel()
            names = [str(c) for c in file["classes"]]
            ill, well = names.index("malignant"), names.index("benign")
            chosen = np.flatnonzero((labels == ill) | (labels == well))
            chosen = np.random.default_rng(0).permutation(chosen)[:limit]
            half = len(chosen) * 3 // 5
            x, z = pictures[chosen[:half]], pictures[chosen[half:]]
            y, t = labels[chosen[:half]] == ill, labels[chosen[half:]] == ill
    return x, y.ravel().astype(np.float32), z, t.ravel().astype(np.float32)


@lru_cache(maxsize=16)
def features(data: str, backbone: str, seed: int, limit: int, side: int) -> tuple:
    """Standardised features of the training pool and the test set (pool's statistics)."""
    x, _, z, _ = load(data, limit)
    found = []
    for part in (x, z):
        pictures = torch.from_numpy(part.astype(np.float32) / 255)[:, None]
        size = (side, side)
        pictures = interpolate(pictures, size, mode="bilinear", antialias=True).clamp(0, 1)
        found.append(m.raw_features(pictures, backbone, seed))
    mean, deviation = found[0].mean(0), m.usable_deviation(found[0])
    return tuple(torch.from_numpy((f - mean) / deviation) for f in found)


def sampling_job(k: int, data: str, sizes: list[int], limit: int, side: int) -> dict:
    """Test AUC (strengths, sizes) of subset k, per backbone. Negative k are tuning draws."""
    _, y, _, t = load(data, limit)
    if max(sizes) >= len(y):
        raise ValueError(
            f"sizes reach {max(sizes)} and {data} has {len(y)} training pictures: "
            "some must be left to tune on"
        )
    order = np.random.default_rng((10, abs(k), int(k < 0))).permutation(len(y))
    labels = torch.from_numpy(y)
    out = {}
    for backbone in BACKBONES:
        pool, test = features(data, backbone, m.network_seed(backbone, abs(k)), limit, side)
        columns = []
        for n in sizes:
            # the first n of the order, the last patient swapped if all were of one class
            index = _two_classes(order, y, n)
            if k < 0:  # tuning is scored on the pool's left-out patients, never on the test set
                held, truth = pool[order[n:]], y[order[n:]]
            else:
                held, truth = test, t
            logits = probe(pool[index], labels[index], STRENGTHS).logits(held)[:, 0].numpy()
            columns.append(metrics.auc(logits, truth))
        out[backbone] = np.stack(columns, axis=1)
    return out


def _two_classes(order: np.ndarray, y: np.ndarray, n: int) -> np.ndarray:
    index = order[:n].copy()
    if y[index].min() == y[index].max():
        index[-1] = order[n:][y[order[n:]] != y[index[0]]][0]
    return index


def run(parameters: dict, runner) -> dict:
    """AUC per backbone and size at a strength tuned on other subsets; paired differences."""
    shared = {k: parameters[k] for k in ("data", "sizes", "limit", "side")}
    tuned = runner([Job(f"tune-{k}", {"k": -k, **shared}) for k in (1, 2, 3)], sampling_job)
    jobs = [Job(f"set-{k:03d}", {"k": k, **shared}) for k in range(parameters["sets"])]
    done = list(runner(jobs, sampling_job).values())
    out: dict = {}
    curves = {}
    for backbone in BACKBONES:
        best = np.mean([t[backbone] for t in tuned.values()], axis=0).argmax(0)
        grid = np.stack([job[backbone] for job in done])  # (sets, strengths, sizes)
        curves[backbone] = np.stack([grid[:, s, j] for j, s in enumerate(best)], axis=1)
        out[backbone] = {
            str(n): {
                "auc": metrics.mean_interval(curves[backbone][:, j]).record(),
                "auc_sets": np.round(curves[backbone][:, j], 5).tolist(),
                "strength": STRENGTHS[best[j]],
            }
            for j, n in enumerate(parameters["sizes"])
        }
    out["paired"] = {
        f"imagenet_minus_{b}": {
            str(n): {
                "auc": metrics.mean_interval(curves["imagenet"][:, j] - curves[b][:, j]).record()
            }
            for j, n in enumerate(parameters["sizes"])
        }
        for b in BACKBONES[1:]
    }
    return out
