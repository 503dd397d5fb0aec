"""A shift that looks like label shift and is not: PneumoniaMNIST, where MEDXFER_DATA holds it.

Prevalence falls from training and validation to test. Were p(x | y) kept, BBSE would find the new
prevalence from unlabelled test images. A head is fitted to training images; the validation images
are the labelled source, the test images the target. Beside it stand two checks: the mixture-family
test, which needs no target label, and (for the story's end, with labels) the rates of positive
calls within each class. The *control* is a target of the same prevalence resampled from one half
of the validation images, the other half being the source: there p(x | y) is kept, and nothing
should be amiss.

Images of validation that also occur in training are left out; the file has no patient ids, so the
same child may still be in both, which would flatter the head in validation. Intervals: BBSE's
(Fieller; source and target images, the head held fixed); rates Clopper-Pearson.
"""

from __future__ import annotations

import hashlib
import os
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import adaptive_avg_pool2d, interpolate

from medxfer_lab import metrics, nets
from medxfer_lab.course.jobs import Job
from medxfer_lab.domain_shift.experiment import material as m
from medxfer_lab.domain_shift.experiment.assess import Scores, recalibrated, sigmoid
from medxfer_lab.methods.label_shift import black_box_shift_estimate, em_prevalence
from medxfer_lab.methods.shift_tests import mixture_family_test
from medxfer_lab.training import probe

NAME, VERSION = "real", 2
DATA_SETS = ("pneumoniamnist",)
FILES = {"pneumoniamnist": "pneumoniamnist.npz"}
PRESETS = {
    "smoke": {"limit": 120, "side": 32, "controls": 3, "strength": 0.1},
    "quick": {"limit": 500, "side": 64, "controls": 10, "strength": 0.1},
    "full": {"limit": 4000, "side": 96, "controls": 100, "strength": 0.1},
}
MODELS = ("pixels", "imagenet")
#: principal components of the features that the family test sees beside the log odds
COMPONENTS = 4


def available() -> list[str]:
    """The data sets whose file lies in the folder named by MEDXFER_DATA."""
    folder = os.environ.get("MEDXFER_DATA")
    return [] if not folder else [d for d in DATA_SETS if (Path(folder) / FILES[d]).is_file()]


def digest(data: str) -> str:
    """SHA-256 of the data file: part of the record's fingerprint."""
    path = Path(os.environ["MEDXFER_DATA"]) / FILES[data]
    return hashlib.sha256(path.read_bytes()).hexdigest()


@lru_cache(maxsize=2)
def load(data: str, limit: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Images uint8 (n, 28, 28) and labels (n,) of train (at most ``limit``), val and test."""
    with np.load(Path(os.environ["MEDXFER_DATA"]) / FILES[data], allow_pickle=False) as file:
        parts = {
            part: (file[f"{part}_images"], file[f"{part}_labels"].ravel().astype(np.float64))
            for part in ("train", "val", "test")
        }
    seen = {image.tobytes() for image in parts["train"][0]}
    fresh = np.array([image.tobytes() not in seen for image in parts["val"][0]])
    parts["val"] = tuple(part[fresh] for part in parts["val"])
    keep = np.random.default_rng(0).permutation(len(parts["train"][1]))[:limit]
    parts["train"] = tuple(part[keep] for part in parts["train"])
    return parts


def features(images: np.ndarray, model: str, side: int) -> np.ndarray:
    """14 x 14 block means, or pooled ImageNet features at ``side`` pixels: (n, d)."""
    shown = torch.from_numpy(images.astype(np.float32) / 255)[:, None]
    if model == "pixels":
        return adaptive_avg_pool2d(shown, 14).flatten(1).numpy()
    shown = interpolate(shown, (side, side), mode="bilinear", antialias=True).clamp(0, 1)
    return nets.cached_features(m.imagenet(), shown)


def model_job(data: str, model: str, limit: int, side: int, controls: int, strength: float) -> dict:
    """Everything that is measured with one kind of features."""
    parts = load(data, limit)
    raw = {part: features(images, model, side) for part, (images, _) in parts.items()}
    centre, spread = raw["train"].mean(0), raw["train"].std(0)
    spread = np.where(spread > 1e-3 * np.median(spread), spread, np.inf)
    x = {part: (f - centre) / spread for part, f in raw.items()}
    y = {part: labels for part, (_, labels) in parts.items()}
    head = probe(torch.from_numpy(x["train"]), torch.from_numpy(y["train"]).float(), strength)
    z = {p: head.logits(torch.from_numpy(f))[0, 0].numpy() for p, f in x.items()}
    axes = np.linalg.svd(x["train"] - x["train"].mean(0), full_matrices=False)[2][:COMPONENTS]
    seen = {part: np.column_stack([z[part], x[part] @ axes.T]) for part in ("val", "test")}
    source = Scores(z["val"], y["val"])
    out = measured(source, seen["val"], Scores(z["test"], y["test"]), seen["test"], 0)
    out["control"] = [
        _control(source, seen["val"], float(y["test"].mean()), seed) for seed in range(controls)
    ]
    # children may be in training and validation; the components alone know no label
    alone = [part[:, 1:] for part in (seen["val"], seen["test"])]
    out["family_p_images"] = float(
        mixture_family_test(alone[0], source.y, alone[1], seed=0).p_value
    )
    out["train_prevalence"] = float(y["train"].mean())
    return out


def measured(
    source: Scores, x_source: np.ndarray, target: Scores, x_target: np.ndarray, seed: int
) -> dict:
    """Estimates from unlabelled target images, the check, and (with labels) what happened."""
    line = recalibrated(source)
    p, p_there = line.probabilities(source.z), line.probabilities(target.z)
    bbse = black_box_shift_estimate(p, source.y, p_there)
    family = mixture_family_test(x_source, source.y, x_target, seed=seed)
    called, called_there = p >= 0.5, p_there >= 0.5
    return {
        "auc": [float(metrics.auc(s.z, s.y)) for s in (source, target)],
        "source_prevalence": float(source.y.mean()),
        "target_prevalence": float(target.y.mean()),
        "called_positive": float(called_there.mean()),
        "bbse": {"mean": bbse.prevalence, "low": bbse.low, "high": bbse.high},
        "em": float(em_prevalence(p_there, float(source.y.mean())).prevalence),
        "family_p": float(family.p_value),
        "false_positive": [_rate(called, source.y == 0), _rate(called_there, target.y == 0)],
        "sensitivity": [_rate(called, source.y == 1), _rate(called_there, target.y == 1)],
        "mean_probability": float(sigmoid(line.apply(target.z)).mean()),
    }


def _rate(called: np.ndarray, among: np.ndarray) -> dict:
    return metrics.binomial_interval(int(called[among].sum()), int(among.sum())).record()


def _control(source: Scores, x: np.ndarray, prevalence: float, seed: int) -> dict:
    """Source and target both from validation, the target resampled on y: p(x | y) is kept."""
    rng = np.random.default_rng((61, seed))
    order = rng.permutation(len(source.y))
    ours, theirs = order[: len(order) // 2], order[len(order) // 2 :]
    ill, well = theirs[source.y[theirs] == 1], theirs[source.y[theirs] == 0]
    n = int(min(len(ill) / prevalence, len(well) / (1 - prevalence)))
    n_ill = round(n * prevalence)
    index = rng.permutation(np.concatenate([ill[:n_ill], well[: n - n_ill]]))
    found = measured(source.part(ours), x[ours], source.part(index), x[index], seed)
    covered = found["bbse"]["low"] <= found["target_prevalence"] <= found["bbse"]["high"]
    error = found["bbse"]["mean"] - found["target_prevalence"]
    return {"covered": bool(covered), "error": error, "family_p": found["family_p"]}


def run(parameters: dict, runner) -> dict:
    """Both kinds of features, each with its controls."""
    jobs = [Job(model, {"model": model, **parameters}) for model in MODELS]
    done = runner(jobs, model_job)
    out = {}
    for model, cell in done.items():
        controls = cell.pop("control")
        errors = [control["error"] for control in controls]
        cell["control"] = {
            "splits": len(controls),
            "covered": sum(control["covered"] for control in controls),
            "rejected": sum(control["family_p"] <= 0.05 for control in controls),
            "mean_error": float(np.mean(errors)),
            "root_mean_square": float(np.sqrt(np.mean(np.square(errors)))),
        }
        out[model] = cell
    return out


def recheck(record, model: str) -> dict[str, tuple[float, float]]:
    """{number: (in the record, now)} with one control split."""
    now = model_job(model=model, **(record.parameters | {"controls": 1}))
    then = record.results[model]
    pairs = {key: (then[key], now[key]) for key in ("called_positive", "em", "mean_probability")}
    pairs["bbse"] = then["bbse"]["mean"], now["bbse"]["mean"]
    pairs["family_p"] = then["family_p"], now["family_p"]
    return pairs
