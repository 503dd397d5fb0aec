"""The chapter's own theory, as pure functions of arrays.

- `joint`: the shifts as statements about one table, and what an old rule costs on a new one.
- `scanner`: the same patients under another noise, in closed form.
- `importance`: weights between two Gaussians, what they cost, and when they run out.
- `two_worlds`: what no unlabelled data can tell, and what labels buy.
- `divergence`: a bound between domains, computed exactly for thresholds on a line.
"""

from medxfer_lab.domain_shift.theory.divergence import (
    DivergenceBound,
    divergence_bound,
    divergence_examples,
    domain_error,
    gaussian_divergence,
    proxy_divergence,
    sample_divergence,
    table_divergence,
    threshold_risks,
    total_divergence,
)
from medxfer_lab.domain_shift.theory.importance import (
    Parted,
    effective_share,
    kl_divergence,
    outside_range,
    parted_supports,
    renyi_divergence,
    second_moment,
    weighted_mean_variance,
    weights,
)
from medxfer_lab.domain_shift.theory.joint import (
    Kept,
    acquisition_shift,
    bayes_log_loss,
    bayes_risk,
    concept_shift,
    covariate_shift,
    eta,
    excess_log_loss,
    excess_risk,
    kept,
    label_shift,
)
from medxfer_lab.domain_shift.theory.scanner import (
    OldRule,
    Scanner,
    auc,
    log_odds,
    old_rule,
    operating_point,
    slope,
)
from medxfer_lab.domain_shift.theory.two_worlds import (
    NoisyBound,
    disagreement,
    hardest_disagreement,
    labels_needed,
    labels_to_tell,
    minimax_risk,
    noisy_bound,
    risks,
)

__all__ = [
    "DivergenceBound",
    "Kept",
    "NoisyBound",
    "OldRule",
    "Parted",
    "Scanner",
    "acquisition_shift",
    "auc",
    "bayes_log_loss",
    "bayes_risk",
    "concept_shift",
    "covariate_shift",
    "disagreement",
    "divergence_bound",
    "divergence_examples",
    "domain_error",
    "effective_share",
    "eta",
    "excess_log_loss",
    "excess_risk",
    "gaussian_divergence",
    "hardest_disagreement",
    "kept",
    "kl_divergence",
    "label_shift",
    "labels_needed",
    "labels_to_tell",
    "log_odds",
    "minimax_risk",
    "noisy_bound",
    "old_rule",
    "operating_point",
    "outside_range",
    "parted_supports",
    "proxy_divergence",
    "renyi_divergence",
    "risks",
    "sample_divergence",
    "second_moment",
    "slope",
    "table_divergence",
    "threshold_risks",
    "total_divergence",
    "weighted_mean_variance",
    "weights",
]
