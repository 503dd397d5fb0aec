"""Derivation: the strength of EWC's penalty, from Bayes' rule with a prior of the old patients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import sympy

from medxfer_lab.course.exercise import Exercise, Variant, Wrong
from medxfer_lab.course.expressions import parse_formula, positive
from medxfer_lab.course.feedback import Feedback
from medxfer_lab.course.functions import formula
from medxfer_lab.course.values import Grade, Mistake, apart, as_number, number

SYMBOLS = {"n_old": (300.0, 3000.0), "n_new": (20.0, 200.0), "F": (0.05, 2.0), "P": (5.0, 80.0)}


@dataclass(frozen=True)
class Case:
    """Numbers of the prompt. ``halved``: the penalty is (c/2)(theta - theta_o)^2, else without
    the half, so that c is half as large."""

    n_old: int
    n_new: int
    F: float
    P: float
    halved: bool

    @property
    def share(self) -> str:
        """What multiplies (n_old F + P)/n_new, as a formula."""
        return "" if self.halved else "/2"

    @property
    def penalty(self) -> str:
        """The penalty in LaTeX."""
        return ("\\frac{c}{2}" if self.halved else "c\\,") + "(\\theta - \\theta_o)^2"


def exercise(seed: int) -> Exercise:
    """c = (n_old F + P)/n_new, or half of it: the seed draws numbers and the convention."""
    case = _case(seed)
    answer = f"(n_old*F + P)/n_new{case.share}"
    value, posterior = evaluate(answer, case), case.n_old * case.F + case.P
    mistakes = _mistakes(case)
    halved = "" if case.halved else " Without a half in the penalty, $c$ holds that half."
    return Exercise(
        id="ewc_from_bayes",
        title="Yesterday's posterior, today's prior",
        objective="Derive the strength of EWC's penalty from Bayes' rule",
        kind="derivation",
        prompt=(
            "A network was trained on `n_old` patients of a large hospital, with a normal prior of "
            "precision `P` (one over its variance). Look at one of its parameters, $\\theta$. "
            "Training ended at $\\theta_o$, the maximum of the posterior. The *mean* log loss "
            "per patient has the Fisher information `F` there, which stands for its second "
            "derivative. Now a small hospital tunes the network on `n_new` patients and "
            "minimises\n\n"
            f"$L_n(\\theta) + {case.penalty}$,\n\n"
            "where $L_n$ is the *mean* log loss of its own patients. Take the old posterior, by "
            "Laplace's approximation, as the prior of the new task. Which $c$ makes the minimum "
            "the most probable parameter, given the patients of both hospitals?\n\n"
            "Answer with a formula in `n_old`, `n_new`, `F`, `P`: a text such as "
            '`"n_old + P*F"`, a SymPy expression, or a Python function of these. Or with its value '
            f"for `n_old` = {case.n_old}, `n_new` = {case.n_new}, `F` = {case.F:g}, "
            f"`P` = {case.P:g}."
        ),
        hints=(
            "Precisions add up. What is the precision of $\\theta$ after the old patients: what "
            "did the prior bring, and what did each patient add?",
            "The old posterior is about normal around $\\theta_o$ with the precision "
            "$n_{old} F + P$. Write its negative logarithm, and add the *summed* loss of the new "
            "patients.",
            "$n_{new} L_n(\\theta) + \\tfrac12\\,(n_{old} F + P)(\\theta - \\theta_o)^2$ is to be "
            "minimised. Divide by what turns the sum into a mean, and compare with the penalty.",
        ),
        grade=_grade(answer, mistakes, case),
        right=(
            Variant("text", answer),
            Variant("two fractions", f"c = n_old/n_new{case.share} * F + P/n_new{case.share}"),
            Variant("SymPy expression", _expression(case)),
            Variant("SymPy, expanded", sympy.expand(_expression(case))),
            Variant("function", _function(case)),
            Variant("number", value),
            Variant("three digits", f"{value:.3g}"),
        ),
        wrong=(
            *(
                Wrong(m.diagnosis, m.value, m.diagnosis)
                for m in {m.diagnosis: m for m in mistakes}.values()
            ),
            Wrong("another symbol", "n_old*F/n_new + tau", "unreadable"),
            Wrong("a list", ["n_old", "F"], "wrong-type"),
        ),
        solution=(
            "The old posterior is about normal, with mean $\\theta_o$ and precision $n_{old} F + "
            f"P$ = {posterior:g}. The new log posterior is the sum of two logarithms; with its "
            "sign changed it is $n_{new} L_n(\\theta) + \\tfrac12\\,(n_{old} F + P)"
            "(\\theta - \\theta_o)^2$. Divide by $n_{new}$, for a mean loss: $c = "
            f"{_tex(case)}$ = {value:.4g}.{halved}\n\n"
            "Where the old patients are many, $P$ hardly matters, and EWC's strength in front of "
            "$F$ is $n_{old}/n_{new}$. Bayes' rule leaves no strength to tune, if one set of "
            "parameters serves both hospitals and the old posterior is normal as far as the new "
            "optimum. Neither is sure, and so strengths are tuned."
        ),
    )


def evaluate(text: str, case: Case) -> float:
    """A formula's value for the numbers of the prompt."""
    expression = parse_formula(text, list(SYMBOLS))
    return float(expression.subs({positive(name): getattr(case, name) for name in SYMBOLS}))


def _case(seed: int) -> Case:
    """Numbers for which no two slips have one value; even seeds have the half in the penalty."""
    rng = np.random.default_rng([seed, 52])
    while True:
        case = Case(
            n_old=int(rng.choice([400, 500, 800, 1000, 1500, 2000])),
            n_new=int(rng.choice([20, 25, 40, 50, 80, 100])),
            F=float(rng.choice([0.05, 0.08, 0.12, 0.15, 0.3])),
            P=float(rng.choice([10, 15, 25, 40, 60])),
            halved=seed % 2 == 0,
        )
        right = evaluate(f"(n_old*F + P)/n_new{case.share}", case)
        slips = [evaluate(m.value, case) for m in _mistakes(case)]
        if apart([right, 1 / right, *slips], rtol=0.04):
            return case


def _grade(answer: str, mistakes: list[Mistake], case: Case) -> Grade:
    """A number is judged by the numbers of the prompt, all else as a formula."""
    praise = (
        "What the old patients know of the parameter, and the prior before them, shared among the "
        "new patients: a mean loss counts each of these 1/n_new."
    )
    by_formula = formula(answer, SYMBOLS, mistakes, praise=praise)
    by_number = number(
        evaluate(answer, case),
        [Mistake(m.diagnosis, evaluate(m.value, case), m.message) for m in mistakes],
        praise=praise,
        rtol=0.01,
    )

    def grade(given: Any) -> Feedback:
        return by_formula(given) if as_number(given) is None else by_number(given)

    return grade


def _mistakes(case: Case) -> list[Mistake]:
    """Slips as formulas. One diagnosis can have several: with the prior, and without."""
    h = case.share
    wide, narrow = ("2*", "/2") if case.halved else ("", "/4")
    return [
        Mistake(
            "patients-swapped",
            f"(n_new*F + P)/n_old{h}",
            "The hospitals are swapped. More old patients must make the penalty stronger, more new "
            "ones weaker.",
        ),
        Mistake("patients-swapped", f"n_new/n_old*F{h}", "The hospitals are swapped."),
        Mistake(
            "not-divided",
            f"(n_old*F + P){h}",
            "This belongs to a *sum* over the new patients. Their loss is a mean here: divide all "
            "of it by `n_new`.",
        ),
        Mistake("not-divided", f"n_old*F{h}", "The loss is a mean: divide by `n_new`."),
        Mistake(
            "twice",
            f"{wide}(n_old*F + P)/n_new",
            "Twice too large. "
            + (
                "The half of the normal density's exponent is in the penalty already."
                if case.halved
                else "The exponent of a normal density has a half, and this penalty has none."
            ),
        ),
        Mistake(
            "half",
            f"(n_old*F + P)/n_new{narrow}",
            "Half of what it should be. "
            + (
                "The penalty is $\\tfrac{c}{2}$ times the square: its half is that of the "
                "exponent, so do not count it twice."
                if case.halved
                else "One half comes from the normal density's exponent; there is no second one."
            ),
        ),
        Mistake(
            "variance",
            f"1/((n_old*F + P)*n_new){h}",
            "You took the Fisher information for a variance. It is a *precision*: the more the "
            "patients say, the narrower the posterior and the stronger the penalty.",
        ),
        Mistake("variance", f"1/(n_old*F*n_new){h}", "Fisher information is a precision."),
        Mistake("variance", f"(n_old/F + P)/n_new{h}", "Fisher information is a precision."),
        Mistake(
            "no-prior",
            f"n_old*F/n_new{h}",
            "The old patients are right. But the posterior also knows what the prior before them "
            "said: put n_old = 0, and a penalty must be left.",
        ),
        Mistake(
            "one-old-patient",
            f"(F + P)/n_new{h}",
            "`F` is what *one* patient tells, on average. The old hospital had more of them.",
        ),
        Mistake(
            "prior-not-divided",
            f"(n_old*F/n_new + P){h}",
            "The prior's precision is not divided. The whole negative log posterior is divided by "
            "`n_new`, the old prior with it.",
        ),
        Mistake(
            "prior-per-patient",
            f"n_old*(F + P)/n_new{h}",
            "The prior was there once, not once for each old patient.",
        ),
        Mistake(
            "importance-missing",
            f"n_old/n_new{h}",
            "This is the factor in front of `F`. Asked is the whole `c` of this parameter.",
        ),
    ]


def _expression(case: Case) -> sympy.Expr:
    n_old, n_new, fisher, prior = sympy.symbols("n_old n_new F P")
    return (n_old * fisher + prior) / n_new / (1 if case.halved else 2)


def _function(case: Case) -> Callable[..., float]:
    return lambda n_old, n_new, F, P: (n_old * F + P) / (n_new if case.halved else 2 * n_new)


def _tex(case: Case) -> str:
    below = "n_{new}" if case.halved else "2\\,n_{new}"
    return f"\\frac{{n_{{old}} F + P}}{{{below}}}"
