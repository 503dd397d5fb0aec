"""Hospitals: who comes, on which scanner they lie, and what the doctors there call disease.

Hospital = scanner mixture + distribution of burden + diagnostic criterion. The label follows from
the criterion applied to the patient's latent burden, so prevalence is derived, never set.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from medxfer_lab.imaging.cohort import Cohort
from medxfer_lab.imaging.draw import draw_patients
from medxfer_lab.imaging.lesions import Burden
from medxfer_lab.imaging.patients import Patients, Population
from medxfer_lab.imaging.rendering import tissue
from medxfer_lab.imaging.scanners import FLAIR, Scanner

#: patients rendered at a time: bounds memory
_CHUNK_OF = {"axial": 128, "probe": 128, "volume": 2}


@dataclass(frozen=True)
class Criterion:
    """Disease is a lesion volume of at least ``volume_ml``, summed over ``kinds`` of lesions."""

    volume_ml: float = 1.0
    kinds: tuple[str, ...] = ("glioma",)

    def labels(self, patients: Patients) -> Tensor:
        """(n,) float32, 1 where the criterion is met."""
        total = sum(patients.volume_ml(kind) for kind in self.kinds)
        return (total >= self.volume_ml).float()


@dataclass(frozen=True)
class Hospital:
    """Scanner mixture (scanner, weight), population, burden and criterion."""

    name: str = "teaching hospital"
    scanners: tuple[tuple[Scanner, float], ...] = ((FLAIR, 1.0),)
    population: Population = field(default_factory=Population)
    burden: Burden = field(default_factory=Burden)
    criterion: Criterion = field(default_factory=Criterion)

    def draw(self, n: int, seed: int, size: int = 96, first: int = 0) -> Cohort:
        """Admit and image n patients, numbered from ``first``; size in pixels over 192 mm.

        Two draws with the same seed and overlapping numbers share those patients; draws with
        different seeds are independent.
        """
        weights = np.array([w for _, w in self.scanners], dtype=float)
        if len(weights) == 0 or (weights < 0).any() or weights.sum() <= 0:
            raise ValueError(f"scanner weights are {weights.tolist()}; need a positive sum")
        patients = draw_patients(n, seed, self.population, self.burden, first)
        pick = [np.random.default_rng((seed, 3, int(i))).random() for i in patients.ids]
        which = np.searchsorted(np.cumsum(weights / weights.sum()), pick, side="right")
        which = torch.from_numpy(which.clip(max=len(weights) - 1))
        return image_patients(
            patients, which, tuple(s for s, _ in self.scanners), self.criterion, seed, size
        )


def image_patients(
    patients: Patients,
    which: Tensor,
    scanners: tuple[Scanner, ...],
    criterion: Criterion,
    seed: int,
    size: int,
) -> Cohort:
    """Image patients, each on the scanner that ``which`` names, and label them by a criterion.

    patients: n of them. which: (n,) index into scanners. seed: of the examinations. size: pixels
    along the edge of each scanner's view.
    """
    images = torch.zeros(len(patients), 1, size, size)
    masks = torch.zeros(len(patients), size, size, dtype=torch.bool)
    # scanners with the same view share the patients' tissue: rendering it is most of the work
    for view in dict.fromkeys(s.view for s in scanners):
        users = torch.tensor([s.view == view for s in scanners])
        seen = users[which].nonzero().flatten()
        for part in seen.split(_CHUNK_OF[view.plane]):
            chunk = patients.take(part)
            fractions, mask = tissue(chunk, size, view=view)
            for index, scanner in enumerate(scanners):
                here = which[part] == index
                if here.any():
                    images[part[here]] = scanner.acquire(fractions[here], chunk.ids[here], seed)
                    flat = scanner.footprint(mask[here]) if mask.ndim == 4 else mask[here]
                    masks[part[here]] = flat
    spacing = torch.tensor([s.view.spacing_mm(size) for s in scanners])[which]
    return Cohort(
        images=images,
        labels=criterion.labels(patients),
        masks=masks,
        patient_ids=patients.ids,
        burden=sum(patients.volume_ml(kind) for kind in criterion.kinds),
        patients=patients,
        scanner=which,
        scanners=scanners,
        units=" / ".join(dict.fromkeys(s.units for s in scanners)),
        source="simulated",
        spacing_mm=spacing[:, None].expand(-1, 2).clone(),
    )
