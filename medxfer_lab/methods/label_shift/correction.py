"""Known prevalences: corrected probabilities, the threshold that moves, predictive values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, logit

from medxfer_lab._checks import finite_array, number


def correct_log_odds(
    log_odds: ArrayLike, source_prevalence: float, target_prevalence: float
) -> np.ndarray:
    """Log odds of disease under the target's prevalence: one constant is added.

        log q(1|x)/q(0|x) = log p(1|x)/p(0|x) + logit(rho) - logit(pi)

    The ranking of patients, and with it the AUC, cannot change. Elkan, "The foundations of
    cost-sensitive learning", IJCAI 2001, theorem 2, written as odds.

    Args:
        log_odds: any shape, nats, calibrated on the source; infinite values stay.
        source_prevalence, target_prevalence: in (0, 1).
    """
    z = np.asarray(log_odds, dtype=np.float64)
    if np.isnan(z).any():
        raise ValueError(f"log_odds hold {int(np.isnan(z).sum())} NaN: remove those patients first")
    return z + prior_step(source_prevalence, target_prevalence)


def prior_step(source_prevalence: float, target_prevalence: float) -> float:
    """logit(rho) - logit(pi), nats."""
    pi = open_share("source_prevalence", source_prevalence)
    rho = open_share("target_prevalence", target_prevalence)
    return float(logit(rho) - logit(pi))


def correct_probabilities(
    probabilities: ArrayLike, source: ArrayLike, target: ArrayLike
) -> np.ndarray:
    """Class probabilities under the target's class shares.

        q(k|x) = p(k|x) rho_k/pi_k / sum_j p(j|x) rho_j/pi_j

    Saerens, Latinne and Decaestecker, "Adjusting the outputs of a classifier to new a priori
    probabilities", Neural Computation 14 (2002) 21-41, equation 2.4.

    Args:
        probabilities: (n, K) rows that sum to 1, calibrated on the source.
        source: (K,) shares above 0. target: (K,) shares, 0 allowed; both sum to 1.

    Raises:
        ValueError: a patient has probability 0 for every class that the target holds.
    """
    p = class_probabilities("probabilities", probabilities)
    pi, rho = class_shares("source", source, p.shape[1]), class_shares("target", target, p.shape[1])
    if not (pi > 0).all():
        raise ValueError(
            f"source holds a share of 0 for class {int(pi.argmin())}; a class the source never "
            "showed cannot be corrected for: leave it out of both"
        )
    weighted = p * (rho / pi)
    total = weighted.sum(1, keepdims=True)
    if not (total > 0).all():
        raise ValueError(
            f"patient {int(total.argmin())} has probability 0 for every class of the target: its "
            "probabilities are overconfident, recalibrate them first"
        )
    return weighted / total


def moved_threshold(threshold: float, source_prevalence: float, target_prevalence: float) -> float:
    """Where to cut the *uncorrected* probability to decide as `threshold` does on the corrected.

        logit(t_source) = logit(threshold) - (logit(rho) - logit(pi))

    A rarer disease moves the cut on the old output up. All three arguments lie in (0, 1).
    """
    t = open_share("threshold", threshold)
    return float(expit(logit(t) - prior_step(source_prevalence, target_prevalence)))


def cost_threshold(false_positive: float, false_negative: float) -> float:
    """Probability above which calling a patient diseased costs less on average: c_fp/(c_fp + c_fn).

    Costs > 0 in any one unit, correct decisions free (Elkan 2001, equation 2). It applies to
    probabilities that are calibrated *where the decision is made*.
    """
    fp = number("false_positive", false_positive, 0.0, open_low=True)
    fn = number("false_negative", false_negative, 0.0, open_low=True)
    return fp / (fp + fn)


@dataclass(frozen=True)
class PredictiveValues:
    """P(diseased | called diseased) and P(healthy | called healthy)."""

    positive: float | np.ndarray
    negative: float | np.ndarray


def predictive_values(
    sensitivity: ArrayLike, specificity: ArrayLike, prevalence: ArrayLike
) -> PredictiveValues:
    """Predictive values by Bayes' rule; arguments in [0, 1], floats or arrays that broadcast.

        positive = se rho / (se rho + (1 - sp)(1 - rho))
        negative = sp (1 - rho) / (sp (1 - rho) + (1 - se) rho)

    NaN where nobody is called so.
    """
    se, sp = share("sensitivity", sensitivity), share("specificity", specificity)
    rho = share("prevalence", prevalence)
    hit, false_alarm = se * rho, (1 - sp) * (1 - rho)
    cleared, missed = sp * (1 - rho), (1 - se) * rho
    with np.errstate(invalid="ignore"):
        values = hit / (hit + false_alarm), cleared / (cleared + missed)
    return PredictiveValues(*(float(v) if np.ndim(v) == 0 else v for v in values))


def share(name: str, value: ArrayLike) -> np.ndarray:
    """Numbers in [0, 1], any shape up to two axes."""
    array = finite_array(name, value, (0, 1, 2))
    if array.min() < 0 or array.max() > 1:
        raise ValueError(
            f"{name} spans [{array.min():.3g}, {array.max():.3g}]; expected [0, 1]: divide "
            "percentages by 100, turn log odds into probabilities"
        )
    return array


def open_share(name: str, value: float) -> float:
    """A number in (0, 1)."""
    x = float(value)
    if not 0 < x < 1:
        raise ValueError(
            f"{name} is {value}; expected a number in (0, 1): at 0 or 1 no picture can change "
            "the verdict"
        )
    return x


def class_probabilities(name: str, value: ArrayLike) -> np.ndarray:
    """Rows (n, K >= 2) of probabilities that sum to 1 (within 1e-6, single precision)."""
    p = share(name, finite_array(name, value, 2))
    if p.shape[1] < 2:
        raise ValueError(f"{name} has shape {p.shape}; expected (n, K) with a column per class")
    if np.abs(p.sum(1) - 1).max() > 1e-6:
        worst = int(np.abs(p.sum(1) - 1).argmax())
        raise ValueError(
            f"row {worst} of {name} sums to {p[worst].sum():.6g}; expected 1: apply a softmax to "
            "logits, one-hot coding to hard decisions"
        )
    return p / p.sum(1, keepdims=True)


def class_shares(name: str, value: ArrayLike, classes: int) -> np.ndarray:
    """Shares (K,) that sum to 1."""
    shares = share(name, finite_array(name, value, 1))
    if shares.size != classes or abs(shares.sum() - 1) > 1e-6:
        raise ValueError(
            f"{name} holds {shares.size} shares with sum {shares.sum():.6g}; expected {classes} "
            "shares with sum 1"
        )
    return shares / shares.sum()
