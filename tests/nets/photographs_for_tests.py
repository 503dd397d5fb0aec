"""A few synthetic photographs in each of CIFAR-10's layouts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

N = 20
BATCHES = tuple(f"data_batch_{i}" for i in range(1, 6)) + ("test_batch",)


def colour(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(N, 32, 32, 3) uint8 whose brightness follows the label, and labels (N,)."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 10, N)
    noise = generator.integers(0, 26, (N, 32, 32, 3))
    return (labels[:, None, None, None] * 25 + noise).astype(np.uint8), labels


def write_npm(folder: Path) -> Path:
    """PNG sheets, one photograph a row, and JSON labels in the package's spelling."""
    folder.mkdir(parents=True, exist_ok=True)
    labels = {}
    for seed, name in enumerate(BATCHES):
        images, labels[name] = colour(seed)
        Image.fromarray(images.reshape(N, 1024, 3)).save(folder / f"{name}.png")
    train = np.concatenate([labels[name] for name in BATCHES[:5]])
    (folder / "train_lables.json").write_text(json.dumps(train.tolist()))
    (folder / "test_lables.json").write_text(json.dumps(labels["test_batch"].tolist()))
    return folder


def write_binary(folder: Path) -> Path:
    """A label, then 1,024 red, green and blue values; no header."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate(BATCHES):
        images, labels = colour(seed)
        planes = images.transpose(0, 3, 1, 2).reshape(N, -1)
        records = np.concatenate([labels[:, None].astype(np.uint8), planes], axis=1)
        records.tofile(folder / f"{name}.bin")
    return folder
