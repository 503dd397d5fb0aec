"""How easily chance hands a learner an artefact that explains its few labels.

The parable: a student with a handful of pictures learns their accidents. An artefact (a marker, a
noise pattern, the scanner) that has nothing to do with the disease *separates* n training
examples when some rule on it alone gets every one of them right. The randomness in every
probability below is the draw of the artefact over training sets; the labels are given.
"""

from __future__ import annotations

from math import ceil, comb, log1p, log2

import numpy as np

from medxfer_lab._checks import number, whole


def artefact_separates(n_positive: int, n_negative: int, values: int = 2) -> float:
    """Probability that an artefact with k equally likely values separates the examples by chance.

    Each example takes one of `values` values, independently and regardless of its label; the
    artefact separates when no value occurs in both classes. With j the number of distinct values
    among the positives,

        P = sum_j C(k, j) surj(n1, j)/k^n1 * ((k - j)/k)^n0,
        surj(n, j) = sum_i (-1)^i C(j, i) (j - i)^n,    the ways n examples use all of j values.

    For k = 2 this is 2 * 2^(-n). With k far above n every example has a value of its own, any list
    of "values that mean disease" fits, and P tends to 1.

    Args:
        n_positive, n_negative: examples of each class, at least 1. values: k >= 2.
    """
    n1, n0 = whole("n_positive", n_positive, 1), whole("n_negative", n_negative, 1)
    k = whole("values", values, 2)
    ways = sum(comb(k, j) * surjections(n1, j) * (k - j) ** n0 for j in range(1, min(k, n1) + 1))
    return ways / k ** (n1 + n0)  # exact integers, one division


def surjections(n: int, j: int) -> int:
    """Number of ways n labelled examples can take j values with every value taken."""
    return sum((-1) ** i * comb(j, i) * (j - i) ** n for i in range(j + 1))


def expected_separating_features(
    p: int, n_positive: int, n_negative: int, frequency: float = 0.5
) -> float:
    """Expected number of p yes/no noise features that separate the examples, either way round.

        p [q^n1 (1 - q)^n0 + (1 - q)^n1 q^n0],    for q = 1/2:  2 p 2^(-n)

    An expectation, so it holds however the features depend on one another; each must be
    independent over examples and of the label.

    Args:
        p: features. n_positive, n_negative: examples of each class, at least 1.
        frequency: q, how often a feature is present.
    """
    p = whole("p", p, 0)
    n1, n0 = whole("n_positive", n_positive, 1), whole("n_negative", n_negative, 1)
    q = number("frequency", frequency, 0.0, 1.0)
    return p * (q**n1 * (1 - q) ** n0 + (1 - q) ** n1 * q**n0)


def some_feature_separates(
    p: int, n_positive: int, n_negative: int, frequency: float = 0.5
) -> float:
    """Probability that at least one of p *independent* yes/no noise features separates.

    1 - (1 - P)^p with P the probability for one feature. Dependent features make it smaller or
    larger; p P bounds it from above whatever the dependence (Boole's inequality).
    """
    p = whole("p", p, 0)
    one = expected_separating_features(1, n_positive, n_negative, frequency)
    return 1.0 if one >= 1 and p > 0 else float(-np.expm1(p * log1p(-one)))


def labels_against_shortcuts(p: int, expected: float = 1.0) -> int:
    """Fewest labels that leave at most `expected` of p fair yes/no features separating by chance.

    The smallest n >= 2 with 2 p 2^(-n) <= expected: n = 1 + log2(p/expected), rounded up. Twice the
    features cost one label more.
    """
    p = whole("p", p, 1)
    expected = number("expected", expected, 0.0, open_low=True)
    return max(2, ceil(1 + log2(p / expected)))


def linearly_separable(n: int, d: int, intercept: bool = True) -> float:
    """Probability that n examples with coin-flip labels can be separated by a hyperplane.

        P = 2^(1 - n) sum_{i < D} C(n - 1, i),    D = d + 1 with an intercept, d without

    for features in general position (no D of them on a common hyperplane), whatever their
    distribution: 1 for n <= D, one half at n = 2D. On separable data an unpenalised logistic head
    has no finite optimum. Labels here are independent fair coins (one class only counts as
    separable); real labels, which the features do explain, are separable more often.

    Source: T. M. Cover, IEEE Transactions on Electronic Computers EC-14 (1965) 326-334.

    Args:
        n: examples >= 1. d: features >= 1.
    """
    n, d = whole("n", n, 1), whole("d", d, 1)
    dimension = d + 1 if intercept else d
    return sum(comb(n - 1, i) for i in range(min(dimension, n))) / 2 ** (n - 1)
