"""What every experiment of the chapter is made of: the hospital, its pictures, features and sets.

Training set k is drawn with a seed of its own: sets share no patient with each other or with the
fixed cohorts. Features are standardised by a fixed cohort that takes no other part.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from medxfer_lab import nets
from medxfer_lab.imaging import Burden, Cohort, Criterion, Hospital, normalize
from medxfer_lab.imaging.scanners import FLAIR_CORVID, FLAIR_MERGANSER
from medxfer_lab.imaging.shifts import pooled_statistics
from medxfer_lab.imaging.windows import BRAIN_WINDOW

#: bump when patients, pictures, features or models change: no older job is then reused
VERSION = 1
SIZE = 64  # pixels over 192 mm
TUNING_SEED, SCALE_SEED, TEST_SEED, TRAINING_SEED = 5_500, 5_700, 5_900, 60_000
CHECKPOINTS = 3  # pretraining seeds of the small network that training sets cycle through

#: half the patients have a lesion of 10 to 80 ml (log-uniform); from 20 ml on it is the disease
HOSPITAL = Hospital(
    name="City General (simulated)",
    scanners=((FLAIR_CORVID, 0.7), (FLAIR_MERGANSER, 0.3)),
    burden=Burden(volume_ml=(10.0, 80.0), infiltration=(0.4, 0.7), lookalikes=2.0),
    criterion=Criterion(volume_ml=20.0),
)


def pictures(cohort: Cohort) -> Tensor:
    """What a network is shown, (n, 1, H, W) in [0, 1]: magnetic resonance with the brain's median
    at one half, computed tomography through the brain window."""
    if cohort.units == "HU":
        return normalize.window(cohort.images, *BRAIN_WINDOW, units="HU").images
    return normalize.foreground_median(cohort.images)


def statistics(cohort: Cohort) -> Tensor:
    """Eight numbers of each image, (n, 8) float64 (`pooled_statistics`)."""
    shown = pictures(cohort) if cohort.units == "HU" else cohort.images
    return pooled_statistics(shown).double()


def draw(n: int, seed: int, hospital: Hospital = HOSPITAL) -> Cohort:
    """n patients of a hospital, the chapter's by default."""
    return hospital.draw(n, seed, size=SIZE)


@lru_cache(maxsize=2)
def imagenet() -> nets.Network:
    """EfficientNet-Lite0 with its ImageNet weights."""
    return nets.load("efficientnet_lite0", "imagenet", seed=0)


@lru_cache(maxsize=4)
def fixed_cohort(n: int, seed: int, hospital: Hospital = HOSPITAL) -> Cohort:
    """A cohort that all jobs share."""
    return draw(n, seed, hospital)


@lru_cache(maxsize=4)
def fixed_pictures(n: int, seed: int, hospital: Hospital = HOSPITAL) -> Tensor:
    """:func:`pictures` of a fixed cohort."""
    return pictures(fixed_cohort(n, seed, hospital))


@lru_cache(maxsize=4)
def fixed_features(n: int, seed: int, hospital: Hospital = HOSPITAL) -> Tensor:
    """Standardised features of :func:`fixed_cohort`, read from disk where a worker left them."""
    shown = fixed_pictures(n, seed, hospital)
    return standardise(nets.cached_features(imagenet(), shown))


@lru_cache(maxsize=2)
def fixed_statistics(n: int, seed: int, hospital: Hospital = HOSPITAL) -> Tensor:
    """:func:`statistics` of a fixed cohort."""
    return statistics(fixed_cohort(n, seed, hospital))


def features(cohort: Cohort) -> Tensor:
    """Standardised ImageNet features (n, 1280) of patients who are met once."""
    return standardise(nets.features(imagenet(), pictures(cohort)))


@lru_cache(maxsize=1)
def _scale(n: int = 800) -> tuple[np.ndarray, np.ndarray]:
    """Mean and spread of each feature; spread infinite, so the feature 0, where it is dead."""
    raw = nets.cached_features(imagenet(), pictures(draw(n, SCALE_SEED)))
    spread = raw.std(0)
    alive = spread > 1e-3 * np.median(spread)
    return raw.mean(0), np.where(alive, spread, np.inf).astype(raw.dtype)


def standardise(raw: np.ndarray) -> Tensor:
    """By the fixed cohort's statistics: the same for source and target, so nothing is undone."""
    mean, spread = _scale()
    return torch.from_numpy((raw - mean) / spread)


def digests() -> dict[str, str]:
    """SHA-256 of all weights in use: part of every record's fingerprint."""
    found = {"imagenet": imagenet().digest}
    for seed in range(CHECKPOINTS):
        found[f"small_cnn.{seed}"] = nets.load("small_cnn", "photographs", seed=seed).digest
    return found
