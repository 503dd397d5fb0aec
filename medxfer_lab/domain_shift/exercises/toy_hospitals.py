"""Toy hospitals for a diagnosis: two features an image, one of the lesion and one of the scanner.

Source: y ~ Bernoulli(pi); feature 1 | y ~ N(2y - 1, 1); feature 2 tells the vendor, independent of
y. The network is ideal there: its score is eta(x) = sigmoid(logit pi + 2 x1), exactly calibrated.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit

from medxfer_lab.metrics.two_sample import binomial_interval

#: what may have happened to the target, and the case that the panels leave open
KINDS = ("none", "label", "covariate", "concept", "acquisition", "open")
SCANS, DOTS, LABELLED = 4000, 160, 400


@dataclass(frozen=True)
class Point:
    """A fifth of the labelled patients: mean score, share of diseased, its 95 % interval."""

    score: float
    share: float
    low: float
    high: float

    @property
    def off(self) -> bool:
        """Whether the interval leaves the diagonal out."""
        return not self.low <= self.score <= self.high


@dataclass(frozen=True)
class Panels:
    """What can be seen. Images: (n, 2), features 1 and 2; scores: (n,); ``points`` is empty where
    no target patient is labelled. ``moved``: whether the law of the target's images differs;
    ``by_vendor``: whether it does by the vendors' shares alone."""

    kind: str
    moved: bool
    by_vendor: bool
    source: np.ndarray
    target: np.ndarray
    source_scores: np.ndarray
    target_scores: np.ndarray
    points: tuple[Point, ...]


def panels(seed: int) -> Panels:
    """A target hospital of the seed's kind, drawn until panel 2 can be read.

    Real labels are not always so kind: where the score is calibrated all five intervals must hold
    the diagonal, else at least two must not.
    """
    rng = np.random.default_rng([seed, 26])
    kind = KINDS[int(rng.integers(len(KINDS)))]
    moved = kind not in ("none", "concept")
    truth = kind
    if kind == "open":  # two stories each, which draw the same images
        moved = bool(rng.integers(2))
        truth = str(rng.choice(["label", "covariate"] if moved else ["none", "concept"]))
    low = bool(rng.integers(2))
    prevalence, other = (0.3, 0.75) if low else (0.55, 0.15)
    by_vendor = bool(rng.integers(2)) and kind == "covariate"
    # without labels an unknown scanner can still be seen, so that "empty" does not mean "open"
    unlabelled = kind == "open" or (kind == "acquisition" and bool(rng.integers(2)))
    while True:
        source, _ = _draw(rng, "none", prevalence, prevalence, False)
        target, labels = _draw(rng, truth, prevalence, other, by_vendor)
        scores = eta(source, prevalence), eta(target, prevalence)
        points = () if unlabelled else _points(scores[1][:LABELLED], labels[:LABELLED])
        off = sum(p.off for p in points)
        if unlabelled or (off == 0 if kind in ("none", "covariate") else off >= 2):
            return Panels(kind, moved, by_vendor, source, target, *scores, points)


def eta(images: np.ndarray, prevalence: float) -> np.ndarray:
    """P(y = 1 | x) at a source of this prevalence, which is the network's score: (n,)."""
    return expit(logit(prevalence) + 2 * images[:, 0])


def _draw(
    rng: np.random.Generator, truth: str, source: float, other: float, by_vendor: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, 2) and labels (n,) of one hospital."""
    reweighted = truth in ("label", "covariate") and not by_vendor
    y = rng.random(SCANS) < (other if reweighted else source)
    second = rng.random(SCANS) < (0.85 if by_vendor else 0.3)  # of two vendors
    images = rng.normal(0, [1.0, 0.5], (SCANS, 2)) + np.column_stack([2 * y - 1, 4 * second - 2])
    if truth == "acquisition":  # the same patients, less contrast, a vendor not seen before
        images[:, 0] = 0.6 * images[:, 0] + (1.3 if other > source else -1.0)
        images[:, 1] = rng.normal(5, 0.5, SCANS)
    if truth == "covariate":  # patients selected by what the image shows: p(y|x) stays
        y = rng.random(SCANS) < eta(images, source)
    if truth == "concept":
        y = rng.random(SCANS) < _other_criterion(eta(images, source), other > source)
    return images, y


def _other_criterion(probability: np.ndarray, kinds_change: bool) -> np.ndarray:
    """p(y|x) under another criterion: some kinds of lesion change sides, or a stricter one."""
    if kinds_change:
        return 0.3 + 0.4 * probability
    return expit(logit(np.clip(probability, 1e-12, 1 - 1e-12)) - 2.0)


def _points(scores: np.ndarray, labels: np.ndarray) -> tuple[Point, ...]:
    found = []
    for part in np.array_split(np.argsort(scores), 5):
        share = binomial_interval(int(labels[part].sum()), len(part))
        exact = (scores[part].mean(), share.estimate, share.low, share.high)
        # as the alternative text says them, so that eye and ear judge alike
        found.append(Point(*(round(float(value), 2) for value in exact)))
    return tuple(found)
