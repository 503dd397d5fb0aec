"""Every exact shift over a range of strengths, on frozen features and on networks tuned whole.

A set: n labelled patients train a model, n others calibrate it, and the pool's patients are those
that each target's sample is taken from. The test patients are one fixed cohort, from which each
target takes its own. So intervals cover training, calibration and target samples (and the
network's start and order of batches), test patients held fixed.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch

from medxfer_lab.course.jobs import Job
from medxfer_lab.domain_shift.experiment import conditions as c
from medxfer_lab.domain_shift.experiment import material as m
from medxfer_lab.domain_shift.experiment.assess import Scores, assess, summary
from medxfer_lab.domain_shift.experiment.models import choose, look, train, tuning_job

NAME, DATA, VERSION = "shifts", "simulated", 1
PRESETS = {
    "smoke": {"sets": 3, "n": 80, "pool": 500, "sample": 150, "n_test": 500, "steps": 20},
    "quick": {"sets": 3, "n": 250, "pool": 800, "sample": 300, "n_test": 1500, "steps": 150},
    "full": {"sets": 30, "n": 500, "pool": 1600, "sample": 400, "n_test": 6000, "steps": 300},
}
MODELS = ("head", "network")
TUNING_DRAWS = 3


@lru_cache(maxsize=40)
def test_target(name: str, n_test: int) -> c.Target:
    """Which of the fixed test patients belong to a condition, and their labels there."""
    if c.family(name) == "burden":
        cohort = m.fixed_cohort(n_test // 2, m.TEST_SEED + 1, c.burden_hospital(name))
        return c.target(c.Pool(cohort), "none", m.TEST_SEED)
    return c.target(_test_pool(n_test), name, m.TEST_SEED)


@lru_cache(maxsize=2)
def _test_pool(n_test: int) -> c.Pool:
    return c.Pool(m.fixed_cohort(n_test, m.TEST_SEED))


def training_job(
    k: int, n: int, pool: int, sample: int, n_test: int, steps: int, settings: dict
) -> dict:
    """Assessments of both kinds of model of set k under every condition."""
    parts = torch.arange(2 * n + pool).split([n, n, pool])
    everyone = m.draw(2 * n + pool, m.TRAINING_SEED + k)
    drawn, held, others = (everyone.take(part) for part in parts)
    visitors = {
        b: m.draw(sample, 2 * m.TRAINING_SEED + k, c.burden_hospital(b)) for b in c.BURDEN_NAMES
    }
    from_pool = c.Pool(others)
    chosen = {name: c.target(from_pool, name, k, sample) for name in c.NAMES}
    out: dict = {}
    for kind in MODELS:
        model = train(kind, look(kind, drawn), drawn.labels, settings[kind], k, steps)
        calibration = Scores(model(held), held.labels.numpy())
        z_pool, z_test = model(others), model.on_fixed(n_test, m.TEST_SEED)
        for name in (*c.NAMES, *c.BURDEN_NAMES):
            if name in visitors:
                seen = Scores(model(visitors[name]), visitors[name].labels.numpy())
                hospital = c.burden_hospital(name)
                z_there = model.on_fixed(n_test // 2, m.TEST_SEED + 1, hospital)
            else:
                seen = Scores(z_pool[chosen[name].index], chosen[name].labels.numpy())
                z_there = z_test
            test = test_target(name, n_test)
            found = assess(calibration, seen, Scores(z_there[test.index], test.labels.numpy()))
            out |= found.arrays(f"{kind}.{name}")
    return out


def run(parameters: dict, runner) -> dict:
    """Tune on draws of their own, train, assess, summarise."""
    p = parameters
    tuned = runner(
        [Job(f"tune-{k}", {"k": k, "n": p["n"], "steps": p["steps"]}) for k in range(TUNING_DRAWS)],
        tuning_job,
    )
    settings, choices = choose(list(tuned.values()))
    shared = {key: p[key] for key in ("n", "pool", "sample", "n_test", "steps")}
    jobs = [Job(f"set-{k:03d}", {"k": k, **shared, "settings": settings}) for k in range(p["sets"])]
    done = list(runner(jobs, training_job).values())
    out: dict = {"settings": settings, "choices": choices}
    for kind in MODELS:
        out[kind] = {}
        for name in (*c.NAMES, *c.BURDEN_NAMES):
            rows = np.stack([job[f"measured.{kind}.{name}"] for job in done])
            numbers = np.stack([job[f"numbers.{kind}.{name}"] for job in done])
            cell = summary(rows, numbers)
            cell["patients_tested"] = len(test_target(name, p["n_test"]).index) // 2
            cell["log_loss_sets"] = np.round(rows[:, 0, 0], 5).tolist()
            family, _, strength = name.partition(".")
            out[kind].setdefault(family, {})[strength or "0"] = cell
    return out


def recheck(record, k: int) -> dict[str, tuple[float, float]]:
    """{model.condition: (deployed log loss in the record, now)} of set k."""
    shared = {key: record.parameters[key] for key in ("n", "pool", "sample", "n_test", "steps")}
    now = training_job(k, **shared, settings=record.results["settings"])
    pairs = {}
    for kind in MODELS:
        for name in (*c.NAMES, *c.BURDEN_NAMES):
            family, _, strength = name.partition(".")
            then = record.results[kind][family][strength or "0"]["log_loss_sets"][k]
            pairs[f"{kind}.{name}"] = (then, float(now[f"measured.{kind}.{name}"][0, 0]))
    return pairs
