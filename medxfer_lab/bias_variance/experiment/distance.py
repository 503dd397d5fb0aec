"""A control for distances: one learning rate for every size and strategy.

In `networks` the learning rate is tuned at every size and grows with it, and a larger rate alone
carries weights farther before the training loss is matched. Here it is the same for all. Added
after the first look at `networks`; it decides no claim.
"""

from __future__ import annotations

import numpy as np

from medxfer_lab import metrics
from medxfer_lab.bias_variance.experiment import material as m
from medxfer_lab.bias_variance.experiment import networks
from medxfer_lab.course.jobs import Job

NAME, DATA, VERSION = "distance", "simulated", 1
PRESETS = {
    "smoke": {"sets": 3, "sizes": [16, 32]},
    "quick": {"sets": 4, "sizes": [32, 250]},
    "full": {"sets": 12, "sizes": [16, 32, 100, 250, 500]},
}
STRATEGIES = ("scratch", "full_fine_tuning")
SETTINGS = {"learning_rate": 3e-3}


def training_job(k: int, sizes: list[int]) -> dict:
    """Distance at matched training loss (sizes,) of training set k, per strategy; -1: unmatched."""
    drawn = m.cohort(max(sizes), m.TRAINING_SEED + k)
    pictures = m.images(drawn)
    out = {}
    for name in STRATEGIES:
        done = [
            networks.train(pictures[:n], drawn.labels[:n], name, SETTINGS, "lesion", k)
            for n in sizes
        ]
        matched = [-1.0 if d.matched_distance is None else d.matched_distance for d in done]
        out[name] = np.array(matched)
    return out


def run(parameters: dict, runner) -> dict:
    """Mean matched distance by strategy and size, where at least three runs matched the loss."""
    sizes = parameters["sizes"]
    jobs = [Job(f"set-{k:03d}", {"k": k, "sizes": sizes}) for k in range(parameters["sets"])]
    done = list(runner(jobs, training_job).values())
    out: dict = {name: {} for name in STRATEGIES}
    for name in STRATEGIES:
        for i, n in enumerate(sizes):
            values = np.array([job[name][i] for job in done])
            reached = values[values > 0]
            cell: dict = {"matched_reached": len(reached), "matched_sets": values.tolist()}
            if len(reached) >= 3:
                cell["matched_distance"] = metrics.mean_interval(reached).record()
            out[name][str(n)] = cell
    return out
