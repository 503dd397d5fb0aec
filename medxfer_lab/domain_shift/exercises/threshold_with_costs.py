"""Numbers: where to cut an old model's probability when the disease has become rare and the two
errors cost different amounts, and how many of the alarms are then true."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from medxfer_lab.course.exercise import Exercise, Variant, Wrong
from medxfer_lab.course.values import Mistake, apart, number
from medxfer_lab.domain_shift.exercises.several import several
from medxfer_lab.domain_shift.exercises.words import percent
from medxfer_lab.methods.label_shift import cost_threshold, moved_threshold, predictive_values

NAMES = ("threshold", "predictive_value")
#: prevalence at the target, and the area under the curve of the network
TARGET_PREVALENCE, AUC = 0.02, 0.89


@dataclass(frozen=True)
class Case:
    """Prevalence at the source, and what a false positive and a false negative cost, in hours."""

    source_prevalence: float
    false_positive: float
    false_negative: float

    @property
    def cost_odds(self) -> float:
        """Odds of disease at which alarm and silence cost the same."""
        return self.false_positive / self.false_negative

    @property
    def rarer(self) -> float:
        """The odds of disease at the source over those at the target."""
        return odds(self.source_prevalence) / odds(TARGET_PREVALENCE)

    @property
    def threshold(self) -> float:
        """On the old model's probability: the costs' threshold, moved by the two prevalences."""
        border = cost_threshold(self.false_positive, self.false_negative)
        return moved_threshold(border, self.source_prevalence, TARGET_PREVALENCE)

    @property
    def rates(self) -> tuple[float, float]:
        """Sensitivity and specificity at the threshold, two decimals; scores are normal in each
        class with equal variance."""
        distance = np.sqrt(2) * NormalDist().inv_cdf(AUC)
        log_likelihood_ratio = np.log(self.cost_odds / odds(TARGET_PREVALENCE))
        below = [
            NormalDist(mean, distance).cdf(log_likelihood_ratio)
            for mean in (distance**2 / 2, -(distance**2) / 2)
        ]
        return round(1 - below[0], 2), round(below[1], 2)


def odds(p: float) -> float:
    """p / (1 - p)"""
    return p / (1 - p)


def probability(value: float) -> float:
    """The probability with these odds."""
    return value / (1 + value)


def exercise(seed: int) -> Exercise:
    """A prevalence of 2 %; the seed draws the old one and the costs."""
    case = _case(seed)
    answer = (case.threshold, _predictive_value(case))
    threshold_mistakes, value_mistakes = _of_threshold(case), _of_predictive_value(case)
    pi, lost, missed = case.source_prevalence, case.false_positive, case.false_negative
    border = probability(case.cost_odds)
    sensitivity, specificity = case.rates
    checks = {
        "threshold": number(answer[0], threshold_mistakes, praise="", percent=True, atol=5e-4),
        "predictive_value": number(answer[1], value_mistakes, praise="", percent=True, atol=5e-4),
    }
    return Exercise(
        id="threshold_with_costs",
        title="Where to raise the alarm",
        objective="Place a threshold by prevalence and costs",
        kind="number",
        prompt=(
            f"A network was calibrated at a hospital of prevalence $\\pi$ = {percent(pi)}. A "
            "screening service takes it over. The prevalence there is $\\rho$ = "
            f"{percent(TARGET_PREVALENCE)}; the diseased, and the healthy, look as before: "
            f"$p(x|y)$ is kept. A false alarm costs $c_{{FP}}$ = {lost:g} hours of work, a missed "
            f"patient as much as $c_{{FN}}$ = {missed:g} hours. Right decisions cost nothing. The "
            "service cannot change the network's output, only where to cut it.\n\n"
            "- `threshold`: above which of the network's *old* probabilities should it raise the "
            "alarm, to lose as few hours as possible?\n"
            f"- `predictive_value`: at the best threshold the sensitivity is {sensitivity:.2f} and "
            f"the specificity {specificity:.2f}. Which share of the alarms at the service is true?"
            "\n\nAnswer with two numbers in this order, or a dict with these keys."
        ),
        hints=(
            "First forget the old hospital. A patient has the disease with probability $r$. What "
            "does an alarm cost on average, what does silence? For which $r$ are they equal?",
            "An alarm pays from the odds $r/(1-r) = c_{FP}/c_{FN}$ on. Those are the odds at the "
            "*service*. What did the network say of such a patient, for the old prevalence?",
            "Under label shift the network's odds are those at the service, times "
            "$\\frac{\\pi}{1-\\pi} / \\frac{\\rho}{1-\\rho}$. For the predictive value: of 10,000 "
            "patients screened, count the true and the false alarms.",
        ),
        grade=several(checks, praise=_praise(answer[1], border)),
        right=(
            Variant("list", [float(v) for v in answer]),
            Variant("dict", dict(zip(NAMES, answer))),
            Variant("array", np.array(answer)),
            Variant("rounded", tuple(round(v, 3) for v in answer)),
            Variant("per cent as text", [f"{100 * v:.2f} %" for v in answer]),
        ),
        wrong=(
            *(Wrong(m.diagnosis, (m.value, answer[1]), m.diagnosis) for m in threshold_mistakes),
            *(Wrong(m.diagnosis, (answer[0], m.value), m.diagnosis) for m in value_mistakes),
            Wrong("per cent", (100 * answer[0], 100 * answer[1]), "percent"),
            Wrong("threshold only", [answer[0]], "shape"),
        ),
        solution=(
            "An alarm costs $(1-r)\\,c_{FP}$ on average, silence $r\\,c_{FN}$, so it pays from "
            f"odds of {lost:g}/{missed:g} = {case.cost_odds:.3g} on ($r = {border:.3g}$). The old "
            f"prior odds are {odds(pi):.3g}, the new {odds(TARGET_PREVALENCE):.3g}: the network "
            f"states odds {case.rarer:.3g} times too high. It says odds of "
            f"{case.cost_odds * case.rarer:.3g} there, a probability of {answer[0]:.3f}. Of 10,000 "
            f"screened {TARGET_PREVALENCE * 1e4 * sensitivity:.0f} are true alarms and "
            f"{(1 - TARGET_PREVALENCE) * 1e4 * (1 - specificity):.0f} false ones: a share of "
            f"{answer[1]:.3f}."
        ),
    )


def _praise(value: float, border: float) -> str:
    return (
        f"Only {percent(value, 1)} of the alarms are true, and that is no fault of the threshold: "
        "a missed patient costs so much that an alarm pays from a probability of "
        f"{percent(border, 1)} on. Sensitivity and specificity at a given score came along from "
        "the old hospital; the predictive value did not."
    )


def _predictive_value(case: Case) -> float:
    return float(predictive_values(*case.rates, TARGET_PREVALENCE).positive)


def _case(seed: int) -> Case:
    """Prevalence and costs drawn until the answers and all slips are apart."""
    rng = np.random.default_rng([seed, 22])
    while True:
        lost = float(rng.choice([2, 3, 4, 5]))
        case = Case(
            source_prevalence=float(rng.integers(12, 46)) / 100,
            false_positive=lost,
            false_negative=lost
            * float(rng.choice([10, 12, 15, 18, 20, 25, 30, 35, 40, 60, 70, 80])),
        )
        thresholds = [case.threshold, *(m.value for m in _of_threshold(case))]
        values = [_predictive_value(case), *(m.value for m in _of_predictive_value(case))]
        if apart(thresholds, rtol=0.03, atol=2e-3) and apart(values, rtol=0.03, atol=2e-3):
            return case


def _of_threshold(case: Case) -> list[Mistake]:
    pi, rarer, cost_odds = case.source_prevalence, case.rarer, case.cost_odds
    return [
        Mistake(
            "one-half",
            0.5,
            "0.5 is the best threshold where both errors cost the same and the prevalence is that "
            "of the calibration. Neither is so here.",
        ),
        Mistake(
            "costs-ignored",
            probability(rarer),
            "You moved the prior rightly, but this is where disease and health are equally "
            "probable. A missed patient costs more than a false alarm, so act earlier.",
        ),
        Mistake(
            "prior-ignored",
            probability(cost_odds),
            "This is the right threshold for a probability that holds at the service. The network "
            "still counts with the old prevalence: its log odds are too high, by the same amount "
            "for everyone. Raise the threshold's log odds by as much.",
        ),
        Mistake(
            "costs-inverted",
            probability(rarer / cost_odds),
            "The costs stand upside down: this hardly ever raises an alarm, as if false alarms "
            "were the expensive ones.",
        ),
        Mistake(
            "prior-inverted",
            probability(cost_odds / rarer),
            "You moved the prior the wrong way. The network believes the disease to be more common "
            "than it is, so what it says is too high, and the threshold on it must rise.",
        ),
        Mistake(
            "prevalence-not-odds",
            probability(cost_odds * pi / TARGET_PREVALENCE),
            "You used the ratio of the *prevalences*. Odds change by the ratio of the prevalences' "
            "*odds*: the share of the healthy has changed too.",
        ),
        Mistake(
            "odds",
            cost_odds * rarer,
            "These are the right odds. As a probability they are odds/(1 + odds).",
        ),
        Mistake(
            "log-odds",
            float(np.log(cost_odds * rarer)),
            "These are the right log odds. Go back to a probability.",
        ),
        Mistake(
            "old-prevalence",
            pi,
            "At the old prevalence an image speaks neither for nor against the disease. That "
            "leaves out both the costs and what is known before the image.",
        ),
    ]


def _of_predictive_value(case: Case) -> list[Mistake]:
    sensitivity, specificity = case.rates
    return [
        Mistake(
            "sensitivity",
            sensitivity,
            "This is the sensitivity, $P(\\text{alarm} \\mid y = 1)$. Turn it round: "
            "$P(y = 1 \\mid \\text{alarm})$.",
        ),
        Mistake(
            "old-predictive-value",
            float(predictive_values(*case.rates, case.source_prevalence).positive),
            "This is the share at the old hospital. Sensitivity and specificity are kept under "
            "label shift; the predictive value is not.",
        ),
        Mistake(
            "prevalence-left-out",
            sensitivity / (sensitivity + 1 - specificity),
            "You left the prevalence out: this holds where half of the patients are diseased.",
        ),
        Mistake(
            "false-alarms",
            1 - _predictive_value(case),
            "This is the share of the false alarms.",
        ),
        Mistake(
            "true-alarms-of-all",
            TARGET_PREVALENCE * sensitivity,
            "This is the share of true alarms among all who are screened. Divide by all alarms.",
        ),
        Mistake(
            "border",
            probability(case.cost_odds),
            "This is the probability of a patient just at the threshold. Most alarms lie above it.",
        ),
    ]
