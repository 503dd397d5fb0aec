"""How much of the new task does it cost to keep the old one? Six ways to pay.

A pretrained network is tuned on target patients; its old head is kept aside, never trained, and
asked what is left of the source task. Each way has a strength, from "no effect" to "hardly moves":

- ``ewc``: elastic weight consolidation, tie/2 sum_j F_j (theta_j - theta0_j)^2, with the exact
  diagonal Fisher information (the model's own labels, in expectation) of source photographs that
  the network was pretrained on;
- ``ewc_empirical``: the same with the labels of the data;
- ``l2sp``: F_j = 1;
- ``replay``: a batch of those photographs in each step, rho times its log loss;
- ``smaller_body_rates``: plain, the body's learning rate divided, the head's not: what everyone
  has for free;
- ``early_stopping``: plain, measured on the way; the schedule of rates is that of the whole run.

Strength 0 of all is ``plain``: the first point of every curve. Fisher information is divided by its
mean over the body, so that strengths of the three ties are in one unit; the raw mean is recorded
(times it, a strength is that of the unnormalised penalty).

*At equal forgetting.* A curve is the broken line through (source loss, target loss) in order of
strength, plain first. Ties and divided rates that grow without bound end where the body stands
still, so their last point is the linear probe; early stopping's is the start. At a bound q on the
source loss a curve's value is its target loss where, coming from plain, it first is at q, linear in
between. Set by set q is the start's source loss plus a share of plain's rise (``half``,
``quarter``, ``tenth``), or plus a share of log 10 - the start's (``known_half``,
``known_quarter``): what the old network knew, in nats, beyond a guess among ten classes. Plain may
rise far beyond log 10, and half of its rise with it: then nothing is left to compare. A set whose
line nowhere comes down to q has no value; those that have one are counted, and a difference needs
both.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from math import log

import numpy as np
import torch
from torch import Tensor

from medxfer_lab import nets
from medxfer_lab.course.jobs import Job
from medxfer_lab.loss_landscape.experiment import material as m
from medxfer_lab.loss_landscape.experiment import rates
from medxfer_lab.loss_landscape.experiment.clusters import over_pretrainings
from medxfer_lab.loss_landscape.experiment.continual import Replay, tune_on
from medxfer_lab.methods.curvature import fisher_diagonal
from medxfer_lab.metrics import auc
from medxfer_lab.training import EWC, L2SP, Choice, FullFineTuning, LinearProbe, fit, predict, tune
from medxfer_lab.training.inputs import log_loss

NAME, DATA, VERSION = "tradeoff", "simulated", 1
PRESETS = {
    "smoke": {"sets": 2, "n": 60, "n_source": 96, "n_test": 200, "steps": 20},
    "quick": {"sets": 2, "n": 100, "n_source": 160, "n_test": 300, "steps": 32},
    "full": {"sets": 16, "n": 200, "n_source": 1000, "n_test": 1000, "steps": 100},
}
#: strengths of each way, weak to strong; found on draws that tune
STRENGTHS: dict[str, tuple[float, ...]] = {
    "ewc": (0.001, 0.004, 0.016, 0.064, 0.25),
    "ewc_empirical": (0.001, 0.004, 0.016, 0.064, 0.25),
    "l2sp": (0.004, 0.02, 0.1, 0.5, 2.5),
    "replay": (0.001, 0.004, 0.016, 0.064, 0.25),
    "smaller_body_rates": (2.0, 5.0, 12.0, 30.0, 75.0),  # plain's learning rate is divided by it
    "early_stopping": (2.0, 4.0, 8.0, 16.0, 40.0),  # and so are plain's steps
}
#: plain fine-tuning and its grid of learning rates: more patients than in :mod:`.rates`
PLAIN = rates.Arm(FullFineTuning(), 6e-3)
#: where a way ends as its strength grows without bound; replay's end is not known
LAST = {
    **dict.fromkeys(("ewc", "ewc_empirical", "l2sp", "smaller_body_rates"), ("probe",)),
    "early_stopping": ("start",),
}
MEASURED = ("target_loss", "auc", "source_loss", "source_accuracy")
#: source loss may rise by a share of plain's rise, or of what was known: (of which, share)
BOUNDS = {
    "half": ("plain", 0.5),
    "quarter": ("plain", 0.25),
    "tenth": ("plain", 0.1),
    "known_half": ("known", 0.5),
    "known_quarter": ("known", 0.25),
}
GUESS = log(10)  # log loss of a guess among the source's ten classes
OTHERS = ("l2sp", "smaller_body_rates", "replay", "ewc_empirical", "early_stopping")
BUG_BATCH = 32
FIRST_SEED = m.TRAINING_SEED + 2_000


@lru_cache(maxsize=2 * m.PRETRAININGS)
def importance(k: int, kind: str, n: int) -> dict[str, Tensor]:
    """Diagonal Fisher information of pretraining k on n source photographs, mean 1 over the body.

    kind: "exact" or "empirical". The head has none: it is not the old task's.
    """
    raw = raw_importance(k, kind, n)
    scale = mean_of(raw)
    return {name: value / scale for name, value in raw.items()}


@lru_cache(maxsize=2 * m.PRETRAININGS)
def raw_importance(k: int, kind: str, n: int) -> dict[str, Tensor]:
    """:func:`importance` before it is divided by its mean."""
    old, (x, y) = m.old(k), m.source_training(n)
    targets = y if kind == "empirical" else None
    return fisher_diagonal(old, x, labels=kind, targets=targets, parameters=m.body(old))


def mean_of(tensors: dict[str, Tensor]) -> float:
    """Mean over all numbers of all tensors."""
    total = sum(float(t.double().sum()) for t in tensors.values())
    return total / sum(t.numel() for t in tensors.values())


def fisher_job(k: int, n: int) -> dict:
    """Raw means of the Fisher information, its shares by block, and what the bug makes of it.

    The bug: squares of a batch's mean gradient in place of the mean of examples' squares. Its mean
    is about 1/b of the right one for labels drawn from the model (there exactly so in expectation:
    an example's expected gradient is zero), as ``bug_model``; ``bug_data`` is with the data's.
    """
    exact, empirical = (raw_importance(k, kind, n) for kind in ("exact", "empirical"))
    flat = [torch.cat([t.flatten() for t in f.values()]).double() for f in (exact, empirical)]
    by_block = [
        sum(float(t.double().sum()) for name, t in exact.items() if f".{b}." in name)
        for b in rates.BLOCKS
    ]
    old, (x, y) = m.old(k), m.source_training(n)
    generator = torch.Generator().manual_seed(k)
    p = torch.softmax(predict(old, x), 1)
    drawn = torch.multinomial(p, 1, generator=generator)[:, 0]
    return {
        "exact_mean": mean_of(exact),
        "empirical_mean": mean_of(empirical),
        "correlation": float(torch.corrcoef(torch.stack(flat))[0, 1]),
        "block_share": np.array(by_block) / sum(by_block),
        "bug_model": batch_mean_ratio(old, (x, drawn)),
        "bug_data": batch_mean_ratio(old, (x, y)),
    }


def batch_mean_ratio(network: nets.Network, data: m.Set, batch: int = BUG_BATCH) -> float:
    """Mean square of batches' mean gradients over the mean square of examples' gradients.

    Whole batches only; over the body's parameters.
    """
    n = len(data[1]) // batch * batch
    x, y = data[0][:n], data[1][:n]
    body = {name: p for name, p in network.named_parameters() if name.startswith("body.")}
    right = fisher_diagonal(
        network,
        x,
        labels="empirical",
        targets=y,
        parameters={k: p.detach() for k, p in body.items()},
    )
    squares = 0.0
    for images, labels in zip(x.split(batch), y.split(batch)):
        gradients = torch.autograd.grad(log_loss(network(images), labels), list(body.values()))
        squares += sum(float(g.double().square().sum()) for g in gradients)
    return squares / (n // batch) / (mean_of(right) * sum(p.numel() for p in body.values()))


def tuned_by(
    method: str, strength: float, k: int, data: m.Set, n_source: int, steps: int, rate: float
) -> nets.Network:
    """Set k's network by one way at one strength; "plain" has none."""
    start, how = m.start(k), {"seed": k, "steps": steps}
    if method == "replay":
        replay = Replay(m.source_training(n_source), m.old(k).head, strength)
        return tune_on(start, data, **how, learning_rate=rate, replay=replay)[0]
    weights, strategy = None, PLAIN.strategy
    if method in ("ewc", "ewc_empirical"):
        kind = "exact" if method == "ewc" else "empirical"
        weights, strategy = importance(k % m.PRETRAININGS, kind, n_source), EWC(strength)
    elif method == "l2sp":
        strategy = L2SP(strength)
    elif method == "smaller_body_rates":
        strategy = replace(strategy, body_rate=1 / strength)
    elif method == "probe":
        strategy = LinearProbe()
    how |= {"learning_rate": rate, "importance": weights, "flip": True}
    return fit(start, *data, strategy, **how).network


def tuning_job(k: int, n: int, steps: int) -> dict:
    """(trials,) validation log loss of plain fine-tuning at each of its rates."""
    data = m.fixed_target(n, m.TUNING_SEED + k)
    held = m.fixed_target(rates.VALIDATION, m.TUNING_SEED + 50 + k)
    tried = PLAIN.candidates
    networks = [tuned_by("plain", 0, k, data, 0, steps, rate) for rate in tried]
    return {"losses": np.array([m.loss(network, held) for network in networks])}


def training_job(k: int, n: int, n_source: int, n_test: int, steps: int, rate: float) -> dict:
    """{"start": (4,), "plain": (4,), way: (strengths, 4)} of MEASURED."""
    data = m.target(n, FIRST_SEED + k)
    look = measuring(k, n_test)
    divided = STRENGTHS["early_stopping"]
    stops = [max(1, round(steps / divisor)) for divisor in divided]
    plain, seen = tune_on(
        m.start(k), data, seed=k, steps=steps, learning_rate=rate, look=look, at=stops
    )
    probe = tuned_by("probe", 0.0, k, data, n_source, steps, rate)
    out = {"start": look(m.start(k)), "plain": look(plain), "probe": look(probe)}
    out["early_stopping"] = np.stack([seen[step] for step in stops])
    for method, strengths in STRENGTHS.items():
        if method != "early_stopping":
            arguments = (k, data, n_source, steps, rate)
            out[method] = np.stack([look(tuned_by(method, s, *arguments)) for s in strengths])
    return out


def measuring(k: int, n_test: int):
    """network -> (4,) MEASURED on fixed patients, and on held-out photographs by the old head."""
    test, photographs = m.fixed_target(n_test, m.TEST_SEED), m.source(n_test)
    head = m.old(k).head

    def look(network: nets.Network) -> np.ndarray:
        z = predict(network, test[0])
        old = predict(m.with_head(network, head), photographs[0])
        right = (old.argmax(1) == photographs[1]).double().mean()
        found = auc(z.double().numpy(), test[1].numpy())
        losses = log_loss(z, test[1].float()), log_loss(old, photographs[1])
        return np.array([float(losses[0]), float(found), float(losses[1]), float(right)])

    return look


def at_equal_forgetting(points: np.ndarray, bound: float) -> float:
    """Target loss where a broken line first comes down to a source loss of ``bound``; nan: nowhere.

    points: (S, 2) (source loss, target loss) in order of strength. A first point that is at the
    bound or below is the answer. The first crossing, not the best one: picking the best of several
    by the reported patients would favour whichever way is noisier.
    """
    x, y = np.asarray(points, float).T
    below = np.flatnonzero(x <= bound)
    if not len(below):
        return float("nan")
    i = int(below[0])
    if i == 0:
        return float(y[0])
    share = (x[i - 1] - bound) / (x[i - 1] - x[i])
    return float(y[i - 1] + share * (y[i] - y[i - 1]))


def run(parameters: dict, runner) -> dict:
    """Tune plain's rate, look at the Fisher information, train every set, compare."""
    p = parameters
    jobs = [
        Job(f"tune-{k}", {"k": k, "n": p["n"], "steps": p["steps"]}) for k in rates.TUNING_DRAWS
    ]
    tuned = dict(zip(rates.TUNING_DRAWS, runner(jobs, tuning_job).values()))
    choice = _choose(tuned, p["sets"])
    jobs = [
        Job(f"fisher-{k}", {"k": k, "n": p["n_source"]})
        for k in range(min(m.PRETRAININGS, p["sets"]))
    ]
    fishers = list(runner(jobs, fisher_job).values())
    shared = {key: p[key] for key in ("n", "n_source", "n_test", "steps")}
    shared["rate"] = choice.settings["learning_rate"]
    jobs = [Job(f"set-{k:03d}", {"k": k, **shared}) for k in range(p["sets"])]
    done = list(runner(jobs, training_job).values())
    fisher = {
        key: over_pretrainings([job[key] for job in fishers])
        | {"pretrainings": [np.round(job[key], 8).tolist() for job in fishers]}
        for key in fishers[0]
    }
    return {
        "settings": choice.record(),
        "fisher": fisher,
        "start": _point(np.stack([job["start"] for job in done])),
        "plain": _point(np.stack([job["plain"] for job in done]), sets=True),
        "probe": _point(np.stack([job["probe"] for job in done])),
        "curves": {method: _curve(done, method) for method in STRENGTHS},
        "matched": {name: _matched(done, *bound) for name, bound in BOUNDS.items()},
    }


def _choose(tuned: dict, sets: int) -> Choice:
    tried = PLAIN.candidates
    return tune(
        {"plain": [{"learning_rate": rate} for rate in tried]},
        lambda _, setting, k: tuned[k]["losses"][tried.index(setting["learning_rate"])],
        rates.TUNING_DRAWS,
        budget=len(tried),
        reported=range(sets),
    )["plain"]


def _point(rows: np.ndarray, sets: bool = False) -> dict:
    """rows: (sets, 4) or (sets, strengths, 4)."""
    cell = {what: over_pretrainings(rows[..., i]) for i, what in enumerate(MEASURED)}
    if sets:
        cell |= {f"{w}_sets": np.round(rows[..., i], 5).tolist() for i, w in enumerate(MEASURED)}
    return cell


def _curve(done: list[dict], method: str) -> dict:
    """MEASURED at each strength; target loss less plain's; rise of the source loss as a share of
    plain's."""
    rows, plain, start = (
        np.stack([job[key] for job in done]) for key in (method, "plain", "start")
    )
    excess = rows[..., 0] - plain[:, None, 0]
    rise = (rows[..., 2] - start[:, None, 2]) / (plain[:, None, 2] - start[:, None, 2])
    cell = {"strengths": list(STRENGTHS[method])} | _point(rows, sets=True)
    cell |= {"target_excess": over_pretrainings(excess), "risen_share": over_pretrainings(rise)}
    return cell


def _matched(done: list[dict], of: str, share: float) -> dict:
    """Target loss less plain's of each way at one bound, and EWC's differences from the others."""
    bounds = [_bound(job, of, share) for job in done]
    values = {
        method: np.array([_value(job, method, bound) for job, bound in zip(done, bounds)])
        for method in STRENGTHS
    }
    out: dict = {"bound": over_pretrainings(bounds), "excess": {}, "differences": {}}
    for method, found in values.items():
        cell = _interval(found)
        cell["reached"] = int(np.isfinite(found).sum())
        cell["sets"] = [round(v, 5) if np.isfinite(v) else None for v in found.tolist()]
        out["excess"][method] = cell
    for other in OTHERS:
        out["differences"][f"ewc_minus_{other}"] = _interval(values["ewc"] - values[other])
    return out


def _bound(job: dict, of: str, share: float) -> float:
    start = job["start"][2]
    return start + share * ((job["plain"][2] if of == "plain" else GUESS) - start)


def _value(job: dict, method: str, bound: float) -> float:
    plain, last = job["plain"], [job[key][None] for key in LAST.get(method, ())]
    points = np.concatenate([plain[None], job[method], *last])[:, [2, 0]]
    return at_equal_forgetting(points, bound) - plain[0]


def _interval(values: np.ndarray) -> dict:
    """Over pretrainings that have a value; none: fewer than two have one."""
    kinds = np.arange(len(values)) % m.PRETRAININGS
    have = [values[(kinds == kind) & np.isfinite(values)] for kind in np.unique(kinds)]
    means = [found.mean() for found in have if len(found)]
    if len(means) < 2:
        return {"mean": None, "low": None, "high": None, "n": len(means)}
    return over_pretrainings(means)


def recheck(
    record, k: int, methods: tuple[str, ...] = ("ewc", "l2sp")
) -> dict[str, tuple[float, float]]:
    """{way.measure: (value in the record, now)} of set k: plain, and the middle strengths."""
    p = record.parameters
    rate = record.results["settings"]["settings"]["learning_rate"]
    data, look = m.target(p["n"], FIRST_SEED + k), measuring(k, p["n_test"])
    pairs = {}
    for method in ("plain", *methods):
        at = len(STRENGTHS.get(method, ())) // 2
        strength = STRENGTHS[method][at] if method in STRENGTHS else 0.0
        now = look(tuned_by(method, strength, k, data, p["n_source"], p["steps"], rate))
        for i, what in enumerate(MEASURED):
            then = record.results if method == "plain" else record.results["curves"]
            listed = then[method][f"{what}_sets"][k]
            pairs[f"{method}.{what}"] = (listed if method == "plain" else listed[at], float(now[i]))
    return pairs
