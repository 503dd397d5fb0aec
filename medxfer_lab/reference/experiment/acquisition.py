"""Acquisition shift, measured: the same patients on another scanner, and a posterior that moves.

t is one number of the image. On the source scanner P(y = 1 | t) is described by a logistic line,
logit = a + b z with z = (t - mean)/sd of the source. New patients are then imaged on several
scanners, and their lines compared with the source's. The control is an examination on the source's
own kind of scanner: the labels belong to the patients, so there p(y | t) *is* kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats
from scipy.special import expit

from medxfer_lab.course.jobs import Job
from medxfer_lab.imaging import FLAIR, rescan
from medxfer_lab.imaging.shifts import bright_level
from medxfer_lab.metrics import auc
from medxfer_lab.metrics.conditional import logistic_coefficients, with_intercept
from medxfer_lab.reference.experiment.shift_study import SOURCE

NAME, DATA, VERSION = "acquisition", "simulated", 1
PRESETS = {
    "smoke": {"n": 80, "size": 32, "seed": 2026},
    "quick": {"n": 400, "size": 32, "seed": 2026},
    "full": {"n": 1500, "size": 32, "seed": 2026},
}


@dataclass(frozen=True)
class LogisticLine:
    """Intercept and slope (2,) of y on z, and their covariance (2, 2).

    The covariance is the sandwich H^-1 (sum of g g') H^-1, g a patient's score: right whether or
    not the true curve is a logistic line; the line is then the one of least log loss.
    """

    beta: np.ndarray
    covariance: np.ndarray

    @classmethod
    def fitted(cls, z: np.ndarray, y: np.ndarray) -> LogisticLine:
        design = with_intercept(z[:, None])
        beta = logistic_coefficients(design, y, ridge=0.0)
        p = expit(design @ beta)
        bread = np.linalg.inv(design.T @ ((p * (1 - p))[:, None] * design))
        score = (y - p)[:, None] * design
        return cls(beta, bread @ (score.T @ score) @ bread)

    def predict(self, z: np.ndarray) -> np.ndarray:
        """P(y = 1) on the line."""
        return expit(with_intercept(z[:, None]) @ self.beta)

    def p_value(self, other: LogisticLine) -> float:
        """Wald test that two independent samples have one line (2 degrees of freedom)."""
        away = self.beta - other.beta
        return float(
            stats.chi2(2).sf(away @ np.linalg.solve(self.covariance + other.covariance, away))
        )

    def record(self) -> dict:
        """Intercept and slope with 95 % intervals."""
        half = stats.norm.ppf(0.975) * np.sqrt(np.diag(self.covariance))
        return {
            name: {"mean": float(b), "low": float(b - h), "high": float(b + h)}
            for name, b, h in zip(("intercept", "slope"), self.beta, half)
        }


def acquisition_posterior(
    n: int, size: int, seed: int, snrs: Sequence[float] = (20.0, 10.0, 5.0)
) -> dict:
    """P(y = 1 | t) on several scanners against the source's, t the image's `bright_level`.

    n: patients of the source, and as many new ones. size: pixels. snrs: of `FLAIR`, otherwise
    unchanged; its own (20) is the control.

    Returns {"source" and each scanner's name: {snr, prevalence, auc (of t), intercept, slope}}; of
    the scanners also mean_prediction (by the source's line; were p(y | t) kept, the prevalence) and
    p_value (that the line is the source's).
    """
    source, new = SOURCE.draw(n, seed, size), SOURCE.draw(n, seed + 1, size)
    t = bright_level(source.images).double().numpy()
    centre, spread = t.mean(), t.std()

    def described(cohort, snr: float) -> tuple[dict, LogisticLine, np.ndarray]:
        z = (bright_level(cohort.images).double().numpy() - centre) / spread
        y = cohort.labels.double().numpy()
        line = LogisticLine.fitted(z, y)
        known = {"snr": snr, "prevalence": float(y.mean()), "auc": auc(z, y)}
        return known | line.record(), line, z

    result = {}
    result["source"], own, _ = described(source, FLAIR.snr)
    for snr in snrs:
        scanner = replace(FLAIR, name=f"FLAIR, SNR {snr:g}", snr=snr)
        cells, line, z = described(rescan(new, scanner, seed + 2), snr)
        cells["mean_prediction"] = float(own.predict(z).mean())
        cells["p_value"] = line.p_value(own)
        result[scanner.name] = cells
    return result


def run(parameters: dict, runner) -> dict:
    """The lines of all scanners beside the source's; scanners by "snr_20" and so on."""
    (lines,) = runner([Job("lines", dict(parameters))], acquisition_posterior).values()
    named = {f"snr_{line['snr']:g}" if k != "source" else k: line for k, line in lines.items()}
    return {"n": parameters["n"]} | named
