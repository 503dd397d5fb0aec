"""Decision: does moving the prior's centre towards the truth cut the variance?"""

from __future__ import annotations

import numpy as np

from medxfer_lab.course.exercise import Exercise, Variant, Wrong
from medxfer_lab.course.values import Option, choice, letters, options_text
from medxfer_lab.methods.linear_gaussian import power_law, random_design


def exercise(seed: int) -> Exercise:
    """Always is wrong at fixed design, never is wrong for random designs. The seed changes the
    hospital, the numbers of the feedback and the order of the options."""
    rng = np.random.default_rng([seed, 1])
    n, d = int(rng.choice([40, 50, 60, 80])), int(rng.choice([100, 150, 200]))
    lam = float(rng.choice([0.1, 0.2, 0.3]))
    far, near = variances(n, d, lam)
    numbers = (
        f"With {d} features, {n} scans and strength {lam}, both kept, random designs give a "
        f"variance of {far:.2g} for a centre at 0 and of {near:.2g} for one that gets nine tenths "
        "of the signal right; at a fixed design the two are equal."
    )
    ordered = _options(numbers)
    options = [ordered[i] for i in rng.permutation(len(ordered))]
    best = next(i for i, o in enumerate(options) if not o.diagnosis)
    letter = letters(options)[best]
    return Exercise(
        id="centre_and_variance",
        title="Does moving the prior's centre cut the variance?",
        objective="Say which part of the error a better centre changes, and when",
        kind="decision",
        prompt=(
            f"A colleague replaces random starting weights, centre 0, by pretrained ones in L2-SP "
            f"on {n} scans and {d} features. The strength stays as it was. She says: "
            '"The better centre has cut the variance." When is she right?\n\n'
            f"{options_text(options)}\n\nAnswer with a letter."
        ),
        hints=(
            "Variance over *what*? Write down what differs from one training set to the next, once "
            "with the images given, once with the images drawn afresh.",
            "At a fixed design the estimate is $A\\,y + B\\,c$ with matrices $A, B$ that depend on "
            "$X$ and $\\lambda$ only. What does $c$ do to its covariance?",
            "With other images, $B$ differs from set to set, and what it multiplies is the "
            "centre's error: $\\hat\\theta - \\theta = B\\,(c - \\theta) + \\text{noise}$.",
        ),
        grade=choice(options),
        right=(
            Variant("letter", letter),
            Variant("letter with bracket", f"{letter.upper()})"),
            Variant("short", options[best].short),
            Variant("whole text", options[best].text),
        ),
        wrong=(
            *(Wrong(o.short, letters(options)[i], o.diagnosis)
              for i, o in enumerate(options) if o.diagnosis),
            Wrong("no letter", "yes", "wrong-type"),
        ),
        solution=(
            "At a fixed design $\\hat\\theta - \\mathbb{E}[\\hat\\theta]$ is noise alone, so the "
            "centre moves the bias and nothing else. When the images are drawn too, how far the "
            "prior's pull gets differs from set to set; the pull is proportional to $c - \\theta$, "
            "and so is the spread it adds. " + numbers + " Apart from that, a good centre *allows* "
            "a larger strength, and strength cuts the variance at any design."
        ),
    )  # fmt: skip


def variances(n: int, d: int, lam: float) -> tuple[float, float]:
    """Variance over random designs at one strength, for a centre at 0 (all of the signal missing)
    and for one that misses a tenth of the signal's variance. Noise .5, eigenvalues falling as
    1/sqrt(rank)."""
    s = power_law(d, 0.5)
    b = np.full(d, 1 / np.sqrt(s.sum()))  # sum of s b^2 is 1: signal of unit variance
    far, near = (
        random_design(s, np.sqrt(missed) * b, 0.5, n, lam).variance for missed in (1.0, 0.1)
    )
    return float(far), float(near)


def _options(numbers: str) -> list[Option]:
    return [
        Option(
            "Whenever the training sets differ in their images; at a fixed design it changes the "
            "bias only",
            f"Yes. {numbers}",
            short="random designs",
        ),
        Option(
            "Always: a better start means less variance",
            "Not always. Take the images as given: then the estimate is A y + B c, and a constant "
            "added to it changes no variance. Only the bias moves.",
            "always",
            "always",
        ),
        Option(
            "Never: the centre is a constant, and a constant has no variance",
            f"True for given images, but new patients bring new images, and the constant is "
            f"weighted by a matrix of theirs. {numbers}",
            "never",
            "never",
        ),
        Option(
            "Only at a fixed design; with new images each time the effect averages out",
            "The other way round: at a fixed design the centre cannot touch the variance, and "
            "over random designs it can.",
            "designs-swapped",
            "fixed designs",
        ),
        Option(
            "Only if she also raises the strength",
            "Raising the strength is a second way, and often the larger one. But even at the same "
            f"strength a better centre cuts the variance over random designs. {numbers}",
            "strength-only",
            "only strength",
        ),
    ]
