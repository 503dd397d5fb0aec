"""The chapter's own theory, as pure functions of arrays.

- `decompositions`: bias, variance and noise in a world small enough to write down in full.
- `bargain`: what a centre and a strength do to risk; prior against data as images arrive.
- `shortcuts`: how easily chance hands a network an artefact that explains its few labels.
"""

from medxfer_lab.bias_variance.theory.bargain import (
    Arrival,
    BestBargain,
    RiskCurve,
    best_against_wrongness,
    posterior_against_prior,
    risk_against_strength,
    scratch_labels_needed,
)
from medxfer_lab.bias_variance.theory.decompositions import (
    Terms,
    TinyWorld,
    beta_bargain,
    log_loss_terms,
    squared_terms,
    worked_example,
)
from medxfer_lab.bias_variance.theory.shortcuts import (
    artefact_separates,
    expected_separating_features,
    labels_against_shortcuts,
    linearly_separable,
    some_feature_separates,
)

__all__ = [
    "Arrival",
    "BestBargain",
    "RiskCurve",
    "Terms",
    "TinyWorld",
    "artefact_separates",
    "best_against_wrongness",
    "beta_bargain",
    "expected_separating_features",
    "labels_against_shortcuts",
    "linearly_separable",
    "log_loss_terms",
    "posterior_against_prior",
    "risk_against_strength",
    "scratch_labels_needed",
    "some_feature_separates",
    "squared_terms",
    "worked_example",
]
