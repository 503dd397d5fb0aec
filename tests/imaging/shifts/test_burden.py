"""The realistic mixture: more affected patients are a label shift under one criterion only."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from medxfer_lab.imaging import Burden, Criterion, Hospital
from medxfer_lab.imaging.shifts import pooled_statistics, relabel
from medxfer_lab.metrics.two_sample import energy_test

#: clearly visible lesions of 2 to 30 ml; a criterion of 8 ml splits them in half
FEW = Hospital(
    burden=Burden(volume_ml=(2.0, 30.0), infiltration=(0.35, 0.6)), criterion=Criterion(8.0)
)
MANY = replace(FEW, burden=replace(FEW.burden, affected=0.9))


@pytest.fixture(scope="module")
def pairs():
    """Three times two independent draws: 250 patients each, 32 pixels."""
    return [(FEW.draw(250, 50 + i, 32), MANY.draw(250, 60 + i, 32)) for i in range(3)]


def p_values(pairs, criterion: Criterion, y: int) -> np.ndarray:
    """Energy tests of p(x | y) in the three pairs."""
    found = []
    for i, pair in enumerate(pairs):
        samples = []
        for cohort in pair:
            labels = relabel(cohort, criterion).cohort.labels
            samples.append(pooled_statistics(cohort.images)[labels == y].numpy())
        found.append(energy_test(*samples, seed=i, permutations=999).p_value)
    return np.array(found)


def test_volume_criterion_changes_the_healthy(pairs):
    """More patients below the criterion: with lesions, and called healthy. The ill are the same."""
    assert (p_values(pairs, FEW.criterion, y=0) <= 0.001 + 1e-9).all()
    assert p_values(pairs, FEW.criterion, y=1).min() > 0.005


def test_criterion_that_calls_every_affected_diseased_is_a_label_shift(pairs):
    assert p_values(pairs, Criterion(1.0), y=0).min() > 0.005
    assert p_values(pairs, Criterion(1.0), y=1).min() > 0.005


def test_the_threshold_splits_the_affected(pairs):
    """Otherwise the first test would test nothing."""
    few, many = pairs[0]
    for cohort, share in ((few, 0.5), (many, 0.9)):
        affected = float((cohort.burden > 0).float().mean())
        assert affected == pytest.approx(share, abs=4 * np.sqrt(0.25 / 250))
        assert 0.3 < cohort.prevalence / affected < 0.7
