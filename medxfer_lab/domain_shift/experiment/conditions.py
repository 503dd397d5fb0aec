"""The shifts, exact, over a range of strengths: which patients of a pool are the target, and how.

Each condition turns a pool of independent patients of the source hospital into a sample of a
target whose relation to the source is known (see :mod:`medxfer_lab.imaging.shifts`):

- ``label.R``: resampled on y to a prevalence of R %; p(x | y) kept.
- ``select.F`` and ``select_fluid.F``: kept with a known probability of the image that differs by
  up to a factor F between images with little and with much bright area (fluid); p(y | x) kept.
- ``vendor.R``: R % on the second vendor, told apart in the image; p(y | x) kept.
- ``readers.S``: S % of the patients are called by readers for whom the small bright spots are the
  disease and the large lesion is not; p(x) kept.
- ``criterion.V``: the large lesion counts from V ml on; p(x) kept.
- ``burden.A``: A % of the patients affected, criterion kept: none of the above, for under
  a volume criterion p(x | y = 0) and p(y | x) move as well.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np
import torch
from torch import Tensor

from medxfer_lab.domain_shift.experiment import material as m
from medxfer_lab.imaging import Cohort, Criterion, Hospital
from medxfer_lab.imaging.shifts import (
    MEASURES,
    LogisticSelection,
    relabel,
    remix,
    resample,
    scanner_weights,
    thin,
)

PREVALENCES = (5, 15, 60, 80)  # %
FACTORS = (3, 10, 30)
VENDOR_SHARES = (50, 70, 90)  # %
READER_SHARES = (10, 25, 50, 100)  # %
VOLUMES = (10, 40)  # ml
AFFECTED = (20, 80)  # %
#: a criterion under which the small bright spots are the disease, and nothing else
SPOTS = Criterion(volume_ml=0.5, kinds=("lookalike",))
MEASURED = {"select": "bright_area", "select_fluid": "central_fluid_area"}

NAMES: tuple[str, ...] = (
    "none",
    *(f"label.{r}" for r in PREVALENCES),
    *(f"select.{f}" for f in FACTORS),
    *(f"select_fluid.{f}" for f in FACTORS),
    *(f"vendor.{r}" for r in VENDOR_SHARES),
    *(f"readers.{s}" for s in READER_SHARES),
    *(f"criterion.{v}" for v in VOLUMES),
)
BURDEN_NAMES: tuple[str, ...] = tuple(f"burden.{a}" for a in AFFECTED)
#: what each family keeps
KEEPS = {
    "none": "everything",
    "label": "p(x|y)",
    "select": "p(y|x)",
    "select_fluid": "p(y|x)",
    "vendor": "p(y|x)",
    "readers": "p(x)",
    "criterion": "p(x)",
    "burden": "neither",
    "acquisition": "p(y|patient)",
}


def family(name: str) -> str:
    """``label`` of ``label.5``."""
    return name.partition(".")[0]


def strength(name: str) -> float:
    """A share where the name says per cent, .05 of ``label.5``, else its number; 0 of ``none``."""
    tail = name.partition(".")[2]
    if not tail:
        return 0.0
    return float(tail) / (100 if family(name) in ("label", "vendor", "readers", "burden") else 1)


@dataclass(frozen=True)
class Target:
    """Patients of a pool that are a sample of the target.

    index: (n,) positions in the pool. labels: (n,) by the target's criterion.
    """

    index: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Pool:
    """Patients to choose targets from; what selections look at is measured once."""

    cohort: Cohort

    @cached_property
    def bright_area(self) -> Tensor:
        return MEASURES["bright_area"](self.cohort.images).double()

    @cached_property
    def central_fluid_area(self) -> Tensor:
        return MEASURES["central_fluid_area"](self.cohort.images).double()

    def kept_with(self, kind: str, factor: float) -> Tensor:
        """s(x) of every patient: (n,)."""
        return selection(kind, factor).of(getattr(self, MEASURED[kind]))


def target(pool: Pool, name: str, seed: int, n: int | None = None) -> Target:
    """At most n patients of the pool under one condition; see the head of this file."""
    kind, value = family(name), strength(name)
    cohort = pool.cohort
    everyone = torch.arange(len(cohort))
    labels = cohort.labels
    if kind == "label":
        index = resample(cohort, value, seed).index
    elif kind in MEASURED:
        index = thin(pool.kept_with(kind, value), seed, largest=1.0)
    elif kind == "vendor":
        index = thin(vendor_weights(value)[cohort.scanner], seed)
    elif kind == "readers":
        index, labels = everyone, by_other_readers(cohort, value, seed)
    elif kind == "criterion":
        index, labels = everyone, relabel(cohort, Criterion(volume_ml=value)).cohort.labels
    elif kind == "none":
        index = everyone
    else:
        raise ValueError(f"no condition is called {name!r}; known: {', '.join(NAMES)}")
    # thin and the whole pool keep the pool's order, which is that of independent draws
    index = index[:n]
    return Target(index, labels[index])


def by_other_readers(pool: Cohort, share: float, seed: int) -> Tensor:
    """Labels of which a random share follows the other readers' criterion: (n,)."""
    other = relabel(pool, SPOTS).cohort.labels
    theirs = np.random.default_rng((seed, 21)).random(len(pool)) < share
    return torch.where(torch.from_numpy(theirs), other, pool.labels)


@lru_cache(maxsize=16)
def selection(kind: str, factor: float) -> LogisticSelection:
    """s(x) between 1/factor and 1: prefers images with little bright area, or much fluid.

    Centre and width come from the cohort that only sets scales.
    """
    values = _scale(MEASURED[kind])
    width = float(values.std()) / 4 * (-1 if kind == "select" else 1)
    return LogisticSelection(
        MEASURES[MEASURED[kind]], float(values.median()), width, 1 / factor, 1.0
    )


@lru_cache(maxsize=4)
def _scale(measure: str) -> Tensor:
    return MEASURES[measure](m.draw(800, m.SCALE_SEED).images).double()


def vendor_weights(share: float) -> Tensor:
    """q_k/p_k of the two vendors when the second one has this share: (2,) float64."""
    return scanner_weights(m.HOSPITAL, remix(m.HOSPITAL, (1 - share, share)))


def known_weights(source: Cohort, name: str) -> np.ndarray:
    """w(x) = q(x)/p(x) of the source's patients under a covariate shift, mean 1: (n,)."""
    kind, value = family(name), strength(name)
    if kind in MEASURED:
        w = selection(kind, value)(source.images).numpy()
    elif kind == "vendor":
        w = vendor_weights(value)[source.scanner].numpy()
    else:
        raise ValueError(f"{name!r} is no covariate shift: no weight of the image leads to it")
    return w / w.mean()


def burden_hospital(name: str) -> Hospital:
    """The hospital of ``burden.A``: a share A of its patients has a large lesion."""
    burden = replace(m.HOSPITAL.burden, affected=strength(name))
    return replace(m.HOSPITAL, name=f"{strength(name):.0%} affected", burden=burden)
