"""Importance weights that nobody gave us: from a classifier of the domain, fitted crosswise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import LogisticRegression

from medxfer_lab import metrics
from medxfer_lab.domain_shift.experiment import material as m
from medxfer_lab.imaging import Cohort
from medxfer_lab.methods.calibration import Calibration
from medxfer_lab.methods.importance import density_ratio

#: log odds of the domain beyond this are cut, and it is said how many: weights of e^7 and more
LARGEST_LOG_ODDS = 7.0


@dataclass(frozen=True)
class FittedWeights:
    """known: (n,) weights of the source's patients, mean 1. domain_auc: of the classifier, on
    patients it was not trained on. cut: share of the source's log odds that were cut."""

    known: np.ndarray
    domain_auc: float
    cut: float


def fitted_weights(source: Cohort, target: Cohort, seed: int, folds: int = 5) -> FittedWeights:
    """w(x) for source patients from a logistic classifier of the domain on eight statistics.

    Each patient is scored by a classifier that was trained on the other folds.
    """
    parts = [m.statistics(c).numpy() for c in (source, target)]
    x = np.concatenate(parts)
    x = (x - x.mean(0)) / np.where(x.std(0) > 0, x.std(0), 1)
    domain = np.repeat([0, 1], [len(part) for part in parts])
    fold = np.random.default_rng((seed, 31)).permutation(len(x)) % folds
    z = np.empty(len(x))
    for f in range(folds):
        model = LogisticRegression(C=1.0, max_iter=5_000)
        model.fit(x[fold != f], domain[fold != f])
        z[fold == f] = model.decision_function(x[fold == f])
    ours = z[domain == 0]
    limited = np.clip(ours, -LARGEST_LOG_ODDS, LARGEST_LOG_ODDS)
    w = density_ratio(limited, len(parts[0]), len(parts[1]))
    auc = float(metrics.auc(z, domain))
    return FittedWeights(w / w.mean(), auc, float((limited != ours).mean()))


def weighted_calibration(
    log_odds: np.ndarray, labels: np.ndarray, weights: np.ndarray
) -> Calibration:
    """Slope and intercept on weighted patients: calibrated for the target, as far as weights lead
    there. (Calibrated on the plain source, a weighted model would be pushed back to it.)"""
    model = LogisticRegression(C=1e4, tol=1e-8, max_iter=5_000)
    model.fit(log_odds[:, None], labels, weights / weights.mean())
    return Calibration(float(model.coef_[0, 0]), float(model.intercept_[0]))
