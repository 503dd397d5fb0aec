"""Acquisition shift: the same patients on another scanner."""

from __future__ import annotations

from dataclasses import replace

import torch

from medxfer_lab.imaging.cohort import Cohort
from medxfer_lab.imaging.hospitals import Criterion, image_patients
from medxfer_lab.imaging.scanners import Scanner


def rescan(cohort: Cohort, scanner: Scanner, seed: int) -> Cohort:
    """The same patients on another scanner: new bias field, new noise, everything else kept.

    The labels stay, for they belong to the patients. P(y | patient) is kept; P(y | image) is not
    in general, because noise and contrast change what an image tells.
    """
    if cohort.patients is None:
        raise ValueError(
            f"the cohort from {cohort.source} has no simulated patients: only they can be rescanned"
        )
    size = cohort.images.shape[-1]
    again = image_patients(
        cohort.patients,
        torch.zeros(len(cohort), dtype=torch.long),
        (scanner,),
        Criterion(),
        seed,
        size,
    )
    return replace(again, labels=cohort.labels, burden=cohort.burden, eta=cohort.eta)
