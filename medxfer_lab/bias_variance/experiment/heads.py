"""Linear heads on frozen features: 50 independent training sets, six feature extractors."""

from __future__ import annotations

import numpy as np
from torch.nn import functional as F  # noqa: N812

from medxfer_lab.bias_variance.experiment import material as m
from medxfer_lab.bias_variance.experiment import summary
from medxfer_lab.course.jobs import Job
from medxfer_lab.training import probe, tune

NAME, DATA, VERSION = "heads", "simulated", 1
PRESETS = {
    "smoke": {"sets": 3, "tuning_sets": 1, "sizes": [16, 64], "n_test": 80, "n_pool": 80},
    "quick": {"sets": 8, "tuning_sets": 1, "sizes": [16, 64, 250], "n_test": 300, "n_pool": 300},
    "full": {
        "sets": 50,
        "tuning_sets": 3,
        "sizes": [16, 32, 64, 100, 250, 500, 1000],
        "n_test": 600,
        "n_pool": 500,
    },
}
#: mean log loss + strength/2 ||w||^2: the same six trials for every backbone, label and size
STRENGTHS = (10.0, 3.0, 1.0, 0.3, 0.1, 0.03)
#: pairs whose difference is reported, first minus second
PAIRS = (
    ("imagenet", "untrained"),
    ("imagenet", "matched_scales"),
    ("imagenet", "pixels"),
    ("small_cnn", "small_cnn_untrained"),
)


def tuning_job(k: int, sizes: list[int], n_test: int, n_pool: int) -> dict:
    """Validation loss on the pool of every strength: (sizes, strengths) per label, backbone."""
    drawn = m.training_set(k, max(sizes), n_test, n_pool, m.TUNING_SEED)
    pool = m.fixed_cohort("pool", n_pool)
    eta = m.teacher(n_test, n_pool).eta(m.reference("imagenet", 0, n_test, n_pool).pool)
    target = {"lesion": pool.labels.double(), "teacher": eta}
    losses = {}
    for backbone, features, base in _features(drawn, k, n_test, n_pool):
        for kind in m.LABELS:
            rows = []
            for n in sizes:
                logits = probe(features[:n], drawn.labels[kind][:n], STRENGTHS).logits(base.pool)
                loss = F.binary_cross_entropy_with_logits(
                    logits[:, 0], target[kind].expand(len(STRENGTHS), -1), reduction="none"
                )
                rows.append(loss.mean(1).numpy())
            losses[f"{kind}.{backbone}"] = np.stack(rows)
    return losses


def training_job(
    k: int, sizes: list[int], n_test: int, n_pool: int, strengths: dict[str, float]
) -> dict:
    """Test logits of training set k: array (sizes, n_test) per label kind and backbone."""
    drawn = m.training_set(k, max(sizes), n_test, n_pool, m.TRAINING_SEED)
    logits = {}
    for backbone, features, base in _features(drawn, k, n_test, n_pool):
        for kind in m.LABELS:
            rows = []
            for n in sizes:
                strength = strengths[f"{kind}.{backbone}.{n}"]
                heads = probe(features[:n], drawn.labels[kind][:n], strength)
                rows.append(heads.logits(base.test)[0, 0].float().numpy())
            logits[f"{kind}.{backbone}"] = np.stack(rows)
    return logits


def _features(drawn: m.TrainingSet, k: int, n_test: int, n_pool: int):
    """(backbone, standardised training features, reference) for every backbone."""
    for backbone in m.BACKBONES:
        seed = m.network_seed(backbone, k)
        base = m.reference(backbone, seed, n_test, n_pool)
        if backbone == "imagenet":
            yield backbone, drawn.imagenet, base
        else:
            raw = m.raw_features(drawn.pictures, backbone, seed)
            yield backbone, base.standardise(raw), base


def run(parameters: dict, runner) -> dict:
    """Tune on draws of their own, train, summarise. runner(jobs, function) -> results by key."""
    sizes = parameters["sizes"]
    shared = {key: parameters[key] for key in ("sizes", "n_test", "n_pool")}
    tuned = runner(
        [Job(f"tune-{k}", {"k": k, **shared}) for k in range(parameters["tuning_sets"])], tuning_job
    )
    strengths, choices = _choose(list(tuned.values()), sizes)
    jobs = [
        Job(f"set-{k:03d}", {"k": k, **shared, "strengths": strengths})
        for k in range(parameters["sets"])
    ]
    trained = list(runner(jobs, training_job).values())
    truth = m.truth(parameters["n_test"], parameters["n_pool"])
    return {"strengths": choices, "noise": float(np.mean(truth.eta * (1 - truth.eta)))} | {
        kind: _summaries(trained, kind, sizes, truth) for kind in m.LABELS
    }


def _choose(tuned: list[dict], sizes: list[int]) -> tuple[dict[str, float], dict]:
    """The strength with the lowest mean validation loss, for each label kind, backbone, size."""
    names = [f"{kind}.{b}.{n}" for kind in m.LABELS for b in m.BACKBONES for n in sizes]

    def loss(name: str, settings: dict, draw: int) -> float:
        kind, backbone, n = name.split(".")
        row = tuned[draw][f"{kind}.{backbone}"][sizes.index(int(n))]
        return float(row[STRENGTHS.index(settings["strength"])])

    candidates = {name: [{"strength": s} for s in STRENGTHS] for name in names}
    chosen = tune(candidates, loss, range(len(tuned)), budget=len(STRENGTHS))
    flat = {name: choice.settings["strength"] for name, choice in chosen.items()}
    nested: dict = {}
    for name, strength in flat.items():
        kind, backbone, n = name.split(".")
        nested.setdefault(kind, {}).setdefault(backbone, {})[n] = strength
    return flat, nested


def _summaries(trained: list[dict], kind: str, sizes: list[int], truth: m.Truth) -> dict:
    stacked = {b: np.stack([job[f"{kind}.{b}"] for job in trained]) for b in m.BACKBONES}
    out: dict = {
        b: {
            str(n): summary.summarise(stacked[b][:, i], kind, truth, log_loss=True)
            for i, n in enumerate(sizes)
        }
        for b in m.BACKBONES
    }
    out["paired"] = {
        f"{a}_minus_{b}": {
            str(n): summary.paired(stacked[a][:, i], stacked[b][:, i], kind, truth)
            for i, n in enumerate(sizes)
        }
        for a, b in PAIRS
    }
    return out


def recheck(record, k: int) -> dict[str, tuple[float, float]]:
    """Repeat training set k and pair each AUC in the record with the AUC found now."""
    p = record.parameters
    chosen = record.results["strengths"]
    strengths = {
        f"{kind}.{b}.{n}": chosen[kind][b][str(n)]
        for kind in m.LABELS
        for b in m.BACKBONES
        for n in p["sizes"]
    }
    logits = training_job(k, p["sizes"], p["n_test"], p["n_pool"], strengths)
    return summary.compare_aucs(record, logits, k, m.truth(p["n_test"], p["n_pool"]))
