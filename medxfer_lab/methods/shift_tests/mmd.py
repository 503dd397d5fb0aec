"""Maximum mean discrepancy: do two samples come from one distribution?"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial.distance import cdist

from medxfer_lab._checks import whole
from medxfer_lab.metrics.two_sample import SignificanceTest, monte_carlo_p_value, two_samples


def mmd_test(
    first: ArrayLike, second: ArrayLike, *, seed: int, permutations: int = 199
) -> SignificanceTest:
    """Kernel two-sample test; it detects every difference, given enough patients.

    statistic = mean k(x, x') + mean k(y, y') - 2 mean k(x, y), means over pairs of *different*
    patients: the unbiased estimate of MMD^2 = |mu_P - mu_Q|^2, zero if and only if P = Q, for
    k(a, b) = exp(-|a - b|^2 / 2h^2) (Gretton, Borgwardt, Rasch, Schoelkopf and Smola, "A kernel
    two-sample test", Journal of Machine Learning Research 13 (2012) 723-773, eq. 3). It may come
    out negative. Columns are scaled by their pooled standard deviation, and h is the median
    distance in the pooled sample: no permutation changes either, so the p-value is exact (see
    `medxfer_lab.metrics.two_sample`).

    A small p-value says that p(x) moved, not which shift moved it: covariate, label and acquisition
    shift all do. A large one does not say that the model is safe: concept shift keeps p(x).

    Args:
        first: (n, k) or (n,). second: (m, k) or (m,). Cost: (n + m)^2 (k + permutations) operations
            and (n + m)^2 numbers of memory.
    """
    x, y = two_samples(first, second)
    kernel = gaussian_kernel(pooled_distances(x, y))
    n, m = len(x), len(y)
    member = np.repeat([1.0, 0.0], [n, m])
    rng = np.random.default_rng((seed, 15))
    null = rng.permuted(np.tile(member, (whole("permutations", permutations, 1), 1)), axis=1)
    observed = float(unbiased_mmd(kernel, member[None])[0])
    p = monte_carlo_p_value(observed, unbiased_mmd(kernel, null))
    return SignificanceTest(observed, p, (n, m), f"MMD, {permutations} permutations")


def unbiased_mmd(kernel: np.ndarray, member: np.ndarray) -> np.ndarray:
    """MMD^2 (B,) between rows of the pooled sample with member (B, N) 1 and those with 0."""
    n = member[0].sum()
    m = len(kernel) - n
    total = kernel.sum(0)
    inside = ((member @ kernel) * member).sum(1)
    across = member @ total - inside
    outside = total.sum() - inside - 2 * across
    # the diagonal's ones pair a patient with himself
    return (inside - n) / (n * (n - 1)) + (outside - m) / (m * (m - 1)) - 2 * across / (n * m)


def gaussian_kernel(distance: np.ndarray) -> np.ndarray:
    """exp(-d^2 / 2h^2), h the median of the distances between rows that differ."""
    return np.exp(-0.5 * (distance / np.median(distance[distance > 0])) ** 2)


def pooled_distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Distances (n + m, n + m), each column scaled by its pooled standard deviation.

    Columns that are constant over both samples are left out.
    """
    pooled = np.concatenate([x, y])
    spread = pooled.std(0)
    varies = np.ptp(pooled, axis=0) > 0
    return cdist(*2 * [pooled[:, varies] / spread[varies]])
