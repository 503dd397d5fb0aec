"""A classifier of modality: trained on simulated slices, tried on the real pictures.

The recipe was fixed before any real picture was classified, and nothing was tuned on them:
- training: ``n_train`` patients of each modality on the scanners of ``simulated.SCANNERS``; each
  picture enters as it is and once more as a random square of half to all of its edge, turned by a
  random multiple of 90 degrees and mirrored at random, because real pictures are cutouts of other
  parts of the body, held in other ways;
- every picture, simulated or real, becomes 96 x 96 pixels between its 1st and 99.5th percentile
  (``simulated.as_shown``);
- features: EfficientNet-Lite0 with ImageNet's weights, the same network untrained, or plain pixels
  (16 x 16 block means), standardised by the training set; a multinomial logistic head with penalty
  C = 0.1 (scikit-learn's convention), the same for all three;
- validation on other patients: on the same scanners, and on scanners of which none was trained on;
- real pictures twice: "as stored" with whatever text is burnt in, and the "scan area" only. Both
  areas were chosen by eye beforehand, see ``real_pictures``.
Each seed draws its own patients, crops and test patients.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from medxfer_lab import metrics, nets
from medxfer_lab.course.jobs import Job
from medxfer_lab.reference.experiment import real_pictures, simulated
from medxfer_lab.reference.experiment.simulated import MODALITIES

NAME, DATA, VERSION = "modality", "simulated", 1
PRESETS = {
    "smoke": {"seeds": 2, "n_train": 4, "n_test": 2, "size": 96},
    "quick": {"seeds": 2, "n_train": 16, "n_test": 8, "size": 96},
    "full": {"seeds": 5, "n_train": 40, "n_test": 16, "size": 96},
}
ARMS = ("imagenet", "untrained", "pixels")
READINGS = {"as_stored": False, "scan_area": True}
PENALTY = 0.1  # C of scikit-learn
_SEED = 4000


def digests() -> dict[str, str]:
    """Weights and real pictures."""
    return {"imagenet": _network("imagenet").digest} | real_pictures.digests()


def seed_job(k: int, n_train: int, n_test: int, size: int) -> dict:
    """Training set k: probabilities (n, 4) of every arm for simulated and real test pictures."""
    train, labels = _training_set(k, n_train, size)
    tests = _test_sets(k, n_test, size)
    out: dict = {}
    for arm in ARMS:
        classify = fit(features(train, arm, k), labels)
        for name, images in tests.items():
            out[f"{arm}.{name}"] = classify(features(images, arm, k))
    return out


def fit(training: np.ndarray, labels: np.ndarray):
    """A standardised multinomial logistic head: features (n, d) -> probabilities (n, 4)."""
    from sklearn.linear_model import LogisticRegression

    mean, deviation = training.mean(0), training.std(0)
    deviation = np.where(deviation > 1e-3 * np.median(deviation), deviation, np.inf)
    head = LogisticRegression(C=PENALTY, max_iter=2000, tol=1e-6)
    head.fit((training - mean) / deviation, labels)
    return lambda given: head.predict_proba((given - mean) / deviation)


def features(images: Tensor, arm: str, seed: int) -> np.ndarray:
    """(n, 1, H, W) in [0, 1] -> (n, d) float64."""
    if arm == "pixels":
        return adaptive_avg_pool2d(images, 16).flatten(1).double().numpy()
    network = _network(arm, 0 if arm == "imagenet" else seed)
    return nets.features(network, images).astype(np.float64)


@lru_cache(maxsize=8)
def _network(arm: str, seed: int = 0) -> nets.Network:
    return nets.load("efficientnet_lite0", arm, seed=seed)


def _training_set(k: int, n: int, size: int) -> tuple[Tensor, np.ndarray]:
    """(8n, 1, size, size) pictures, whole and cut out, and their class 0 to 3."""
    rng = np.random.default_rng((_SEED, k))
    made, labels = [], []
    for label, modality in enumerate(MODALITIES):
        for image in simulated.pictures(simulated.SCANNERS[modality], n, _SEED + k, size):
            made += [image[0], _cutout(image[0], rng)]
            labels += [label, label]
    return torch.cat([simulated.as_shown(image, size) for image in made]), np.array(labels)


def _cutout(image: Tensor, rng: np.random.Generator) -> Tensor:
    """A random square of half to all of the edge, turned and mirrored; never a constant one."""
    for _ in range(100):
        edge = int(rng.integers(image.shape[-1] // 2, image.shape[-1] + 1))
        top, left = rng.integers(0, image.shape[-1] - edge + 1, size=2)
        piece = image[top : top + edge, left : left + edge].rot90(int(rng.integers(4)))
        piece = piece.flip(-1) if rng.random() < 0.5 else piece
        low, high = np.percentile(piece.numpy(), (1, 99.5))
        if high > low:
            return piece
    return image


def _test_sets(k: int, n: int, size: int) -> dict[str, Tensor]:
    """Simulated pictures of other patients, n a modality in turn, and the real ones."""
    sets: dict[str, list[Tensor]] = {"patients": [], "scanners": []}
    for modality in MODALITIES:
        groups = [simulated.SCANNERS[modality], simulated.UNSEEN_SCANNERS[modality]]
        made = simulated.several(groups, n, _SEED + 500 + k, size)
        for name, images in zip(sets, made):
            sets[name] += [simulated.as_shown(image[0], size) for image in images]
    found = real_pictures.real_pictures(MODALITIES).values()
    for reading, area in READINGS.items():
        sets[reading] = [simulated.as_shown(p.grey(area), size) for p in found]
    return {name: torch.cat(images) for name, images in sets.items() if images}


def run(parameters: dict, runner) -> dict:
    """Confusion tables of simulated tests and real pictures, and every real picture's fate."""
    sizes = {key: parameters[key] for key in ("n_train", "n_test", "size")}
    jobs = [Job(f"seed-{k}", {"k": k, **sizes}) for k in range(parameters["seeds"])]
    done = list(runner(jobs, seed_job).values())
    truth = np.repeat(range(len(MODALITIES)), parameters["n_test"])
    real = real_pictures.real_pictures(MODALITIES)
    out: dict = {
        "modalities": list(MODALITIES),
        "seeds": len(done),
        "missing": real_pictures.missing(),
        "left_out": [f"{file}: {why}" for file, why in real_pictures.LEFT_OUT.items()],
        "real_count": {m: sum(p.modality == m for p in real.values()) for m in MODALITIES},
    }
    for arm in ARMS:
        out[arm] = {
            f"held_out_{name}": _simulated(np.stack([d[f"{arm}.{name}"] for d in done]), truth)
            for name in ("patients", "scanners")
        }
        for reading in READINGS if real else ():
            out[arm][reading] = _real(np.stack([d[f"{arm}.{reading}"] for d in done]), real)
    return out


def _simulated(probability: np.ndarray, truth: np.ndarray) -> dict:
    """probability (seeds, n, 4): accuracy over seeds, counts over all of them.

    The t interval over seeds is cut at 1, and of no width where every seed is right every time.
    """
    predicted = probability.argmax(-1)
    right = predicted == truth
    accuracy = metrics.mean_interval(right.mean(1)).record()
    return {
        "accuracy": accuracy | {"high": min(accuracy["high"], 1.0)},
        "right": int(right.sum()),
        "n": right.size,
        "confusion": _confusion(np.tile(truth, len(predicted)), predicted.ravel()),
    }


def _real(probability: np.ndarray, real: dict[str, real_pictures.RealPicture]) -> dict:
    """probability (seeds, n, 4): by picture, and as tables of counts.

    confusion: one vote a picture, the class of the highest mean probability. confusion_seeds: one
    vote a picture and seed.
    """
    truth = np.array([MODALITIES.index(p.modality) for p in real.values()])
    predicted, mean = probability.argmax(-1), probability.mean(0)
    vote = mean.argmax(-1)
    table = {}
    for i, (name, picture) in enumerate(real.items()):
        table[name] = {
            "modality": picture.modality,
            "region": picture.source.region,
            "predicted": MODALITIES[vote[i]],
            "right_seeds": int((predicted[:, i] == truth[i]).sum()),
            "probability": dict(zip(MODALITIES, mean[i].round(4))),
            "probability_right_seeds": probability[:, i, truth[i]].round(4),
        }
    return {
        "n": len(real),
        "right": int((vote == truth).sum()),
        "right_by_seed": (predicted == truth).sum(1),
        "confusion": _confusion(truth, vote),
        "confusion_seeds": _confusion(np.tile(truth, len(predicted)), predicted.ravel()),
        "pictures": table,
    }


def _confusion(truth: np.ndarray, predicted: np.ndarray) -> dict[str, dict[str, int]]:
    """Counts: row (what it is) by column (what it is taken for)."""
    return {
        row: {
            column: int(((truth == i) & (predicted == j)).sum())
            for j, column in enumerate(MODALITIES)
        }
        for i, row in enumerate(MODALITIES)
    }
