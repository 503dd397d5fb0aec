"""Where the landscape is steep: curvature by block, on the old loss and on the new, along tuning.

For each pretraining: the old loss on held-out photographs under the old head; the new loss on the
set's own patients at four places: under a fresh head (where everybody starts), after only the head
was tuned, and along fine-tuning. All by the Gauss-Newton matrix, in raw units and per relative
change; at three places the Hessian's top eigenvalue beside it. For one pretraining also the whole
spectrum, and what rescaling the first layer does to the raw numbers.
"""

from __future__ import annotations

import numpy as np

from medxfer_lab import metrics
from medxfer_lab.course.jobs import Job
from medxfer_lab.loss_landscape.experiment import material as m
from medxfer_lab.loss_landscape.experiment import spectra
from medxfer_lab.loss_landscape.experiment.clusters import exponential
from medxfer_lab.loss_landscape.experiment.walk import adam_walk, with_values
from medxfer_lab.loss_landscape.theory.symmetry import rescaled
from medxfer_lab.methods import curvature as cv

NAME, DATA, VERSION = "curvature", "simulated", 1
PRESETS = {
    "smoke": {"pretrainings": 2, "n": 24, "steps": [2, 4], "lanczos": 6, "starts": 1},
    "quick": {"pretrainings": 2, "n": 100, "steps": [30, 100], "lanczos": 20, "starts": 1},
    "full": {"pretrainings": 8, "n": 200, "steps": [30, 300], "lanczos": 40, "starts": 2},
}
LEARNING_RATE = 1e-3  # Adam
HEAD_STEPS = 100  # of tuning the head alone
#: places at which curvature is taken; "tuned_a" and "tuned_b" after PRESETS' two numbers of steps
OLD_PLACES = ("old_start", "old_end")
NEW_PLACES = ("fresh", "head_tuned", "tuned_a", "tuned_b")
PLACES = (*OLD_PLACES, *NEW_PLACES)
HESSIAN_PLACES = ("old_start", "fresh", "tuned_b")
FACTORS = (0.1, 10.0)  # of conv1's weights: the same function in other units


def places(k: int, n: int, steps: list[int]) -> dict[str, tuple]:
    """place -> (network, data) for pretraining k and its own n patients."""
    data, old = m.target(n, m.TRAINING_SEED + k), m.source(n)
    fresh, before = m.start(k), m.old(k)
    how = {"seed": k, "learning_rate": LEARNING_RATE}
    head = adam_walk(fresh, data, steps=HEAD_STEPS, at=[HEAD_STEPS], prefixes=("head",), **how)
    way = adam_walk(fresh, data, steps=max(steps), at=steps, **how)
    tuned = {name: with_values(fresh, way[s]) for name, s in zip(NEW_PLACES[2:], steps)}
    return {
        "old_start": (before, old),
        "old_end": (m.with_head(tuned["tuned_b"], before.head), old),
        "fresh": (fresh, data),
        "head_tuned": (with_values(fresh, head[HEAD_STEPS]), data),
        **{name: (network, data) for name, network in tuned.items()},
    }


def curvature_job(k: int, n: int, steps: list[int]) -> dict:
    """place -> (blocks, 5) as in `spectra.by_block`; Hessian's top eigenvalues, losses."""
    out: dict = {}
    for name, (network, data) in places(k, n, steps).items():
        out[name] = spectra.by_block(network, data)
        out[f"loss_{name}"] = m.loss(network, data)
        if name in HESSIAN_PLACES:
            tops = [spectra.top_hessian(network, data, block) for block in network.blocks]
            out[f"hessian_{name}"] = np.array(tops)
    return out


def spectrum_job(k: int, n: int, steps: list[int], lanczos: int, starts: int) -> dict:
    """Nodes and weights of the Hessian's spectral density, old and new loss; conv1 rescaled."""
    found, out = places(k, n, steps), {}
    for name in HESSIAN_PLACES:
        operator = cv.hessian_operator(found[name][0], *found[name][1])
        density = cv.spectral_density(operator, operator.dimension, starts, lanczos, seed=k)
        out[f"nodes_{name}"] = np.array([np.asarray(v) for v in density.nodes])
        out[f"weights_{name}"] = np.array([np.asarray(v) for v in density.weights])
    network, data = found["old_start"]
    for i, factor in enumerate((1.0, *FACTORS)):
        other = rescaled(network, {"body.conv1": factor})
        out[f"units_{i}"] = spectra.by_block(other, data)
        out[f"loss_{i}"] = m.loss(other, data)
    return out


def run(parameters: dict, runner) -> dict:
    """Measure each pretraining, then logarithms of curvature and of ratios with intervals."""
    count = parameters["pretrainings"]
    shared = {key: parameters[key] for key in ("n", "steps")}
    jobs = [Job(f"pretraining-{k}", {"k": k, **shared}) for k in range(count)]
    found = list(runner(jobs, curvature_job).values())
    extra = {key: parameters[key] for key in ("lanczos", "starts")}
    (seen,) = runner([Job("spectrum-0", {"k": 0, **shared, **extra})], spectrum_job).values()
    out: dict = {place: _place(found, place) for place in PLACES}
    out["spectrum"] = {
        name: {
            "nodes": np.round(seen[f"nodes_{name}"], 4).tolist(),
            "weights": np.round(seen[f"weights_{name}"], 6).tolist(),
        }
        for name in HESSIAN_PLACES
    }
    out["units"] = {
        "factors": [1.0, *FACTORS],
        "loss": [float(seen[f"loss_{i}"]) for i in range(1 + len(FACTORS))],
        "top": [float(seen[f"units_{i}"][0, 0]) for i in range(1 + len(FACTORS))],
        "relative_top": [float(seen[f"units_{i}"][0, 3]) for i in range(1 + len(FACTORS))],
    }
    return out


def _place(found: list[dict], place: str) -> dict:
    """Every measure of every block (geometric mean), and log ratios against the first block."""
    values = np.stack([job[place] for job in found])  # (pretrainings, blocks, measures)
    blocks = [name.replace("body.", "") for name in m.start(0).blocks]
    out: dict = {"loss": metrics.mean_interval([job[f"loss_{place}"] for job in found]).record()}
    for i, measure in enumerate(spectra.MEASURES):
        logs = np.log(values[:, :, i])
        out[measure] = {
            block: exponential(logs[:, b]) | {"pretrainings": np.exp(logs[:, b]).tolist()}
            for b, block in enumerate(blocks)
        }
        out[f"log_first_over_{measure}"] = {
            block: metrics.mean_interval(logs[:, 0] - logs[:, b]).record()
            for b, block in enumerate(blocks)
            if b
        }
    if f"hessian_{place}" in found[0]:
        tops = np.stack([job[f"hessian_{place}"] for job in found])
        out["hessian_top"] = {b: tops[:, i].tolist() for i, b in enumerate(blocks)}
    return out


def recheck(record, k: int) -> dict[str, tuple[float, float]]:
    """Repeat the old loss's curvature and the start's for pretraining k."""
    found = places(k, record.parameters["n"], [1, 2])
    pairs = {}
    for place in ("old_start", "fresh"):
        network, data = found[place]
        for block in ("body.conv1", "body.conv4", "head"):
            then = record.results[place]["top"][block.replace("body.", "")]["pretrainings"][k]
            pairs[f"{place}.{block}"] = (then, spectra.top_gauss_newton(network, data, block))
    return pairs
