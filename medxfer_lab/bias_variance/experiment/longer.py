"""A follow-up: is a lead at 1,000 labels owed to knowledge, or to a budget of too few steps?

The experiment `networks` gives every strategy the same 250 steps at 1,000 labels. Here scratch and
full fine-tuning get four times as many, at one learning rate, on the same training sets. It was
added after the first look at `networks`, so it decides no claim.
"""

from __future__ import annotations

import numpy as np

from medxfer_lab import metrics
from medxfer_lab.bias_variance.experiment import material as m
from medxfer_lab.bias_variance.experiment import networks
from medxfer_lab.course.jobs import Job
from medxfer_lab.training import predict

NAME, DATA, VERSION = "longer", "simulated", 1
PRESETS = {
    "smoke": {"sets": 3, "sizes": [64], "steps": [50, 100], "n_test": 80},
    "quick": {"sets": 3, "sizes": [250], "steps": [250, 500], "n_test": 300},
    "full": {"sets": 12, "sizes": [1000], "steps": [250, 1000], "n_test": 600},
}
STRATEGIES = ("scratch", "full_fine_tuning")
SETTINGS = {"learning_rate": 3e-3}


def training_job(k: int, sizes: list[int], steps: list[int], n_test: int) -> dict:
    """Test AUC (steps, sizes) of training set k, per strategy; lesion labels."""
    drawn = m.cohort(max(sizes), m.TRAINING_SEED + k)
    pictures = m.images(drawn)
    test = m.fixed_cohort("test", n_test)
    shown, labels = m.images(test), test.labels.numpy()
    out = {}
    for name in STRATEGIES:
        grid = np.zeros((len(steps), len(sizes)))
        for i, count in enumerate(steps):
            for j, n in enumerate(sizes):
                done = networks.train(
                    pictures[:n], drawn.labels[:n], name, SETTINGS, "lesion", k, steps=count
                )
                logits = predict(done.network, done.network.prepare(shown))
                grid[i, j] = metrics.auc(logits.numpy(), labels)
        out[name] = grid
    return out


def run(parameters: dict, runner) -> dict:
    """Mean AUC and the paired lead of fine-tuning, by steps and size."""
    shared = {key: parameters[key] for key in ("sizes", "steps", "n_test")}
    jobs = [Job(f"set-{k:03d}", {"k": k, **shared}) for k in range(parameters["sets"])]
    done = list(runner(jobs, training_job).values())
    grids = {s: np.stack([job[s] for job in done]) for s in STRATEGIES}
    out: dict = {}
    for i, count in enumerate(parameters["steps"]):
        for j, n in enumerate(parameters["sizes"]):
            cell = {s: metrics.mean_interval(grids[s][:, i, j]).record() for s in STRATEGIES}
            lead = grids["full_fine_tuning"][:, i, j] - grids["scratch"][:, i, j]
            cell["lead"] = metrics.mean_interval(lead).record()
            out.setdefault(str(n), {})[str(count)] = cell
    return out
