"""How many patients of a target are ill? Estimators, their errors, and whether intervals cover.

The population is exact: one network scores many patients once, and their scores *are* the
distributions p(z | y) that every repetition draws from, independently and with replacement. A
repetition draws n labelled source patients and m unlabelled ones of a target of known prevalence.
What is random: both draws; the number of the diseased is binomial. What is fixed: the network.
Coverage is the share of repetitions whose 95 % interval holds the true prevalence.

Two more targets break the assumption: *vendor*, all patients on the second vendor, and *spectrum*,
the diseased have large lesions only; prevalence as before, p(z | y) not.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from medxfer_lab import metrics
from medxfer_lab.course.jobs import Job
from medxfer_lab.domain_shift.experiment import material as m
from medxfer_lab.domain_shift.experiment.assess import sigmoid
from medxfer_lab.domain_shift.experiment.models import look, train
from medxfer_lab.methods.calibration import Calibration, fit_calibration
from medxfer_lab.methods.label_shift import black_box_shift_estimate, em_prevalence
from medxfer_lab.methods.shift_tests import mixture_family_test

NAME, DATA, VERSION = "prevalence", "simulated", 1
PRESETS = {
    "smoke": {"repetitions": 30, "n": 120, "m": 120, "population": 600, "steps": 150},
    "quick": {"repetitions": 200, "n": 300, "m": 300, "population": 2000, "steps": 150},
    "full": {"repetitions": 2000, "n": 300, "m": 300, "population": 12000, "steps": 300},
}
PREVALENCES = (2, 5, 20, 50, 80)  # %
TARGETS = ("kept", "vendor", "spectrum")
#: learning rate of the one network that is deployed; that of the tuned networks of `shifts`
LEARNING_RATE = 1e-3
ESTIMATORS = (
    "count",
    "mean_probability",
    "bbse_hard",
    "bbse_soft",
    "bbse_delta",
    "em",
    "em_uncalibrated",
    "em_wrong_start",
)
LARGE_ML = 40.0
FAMILY_REPETITIONS = 100


@dataclass(frozen=True)
class Population:
    """Log odds of the healthy and of the diseased: source, and each target."""

    healthy: dict[str, np.ndarray]
    diseased: dict[str, np.ndarray]
    prevalence: float


@lru_cache(maxsize=2)
def population(size: int, steps: int) -> Population:
    """One network, trained on 500 patients, and its scores of ``size`` others."""
    drawn = m.draw(500, m.TRAINING_SEED - 1)
    how = {"settings": {"learning_rate": LEARNING_RATE}, "seed": 0, "steps": steps}
    model = train("network", look("network", drawn), drawn.labels, **how)
    others = m.draw(size, m.TRAINING_SEED - 2)
    z, y = model(others), others.labels.numpy() == 1
    second = (others.scanner == 1).numpy()
    large = (others.burden >= LARGE_ML).numpy()
    healthy = {"kept": z[~y], "vendor": z[~y & second], "spectrum": z[~y]}
    diseased = {"kept": z[y], "vendor": z[y & second], "spectrum": z[y & large]}
    return Population(healthy, diseased, float(y.mean()))


def sample(
    world: Population, target: str, prevalence: float, n: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """n independent patients: log odds and labels."""
    y = rng.random(n) < prevalence
    z = np.where(y, rng.choice(world.diseased[target], n), rng.choice(world.healthy[target], n))
    return z, y.astype(float)


def estimates(
    source: tuple[np.ndarray, np.ndarray], target: np.ndarray, level: float = 0.95
) -> dict[str, tuple[float, float, float]]:
    """(estimate, low, high) by every estimator. source: log odds, labels; target: log odds."""
    z, y = source
    line = fit_calibration(z, y)
    p_source, p = line.probabilities(z), line.probabilities(target)
    hard_source, hard = (p_source >= 0.5).astype(float), (p >= 0.5).astype(float)
    share = float(y.mean())
    balanced = Calibration(line.slope, 0.0).probabilities(target)  # a temperature, as it is
    found = {
        "count": metrics.binomial_interval(int(hard.sum()), len(hard), level),
        "mean_probability": metrics.mean_interval(p, level),
    }
    by_shift = {
        "bbse_hard": lambda: black_box_shift_estimate(hard_source, y, hard, level),
        "bbse_soft": lambda: black_box_shift_estimate(p_source, y, p, level),
        "bbse_delta": lambda: black_box_shift_estimate(p_source, y, p, level, "delta"),
        "em": lambda: em_prevalence(p, share, level),
        "em_uncalibrated": lambda: em_prevalence(sigmoid(target), share, level),
        "em_wrong_start": lambda: em_prevalence(balanced, share, level),
    }
    out = {k: (float(v.estimate), float(v.low), float(v.high)) for k, v in found.items()}
    return out | {k: _ends(f()) for k, f in by_shift.items()}


def _ends(found) -> tuple[float, float, float]:
    return found.prevalence, found.low, found.high


def repetitions_job(
    target: str, prevalence: int, repetitions: int, n: int, m: int, population: int, steps: int
) -> dict:
    """Estimates and ends (repetitions, estimators, 3), and their rank among failures."""
    world = _population(population, steps)
    rng = np.random.default_rng((41, TARGETS.index(target), prevalence))
    rows = np.empty((repetitions, len(ESTIMATORS), 3))
    for i in range(repetitions):
        source = sample(world, "kept", world.prevalence, n, rng)
        seen, _ = sample(world, target, prevalence / 100, m, rng)
        found = estimates(source, seen)
        rows[i] = [found[name] for name in ESTIMATORS]
    return {"rows": rows, "source_prevalence": world.prevalence}


_population = population


def family_job(target: str, prevalence: int, n: int, m: int, population: int, steps: int) -> dict:
    """p-values of the mixture-family test on the network's log odds alone: would it have warned?"""
    world = _population(population, steps)
    rng = np.random.default_rng((43, TARGETS.index(target), prevalence))
    p = []
    for i in range(FAMILY_REPETITIONS):
        z, y = sample(world, "kept", world.prevalence, n, rng)
        seen, _ = sample(world, target, prevalence / 100, m, rng)
        p.append(mixture_family_test(z, y, seen, seed=i).p_value)
    return {"p": np.array(p)}


def run(parameters: dict, runner) -> dict:
    """Coverage, bias, root mean square error and width, by target, estimator and prevalence."""
    jobs = [
        Job(f"{target}-{rho:02d}", {"target": target, "prevalence": rho, **parameters})
        for target in TARGETS
        for rho in PREVALENCES
    ]
    done = runner(jobs, repetitions_job)
    out: dict = {"source_prevalence": next(iter(done.values()))["source_prevalence"]}
    for target in TARGETS:
        out[target] = {name: {} for name in ESTIMATORS}
        for rho in PREVALENCES:
            rows = done[f"{target}-{rho:02d}"]["rows"]
            for e, name in enumerate(ESTIMATORS):
                out[target][name][str(rho)] = _cell(rows[:, e], rho / 100)
    shared = {key: parameters[key] for key in ("n", "m", "population", "steps")}
    warned = runner(
        [
            Job(f"family-{target}-{rho:02d}", {"target": target, "prevalence": rho, **shared})
            for target in TARGETS
            for rho in PREVALENCES
        ],
        family_job,
    )
    for target in TARGETS:
        out[target]["warned"] = {
            str(rho): metrics.rejection_rate(warned[f"family-{target}-{rho:02d}"]["p"]).record()
            for rho in PREVALENCES
        }
    return out


def _cell(rows: np.ndarray, truth: float) -> dict:
    """rows: (repetitions, 3). Coverage with its binomial interval over repetitions."""
    estimate, low, high = rows.T
    covered = int(((low <= truth) & (truth <= high)).sum())
    away = estimate - truth
    return {
        "coverage": metrics.binomial_interval(covered, len(rows)).record(),
        "bias": metrics.mean_interval(away).record(),
        "root_mean_square": float(np.sqrt((away**2).mean())),
        "width": metrics.mean_interval(high - low).record(),
        "first": [float(v) for v in rows[0]],
    }


def recheck(record, target: str, prevalence: int) -> dict[str, tuple[float, float]]:
    """{estimator: (first repetition's estimate in the record, now)}."""
    p = record.parameters | {"repetitions": 1}
    now = repetitions_job(target, prevalence, **p)["rows"][0]
    cells = record.results[target]
    return {
        name: (cells[name][str(prevalence)]["first"][0], float(now[e, 0]))
        for e, name in enumerate(ESTIMATORS)
    }
