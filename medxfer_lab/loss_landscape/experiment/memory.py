"""What is left of the lab's first task: forecast, measured, and held on to.

The old head is never trained; it is put back on the network's body to ask. Rises and forecasts are
taken on patients of the first task whom no network was trained on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor, nn

from medxfer_lab import metrics, nets
from medxfer_lab.loss_landscape.experiment import material as m
from medxfer_lab.loss_landscape.experiment.continual import Replay, tune_on
from medxfer_lab.loss_landscape.experiment.forgetting import Old
from medxfer_lab.loss_landscape.experiment.lab import Tasks, move_on
from medxfer_lab.loss_landscape.experiment.tradeoff import mean_of
from medxfer_lab.loss_landscape.experiment.walk import adam_walk, with_values
from medxfer_lab.methods import curvature as cv
from medxfer_lab.training import EWC, L2SP, fit, predict

STEPS, RATE = 100, 2e-3
#: steps after which the old head is asked
LOOKS = (1, 2, 3, 5, 8, 12, 20, 35, 60, 100)
#: old patients whose Fisher information is taken, and on whom the forecast is tried
N_OLD = 200


@dataclass(frozen=True)
class Look:
    """What the old head says after some steps of the second task.

    distance: of the body, relative. rise: of the old loss, nats. mended: what is left of it when
    the best constant is added to all log odds. linear, half, diagonal: g'd, d'Hd/2, and
    d'diag(F)d/2 of the forecast. scores: (n,) old log odds of the old patients.
    """

    step: int
    distance: float
    rise: float
    mended: float
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
    n_old: int = N_OLD,
    learning_rate: float = RATE / 2,
) -> list[Look]:
    """Fine-tune on the second task (Adam, constant rate) and look at the old one on the way.

    Rise and forecast are taken on the same first n_old of the old test patients.
    """
    data = tasks.old_test[0][:n_old], tasks.old_test[1][:n_old]
    task, fresh = Old(old, data), move_on(old, seed)
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
                best_constant(scores, data[1].numpy()) - task.start,
                linear,
                half,
                diagonal,
                scores,
                float(metrics.auc(scores, data[1].numpy())),
                m.loss(network, tasks.new_test),
            )
        )
    return looks


def best_constant(scores: np.ndarray, labels: np.ndarray) -> float:
    """Least log loss that one constant, added to all log odds, can reach; nats."""
    reach = 1 + float(np.abs(scores).max())
    # convex in the constant, and beyond this reach all patients would be called alike
    found = minimize_scalar(
        lambda b: float(metrics.log_loss(scores + b, labels)), bounds=(-reach, reach)
    )
    return float(found.fun)


def forecast_table(looks: Iterable[Look]) -> str:
    """A row a look: how far, the rise, its forecast and the parts of it, nats."""
    head = ("moved", "rise", "forecast", "linear", "half d'Hd", "diagonal")
    rows = [f"{'step':>4}" + "".join(f"{word:>11}" for word in head)]
    for look in looks:
        values = (look.rise, look.total, look.linear, look.half, look.diagonal)
        cells = "".join(f"{v:>11.3f}" for v in values)
        rows.append(f"{look.step:>4}{look.distance:>11.1%}{cells}")
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
    steps: int = STEPS,
) -> nets.Network:
    """The network tuned on the second task by one way of remembering the first.

    way: "plain", "ewc" (needs `importance` as ``weights``), "l2sp", or "replay" of tasks.old.
    strength: tie of the first two; weight of the old loss.
    """
    strategies = {"ewc": EWC, "l2sp": L2SP}
    fresh, how = move_on(old, seed), {"seed": seed, "steps": steps, "learning_rate": RATE}
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
    for asked, data in (
        (network, tasks.new_test),
        (m.with_head(network, old.head), tasks.old_test),
    ):
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
        rows.append(
            f"{way:<10}{strength:>10.3g}{cells}" if strength else f"{way:<10}{'':>10}{cells}"
        )
    return "\n".join(rows)
