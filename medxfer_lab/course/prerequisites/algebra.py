"""Two questions on linear algebra: eigenvectors of a covariance, least squares."""

from __future__ import annotations

import numpy as np

from medxfer_lab.course.exercise import Exercise, Variant, Wrong
from medxfer_lab.course.values import Mistake, Option, apart, array, choice, letters, options_text


def eigenvalue_direction(seed: int) -> Exercise:
    """What a covariance's eigenvalues and eigenvectors say."""
    rng = np.random.default_rng([seed, 14])
    a = int(rng.choice([4, 6, 9]))
    options = [
        Option(
            f"The features vary most along $(1, 1)/\\sqrt{{2}}$, with variance {2 * a - 1}",
            "Yes: multiply the matrix with (1, 1) and see how much longer it gets.",
            short="sum direction",
        ),
        Option(
            f"The features vary most along $(1, -1)/\\sqrt{{2}}$, with variance {2 * a - 1}",
            "Multiply the matrix with (1, -1): it keeps its length, so this is the direction in "
            "which the features vary *least*.",
            "least-variation",
        ),
        Option(
            f"Both features vary alike, so every direction has the variance {a}",
            "Both features do have that variance, but they are correlated, and directions between "
            "the axes differ.",
            "correlation-ignored",
        ),
        Option(
            f"The features vary most along the first axis, with variance {a}",
            "The diagonal holds the variances along the axes. Eigenvectors need not be axes.",
            "diagonal-read",
        ),
        Option(
            f"The features vary most along $(1, 1)/\\sqrt{{2}}$, with variance {4 * a - 2}",
            "The direction is right. Its length must be 1: with (1, 1) you count twice.",
            "not-normalised",
        ),
    ]
    options = [options[i] for i in rng.permutation(len(options))]
    best = next(i for i, option in enumerate(options) if not option.diagnosis)
    letter = letters(options)[best]
    return Exercise(
        id="eigenvalues",
        title="Where do features vary?",
        objective="Prerequisites: linear algebra",
        kind="decision",
        prompt=(
            f"Two standardised features have the second-moment matrix with {a} on the diagonal and "
            f"{a - 1} beside it. Which is true?\n\n{options_text(options)}\n\nAnswer with a letter."
        ),
        hints=(
            "The variance along a direction $u$ of length 1 is $u^\\top \\Sigma u$.",
            "Try the two diagonals $(1, 1)$ and $(1, -1)$: are they eigenvectors?",
            f"$\\Sigma (1, 1)^\\top = ({2 * a - 1})\\,(1, 1)^\\top$.",
        ),
        grade=choice(options),
        right=(
            Variant("letter", letter),
            Variant("capital", letter.upper()),
            Variant("bracket", f"{letter})"),
        ),
        wrong=tuple(
            Wrong(option.diagnosis, letters(options)[i], option.diagnosis)
            for i, option in enumerate(options)
            if option.diagnosis
        ),
        solution=(
            f"$(1,1)$ and $(1,-1)$ are eigenvectors, with the eigenvalues {a} + {a - 1} = "
            f"{2 * a - 1} and {a} - {a - 1} = 1. The larger one is the direction of most variation."
        ),
    )


def least_squares(seed: int) -> Exercise:
    """Two points, slope and intercept by least squares over three points."""
    rng = np.random.default_rng([seed, 15])
    while True:
        x = np.array([0.0, 1.0, 2.0])
        y = rng.integers(0, 9, 3).astype(float)
        design = np.column_stack([np.ones(3), x])
        answer = np.linalg.lstsq(design, y, rcond=None)[0]
        mistakes = [
            Mistake("swapped", answer[::-1], "The numbers are right, in the other order."),
            Mistake(
                "no-intercept",
                [0.0, float(x @ y / (x @ x))],
                "This line is forced through zero: the design needs a column of ones.",
            ),
            Mistake(
                "first-and-last",
                [y[0], (y[2] - y[0]) / 2],
                "You joined the first and the last point; least squares uses all three.",
            ),
            Mistake("mean-only", [y.mean(), 0.0], "This is the mean of y: the slope is missing."),
        ]
        if apart([answer, *(m.value for m in mistakes)], rtol=0.05, atol=0.05):
            break
    points = ", ".join(f"({a:g}, {b:g})" for a, b in zip(x, y, strict=True))
    return Exercise(
        id="least_squares",
        title="A line through three points",
        objective="Prerequisites: linear algebra",
        kind="number",
        prompt=(
            f"Fit $y = a + b\\,x$ by least squares to the points {points}. Answer with the "
            "intercept $a$ and the slope $b$, in this order."
        ),
        hints=(
            "Write it as $y \\approx X\\theta$ with a column of ones in $X$.",
            "The normal equations: $X^\\top X\\,\\theta = X^\\top y$.",
            "`np.linalg.lstsq(X, y, rcond=None)[0]` solves them.",
        ),
        grade=array(
            answer, mistakes, praise="Both at once.", names=("intercept", "slope"), atol=5e-3
        ),
        right=(
            Variant("array", answer),
            Variant("list", [float(v) for v in answer]),
            Variant("dict", {"intercept": float(answer[0]), "slope": float(answer[1])}),
        ),
        wrong=tuple(Wrong(m.diagnosis, m.value, m.diagnosis) for m in mistakes),
        solution=f"Intercept {answer[0]:.3g}, slope {answer[1]:.3g}.",
    )
