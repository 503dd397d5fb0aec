"""A few target labels against the model's probabilities: are they calibrated there?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit

from medxfer_lab._checks import finite_array, same_length
from medxfer_lab.metrics.conditional import known_probability_test
from medxfer_lab.metrics.scores import binary_labels
from medxfer_lab.metrics.two_sample import SignificanceTest

# 1 - sigmoid(36) is the last step below one: beyond it a probability rounds to certainty, and a
# contradicted certainty would have no variance to be measured in
LARGEST_LOG_ODDS = 36.0


def calibration_test(
    log_odds: ArrayLike, labels: ArrayLike, *, seed: int, draws: int = 999
) -> SignificanceTest:
    """Test that labels are independent draws y_i ~ Bernoulli(sigmoid(z_i)); exact at any n.

    In the family logit P(y = 1) = intercept + slope z the null says intercept 0 and slope 1 (Cox,
    "Two further applications of a model for binary regression", Biometrika 45 (1958) 562-565).
    Rao's score statistic: S = U' V^-1 U with U = sum (y - eta)(1, z), V = sum eta(1 - eta)(1, z)
    (1, z)', eta = sigmoid(z); near chi-squared with two degrees of freedom. The p-value comes from
    drawing the labels anew. Unlike a likelihood ratio it fits nothing, so ten labels that the
    scores separate, or ten of one class, are no special case.

    Exact for log odds that are given. Log odds that were themselves calibrated or corrected on a
    finite sample carry that sample's error, which the p-value leaves out.

    Null: the source model's p(y | x) holds in the target *as this score sees it*. Rejection may be
    label shift (test `correct_log_odds(z, ...)` next), concept shift, or a model that was never
    calibrated. No rejection with few labels says little: see the power before you trust it.

    Args:
        log_odds: (n,) in nats, finite; beyond +-36 they count as +-36. labels: (n,) of 0 and 1.
    """
    z, y = finite_array("log_odds", log_odds, 1), binary_labels(labels)
    same_length("log_odds", z, "labels", y)
    z = np.clip(z, -LARGEST_LOG_ODDS, LARGEST_LOG_ODDS)
    test = known_probability_test(z, y, expit(z), seed=seed, draws=draws)
    return replace(test, method=f"calibration intercept and slope, {draws} draws of labels")
