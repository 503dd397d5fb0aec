"""Do two samples come from one distribution? Tests with exact p-values, and their rejection rates.

A sample is an array (n, k): n independent patients, k features of each. The p-values of the
permutation tests are exact in finite samples: under equality of distributions the pooled rows are
exchangeable, so P(p <= alpha) <= alpha for any statistic, any n and any number of permutations
B, with (nearly) equality where (B + 1) alpha is whole and ties are rare (Phipson and Smyth,
"Permutation p-values should never be zero", Statistical Applications in Genetics and Molecular
Biology 9 (2010), article 39).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats
from scipy.spatial.distance import cdist

from medxfer_lab._checks import finite_array, number, whole
from medxfer_lab.metrics.intervals import Interval, check_level
from medxfer_lab.metrics.scores import binary_labels


@dataclass(frozen=True)
class SignificanceTest:
    """A test's outcome. p_value: P(a statistic as large as this, or larger) under the null."""

    statistic: float
    p_value: float
    sizes: tuple[int, ...]
    method: str

    def rejects(self, alpha: float = 0.05) -> bool:
        """Whether equality is rejected at level ``alpha``."""
        return self.p_value <= alpha


def monte_carlo_p_value(observed: float, null: ArrayLike) -> float:
    """(1 + #{null_b >= observed}) / (B + 1): the observed statistic counts as one of its draws.

    Exact when observed and null are exchangeable under the null hypothesis. Values closer than
    1e-12 of their size count as equal, so that rounding cannot break a tie.
    """
    null = finite_array("null", null, 1)
    slack = 1e-12 * max(abs(observed), float(np.abs(null).max()))
    return float((1 + (null >= observed - slack).sum()) / (len(null) + 1))


def energy_test(
    first: ArrayLike, second: ArrayLike, *, seed: int, permutations: int = 199
) -> SignificanceTest:
    """Energy test of P = Q; it detects every difference, given enough patients.

    statistic = n m / (n + m) (2 mean|x - y| - mean|x - x'| - mean|y - y'|), its expectation's
    limit zero if and only if P = Q (Szekely and Rizzo, Journal of Statistical Planning and
    Inference 143 (2013) 1249-1272). Columns are scaled by their pooled standard deviation first,
    which no permutation changes; a constant column is left out.

    Args:
        first: (n, k) or (n,). second: (m, k) or (m,). Cost: (n + m)^2 (k + permutations).
    """
    x, y = two_samples(first, second)
    pooled = np.concatenate([x, y])
    spread = pooled.std(0)
    distance = cdist(*2 * [pooled[:, spread > 0] / spread[spread > 0]])
    share = np.where(np.arange(len(pooled)) < len(x), 1 / len(x), -1 / len(y))
    rng = np.random.default_rng((seed, 11))
    shuffled = rng.permuted(np.tile(share, (whole("permutations", permutations, 1), 1)), axis=1)
    # mean|x-y| and its kin are one quadratic form: -s' D s with s = 1/n on x and -1/m on y
    size = len(x) * len(y) / len(pooled)
    null = -size * ((shuffled @ distance) * shuffled).sum(1)
    observed = float(-size * share @ distance @ share)
    p = monte_carlo_p_value(observed, null)
    return SignificanceTest(observed, p, (len(x), len(y)), f"energy, {permutations} permutations")


def classifier_test(
    first: ArrayLike, second: ArrayLike, *, seed: int, permutations: int = 199
) -> SignificanceTest:
    """Classifier two-sample test: can a linear classifier tell the samples apart on new patients?

    Half of each sample trains a linear discriminant; the statistic is its AUC on the other half,
    its p-value (one-sided, AUC above 1/2) comes from permuting the other half's sample labels
    (Lopez-Paz and Oquab, "Revisiting classifier two-sample tests", ICLR 2017, with AUC in place of
    accuracy). Blind to differences that no linear score sees: use `energy_test` for those. Unlike
    the energy distance, an AUC can be read: .5 is alike, 1 is another world.

    Args:
        first: (n, k) or (n,). second: (m, k) or (m,); at least 4 patients each.
    """
    x, y = two_samples(first, second)
    if min(len(x), len(y)) < 4:
        raise ValueError(f"samples hold {len(x)} and {len(y)} patients; halves need at least 4")
    rng = np.random.default_rng((seed, 12))
    x, y = rng.permutation(x), rng.permutation(y)
    i, j = len(x) // 2, len(y) // 2
    direction = linear_discriminant(x[:i], y[:j])
    ranks = stats.rankdata(np.concatenate([x[i:], y[j:]]) @ direction)
    n, m = len(x) - i, len(y) - j
    label = np.arange(n + m) >= n
    shuffled = rng.permuted(np.tile(label, (whole("permutations", permutations, 1), 1)), axis=1)
    null = (shuffled @ ranks - m * (m + 1) / 2) / (n * m)
    observed = float((ranks[label].sum() - m * (m + 1) / 2) / (n * m))
    p = monte_carlo_p_value(observed, null)
    return SignificanceTest(observed, p, (n, m), f"classifier AUC, {permutations} permutations")


def linear_discriminant(first: np.ndarray, second: np.ndarray, ridge: float = 1e-3) -> np.ndarray:
    """Direction (k,) along which the second sample lies above the first: (S + ridge)^-1 (m2 - m1).

    S: pooled within-sample covariance; ridge as a share of each feature's variance.
    """
    scatter = sum((s - s.mean(0)).T @ (s - s.mean(0)) for s in (first, second))
    scatter = scatter / (len(first) + len(second) - 2)
    variance = np.diag(scatter)
    scatter = scatter + np.diag(ridge * variance + np.where(variance == 0, 1.0, 0.0))
    return np.linalg.solve(scatter, second.mean(0) - first.mean(0))


def kolmogorov_smirnov_test(
    first: ArrayLike, second: ArrayLike
) -> tuple[SignificanceTest, np.ndarray]:
    """Which features differ? Kolmogorov-Smirnov for each column, adjusted after Holm.

    Returns (test that all marginals are equal: the largest distance between empirical distribution
    functions and the smallest adjusted p-value; adjusted p-values (k,)). It sees marginals only:
    two samples may have equal marginals and differ.
    """
    x, y = two_samples(first, second)
    tests = [stats.ks_2samp(a, b) for a, b in zip(x.T, y.T)]
    adjusted = holm([t.pvalue for t in tests])
    largest = max(float(t.statistic) for t in tests)
    sizes = (len(x), len(y))
    test = SignificanceTest(largest, float(adjusted.min()), sizes, "Kolmogorov-Smirnov, Holm")
    return test, adjusted


def holm(p_values: ArrayLike) -> np.ndarray:
    """Adjusted p-values: reject those <= alpha and any false rejection has chance <= alpha.

    Sorted p_(1) <= ... <= p_(k): adjusted_(j) = max over i <= j of min(1, (k - i + 1) p_(i))
    (Holm, Scandinavian Journal of Statistics 6 (1979) 65-70). Any dependence is allowed.
    """
    p = finite_array("p_values", p_values, 1)
    if p.min() < 0 or p.max() > 1:
        raise ValueError(f"p_values span [{p.min():.3g}, {p.max():.3g}]; expected [0, 1]")
    order = np.argsort(p, kind="stable")
    steps = np.minimum(1.0, p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.maximum.accumulate(steps)
    return adjusted


def prevalence_test(first: ArrayLike, second: ArrayLike) -> SignificanceTest:
    """Fisher's exact test that two samples of labels (n,), (m,) have one prevalence.

    statistic: absolute difference of prevalences. Conservative, as every exact test of counts is:
    its size lies below alpha.
    """
    a, b = binary_labels(first), binary_labels(second)
    table = [[a.sum(), len(a) - a.sum()], [b.sum(), len(b) - b.sum()]]
    p = float(stats.fisher_exact(np.array(table, dtype=int)).pvalue)
    return SignificanceTest(float(abs(a.mean() - b.mean())), p, (len(a), len(b)), "Fisher exact")


def binomial_interval(successes: int, trials: int, level: float = 0.95) -> Interval:
    """Clopper-Pearson interval of a probability: covers it with chance at least ``level``.

    Ends: the probabilities at which seeing this many successes or more (lower), this many or
    fewer (upper), has chance (1 - level)/2 (Clopper and Pearson, Biometrika 26 (1934) 404-413).
    """
    n, k = whole("trials", trials, 1), whole("successes", successes, 0)
    if k > n:
        raise ValueError(f"successes is {k} of {n} trials; expected at most {n}")
    tail = (1 - check_level(level)) / 2
    low = 0.0 if k == 0 else float(stats.beta.ppf(tail, k, n - k + 1))
    high = 1.0 if k == n else float(stats.beta.ppf(1 - tail, k + 1, n - k))
    return Interval(k / n, low, high, n, float(level), "Clopper-Pearson")


def rejection_rate(p_values: ArrayLike, alpha: float = 0.05, level: float = 0.95) -> Interval:
    """Share of independent repetitions with p <= alpha: size under the null, power otherwise."""
    p = finite_array("p_values", p_values, 1)
    rejected = int((p <= number("alpha", alpha, 0, 1, open_low=True) + 1e-12).sum())
    return binomial_interval(rejected, len(p), level)


def two_samples(first: ArrayLike, second: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Both samples as finite float64 (n, k) and (m, k), at least two patients each."""
    x, y = finite_array("first", first, (1, 2)), finite_array("second", second, (1, 2))
    x, y = (a[:, None] if a.ndim == 1 else a for a in (x, y))
    if x.shape[1] != y.shape[1]:
        raise ValueError(
            f"first has {x.shape[1]} features and second {y.shape[1]}; compare the same features"
        )
    if min(len(x), len(y)) < 2:
        raise ValueError(f"samples hold {len(x)} and {len(y)} patients; a test needs 2 of each")
    if np.ptp(np.concatenate([x, y]), axis=0).max() == 0:
        raise ValueError("every feature is constant over both samples: nothing can be compared")
    return x, y
