"""A deployed model on a target: what the shift costs, and what each correction wins back.

All corrections are functions of the model's log odds. They may look at: the source's calibration
sample (labelled), the target's unlabelled sample, and (where their name says so) the first k
labels of the target. The test patients of the target come in two halves: the first is seen by the
*oracle* alone, which fits slope and intercept to all of it; every score is from the second half.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from medxfer_lab import metrics
from medxfer_lab.methods.calibration import Calibration, fit_calibration
from medxfer_lab.methods.label_shift import (
    black_box_shift_estimate,
    correct_log_odds,
    cost_threshold,
    em_prevalence,
)

#: a missed disease costs three false alarms: call it from a posterior of 1/4 on
COST_FALSE_POSITIVE, COST_FALSE_NEGATIVE = 1.0, 3.0
ARMS = (
    "deployed",
    "known_prevalence",
    "bbse",
    "em",
    "offset_20",
    "platt_100",
    "oracle",
)
MEASURES = (
    "log_loss",
    "calibration",
    "mean_gap",
    "sensitivity",
    "specificity",
    "cost",
)


@dataclass(frozen=True)
class Scores:
    """Log odds (n,) of a model and the patients' labels (n,)."""

    z: np.ndarray
    y: np.ndarray

    def part(self, which: slice | np.ndarray) -> Scores:
        return Scores(self.z[which], self.y[which])


def sigmoid(z: np.ndarray) -> np.ndarray:
    """Probabilities of log odds."""
    return 1 / (1 + np.exp(-np.asarray(z, dtype=float)))


def inside(prevalence: float, n: int) -> float:
    """An estimated prevalence kept off 0 and 1 by half a patient in n, so that odds exist."""
    return float(np.clip(prevalence, 0.5 / n, 1 - 0.5 / n))


@dataclass(frozen=True)
class Assessment:
    """measured: (arms, measures). auc: of the model, which no correction of this kind changes.

    prevalence: the target's, of its test patients; bbse and em: estimates from the unlabelled.
    """

    measured: np.ndarray
    auc: float
    prevalence: float
    bbse: float
    em: float

    def arrays(self, name: str) -> dict[str, np.ndarray]:
        """For a job's result."""
        return {
            f"measured.{name}": self.measured,
            f"numbers.{name}": np.array([self.auc, self.prevalence, self.bbse, self.em]),
        }


def assess(calibration: Scores, sample: Scores, test: Scores) -> Assessment:
    """Every correction on one target.

    calibration: source patients, labelled. sample: target patients, of whom every correction sees
    the log odds and those named after k the first k labels. test: other target patients.
    """
    fixed = recalibrated(calibration)
    source = float(calibration.y.mean())
    seen = fixed.apply(sample.z)
    p_source, p_sample = sigmoid(fixed.apply(calibration.z)), sigmoid(seen)
    bbse = black_box_shift_estimate(p_source, calibration.y, p_sample)
    em = em_prevalence(p_sample, source)
    half = len(test.y) // 2
    first, second = test.part(slice(half)), test.part(slice(half, None))
    truth = float(test.y.mean())

    def moved(rho: float) -> Callable[[np.ndarray], np.ndarray]:
        kept_inside = inside(rho, len(sample.y))
        return lambda z: correct_log_odds(fixed.apply(z), source, kept_inside)

    few = sample.part(slice(20)), sample.part(slice(100))
    rules = {
        "deployed": fixed.apply,
        "known_prevalence": moved(truth),
        "bbse": moved(bbse.prevalence),
        "em": moved(em.prevalence),
        "offset_20": lambda z: offset(fixed.apply(few[0].z), few[0].y)(fixed.apply(z)),
        "platt_100": recalibrated(few[1]).apply,
        "oracle": recalibrated(first).apply,
    }
    rows = [measures(rules[arm](second.z), second.y) for arm in ARMS]
    return Assessment(
        np.array(rows),
        float(metrics.auc(second.z, second.y)),
        truth,
        bbse.prevalence,
        em.prevalence,
    )


def recalibrated(labelled: Scores) -> Calibration:
    """Slope and intercept from labelled patients; few may be separable, hence Platt's targets."""
    return fit_calibration(labelled.z, labelled.y, smooth=True)


def offset(z: np.ndarray, y: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Intercept alone, slope kept."""
    return fit_calibration(z, y, "offset", smooth=True).apply


def measures(z: np.ndarray, y: np.ndarray) -> list[float]:
    """MEASURES of log odds: nats; squared calibration error, bias-corrected; mean p - prevalence;
    sensitivity and specificity at the cost threshold; cost per patient in false alarms."""
    p, ill = sigmoid(z), y == 1
    called = p >= cost_threshold(COST_FALSE_POSITIVE, COST_FALSE_NEGATIVE)
    missed, alarmed = (ill & ~called).mean(), (~ill & called).mean()
    return [
        float(metrics.log_loss(z, y)),
        float(metrics.squared_calibration_error(p, y)),
        float(p.mean() - y.mean()),
        float(called[ill].mean()),
        float((~called[~ill]).mean()),
        float(COST_FALSE_NEGATIVE * missed + COST_FALSE_POSITIVE * alarmed),
    ]


def summary(rows: np.ndarray, numbers: np.ndarray) -> dict:
    """Means and intervals over sets. rows: (sets, arms, measures). numbers: (sets, 4)."""
    out: dict = {"auc": metrics.mean_interval(numbers[:, 0]).record()}
    out["prevalence"] = float(numbers[:, 1].mean())
    for column, name in ((2, "bbse"), (3, "em")):
        away = metrics.mean_interval(numbers[:, column] - numbers[:, 1]).record()
        out[f"{name}_error"] = away | {
            "root_mean_square": float(np.sqrt(((numbers[:, column] - numbers[:, 1]) ** 2).mean()))
        }
    for a, arm in enumerate(ARMS):
        out[arm] = {
            name: metrics.mean_interval(rows[:, a, j]).record() for j, name in enumerate(MEASURES)
        }
    oracle = ARMS.index("oracle")
    for a, arm in enumerate(ARMS[:-1]):
        gap = rows[:, a, 0] - rows[:, oracle, 0]
        out[arm]["excess"] = metrics.mean_interval(gap).record()
        out[arm]["won_back"] = won_back(rows[:, 0, 0], rows[:, a, 0], rows[:, oracle, 0])
    return out


def won_back(deployed: np.ndarray, arm: np.ndarray, oracle: np.ndarray) -> dict:
    """Share of the deployed model's excess log loss that a correction removes.

    (mean deployed - mean arm)/(mean deployed - mean oracle), jackknife over sets; below 0 it does
    harm. ``meant``: whether the excess itself is surely above .005 nats; if not, the share is of
    next to nothing.
    """
    rows = np.stack([deployed, arm, oracle], 1)

    def share(values: np.ndarray) -> float:
        mean = values.mean(0)
        return float((mean[0] - mean[1]) / (mean[0] - mean[2]))

    left_out = np.array([share(np.delete(rows, i, 0)) for i in range(len(rows))])
    excess = metrics.mean_interval(deployed - oracle)
    found = metrics.pseudo_value_interval(share(rows), left_out).record()
    return found | {"meant": bool(excess.low > 0.005)}
