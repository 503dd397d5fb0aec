"""Numbers: what a calibrated probability becomes where the disease is rarer or more common."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit

from medxfer_lab.course.exercise import Exercise, Variant, Wrong
from medxfer_lab.course.values import Mistake, apart, array
from medxfer_lab.domain_shift.exercises.words import percent
from medxfer_lab.methods.label_shift import correct_log_odds

PATIENTS = ("first", "second", "third")


@dataclass(frozen=True)
class Case:
    """Two prevalences, what the network says of three patients, (3,), and how it says it."""

    source_prevalence: float
    target_prevalence: float
    said: np.ndarray
    in_log_odds: bool

    @property
    def probabilities(self) -> np.ndarray:
        """The network's P(y=1|x) at the source, (3,)."""
        return expit(self.said) if self.in_log_odds else self.said


def corrected(p: np.ndarray, source_prevalence: float, target_prevalence: float) -> np.ndarray:
    """P(y=1|x) at the target's prevalence, by a shift of the log odds. p: any shape, in (0, 1)."""
    return expit(correct_log_odds(logit(p), source_prevalence, target_prevalence))


def exercise(seed: int) -> Exercise:
    """Three patients of a calibrated network; the seed draws how its output is given, too."""
    case = _case(seed)
    pi, rho, p = case.source_prevalence, case.target_prevalence, case.probabilities
    answer = corrected(p, pi, rho)
    mistakes = _mistakes(case)
    shift = float(logit(rho) - logit(pi))
    diseased, well = p * rho / pi, (1 - p) * (1 - rho) / (1 - pi)
    listed = ", ".join(f"{value:g}" for value in case.said)
    output = "log odds (natural logarithm)" if case.in_log_odds else "probabilities of disease"
    return Exercise(
        id="prior_correction",
        title="The same image, another waiting room",
        objective="Correct a probability for another prevalence",
        kind="number",
        prompt=(
            f"A network is calibrated at a hospital of prevalence $\\pi$ = {percent(pi)}. It moves "
            f"to one of prevalence $\\rho$ = {percent(rho)}. The diseased, and the healthy, look "
            f"as before: $p(x|y)$ is kept. Of three patients at the new hospital it says these "
            f"{output}: {listed}.\n\nWhat are their probabilities of disease there?\n\nAnswer "
            "with three numbers (probabilities) in this order."
        ),
        hints=(
            "A diseased patient is met $\\rho/\\pi$ times as often as before. How often is a "
            "healthy one met, compared with before?",
            "Let $p$ be what the network says. Weigh $p$ with the first ratio and $1-p$ with the "
            "second. The two no longer add up to one: divide by their sum.",
            "Or in log odds: add $\\log\\frac{\\rho}{1-\\rho} - \\log\\frac{\\pi}{1-\\pi}$, the "
            "same number for every image, and go back to a probability.",
        ),
        grade=array(
            answer,
            mistakes,
            praise=(
                f"All three moved by {shift:+.2f} in log odds, whatever the image shows. The order "
                "of the patients is kept, and so is the AUC: only the scale was wrong."
            ),
            atol=6e-4,
        ),
        right=(
            Variant("shifted log odds", [float(v) for v in answer]),
            Variant("weighed and divided", diseased / (diseased + well)),
            Variant("tuple, rounded", tuple(round(float(v), 3) for v in answer)),
        ),
        wrong=(
            *(Wrong(m.diagnosis, m.value, m.diagnosis) for m in mistakes),
            Wrong("one patient", float(answer[0]), "shape"),
        ),
        solution=(
            f"The odds are multiplied by $\\frac{{{rho:g}/{1 - rho:g}}}{{{pi:g}/{1 - pi:g}}} = "
            f"{np.exp(shift):.3g}$, that is {shift:+.3f} in log odds. The odds "
            f"{', '.join(f'{v:.3g}' for v in p / (1 - p))} become "
            f"{', '.join(f'{v:.3g}' for v in answer / (1 - answer))}; as probabilities "
            f"{', '.join(f'{v:.3f}' for v in answer)}."
        ),
    )


def _case(seed: int) -> Case:
    """Numbers drawn until the answer and all slips are apart and no answer hugs 0 or 1."""
    rng = np.random.default_rng([seed, 21])
    while True:
        pi = float(rng.choice([0.2, 0.25, 0.3, 0.35, 0.4]))
        rho = float(rng.choice([0.02, 0.05, 0.1, 0.5, 0.6, 0.7, 0.8]))
        p = np.sort(rng.uniform(0.1, 0.95, 3))
        in_log_odds = bool(rng.integers(2))
        case = Case(pi, rho, np.round(logit(p), 1) if in_log_odds else np.round(p, 2), in_log_odds)
        answer = corrected(case.probabilities, pi, rho)
        values = [answer, *(m.value for m in _mistakes(case))]
        if answer.min() > 0.01 and answer.max() < 0.98 and apart(values, rtol=0.08, atol=3e-3):
            return case


def _mistakes(case: Case) -> list[Mistake]:
    pi, rho, p = case.source_prevalence, case.target_prevalence, case.probabilities
    answer = corrected(p, pi, rho)
    odds, shift = p / (1 - p), logit(rho) - logit(pi)
    return [
        Mistake("unchanged", p, "This is the old hospital's probability, unchanged."),
        Mistake(
            "not-renormalised",
            p * rho / pi,
            "You weighed the diseased with $\\rho/\\pi$. The healthy have a weight too, "
            "$(1-\\rho)/(1-\\pi)$. Only divided by the sum of both is it a probability.",
        ),
        Mistake(
            "healthy-not-weighed",
            expit(logit(p) + np.log(rho / pi)),
            "You multiplied the odds by $\\rho/\\pi$, the ratio of the *prevalences*. Odds change "
            "by the ratio of the prevalences' *odds*: the share of the healthy has changed too.",
        ),
        Mistake(
            "inverted",
            corrected(p, rho, pi),
            "This goes the wrong way, from the new hospital to the old. The disease is "
            + (
                "rarer at the new one: every probability must fall."
                if rho < pi
                else "more common at the new one: every probability must rise."
            ),
        ),
        Mistake(
            "odds",
            odds * np.exp(shift),
            "These are the right odds. As probabilities they are odds/(1 + odds).",
        ),
        Mistake(
            "log-odds",
            logit(p) + shift,
            "These are the right log odds. Go back to probabilities.",
        ),
        Mistake(
            "corrected-twice",
            corrected(answer, pi, rho),
            "You shifted the log odds twice.",
        ),
        Mistake(
            "old-prior-kept",
            expit(logit(p) + logit(rho)),
            "You multiplied by the new odds, $\\rho/(1-\\rho)$, and left the old ones in: the "
            "network's output holds $\\pi/(1-\\pi)$ already. Divide it out.",
        ),
        Mistake(
            "log10",
            expit(logit(p) + shift / np.log(10)),
            "You took the logarithm of the shift to base 10. Log odds are natural logarithms.",
        ),
        Mistake(
            "added",
            p + rho - pi,
            "You added the difference of the prevalences. Bayes' rule multiplies odds; a sum of "
            "probabilities can leave the range from 0 to 1.",
        ),
        Mistake("healthy", 1 - answer, "These are the probabilities of being healthy."),
        Mistake(
            "percent",
            100 * answer,
            "The size is right, but in per cent: give shares between 0 and 1.",
        ),
    ]
