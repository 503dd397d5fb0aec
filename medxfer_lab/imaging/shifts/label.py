"""Label shift: resample cases on y, after the criterion."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from medxfer_lab.imaging.cohort import Cohort


@dataclass(frozen=True)
class Resampled:
    """A cohort of another prevalence, and what leads there and back.

    cohort: the target, (m,) patients. index: (m,) their positions in the source.
    class_weights: (2,) float64, w(y) = q(y)/p(y) for y = 0, 1; source to target.
    weights: (n,) float64, w(y_i) for each patient of the source; their mean is 1.
    back_weights: (m,) float64, p(y)/q(y) for each patient of the target; None where q leaves a
        class out, for then the target says nothing about it.
    """

    cohort: Cohort
    index: Tensor
    class_weights: Tensor
    weights: Tensor
    back_weights: Tensor | None


def resample(
    cohort: Cohort,
    prevalence: float,
    seed: int,
    n: int | None = None,
    replacement: bool = False,
) -> Resampled:
    """Label shift: patients resampled on y so that P(y = 1) becomes ``prevalence``.

    Keeps p(x | y), and with it everything else that is known about a patient given y. Changes
    p(y), p(x), and p(y | x): the odds of y = 1 given x are multiplied by
    q(1) p(0) / (q(0) p(1)), the same for every image.

    Without replacement (default): as many as can be had, n = floor(min(n1/q, n0/(1 - q))), less
    one where the rounding needs it; within a class every subset is equally likely. Given the
    counts, the patients of a class remain independent draws from p(x | y): *exact* for a source of
    independent patients, and tests of p(x | y) keep their size. The number of diseased is n q,
    rounded at random so that its expectation is n q. It is fixed by design, so p(y) and p(x) vary
    *less* between draws than in a sample of n independent patients.

    With replacement: n (default: the source's) independent draws from the reweighted source. Exact
    given the source; but patients come back, so the draws are not independent patients of the
    hospital. Split by ``patient_ids`` before training, and count patients, not rows.

    p(y) in the weights is the source's own share of positive labels, so that the weighted source
    has mean label q exactly.

    Args:
        prevalence: q(1) in [0, 1]. n: patients wanted; without replacement at most what is there.

    Raises:
        ValueError: for labels other than 0 and 1, a class that is wanted but absent, n too large.
    """
    labels = _binary(cohort.labels)
    if not 0 <= prevalence <= 1:
        raise ValueError(f"prevalence is {prevalence}; it is a probability in [0, 1]")
    counts = np.array([(labels == 0).sum(), (labels == 1).sum()])
    q = np.array([1 - prevalence, prevalence])
    for y in (0, 1):
        if q[y] > 0 and counts[y] == 0:
            raise ValueError(
                f"prevalence is {prevalence}, but no patient has label {y}: draw a larger cohort"
            )
    rng = np.random.default_rng((seed, 5))
    wanted = _class_counts(counts, q, n, replacement, rng)
    chosen = [
        rng.choice(np.flatnonzero(labels == y), size=wanted[y], replace=replacement)
        for y in (0, 1)
        if wanted[y] > 0
    ]
    index = torch.from_numpy(rng.permutation(np.concatenate(chosen)))
    class_weights = np.divide(q, counts / counts.sum(), out=np.zeros(2), where=counts > 0)
    target = labels[index.numpy()]
    back = None if (q[counts > 0] == 0).any() else torch.from_numpy(1 / class_weights[target])
    return Resampled(
        cohort=cohort.take(index.to(cohort.labels.device)),
        index=index,
        class_weights=torch.from_numpy(class_weights),
        weights=torch.from_numpy(class_weights[labels]),
        back_weights=back,
    )


def _class_counts(
    counts: np.ndarray, q: np.ndarray, n: int | None, replacement: bool, rng: np.random.Generator
) -> np.ndarray:
    """How many patients of each class: (2,), expectation n q."""
    if n is not None and n < 1:
        raise ValueError(f"n is {n}; a cohort needs at least one patient")
    if replacement:
        total = int(counts.sum()) if n is None else n
        diseased = rng.binomial(total, q[1])
        return np.array([total - diseased, diseased])
    most = _most(counts, q)
    if most == 0 or (n is not None and n > most):
        raise ValueError(
            f"n is {n}, but {counts[0]} healthy and {counts[1]} diseased patients give at most "
            f"{most} at prevalence {q[1]}: draw a larger cohort, or pass replacement=True"
        )
    total = most if n is None else n
    diseased = math.floor(total * q[1] + 1e-9)
    diseased += int(rng.random() < total * q[1] - diseased)
    return np.array([total - diseased, diseased])


def _most(counts: np.ndarray, q: np.ndarray) -> int:
    """The largest n for which n q(y), rounded either way, does not exceed any class's count."""
    n = math.floor(min(c / s for c, s in zip(counts, q) if s > 0) + 1e-9)
    while n > 0 and any(math.ceil(n * s - 1e-9) > c for c, s in zip(counts, q)):
        n -= 1
    return n


def _binary(labels: Tensor) -> np.ndarray:
    values = labels.detach().cpu().numpy()
    if not np.isin(values, (0, 1)).all():
        odd = values[~np.isin(values, (0, 1))][0]
        raise ValueError(f"labels hold {odd}; label shift needs labels 0 and 1")
    return values.astype(int)
