r"""Recalibration of log odds by a straight line, fitted on labelled patients.

    log odds of disease = slope * z + intercept,     z the model's log odds (nats)

Three kinds, by what is free:

- "platt": slope and intercept (Platt, "Probabilistic outputs for support vector machines", in
  Advances in Large Margin Classifiers, MIT Press 1999, 61-74).
- "temperature": the slope alone, slope = 1/T (Guo, Pleiss, Sun and Weinberger, "On calibration of
  modern neural networks", ICML 2017, section 4.2). It cannot mend a wrong prevalence.
- "offset": the intercept alone; what a change of prevalence asks for under label shift.

Each maximises the Bernoulli likelihood, which is concave in (slope, intercept). With a free
intercept (and labels not smoothed) the mean calibrated probability of the fitted patients *is*
their share of diseased: that
share is the `start` of `label_shift.em_prevalence`. A temperature has no such equation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize
from scipy.special import expit, logit

from medxfer_lab._checks import finite_array, same_length
from medxfer_lab.metrics.scores import binary_labels

KINDS = ("platt", "temperature", "offset")


@dataclass(frozen=True)
class Calibration:
    """The line slope * z + intercept on log odds; slope 1 and intercept 0 change nothing.

    A slope below 1 says the model was overconfident, a slope below 0 that it ranks patients the
    wrong way round.
    """

    slope: float = 1.0
    intercept: float = 0.0

    @property
    def temperature(self) -> float:
        """1/slope; infinite for a slope of 0."""
        return 1 / self.slope if self.slope else np.inf

    def apply(self, log_odds: ArrayLike) -> np.ndarray:
        """Calibrated log odds (nats), in the shape that was given."""
        return self.slope * np.asarray(log_odds, dtype=np.float64) + self.intercept

    def probabilities(self, log_odds: ArrayLike) -> np.ndarray:
        """Calibrated P(y=1|x), in the shape that was given."""
        return expit(self.apply(log_odds))


def fit_calibration(
    log_odds: ArrayLike, labels: ArrayLike, kind: str = "platt", *, smooth: bool = False
) -> Calibration:
    """The maximum-likelihood line of the given kind.

    Use patients the model was not trained on: on its training patients a flexible network looks
    surer than it is.

    Args:
        log_odds: (n,) the model's log odds, nats. labels: (n,) of 0 and 1.
        kind: "platt", "temperature" or "offset".
        smooth: Platt's targets in place of the labels, (n1 + 1)/(n1 + 2) for the diseased and
            1/(n0 + 2) for the healthy (his equation for the MAP estimate under a uniform prior):
            finite even where the classes do not overlap, and biased towards milder odds.

    Raises:
        ValueError: the likelihood has no maximum (a threshold separates the classes, or one class
            is missing) and `smooth` is off; or the log odds are constant and a slope is asked for.
    """
    z, y = finite_array("log_odds", log_odds, 1), binary_labels(labels)
    same_length("log_odds", z, "labels", y)
    if kind not in KINDS:
        raise ValueError(f"kind is {kind!r}; expected one of {', '.join(KINDS)}")
    if kind != "offset" and not (np.ptp(z) if kind == "platt" else np.abs(z).max()) > 0:
        raise ValueError(
            f'all {z.size} log odds are {z[0]:.3g}, which leaves no slope to fit: use kind="offset"'
        )
    if not smooth:
        check_overlap(z, y, kind)
    targets = smoothed_targets(y) if smooth else y
    if kind == "offset":
        return Calibration(1.0, fitted_offset(z, targets))
    centre = z.mean() if kind == "platt" else 0.0
    spread = np.sqrt(((z - centre) ** 2).mean())
    scaled = ((z - centre) / spread)[:, None]
    design = np.hstack([scaled, np.ones_like(scaled)]) if kind == "platt" else scaled
    beta = logistic_maximum(design, targets)
    slope = beta[0] / spread
    intercept = beta[1] - slope * centre if kind == "platt" else 0.0
    return Calibration(float(slope), float(intercept))


def smoothed_targets(y: np.ndarray) -> np.ndarray:
    """Platt's targets: each class's label moved inwards by one pseudo-patient of the other."""
    n1 = y.sum()
    return np.where(y == 1, (n1 + 1) / (n1 + 2), 1 / (y.size - n1 + 2))


def check_overlap(z: np.ndarray, y: np.ndarray, kind: str) -> None:
    """Raise where the likelihood grows for ever as the slope or the intercept does."""
    way_out = "label more patients, or pass smooth=True (Platt's targets)"
    healthy, diseased = z[y == 0], z[y == 1]
    if kind != "temperature" and (not healthy.size or not diseased.size):
        raise ValueError(
            f"all {y.size} labels are {int(y[0])}; the best intercept is infinite: {way_out}"
        )
    if kind == "platt" and (
        diseased.min() >= healthy.max() or diseased.max() <= healthy.min()
    ):  # touching in one value is enough to send the slope to infinity
        raise ValueError(
            f"a threshold separates the {healthy.size} healthy from the {diseased.size} diseased; "
            f"the best slope is infinite: {way_out}"
        )
    signed = np.where(y == 1, z, -z)
    if kind == "temperature" and (signed.min() >= 0 or signed.max() <= 0):
        raise ValueError(
            f"the sign of the log odds is the label of every one of the {y.size} patients (or of "
            f"none); the best slope is infinite: {way_out}"
        )


def fitted_offset(z: np.ndarray, targets: np.ndarray) -> float:
    """The intercept b with mean sigmoid(z + b) = mean target, between two bounds that hold it."""
    wanted = targets.mean()
    low, high = logit(wanted) - z.max() - 1e-9, logit(wanted) - z.min() + 1e-9
    return optimize.brentq(lambda b: expit(z + b).mean() - wanted, low, high, xtol=1e-13)


def logistic_maximum(design: np.ndarray, targets: np.ndarray, steps: int = 200) -> np.ndarray:
    """Coefficients (p,) of a logistic regression of targets in [0, 1] on design (n, p), by Newton.

    From 0, where the curvature is largest, and with steps halved until the loss does not grow: a
    full Newton step from saturated probabilities can overshoot for ever.
    """

    def loss(beta: np.ndarray) -> float:
        z = design @ beta
        return float((np.logaddexp(0, z) - targets * z).mean())

    beta = np.zeros(design.shape[1])
    for _ in range(steps):
        p = expit(design @ beta)
        gradient = design.T @ (targets - p) / len(p)
        if np.abs(gradient).max() < 1e-11:
            return beta
        curvature = (design.T * (p * (1 - p))) @ design / len(p)
        step = np.linalg.solve(curvature, gradient)
        while loss(beta + step) > loss(beta) + 1e-15:
            step = step / 2
        beta = beta + step
    raise ValueError(
        f"no maximum after {steps} Newton steps (gradient {np.abs(gradient).max():.1e}); the "
        "classes hardly overlap: pass smooth=True (Platt's targets)"
    )
