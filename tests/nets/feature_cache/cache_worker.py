"""What the tests of concurrency and of bad disks run in processes of their own.

python cache_worker.py MODE FOLDER [SEED]
"""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

import numpy as np

KEYS = [f"{i:064x}" for i in range(12)]
#: room for about four of the twelve
BOUND = 60_000
TURNS = 120


def array_of(key: str) -> np.ndarray:
    """What belongs under a key: 3 to 25 kB, drawn from it."""
    generator = np.random.default_rng(int(key, 16))
    return generator.standard_normal((int(generator.integers(10, 100)), 64)).astype(np.float32)


def hammer(folder: Path, seed: int) -> None:
    """Ask for keys in random order, put what is missing, clear now and then; check each answer."""
    from medxfer_lab.nets import FeatureCache

    cache, generator = FeatureCache(folder, BOUND), np.random.default_rng(seed)
    for turn in range(TURNS):
        key = KEYS[generator.integers(len(KEYS))]
        found = cache.get(key)
        if found is None:
            assert cache.put(key, array_of(key)), "the folder was taken for unwritable"
        else:
            assert np.array_equal(found, array_of(key)), key
        if turn % 50 == 49:
            cache.clear()
    print(cache.hits, cache.misses)


def write_for_ever(folder: Path) -> None:
    from medxfer_lab.nets import FeatureCache

    cache = FeatureCache(folder, BOUND)
    while True:
        for key in KEYS:
            cache.put(key, array_of(key))
            print("written", flush=True)


def same_key(folder: Path) -> None:
    """Features of the same pictures as every other process; wait so that all begin together."""
    import torch

    from medxfer_lab import nets

    torch.set_num_threads(1)
    images = torch.rand(20, 1, 40, 40, generator=torch.Generator().manual_seed(0))
    network = nets.load("small_cnn")
    print("ready", flush=True)
    sys.stdin.readline()
    for _ in range(5):
        found = nets.cached_features(network, images, cache=nets.FeatureCache(folder))
        print(hashlib.sha256(found.tobytes()).hexdigest())


def bad_disk(folder: Path, trouble: str) -> None:
    """A real read-only folder, or a real failure in the middle of a file; features all the same."""
    import resource

    import torch

    from medxfer_lab import nets
    from medxfer_lab.nets.feature_cache import feature_key

    network, images = nets.load("small_cnn"), torch.zeros(20, 1, 32, 32)
    expected, cache = nets.features(network, images), nets.FeatureCache(folder)
    feature_key(network, images)  # imports the rest, which another user may not read
    if trouble == "full":
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
    elif os.geteuid() == 0:  # permissions do not stop root
        os.setuid(65534)
    for i in range(3):
        found = nets.cached_features(network, images + i / 10, cache=cache)
        assert found.shape == expected.shape
        assert i or np.array_equal(found, expected)
    print(cache.report().rpartition("; ")[2])


if __name__ == "__main__":
    mode, folder, *rest = sys.argv[1:]
    if mode == "hammer":
        hammer(Path(folder), int(rest[0]))
    elif mode == "write":
        write_for_ever(Path(folder))
    elif mode == "same":
        same_key(Path(folder))
    else:
        bad_disk(Path(folder), mode)
