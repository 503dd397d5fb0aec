"""Is there a wall between two tuned networks? Straight lines between them, and one plane.

Two networks A and B, parameters theta_A and theta_B, heads included. Along the straight line the
loss is L(t) = L((1 - t) theta_A + t theta_B), and

    barrier = max over t of  L(t) - [(1 - t) L(0) + t L(1)].

At both ends the difference is 0, so a barrier is never negative, and an interval of its mean says
how large it is, not whether there is one; the excess at t = 1/2 can have either sign. Measured on
patients whom no network saw, and, for networks that come from photographs, on the old task under
the old head (between two pretrainings the old heads are mixed as well).

Networks that share a pretraining have been found in one basin (Neyshabur, Sedghi and Zhang, "What
is being transferred in transfer learning?", NeurIPS 2020). A wall between networks of different
starts is one between *these* parameters: the channels of a layer can be renumbered without changing
the function, and after a better numbering there may be less of a wall (Entezari, Sedghi, Saukh and
Neyshabur, "The role of permutation invariance in linear mode connectivity", ICLR 2022).

Every pair has patients of its own and rests on one of the eight pretrainings; in pairs of two
pretrainings each takes part twice, so that those intervals are a little too short. Test patients
are fixed.
"""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from medxfer_lab import nets
from medxfer_lab.course.jobs import Job
from medxfer_lab.loss_landscape.experiment import material as m
from medxfer_lab.loss_landscape.experiment.clusters import over_pretrainings
from medxfer_lab.training import FullFineTuning, fit

NAME, DATA, VERSION = "paths", "simulated", 1
PRESETS = {
    "smoke": {"pairs": 2, "n": 24, "n_test": 40, "steps": 2, "points": 3, "grid": 3},
    "quick": {"pairs": 2, "n": 300, "n_test": 300, "steps": 200, "points": 7, "grid": 7},
    "full": {"pairs": 8, "n": 300, "n_test": 500, "steps": 200, "points": 11, "grid": 15},
}
RATE = 2e-3  # of Adam at its peak
FIRST_SEED = m.TRAINING_SEED + 5_000
MARGIN = 0.25  # of the plane beyond its three points, as a share of their extent

#: kind of pair -> what its second network has of its own
KINDS = {
    "batches": "pretrained: other batches",
    "patients": "pretrained: other patients and batches",
    "head": "pretrained: other head and batches",
    "pretraining": "other pretraining, head and batches",
    "untrained_same": "untrained: other batches",
    "untrained_other": "untrained: other start, head and batches",
}
#: differences by pairs: one thing apart; the last two by more than that
DIFFERENCES = (
    ("patients", "batches"),
    ("head", "batches"),
    ("pretraining", "head"),
    ("untrained_other", "untrained_same"),
    ("untrained_same", "batches"),
)
PRETRAINED = tuple(KINDS)[:4]


def tuned(
    start: str, k: int, head: int, order: int, data: m.Set, steps: int
) -> tuple[nets.Network, float]:
    """A network tuned from start k under a head and an order of batches; how far its body moved."""
    network = m.start(k, start, head_seed=head)
    how = {"seed": order, "steps": steps, "learning_rate": RATE, "flip": True}
    done = fit(network, *data, FullFineTuning(), **how)
    return done.network, done.distance


def losses_on_line(
    first: nets.Network, second: nets.Network, data: m.Set, points: int
) -> np.ndarray:
    """(points,) losses at t = 0 .. 1 between two networks, heads included."""
    a, b = (_vector(network) for network in (first, second))
    return np.array(
        [m.loss(_at(first, torch.lerp(a, b, float(t))), data) for t in np.linspace(0, 1, points)]
    )


def _vector(network: nn.Module) -> Tensor:
    return parameters_to_vector(network.parameters()).detach()


def _at(network: nets.Network, vector: Tensor) -> nets.Network:
    """A copy with these parameters; group normalisation has nothing else to interpolate."""
    other = copy.deepcopy(network)
    vector_to_parameters(vector, other.parameters())
    return other


def excess(losses: np.ndarray) -> np.ndarray:
    """L(t) - [(1 - t) L(0) + t L(1)] along the last axis, t equally spaced."""
    t = np.linspace(0, 1, losses.shape[-1])
    return losses - ((1 - t) * losses[..., :1] + t * losses[..., -1:])


def barrier(losses: np.ndarray) -> np.ndarray:
    """The largest excess along the last axis; 0 or more."""
    return np.maximum(excess(losses).max(-1), 0.0)


def pairs_job(j: int, n: int, n_test: int, steps: int, points: int) -> dict:
    """One pair of each kind: (kinds, points) losses, relative distances of the two bodies."""
    data, other = (m.target(n, FIRST_SEED + 2 * j + i) for i in range(2))
    here, there, mine, its = j, j + 1, 100 + j, 200 + j
    first = tuned("photographs", here, mine, mine, data, steps)
    scratch = tuned("untrained", here, mine, mine, data, steps)
    seconds = {
        "batches": tuned("photographs", here, mine, its, data, steps),
        "patients": tuned("photographs", here, mine, its, other, steps),
        "head": tuned("photographs", here, its, its, data, steps),
        "pretraining": tuned("photographs", there, its, its, data, steps),
        "untrained_same": tuned("untrained", here, mine, its, data, steps),
        "untrained_other": tuned("untrained", there, its, its, data, steps),
    }
    test, photographs = m.fixed_target(n_test, m.TEST_SEED), m.source(n_test)
    out: dict = {"target": [], "source": [], "apart": []}
    for kind, (network, _) in seconds.items():
        begin = (first if kind in PRETRAINED else scratch)[0]
        out["target"].append(losses_on_line(begin, network, test, points))
        out["apart"].append(apart(begin, network))
        if kind in PRETRAINED:
            heads = m.old(here).head, m.old(there if kind == "pretraining" else here).head
            ends = [m.with_head(net, head) for net, head in zip((begin, network), heads)]
            out["source"].append(losses_on_line(*ends, photographs, points))
    moved = {"photographs": first[1], "untrained": scratch[1]}
    return {key: np.array(rows) for key, rows in out.items()} | {"moved": moved}


def apart(first: nets.Network, second: nets.Network) -> float:
    """||theta_A - theta_B|| / ||theta_A|| of the bodies."""
    a, b = _vector(first.body), _vector(second.body)
    return float((a - b).norm() / a.norm())


def plane_job(j: int, n: int, n_test: int, steps: int, grid: int) -> dict:
    """Losses on the plane through a pretraining theta_0 and two networks A and B tuned from it.

    A and B began under one head, theta_0's, and saw different patients. x runs from theta_0 to A,
    y at a right angle to it, B has y > 0; both in units of ||theta_0||, head included. target and
    source: (grid, grid), row for y, column for x; the source's loss under the old head, which is
    the same everywhere on the plane.
    """
    origin, old = m.start(j, head_seed=100 + j), m.old(j)
    sets = [m.target(n, FIRST_SEED + 2 * j + i) for i in range(2)]
    ends = [
        tuned("photographs", j, 100 + j, 100 * (i + 1) + j, data, steps)[0]
        for i, data in enumerate(sets)
    ]
    zero = _vector(origin)
    a, b = (_vector(network) - zero for network in ends)
    across = a / a.norm()
    up = b - (b @ across) * across
    up, unit = up / up.norm(), zero.norm()
    corners = {
        "A": [float(a.norm() / unit), 0.0],
        "B": [float(b @ across / unit), float(b @ up / unit)],
    }
    x, y = (axis([0.0, corners["A"][i], corners["B"][i]], grid) for i in range(2))
    test, photographs = m.fixed_target(n_test, m.TEST_SEED), m.source(n_test)
    target, source = np.empty((grid, grid)), np.empty((grid, grid))
    for row, column in np.ndindex(grid, grid):
        vector = zero + unit * (x[column] * across + y[row] * up)
        network = _at(origin, vector)
        target[row, column] = m.loss(network, test)
        source[row, column] = m.loss(m.with_head(network, old.head), photographs)
    return {"x": x, "y": y, "target": target, "source": source, "corners": corners}


def axis(points: list[float], grid: int) -> list[float]:
    """Equally spaced coordinates that cover the points and a margin on either side."""
    low, high = min(points), max(points)
    beyond = MARGIN * (high - low)
    return np.linspace(low - beyond, high + beyond, grid).tolist()


def run(parameters: dict, runner) -> dict:
    """Every kind's barriers over pairs; differences by pairs; the plane of the first."""
    p = parameters
    shared = {key: p[key] for key in ("n", "n_test", "steps")}
    jobs = [
        Job(f"pair-{j:02d}", {"j": j, "points": p["points"]} | shared) for j in range(p["pairs"])
    ]
    done = list(runner(jobs, pairs_job).values())
    plane = runner([Job("plane", {"j": 0, "grid": p["grid"]} | shared)], plane_job)["plane"]
    out: dict = {"t": np.round(np.linspace(0, 1, p["points"]), 4), "kinds": {}}
    for task, kinds in (("target", tuple(KINDS)), ("source", PRETRAINED)):
        losses = np.stack([job[task] for job in done])  # (pairs, kinds, points)
        for i, kind in enumerate(kinds):
            out["kinds"].setdefault(kind, {})[task] = summary(losses[:, i])
        out[f"{task}_differences"] = differences(barrier(losses), kinds)
    for i, kind in enumerate(KINDS):
        rows = [job["apart"][i] for job in done]
        out["kinds"][kind]["apart"] = over_pretrainings(rows)
    out["moved"] = {
        start: over_pretrainings([job["moved"][start] for job in done])
        for start in ("photographs", "untrained")
    }
    rounded = {key: np.round(plane[key], 5) for key in ("x", "y", "target", "source")}
    return out | {"plane": rounded | {"corners": plane["corners"]}}


def summary(losses: np.ndarray) -> dict:
    """losses: (pairs, points). Barrier, excess half-way, loss at the ends, and the mean curve."""
    middle = excess(losses)[:, losses.shape[1] // 2]
    ends = losses[:, [0, -1]].mean(1)
    return {
        "barrier": over_pretrainings(barrier(losses)),
        "middle": over_pretrainings(middle),
        "ends": over_pretrainings(ends),
        "barriers": np.round(barrier(losses), 5),
        "first_end": np.round(losses[:, 0], 5),
        "curve": np.round(losses.mean(0), 5),
        "excess": np.round(excess(losses).mean(0), 5),
    }


def differences(barriers: np.ndarray, kinds: tuple[str, ...]) -> dict:
    """barriers: (pairs, kinds). One kind's barrier minus another's, as DIFFERENCES names them."""
    return {
        f"{first}_minus_{second}": over_pretrainings(
            barriers[:, kinds.index(first)] - barriers[:, kinds.index(second)]
        )
        for first, second in DIFFERENCES
        if first in kinds and second in kinds
    }


def recheck(record, k: int) -> dict[str, tuple[float, float]]:
    """Pair k's first networks, trained again: {loss on the test patients in the record, now}."""
    p, data = record.parameters, m.target(record.parameters["n"], FIRST_SEED + 2 * k)
    pairs = {}
    for start, kind in (("photographs", "batches"), ("untrained", "untrained_same")):
        network, _ = tuned(start, k, 100 + k, 100 + k, data, p["steps"])
        then = record.results["kinds"][kind]["target"]["first_end"][k]
        pairs[start] = then, m.loss(network, m.fixed_target(p["n_test"], m.TEST_SEED))
    return pairs
