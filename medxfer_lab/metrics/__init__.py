"""Scores of predictions, decompositions of their error, intervals for both, statistics of images.

Array conventions: the last axis counts test patients; a leading axis, where there is one, counts
training sets (m of them, independent). Labels are 0 or 1.
"""

from medxfer_lab.metrics.conditional import conditional_domain_test, known_probability_test
from medxfer_lab.metrics.crossed import CrossedVariance, crossed_variance
from medxfer_lab.metrics.decomposition import (
    bias2_standard_error,
    compare,
    decompose_log_loss,
    decompose_squared,
    naive_bias2_floor,
)
from medxfer_lab.metrics.image_statistics import (
    Histogram,
    RadialSpectrum,
    Slope,
    histogram_distance,
    intensity_histogram,
    radial_power_spectrum,
    spectral_slope,
    spectrum_distance,
)
from medxfer_lab.metrics.intervals import (
    Interval,
    bootstrap_interval,
    mean_interval,
    paired_bootstrap_interval,
    pseudo_value_interval,
)
from medxfer_lab.metrics.label_worth import LabelWorth, label_worth
from medxfer_lab.metrics.scores import (
    auc,
    brier,
    calibration_error,
    log_loss,
    squared_calibration_error,
)
from medxfer_lab.metrics.terms import ErrorDecomposition
from medxfer_lab.metrics.two_sample import (
    SignificanceTest,
    binomial_interval,
    classifier_test,
    energy_test,
    holm,
    kolmogorov_smirnov_test,
    monte_carlo_p_value,
    prevalence_test,
    rejection_rate,
)

__all__ = [
    "CrossedVariance",
    "ErrorDecomposition",
    "Histogram",
    "Interval",
    "LabelWorth",
    "RadialSpectrum",
    "SignificanceTest",
    "Slope",
    "auc",
    "bias2_standard_error",
    "binomial_interval",
    "bootstrap_interval",
    "brier",
    "calibration_error",
    "classifier_test",
    "compare",
    "conditional_domain_test",
    "crossed_variance",
    "decompose_log_loss",
    "decompose_squared",
    "energy_test",
    "histogram_distance",
    "holm",
    "intensity_histogram",
    "known_probability_test",
    "kolmogorov_smirnov_test",
    "label_worth",
    "log_loss",
    "mean_interval",
    "monte_carlo_p_value",
    "naive_bias2_floor",
    "paired_bootstrap_interval",
    "prevalence_test",
    "pseudo_value_interval",
    "radial_power_spectrum",
    "rejection_rate",
    "spectral_slope",
    "spectrum_distance",
    "squared_calibration_error",
]
