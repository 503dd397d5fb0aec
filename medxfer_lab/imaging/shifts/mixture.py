"""Covariate shift through another mixture of scanners, and how far that is one.

Let k be the scanner, chosen independently of the patient, with probability p_k in the source and
q_k in the target; f_k(x) the density of its images, eta_k(x) = P(y = 1 | x, k). Then
p(x) = sum_k p_k f_k(x), the scanner's posterior is r_k(x) = p_k f_k(x)/p(x) (r'_k under q), and

    eta_p(x) = P_p(y = 1 | x) = sum_k r_k(x) eta_k(x)

is a mean of the scanners' own posteriors, weighted by what the image says about the scanner. If
the image gives the scanner away, r and r' are both 0 or 1 and p(y | x) is kept. If not, r depends
on the mixture, and p(y | x) moves with it. By how much: with w_k = q_k/p_k,

    q(x)/p(x) = sum_j r_j w_j =: w(x),    r'_k = r_k w_k / w(x),
    w(x) (r_k - r'_k) = sum_j r_k r_j (w_j - w_k),
    |eta_p - eta_q| = |sum_k (r_k - r'_k) eta_k| <= TV(r, r') = 1/2 sum_k |r_k - r'_k|,
    E_q|eta_p - eta_q| <= E_p[w(x) TV(r, r')] <= 1/2 sum_(j != k) E_p[r_j r_k] |w_j - w_k|
                       <= (w_max - w_min) 1/2 E_p[1 - sum_k r_k^2].

For any classifier g of the scanner, 1 - sum r_k^2 <= 1 - r_g^2 <= 2 (1 - r_g), and
E_p[1 - r_g(x)] = P_p(g(x) != k) is its error in the source. So

    E_q|eta_p(x) - eta_q(x)| <= (w_max - w_min) P_p(g(x) != k)          (posterior_change)

whatever the labels are. The left side is also the total variation between the target q(x, y) and
what covariate shift takes it for, q(x) p(y | x). It cannot be improved by a constant: the two
sides approach each other when one scanner's images hide rarely among the other's and the labels
there are opposite. The bound with p and q exchanged holds as well.

The weight w_k of a patient *whose scanner is recorded* is exact in any case: the densities of
(x, y, k) have ratio q_k/p_k, identifiable or not. It is a function of the image only if the
scanner is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from medxfer_lab.imaging.cohort import Cohort
from medxfer_lab.imaging.hospitals import Hospital
from medxfer_lab.imaging.shifts.measures import pooled_statistics
from medxfer_lab.metrics.two_sample import linear_discriminant


def remix(hospital: Hospital, weights: Sequence[float]) -> Hospital:
    """The same hospital with another mixture of the same scanners; weights need not sum to 1.

    Keeps p(y), the patients, p(x | scanner) and p(y | x, scanner), exactly, for the scanner is
    chosen independently of the patient. Changes p(x) and p(x | y). Keeps p(y | x) as far as
    scanners can be told apart in the image; see `scanner_error` and `posterior_change`.

    Raises:
        ValueError: for a scanner that the source never uses: no weights would exist.
    """
    scanners = [scanner for scanner, _ in hospital.scanners]
    if len(weights) != len(scanners):
        raise ValueError(f"weights are {list(weights)}; expected one for each of {len(scanners)}")
    target = replace(hospital, scanners=tuple(zip(scanners, map(float, weights))))
    scanner_weights(hospital, target)
    return target


def mixture_weights(source: Hospital, target: Hospital, cohort: Cohort) -> Tensor:
    """Known weights of covariate shift, w(x_i) = q(scanner of x_i)/p(scanner of x_i): (n,) float64.

    source, target: hospitals with the same scanners in the same order. cohort: drawn from source.
    """
    if cohort.scanner is None or cohort.scanners != tuple(s for s, _ in source.scanners):
        raise ValueError(
            f"cohort's scanners are {[s.name for s in cohort.scanners]}; expected those of the "
            f"source, {[s.name for s, _ in source.scanners]}, and which one each patient lay in"
        )
    return scanner_weights(source, target)[cohort.scanner.cpu()]


def scanner_weights(source: Hospital, target: Hospital) -> Tensor:
    """w_k = q_k/p_k for each scanner: (K,) float64."""
    if [s for s, _ in source.scanners] != [s for s, _ in target.scanners]:
        raise ValueError(
            f"scanners differ: {[s.name for s, _ in source.scanners]} and "
            f"{[s.name for s, _ in target.scanners]}; weights need the same ones in one order "
            "(remix), another scanner is an acquisition shift (rescan)"
        )
    p, q = (shares([w for _, w in hospital.scanners]) for hospital in (source, target))
    if ((p == 0) & (q > 0)).any():
        k = int(((p == 0) & (q > 0)).nonzero()[0])
        raise ValueError(
            f"the target uses {source.scanners[k][0].name!r}, the source never does: no weights "
            "exist; give it a positive weight in the source"
        )
    return torch.where(p > 0, q / p.where(p > 0, torch.ones(())), torch.zeros(()).double())


def shares(weights: Sequence[float]) -> Tensor:
    """Probabilities (K,) float64 from weights that are not negative."""
    w = torch.tensor(weights, dtype=torch.float64)
    if len(w) == 0 or not torch.isfinite(w).all() or (w < 0).any() or w.sum() <= 0:
        raise ValueError(f"scanner weights are {list(weights)}; need none negative, a positive sum")
    return w / w.sum()


@dataclass(frozen=True)
class ScannerError:
    """How often a fixed classifier mistook the scanner, on patients it had not seen.

    error: its share of mistakes, errors/tried. upper: one-sided Clopper-Pearson bound; the true
    error of this classifier, and so the least possible one, lies below it with chance ``level``.
    """

    errors: int
    tried: int
    upper: float
    level: float

    @property
    def error(self) -> float:
        return self.errors / self.tried

    def posterior_change(self, source: Sequence[float], target: Sequence[float]) -> float:
        """Bound on E_q|p(y | x) - q(y | x)| between mixtures; holds with chance ``level``.

        source must be the mixture that the cohort tried was drawn from.
        """
        return posterior_change(source, target, self.upper)


def posterior_change(source: Sequence[float], target: Sequence[float], error: float) -> float:
    """(w_max - w_min) error, at most 1: the bound derived at the head of this file.

    source, target: scanner weights p_k, q_k, each scanner of the target also in the source.
    error: P(scanner mistaken) in the source, of any classifier.
    """
    p, q = shares(source), shares(target)
    if len(p) != len(q) or ((p == 0) & (q > 0)).any():
        raise ValueError(f"mixtures are {list(source)} and {list(target)}; the source must use all")
    if not 0 <= error <= 1:
        raise ValueError(f"error is {error}; it is a probability in [0, 1]")
    w = (q / p)[p > 0]
    return float(min(1.0, (w.max() - w.min()) * error))


def scanner_error(
    cohort: Cohort,
    seed: int,
    features: Callable[[Tensor], Tensor] = pooled_statistics,
    level: float = 0.95,
) -> ScannerError:
    """Can the scanner be told from the image? Mistakes of a linear classifier on unseen patients.

    A random half of the patients trains linear discriminants between each pair of scanners on
    ``features`` (each pair votes), the other half tries them. Given the training half the mistakes
    are binomial, so the bound is exact. It bounds the error of *this* classifier, hence the
    smallest possible one; a large value may only mean that the features are poor.

    Args:
        cohort: two or more scanners, one image a patient. features: images -> (n, k), of each
            image alone.
    """
    if cohort.scanner is None or len(set(cohort.scanner.tolist())) < 2:
        raise ValueError("cohort has one scanner, or none is recorded; expected two or more")
    if cohort.patient_ids is not None and len(cohort.patient_ids.unique()) < len(cohort):
        raise ValueError("a patient appears twice; mistakes would not be independent: keep one")
    x = features(cohort.images).double().cpu().numpy()
    which = cohort.scanner.cpu().numpy()
    order = np.random.default_rng((seed, 8)).permutation(len(which))
    train, test = order[: len(order) // 2], order[len(order) // 2 :]
    guess = _vote(x[train], which[train], x[test])
    errors, tried = int((guess != which[test]).sum()), len(test)
    upper = 1.0 if errors == tried else float(stats.beta.ppf(level, errors + 1, tried - errors))
    return ScannerError(errors, tried, upper, level)


def _vote(x: np.ndarray, which: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Scanner of each new patient: the one that wins most comparisons of two, (m,)."""
    names, counts = np.unique(which, return_counts=True)
    if len(names) < 2 or counts.min() < 2:
        raise ValueError("a scanner has fewer than 2 patients to learn from: draw a larger cohort")
    votes = np.zeros((len(new), len(names)))
    for i in range(len(names)):
        for j in range(i + 1, len(names)):
            a, b = x[which == names[i]], x[which == names[j]]
            direction = linear_discriminant(a, b)
            middle = (a.mean(0) + b.mean(0)) @ direction / 2
            later = new @ direction > middle
            votes[later, j] += 1
            votes[~later, i] += 1
    return names[votes.argmax(1)]
