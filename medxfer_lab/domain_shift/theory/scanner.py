"""The same patients under another noise: p(y|x) moves in closed form.

One measurement x per patient, on a scanner with a noise, a gain and an offset:

    x = offset + gain (delta y + noise e),    e ~ N(0, 1),    P(y = 1) = prevalence.

`noise` holds all that varies among patients of one class, biology and electronics together. With
pi the prevalence,

    log odds(x) = log(pi/(1 - pi)) + slope (x - offset - gain delta/2)
    slope = delta/(gain noise^2)
    AUC = Phi(delta/(noise sqrt 2)).

So the patients, their labels and the prevalence are kept, and p(y|x) is not: noise alone
multiplies its slope by noise_s^2/noise_t^2. Gain and offset lose no information (the AUC stays) and
move p(y|x) all the same. Log odds are natural, losses in nats.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, logit, ndtr

from medxfer_lab._checks import finite_array, number


@dataclass(frozen=True)
class Scanner:
    """noise > 0, in units of the anatomy; gain > 0; offset in units of the picture."""

    noise: float
    gain: float = 1.0
    offset: float = 0.0

    def __post_init__(self) -> None:
        number("noise", self.noise, 0.0, open_low=True)
        number("gain", self.gain, 0.0, open_low=True)
        number("offset", self.offset)


@dataclass(frozen=True)
class OldRule:
    """The rule of one scanner at work on another.

    calibration_slope, calibration_intercept: true log odds = intercept + slope * the old log odds,
    exactly. A slope below 1: the old rule is too sure of itself.
    log_loss, best_log_loss: of the old rule and of the target's own, nats; excess_log_loss is
    their difference, E KL(eta_t || eta_s).
    error, best_error: error rates of both at log odds 0.
    """

    calibration_slope: float
    calibration_intercept: float
    log_loss: float
    best_log_loss: float
    excess_log_loss: float
    error: float
    best_error: float


def slope(scanner: Scanner, delta: float) -> float:
    """Change of the log odds per unit of x: delta/(gain noise^2)."""
    return number("delta", delta, 0.0) / (scanner.gain * scanner.noise**2)


def auc(scanner: Scanner, delta: float) -> float:
    """P(a case shows more than a non-case) = Phi(delta/(noise sqrt 2)), whatever the gain."""
    return float(ndtr(number("delta", delta, 0.0) / (scanner.noise * np.sqrt(2))))


def log_odds(x: ArrayLike, scanner: Scanner, delta: float, prevalence: float = 0.5) -> np.ndarray:
    """True log odds of disease given x on that scanner (module docstring), shape of x."""
    x = finite_array("x", x, (0, 1))
    middle = scanner.offset + scanner.gain * number("delta", delta, 0.0) / 2
    return logit(inside(prevalence)) + slope(scanner, delta) * (x - middle)


def old_rule(source: Scanner, target: Scanner, delta: float, prevalence: float = 0.5) -> OldRule:
    """What happens if the source scanner's exact rule judges pictures of the target scanner.

    Both log odds are affine in x, hence in each other; with x at which the old ones vanish,

        calibration slope = slope_t/slope_s = (gain_s noise_s^2)/(gain_t noise_t^2),

    which is also what a logistic recalibration of the old log odds finds with endless data
    (Cox, Biometrika 45 (1958) 562-565). Losses by quadrature over both classes.

    Args:
        delta: distance of the classes, > 0. prevalence: the same on both, strictly inside (0, 1).
    """
    delta, pi = number("delta", delta, 0.0, open_low=True), inside(prevalence)
    ratio = slope(target, delta) / slope(source, delta)
    at_zero = [float(log_odds(0.0, s, delta, pi)) for s in (source, target)]
    best, old = (log_loss(rule, target, delta, pi) for rule in (target, source))
    return OldRule(
        calibration_slope=ratio,
        calibration_intercept=at_zero[1] - ratio * at_zero[0],
        log_loss=old,
        best_log_loss=best,
        excess_log_loss=excess(source, target, delta, pi),
        error=error(source, target, delta, pi),
        best_error=error(target, target, delta, pi),
    )


def operating_point(
    threshold: float, rule: Scanner, target: Scanner, delta: float, prevalence: float = 0.5
) -> tuple[float, float]:
    """Sensitivity and specificity on `target` of calling disease when `rule`'s log odds exceed t.

    x* = offset_r + gain_r delta/2 + (t - log(pi/(1 - pi)))/slope_r,    z = (x* - offset_t)/gain_t
    sensitivity = Phi((delta - z)/noise_t),    specificity = Phi(z/noise_t)
    """
    delta, pi = number("delta", delta, 0.0, open_low=True), inside(prevalence)
    x = rule.offset + rule.gain * delta / 2
    x += (number("threshold", threshold) - logit(pi)) / slope(rule, delta)
    z = (x - target.offset) / target.gain
    return float(ndtr((delta - z) / target.noise)), float(ndtr(z / target.noise))


def error(rule: Scanner, target: Scanner, delta: float, pi: float) -> float:
    """Error rate on `target` of the rule's log odds cut at 0."""
    sensitivity, specificity = operating_point(0.0, rule, target, delta, pi)
    return pi * (1 - sensitivity) + (1 - pi) * (1 - specificity)


def log_loss(rule: Scanner, target: Scanner, delta: float, pi: float) -> float:
    """E -log p(y) of the rule's log odds on `target`, nats."""
    x, density = classes(target, delta)
    healthy, diseased = log_odds(x[0], rule, delta, pi), log_odds(x[1], rule, delta, pi)
    by_point = (1 - pi) * np.logaddexp(0, healthy) + pi * np.logaddexp(0, -diseased)
    return float(density @ by_point)


def excess(rule: Scanner, target: Scanner, delta: float, pi: float) -> float:
    """E KL(eta_target(x) || eta_rule(x)) on `target`, nats, free of the cancellation of two losses.

    With log odds a (true) and b (used), KL = eta (a - b) + log(1 + e^b) - log(1 + e^a).
    """
    x, density = classes(target, delta)
    true, used = (np.stack([log_odds(row, s, delta, pi) for row in x]) for s in (target, rule))
    kl = expit(true) * (true - used) + np.logaddexp(0, used) - np.logaddexp(0, true)
    return float(np.array([1 - pi, pi]) @ kl @ density)


def classes(scanner: Scanner, delta: float) -> tuple[np.ndarray, np.ndarray]:
    """Nodes x of both classes (2, m) and their weights (m,): the trapezium rule in e.

    For a Gaussian times a function analytic near the axis its error falls exponentially in the
    number of nodes, and beyond 10 standard deviations there is nothing.
    """
    e = np.linspace(-10, 10, 8001)
    density = np.exp(-(e**2) / 2)
    mean = delta * np.arange(2)[:, None]
    x = scanner.offset + scanner.gain * (mean + scanner.noise * e)
    return x, density / density.sum()


def inside(prevalence: float) -> float:
    """A prevalence strictly inside (0, 1), where log odds exist."""
    pi = number("prevalence", prevalence, 0.0, 1.0)
    if pi in (0.0, 1.0):
        raise ValueError(
            f"prevalence is {prevalence}; its log odds are infinite: keep it in (0, 1)"
        )
    return pi
