"""Whole networks trained on 30 independent training sets: scratch, fine-tuning, L2-SP."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F  # noqa: N812

from medxfer_lab import metrics, nets
from medxfer_lab.bias_variance.experiment import material as m
from medxfer_lab.bias_variance.experiment import summary
from medxfer_lab.course.jobs import Job
from medxfer_lab.training import L2SP, Fit, FullFineTuning, Scratch, Strategy, fit, predict, tune

NAME, DATA, VERSION = "networks", "simulated", 1
PRESETS = {
    "smoke": {"sets": 3, "tuning_sets": 1, "sizes": [16, 64], "n_test": 80, "n_pool": 80},
    "quick": {"sets": 4, "tuning_sets": 1, "sizes": [32, 250], "n_test": 300, "n_pool": 300},
    "full": {
        "sets": 30,
        "tuning_sets": 2,
        "sizes": [16, 32, 100, 250, 500, 1000],
        "n_test": 600,
        "n_pool": 500,
    },
}
STRATEGIES = ("scratch", "full_fine_tuning", "l2sp")
#: three trials for every strategy, at every size and for both kinds of labels
CANDIDATES: dict[str, list[dict]] = {
    "scratch": [{"learning_rate": r} for r in (1e-3, 3e-3, 6e-3)],
    "full_fine_tuning": [{"learning_rate": r} for r in (1e-3, 3e-3, 6e-3)],
    "l2sp": [{"learning_rate": 3e-3, "tie": t} for t in (0.003, 0.01, 0.03)],
}
PAIRS = (("full_fine_tuning", "scratch"), ("l2sp", "scratch"), ("l2sp", "full_fine_tuning"))
#: training loss (nats) at which distances from the start are compared; lesion labels only
MATCH_LOSS = 0.35


def steps_for(n: int) -> int:
    """Training steps of 32 images: enough to fit n images, the same for every strategy."""
    return 100 if n <= 32 else 150 if n <= 100 else 250


def strategy_of(name: str, settings: dict) -> Strategy:
    """The strategy object behind a name and its tuned settings."""
    if name == "l2sp":
        return L2SP(settings["tie"])
    return {"scratch": Scratch, "full_fine_tuning": FullFineTuning}[name]()


def start(strategy: Strategy, seed: int) -> nets.Network:
    """The network that a training run starts from: untrained, or a checkpoint with a new head."""
    if strategy.start == "untrained":
        return nets.load("small_cnn", weights="untrained", seed=seed)
    network = nets.load("small_cnn", weights="photographs", seed=seed % 3)
    network.reset_head(seed)
    return network


def train(
    pictures: torch.Tensor,
    labels: torch.Tensor,
    name: str,
    settings: dict,
    kind: str,
    seed: int,
    device: str = "cpu",
    steps: int | None = None,
) -> Fit:
    """One network. ``seed``: initialisation or checkpoint, head, order of the mini-batches.

    steps: default :func:`steps_for` the number of labels.
    Images are mirrored at random for lesion labels only: the teacher's eta is a function of the
    very image it was computed on.
    """
    strategy = strategy_of(name, settings)
    network = start(strategy, seed)
    return fit(
        network,
        network.prepare(pictures),
        labels,
        strategy,
        seed=seed,
        steps=steps or steps_for(len(labels)),
        learning_rate=settings["learning_rate"],
        flip=kind == "lesion",
        match_loss=MATCH_LOSS if kind == "lesion" else None,
        device=device,
    )


def tuning_job(k: int, sizes: list[int], n_test: int, n_pool: int) -> dict:
    """Validation loss on the pool of every candidate: array (sizes, trials) per kind, strategy."""
    drawn = m.training_set(k, max(sizes), n_test, n_pool, m.TUNING_SEED)
    pool = m.fixed_cohort("pool", n_pool)
    eta = m.teacher(n_test, n_pool).eta(m.reference("imagenet", 0, n_test, n_pool).pool)
    target = {"lesion": pool.labels, "teacher": eta.float()}
    pictures = m.images(pool)
    losses = {}
    for kind in m.LABELS:
        for name in STRATEGIES:
            rows = []
            for n in sizes:
                row = []
                for settings in CANDIDATES[name]:
                    done = train(
                        drawn.pictures[:n], drawn.labels[kind][:n], name, settings, kind, k
                    )
                    logits = predict(done.network, done.network.prepare(pictures))
                    row.append(float(F.binary_cross_entropy_with_logits(logits, target[kind])))
                rows.append(row)
            losses[f"{kind}.{name}"] = np.array(rows)
    return losses


def training_job(k: int, sizes: list[int], n_test: int, n_pool: int, settings: dict) -> dict:
    """Test logits (sizes, n_test), distances and losses (sizes,) of training set k."""
    drawn = m.training_set(k, max(sizes), n_test, n_pool, m.TRAINING_SEED)
    test = m.images(m.fixed_cohort("test", n_test))
    out: dict = {}
    for kind in m.LABELS:
        for name in STRATEGIES:
            done = [
                train(
                    drawn.pictures[:n],
                    drawn.labels[kind][:n],
                    name,
                    settings[f"{kind}.{name}.{n}"],
                    kind,
                    k,
                )
                for n in sizes
            ]
            key = f"{kind}.{name}"
            out[key] = np.stack([predict(d.network, d.network.prepare(test)) for d in done])
            out[f"distance.{key}"] = np.array([d.distance for d in done])
            out[f"train_loss.{key}"] = np.array([d.train_loss for d in done])
            matched = [-1.0 if d.matched_distance is None else d.matched_distance for d in done]
            out[f"matched.{key}"] = np.array(matched)  # -1: the loss was never reached
    return out


def run(parameters: dict, runner) -> dict:
    """Tune on draws of their own, train, summarise."""
    sizes = parameters["sizes"]
    shared = {key: parameters[key] for key in ("sizes", "n_test", "n_pool")}
    tuned = runner(
        [Job(f"tune-{k}", {"k": k, **shared}) for k in range(parameters["tuning_sets"])], tuning_job
    )
    settings = _choose(list(tuned.values()), sizes)
    jobs = [
        Job(f"set-{k:03d}", {"k": k, **shared, "settings": settings})
        for k in range(parameters["sets"])
    ]
    trained = list(runner(jobs, training_job).values())
    truth = m.truth(parameters["n_test"], parameters["n_pool"])
    nested: dict = {}
    for key, value in settings.items():
        kind, name, n = key.split(".")
        nested.setdefault(kind, {}).setdefault(name, {})[n] = value
    variance_of_eta = float(np.var(truth.eta))
    return {"settings": nested, "variance_of_eta": variance_of_eta} | {
        kind: _summaries(trained, kind, sizes, truth) for kind in m.LABELS
    }


def _choose(tuned: list[dict], sizes: list[int]) -> dict[str, dict]:
    names = [f"{kind}.{s}.{n}" for kind in m.LABELS for s in STRATEGIES for n in sizes]

    def loss(name: str, settings: dict, draw: int) -> float:
        kind, strategy, n = name.split(".")
        row = tuned[draw][f"{kind}.{strategy}"][sizes.index(int(n))]
        return float(row[CANDIDATES[strategy].index(settings)])

    candidates = {name: CANDIDATES[name.split(".")[1]] for name in names}
    chosen = tune(candidates, loss, range(len(tuned)), budget=3)
    return {name: choice.settings for name, choice in chosen.items()}


def _summaries(trained: list[dict], kind: str, sizes: list[int], truth: m.Truth) -> dict:
    stacked = {s: np.stack([job[f"{kind}.{s}"] for job in trained]) for s in STRATEGIES}
    out: dict = {s: {} for s in STRATEGIES}
    for s in STRATEGIES:
        for i, n in enumerate(sizes):
            cell = summary.summarise(stacked[s][:, i], kind, truth, log_loss=False)
            for measure in ("distance", "train_loss"):
                values = np.array([job[f"{measure}.{kind}.{s}"][i] for job in trained])
                cell[measure] = metrics.mean_interval(values).record()
            matched = np.array([job[f"matched.{kind}.{s}"][i] for job in trained])
            reached = matched[matched > 0]
            cell["matched_reached"] = len(reached)
            cell["matched_sets"] = np.round(matched, 6).tolist()
            if len(reached) >= 3:
                cell["matched_distance"] = metrics.mean_interval(reached).record()
            out[s][str(n)] = cell
    out["paired"] = {
        f"{a}_minus_{b}": {
            str(n): summary.paired(stacked[a][:, i], stacked[b][:, i], kind, truth)
            for i, n in enumerate(sizes)
        }
        for a, b in PAIRS
    }
    out["label_worth"] = _worth(stacked, kind, sizes, truth)
    return out


def _worth(stacked: dict, kind: str, sizes: list[int], truth: m.Truth) -> dict:
    """How many scratch labels match the AUC of n transferred labels, by strategy and n."""
    labels = truth.labels(kind)
    curves = {
        s: np.stack([metrics.auc(stacked[s][:, i], labels) for i in range(len(sizes))], axis=1)
        for s in STRATEGIES
    }
    out = {}
    for s in STRATEGIES[1:]:
        worth = metrics.label_worth(sizes, curves["scratch"], curves[s], seed=0)
        out[s] = {str(int(w.size)): w.record() for w in worth}
    return out


def recheck(record, k: int) -> dict[str, tuple[float, float]]:
    """Repeat training set k, the sizes up to 100, and pair each AUC with the record's."""
    p, chosen = record.parameters, record.results["settings"]
    drawn = m.training_set(k, max(p["sizes"]), p["n_test"], p["n_pool"], m.TRAINING_SEED)
    test = m.images(m.fixed_cohort("test", p["n_test"]))
    truth = m.truth(p["n_test"], p["n_pool"])
    pairs = {}
    for kind in m.LABELS:
        for name in STRATEGIES:
            for n in (n for n in p["sizes"] if n <= 100):
                picture, label = drawn.pictures[:n], drawn.labels[kind][:n]
                done = train(picture, label, name, chosen[kind][name][str(n)], kind, k)
                logits = predict(done.network, done.network.prepare(test)).numpy()
                then = record.results[kind][name][str(n)]["auc_sets"][k]
                now = float(metrics.auc(logits, truth.labels(kind)))
                pairs[f"{kind}.{name}.{n}"] = (then, now)
    return pairs
