"""What every experiment of the chapter is made of: patients, features, teacher, training sets.

Training set k is drawn with a seed of its own: all sets are independent and share no patient. Sets
of different sizes are nested (the first n patients of set k), so sizes and strategies are paired.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from medxfer_lab import nets
from medxfer_lab.imaging import FLAIR, Burden, Cohort, Hospital, normalize
from medxfer_lab.training import probe

#: bump when patients, teacher or features change: no older job is then reused
VERSION = 1
SIZE = 64  # pixels over 192 mm
TEST_SEED, POOL_SEED, TUNING_SEED, TRAINING_SEED = 900, 901, 500, 1000
SMALLEST_NETWORK_SEEDS = 3  # checkpoints and initialisations that training sets cycle through

#: the chapter's task, calibrated so that neither pixels nor an untrained network solve it
HOSPITAL = Hospital(
    name="City General (simulated)",
    scanners=((replace(FLAIR, bias=0.2), 1.0),),
    burden=Burden(infiltration=(0.25, 0.45), volume_ml=(10.0, 60.0), lookalikes=2.0),
)
LABELS = ("lesion", "teacher")
#: backbone -> how to load it; None for plain pixels
BACKBONES: dict[str, tuple[str, str] | None] = {
    "imagenet": ("efficientnet_lite0", "imagenet"),
    "untrained": ("efficientnet_lite0", "untrained"),
    "matched_scales": ("efficientnet_lite0", "matched_scales"),
    "pixels": None,
    "small_cnn": ("small_cnn", "photographs"),
    "small_cnn_untrained": ("small_cnn", "untrained"),
}
TEACHER_SPREAD = 2.0  # standard deviation of the teacher's log-odds over patients


def images(cohort: Cohort) -> Tensor:
    """The pictures a network is shown: (n, 1, H, W) in [0, 1], brain median at one half."""
    return normalize.foreground_median(cohort.images)


def cohort(n: int, seed: int) -> Cohort:
    """n patients of the chapter's hospital."""
    return HOSPITAL.draw(n, seed, size=SIZE)


@lru_cache(maxsize=4)
def fixed_cohort(which: str, n: int) -> Cohort:
    """The test cohort, or the pool that tunes, standardises and defines the teacher."""
    return cohort(n, {"test": TEST_SEED, "pool": POOL_SEED}[which])


def raw_features(pictures: Tensor, backbone: str, seed: int) -> np.ndarray:
    """(n, d) float32 features before standardising; pixels are 16 x 16 block means."""
    if BACKBONES[backbone] is None:
        return adaptive_avg_pool2d(pictures, 16).flatten(1).numpy()
    return nets.features(_network(backbone, seed), pictures)


def fixed_features(which: str, n: int, backbone: str, seed: int) -> np.ndarray:
    """:func:`raw_features` of a fixed cohort, from the feature cache: every worker needs the same.

    Training sets are not kept: each is met once, and fifty of them would crowd out the cohorts.
    """
    pictures = _fixed_pictures(which, n)
    if BACKBONES[backbone] is None:
        return raw_features(pictures, backbone, seed)
    return nets.cached_features(_network(backbone, seed), pictures)


@lru_cache(maxsize=4)
def _fixed_pictures(which: str, n: int) -> Tensor:
    return images(fixed_cohort(which, n))


@lru_cache(maxsize=16)
def _network(backbone: str, seed: int) -> nets.Network:
    name, weights = BACKBONES[backbone]
    return nets.load(name, weights, seed=seed)


def network_seed(backbone: str, k: int) -> int:
    """Which network of its kind training set k meets: controls and checkpoints take turns."""
    return 0 if backbone in ("imagenet", "pixels") else k % SMALLEST_NETWORK_SEEDS


def usable_deviation(raw: np.ndarray) -> np.ndarray:
    """Standard deviation of each feature, infinite (so the feature becomes 0) where it is dead.

    Dead: below a thousandth of the median. Dividing by next to nothing would turn rounding into
    the loudest feature.
    """
    deviation = raw.std(0)
    return np.where(deviation > 1e-3 * np.median(deviation), deviation, np.inf).astype(raw.dtype)


@dataclass(frozen=True)
class Reference:
    """Standardised features of the two fixed cohorts, and the scale that did it."""

    test: Tensor
    pool: Tensor
    mean: np.ndarray
    deviation: np.ndarray

    def standardise(self, raw: np.ndarray) -> Tensor:
        """By the pool's statistics: the same for every training set, so no set leaks into it."""
        return torch.from_numpy((raw - self.mean) / self.deviation)


@lru_cache(maxsize=32)
def reference(backbone: str, seed: int, n_test: int, n_pool: int) -> Reference:
    """Features of test cohort and pool for one network."""
    pool = fixed_features("pool", n_pool, backbone, seed)
    test = fixed_features("test", n_test, backbone, seed)
    mean, deviation = pool.mean(0), usable_deviation(pool)
    scaled = [torch.from_numpy((f - mean) / deviation) for f in (test, pool)]
    return Reference(scaled[0], scaled[1], mean, deviation)


@dataclass(frozen=True)
class Teacher:
    """A known probability: eta(x) = sigmoid(gain * (w . features(x) + b)), ImageNet features."""

    weights: Tensor
    intercept: float
    gain: float

    def eta(self, features: Tensor) -> Tensor:
        """(n,) probabilities for standardised ImageNet features (n, d)."""
        return torch.sigmoid(self.gain * (features.double() @ self.weights + self.intercept))


@lru_cache(maxsize=2)
def teacher(n_test: int, n_pool: int) -> Teacher:
    """A head fitted to the pool's lesion labels, its log-odds centred and spread to a fixed width.

    It depends on the pool alone: for training and test patients eta is a fixed, known function.
    """
    features = reference("imagenet", 0, n_test, n_pool).pool
    heads = probe(features, fixed_cohort("pool", n_pool).labels, 0.3)
    logits = heads.logits(features)[0, 0]
    weights = heads.weights[0, 0]
    intercept = float(heads.intercepts[0, 0] - logits.mean())
    return Teacher(weights, intercept, TEACHER_SPREAD / float(logits.std()))


@dataclass(frozen=True)
class TrainingSet:
    """Pictures and both kinds of labels of training set k."""

    pictures: Tensor
    labels: dict[str, Tensor]
    imagenet: Tensor


def training_set(k: int, n: int, n_test: int, n_pool: int, seed: int) -> TrainingSet:
    """Simulate training set k (patients, lesion labels, teacher labels)."""
    drawn = cohort(n, seed + k)
    pictures = images(drawn)
    base = reference("imagenet", 0, n_test, n_pool)
    features = base.standardise(raw_features(pictures, "imagenet", 0))
    eta = teacher(n_test, n_pool).eta(features)
    labels = {"lesion": drawn.labels, "teacher": drawn.draw_labels(eta, seed + k).labels}
    return TrainingSet(pictures, labels, features)


@dataclass(frozen=True)
class Truth:
    """What the test patients really are: lesion labels; the teacher's eta and a draw from it."""

    lesion: np.ndarray
    eta: np.ndarray
    teacher: np.ndarray

    def labels(self, kind: str) -> np.ndarray:
        """(n,) test labels of a kind."""
        return self.lesion if kind == "lesion" else self.teacher


@lru_cache(maxsize=2)
def truth(n_test: int, n_pool: int) -> Truth:
    """Labels and eta of the test cohort."""
    test = fixed_cohort("test", n_test)
    eta = teacher(n_test, n_pool).eta(reference("imagenet", 0, n_test, n_pool).test)
    drawn = test.draw_labels(eta, TEST_SEED)
    return Truth(test.labels.numpy(), eta.numpy(), drawn.labels.numpy())


def digests() -> dict[str, str]:
    """SHA-256 of all weights in use: part of every record's fingerprint."""
    found = {}
    for name in ("imagenet", "small_cnn"):
        seeds = range(SMALLEST_NETWORK_SEEDS if name == "small_cnn" else 1)
        found |= {f"{name}.{seed}": _network(name, seed).digest for seed in seeds}
    return found
