"""Covariate shift by selection: a patient comes, or not, because of what the image shows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from medxfer_lab.imaging.cohort import Cohort
from medxfer_lab.imaging.shifts.weights import effective_sample_size

_SAME = 1e-5  # s(x) in another batch may differ by this much: float32 sums in another order


@dataclass(frozen=True)
class LogisticSelection:
    """s(x) = low + (high - low) sigmoid((measure(x) - centre) / width), in [low, high].

    measure: images (n, C, H, W) -> (n,), a function of each image alone (see ``MEASURES``).
    centre, width: in the measure's units; a negative width prefers small values. They must be
        numbers fixed beforehand: computed from the cohort that is then selected, they make s
        depend on the other patients. low, high: 0 < low < high <= 1; low keeps the supports equal
        and bounds the weights, q/p <= high/low.
    """

    measure: Callable[[Tensor], Tensor]
    centre: float
    width: float
    low: float = 0.05
    high: float = 0.95

    def __post_init__(self) -> None:
        if not 0 < self.low < self.high <= 1:
            raise ValueError(f"low, high are {self.low}, {self.high}; need 0 < low < high <= 1")
        if self.width == 0 or not np.isfinite([self.centre, self.width]).all():
            raise ValueError(
                f"centre, width are {self.centre}, {self.width}; need finite numbers, width not 0"
            )

    def __call__(self, images: Tensor) -> Tensor:
        """Probability of being kept: (n, C, H, W) -> (n,) float64."""
        return self.of(self.measure(images))

    def of(self, values: Tensor) -> Tensor:
        """The same from what the measure found: (n,) -> (n,) float64. Saves measuring again."""
        z = (values.double() - self.centre) / self.width
        return self.low + (self.high - self.low) * torch.sigmoid(z)

    @classmethod
    def around(
        cls, measure: Callable[[Tensor], Tensor], reference: Tensor, steepness: float = 2.0, **kept
    ) -> LogisticSelection:
        """centre = median and width = standard deviation / steepness over reference images.

        reference: (n, C, H, W) of *other* patients than those to be selected. A negative steepness
        prefers small values.
        """
        values = measure(reference).double()
        return cls(measure, float(values.median()), float(values.std() / steepness), **kept)


@dataclass(frozen=True)
class Selected:
    """The patients who were kept, and what leads there and back.

    cohort: the target, (m,) patients. index: (m,) their positions in the source.
    turned_away: (n - m,) positions of the others.
    probability: (n,) float64, s(x_i) of every patient of the source.
    weights: (n,) float64, source to target, q(x)/p(x) = s(x)/E_p[s], their mean 1 over the source.
    back_weights: (m,) float64, target to source, p(x)/q(x) = E_p[s]/s(x).
    E_p[s] is the source's mean of s: the weights are exact up to this common factor.
    """

    cohort: Cohort
    index: Tensor
    turned_away: Tensor
    probability: Tensor
    weights: Tensor
    back_weights: Tensor

    @property
    def effective_sample_size(self) -> float:
        """What the weighted source is worth as a sample of the target, in patients."""
        return effective_sample_size(self.weights)

    @property
    def back_effective_sample_size(self) -> float:
        """What the weighted target is worth as a sample of the source, in patients."""
        return effective_sample_size(self.back_weights)


def select(cohort: Cohort, probability: Callable[[Tensor], Tensor], seed: int) -> Selected:
    """Covariate shift: each patient kept with probability s(x), whatever else is true of them.

    Keeps p(y | x): given the image, being kept does not depend on y (nor on anything else).
    Changes p(x), to q(x) = s(x) p(x) / E_p[s], and with it in general p(y) and p(x | y).
    *Exact* for every s that is a function of the image alone and stays above 0: then q and p have
    the same support and q/p <= 1/min s. A summary t(x) may lose more than the image: p(y | t) is
    kept only if s is a function of t.

    The patients kept are also in the source. For two independent samples, select from another
    draw of the same hospital.

    Args:
        probability: images (n, C, H, W) -> (n,) in (0, 1]; sees the images and nothing else.

    Raises:
        ValueError: if s leaves (0, 1], depends on the batch, or keeps nobody.
    """
    s = _checked(probability(cohort.images), len(cohort))
    _same_in_another_batch(cohort.images, probability, s)
    uniform = torch.from_numpy(np.random.default_rng((seed, 6)).random(len(s))).to(s.device)
    kept = uniform < s
    if not kept.any():
        raise ValueError(
            f"nobody of {len(s)} patients was kept (mean probability {float(s.mean()):.3g}): "
            "raise the probability, or draw a larger cohort"
        )
    index = kept.nonzero().flatten()
    return Selected(
        cohort=cohort.take(index),
        index=index,
        turned_away=(~kept).nonzero().flatten(),
        probability=s,
        weights=s / s.mean(),
        back_weights=s.mean() / s[index],
    )


def _checked(s: Tensor, n: int) -> Tensor:
    """Probabilities as float64 (n,), checked to lie in (0, 1]."""
    s = torch.as_tensor(s).detach().double()
    if s.shape != (n,):
        raise ValueError(f"probability returned shape {tuple(s.shape)}; expected ({n},)")
    bad = ~((s > 0) & (s <= 1))  # NaN is bad too
    if bad.any():
        i = int(bad.nonzero()[0])
        raise ValueError(
            f"probability of image {i} is {float(s[i])}; expected (0, 1]: at 0 the target has no "
            "such patients and no weight leads back, so bound it away from 0 "
            "(LogisticSelection(low=...))"
        )
    return s


def _same_in_another_batch(images: Tensor, probability: Callable, s: Tensor) -> None:
    """Refuse an s that looks at the other patients, as one that standardises over the batch."""
    if len(s) < 2:
        return
    half = len(s) // 2
    again = torch.cat([probability(images[half:]), probability(images[:half])]).double()
    change = (again - torch.cat([s[half:], s[:half]])).abs().max()
    if not change <= _SAME:
        raise ValueError(
            f"probability changes by {float(change):.3g} when the same images come in another "
            "batch; it must be a function of each image alone: fix its centre and scale beforehand"
        )
