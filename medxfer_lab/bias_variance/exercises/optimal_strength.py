"""Number: the strength of L2-SP that minimises the expected error at fixed design."""

from __future__ import annotations

import math

import numpy as np
import sympy

from medxfer_lab.course.exercise import Exercise, Variant, Wrong
from medxfer_lab.course.values import Mistake, apart, number
from medxfer_lab.methods.linear_gaussian import bayes_strength


def exercise(seed: int) -> Exercise:
    """lambda = sigma^2 / (n b^2), with numbers for which no two slips coincide."""
    n, sigma, b, size = _numbers(seed)
    answer = bayes_strength(sigma**2, b**2, n)
    mistakes = _mistakes(n, sigma, b, size)
    return Exercise(
        id="optimal_strength",
        title="How strong should the prior be?",
        objective="Choose the strength of a prior from noise, sample size and its own error",
        kind="number",
        prompt=(
            f"A regional hospital has $n = {n}$ labelled scans. The labels scatter about the "
            f"linear prediction with standard deviation $\\sigma = {sigma}$. In every direction "
            f"the true parameter has a size of about {size}, and past projects tell you that the "
            f"pretrained one misses it by about $b = {b}$.\n\nFor which strength $\\lambda$ in "
            "$\\frac{1}{n}\\|y - X\\theta\\|^2 + \\lambda\\|\\theta - c\\|^2$ is the expected "
            "error at these scans smallest?"
        ),
        hints=(
            "Along a direction with eigenvalue $s$ write squared bias plus variance as a function "
            "of $\\lambda$. Both have the denominator $(s + \\lambda)^2$.",
            "Squared bias: $\\lambda^2 b^2/(s+\\lambda)^2$. Variance: "
            "$(\\sigma^2/n)\\,s/(s+\\lambda)^2$. Set the derivative by $\\lambda$ to zero; $s$ "
            "drops out.",
            "What is left is $\\lambda\\, b^2 = \\sigma^2/n$.",
        ),
        grade=number(
            answer,
            mistakes,
            praise=(
                "Noise per image, shared among n images, against the square of what the centre "
                "gets wrong. A better centre (smaller b) may be trusted more."
            ),
        ),
        right=(
            Variant("number", answer),
            Variant("three digits", float(f"{answer:.3g}")),
            Variant("numpy", np.array([sigma**2 / n / b**2])),
            Variant("SymPy", sympy.Float(sigma) ** 2 / (n * sympy.Float(b) ** 2)),
            Variant("text", f"{answer:.5f}"),
        ),
        wrong=(
            *(Wrong(m.diagnosis, m.value, m.diagnosis) for m in mistakes),
            Wrong("a formula", "sigma**2/(n*b**2)", "wrong-type"),
        ),
        solution=(
            "The error along one direction is "
            "$\\frac{\\lambda^2 b^2 + (\\sigma^2/n)\\,s}{(s+\\lambda)^2}$. Its derivative by "
            "$\\lambda$ vanishes where $\\lambda\\,b^2 = \\sigma^2/n$, whatever $s$ is. So "
            f"$\\lambda = \\sigma^2/(n\\,b^2) = {sigma}^2/({n} \\cdot {b}^2) = {answer:.4g}$.\n\n"
            "This is also the strength for which L2-SP is the posterior mean under a prior with "
            "standard deviation $b$ about the pretrained parameters."
        ),
    )


def _numbers(seed: int) -> tuple[int, float, float, float]:
    """n, sigma, b and the parameter's size, drawn until no two slips lead to one number."""
    rng = np.random.default_rng([seed, 2])
    while True:
        n = int(rng.choice([25, 40, 50, 80, 125, 200]))
        sigma = float(rng.choice([0.3, 0.4, 0.5, 0.6, 0.7]))
        b = float(rng.choice([0.1, 0.15, 0.2, 0.25, 0.3, 0.4]))
        size = float(rng.choice([0.8, 0.9, 1.1, 1.2]))
        values = [m.value for m in _mistakes(n, sigma, b, size)]
        if apart([sigma**2 / (n * b**2), *values]):
            return n, sigma, b, size


def _mistakes(n: int, sigma: float, b: float, size: float) -> list[Mistake]:
    return [
        Mistake(
            "forgot-n",
            sigma**2 / b**2,
            "The number of images is missing. The loss is a *mean* over the images, so the "
            "strength that balances it falls as 1/n.",
        ),
        Mistake(
            "noise-not-squared",
            sigma / (n * b**2),
            "You used the standard deviation of the noise; the variance belongs here.",
        ),
        Mistake(
            "distance-not-squared",
            sigma**2 / (n * b),
            "You used the distance between centre and truth; its square belongs here.",
        ),
        Mistake(
            "distance-from-zero",
            sigma**2 / (n * size**2),
            "You used the size of the parameter, its distance from 0. That is right for ridge; "
            "L2-SP pulls to the pretrained value, so its distance from there counts.",
        ),
        Mistake(
            "upside-down",
            n * b**2 / sigma**2,
            "Upside down: more noise must call for a stronger prior, and yours gets weaker.",
        ),
        Mistake(
            "root-n",
            sigma**2 / (math.sqrt(n) * b**2),
            "It is n that counts, not its root: variances add up over the images.",
        ),
    ]
