"""Class shares of the target for K classes: black-box shift estimation and EM."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats
from scipy.linalg import null_space

from medxfer_lab._checks import finite_array, whole
from medxfer_lab.methods.label_shift.correction import class_probabilities, class_shares
from medxfer_lab.methods.label_shift.estimate import ClassShares, onto_simplex


def black_box_class_shares(
    source_scores: ArrayLike, source_labels: ArrayLike, target_scores: ArrayLike
) -> ClassShares:
    """Shares of the target's classes from a black-box classifier (BBSE, K classes).

        raw = C^{-1} mu,    C[:, k] = mean score vector of the source's class k,  mu = the target's
        Cov(raw) = C^{-1} (S_t/m + sum_k raw_k^2 S_k/n_k) C^{-T}           (delta method)

    with S the covariances of the score vectors: the source's error is in. Lipton, Wang and Smola
    (ICML 2018) use the joint matrix C diag(pi) and get the weights raw_k/pi_k, the same estimate.
    Needs what `black_box_shift_estimate` needs, which for two classes gives the same `raw` and
    standard error. The covariance is of first order: read it with the condition number; and a class
    without a single error among hard decisions enters it as certain.

    Args:
        source_scores: (n, K) rows that sum to 1: probabilities, or one-hot hard decisions.
        source_labels: (n,) of 0..K-1, at least 2 of each. target_scores: (m, K), m >= 2.

    Raises:
        ValueError: C is singular, or not told from a singular matrix by the source (see
            `separation`; 1.96 is the limit).
    """
    source = class_probabilities("source_scores", source_scores)
    target = class_probabilities("target_scores", target_scores)
    labels = class_labels(source_labels, source)
    if target.shape[1] != source.shape[1] or len(target) < 2:
        raise ValueError(
            f"target_scores has shape {target.shape}; expected at least 2 rows of "
            f"{source.shape[1]} classes, as the source"
        )
    groups = [source[labels == k] for k in range(source.shape[1])]
    confusion = np.stack([group.mean(0) for group in groups], 1)  # (K scores, K classes)
    noise = np.stack([mean_covariance(group) for group in groups])  # (K, K, K)
    check_separation(confusion, noise)
    raw = np.linalg.solve(confusion, target.mean(0))
    middle = mean_covariance(target) + np.tensordot(raw**2, noise, 1)
    inverse = np.linalg.inv(confusion)
    return ClassShares(
        shares=onto_simplex(raw),
        raw=raw,
        covariance=inverse @ middle @ inverse.T,
        condition_number=float(np.linalg.cond(confusion)),
        method="BBSE",
        n_source=len(source),
        n_target=len(target),
    )


def class_labels(labels: ArrayLike, scores: np.ndarray) -> np.ndarray:
    """Labels (n,) of 0..K-1 as integers, one per row of scores (n, K), at least 2 of each class."""
    y = finite_array("source_labels", labels, 1)
    n, classes = scores.shape
    if y.size != n or not np.isin(y, np.arange(classes)).all():
        raise ValueError(
            f"source_labels holds {y.size} values from {y.min():g} to {y.max():g}; expected {n} "
            f"whole numbers from 0 to {classes - 1}"
        )
    counts = np.bincount(y.astype(int), minlength=classes)
    if counts.min() < 2:
        raise ValueError(
            f"class {int(counts.argmin())} has {counts.min()} source patients; expected at least "
            "2: the target's classes must be among the source's"
        )
    return y.astype(int)


def mean_covariance(scores: np.ndarray) -> np.ndarray:
    """Covariance (K, K) of the mean of rows (n, K)."""
    return np.cov(scores, rowvar=False) / len(scores)


def check_separation(confusion: np.ndarray, noise: np.ndarray) -> None:
    """Raise unless the smallest singular value of the confusion matrix exceeds its own noise."""
    value, error = separation(confusion, noise)
    if value <= 1e-12 or value <= stats.norm.ppf(0.975) * error:
        raise ValueError(
            f"smallest singular value of the confusion matrix is {value:.3g} with standard error "
            f"{error:.2g}: it may be singular, some classes are not told apart by the scores: "
            "merge them, or label more source patients"
        )


def separation(confusion: np.ndarray, noise: np.ndarray) -> tuple[float, float]:
    """Smallest singular value u'Cv and its standard error sqrt(sum_k v_k^2 u'Cov(C_k)u)."""
    left, values, right = np.linalg.svd(confusion)
    u, v = left[:, -1], right[-1]
    variance = np.einsum("k,kij,i,j", v**2, noise, u, u)
    return float(values[-1]), float(np.sqrt(max(variance, 0.0)))


def em_class_shares(
    probabilities: ArrayLike, start: ArrayLike, max_steps: int = 10_000
) -> ClassShares:
    """Shares of the target's classes by maximum likelihood (EM; Saerens et al. 2002).

    Maximises L(rho) = sum_i log sum_k rho_k r_ik with r_ik = P_source(k|x_i)/start_k over the
    simplex. L is concave and sum_k rho_k g_k = 1 for its gradient g_k = mean_i r_ik/mixture_i, so
    max_k g_k - 1 bounds what is left to gain, per patient: EM stops when it is below 1e-10. Every
    second step is extrapolated (SQUAREM: Varadhan and Roland, Scandinavian Journal of Statistics 35
    (2008) 335-353), which saves most of the steps.

    The covariance is the inverse of the observed information within the simplex, and takes the
    probabilities as known (see `em_prevalence`, also for what `start` is).

    Args:
        probabilities: (n, K), rows that sum to 1. start: (K,) shares above 0 that sum to 1.

    Raises:
        ValueError: no convergence in `max_steps`, or a flat likelihood (classes not told apart).
    """
    p = class_probabilities("probabilities", probabilities)
    prior = class_shares("start", start, p.shape[1])
    if not (prior > 0).all():
        raise ValueError(f"start holds a share of 0 for class {int(prior.argmin())}: leave it out")
    ratios = p / prior
    rho = prior
    for _ in range(whole("max_steps", max_steps, 1)):
        gradient = (ratios / (ratios @ rho)[:, None]).mean(0)
        if gradient.max() - 1 < 1e-10:
            return finished(rho, ratios)
        rho = accelerated_step(rho, ratios)
    raise ValueError(
        f"EM did not converge in {max_steps} steps (gap {gradient.max() - 1:.1e} a patient): "
        "some classes are hardly told apart: merge them, or raise max_steps"
    )


def em_step(rho: np.ndarray, ratios: np.ndarray) -> np.ndarray:
    """Mean of the probabilities corrected to the shares rho (K,); ratios: (n, K)."""
    return rho * (ratios / (ratios @ rho)[:, None]).mean(0)


def accelerated_step(rho: np.ndarray, ratios: np.ndarray) -> np.ndarray:
    """Two EM steps, extrapolated where that does not lower the likelihood."""
    once = em_step(rho, ratios)
    twice = em_step(once, ratios)
    first, bend = once - rho, twice - 2 * once + rho
    if not bend.any():
        return twice
    length = np.linalg.norm(first) / np.linalg.norm(bend)
    far = onto_simplex(rho + 2 * length * first + length**2 * bend)
    # a share at exactly 0 would never come back
    far = np.maximum(far, 1e-3 * twice)
    far = em_step(far / far.sum(), ratios)
    better = np.log(ratios @ far).sum() >= np.log(ratios @ twice).sum()
    return far if better else twice


def finished(rho: np.ndarray, ratios: np.ndarray) -> ClassShares:
    """The estimate with its covariance over the classes that the target holds."""
    held = rho > 1e-8
    scaled = (ratios / (ratios @ rho)[:, None])[:, held]
    covariance = np.full((rho.size, rho.size), np.nan)
    basis = null_space(np.ones((1, int(held.sum()))))  # directions that keep the sum
    information = basis.T @ (scaled.T @ scaled) @ basis
    if information.size:
        if np.linalg.cond(information) > 1e10:
            raise ValueError(
                "the likelihood is flat along a line of shares: some classes are not told apart "
                "by the probabilities: merge them"
            )
        covariance[np.ix_(held, held)] = basis @ np.linalg.inv(information) @ basis.T
    return ClassShares(rho, rho, covariance, None, "EM", 0, len(ratios))
