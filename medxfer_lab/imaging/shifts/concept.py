"""Concept shift: the same images, called by another criterion."""

from __future__ import annotations

from dataclasses import dataclass, replace

from medxfer_lab.imaging.cohort import Cohort
from medxfer_lab.imaging.hospitals import Criterion


@dataclass(frozen=True)
class Relabelled:
    """A cohort under another criterion; how many of its labels moved, and which way."""

    cohort: Cohort
    to_diseased: int
    to_healthy: int

    @property
    def moved(self) -> int:
        """Number of labels that changed."""
        return self.to_diseased + self.to_healthy

    @property
    def share(self) -> float:
        """Share of labels that changed: P(y' != y), the total variation of p(y | patient)."""
        return self.moved / len(self.cohort)


def relabel(cohort: Cohort, criterion: Criterion) -> Relabelled:
    """Concept shift: every patient's label by ``criterion``, images untouched.

    Keeps p(x), *exactly* and trivially: the images are the same tensor. Changes p(y | x), and with
    it p(x | y) and in general p(y). How much is up to the criteria: a higher volume mostly moves
    the operating point of the same score; a criterion of other kinds lets patients change sides
    in *both* directions, and then no threshold on the old score is right. ``to_diseased`` and
    ``to_healthy`` tell the two apart.

    Masks still show what the old criterion was about. ``eta`` becomes None: the labels now follow
    from the criterion.

    Raises:
        ValueError: where the patients are not known, as in real data.
    """
    if cohort.patients is None:
        raise ValueError(
            f"cohort from {cohort.source!r} has no patients; a criterion needs their lesions: "
            "relabel simulated cohorts, or bring other labels and use dataclasses.replace"
        )
    labels = criterion.labels(cohort.patients).to(cohort.labels)
    return Relabelled(
        cohort=replace(cohort, labels=labels, eta=None),
        to_diseased=int(((labels == 1) & (cohort.labels != 1)).sum()),
        to_healthy=int(((labels == 0) & (cohort.labels != 0)).sum()),
    )
