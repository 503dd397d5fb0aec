"""Three questions on code: broadcasting in numpy; standardising and one gradient step in torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from medxfer_lab.course.exercise import Exercise, Variant, Wrong
from medxfer_lab.course.functions import function
from medxfer_lab.course.values import Mistake, apart, number


def broadcasting(seed: int) -> Exercise:
    """Squared distances of each row from a centre, as a function of arrays."""

    def draw(rng: np.random.Generator) -> dict:
        n, d = int(rng.integers(2, 6)), int(rng.integers(2, 6))
        n += n == d  # a square array would hide a wrong axis
        return {"features": rng.standard_normal((n, d)), "centre": rng.standard_normal(d)}

    mistakes = [
        Mistake(
            "not-squared",
            lambda features, centre: np.sqrt(((features - centre) ** 2).sum(1)),
            "These are distances; the question asks for their squares.",
        ),
        Mistake(
            "averaged",
            lambda features, centre: ((features - centre) ** 2).mean(1),
            "You averaged over the features; the squared distance is the sum.",
        ),
        Mistake(
            "not-centred",
            lambda features, centre: (features**2).sum(1),
            "The centre is not subtracted.",
        ),
    ]
    return Exercise(
        id="broadcasting",
        title="Distances in one line",
        objective="Prerequisites: Python",
        kind="function",
        prompt=(
            "Write a function `answer(features, centre)`: `features` is an array of shape (n, d), "
            "one row per patient, `centre` one of shape (d,). Return the squared distance of every "
            "patient from the centre, shape (n,)."
        ),
        hints=(
            "`features - centre` subtracts the centre from every row: that is broadcasting.",
            "Square, then sum over the features. Which axis are they on?",
            "`((features - centre) ** 2).sum(axis=1)`.",
        ),
        grade=function(
            lambda features, centre: ((features - centre) ** 2).sum(1),
            draw,
            mistakes,
            praise="No loop needed.",
            seed=seed,
        ),
        right=(
            Variant("sum", lambda features, centre: ((features - centre) ** 2).sum(axis=1)),
            Variant("norm", lambda f, c: np.linalg.norm(f - c, axis=1) ** 2),
            Variant("loop", lambda features, centre: [sum((r - centre) ** 2) for r in features]),
        ),
        wrong=(
            *(Wrong(m.diagnosis, m.value, m.diagnosis) for m in mistakes),
            Wrong(
                "wrong axis", lambda features, centre: ((features - centre) ** 2).sum(0), "shape"
            ),
        ),
        solution="`((features - centre) ** 2).sum(axis=1)`: the rows are patients, so axis 1.",
    )


def standardise(seed: int) -> Exercise:
    """Standardise test features with the training set's mean and spread."""

    def draw(rng: np.random.Generator) -> dict[str, Any]:
        import torch

        shift, scale = rng.uniform(1, 5), rng.uniform(0.5, 3)
        return {
            "train": torch.tensor(shift + scale * rng.standard_normal((8, 3))),
            "test": torch.tensor(shift + scale * rng.standard_normal((5, 3))),
        }

    mistakes = [
        Mistake(
            "test-statistics",
            lambda train, test: (test - test.mean(0)) / test.std(0),
            "You used the test set's own mean and spread. At the time of a prediction there may be "
            "a single patient: everything must come from the training set.",
        ),
        Mistake(
            "pooled-statistics",
            _pooled,
            "You used both sets together: the test set has leaked into the training.",
        ),
        Mistake(
            "not-scaled",
            lambda train, test: test - train.mean(0),
            "The mean is taken off, the scale is not divided by.",
        ),
        Mistake(
            "variance",
            lambda train, test: (test - train.mean(0)) / train.var(0),
            "You divided by the variance; standardised features have standard deviation 1.",
        ),
        Mistake(
            "all-features-alike",
            lambda train, test: (test - train.mean()) / train.std(),
            "One mean for all features: take it over the patients only (dim 0).",
        ),
    ]
    return Exercise(
        id="standardise",
        title="Which mean?",
        objective="Prerequisites: torch",
        kind="function",
        prompt=(
            "Write a function `answer(train, test)` of two torch tensors of features, one row per "
            "patient. Return the test features standardised as a trained model needs them, with "
            "torch's usual `std`."
        ),
        hints=(
            "Which of the two sets may a model learn from?",
            "Mean and standard deviation are taken over the patients, feature by feature: dim 0.",
            "`(test - train.mean(0)) / train.std(0)`.",
        ),
        grade=function(_standardised, draw, mistakes, praise="Nothing leaks.", seed=seed),
        right=(
            Variant("direct", _standardised),
            Variant("numpy", _by_numpy),
            Variant("keywords", lambda test, train: (test - train.mean(dim=0)) / train.std(dim=0)),
        ),
        wrong=tuple(Wrong(m.diagnosis, m.value, m.diagnosis) for m in mistakes),
        solution="`(test - train.mean(0)) / train.std(0)`: test patients must not shape the model.",
    )


def _standardised(train: Any, test: Any) -> Any:
    return (test - train.mean(0)) / train.std(0)


def _by_numpy(train: Any, test: Any) -> Any:
    train, test = train.numpy(), test.numpy()
    return (test - train.mean(0)) / train.std(0, ddof=1)


def _pooled(train: Any, test: Any) -> Any:
    import torch

    both = torch.cat([train, test])
    return (test - both.mean(0)) / both.std(0)


def gradient_step(seed: int) -> Exercise:
    """One step of gradient descent on a mean squared error with one weight."""
    rng = np.random.default_rng([seed, 16])
    while True:
        x, y = rng.integers(1, 5, 2).astype(float), rng.integers(1, 7, 2).astype(float)
        w, rate = float(rng.choice([0.2, 0.4, 0.6])), float(rng.choice([0.02, 0.05]))
        gradient = float(np.mean(2 * (w * x - y) * x))
        answer = w - rate * gradient
        mistakes = [
            Mistake("uphill", w + rate * gradient, "You went uphill: subtract the gradient."),
            Mistake(
                "gradient", gradient, "This is the gradient. Where is the weight after a step?"
            ),
            Mistake("step-only", -rate * gradient, "This is the step. Add it to the weight."),
            Mistake(
                "sum-not-mean",
                w - rate * 2 * gradient,
                "This is the gradient of the *sum* of squares; torch's `mse_loss` is a mean.",
            ),
            Mistake(
                "factor-two",
                w - rate * gradient / 2,
                "A factor of 2 is missing: the derivative of a square.",
            ),
        ]
        if apart([answer, *(m.value for m in mistakes)], rtol=0.04, atol=0.03):
            break
    pairs = " and ".join(f"({a:g}, {b:g})" for a, b in zip(x, y, strict=True))
    return Exercise(
        id="gradient_step",
        title="One step downhill",
        objective="Prerequisites: torch",
        kind="number",
        prompt=(
            f"A model $\\hat y = w\\,x$ starts at $w = {w}$. The training set is {pairs}, as pairs "
            "(x, y). What is $w$ after one step of gradient descent with learning rate "
            f"{rate} on `torch.nn.functional.mse_loss`?"
        ),
        hints=(
            "The loss is the mean of $(w x - y)^2$. Differentiate by $w$.",
            "The gradient is the mean of $2\\,(w x - y)\\,x$.",
            "New weight: old weight minus learning rate times gradient. torch can do it: "
            "`loss.backward()`, then `w.grad`.",
        ),
        grade=number(answer, mistakes, praise="That is all that training is, repeated.", rtol=0.01),
        right=(
            Variant("number", answer),
            Variant("torch", _after_a_step(x, y, w, rate)()),
            Variant("text", f"{answer:.5f}"),
        ),
        wrong=tuple(Wrong(m.diagnosis, m.value, m.diagnosis) for m in mistakes),
        solution=(
            f"Gradient {gradient:.4g}, so "
            f"$w = {w} - {rate} \\cdot ({gradient:.4g}) = {answer:.4g}$."
        ),
    )


def _after_a_step(x: np.ndarray, y: np.ndarray, w: float, rate: float) -> Callable[[], Any]:
    """The same step taken by torch itself."""

    def step() -> Any:
        import torch

        weight = torch.tensor(w, dtype=torch.float64, requires_grad=True)
        loss = torch.nn.functional.mse_loss(weight * torch.tensor(x), torch.tensor(y))
        loss.backward()
        with torch.no_grad():
            return weight - rate * weight.grad

    return step
