"""Do pretrained parameters sit at the bottom of a wide valley? Wide compared with what?

Two readings, each at equal loss, since a network that has trained longer lies lower and, by that
alone, elsewhere on the landscape.

*Source*: networks are trained on photographs until their loss on held-out ones first falls to a
common level. One arm has the pretraining's own settings at a constant rate; each other arm changes
one thing (or, without augmentation and decay, one kind of thing). Adam's rates grow as the square
root of the batch. The common level is high: a processor reaches it in half a minute. So the
finished pretrainings are shown beside them, not compared.

*Target*: from the pretrained start, an untrained one and one with matched scales, networks are
tuned on the same patients in the same order until the loss on all of them first falls to a common
level. Here "sits in a wide valley" means: the place where tuning ends is wide.

A loss that is looked at every few steps falls a little below the level, and a noisy one reaches it
by luck, the sooner the noisier: what was reached is in the record. Curvature is the Gauss-Newton
matrix's, on photographs other than those that decide when to stop, and on the training patients.
Raw measures depend on each layer's units (see ``theory.symmetry``); relative ones do not. Width is
the spread of relative noise at which the loss has risen by a tenth of a nat.

Ratios are of natural logarithms: .7 is a factor of two. Source arms: seeds are independent of each
other, Welch's interval. Target: Student's, over pairs of networks on one set of patients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy import stats
from torch import Tensor, nn

from medxfer_lab import metrics, nets
from medxfer_lab.course.jobs import Job
from medxfer_lab.loss_landscape.experiment import material as m
from medxfer_lab.loss_landscape.theory.symmetry import (
    relative_noise,
    relative_operator,
    relative_trace,
)
from medxfer_lab.methods import curvature
from medxfer_lab.nets.pretrain import augment
from medxfer_lab.nets.small_cnn import normalise
from medxfer_lab.training.inputs import log_loss

NAME, DATA, VERSION = "valley", "simulated", 1
PRESETS = {
    "smoke": {"seeds": 2, "level": 2.6, "every": 512, "n_check": 40, "n": 12, "draws": 1}
    | {"finished": 2, "sets": 2, "n_target": 32, "target_level": 0.9},
    "quick": {"seeds": 2, "level": 2.0, "every": 6400, "n_check": 500, "n": 60, "draws": 3}
    | {"finished": 2, "sets": 2, "n_target": 200, "target_level": 0.5},
    # every: photographs between two looks at the held-out loss, 50 steps of 128
    "full": {"seeds": 4, "level": 1.6, "every": 6400, "n_check": 1000, "n": 200, "draws": 10}
    | {"finished": 8, "sets": 8, "n_target": 500, "target_level": 0.3},
}
SPREADS = (0.025, 0.05, 0.1, 0.2, 0.4)
RISE = 0.1  # nats: what "width" is measured at
MEASURES = ("top", "trace", "relative_top", "relative_trace", *(f"rise_{s:g}" for s in SPREADS))
MEASURES = (*(name.replace(".", "_") for name in MEASURES), "width")
STARTS = ("untrained", "photographs", "matched_scales")
CHECK_STEPS, MOST_CHECKS = 10, 300
TARGET_BATCH, TARGET_RATE = 32, 1e-3
FIRST_SEED = m.TRAINING_SEED + 4_000
SHIFT = 2  # pixels of augmentation, as in the pretraining


@dataclass(frozen=True)
class Arm:
    """How photographs are learned: batch size, optimiser and its rate, decay, augmentation."""

    batch: int = 128
    optimiser: str = "adamw"
    decay: float = 1e-3
    augmented: bool = True

    def build(self, network: nn.Module) -> torch.optim.Optimizer:
        """AdamW at 3e-3 sqrt(batch/128), or descent with momentum .9 at .05."""
        if self.optimiser == "momentum":
            settings = {"lr": 0.05, "momentum": 0.9, "weight_decay": self.decay}
            return torch.optim.SGD(network.parameters(), **settings)
        rate = 3e-3 * (self.batch / 128) ** 0.5
        return torch.optim.AdamW(network.parameters(), rate, weight_decay=self.decay)


ARMS = {
    "recipe": Arm(),
    "plain": Arm(decay=0.0, augmented=False),
    "large_batch": Arm(batch=512),
    "momentum": Arm(optimiser="momentum"),
}


def train_until(
    network: nn.Module,
    batches: Iterator[m.Set],
    optimiser: torch.optim.Optimizer,
    look: Callable[[], float],
    level: float,
    every: int,
) -> tuple[int, list[float]]:
    """Steps taken until ``look()``, asked every so many steps, first is at most ``level``; looks.

    Raises RuntimeError where it still is above the level after ``MOST_CHECKS`` looks.
    """
    looks: list[float] = []
    while len(looks) < MOST_CHECKS:
        network.train()
        for _ in range(every):
            inputs, labels = next(batches)
            optimiser.zero_grad()
            log_loss(network(inputs), labels).backward()
            optimiser.step()
        looks.append(look())
        if looks[-1] <= level:
            network.eval()
            return every * len(looks), looks
    raise RuntimeError(
        f"the loss is {looks[-1]:.3f} after {every * MOST_CHECKS} steps, least {min(looks):.3f}; "
        f"level {level} was not reached: raise it, or check that the network trains"
    )


def indices(n: int, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Batches without end: without replacement within an epoch, whose rest is left."""
    size = min(size, n)
    while True:
        yield from torch.randperm(n, generator=generator)[: n // size * size].view(-1, size)


def photograph_batches(arm: Arm, seed: int) -> Iterator[m.Set]:
    """Prepared training photographs and their classes, as an arm is shown them."""
    found, generator = m.photographs(), torch.Generator().manual_seed(seed)
    images, labels = torch.from_numpy(found.images)[:, None], torch.from_numpy(found.labels)
    for index in indices(len(images), arm.batch, generator):
        shown = images[index].float() / 255
        shown = augment(shown, SHIFT, generator) if arm.augmented else shown
        yield normalise(shown), labels[index]


def source_job(
    arm: str, seed: int, level: float, every: int, n_check: int, n: int, draws: int
) -> dict:
    """One network of an arm, at the level. Held-out photographs n to n + n_check decide."""
    network, how = nets.load("small_cnn", "untrained", seed, n_classes=10), ARMS[arm]
    steps, looks = train_until(
        network,
        photograph_batches(how, seed),
        how.build(network),
        lambda: m.loss(network, m.source(n_check, n)),
        level,
        max(every // how.batch, 1),
    )
    return {"steps": steps, "reached": looks[-1]} | measures(network, m.source(n), draws)


def finished_job(k: int, n_check: int, n: int, draws: int) -> dict:
    """Pretraining k as it is."""
    network = m.old(k)
    reached = m.loss(network, m.source(n_check, n))
    return {"reached": reached} | measures(network, m.source(n), draws)


def target_job(start: str, k: int, n_target: int, target_level: float, draws: int) -> dict:
    """A network tuned on set k from one of the starts, at the level; its training patients."""
    data = m.fixed_target(n_target, FIRST_SEED + k)
    tuning = Tuning.of(start, k, data)
    steps, looks = tuning.until(target_level)
    part = data[0][: n_target // 2], data[1][: n_target // 2]
    found = {"steps": steps, "reached": looks[-1], "looks": looks}
    return found | measures(tuning.network, part, draws)


@dataclass(frozen=True)
class Tuning:
    """A network before it is tuned: head and order of the batches are those of set k."""

    network: nets.Network
    batches: Iterator[m.Set]
    optimiser: torch.optim.Optimizer
    data: m.Set

    @classmethod
    def of(cls, start: str, k: int, data: m.Set) -> Tuning:
        network, generator = m.start(k, start), torch.Generator().manual_seed(k)
        order = indices(len(data[0]), TARGET_BATCH, generator)
        batches = ((data[0][index], data[1][index]) for index in order)
        optimiser = torch.optim.Adam(network.parameters(), TARGET_RATE)
        return cls(network, batches, optimiser, data)

    def until(self, level: float) -> tuple[int, list[float]]:
        """Steps and looks at the loss on all patients, every ten steps."""

        def look() -> float:
            return m.loss(self.network, self.data)

        how = level, CHECK_STEPS
        return train_until(self.network, self.batches, self.optimiser, look, *how)


def measures(network: nets.Network, data: m.Set, draws: int) -> dict[str, float]:
    """Every measure of ``MEASURES``, and the loss on the same data.

    Curvature is the Gauss-Newton matrix's of the whole network. Noise is the same for all
    networks: ``draws`` draws, each with both signs.
    """
    parameters = dict(network.named_parameters())
    operator = curvature.gauss_newton_operator(network, data[0])
    diagonal = curvature.fisher_diagonal(network, data[0], labels="exact")
    how = {"seed": 0, "tolerance": 1e-2}
    tops = [
        float(curvature.top_eigenvalues(product, operator.dimension, 1, **how).values[0])
        for product in (operator, relative_operator(operator, parameters))
    ]
    rises = [relative_noise(network, lambda net: m.loss(net, data), s, draws, 0) for s in SPREADS]
    trace = sum(float(part.double().sum()) for part in diagonal.values())
    values = (tops[0], trace, tops[1], relative_trace(diagonal, parameters), *rises, width(rises))
    return dict(zip(MEASURES, values, strict=True)) | {"loss": m.loss(network, data)}


def width(rises: list[float], spreads: tuple[float, ...] = SPREADS, rise: float = RISE) -> float:
    """Spread at which the loss has first risen by ``rise``, between spreads as a power law.

    Below the first spread the loss is taken to rise as the spread's square; NaN where it never
    rises as far.
    """
    above = [i for i, value in enumerate(rises) if value >= rise]
    if not above:
        return float("nan")
    i = above[0]
    if i == 0:
        return spreads[0] * (rise / rises[0]) ** 0.5
    low, high = spreads[i - 1 : i + 1]
    if rises[i - 1] <= 0:  # no power law starts at or below 0: a straight line
        return low + (high - low) * (rise - rises[i - 1]) / (rises[i] - rises[i - 1])
    share = np.log(rise / rises[i - 1]) / np.log(rises[i] / rises[i - 1])
    return float(low * (high / low) ** share)


def run(parameters: dict, runner) -> dict:
    """Source arms against the recipe, starts against the untrained one."""
    p = parameters
    looking = {key: p[key] for key in ("n_check", "n", "draws")}
    stop = {key: p[key] for key in ("level", "every")}
    jobs = [
        Job(f"{arm}-{seed}", {"arm": arm, "seed": 100 + seed} | stop | looking)
        for i, arm in enumerate(ARMS)
        for seed in range(p["seeds"])
    ]
    trained = runner(jobs, source_job)
    ends = [Job(f"finished-{k}", {"k": k} | looking) for k in range(p["finished"])]
    ended = list(runner(ends, finished_job).values())
    shared = {key: p[key] for key in ("n_target", "target_level", "draws")}
    jobs = [
        Job(f"{start}-set-{k}", {"start": start, "k": k} | shared)
        for start in STARTS
        for k in range(p["sets"])
    ]
    tunings = runner(jobs, target_job)
    by_arm = {a: [trained[f"{a}-{seed}"] for seed in range(p["seeds"])] for a in ARMS}
    by_start = {s: [tunings[f"{s}-set-{k}"] for k in range(p["sets"])] for s in STARTS}
    return {
        "source": {
            "networks": {arm: summary(rows) for arm, rows in by_arm.items()},
            "finished": summary(ended),
            "log_ratios": ratios(by_arm, "recipe", unpaired),
        },
        "target": {
            "networks": {start: summary(rows) for start, rows in by_start.items()},
            "log_ratios": ratios(by_start, "untrained", paired),
            "log_ratios_matched_scales": ratios(by_start, "matched_scales", paired),
            "factors": factors(ratios(by_start, "untrained", paired)),
            "factors_matched_scales": factors(ratios(by_start, "matched_scales", paired)),
            "looks": [[round(float(v), 5) for v in job["looks"]] for job in by_start[STARTS[1]]],
        },
    }


def summary(rows: list[dict]) -> dict:
    """Each measure of each network, and the geometric mean where all are positive."""
    out: dict = {}
    for name in (*MEASURES, "loss", "reached", "steps"):
        values = [float(row[name]) for row in rows if name in row]
        if values:
            logs = _logs(values)
            mean = None if logs is None else float(np.exp(logs.mean()))
            kept = [None if np.isnan(v) else float(f"{v:.5g}") for v in values]
            out[name] = {"values": kept, "mean": mean}
    return out


def ratios(groups: dict[str, list[dict]], base: str, compare: Callable) -> dict:
    """{group: {measure: interval of log(group) - log(base)}}; None where a value has no log."""
    out: dict = {}
    for name, rows in groups.items():
        if name != base:
            out[name] = {}
            for measure in (*MEASURES, "loss", "reached"):
                logs = [_logs([float(r[measure]) for r in part]) for part in (rows, groups[base])]
                undefined = any(part is None for part in logs)
                out[name][measure] = None if undefined else compare(*logs)
    return out


def factors(found: dict) -> dict:
    """:func:`ratios` back on the plain scale."""
    ends = ("mean", "low", "high")
    return {
        name: {
            measure: leaf and leaf | {key: float(np.exp(leaf[key])) for key in ends}
            for measure, leaf in row.items()
        }
        for name, row in found.items()
    }


def _logs(values: list[float]) -> np.ndarray | None:
    return np.log(values) if min(values) > 0 and np.isfinite(values).all() else None


def paired(first: np.ndarray, second: np.ndarray) -> dict:
    """Student's t interval of the mean difference."""
    return metrics.mean_interval(first - second).record()


def unpaired(first: np.ndarray, second: np.ndarray, level: float = 0.95) -> dict:
    """Welch's t interval of a difference of means (Welch, Biometrika 34 (1947) 28-35)."""
    found = stats.ttest_ind(first, second, equal_var=False).confidence_interval(level)
    mean, n = float(first.mean() - second.mean()), min(len(first), len(second))
    ends = {"low": float(found.low), "high": float(found.high)}
    return {"mean": mean, **ends, "n": n, "level": level, "method": "Welch t"}


def recheck(record, k: int) -> dict[str, tuple[float, float]]:
    """{look: (training loss in the record, now)} of the first steps of set k, pretrained start."""
    then = record.results["target"]["looks"][k][:3]
    data = m.fixed_target(record.parameters["n_target"], FIRST_SEED + k)
    tuning = Tuning.of("photographs", k, data)
    now = [tuning.until(np.inf)[1][0] for _ in then]  # a level that every look meets
    return {f"look_{i}": pair for i, pair in enumerate(zip(then, now, strict=True))}
