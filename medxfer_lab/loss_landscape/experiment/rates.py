"""Do discriminative learning rates help, and for which of two reasons?

*To preserve*: early features are general, so they should hardly move. *For stability*: early
blocks have high curvature, so they cannot take large steps. The two predict different things.

- From an untrained body there is nothing to preserve: an advantage that is preservation vanishes
  there, one that is stability stays.
- At an eighth of its tuned rate (and four times the steps) an arm is far from any edge of
  stability: an advantage that is stability vanishes there, one that is preservation stays.
- Rates in proportion to 1/curvature (stochastic gradient descent alone: Adam divides a gradient's
  size out) are what stability asks for, whatever the depth.
- With the first two blocks frozen, the early features are preserved and nothing else is changed.
- Reversed rates (early blocks fastest) are wrong by both accounts.

Each arm's rate (the head's) is tuned with equal budgets on draws of its own. *Largest usable
rate*: the first tuning draw's training loss stays below nine tenths of log 2 at the end (a network
that gave up on its images still has log 2, or a little less, from the prevalence). It is the
largest such candidate, or, if that is the last one, found beyond it in coarser steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log

import numpy as np
from torch import Tensor

from medxfer_lab import nets
from medxfer_lab.course.jobs import Job
from medxfer_lab.loss_landscape.experiment import material as m
from medxfer_lab.loss_landscape.experiment.clusters import over_pretrainings
from medxfer_lab.methods.curvature import block, gauss_newton_operator, top_eigenvalues
from medxfer_lab.metrics import auc
from medxfer_lab.training import (
    BlockRates,
    Discriminative,
    Fit,
    FullFineTuning,
    PartialFineTuning,
    Strategy,
    fit,
    predict,
    tune,
)

NAME, DATA, VERSION = "rates", "simulated", 1
PRESETS = {
    "smoke": {"sets": 2, "slow_sets": 2, "n": 60, "n_test": 200, "steps": 5},
    "quick": {"sets": 2, "slow_sets": 2, "n": 100, "n_test": 500, "steps": 30},
    "full": {"sets": 24, "slow_sets": 8, "n": 100, "n_test": 1000, "steps": 150},
}
DECAY = 1 / 2.6
SLOW, LONGER = 8, 4  # the slow arms' rate is tuned rate / SLOW, their steps LONGER times as many
RATIO, TRIALS = 2.0, 5  # of the grid of learning rates, every arm's alike
USABLE = 0.9 * log(2)  # training loss of a rate that can be used, nats
STRIDE, STRIDES = 4.0, 3  # beyond the grid, in search of the largest usable rate
#: numbers of the draws that tune: pretrainings 0 and 1, patients and heads that no set has
TUNING_DRAWS = (104, 105)
VALIDATION = 300
BLOCKS = ("conv1", "conv2", "conv3", "conv4")
CURVATURE_IMAGES = 32
NEVER = 0.6  # training loss (nats) at the end from which on a network has not learned
MEASURED = ("log_loss", "auc", "train_loss")


@dataclass(frozen=True)
class Arm:
    """strategy: None where rates follow from curvature. centre: of the grid of head's rates."""

    strategy: Strategy | None
    centre: float
    weights: str = "photographs"
    optimizer: str = "adam"

    @property
    def candidates(self) -> list[float]:
        """TRIALS learning rates around the centre, RATIO from one to the next."""
        return [self.centre * RATIO ** (i - TRIALS // 2) for i in range(TRIALS)]


EARLY = PartialFineTuning(2)  # conv1 and conv2 stand still
ARMS = {
    "adam.uniform": Arm(FullFineTuning(), 1.6e-3),
    "adam.discriminative": Arm(Discriminative(DECAY), 8e-3),
    "adam.reversed": Arm(Discriminative(1 / DECAY), 1.2e-3),
    "adam.frozen_early": Arm(EARLY, 2e-3),
    "untrained.uniform": Arm(FullFineTuning(), 6e-4, "untrained"),
    "untrained.discriminative": Arm(Discriminative(DECAY), 3e-3, "untrained"),
    "untrained.reversed": Arm(Discriminative(1 / DECAY), 6e-4, "untrained"),
    "sgd.uniform": Arm(FullFineTuning(), 0.15, optimizer="sgd"),
    "sgd.discriminative": Arm(Discriminative(DECAY), 0.25, optimizer="sgd"),
    "sgd.reversed": Arm(Discriminative(1 / DECAY), 0.03, optimizer="sgd"),
    "sgd.curvature": Arm(None, 0.012, optimizer="sgd"),
}
#: the arm whose rate a slow arm takes an eighth of
SLOW_ARMS = {f"slow.{name}": f"adam.{name}" for name in ("uniform", "discriminative")}
EVERY = (*ARMS, *SLOW_ARMS)


def curvatures(network: nets.Network, images: Tensor) -> np.ndarray:
    """(5,) top eigenvalue of the target loss's Gauss-Newton matrix, each block of its own."""
    tops = []
    for name in (*(f"body.{b}" for b in BLOCKS), "head"):
        product = gauss_newton_operator(network, images, block(network, name))
        found = top_eigenvalues(product, product.dimension, seed=0, tolerance=0.02, max_steps=15)
        tops.append(float(found.values[0]))
    return np.array(tops)


def strategy_of(arm: Arm, start: nets.Network, images: Tensor) -> Strategy:
    """The arm's strategy; by curvature, from the set's own images at the start."""
    if arm.strategy is not None:
        return arm.strategy
    tops = curvatures(start, images[:CURVATURE_IMAGES])
    return BlockRates(tops[-1] / tops[:-1], name="curvature_rates")


def trained(name: str, k: int, data: m.Set, learning_rate: float, steps: int) -> Fit:
    """Set k by one arm, at that rate of the head."""
    slow = name in SLOW_ARMS
    arm = ARMS[SLOW_ARMS.get(name, name)]
    start = m.start(k, arm.weights)
    return fit(
        start,
        *data,
        strategy_of(arm, start, data[0]),
        seed=k,
        steps=LONGER * steps if slow else steps,
        learning_rate=learning_rate / SLOW if slow else learning_rate,
        flip=True,
        optimizer=arm.optimizer,
    )


def tuning_job(name: str, k: int, n: int, steps: int, edge: bool) -> dict:
    """Validation and training loss of each candidate, (trials, 2); by ``edge`` the largest usable
    rate as well, 0 where no candidate is."""
    data, validation = m.fixed_target(n, m.TUNING_SEED + k), _validation(k)
    rates = ARMS[name].candidates
    losses = []
    for rate in rates:
        done = trained(name, k, data, rate, steps)
        losses.append([m.loss(done.network, validation), done.train_loss])
    out: dict = {"losses": np.array(losses)}
    if edge:
        usable = [rate for rate, (_, loss) in zip(rates, losses) if loss < USABLE]
        out["usable"] = max(usable, default=0.0)
        for beyond in (rates[-1] * STRIDE**i for i in range(1, STRIDES + 1)):
            # by its negation: the loss of a run that diverged is not a number
            if out["usable"] < beyond / STRIDE or not (
                trained(name, k, data, beyond, steps).train_loss < USABLE
            ):
                break
            out["usable"] = beyond
    return out


def _validation(k: int) -> m.Set:
    return m.fixed_target(VALIDATION, m.TUNING_SEED + 50 + k)


def training_job(k: int, n: int, n_test: int, steps: int, slow: bool, rates: dict) -> dict:
    """{arm: (3,) MEASURED, distance.arm: (4,) of each block, curvatures: (5,) of either start}."""
    data, test = m.target(n, m.TRAINING_SEED + k), m.fixed_target(n_test, m.TEST_SEED)
    few = data[0][:CURVATURE_IMAGES]
    out: dict = {
        "curvatures": curvatures(m.start(k), few),
        "curvatures.untrained": curvatures(m.start(k, "untrained"), few),
    }
    for name in EVERY if slow else ARMS:
        done = trained(name, k, data, rates[name], steps)
        out[name] = measured(done, test)
        begun = m.start(k, ARMS[SLOW_ARMS.get(name, name)].weights)
        out[f"distance.{name}"] = distances(begun, done.network)
    return out


def measured(done: Fit, test: m.Set) -> np.ndarray:
    """MEASURED of a trained network: log loss and AUC of test patients, training log loss."""
    z = predict(done.network, test[0]).double().numpy()
    found = auc(z, test[1].numpy())
    return np.array([m.loss(done.network, test), float(found), done.train_loss])


def distances(start: nets.Network, now: nets.Network) -> np.ndarray:
    """(4,) ||theta - start|| / ||start|| of each block of the body, from the input on."""
    before, after = m.body(start), m.body(now)
    found = []
    for name in BLOCKS:
        mine = [key for key in before if key.startswith(f"body.{name}.")]
        moved = sum(float((after[key] - before[key]).square().sum()) for key in mine)
        found.append((moved / sum(float(before[key].square().sum()) for key in mine)) ** 0.5)
    return np.array(found)


def run(parameters: dict, runner) -> dict:
    """Tune each arm, train every set by all of them, compare by pairs over pretrainings."""
    p = parameters
    shared = {"n": p["n"], "steps": p["steps"]}
    jobs = [
        Job(
            f"tune-{k}-{name.replace('.', '-')}",
            {"name": name, "k": k, "edge": k == TUNING_DRAWS[0], **shared},
        )
        for k in TUNING_DRAWS
        for name in ARMS
    ]
    tuned = list(runner(jobs, tuning_job).values())
    tuned = dict(zip(((job.parameters["k"], job.parameters["name"]) for job in jobs), tuned))
    rates, settings = choose(tuned, p["sets"])
    jobs = [
        Job(
            f"set-{k:03d}",
            {"k": k, **shared, "n_test": p["n_test"], "slow": k < p["slow_sets"], "rates": rates},
        )
        for k in range(p["sets"])
    ]
    done = list(runner(jobs, training_job).values())
    out: dict = {
        "settings": settings,
        "sets": p["sets"],
        "arms": {},
        "contrasts": contrasts(done, p["slow_sets"]),
    }
    for name in EVERY:
        group, _, arm = name.partition(".")
        sets = done[: p["slow_sets"]] if name in SLOW_ARMS else done
        cell = summary(sets, name)
        if name in ARMS:
            cell["largest_usable_rate"] = float(tuned[TUNING_DRAWS[0], name]["usable"])
        out["arms"].setdefault(group, {})[arm] = cell
    labels = (*BLOCKS, "head")
    for start, key in (("", "curvatures"), ("_untrained", "curvatures.untrained")):
        tops = np.stack([job[key] for job in done])
        rows = {b: over_pretrainings(tops[:, i]) for i, b in enumerate(labels)}
        out[f"curvature{start}"] = rows
    return out


def choose(tuned: dict, sets: int) -> tuple[dict, dict]:
    """Learning rate of every arm, slow ones included; the choices' record by group and arm."""

    def loss(name: str, setting: dict, k: int) -> float:
        at = ARMS[name].candidates.index(setting["learning_rate"])
        return float(tuned[k, name]["losses"][at, 0])

    offered = {
        name: [{"learning_rate": rate} for rate in arm.candidates] for name, arm in ARMS.items()
    }
    chosen = tune(offered, loss, TUNING_DRAWS, budget=TRIALS, reported=range(sets))
    rates = {name: choice.settings["learning_rate"] for name, choice in chosen.items()}
    rates |= {slow: rates[own] for slow, own in SLOW_ARMS.items()}
    settings: dict = {}
    for name, choice in chosen.items():
        group, _, arm = name.partition(".")
        settings.setdefault(group, {})[arm] = choice.record()
    return rates, settings


def summary(done: list[dict], name: str) -> dict:
    """Means over pretrainings, paired differences from two arms of the group, values set by set.

    "_gain" is over uniform, "_lead" over discriminative rates; positive where the arm is better:
    less loss, more AUC.
    """
    group = name.partition(".")[0]
    rows = np.stack([job[name] for job in done])
    uniform = np.stack([job[f"{group}.uniform"] for job in done])
    discriminative = np.stack([job[f"{group}.discriminative"] for job in done])
    cell: dict = {}
    for i, what in enumerate(MEASURED):
        cell[what] = over_pretrainings(rows[:, i])
        cell[f"{what}_sets"] = np.round(rows[:, i], 5).tolist()
        cell[f"{what}_gain"] = over_pretrainings(_sign(what) * (rows - uniform)[:, i])
        cell[f"{what}_lead"] = over_pretrainings(_sign(what) * (rows - discriminative)[:, i])
    # one logit that never left the shares of the labels ends near log 2
    learned = uniform[:, 2] < NEVER
    cell["never_learned"] = int((rows[:, 2] >= NEVER).sum())
    if learned.any():
        cell["gain_where_uniform_learned"] = float((uniform - rows)[learned, 0].mean())
    moved = np.stack([job[f"distance.{name}"] for job in done])
    cell["distance"] = {b: over_pretrainings(moved[:, i]) for i, b in enumerate(BLOCKS)}
    return cell


def _sign(what: str) -> int:
    return 1 if what == "auc" else -1


def contrasts(done: list[dict], slow_sets: int) -> dict:
    """How much of the discriminative arm's gain is gone where a reason for it is.

    untrained: gain from a pretrained body minus gain from an untrained one; slow: gain at the tuned
    rate minus gain far below it (on the sets that have slow arms). Positive: the gain shrinks.
    """

    def gain(group: str, sets: list[dict], i: int) -> np.ndarray:
        return np.array([j[f"{group}.discriminative"][i] - j[f"{group}.uniform"][i] for j in sets])

    out: dict = {}
    for other, sets in (("untrained", done), ("slow", done[:slow_sets])):
        out[other] = {
            what: over_pretrainings(_sign(what) * (gain("adam", sets, i) - gain(other, sets, i)))
            for i, what in enumerate(MEASURED)
        }
    return out


def recheck(record, k: int, arms: tuple[str, ...] = ("adam.uniform", "sgd.discriminative")) -> dict:
    """{arm.measure: (value in the record, now)} of set k, a few arms."""
    p = record.parameters
    data, test = m.target(p["n"], m.TRAINING_SEED + k), m.fixed_target(p["n_test"], m.TEST_SEED)
    pairs = {}
    for name in arms:
        group, _, arm = name.partition(".")
        own_group, _, own = SLOW_ARMS.get(name, name).partition(".")
        rate = record.results["settings"][own_group][own]["settings"]["learning_rate"]
        now = measured(trained(name, k, data, rate, p["steps"]), test)
        cell = record.results["arms"][group][arm]
        for i, what in enumerate(MEASURED):
            pairs[f"{name}.{what}"] = (cell[f"{what}_sets"][k], float(now[i]))
    return pairs
