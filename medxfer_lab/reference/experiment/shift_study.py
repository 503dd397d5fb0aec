"""Does each shift keep what it says it keeps, and would the test have seen it if not?

A matrix: rows are shifts, columns are invariances. A *kept* cell shows the size of its test (the
share of repetitions in which it rejects, which should be alpha), a *changed* cell shows the power
of the same test. Every repetition draws all its patients anew; source and target are independent
draws. Images enter as `pooled_statistics`: what is kept for the image is kept for them (for
p(y | x) see `conditional_domain_test`), what changes in them has changed in the image.

Three cells need a word. *p(y | x) under acquisition shift*: noise gives the scanner away, the two
sorts of images do not overlap, and no test on x can compare p(y | x) where only one of them lives:
its power is near alpha by construction. *p(y | t)*, t one number of the image, is what a model
with score t sees. It is where acquisition shift shows. It is kept when the shift acts on t alone,
as the selection does here; another mixture of scanners keeps p(y | x) and yet moves p(y | t).
*The row "same scanner"* images the patients again on a machine of the same kind: nothing changes,
so it is the control of the acquisition row.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from medxfer_lab.imaging import FLAIR, T1, Burden, Cohort, Criterion, Hospital, rescan
from medxfer_lab.imaging.shifts import (
    LogisticSelection,
    bright_level,
    mixture_weights,
    pooled_statistics,
    relabel,
    remix,
    resample,
    select,
    thin,
)
from medxfer_lab.metrics.conditional import conditional_domain_test, known_probability_test
from medxfer_lab.metrics.two_sample import energy_test, prevalence_test, rejection_rate

KEPT, CHANGED = "kept", "changed"
#: source and target images do not overlap: p(y | x) of the one says nothing about the other
NO_OVERLAP = "no overlap: not comparable"
_T = 4  # column of `pooled_statistics` that is `bright_level`
#: faint lesions of 2 to 30 ml, half of them (log-uniform) below the criterion
SOURCE = Hospital(
    name="source",
    burden=Burden(volume_ml=(2.0, 30.0), infiltration=(0.12, 0.3)),
    criterion=Criterion(volume_ml=8.0),
)
#: the same, with two scanners that can be told apart
TWO_SCANNERS = replace(SOURCE, scanners=((FLAIR, 0.8), (T1, 0.2)))
TARGET_MIXTURE = (0.2, 0.8)
#: the source's FLAIR with a third of the signal-to-noise ratio
NOISY = replace(FLAIR, name="FLAIR 1.5 T, low SNR", snr=FLAIR.snr / 3)
#: more patients are affected; everything else about them is the same
MORE_AFFECTED = replace(SOURCE, burden=replace(SOURCE.burden, affected=0.9))
#: a criterion under which look-alikes are the disease and gliomas are not
OTHER_KIND = Criterion(volume_ml=0.5, kinds=("lookalike",))
#: a criterion that calls every glioma diseased, and nobody else
EVERY_GLIOMA = Criterion(volume_ml=1.0)
PREVALENCE = 0.5

COLUMNS = {
    "p(x)": "energy test, 199 permutations",
    "p(y)": "Fisher's exact test",
    "p(x|y=0)": "energy test, 199 permutations",
    "p(x|y=1)": "energy test, 199 permutations",
    "p(y|x)": "conditional domain test; weights known where p(y|x) is kept, else fitted",
    "p(y|x), fitted": "conditional domain test, propensity fitted on both samples",
    "p(y|t)": "conditional domain test on t, the image's bright level; fitted propensity",
    "q = w p": "energy test on (x, y), source thinned by its known weights against the target",
    "q = p / w": "the same with the weights upside down: must fail",
    "p(y|x) = eta": "labels drawn with known eta(x); test that the target's labels are, too",
}
#: what is expected of each shift, in the order of the first five columns
EXPECTED = {
    "label": (CHANGED, CHANGED, KEPT, KEPT, CHANGED),
    "selection": (CHANGED, CHANGED, CHANGED, CHANGED, KEPT),
    "scanner mixture": (CHANGED, KEPT, CHANGED, CHANGED, KEPT),
    "concept": (KEPT, CHANGED, CHANGED, CHANGED, CHANGED),
    "acquisition": (CHANGED, KEPT, CHANGED, CHANGED, NO_OVERLAP),
    "same scanner": (KEPT, KEPT, KEPT, KEPT, KEPT),
    "burden, volume criterion": (CHANGED, CHANGED, CHANGED, KEPT, CHANGED),
    "burden, all affected diseased": (CHANGED, CHANGED, KEPT, KEPT, CHANGED),
}
#: p(y | x) under labels drawn from the image: who comes cannot matter, what is done to y does. (Not
#: for acquisition: labels drawn from one noisy image do not belong to the patient.)
EXPECTED_ETA = {
    "label": CHANGED,
    "selection": KEPT,
    "scanner mixture": KEPT,
    "concept": CHANGED,
    "burden, volume criterion": KEPT,
}


@dataclass(frozen=True)
class Sample:
    """x: (n, k) statistics of the images, float64. y: (n,) labels."""

    x: np.ndarray
    y: np.ndarray

    @classmethod
    def of(cls, cohort: Cohort) -> Sample:
        """What the tests see of a cohort."""
        x = pooled_statistics(cohort.images).double().cpu().numpy()
        return cls(x, cohort.labels.cpu().numpy())

    def take(self, index: Tensor) -> Sample:
        return Sample(self.x[index.numpy()], self.y[index.numpy()])


@dataclass(frozen=True)
class Known:
    """Numbers fixed before the study, from patients who take no part in it.

    selection: s(x) prefers images with much bright area. eta: labels drawn from the image,
    logit eta = -0.5 + 1.5 z, z the 97th percentile (`pooled_statistics`) standardised.
    """

    selection: LogisticSelection
    centre: float
    spread: float

    @classmethod
    def measured(cls, n: int, size: int, seed: int) -> Known:
        reference = SOURCE.draw(n, seed, size).images
        z = pooled_statistics(reference)[:, _T]
        selection = LogisticSelection.around(bright_level, reference, low=0.1, high=0.9)
        return cls(selection, float(z.mean()), float(z.std()))

    def eta(self, images: Tensor) -> Tensor:
        """P(y = 1 | x) of drawn labels: (n,)."""
        z = (pooled_statistics(images)[:, _T] - self.centre) / self.spread
        return torch.sigmoid(1.5 * z - 0.5)

    def draw_labels(self, cohort: Cohort, seed: int) -> Cohort:
        return cohort.draw_labels(self.eta(cohort.images), seed)


def known(size: int, seed: int) -> Known:
    """What is fixed before the study of this seed, from 400 patients of their own."""
    return Known.measured(400, size, _seed(seed, 0, 0))


def summary(repetitions: list[dict], alpha: float = 0.05) -> dict:
    """From the p-values of each repetition (row: column: p) to rejection rates with intervals.

    Returns {"alpha", "columns" (name: test), "matrix" (row: column: {expected, mean, low, high, n,
    level, method}), "size": of all kept cells together, "first": the p-values of the first
    repetition, for who repeats it}; mean is the rejection rate. The cells of one repetition share
    patients, so the interval of "size" is a little too narrow.
    """
    matrix: dict[str, dict[str, dict]] = {}
    kept: list[float] = []
    for row in EXPECTED:
        matrix[row] = {}
        for column in repetitions[0][row]:
            values = [cells[row][column] for cells in repetitions]
            says = expected(row, column)
            matrix[row][column] = {"expected": says} | rejection_rate(values, alpha).record()
            kept += values if says == KEPT else []
    size = rejection_rate(kept, alpha).record()
    named = {"alpha": alpha, "columns": COLUMNS, "matrix": matrix, "size": size}
    return named | {"first": repetitions[0]}


def expected(row: str, column: str) -> str:
    """ "kept" or "changed": what the shift of this row does to this column."""
    if column in ("q = w p", "q = p / w"):
        return KEPT if column == "q = w p" else CHANGED
    if column == "p(y|x) = eta":
        return EXPECTED_ETA[row]
    if column == "p(y|t)":
        return KEPT if row in ("selection", "same scanner") else CHANGED
    return EXPECTED[row][list(COLUMNS).index(column.removesuffix(", fitted"))]


def repetition_p_values(known: Known, n: int, size: int, seed: int, repetition: int) -> dict:
    """One p-value for each cell, all from patients of this repetition."""
    seeds = [_seed(seed, repetition, j) for j in range(8)]
    source, pool = SOURCE.draw(n, seeds[0], size), SOURCE.draw(2 * n, seeds[1], size)
    part = pool.take(torch.arange(n))
    more = MORE_AFFECTED.draw(n, seeds[3], size)
    mixed = TWO_SCANNERS.draw(n, seeds[4], size)
    target_hospital = remix(TWO_SCANNERS, TARGET_MIXTURE)
    remixed = target_hospital.draw(n, seeds[5], size)
    resampled = resample(pool, PREVALENCE, seeds[6])
    selected = select(pool, known.selection, seeds[6])

    first = Sample.of(source)
    everyone = Sample.of(pool)
    every_glioma = replace(first, y=relabel(source, EVERY_GLIOMA).cohort.labels.numpy())
    pairs = {
        "label": (first, everyone.take(resampled.index)),
        "selection": (first, everyone.take(selected.index)),
        "scanner mixture": (Sample.of(mixed), Sample.of(remixed)),
        "concept": (first, Sample.of(relabel(part, OTHER_KIND).cohort)),
        "acquisition": (first, Sample.of(rescan(part, NOISY, seeds[2]))),
        "same scanner": (first, Sample.of(rescan(part, FLAIR, seeds[2]))),
        "burden, volume criterion": (first, Sample.of(more)),
        "burden, all affected diseased": (
            every_glioma,
            Sample.of(relabel(more, EVERY_GLIOMA).cohort),
        ),
    }
    cells = {row: compare(*pair, seeds[7]) for row, pair in pairs.items()}
    cells["selection"]["p(y|x)"] = conditional_domain_test(
        everyone.x,
        everyone.y,
        np.isin(np.arange(2 * n), selected.index.numpy()),
        propensity=selected.probability.numpy(),
        seed=seeds[7],
    ).p_value
    cells["scanner mixture"]["p(y|x)"] = domain_p_value(
        *pairs["scanner mixture"], seeds[7], strata=np.r_[mixed.scanner, remixed.scanner]
    )
    positive = first.y.mean()
    by_label = np.where(first.y == 1, PREVALENCE / positive, (1 - PREVALENCE) / (1 - positive))
    weights = {
        "label": by_label,
        "selection": known.selection(source.images).numpy(),
        "scanner mixture": mixture_weights(TWO_SCANNERS, target_hospital, mixed).numpy(),
    }
    for row, w in weights.items():
        cells[row] |= weighted_p_values(*pairs[row], w, seeds[7])
    for row, p in eta_p_values(known, pool, remixed, more, seeds[7]).items():
        cells[row]["p(y|x) = eta"] = p
    return cells


def compare(source: Sample, target: Sample, seed: int) -> dict[str, float]:
    """The columns that need nothing but two samples. p(y | x): with a fitted propensity."""
    fitted = domain_p_value(source, target, seed, confounders=np.r_[source.x, target.x])
    t = [Sample(sample.x[:, _T], sample.y) for sample in (source, target)]
    both = np.r_[t[0].x, t[1].x]
    return {
        "p(x)": energy_test(source.x, target.x, seed=seed).p_value,
        "p(y)": prevalence_test(source.y, target.y).p_value,
        "p(x|y=0)": energy_test(
            source.x[source.y == 0], target.x[target.y == 0], seed=seed
        ).p_value,
        "p(x|y=1)": energy_test(
            source.x[source.y == 1], target.x[target.y == 1], seed=seed
        ).p_value,
        "p(y|x)": fitted,
        "p(y|x), fitted": fitted,
        "p(y|t)": domain_p_value(*t, seed, confounders=np.column_stack([both, both**3])),
    }


def domain_p_value(source: Sample, target: Sample, seed: int, **how) -> float:
    """Conditional domain test of two samples."""
    x, y = np.concatenate([source.x, target.x]), np.concatenate([source.y, target.y])
    domain = np.repeat([0.0, 1.0], [len(source.y), len(target.y)])
    return conditional_domain_test(x, y, domain, seed=seed, **how).p_value


def weighted_p_values(source: Sample, target: Sample, w: np.ndarray, seed: int) -> dict[str, float]:
    """Is the source, thinned by w (or, wrongly, by 1/w), the target? Jointly in x and y."""
    joint = [np.column_stack([s.x, s.y]) for s in (source, target)]
    cells = {}
    for column, weights in (("q = w p", w), ("q = p / w", 1 / w)):
        kept = thin(torch.from_numpy(weights), seed).numpy()
        cells[column] = energy_test(joint[0][kept], joint[1], seed=seed).p_value
    return cells


def eta_p_values(
    known: Known, pool: Cohort, remixed: Cohort, more: Cohort, seed: int
) -> dict[str, float]:
    """Labels drawn from the image with known eta(x); is y ~ Bernoulli(eta(x)) after the shift?"""
    drawn = known.draw_labels(pool, seed)
    part = drawn.take(torch.arange(len(pool) // 2))
    targets = {
        "label": resample(drawn, 0.2, seed).cohort,
        "selection": select(drawn, known.selection, seed).cohort,
        "scanner mixture": known.draw_labels(remixed, seed),
        "concept": relabel(part, OTHER_KIND).cohort,
        "burden, volume criterion": known.draw_labels(more, seed),
    }
    p = {}
    for row, target in targets.items():
        sample, eta = Sample.of(target), known.eta(target.images).double().numpy()
        p[row] = known_probability_test(sample.x, sample.y, eta, seed=seed).p_value
    return p


def _seed(seed: int, repetition: int, part: int) -> int:
    return int(np.random.default_rng((seed, repetition, part)).integers(2**31))
