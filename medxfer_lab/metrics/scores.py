"""AUC, log loss, Brier score and calibration error; one set of predictions or many at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import rankdata

from medxfer_lab._checks import finite_array, same_length, whole


def auc(scores: ArrayLike, labels: ArrayLike) -> float | np.ndarray:
    """Area under the ROC curve: P(score of a diseased > score of a healthy) + P(equal)/2.

    Exact, ties included, from mid-ranks (the Mann-Whitney statistic): with r_i the rank of
    patient i, AUC = (sum of r_i over the diseased - n1(n1 + 1)/2) / (n1 n0).

    Args:
        scores: (n_test,) or (m, n_test), any increasing scale. labels: (n_test,) of 0 and 1.

    Returns:
        A float, or (m,).
    """
    scores = finite_array("scores", scores, (1, 2))
    labels = binary_labels(labels)
    same_length("scores", scores, "labels", labels)
    n1 = labels.sum()
    n0 = labels.size - n1
    if n1 == 0 or n0 == 0:
        raise ValueError(
            f"all {labels.size} labels are {int(labels[0])}; AUC compares the two classes: "
            "draw a test set that holds both"
        )
    rank_sum = (rankdata(scores, axis=-1) * labels).sum(-1)
    return unpacked((rank_sum - n1 * (n1 + 1) / 2) / (n1 * n0))


def log_loss(logits: ArrayLike, labels: ArrayLike) -> float | np.ndarray:
    """Mean of -log p(y) in nats, p = sigmoid(logit); stable for large logits, inf where p(y) = 0.

    Args:
        logits: (n_test,) or (m, n_test), infinite values allowed, NaN not.
        labels: (n_test,), 0 or 1, or the true probability eta in [0, 1] (then the expectation
            over y ~ Bernoulli(eta)).
    """
    z = np.asarray(logits, dtype=np.float64)
    if z.ndim not in (1, 2) or z.size == 0 or np.isnan(z).any():
        raise ValueError(f"logits have shape {z.shape} or hold NaN; expected (n,) or (m, n)")
    y = probability("labels", labels)
    same_length("logits", z, "labels", y)
    diseased, healthy = np.logaddexp(0, -z), np.logaddexp(0, z)
    with np.errstate(invalid="ignore"):  # 0 * inf where a class has probability 0: counts as 0
        loss = np.where(y > 0, y * diseased, 0.0) + np.where(y < 1, (1 - y) * healthy, 0.0)
    return unpacked(loss.mean(-1))


def brier(probabilities: ArrayLike, labels: ArrayLike) -> float | np.ndarray:
    """Mean squared difference between predicted probability and label, in [0, 1].

    probabilities: (n_test,) or (m, n_test). labels: (n_test,), 0 or 1.
    """
    p, y = probability("probabilities", probabilities), binary_labels(labels)
    same_length("probabilities", p, "labels", y)
    return unpacked(((p - y) ** 2).mean(-1))


def calibration_error(
    probabilities: ArrayLike, labels: ArrayLike, bins: int = 15
) -> float | np.ndarray:
    """Expected calibration error: mean over bins of |mean label - mean prediction|, by bin mass.

    Bins of equal mass; patients with the same prediction always share a bin (otherwise the order
    of the rows would decide the answer for a constant predictor).

    **Biased upwards**: a perfectly calibrated model scores about sqrt(2 p(1 - p)/(pi N)) for N
    patients per bin, because |noise| does not average out (Roelofs et al., "Mitigating bias in
    calibration error estimation", AISTATS 2022). Compare models at equal n_test and bins, or use
    `squared_calibration_error`, which can be corrected.

    probabilities: (n_test,) or (m, n_test). labels: (n_test,). Returns a float or (m,).
    """
    return over_rows(probabilities, labels, bins, absolute_gap)


def squared_calibration_error(
    probabilities: ArrayLike, labels: ArrayLike, bins: int = 15, debias: bool = True
) -> float | np.ndarray:
    """Mean over bins of (mean label - mean prediction)^2, by bin mass, bias-corrected.

    Each bin's square exceeds its expectation by the variance of the bin's mean label, estimated
    by ybar(1 - ybar)/(N - 1) and subtracted (Kumar, Liang and Ma, "Verified uncertainty
    calibration", NeurIPS 2019). The result may be below 0 and is not clipped, so that averages
    stay unbiased for the binned quantity. Bins with one patient cannot be corrected and are
    left out. Arguments as in `calibration_error`.
    """
    return over_rows(probabilities, labels, bins, debiased_gap if debias else squared_gap)


def absolute_gap(gap: np.ndarray, mean_label: np.ndarray, count: np.ndarray) -> float:
    return float((count * np.abs(gap)).sum() / count.sum())


def squared_gap(gap: np.ndarray, mean_label: np.ndarray, count: np.ndarray) -> float:
    return float((count * gap**2).sum() / count.sum())


def debiased_gap(gap: np.ndarray, mean_label: np.ndarray, count: np.ndarray) -> float:
    use = count > 1
    if not use.any():
        raise ValueError("every bin holds one patient: use fewer bins or more test patients")
    gap, mean_label, count = gap[use], mean_label[use], count[use]
    corrected = gap**2 - mean_label * (1 - mean_label) / (count - 1)
    return float((count * corrected).sum() / count.sum())


def over_rows(probabilities, labels, bins, summary) -> float | np.ndarray:
    """`summary(gap, mean label, count)` over the equal-mass bins of each row of predictions."""
    p, y = probability("probabilities", probabilities), binary_labels(labels)
    same_length("probabilities", p, "labels", y)
    bins = whole("bins", bins, 1)
    result = np.array([summary(*bin_means(row, y, bins)) for row in np.atleast_2d(p)])
    return result if p.ndim == 2 else float(result[0])


def bin_means(p: np.ndarray, y: np.ndarray, bins: int) -> tuple[np.ndarray, ...]:
    """Per non-empty bin: mean label minus mean prediction, mean label, count."""
    place = (rankdata(p) - 0.5) / p.size  # in (0, 1); equal predictions share a place
    index = np.minimum((place * bins).astype(int), bins - 1)
    count = np.bincount(index, minlength=bins)
    used = count > 0
    mean_label = np.bincount(index, y, bins)[used] / count[used]
    mean_prediction = np.bincount(index, p, bins)[used] / count[used]
    return mean_label - mean_prediction, mean_label, count[used]


def binary_labels(labels: ArrayLike) -> np.ndarray:
    """Labels (n_test,) as float64 zeros and ones."""
    y = finite_array("labels", labels, 1)
    if not np.isin(y, (0.0, 1.0)).all():
        odd = y[~np.isin(y, (0.0, 1.0))][0]
        raise ValueError(f"labels hold {odd}; expected only 0 (healthy) and 1 (diseased)")
    return y


def probability(name: str, value: ArrayLike) -> np.ndarray:
    """Probabilities (n_test,) or (m, n_test) as float64, checked to lie in [0, 1]."""
    p = finite_array(name, value, (1, 2))
    if p.min() < 0 or p.max() > 1:
        raise ValueError(f"{name} span [{p.min():.3g}, {p.max():.3g}]; expected values in [0, 1]")
    return p


def unpacked(value: np.ndarray) -> float | np.ndarray:
    """A float for one set of predictions, the array for many."""
    return float(value) if np.ndim(value) == 0 else value
