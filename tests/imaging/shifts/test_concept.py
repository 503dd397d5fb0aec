"""Concept shift: not a pixel moves; labels do, one way or both."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medxfer_lab.imaging import Burden, Criterion, Hospital
from medxfer_lab.imaging.shifts import relabel
from medxfer_lab.metrics import auc
from tests.imaging.shifts.cases import small

HOSPITAL = Hospital(burden=Burden(volume_ml=(2.0, 30.0)), criterion=Criterion(4.0))


@pytest.fixture(scope="module")
def cohort():
    return HOSPITAL.draw(160, seed=3, size=32)


def test_images_are_the_same_tensor(cohort):
    again = relabel(cohort, Criterion(12.0)).cohort
    assert again.images is cohort.images and again.patients is cohort.patients
    assert torch.equal(again.patient_ids, cohort.patient_ids)


def test_a_higher_volume_moves_labels_one_way(cohort):
    moved = relabel(cohort, Criterion(12.0))
    volume = cohort.patients.volume_ml("glioma")
    between = int(((volume >= 4) & (volume < 12)).sum())
    assert (moved.to_healthy, moved.to_diseased) == (between, 0) and between > 20
    assert moved.moved == between and moved.share == pytest.approx(between / 160)
    assert torch.equal(moved.cohort.labels, (volume >= 12).float())


def test_another_kind_moves_labels_both_ways(cohort):
    """And the old latent score still ranks a higher volume perfectly, the other kind by chance."""
    moved = relabel(cohort, Criterion(0.5, kinds=("lookalike",)))
    assert min(moved.to_diseased, moved.to_healthy) > 10
    changed = moved.cohort.labels != cohort.labels
    assert moved.moved == int(changed.sum())
    volume = cohort.patients.volume_ml("glioma").numpy()
    assert auc(volume, relabel(cohort, Criterion(12.0)).cohort.labels.numpy()) == 1.0
    blind = auc(volume, moved.cohort.labels.numpy())
    assert abs(blind - 0.5) < 4 * np.sqrt(1 / 12 / 40)  # Mann-Whitney sd, 40 the smaller class


def test_the_same_criterion_moves_nothing(cohort):
    same = relabel(cohort, HOSPITAL.criterion)
    assert same.moved == 0 and torch.equal(same.cohort.labels, cohort.labels)


def test_drawn_labels_lose_their_probability(cohort):
    drawn = cohort.draw_labels(torch.full((160,), 0.5), seed=0)
    again = relabel(drawn, HOSPITAL.criterion)
    assert again.cohort.eta is None and torch.equal(again.cohort.labels, cohort.labels)


def test_real_data_have_no_lesions_to_measure():
    with pytest.raises(ValueError, match="has no patients"):
        relabel(small(), Criterion())
