"""What a cohort keeps together: every field of an image, through taking and choosing classes."""

from __future__ import annotations

import pytest
import torch

from medxfer_lab.imaging import Hospital
from medxfer_lab.imaging.cohort import Cohort


def real(labels: torch.Tensor, **more) -> Cohort:
    n = len(labels)
    known = {
        "images": torch.arange(n * 6.0).reshape(n, 1, 2, 3),
        "labels": labels,
        "patient_ids": torch.arange(n) // 2,
        "units": "HU",
        "source": "scans",
        "spacing_mm": torch.full((n, 2), 0.5),
        "names": tuple(f"{k}.png" for k in range(n)),
        "notes": ("a note",),
    }
    return Cohort(**{**known, **more})


@pytest.mark.parametrize(
    "index",
    [torch.tensor([4, 0, 0]), torch.tensor([True, False, False, True, True]), slice(1, 4)],
)
def test_take_moves_every_field(index):
    cohort = real(torch.tensor([0.0, 1, 0, 1, 1]))
    part = cohort.take(index)
    place = torch.arange(5)[index]
    assert torch.equal(part.images, cohort.images[place])
    assert torch.equal(part.labels, cohort.labels[place])
    assert torch.equal(part.patient_ids, cohort.patient_ids[place])
    assert part.names == tuple(f"{k}.png" for k in place.tolist())
    assert (part.units, part.source, part.notes) == ("HU", "scans", ("a note",))
    assert len(part.spacing_mm) == len(part) == len(place)


def test_what_is_unknown_stays_unknown():
    part = Cohort(torch.zeros(3, 1, 2, 2), torch.zeros(3), None).take(torch.tensor([2]))
    assert part.patient_ids is part.spacing_mm is part.masks is part.patients is None
    assert part.names == part.classes == part.notes == part.steps == ()


def test_simulated_cohorts_are_taken_as_before():
    drawn = Hospital().draw(4, seed=0, size=32)
    part = drawn.take(torch.tensor([3, 1]))
    assert torch.equal(part.patients.ids, drawn.patient_ids[[3, 1]])
    assert torch.equal(part.burden, drawn.burden[[3, 1]])
    assert part.source == "simulated"


def test_prevalence_is_of_two_classes():
    assert real(torch.tensor([0.0, 1, 1, 1])).prevalence == 0.75
    for labels in (torch.tensor([0, 1, 2]), torch.zeros(3, 4)):
        with pytest.raises(ValueError, match="a prevalence needs 0 or 1: choose one class"):
            real(labels).prevalence  # noqa: B018


def test_one_class_against_others():
    names = ("normal", "benign", "malignant")
    cohort = real(torch.tensor([0, 1, 2, 1, 2, 0]), classes=names)
    rest = cohort.against("malignant")
    assert rest.labels.tolist() == [0, 0, 1, 0, 1, 0] and rest.labels.dtype == torch.float32
    pair = cohort.against("malignant", negative=("benign",))
    assert pair.labels.tolist() == [0, 1, 0, 1]
    assert pair.names == ("1.png", "2.png", "3.png", "4.png") and pair.prevalence == 0.5
    assert torch.equal(cohort.against(1, 2).labels, cohort.against("benign", "malignant").labels)
    with pytest.raises(ValueError, match="no class 'sick'; the classes are .'normal'"):
        cohort.against("sick")
    with pytest.raises(ValueError, match="no class 3"):
        cohort.against(3)


def test_one_finding_of_several():
    labels = torch.tensor([[0.0, 1], [1, 1], [0, 0]])
    cohort = real(labels, classes=("mass", "effusion"))
    assert cohort.against("effusion").labels.tolist() == [1, 1, 0]
    assert len(cohort.against("mass")) == 3
    with pytest.raises(ValueError, match="ask for one"):
        cohort.against("mass", "effusion")
    with pytest.raises(ValueError, match="ask for one"):
        cohort.against("mass", negative=("effusion",))


def test_labels_drawn_at_random_need_binary_ones():
    drawn = real(torch.zeros(5)).draw_labels(torch.tensor([0.0, 1, 0, 1, 1]), seed=0)
    assert drawn.labels.tolist() == [0, 1, 0, 1, 1]
    with pytest.raises(ValueError, match="one value a patient"):
        real(torch.zeros(5, 2)).draw_labels(torch.rand(5), seed=0)
