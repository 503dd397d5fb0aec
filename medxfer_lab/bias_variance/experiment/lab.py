"""What the lab runs live: the chapter's experiments in small, with the record's tuned settings.

One pool of patients is drawn afresh, and training sets are random subsets of it. They overlap, so
the lab's variances are a little smaller than the record's, whose sets share no patient.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from medxfer_lab import metrics
from medxfer_lab.bias_variance.experiment import material as m
from medxfer_lab.bias_variance.experiment import networks as whole
from medxfer_lab.course.jobs import is_quiet
from medxfer_lab.course.record import Record
from medxfer_lab.training import fit_many, predict, probe

LAB_SEED = 77


@dataclass(frozen=True)
class Ward:
    """A pool to train on and other patients to test on; features are filled in as asked for."""

    pictures: Tensor
    labels: Tensor
    test_pictures: Tensor
    test_labels: Tensor

    def features(self, backbone: str) -> tuple[Tensor, Tensor]:
        """Standardised features of pool and test patients (by the pool's statistics)."""
        pool, test = (m.raw_features(p, backbone, 0) for p in (self.pictures, self.test_pictures))
        mean, deviation = pool.mean(0), m.usable_deviation(pool)
        return tuple(torch.from_numpy((f - mean) / deviation) for f in (pool, test))

    def subsets(self, sets: int, n: int) -> list[Tensor]:
        """Random subsets of n patients, both classes present; the same ones whenever asked."""
        chosen = []
        for k in range(sets):
            order = np.random.default_rng((LAB_SEED, k)).permutation(len(self.labels))
            chosen.append(torch.from_numpy(order[:n]))
        return chosen


def admit(pool: int = 500, test: int = 300, seed: int = LAB_SEED) -> Ward:
    """Simulate fresh patients of the chapter's hospital; none is in the record."""
    ward, held_out = m.cohort(pool, seed), m.cohort(test, seed + 1)
    return Ward(m.images(ward), ward.labels, m.images(held_out), held_out.labels)


def heads(ward: Ward, backbone: str, record: Record, sizes: list[int], sets: int) -> np.ndarray:
    """Test logits (sizes, sets, n_test) of linear heads on one backbone's frozen features."""
    pool, test = ward.features(backbone)
    out = []
    for n in sizes:
        index = ward.subsets(sets, n)
        strength = record.results["strengths"]["lesion"][backbone][str(n)]
        x, y = torch.stack([pool[i] for i in index]), torch.stack([ward.labels[i] for i in index])
        out.append(probe(x, y, strength).logits(test)[0].numpy())
    return np.stack(out)


def networks(
    ward: Ward,
    names: Sequence[str],
    record: Record,
    sizes: list[int],
    sets: int,
    device: str = "cpu",
) -> dict[str, np.ndarray]:
    """Test logits (sizes, sets, n_test) of whole networks, by strategy; all are trained at once."""
    runs = [(name, n, k) for name in names for n in sizes for k in range(sets)]
    settings = [record.results["settings"]["lesion"][name][str(n)] for name, n, _ in runs]
    strategies = [whole.strategy_of(run[0], s) for run, s in zip(runs, settings, strict=True)]
    index = {n: ward.subsets(sets, n) for n in sizes}
    starts = [whole.start(s, k) for s, (_, _, k) in zip(strategies, runs, strict=True)]
    done = fit_many(
        starts,
        [
            (net.prepare(ward.pictures[index[n][k]]), ward.labels[index[n][k]])
            for net, (_, n, k) in zip(starts, runs, strict=True)
        ],
        strategies,
        seeds=[k for _, _, k in runs],
        steps=[whole.steps_for(n) for _, n, _ in runs],
        learning_rate=[s["learning_rate"] for s in settings],
        flip=True,
        device=device,
        progress=not is_quiet(),
    )
    shown = starts[0].prepare(ward.test_pictures)
    logits = np.stack([predict(fit.network, shown).numpy() for fit in done])
    by_name = logits.reshape(len(names), len(sizes), sets, -1)
    return dict(zip(names, by_name, strict=True))


def table(ward: Ward, logits: dict[str, np.ndarray], sizes: list[int]) -> str:
    """Mean AUC and variance of the probability, a row an algorithm and size."""
    rows = [f"{'':<18}{'n':>6}{'mean AUC':>10}{'variance':>10}"]
    for name, cube in logits.items():
        for n, scores in zip(sizes, cube, strict=True):
            auc = float(np.mean(metrics.auc(scores, ward.test_labels.numpy())))
            variance = float((1 / (1 + np.exp(-scores))).var(0, ddof=1).mean())
            rows.append(f"{name:<18}{n:>6}{auc:>10.3f}{variance:>10.4f}")
    return "\n".join(rows)


@dataclass(frozen=True)
class Shortcut:
    """AUC of one network where the artefact is unrelated to disease, and where it lies."""

    fair: float
    turned: float


def shortcut(ward_size: int = 16, seed: int = LAB_SEED) -> Shortcut:
    """Train one network from scratch on patients whose illness always comes with the artefact."""
    from medxfer_lab.bias_variance.experiment.parable import pictures

    train, test = m.cohort(ward_size, seed), m.cohort(200, seed + 1)
    network = whole.train(
        pictures(train, "confounded", seed),
        train.labels,
        "scratch",
        {"learning_rate": 3e-3},
        "lesion",
        0,
    ).network
    scores = {
        arm: predict(network, network.prepare(pictures(test, arm, seed))).numpy()
        for arm in ("fair", "turned")
    }
    return Shortcut(**{k: float(metrics.auc(v, test.labels.numpy())) for k, v in scores.items()})


def device() -> str:
    """The fastest device at hand: a GPU if torch sees one, else the processor."""
    return "cuda" if torch.cuda.is_available() else "cpu"
