"""The Fisher diagonal, and what is often taken for it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from medxfer_lab.course.values import Mistake

Importance = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]

_ALIKE = "Both labels count alike here. Weigh them with the network's probabilities."


def fisher(gradients: np.ndarray, probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """mean_i sum_c p_ic g_icj^2, (d,): the Fisher diagonal, labels expected under the model.

    gradients: (n, 2, d) of each one's log loss at labels 0 and 1. probabilities: (n,) of label 1.
    labels: (n,), not used.
    """
    return (weights(probabilities)[:, :, None] * gradients**2).sum(1).mean(0)


def draw(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """A hidden network of one logit: the gradients at its two labels are p J and (p - 1) J."""
    n, d = int(rng.integers(3, 7)), int(rng.integers(2, 4))
    logit_gradients = rng.standard_normal((n, d)) + 0.5
    p = rng.uniform(0.05, 0.95, n)
    return {
        "gradients": (p[:, None] - np.array([0, 1]))[:, :, None] * logit_gradients[:, None],
        "probabilities": p,
        "labels": rng.integers(0, 2, n),
    }


def slips() -> list[Mistake]:
    """Slips in gradients G (n, 2, d), probabilities p (n,) and labels y (n,)."""
    return [
        Mistake(
            "batch-mean",
            _of(lambda G, p, y: _at(G, y).mean(0) ** 2),
            "This squares the mean gradient of the batch, as the loop does. Gradients of different "
            "patients cancel in it: square each patient's own first.",
        ),
        Mistake(
            "mean-over-labels",
            _of(lambda G, p, y: (weights(p)[:, :, None] * G).sum(1).mean(0) ** 2),
            "You averaged the gradients over labels and patients, then squared. Under the "
            "network's own labels every mean gradient is exactly 0, so nothing is important. "
            "Square first.",
        ),
        Mistake(
            "data-labels",
            _of(lambda G, p, y: np.mean(_at(G, y) ** 2, axis=0)),
            "Squared patient by patient: good. But the labels are the radiologist's, and this is "
            "the *empirical* Fisher. A patient with a label that the network fits well counts "
            "almost nothing in it, one with a label that it misses far too much.",
        ),
        Mistake(
            "likeliest-label",
            _of(lambda G, p, y: np.mean(_at(G, (p > 0.5).astype(int)) ** 2, axis=0)),
            "You took the label that the network holds for likelier, as if it were sure. The other "
            "one has a probability too, and the larger gradient.",
        ),
        Mistake(
            "labels-alike",
            _of(lambda G, p, y: np.mean(G**2, axis=(0, 1))),
            _ALIKE,
        ),
        Mistake("labels-alike", _of(lambda G, p, y: np.mean((G**2).sum(1), axis=0)), _ALIKE),
        Mistake(
            "label-1-only",
            _of(lambda G, p, y: np.mean(p[:, None] * G[:, 1] ** 2, axis=0)),
            "Only label 1 is counted. Label 0 has the probability $1 - p$, and a gradient too.",
        ),
        Mistake(
            "label-1-only",
            _of(lambda G, p, y: np.mean(G[:, 1] ** 2, axis=0)),
            "Only label 1 is counted, as if it were certain.",
        ),
        Mistake(
            "probabilities-swapped",
            _of(lambda G, p, y: fisher(G, 1 - p, y)),
            "The weights are swapped: `probabilities` are those of label 1.",
        ),
        Mistake(
            "weights-squared",
            _of(lambda G, p, y: np.mean(((weights(p)[:, :, None] * G) ** 2).sum(1), axis=0)),
            "The probabilities are squared with the gradients. They weigh the squares, outside.",
        ),
        Mistake(
            "sum",
            _of(lambda G, p, y: len(p) * fisher(G, p, y)),
            "This is the sum over the patients. The Fisher information of the *mean* loss is "
            "their mean; with the sum, twice the patients would mean twice the strength.",
        ),
        Mistake(
            "absolute-value",
            _of(lambda G, p, y: (weights(p)[:, :, None] * abs(G)).sum(1).mean(0)),
            "These are absolute values. A penalty of second order needs a curvature, and it is the "
            "mean *square* of the gradient that equals the expected second derivative.",
        ),
        Mistake(
            "standard-deviation",
            _of(lambda G, p, y: np.sqrt(fisher(G, p, y))),
            "This is the root, a standard deviation of the gradient. Fisher information is its "
            "variance: leave the root out.",
        ),
    ]


def _of(slip: Importance) -> Importance:
    """A slip in three letters as a function of the three arguments."""

    def mistaken(gradients, probabilities, labels):
        return slip(gradients, probabilities, labels)

    return mistaken


def weights(p: np.ndarray) -> np.ndarray:
    """(n, 2): probabilities of labels 0 and 1."""
    return np.stack([1 - p, p], axis=1)


def _at(gradients: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(n, d): the gradient at one label for each patient."""
    return gradients[np.arange(len(labels)), labels]
