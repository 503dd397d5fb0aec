"""Which randomness? Training sets crossed with seeds: every set meets every seed."""

from __future__ import annotations

import numpy as np

from medxfer_lab import metrics
from medxfer_lab.bias_variance.experiment import material as m
from medxfer_lab.bias_variance.experiment import networks, summary
from medxfer_lab.course.jobs import Job
from medxfer_lab.training import predict

NAME, DATA, VERSION = "crossed", "simulated", 1
PRESETS = {
    "smoke": {"sets": 3, "seeds": 3, "sizes": [16], "n_test": 80, "n_pool": 80},
    "quick": {"sets": 4, "seeds": 3, "sizes": [32], "n_test": 300, "n_pool": 300},
    "full": {"sets": 10, "seeds": 6, "sizes": [32, 250], "n_test": 600, "n_pool": 500},
}
STRATEGIES = ("scratch", "full_fine_tuning")
#: a setting for all: this experiment splits variance, it does not compare best performance
SETTINGS = {"learning_rate": 3e-3}


def training_job(k: int, seeds: int, sizes: list[int], n_test: int, n_pool: int) -> dict:
    """Test logits (sizes, seeds, n_test) of training set k, per strategy. Lesion labels."""
    drawn = m.cohort(max(sizes), m.TRAINING_SEED + k)
    pictures = m.images(drawn)
    test = m.images(m.fixed_cohort("test", n_test))
    out = {}
    for name in STRATEGIES:
        cube = []
        for n in sizes:
            rows = []
            for seed in range(seeds):
                done = networks.train(
                    pictures[:n], drawn.labels[:n], name, SETTINGS, "lesion", seed
                )
                rows.append(predict(done.network, done.network.prepare(test)).numpy())
            cube.append(np.stack(rows))
        out[name] = np.stack(cube)
    return out


def run(parameters: dict, runner) -> dict:
    """Variance components of data, seed and their interaction, per strategy and size."""
    shared = {key: parameters[key] for key in ("seeds", "sizes", "n_test", "n_pool")}
    jobs = [Job(f"set-{k:03d}", {"k": k, **shared}) for k in range(parameters["sets"])]
    trained = list(runner(jobs, training_job).values())
    labels = m.fixed_cohort("test", parameters["n_test"]).labels.numpy()
    out: dict = {}
    for name in STRATEGIES:
        for i, n in enumerate(parameters["sizes"]):
            logits = np.stack([job[name][i] for job in trained])  # (sets, seeds, n_test)
            parts = metrics.crossed_variance(summary.sigmoid(logits)).record()
            parts["auc_cells"] = [
                np.round(metrics.auc(rows, labels), 5).tolist() for rows in logits
            ]
            out.setdefault(name, {})[str(n)] = parts
    return out
