"""Black-box shift detection: is the distribution of the model's scores the same?"""

from __future__ import annotations

from dataclasses import replace

from numpy.typing import ArrayLike

from medxfer_lab.metrics.two_sample import SignificanceTest, kolmogorov_smirnov_test


def black_box_test(source_scores: ArrayLike, target_scores: ArrayLike) -> SignificanceTest:
    """Kolmogorov-Smirnov test of the model's scores, source against target; no labels needed.

    One score a patient: the two-sample test. K scores a patient (one a class): K tests, Holm's
    smallest adjusted p-value, which is the Bonferroni combination of Rabanser, Guennemann and
    Lipton, "Failing loudly", NeurIPS 2019 (BBSDs: soft scores). statistic: the largest distance
    between empirical distribution functions.

    It sees what the score sees. A shift that the model ignores goes undetected, and so does concept
    shift; label shift, covariate shift and a new scanner all move scores, and the p-value does not
    say which of them did. Source scores must come from patients the model was not trained on:
    otherwise overfitting alone is a shift.

    Args:
        source_scores: (n,) or (n, K). target_scores: (m,) or (m, K); log odds or probabilities,
            which give the same outcome (ranks decide).
    """
    test, adjusted = kolmogorov_smirnov_test(source_scores, target_scores)
    return replace(test, method=f"black-box shift detection, {len(adjusted)} score(s)")
