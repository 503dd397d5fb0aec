"""From measurements on two hospitals to the name of a shift, as far as a name exists.

Without target labels only q(x) is known, and every law of the labels fits it. So some shifts share
one answer, whatever the sample:

- none and concept shift: both leave q(x) = p(x) (:mod:`.two_worlds`);
- whatever moves p(x) inside its own support: covariate shift with w = q/p explains any such q(x),
  so selection and a changed spectrum of disease cannot be told apart. A target that is a mixture
  of the source's two classes is *called* label shift, because that needs but one number; a
  covariate shift that mimics it exists (`methods.shift_tests.mixture_family_test`).

The rules below are decision trees on p-values and one AUC. They are plain on purpose: each step is
a statement of the chapter.
"""

from __future__ import annotations

from dataclasses import dataclass

ALPHA = 0.05
#: images that a classifier tells apart this well do not overlap: a scanner the source never had
NO_OVERLAP_AUC = 0.95

KINDS = ("none", "label", "covariate", "concept", "acquisition", "burden")
#: what can be said without target labels -> the kinds that it stands for
ANSWERS: dict[str, tuple[str, ...]] = {
    "same images": ("none", "concept"),
    "label shift": ("label",),
    "other patients": ("covariate", "burden"),
    "new scanner": ("acquisition",),
}


@dataclass(frozen=True)
class Findings:
    """What was measured on a pair of hospitals.

    images_p: two-sample test of p(x). scores_p: of the model's log odds alone. mixture_p: test that
    q(x) is a mixture of the source's classes. domain_auc: of a flexible classifier of the domain.
    deployed_p, corrected_p: `calibration_test` of k target labels against the model as deployed,
    and after the label-shift correction; None without labels.
    """

    images_p: float
    scores_p: float
    mixture_p: float
    domain_auc: float
    deployed_p: float | None = None
    corrected_p: float | None = None


def diagnose_unlabelled(found: Findings) -> str:
    """One of ANSWERS: what q(x) says, and no more."""
    if found.images_p > ALPHA and found.scores_p > ALPHA / 2:
        return "same images"
    if found.domain_auc >= NO_OVERLAP_AUC:
        return "new scanner"
    return "label shift" if found.mixture_p > ALPHA else "other patients"


def diagnose_labelled(found: Findings) -> str:
    """One of KINDS: the unlabelled answer, divided by what k target labels say."""
    if found.deployed_p is None or found.corrected_p is None:
        raise ValueError("findings hold no labels; use diagnose_unlabelled, or label some patients")
    answer = diagnose_unlabelled(found)
    if answer == "new scanner":
        return "acquisition"
    if answer == "label shift":
        return "label" if found.corrected_p > ALPHA else "burden"
    kept = found.deployed_p > ALPHA
    if answer == "same images":
        return "none" if kept else "concept"
    return "covariate" if kept else "burden"


def any_shift(found: Findings) -> str:
    """The rule to beat: a test of p(x); if it rejects, the answer that is right most often."""
    return "same images" if found.images_p > ALPHA else "other patients"


def alarm_and_labels(found: Findings) -> str:
    """The rule to beat with labels: the alarm, and whether the labels fit the model as deployed."""
    if found.deployed_p is None:
        raise ValueError("findings hold no labels; use any_shift, or label some patients")
    if found.images_p <= ALPHA:
        return "covariate"
    return "none" if found.deployed_p > ALPHA else "concept"
