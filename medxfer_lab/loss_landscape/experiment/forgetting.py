"""Forgetting, forecast and measured: the old loss as the network is tuned on the new task.

The old head is kept aside, untouched; only the body moves. The forecast for a displacement d of
the body is g'd + d'Hd/2, gradient and Hessian of the old loss at the pretrained place, on the same
held-out photographs on which the rise is measured, so that nothing but the remainder parts them.
Beside it: the half d'Hd alone (the text's), with the Gauss-Newton matrix for H, and with only the
Fisher diagonal (what EWC keeps).

*Along the way*: the places of Adam after some steps. *Along the line*: fractions and multiples of
the last displacement. *Directions*: at one relative length the rise along the new task's gradient,
along the tuned displacement, along random directions (plain; in proportion to each weight; with the
gradient's or the displacement's own length in every tensor, so that a difference that is left is
not one between blocks), and along gradient and displacement after their parts in the steepest
eigenspace of the old Gauss-Newton matrix were taken out. The first gradient passes through the
fresh head, which is random.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from medxfer_lab import metrics, nets
from medxfer_lab.course.jobs import Job
from medxfer_lab.loss_landscape.experiment import material as m
from medxfer_lab.loss_landscape.experiment.clusters import exponential
from medxfer_lab.loss_landscape.experiment.walk import (
    adam_walk,
    gradient,
    loss_of,
    with_values,
)
from medxfer_lab.methods import curvature as cv

NAME, DATA, VERSION = "forgetting", "simulated", 1
PRESETS = {
    "smoke": {"pretrainings": 2, "sets": 1, "n": 24, "n_old": 24, "at": [1, 3, 6], "top": 3},
    "quick": {"pretrainings": 2, "sets": 1, "n": 100, "n_old": 100, "at": [1, 10, 60], "top": 10},
    "full": {
        "pretrainings": 8,
        "sets": 2,
        "n": 200,
        "n_old": 250,
        "at": [1, 3, 10, 20, 40, 80, 140, 200],
        "top": 20,
    },
}
LEARNING_RATE = 1e-3
#: multiples of the last displacement
FRACTIONS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5)
FORECASTS = ("total", "quadratic", "gauss_newton", "fisher_diagonal")
#: a forecast is taken to hold while it is within this share of the measured rise, or this near
WITHIN, NEAR = 0.25, 0.01
LENGTH = 0.005  # of every direction's step, relative to the body
DRAWS = 8  # of each random direction
DIRECTIONS = (
    "gradient",
    "displacement",
    "random",
    "random_relative",
    "random_like_gradient",
    "random_like_displacement",
    "gradient_less_steep",
    "displacement_less_steep",
)


class Old:
    """The old task at the network that learned it: loss, gradient, products; on held-out examples.

    network: with the old head. data: prepared inputs and labels that it was not trained on.
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

    def flat(self, values: dict[str, Tensor]) -> Tensor:
        """name -> tensor, to one (d,) float64 vector of the body."""
        return self.hessian.flatten(values).double()

    def rise(self, delta: Tensor) -> float:
        """The old loss at the pretrained place + delta, less that at the place, nats."""
        moved = self.hessian.unflatten(self.place + delta)
        with torch.no_grad():
            return float(self.loss({n: v.to(self.body[n]) for n, v in moved.items()})) - self.start

    def terms(self, delta: Tensor) -> np.ndarray:
        """(4,): g'd, d'Hd/2, d'Gd/2, d'diag(F)d/2."""
        curved = [delta @ self.hessian(delta), delta @ self.gauss_newton(delta)]
        parts = [
            self.gradient @ delta,
            *(c / 2 for c in curved),
            (self.fisher * delta**2).sum() / 2,
        ]
        return np.array([float(p) for p in parts])

    def as_long(self, vector: Tensor, other: Tensor) -> Tensor:
        """The vector, stretched in every tensor to the length that another one has there."""
        parts, wanted = self.hessian.unflatten(vector), self.hessian.unflatten(other)
        return self.flat({n: v * (wanted[n].norm() / v.norm()) for n, v in parts.items()})

    def steep(self, count: int) -> Tensor:
        """(count, d) eigenvectors of the largest eigenvalues of the Gauss-Newton matrix."""
        product, dimension = self.gauss_newton, self.gauss_newton.dimension
        found = cv.top_eigenvalues(
            product, dimension, count, seed=0, tolerance=1e-2, max_steps=3 * count
        )
        return found.vectors


def forgetting_job(k: int, s: int, n: int, n_old: int, at: list[int], top: int) -> dict:
    """Pretraining k, set s of its patients: rises and forecasts' terms; directions."""
    old = Old(m.old(k), m.source(n_old))
    seed = m.TRAINING_SEED + 200 + 100 * s + k
    data, fresh = m.target(n, seed), m.start(k, head_seed=seed)
    way = adam_walk(fresh, data, seed=seed, steps=max(at), learning_rate=LEARNING_RATE, at=at)
    body = [old.flat({name: v[name] for name in old.body}) - old.place for v in way.values()]
    last = body[-1]
    terms = old.terms(last)
    line = np.array(FRACTIONS)
    powers = np.stack([line, line**2, line**2, line**2], axis=1)
    size = float(old.place.norm())
    out = {
        "distance": np.array([float(d.norm()) / size for d in body]),
        "rise": np.array([old.rise(d) for d in body]),
        "terms": np.stack([old.terms(d) for d in body]),
        "line_distance": line * float(last.norm()) / size,
        "line_rise": np.array([old.rise(f * last) for f in line]),
        "line_terms": powers * terms,
        "old_loss": old.start,
        "new_loss": np.array([m.loss(with_values(fresh, v), data) for v in way.values()]),
    }
    if s == 0:
        _, slope = gradient(loss_of(fresh, data), m.body(fresh))
        out |= _directions(old, -old.flat(slope), last, top, k)
    return out


def _directions(old: Old, descent: Tensor, displacement: Tensor, top: int, seed: int) -> dict:
    """Rise and d'Gd/2 at one length; shares in the steep eigenspace; steepness, which is the
    curvature along a direction over the mean of all (1: like a random direction)."""
    steep, generator = old.steep(top), torch.Generator().manual_seed(seed)
    mean_curvature = float(old.fisher.mean())  # tr G/d
    noise = [
        torch.randn(len(displacement), generator=generator, dtype=torch.float64)
        for _ in range(DRAWS)
    ]
    families = {
        "gradient": [descent],
        "displacement": [displacement],
        "random": noise,
        "random_relative": [v * old.place.abs() for v in noise],
        "random_like_gradient": [old.as_long(v, descent) for v in noise],
        "random_like_displacement": [old.as_long(v, displacement) for v in noise],
        "gradient_less_steep": [descent - (steep @ descent) @ steep],
        "displacement_less_steep": [displacement - (steep @ displacement) @ steep],
    }
    out: dict = {"steep_dimension": top / len(displacement)}
    for name, vectors in families.items():
        rows = np.mean([_direction_of(old, v, steep, mean_curvature) for v in vectors], axis=0)
        keys = ("rise", "forward", "quadratic", "steepness", "share")
        out |= {f"{key}_{name}": float(value) for key, value in zip(keys, rows, strict=True)}
    return out


def _direction_of(old: Old, vector: Tensor, steep: Tensor, mean_curvature: float) -> list[float]:
    unit = vector / vector.norm()
    delta = LENGTH * float(old.place.norm()) * unit
    forward, back = old.rise(delta), old.rise(-delta)
    curved = float(unit @ old.gauss_newton(unit))
    half = curved * float(delta @ delta) / 2
    # there and back: the linear term cancels, what is left is curvature
    mean = (forward + back) / 2
    return [mean, forward, half, curved / mean_curvature, float((steep @ unit).square().sum())]


def forecasts(terms: np.ndarray) -> dict[str, np.ndarray]:
    """The four forecasts from `Old.terms` (..., 4)."""
    linear, half, gauss_newton, fisher = np.moveaxis(terms, -1, 0)
    return {
        "total": linear + half,
        "quadratic": half,
        "gauss_newton": gauss_newton,
        "fisher_diagonal": fisher,
    }


def reach(distance: np.ndarray, rise: np.ndarray, forecast: np.ndarray) -> float:
    """How far out a forecast is within WITHIN of the measured rise (or NEAR it, in nats), and
    everywhere before.

    Relative distance of the last good point; half of the first one's where none is good.
    """
    good = np.abs(forecast - rise) <= np.maximum(WITHIN * np.abs(rise), NEAR)
    if not good[0]:
        return float(distance[0]) / 2
    return float(distance[-1] if good.all() else distance[np.argmin(good) - 1])


def run(parameters: dict, runner) -> dict:
    """Measure and forecast; everything is averaged over a pretraining's sets first."""
    count, sets = parameters["pretrainings"], parameters["sets"]
    shared = {key: parameters[key] for key in ("n", "n_old", "at", "top")}
    jobs = [
        Job(f"pretraining-{k}-set-{s}", {"k": k, "s": s, **shared})
        for k in range(count)
        for s in range(sets)
    ]
    found = list(runner(jobs, forgetting_job).values())
    grouped = [found[k * sets : (k + 1) * sets] for k in range(count)]
    out: dict = {
        "old_loss": metrics.mean_interval([g[0]["old_loss"] for g in grouped]).record(),
        "new_loss": _curve(grouped, lambda job: job["new_loss"]),
        "way": _along(grouped, "", [str(a) for a in parameters["at"]]),
        "line": _along(grouped, "line_", [str(round(100 * f)) for f in FRACTIONS]),
        "directions": {d: _direction(grouped, d) for d in DIRECTIONS},
        "steep_dimension": float(grouped[0][0]["steep_dimension"]),
        "reach": {},
    }
    for kind, prefix in (("way", ""), ("line", "line_")):
        for name in FORECASTS:
            values = np.array([[_reach(job, prefix, name) for job in g] for g in grouped])
            ends = np.array([[job[f"{prefix}distance"][[0, -1]] for job in g] for g in grouped])
            out["reach"][f"{kind}_{name}"] = exponential(np.log(values).mean(1)) | {
                "never": int((values < ends[..., 0]).sum()),
                "to_the_end": int((values >= ends[..., 1]).sum()),
                "runs": values.size,
            }
    for name in ("gradient", "displacement"):
        out |= _steepness(grouped, name)
    return out


def _steepness(grouped: list[list[dict]], name: str) -> dict:
    """Log ratios of d'Gd: over all directions' mean; over random directions with the same length
    in every tensor; and over what is left of the direction less its steep part."""

    def logs(other: str) -> dict:
        values = [math.log(g[0][f"steepness_{name}"] / g[0][f"steepness_{other}"]) for g in grouped]
        return metrics.mean_interval(values).record()

    plain = [math.log(g[0][f"steepness_{name}"]) for g in grouped]
    like = [g[0][f"steepness_{name}"] / g[0][f"steepness_random_like_{name}"] for g in grouped]
    return {
        f"steeper_than_like_{name}": exponential(np.log(like)),
        f"log_steepness_{name}": metrics.mean_interval(plain).record(),
        f"log_steeper_than_like_{name}": logs(f"random_like_{name}"),
        f"log_saved_{name}": logs(f"{name}_less_steep"),
    }


def _reach(job: dict, prefix: str, name: str) -> float:
    forecast = forecasts(job[f"{prefix}terms"])[name]
    return reach(job[f"{prefix}distance"], job[f"{prefix}rise"], forecast)


def _curve(grouped: list[list[dict]], value) -> dict:
    """Mean of a curve over a pretraining's sets, then over pretrainings; lists."""
    rows = np.array([np.mean([value(job) for job in group], axis=0) for group in grouped])
    return metrics.mean_interval(rows).record()


def _along(grouped: list[list[dict]], prefix: str, labels: list[str]) -> dict:
    """Distance, rise, linear part and forecasts at each place; log forecast over measured."""
    out: dict = {
        "distance": _curve(grouped, lambda job: job[f"{prefix}distance"]),
        "rise": _curve(grouped, lambda job: job[f"{prefix}rise"]),
        "linear": _curve(grouped, lambda job: job[f"{prefix}terms"][:, 0]),
        "labels": labels,
        "ratio": {},
        "scatter": {
            "distance": [_rounded(j[f"{prefix}distance"]) for g in grouped for j in g],
            "rise": [_rounded(j[f"{prefix}rise"]) for g in grouped for j in g],
            "total": [
                _rounded(forecasts(j[f"{prefix}terms"])["total"]) for g in grouped for j in g
            ],
            "quadratic": [
                _rounded(forecasts(j[f"{prefix}terms"])["quadratic"]) for g in grouped for j in g
            ],
        },
    }
    for name in FORECASTS:
        out[name] = _curve(grouped, lambda job, name=name: forecasts(job[f"{prefix}terms"])[name])
        forecast, rise = np.array(out[name]["mean"]), np.array(out["rise"]["mean"])
        # of the means: a ratio of single runs has no mean where a rise may be near 0
        out["ratio"][name] = {
            label: _ratio(grouped, prefix, name, i) for i, label in enumerate(labels)
        }
        out[name]["over_measured"] = (forecast / rise).tolist()
    return out


def _ratio(grouped: list[list[dict]], prefix: str, name: str, i: int) -> dict:
    """Mean forecast over mean measured rise at place i; jackknife over pretrainings."""

    def part(job: dict) -> tuple[float, float]:
        return forecasts(job[f"{prefix}terms"])[name][i], job[f"{prefix}rise"][i]

    rows = np.array([np.mean([part(job) for job in group], axis=0) for group in grouped])
    total = rows.sum(0)
    without = total - rows
    return metrics.pseudo_value_interval(
        total[0] / total[1], without[:, 0] / without[:, 1]
    ).record()


def _direction(grouped: list[list[dict]], name: str) -> dict:
    keys = ("rise", "forward", "quadratic", "steepness", "share")
    return {
        key: metrics.mean_interval([g[0][f"{key}_{name}"] for g in grouped]).record()
        for key in keys
    }


def _rounded(values: np.ndarray) -> list[float]:
    return [float(f"{v:.4g}") for v in values]


def recheck(record, k: int) -> dict[str, tuple[float, float]]:
    """Repeat set 0 of pretraining k up to its third place: rise and forecast."""
    p = record.parameters
    old = Old(m.old(k), m.source(p["n_old"]))
    seed, at = m.TRAINING_SEED + 200 + k, p["at"][:3]
    data, fresh = m.target(p["n"], seed), m.start(k, head_seed=seed)
    way = adam_walk(fresh, data, seed=seed, steps=max(p["at"]), learning_rate=LEARNING_RATE, at=at)
    then, pairs = record.results["way"]["scatter"], {}
    row = k * p["sets"]
    for i, step in enumerate(at):
        delta = old.flat({name: way[step][name] for name in old.body}) - old.place
        pairs[f"rise.{step}"] = (then["rise"][row][i], old.rise(delta))
        terms = old.terms(delta)
        pairs[f"total.{step}"] = (then["total"][row][i], float(terms[0] + terms[1]))
    return pairs
