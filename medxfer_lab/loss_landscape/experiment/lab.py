"""What the lab runs live: a network of City General is moved on from lesions to haemorrhages.

The chapter's records ask what is left of ten classes of photographs. A ward has none at hand, so
here the old task is one that it has: is there a lesion on a FLAIR slice? A network learns it live
from the photographs' checkpoint. Then it moves on to a second task, is there a haemorrhage on a
slice of a head CT, with a fresh head; the old head is kept aside, never trained, and asked what is
left. All patients are simulated, and none is in a record.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from medxfer_lab import metrics, nets
from medxfer_lab.course.jobs import is_quiet
from medxfer_lab.course.record import Record
from medxfer_lab.imaging import Burden, Cohort, Criterion, Disease, Hospital, normalize
from medxfer_lab.imaging.scanners import CT_ROUTINE
from medxfer_lab.imaging.windows import BRAIN_WINDOW
from medxfer_lab.loss_landscape.experiment import material as m
from medxfer_lab.loss_landscape.experiment import rates
from medxfer_lab.loss_landscape.experiment.continual import Replay, tune_on
from medxfer_lab.loss_landscape.experiment.forgetting import Old
from medxfer_lab.loss_landscape.experiment.spectra import largest
from medxfer_lab.loss_landscape.experiment.tradeoff import mean_of
from medxfer_lab.loss_landscape.experiment.walk import (
    adam_walk,
    descend,
    gradient,
    loss_of,
    values_of,
    with_values,
)
from medxfer_lab.loss_landscape.theory.symmetry import relative_operator
from medxfer_lab.methods import curvature as cv
from medxfer_lab.training import EWC, L2SP, FullFineTuning, fit, fit_many, predict

LAB_SEED = 78_000
#: half of the patients have a haemorrhage, which CT shows and a FLAIR network has never seen
EMERGENCY = Hospital(
    name="City General, emergency (simulated)",
    scanners=((CT_ROUTINE, 1.0),),
    burden=Burden(
        affected=0.0,
        others=(
            Disease("haemorrhage", mean=0.7, most=2, volume_ml=(2.0, 20.0), filling=(0.4, 0.8)),
        ),
    ),
    criterion=Criterion(2.0, ("haemorrhage",)),
)
OLD_STEPS, OLD_RATE = 300, 3e-3
NEW_STEPS, NEW_RATE = 100, 2e-3
#: steps of the second task after which the old head is asked
LOOKS = (1, 2, 3, 5, 8, 12, 20, 35, 60, 100)
#: patients on whom curvature is taken, and descent runs
FEW = 64


@dataclass(frozen=True)
class Tasks:
    """Two tasks, each to train on and to test on: prepared inputs (n, 1, 32, 32), labels (n,)."""

    old: m.Set
    old_test: m.Set
    new: m.Set
    new_test: m.Set

    def few(self) -> m.Set:
        """The first FEW patients of the second task."""
        return self.new[0][:FEW], self.new[1][:FEW]


def prepared(cohort: Cohort) -> m.Set:
    """A cohort as the small network takes it; Hounsfield units through the brain window."""
    if cohort.units == "HU":
        seen = normalize.window(cohort.images, *BRAIN_WINDOW, units="HU").images
    else:
        seen = m.pictures(cohort)
    return nets.load("small_cnn", "untrained").prepare(seen), cohort.labels


def admit(n_old: int = 600, n_new: int = 200, n_test: int = 400, seed: int = LAB_SEED) -> Tasks:
    """Simulate the patients of both tasks: training sets of n_old and n_new, n_test to test on."""
    parts = [
        prepared(m.draw(n, seed + i, hospital))
        for i, (n, hospital) in enumerate(
            [(n_old, m.HOSPITAL), (n_test, m.HOSPITAL), (n_new, EMERGENCY), (n_test, EMERGENCY)]
        )
    ]
    return Tasks(*parts)


def learn_old(tasks: Tasks, seed: int = 0, steps: int = OLD_STEPS) -> nets.Network:
    """From pretraining ``seed`` on photographs to the first task, whole."""
    start = m.start(seed)
    return tune_on(start, tasks.old, seed=seed, steps=steps, learning_rate=OLD_RATE)[0]


def move_on(old: nets.Network, head_seed: int = 1) -> nets.Network:
    """A copy with a fresh head: where the second task starts."""
    network = copy.deepcopy(old)
    network.reset_head(head_seed, n_classes=1)
    return network.eval()


@dataclass(frozen=True)
class Steepness:
    """Largest Gauss-Newton eigenvalue a block, input first, and of all blocks at once.

    top: in the weights' own units. relative: per relative change of each weight.
    """

    top: dict[str, float]
    relative: dict[str, float]
    joint: float

    def stable(self) -> dict[str, float]:
        """Block -> 2/curvature: the longest step that it could take alone on a quadratic."""
        return {block: 2 / value for block, value in self.top.items()}


def steepness(network: nets.Network, data: m.Set) -> Steepness:
    """Curvature of the log loss by block; the labels do not enter (Gauss-Newton)."""
    top, relative = {}, {}
    for block in network.blocks:
        operator = cv.gauss_newton_operator(network, data[0], cv.block(network, block))
        values = {n: p.detach().double() for n, p in cv.block(network, block).items()}
        top[block] = largest(operator, operator.dimension)
        relative[block] = largest(relative_operator(operator, values), operator.dimension)
    whole = cv.gauss_newton_operator(network, data[0])
    return Steepness(top, relative, largest(whole, whole.dimension))


def steepness_table(found: Mapping[str, Steepness]) -> str:
    """A row a block, two columns a place: raw, and per relative change."""
    names = list(found)
    rows = [f"{'':<12}" + "".join(f"{name:>26}" for name in names)]
    rows.append(f"{'':<12}" + f"{'raw':>13}{'relative':>13}" * len(names))
    for block in next(iter(found.values())).top:
        cells = "".join(f"{s.top[block]:>13.3g}{s.relative[block]:>13.3g}" for s in found.values())
        rows.append(f"{block.replace('body.', ''):<12}{cells}")
    return "\n".join(rows)


def descents(
    network: nets.Network,
    data: m.Set,
    steps: Mapping[str, float],
    factors: Iterable[float],
    horizon: int = 20,
) -> dict[float, list[float]]:
    """Factor -> losses (horizon + 1,) of full-batch descent from where the network stands.

    steps: block -> step at factor 1; a block that is left out stands still. A run ends early where
    its loss is above ten times the start's.
    """
    loss, blocks = loss_of(network, data), {b: cv.block(network, b) for b in steps}
    values = values_of(network)
    moving = {name: values[name] for part in blocks.values() for name in part}
    ceiling = 10 * float(loss(values))
    out = {}
    for factor in factors:
        each = {name: factor * steps[b] for b, part in blocks.items() for name in part}
        out[factor] = descend(loss, moving, each, horizon, ceiling)
    return out


class OldTask(Old):
    """The first task at the network that learned it, on patients it was not trained on.

    As `forgetting.Old`, for another task than photographs.
    """

    def __init__(self, network: nets.Network, data: m.Set) -> None:
        self.network, self.data, self.body = network, data, m.body(network)
        self.hessian = cv.hessian_operator(network, *data, self.body)
        self.gauss_newton = cv.gauss_newton_operator(network, data[0], self.body)
        self.loss = loss_of(network, data)
        self.start, slope = gradient(self.loss, self.body)
        self.gradient, self.place = self.flat(slope), self.flat(self.body)
        fisher = cv.fisher_diagonal(network, data[0], labels="exact", parameters=self.body)
        self.fisher = self.flat(fisher)


@dataclass(frozen=True)
class Look:
    """What the old head says after some steps of the second task.

    distance: of the body, relative. rise: of the old loss, nats. linear, half, diagonal: g'd,
    d'Hd/2, and d'diag(F)d/2 of the forecast. scores: (n,) old log odds of the old patients.
    """

    step: int
    distance: float
    rise: float
    linear: float
    half: float
    diagonal: float
    scores: np.ndarray
    auc: float
    new_loss: float

    @property
    def total(self) -> float:
        """The forecast g'd + d'Hd/2, nats."""
        return self.linear + self.half


def watch(
    old: nets.Network,
    tasks: Tasks,
    *,
    seed: int = 1,
    at: Iterable[int] = LOOKS,
    n_old: int = 200,
    learning_rate: float = NEW_RATE / 2,
) -> list[Look]:
    """Fine-tune on the second task (Adam, constant rate) and look at the old one on the way.

    Rise and forecast are taken on the same first n_old of the old test patients.
    """
    data = tasks.old_test[0][:n_old], tasks.old_test[1][:n_old]
    task, fresh = OldTask(old, data), move_on(old, seed)
    steps = sorted(set(at))
    way = adam_walk(
        fresh, tasks.new, seed=seed, steps=steps[-1], learning_rate=learning_rate, at=steps
    )
    looks = []
    for step, values in way.items():
        delta = task.flat({name: values[name] for name in task.body}) - task.place
        linear, half, _, diagonal = (float(v) for v in task.terms(delta))
        network = with_values(fresh, values)
        scores = predict(m.with_head(network, old.head), data[0]).double().numpy()
        looks.append(
            Look(
                step,
                float(delta.norm() / task.place.norm()),
                task.rise(delta),
                linear,
                half,
                diagonal,
                scores,
                float(metrics.auc(scores, data[1].numpy())),
                m.loss(network, tasks.new_test),
            )
        )
    return looks


def forecast_table(looks: Iterable[Look]) -> str:
    """A row a look: how far, the rise, its forecast and the parts of it, nats."""
    head = ("moved", "rise", "forecast", "linear", "half d'Hd", "diagonal", "old AUC")
    rows = [f"{'step':>4}" + "".join(f"{word:>11}" for word in head)]
    for look in looks:
        values = (look.rise, look.total, look.linear, look.half, look.diagonal)
        cells = "".join(f"{v:>11.3f}" for v in values)
        rows.append(f"{look.step:>4}{look.distance:>11.1%}{cells}{look.auc:>11.3f}")
    return "\n".join(rows)


def importance(old: nets.Network, data: m.Set) -> dict[str, Tensor]:
    """Exact diagonal Fisher information of the body on old patients, divided by its mean."""
    raw = cv.fisher_diagonal(old, data[0], labels="exact", parameters=m.body(old))
    scale = mean_of(raw)
    return {name: value / scale for name, value in raw.items()}


def remember(
    old: nets.Network,
    tasks: Tasks,
    way: str = "plain",
    strength: float = 0.0,
    *,
    weights: Mapping[str, Tensor] | None = None,
    seed: int = 1,
    steps: int = NEW_STEPS,
) -> nets.Network:
    """The network tuned on the second task by one way of remembering the first.

    way: "plain", "ewc" (needs `importance` as ``weights``), "l2sp", or "replay" of tasks.old.
    strength: tie of the first two; weight of the old loss.
    """
    strategies = {"ewc": EWC, "l2sp": L2SP}
    fresh, how = move_on(old, seed), {"seed": seed, "steps": steps, "learning_rate": NEW_RATE}
    if way in ("plain", "replay"):
        replay = None
        if way == "replay":
            again = tasks.old[0], tasks.old[1].long()
            replay = Replay(again, two_logits(old.head), strength)
        return tune_on(fresh, tasks.new, **how, replay=replay)[0]
    if way not in strategies:
        raise ValueError(f"way is {way!r}; known: plain, replay, {', '.join(strategies)}")
    strategy, given = strategies[way](strength), weights if way == "ewc" else None
    return fit(fresh, *tasks.new, strategy, **how, importance=given, flip=True).network


def two_logits(head: nn.Linear) -> nn.Linear:
    """The same answers by two logits, (0, z): softmax of them is the logistic function of z."""
    both = nn.Linear(head.in_features, 2)
    with torch.no_grad():
        both.weight.copy_(torch.cat([torch.zeros_like(head.weight), head.weight]))
        both.bias.copy_(torch.cat([torch.zeros_like(head.bias), head.bias]))
    return both


@dataclass(frozen=True)
class Kept:
    """Losses (nats) and AUCs on test patients: the second task, and the first by its old head."""

    new_loss: float
    new_auc: float
    old_loss: float
    old_auc: float


def kept(network: nets.Network, old: nets.Network, tasks: Tasks) -> Kept:
    """What a network knows of both tasks; old: the network whose head the first task has."""
    out: list[float] = []
    for asked, data in ((network, tasks.new_test), (m.with_head(network, old.head), tasks.old_test)):
        scores = predict(asked, data[0]).double().numpy()
        labels = data[1].numpy()
        out += [float(metrics.log_loss(scores, labels)), float(metrics.auc(scores, labels))]
    return Kept(*out)


def kept_table(found: Mapping[tuple[str, float], Kept]) -> str:
    """A row a way and strength."""
    head = ("strength", "new loss", "new AUC", "old loss", "old AUC")
    rows = [f"{'':<10}" + "".join(f"{word:>10}" for word in head)]
    for (way, strength), k in found.items():
        cells = "".join(f"{v:>10.3f}" for v in (k.new_loss, k.new_auc, k.old_loss, k.old_auc))
        rows.append(f"{way:<10}{strength:>10.3g}{cells}" if strength else f"{way:<10}{'':>10}{cells}")
    return "\n".join(rows)


#: of `rates.ARMS`: Adam, pretrained; every block alike, the head fastest, the first block fastest
RATE_ARMS = ("uniform", "discriminative", "reversed")


def tuned_rates(record: Record) -> dict[str, float]:
    """Arm -> the head's learning rate that the record's tuning chose."""
    chosen = record.results["settings"]["adam"]
    return {arm: chosen[arm]["settings"]["learning_rate"] for arm in RATE_ARMS}


def with_rates(
    starts: list[nets.Network],
    sets: list[m.Set],
    record: Record,
    *,
    seeds: list[int],
    steps: int | None = None,
    device: str = "cpu",
) -> dict[str, list[nets.Network]]:
    """Arm -> a network a set, each from its own start; all are trained at once.

    steps: the record's by default.
    """
    chosen = tuned_rates(record)
    runs = [(arm, i) for arm in RATE_ARMS for i in range(len(sets))]
    done = fit_many(
        [starts[i] for _, i in runs],
        [sets[i] for _, i in runs],
        [rates.ARMS[f"adam.{arm}"].strategy for arm, _ in runs],
        seeds=[seeds[i] for _, i in runs],
        steps=steps or record.parameters["steps"],
        learning_rate=[chosen[arm] for arm, _ in runs],
        flip=True,
        device=device,
        progress=not is_quiet(),
    )
    found: dict[str, list[nets.Network]] = {arm: [] for arm in RATE_ARMS}
    for (arm, _), one in zip(runs, done, strict=True):
        found[arm].append(one.network)
    return found


def as_the_record(
    tasks: Tasks, record: Record, sets: int, device: str = "cpu"
) -> dict[str, np.ndarray]:
    """Arm -> test log loss (sets,) of the record's own experiment on your patients, nats.

    From photographs straight to the first task, on as many patients a set as the record's.
    """
    n = record.parameters["n"]
    if sets * n > len(tasks.old[1]):
        raise ValueError(f"{sets} sets of {n} need {sets * n} patients; {len(tasks.old[1])} came")
    parts = [slice(i * n, (i + 1) * n) for i in range(sets)]
    networks = with_rates(
        [m.start(i) for i in range(sets)],
        [(tasks.old[0][part], tasks.old[1][part]) for part in parts],
        record,
        seeds=list(range(sets)),
        device=device,
    )
    return {
        arm: np.array([m.loss(network, tasks.old_test) for network in each])
        for arm, each in networks.items()
    }


def device() -> str:
    """The fastest device at hand: a GPU if torch sees one, else the processor."""
    return "cuda" if torch.cuda.is_available() else "cpu"
