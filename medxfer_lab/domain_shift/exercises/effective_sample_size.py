"""Numbers: how many patients are left after importance weighting, and what the count conceals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medxfer_lab.course.exercise import Exercise, Variant, Wrong
from medxfer_lab.course.values import Mistake, apart, number
from medxfer_lab.domain_shift.exercises.several import several
from medxfer_lab.domain_shift.exercises.words import percent

NAMES = ("effective", "share", "few", "covered")


@dataclass(frozen=True)
class Case:
    """Patients of the source by scanner (Corvid, Merganser, Shoveler), the shares of the scanners
    at the target (the last is zero), and the Merganser patients of a second source of one size."""

    counts: np.ndarray  # (3,)
    target: np.ndarray  # (3,)
    few: int

    @property
    def n(self) -> int:
        return int(self.counts.sum())

    @property
    def second(self) -> np.ndarray:
        """Counts of the second source, (3,): Corvid stands in for the missing Merganser."""
        missing = self.counts[1] - self.few
        return self.counts + np.array([missing, -missing, 0])


def effective_sample_size(counts: np.ndarray, target: np.ndarray) -> float:
    r"""Kish's effective sample size of weights that are constant within strata.

    .. math:: \frac{(\sum_i w_i)^2}{\sum_i w_i^2} = \frac{(\sum_k n_k w_k)^2}{\sum_k n_k w_k^2},
        \qquad w_k = \frac{q_k}{n_k / n}

    counts: (K,) patients per stratum, above zero; target: (K,) shares. Kish (1965), *Survey
    Sampling*, section 11.7.
    """
    weights = target / (counts / counts.sum())
    return float((counts * weights).sum() ** 2 / (counts * weights**2).sum())


def exercise(seed: int) -> Exercise:
    """Two vendors and an old machine; the seed draws mixtures and sizes."""
    case = _case(seed)
    n, (n_c, n_m, n_s), (q_c, q_m, _) = case.n, case.counts, case.target
    weights = case.target / (case.counts / n)
    answer = _answer(case)
    effective, share, few, covered = answer
    checks = {
        name: number(value, mistakes, praise="", atol=tolerance, percent=percent)
        for name, value, mistakes, tolerance, percent in zip(
            NAMES, answer, _mistakes(case), (0.5, 5e-4, 0.1, 0.0), (False, True, False, True)
        )
    }
    return Exercise(
        id="effective_sample_size",
        title="How many patients are left?",
        objective="Count what importance weights leave of a sample",
        kind="number",
        prompt=(
            f"A source hospital has {n} labelled scans: {n_c} from a Corvid scanner, {n_m} from a "
            f"Merganser, {n_s} from an old Shoveler. At the target {percent(q_c)} come from a "
            f"Corvid, {percent(q_m)} from a Merganser, none from a Shoveler. The image tells the "
            "scanner, and for each scanner images and labels are distributed alike at both "
            "hospitals. You weigh each source scan with $w(x) = q(x)/p(x)$ (target over source), "
            "so that the weighted mean of the losses speaks for the target.\n\n"
            "- `effective`: the effective sample size of the weights\n"
            "- `share`: that, as a share of all source scans\n"
            f"- `few`: the effective sample size if only {case.few} of the {n} scans were from the "
            f"Merganser, and {n_m - case.few} Corvid scans replaced the missing Merganser scans\n"
            "- `covered`: with *no* Merganser scan at the source, the share of the target's "
            "patients that the weighted mean can speak for\n\n"
            "Answer with four numbers in this order, or a dict with these keys."
        ),
        hints=(
            "A weight is the same for all scans of one scanner: its share at the target over its "
            "share at the source. How many scans have which weight?",
            "The effective sample size is $(\\sum_i w_i)^2 / \\sum_i w_i^2$, summed over the "
            "*scans*, not over the scanners.",
            "Let $p_k$ and $q_k$ be the shares of scanner $k$ at source and target. Then "
            "$\\sum_i w_i = n$, and $n / \\sum_k q_k^2/p_k$ are left. For `covered` no formula in "
            "the weights helps: ask who is missing.",
        ),
        grade=several(checks, praise=_praise(case)),
        right=(
            Variant("list", [float(v) for v in answer]),
            Variant("dict", dict(zip(NAMES, map(float, answer)))),
            Variant("array", np.array(answer)),
            Variant(
                "rounded, shares as text",
                (round(effective), f"{100 * share:.1f} %", round(few, 1), f"{covered:g}"),
            ),
        ),
        wrong=(
            *(
                Wrong(m.diagnosis, [*answer[:i], m.value, *answer[i + 1 :]], m.diagnosis)
                for i, mistakes in enumerate(_mistakes(case))
                for m in mistakes
            ),
            Wrong("share in per cent", [effective, 100 * share, few, covered], "percent"),
            Wrong("the first only", float(effective), "wrong-type"),
        ),
        solution=(
            f"The weights are {weights[0]:.3g} (Corvid), {weights[1]:.3g} (Merganser) and 0. Their "
            f"sum is {n}, their sum of squares {(case.counts * weights**2).sum():.5g}: "
            f"{n}²/{(case.counts * weights**2).sum():.5g} = {effective:.1f}, a share of "
            f"{share:.3f}. With {case.few} Merganser scans each of them weighs "
            f"{q_m * n / case.few:.3g}, and {few:.1f} are left. With none, the only weights are "
            "those of the Corvid: they are equal, and the formula sees nothing amiss. But "
            f"{percent(q_m)} of the target's patients have no one to speak for them: a share of "
            f"{covered:g} is covered."
        ),
    )


def _praise(case: Case) -> str:
    calm = int(case.counts[:2].sum())
    return (
        "As a scanner grows rare at the source, the effective sample size falls towards nothing. "
        "Once that scanner is gone, the weights that remain are all equal, and the formula says "
        f"{calm}: every Corvid scan. It warns while the supports overlap, and is silent once they "
        "part."
    )


def _answer(case: Case) -> tuple[float, float, float, float]:
    effective = effective_sample_size(case.counts, case.target)
    few = effective_sample_size(case.second, case.target)
    return effective, effective / case.n, few, float(case.target[0])


def _case(seed: int) -> Case:
    """Mixtures drawn until each number and its slips are apart."""
    rng = np.random.default_rng([seed, 23])
    while True:
        n = int(rng.choice([300, 400, 500, 600, 800]))
        merganser = float(rng.choice([0.2, 0.25, 0.3]))
        shoveler = float(rng.choice([0.05, 0.1, 0.15]))
        counts = np.round(n * np.array([1 - merganser - shoveler, merganser, shoveler]))
        q = float(rng.choice([0.6, 0.65, 0.7, 0.75, 0.8]))
        case = Case(counts.astype(int), np.array([1 - q, q, 0.0]), int(rng.integers(3, 8)))
        parts = zip(_answer(case), _mistakes(case), (0.55, 2e-3, 0.3, 0.01))
        if case.n == n and all(
            apart([value, *(m.value for m in mistakes)], rtol=0.06, atol=atol)
            for value, mistakes, atol in parts
        ):
            return case


def _mistakes(case: Case) -> tuple[list[Mistake], ...]:
    return _of_effective(case), _of_share(case), _of_few(case), _of_covered(case)


def _of_effective(case: Case) -> list[Mistake]:
    n, counts = case.n, case.counts
    w = case.target / (counts / n)
    upside_down = counts[:2] / n / case.target[:2]
    squares = (counts * w**2).sum()
    return [
        Mistake(
            "sum-of-weights",
            n,
            "This is the sum of the weights, which is always all scans: it says nothing about how "
            "unequal they are. The squares do.",
        ),
        Mistake(
            "nonzero-counted",
            counts[0] + counts[1],
            "You counted the scans whose weight is not zero. They do not count alike: a mean that "
            "hangs on a few heavy ones is as uncertain as those few make it.",
        ),
        Mistake(
            "square-forgotten",
            n / squares,
            "The sum of the weights must be squared: as it stands this is a share, not a number of "
            "scans.",
        ),
        Mistake(
            "largest-weight",
            n / w.max(),
            "You divided by the largest weight. That is a lower bound, reached only where every "
            "scan has that weight or none.",
        ),
        Mistake(
            "upside-down",
            squares,
            "This is the sum of the squared weights, larger than the sample. In the formula it "
            "stands below the line.",
        ),
        Mistake(
            "variance-only",
            n / (squares / n - 1),
            "You divided by the variance of the weights. With equal weights that would make "
            "infinitely many scans. Divide by the mean *square*, which is one more.",
        ),
        Mistake(
            "scanners-for-scans",
            w.sum() ** 2 / (w**2).sum(),
            "You summed over the scanners as if each were one scan. Every scan has its weight.",
        ),
        Mistake(
            "ratio-inverted",
            (counts[:2] * upside_down).sum() ** 2 / (counts[:2] * upside_down**2).sum(),
            "The weights stand upside down: they are the target's density over the source's.",
        ),
    ]


def _of_share(case: Case) -> list[Mistake]:
    effective = effective_sample_size(case.counts, case.target)
    return [
        Mistake(
            "share-of-the-weighted",
            effective / case.counts[:2].sum(),
            "This is the share of the scans with a weight above zero. The Shoveler's were "
            "collected and labelled too: divide by all.",
        ),
        Mistake("share-lost", 1 - effective / case.n, "This is the share that is lost."),
    ]


def _of_few(case: Case) -> list[Mistake]:
    n, q_m = case.n, case.target[1]
    old = case.target / (case.counts / n)
    return [
        Mistake(
            "few-counted",
            case.few,
            "You counted the Merganser scans. They stand for a part of the target only; for the "
            "rest there are Corvid scans in plenty, so the whole is known a little better.",
        ),
        Mistake(
            "few-not-squared",
            case.few / q_m,
            "Nearly: their share at the target enters squared.",
        ),
        Mistake(
            "weights-not-renewed",
            (case.second * old).sum() ** 2 / (case.second * old**2).sum(),
            "You kept the old weights. With fewer Merganser scans at the source each of them "
            "weighs more.",
        ),
        Mistake(
            "as-before",
            effective_sample_size(case.counts, case.target),
            "This is the first source's number. Rarer scans carry heavier weights, so less is "
            "left.",
        ),
    ]


def _of_covered(case: Case) -> list[Mistake]:
    q_m = float(case.target[1])
    return [
        Mistake(
            "silent-weights",
            1.0,
            "The weights that remain are equal and raise no alarm, but they belong to Corvid scans "
            "only. Which of the target's patients look like none of the source's?",
        ),
        Mistake("uncovered", q_m, "This is the share that nobody at the source resembles."),
        Mistake(
            "shares-of-the-source",
            float(case.counts[:2].sum() / case.n),
            "This is a share of the source. It is the target's patients that are to be covered.",
        ),
        Mistake("none-covered", 0.0, "The Corvid patients of the target are covered still."),
    ]
