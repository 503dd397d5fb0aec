"""Three questions on probability: Bayes' rule, standard errors, the log loss."""

from __future__ import annotations

import numpy as np

from medxfer_lab.course.exercise import Exercise, Variant, Wrong
from medxfer_lab.course.values import Mistake, apart, number


def bayes_rule(seed: int) -> Exercise:
    """Positive predictive value from prevalence, sensitivity and specificity."""
    rng = np.random.default_rng([seed, 11])
    while True:
        prevalence = float(rng.choice([0.02, 0.05, 0.08, 0.1]))
        sensitivity = float(rng.choice([0.8, 0.85, 0.9, 0.95]))
        specificity = float(rng.choice([0.75, 0.8, 0.85, 0.9]))
        hit, alarm = prevalence * sensitivity, (1 - prevalence) * (1 - specificity)
        answer = hit / (hit + alarm)
        mistakes = [
            Mistake("sensitivity", sensitivity, "This is P(positive | diseased). Turn it round."),
            Mistake("joint", hit, "This is P(positive and diseased). Divide by P(positive)."),
            Mistake(
                "prevalence-ignored",
                sensitivity / (sensitivity + 1 - specificity),
                "You left the prevalence out: this is right where half of the patients are ill.",
            ),
            Mistake("complement", 1 - answer, "This is the share of the positives who are well."),
        ]
        if apart([answer, *(m.value for m in mistakes)], rtol=0.06):
            break
    return Exercise(
        id="bayes_rule",
        title="A positive test",
        objective="Prerequisites: probability",
        kind="number",
        prompt=(
            f"A disease has a prevalence of {prevalence:.0%}. A test finds "
            f"{sensitivity:.0%} of the diseased (sensitivity) and clears {specificity:.0%} of the "
            "healthy (specificity). What is the probability of disease after a positive test?"
        ),
        hints=(
            "Imagine ten thousand patients and count.",
            "How many are ill and positive? How many are well and positive?",
            "Divide the first by the sum of both: this is Bayes' rule.",
        ),
        grade=number(
            answer,
            mistakes,
            praise="With a low prevalence most positives are false, however good the test looks.",
            percent=True,
        ),
        right=(
            Variant("number", answer),
            Variant("per cent as text", f"{100 * answer:.4f} %"),
            Variant("numpy", np.float64(answer)),
        ),
        wrong=(
            *(Wrong(m.diagnosis, m.value, m.diagnosis) for m in mistakes),
            Wrong("per cent", 100 * answer, "percent"),
        ),
        solution=(
            f"Of all patients {hit:.4f} are ill and positive, {alarm:.4f} well and positive. So "
            f"$P = {hit:.4f}/({hit:.4f} + {alarm:.4f}) = {answer:.3f}$."
        ),
    )


def variance_of_a_mean(seed: int) -> Exercise:
    """Standard error of the mean of m independent values."""
    rng = np.random.default_rng([seed, 12])
    variance, m = float(rng.choice([0.36, 0.49, 0.64])), int(rng.choice([20, 30, 45, 60]))
    mistakes = [
        Mistake("variance", variance / m, "This is the variance of the mean; now take the root."),
        Mistake("not-averaged", np.sqrt(variance), "This is the spread of one value, not of m."),
        Mistake(
            "divided-by-m", np.sqrt(variance) / m, "Divide the *variance* by m, then the root."
        ),
        Mistake("sum", np.sqrt(variance * m), "This is the spread of the sum; the mean is asked."),
    ]
    answer = float(np.sqrt(variance / m))
    return Exercise(
        id="variance_of_a_mean",
        title="How sure is a mean?",
        objective="Prerequisites: probability",
        kind="number",
        prompt=(
            f"{m} independent measurements have a variance of {variance} each. What is the "
            "standard deviation of their mean (its standard error)?"
        ),
        hints=(
            "Variances of independent values add up.",
            "The sum of m values has m times the variance; dividing by m divides it by m squared.",
            "Standard error: the root of variance/m.",
        ),
        grade=number(answer, mistakes, praise="Four times the data halve the standard error."),
        right=(
            Variant("number", answer),
            Variant("three digits", float(f"{answer:.3g}")),
            Variant("text", f"{answer:.5f}"),
        ),
        wrong=tuple(Wrong(x.diagnosis, x.value, x.diagnosis) for x in mistakes),
        solution=f"$\\sqrt{{{variance}/{m}}} = {answer:.4f}$.",
    )


def logistic_loss(seed: int) -> Exercise:
    """Log loss of one prediction, natural logarithm."""
    rng = np.random.default_rng([seed, 13])
    p = float(rng.choice([0.15, 0.2, 0.25, 0.3]))
    answer = -np.log(p)
    mistakes = [
        Mistake("other-label", -np.log(1 - p), "This is the loss if the patient were healthy."),
        Mistake(
            "log10", -np.log10(p), "You took the logarithm to base 10; this is the natural one."
        ),
        Mistake("log2", -np.log2(p), "This is in bits (base 2); take the natural logarithm."),
        Mistake("squared", (1 - p) ** 2, "This is the squared error, not the log loss."),
    ]
    return Exercise(
        id="log_loss",
        title="The price of surprise",
        objective="Prerequisites: probability",
        kind="number",
        prompt=(
            f"A network gives a patient a probability of disease of {p}. The patient is ill. What "
            "is the log loss of this prediction (natural logarithm)?"
        ),
        hints=(
            "The log loss looks only at the probability of what happened.",
            "It is minus the logarithm of that probability.",
            "`-np.log(...)`; `np.log` is the natural logarithm.",
        ),
        grade=number(
            answer, mistakes, praise="A sure prediction that is wrong costs without limit."
        ),
        right=(
            Variant("number", answer),
            Variant("rounded", round(answer, 3)),
            Variant("text", f"{answer:.4f}"),
        ),
        wrong=(
            *(Wrong(m.diagnosis, m.value, m.diagnosis) for m in mistakes),
            Wrong("sign", -answer, "sign"),
        ),
        solution=f"$-\\ln {p} = {answer:.3f}$.",
    )
