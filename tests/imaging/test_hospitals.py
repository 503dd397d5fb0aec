"""Hospitals: determinism, derived prevalence, counterfactual pairs, labels drawn at random."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from medxfer_lab.imaging import (
    FLAIR,
    T1,
    Burden,
    Cohort,
    Criterion,
    Hospital,
    Population,
    draw_patients,
    rescan,
    tissue,
)

TENSORS = ("images", "labels", "masks", "patient_ids", "burden", "scanner")
TWO = Hospital(scanners=((FLAIR, 3.0), (T1, 1.0)))


def same(a: Cohort, b: Cohort) -> bool:
    return all(torch.equal(getattr(a, key), getattr(b, key)) for key in TENSORS)


@pytest.fixture(scope="module")
def cohort() -> Cohort:
    return TWO.draw(24, seed=5, size=32)


def test_units_and_shapes(cohort):
    assert cohort.images.shape == (24, 1, 32, 32) and cohort.images.dtype == torch.float32
    assert cohort.masks.shape == (24, 32, 32) and cohort.masks.dtype == torch.bool
    assert set(cohort.labels.tolist()) == {0.0, 1.0} and cohort.eta is None
    assert cohort.images.min() >= 0 and torch.isfinite(cohort.images).all()
    assert cohort.prevalence == pytest.approx(np.mean(cohort.labels.tolist()))


def test_same_seed_same_pixels(cohort):
    assert same(TWO.draw(24, seed=5, size=32), cohort)


def test_a_patient_is_the_same_in_any_cohort(cohort):
    """draw(5) against draw(3, first=2): labels and masks equal, pixels up to float32 rounding."""
    few = TWO.draw(3, seed=5, size=32, first=2)
    part = cohort.take(torch.tensor([2, 3, 4]))
    assert few.patient_ids.tolist() == [2, 3, 4]
    for key in ("labels", "masks", "patient_ids", "burden", "scanner"):
        assert torch.equal(getattr(few, key), getattr(part, key)), key
    # sums in another batch may be rounded otherwise; pixels are of the order of 100
    torch.testing.assert_close(few.images, part.images, rtol=1e-5, atol=2e-3)


def test_rendering_in_chunks_changes_nothing(cohort, monkeypatch):
    from medxfer_lab.imaging import hospitals

    monkeypatch.setitem(hospitals._CHUNK_OF, "axial", 7)
    chunked = TWO.draw(24, seed=5, size=32)
    assert torch.equal(chunked.masks, cohort.masks)
    assert torch.equal(chunked.scanner, cohort.scanner)
    torch.testing.assert_close(chunked.images, cohort.images, rtol=1e-5, atol=2e-3)


def test_other_seed_other_patients(cohort):
    other = TWO.draw(24, seed=6, size=32)
    difference = (other.images - cohort.images).flatten(1).std(1)
    assert difference.min() > 5  # no patient of one seed comes back in the other


def test_take_keeps_everything_in_order(cohort):
    marked = cohort.draw_labels(torch.linspace(0, 1, 24), seed=0)
    part = marked.take(torch.tensor([7, 3]))
    assert part.patient_ids.tolist() == part.patients.ids.tolist() == [7, 3]
    for key in (*TENSORS, "eta"):
        assert torch.equal(getattr(part, key), getattr(marked, key)[[7, 3]]), key
    assert torch.equal(part.patients.centre_mm, marked.patients.centre_mm[[7, 3]])


def test_label_follows_from_the_criterion():
    people = draw_patients(300, seed=1)
    volume = people.volume_ml("glioma")
    spots = people.volume_ml("lookalike")
    for threshold in (1.0, 10.0, 25.0):
        labels = Criterion(volume_ml=threshold).labels(people)
        assert torch.equal(labels, (volume >= threshold).float())
        assert 0 < labels.sum() < 300
    both = Criterion(volume_ml=0.5, kinds=("glioma", "lookalike")).labels(people)
    assert torch.equal(both, (volume + spots >= 0.5).float())
    assert (both > Criterion(0.5).labels(people)).any()


def test_prevalence_is_derived():
    """P(volume >= t) = affected * (log high - log t)/(log high - log low), log-uniform volumes."""
    burden = Burden(affected=0.4, volume_ml=(5.0, 60.0))
    people = draw_patients(3000, seed=2, burden=burden)
    for threshold in (1.0, 12.0, 30.0):
        tail = math.log(60 / max(threshold, 5.0)) / math.log(60 / 5.0)
        positive = int(Criterion(threshold).labels(people).sum())
        assert stats.binomtest(positive, 3000, 0.4 * tail).pvalue > 1e-3


def test_hospital_uses_its_parts():
    """Population, burden and criterion arrive where they belong: against the pieces by hand."""
    hospital = Hospital(
        scanners=((T1, 1.0),),
        population=Population(slice_mm=(20.0, 21.0)),
        burden=Burden(affected=0.8, lookalikes=0.5),
        criterion=Criterion(volume_ml=20.0),
    )
    drawn = hospital.draw(6, seed=9, size=32)
    people = draw_patients(6, 9, hospital.population, hospital.burden)
    fractions, masks = tissue(people, 32)
    assert torch.equal(drawn.masks, masks)
    assert torch.equal(drawn.images, T1.acquire(fractions, people.ids, 9))
    assert torch.equal(drawn.labels, hospital.criterion.labels(people))
    assert torch.equal(drawn.burden, people.volume_ml("glioma"))


def test_disease_changes_pixels_only_where_it_is():
    """Two hospitals that differ in burden alone: same anatomy, same noise, other lesions."""
    clean, ill = (
        Hospital(burden=Burden(affected=a, lookalikes=0.0)).draw(12, seed=3, size=48)
        for a in (0.0, 1.0)
    )
    assert not clean.labels.any() and ill.labels.all()
    changed = (ill.images - clean.images).abs()[:, 0] > 1e-3 * clean.images.max()
    touched = tissue(ill.patients, 48)[0][:, 3] > 1e-4
    assert (changed & ~touched).sum() == 0
    assert (changed & ill.masks).sum() > 0.9 * ill.masks.sum()


def test_scanners_are_met_in_the_stated_proportions():
    hospital = replace(TWO, scanners=((FLAIR, 3.0), (T1, 1.0), (replace(T1, snr=5.0), 0.0)))
    drawn = hospital.draw(600, seed=4, size=16)
    counts = torch.bincount(drawn.scanner, minlength=3)
    assert counts[2] == 0
    assert stats.binomtest(int(counts[1]), 600, 0.25).pvalue > 1e-3
    # independent of who is ill
    table = [[int((drawn.scanner[drawn.labels == y] == s).sum()) for s in (0, 1)] for y in (0, 1)]
    assert stats.chi2_contingency(table).pvalue > 1e-3


def test_each_patient_lies_in_the_scanner_named(cohort):
    fractions, _ = tissue(cohort.patients, 32)
    for i in range(24):
        scanner = cohort.scanners[int(cohort.scanner[i])]
        picture = scanner.acquire(fractions[i : i + 1], cohort.patient_ids[i : i + 1], 5)
        torch.testing.assert_close(picture[0], cohort.images[i], rtol=1e-5, atol=2e-3)


def test_rescan_on_the_same_scanner_and_seed_is_the_same_picture():
    drawn = Hospital().draw(9, seed=7, size=32)
    assert torch.equal(rescan(drawn, FLAIR, seed=7).images, drawn.images)


def test_rescan_keeps_the_patients(cohort):
    labelled = cohort.draw_labels(torch.full((24,), 0.5), seed=3)
    again = rescan(labelled, T1, seed=8)
    for key in ("labels", "masks", "patient_ids", "burden", "eta"):
        assert torch.equal(getattr(again, key), getattr(labelled, key)), key
    assert again.scanners == (T1,) and not again.scanner.any()
    fractions, _ = tissue(cohort.patients, 32)
    assert torch.equal(again.images, T1.acquire(fractions, cohort.patient_ids, 8))
    assert not torch.allclose(rescan(labelled, T1, seed=9).images, again.images, rtol=0.01)


def test_drawn_labels_are_bernoulli(cohort):
    """Chi-square over ten bins of eta: sum (observed - expected)^2 / variance, 10 degrees."""
    n = 6000
    blank = Cohort(torch.zeros(n, 1, 1, 1), torch.zeros(n), torch.arange(n))
    eta = torch.from_numpy(np.random.default_rng(0).beta(0.6, 0.9, n))
    drawn = blank.draw_labels(eta, seed=1)
    assert torch.equal(drawn.eta, eta)
    bins = np.clip((eta.numpy() * 10).astype(int), 0, 9)
    statistic = 0.0
    for b in range(10):
        p = eta[bins == b].numpy()
        gap = float(drawn.labels[bins == b].sum()) - p.sum()
        statistic += gap**2 / (p * (1 - p)).sum()
    assert 1e-3 < stats.chi2(10).sf(statistic) < 1 - 1e-3
    assert torch.equal(blank.draw_labels(eta, seed=1).labels, drawn.labels)
    other = blank.draw_labels(eta, seed=2).labels
    residual = [(y - eta) / (eta * (1 - eta)).sqrt() for y in (drawn.labels, other)]
    assert abs(float((residual[0] * residual[1]).mean())) < 4 / math.sqrt(n)


def test_certain_labels(cohort):
    eta = (torch.arange(24) % 2).float()
    assert torch.equal(cohort.draw_labels(eta, seed=0).labels, eta)


@pytest.mark.parametrize("bad", [-0.01, 1.2, float("nan")])
def test_eta_outside_zero_to_one(cohort, bad):
    eta = torch.full((24,), 0.5)
    eta[3] = bad
    with pytest.raises(ValueError, match="probabilities lie in"):
        cohort.draw_labels(eta, seed=0)


def test_errors(cohort):
    with pytest.raises(ValueError, match=r"eta has shape \(3,\); expected one value a patient"):
        cohort.draw_labels(torch.rand(3), seed=0)
    for weights in ((0.0, 0.0), (2.0, -1.0)):
        hospital = replace(TWO, scanners=((FLAIR, weights[0]), (T1, weights[1])))
        with pytest.raises(ValueError, match="scanner weights are .*; need a positive sum"):
            hospital.draw(2, seed=0, size=16)
    with pytest.raises(ValueError, match="need a positive sum"):
        Hospital(scanners=()).draw(2, seed=0, size=16)
    with pytest.raises(ValueError, match="n is 0"):
        TWO.draw(0, seed=0)
