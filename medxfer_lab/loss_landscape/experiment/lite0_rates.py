"""Discriminative rates once more, on the network that a practitioner would take.

Added after the small network's record (:mod:`.rates`) had turned out against them: is that an
oddity of a small network? EfficientNet-Lite0 with ImageNet weights has many blocks, so the factor
from block to block is taken such that the first block's rate is as many times the head's as in the
small network. Learning rates are tuned with equal budgets on a draw of its own. One pretraining:
intervals are over sets of patients, heads and orders of batches.
"""

from __future__ import annotations

import numpy as np

from medxfer_lab import metrics
from medxfer_lab.course.jobs import Job
from medxfer_lab.loss_landscape.experiment import lite0, rates
from medxfer_lab.loss_landscape.experiment import material as m
from medxfer_lab.metrics import auc
from medxfer_lab.training import Discriminative, FullFineTuning, Strategy, fit, predict, tune

NAME, DATA, VERSION = "lite0_rates", "simulated", 1
PRESETS = {
    "smoke": {"sets": 2, "n": 16, "n_test": 24, "steps": 2, "size": 32},
    "quick": {"sets": 2, "n": 60, "n_test": 100, "steps": 20, "size": 64},
    "full": {"sets": 5, "n": 100, "n_test": 200, "steps": 50, "size": 96},
}
BATCH = 16
TUNING_DRAW = 200
FIRST_SEED = m.TRAINING_SEED + 8_000
#: head's learning rates that each arm is offered
CANDIDATES = {
    "uniform": (3e-5, 1e-4, 3e-4),
    "discriminative": (3e-4, 1e-3, 3e-3),
    "reversed": (1e-5, 3e-5, 1e-4),
}
MEASURED = ("log_loss", "auc", "train_loss")


def strategy(arm: str) -> Strategy:
    """Decay per block such that the first block's rate is that of the small network's arm."""
    blocks = len(lite0.imagenet().blocks) - 1
    decay = rates.DECAY ** (len(rates.BLOCKS) / blocks)
    return {
        "uniform": FullFineTuning(),
        "discriminative": Discriminative(decay),
        "reversed": Discriminative(1 / decay),
    }[arm]


def one(
    arm: str, k: int, rate: float, n: int, n_test: int, steps: int, size: int, test_seed: int
) -> np.ndarray:
    """(3,) MEASURED of set k by one arm."""
    network = lite0.imagenet()
    network.reset_head(k)
    data = lite0.target(network, n, FIRST_SEED + k, size)
    test = lite0.target(network, n_test, test_seed, size)
    done = fit(
        network,
        *data,
        strategy(arm),
        seed=k,
        steps=steps,
        batch_size=BATCH,
        learning_rate=rate,
        flip=True,
    )
    z = predict(done.network, test[0]).double().numpy()
    loss = float(metrics.log_loss(z, test[1].numpy()))
    return np.array([loss, float(auc(z, test[1].numpy())), done.train_loss])


def tuning_job(arm: str, rate: float, n: int, n_test: int, steps: int, size: int) -> dict:
    """Validation log loss of one candidate."""
    shared = (n, n_test, steps, size)
    return {"loss": float(one(arm, TUNING_DRAW, rate, *shared, m.TUNING_SEED + 90)[0])}


def training_job(arm: str, k: int, rate: float, n: int, n_test: int, steps: int, size: int) -> dict:
    """MEASURED of set k on the fixed patients."""
    return {"values": one(arm, k, rate, n, n_test, steps, size, m.TEST_SEED)}


def run(parameters: dict, runner) -> dict:
    """Tune each arm, train every set by all of them, compare set by set."""
    shared = {key: parameters[key] for key in ("n", "n_test", "steps", "size")}
    jobs = [
        Job(f"tune-{arm}-{i}", {"arm": arm, "rate": rate, **shared})
        for arm, offered in CANDIDATES.items()
        for i, rate in enumerate(offered)
    ]
    tried = runner(jobs, tuning_job)
    chosen = tune(
        {arm: [{"learning_rate": r} for r in offered] for arm, offered in CANDIDATES.items()},
        lambda arm, setting, _: tried[
            f"tune-{arm}-{CANDIDATES[arm].index(setting['learning_rate'])}"
        ]["loss"],
        [TUNING_DRAW],
        budget=3,
        reported=range(parameters["sets"]),
    )
    jobs = [
        Job(
            f"{arm}-{k}",
            {"arm": arm, "k": k, "rate": chosen[arm].settings["learning_rate"], **shared},
        )
        for k in range(parameters["sets"])
        for arm in CANDIDATES
    ]
    done = runner(jobs, training_job)
    values = {
        arm: np.stack([done[f"{arm}-{k}"]["values"] for k in range(parameters["sets"])])
        for arm in CANDIDATES
    }
    return {
        "settings": {arm: choice.record() for arm, choice in chosen.items()},
        "arms": {arm: _arm(rows, values["uniform"]) for arm, rows in values.items()},
    }


def _arm(rows: np.ndarray, uniform: np.ndarray) -> dict:
    """Means and gains over uniform (positive where better), over sets; values set by set."""
    cell: dict = {}
    for i, what in enumerate(MEASURED):
        sign = 1 if what == "auc" else -1
        cell[what] = metrics.mean_interval(rows[:, i]).record()
        cell[f"{what}_gain"] = metrics.mean_interval(sign * (rows - uniform)[:, i]).record()
        cell[f"{what}_sets"] = np.round(rows[:, i], 5).tolist()
    return cell


def recheck(record, k: int) -> dict[str, tuple[float, float]]:
    """Set k by the uniform arm, trained again."""
    p = record.parameters
    rate = record.results["settings"]["uniform"]["settings"]["learning_rate"]
    shared = (p["n"], p["n_test"], p["steps"], p["size"])
    now = one("uniform", k, rate, *shared, m.TEST_SEED)
    cell = record.results["arms"]["uniform"]
    return {what: (cell[f"{what}_sets"][k], float(now[i])) for i, what in enumerate(MEASURED)}
