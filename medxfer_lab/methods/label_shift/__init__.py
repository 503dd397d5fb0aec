r"""Label shift: the prevalence changes, the pictures of the healthy and of the diseased do not.

Source density p, target density q; eta(x) = P_source(y=1|x); prevalences pi (source) and rho
(target). Label shift says q(x|y) = p(x|y), so that

    q(x) = (1 - rho) p(x|0) + rho p(x|1),     q(x)/p(x) = (1 - rho)(1 - eta)/(1 - pi) + rho eta/pi

Four rooms, by what you know and want:

- `correction`: rho is known; what becomes of probabilities, thresholds and predictive values.
- `bbse`: rho from unlabelled target patients and any bounded score. Needs p(x|y) kept, target
  classes among the source's, and class means that differ. Does *not* need calibration.
- `em`: rho by maximum likelihood from calibrated probabilities and the prior they belong to.
  Sharper where both are right, wrong where either is not.
- `classes`: both estimators for K classes.

No estimator is clipped in silence: `raw` is the solution as computed, and the estimate says whether
it lies inside. None of them can see that p(x|y) moved, save by an impossible answer: that needs a
test of its own.
"""

from medxfer_lab.methods.label_shift.bbse import black_box_shift_estimate
from medxfer_lab.methods.label_shift.classes import black_box_class_shares, em_class_shares
from medxfer_lab.methods.label_shift.correction import (
    PredictiveValues,
    correct_log_odds,
    correct_probabilities,
    cost_threshold,
    moved_threshold,
    predictive_values,
)
from medxfer_lab.methods.label_shift.em import em_path, em_prevalence
from medxfer_lab.methods.label_shift.estimate import ClassShares, PrevalenceEstimate

__all__ = [
    "ClassShares",
    "PredictiveValues",
    "PrevalenceEstimate",
    "black_box_class_shares",
    "black_box_shift_estimate",
    "correct_log_odds",
    "correct_probabilities",
    "cost_threshold",
    "em_class_shares",
    "em_path",
    "em_prevalence",
    "moved_threshold",
    "predictive_values",
]
