"""Diversity against brute force, textures of known dimension, and splits that must not overlap."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from medxfer_lab.imaging import diversity
from medxfer_lab.imaging.diversity import (
    FACTORS,
    factor_values,
    hold_out,
    overlap,
    report,
    variance_spectrum,
)
from medxfer_lab.imaging.draw import draw_patients
from medxfer_lab.imaging.lesions import DISEASES, HEALTHY, Burden
from medxfer_lab.imaging.patients import ADULTS, Population
from medxfer_lab.imaging.rendering import tissue

ALIKE = Population((20.0, 20.0), 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


@pytest.fixture(scope="module")
def people():
    return draw_patients(60, 0, ADULTS)


def test_overlap_by_brute_force():
    patients = draw_patients(7, 2)
    fractions = tissue(patients, 32)[0].double().numpy()
    brain, fluid = fractions[:, 1] + fractions[:, 2], fractions[:, 0]
    for name, images in (("grey + white", brain), ("fluid", fluid)):
        dice = [
            2 * np.minimum(images[i], images[j]).sum() / (images[i].sum() + images[j].sum())
            for i in range(7)
            for j in range(i)
        ]
        got = overlap(patients, 32)[name]
        assert got.pairs == 21
        assert got.mean == pytest.approx(np.mean(dice), rel=1e-5)
        assert (got.low, got.high) == pytest.approx(tuple(np.percentile(dice, (5, 95))), rel=1e-5)


def test_twins_overlap_wholly_and_the_varied_less():
    twins = draw_patients(4, 0, ALIKE, HEALTHY)
    assert overlap(twins, 32)["fluid"].low == pytest.approx(1, abs=1e-6)
    with pytest.raises(ValueError, match="no variance to share"):
        variance_spectrum(twins, 32)
    little, much = (
        overlap(draw_patients(12, 0, replace(ALIKE, warp_mm=w), HEALTHY), 32) for w in (1.0, 6.0)
    )
    for name in little:
        assert 1 > little[name].mean > much[name].mean


def test_rendering_in_chunks_changes_nothing(people, monkeypatch):
    whole = variance_spectrum(people, 24)
    monkeypatch.setattr(diversity, "_CHUNK", 7)
    assert variance_spectrum(people, 24).share == pytest.approx(whole.share, abs=1e-6)


def test_shares_are_those_of_the_covariance():
    rows = np.random.default_rng(0).gamma(1.0, size=(30, 12)) * np.arange(1, 13)
    expected = np.linalg.eigvalsh(np.cov(rows.T))[::-1]
    for got, count in ((diversity._spectrum(rows), 12), (diversity._spectrum(rows[:9]), 8)):
        assert len(got.share) == count and got.share.sum() == pytest.approx(1)
    got = diversity._spectrum(rows)
    assert got.share == pytest.approx(expected / expected.sum())
    ratio = expected.sum() ** 2 / (expected**2).sum()
    assert got.participation_ratio == pytest.approx(ratio)
    assert got.components(got.share[0]) == 1 and got.components(1.0) == 12
    assert got.components(got.share[:3].sum() + 1e-6) == 4
    with pytest.raises(ValueError, match="share is 0; it lies in"):
        got.components(0)


@pytest.mark.parametrize("law", ["normal", "skewed"])
@pytest.mark.parametrize("n", [10, 40])
def test_dimensions_are_corrected_for_few_patients(law, n):
    """Covariance diag(4, 4, 1 x 24): 32^2 / 56 = 18.3 dimensions, seen through n patients."""
    sd = np.array([2.0, 2.0] + [1.0] * 24)
    truth = 32**2 / 56
    rng = np.random.default_rng(1)
    found = []
    for _ in range(400):
        draw = rng.standard_normal((n, 26)) if law == "normal" else rng.exponential(size=(n, 26))
        found.append(diversity._spectrum(draw * sd))
    plain = np.mean([f.participation_ratio for f in found])
    # without bias are the two traces' squares, not their ratio: a term in 1/n remains
    corrected = 1 / np.mean([1 / f.dimensions for f in found])
    assert corrected == pytest.approx(truth, rel=2 / n)
    assert plain < min(n - 1, 0.75 * truth if n == 10 else truth)
    if law == "normal":  # what the docstring says of the uncorrected one
        excess = 56 + (32**2 + 56) / (n - 1)
        assert plain == pytest.approx(32**2 / excess, rel=0.05)


def test_both_traces_are_without_bias():
    """Exactly: every sample of 5 from a law on three points of the plane, by its probability."""
    points, p = np.array([[0.0, 1.0], [2.0, 0.0], [5.0, 7.0]]), np.array([0.5, 0.3, 0.2])
    covariance = np.cov(points.T, aweights=p, ddof=0)
    expected = np.zeros(2)
    for sample in itertools.product(range(3), repeat=5):
        rows = points[list(sample)]
        centred = rows - rows.mean(0)
        expected += p[list(sample)].prod() * np.array(diversity._squares(centred @ centred.T / 4))
    truth = (np.trace(covariance) ** 2, np.trace(covariance @ covariance))
    assert expected == pytest.approx(truth)


def test_report_says_it_in_words(people, capsys):
    found = report(people, size=32)
    printed = capsys.readouterr().out
    assert printed.startswith("60 simulated patients, all warps of one averaged brain.")
    assert f"{found.spectrum.dimensions:.1f} dimensions" in printed
    assert f"{found.overlap['fluid'].mean:.2f}" in printed
    assert 0.7 < found.overlap["grey + white"].mean < 0.95
    assert found.spectrum.participation_ratio < found.spectrum.dimensions
    with pytest.raises(ValueError, match="1 patients; diversity needs at least two"):
        overlap(people.take(slice(0, 1)))
    with pytest.raises(ValueError, match="3 patients; the correction needs at least 4"):
        variance_spectrum(people.take(slice(0, 3)))


# ---- holding out


@pytest.mark.parametrize("factor", FACTORS)
def test_no_value_is_on_both_sides(people, factor):
    got = hold_out(people, factor, share=0.6)
    values = factor_values(people, factor).double()
    train, test = values[got.train], values[got.test]
    assert got.low == got.high
    assert train[~train.isnan()].max() == got.low < test[~test.isnan()].min()
    both = torch.cat([got.train, got.test]).sort().values
    assert torch.equal(both, torch.arange(60))
    known = int((~values.isnan()).sum())
    assert int((~train.isnan()).sum()) == round(0.6 * known)
    assert factor in str(got) and str(len(got.test)) in str(got)


def test_a_gap_keeps_the_sets_apart(people):
    got = hold_out(people, "ventricles", share=0.5, gap=0.25)
    values = people.ventricles[people.ventricles.argsort()]
    assert (len(got.train), len(got.test)) == (30, 15)
    assert (got.low, got.high) == (float(values[29]), float(values[44]))


def test_the_healthy_are_dealt_to_both_sides(people):
    """No volume, no place in its order: else every test case would be a diseased one."""
    total = sum(people.volume_ml(kind) for kind in DISEASES)
    got = hold_out(people, "volume_ml", share=0.5, gap=0.2)
    healthy = total == 0
    assert 15 < healthy.sum() < 45
    train, test = healthy[got.train], healthy[got.test]
    expected = 0.5 / 0.8
    assert train.sum() == round(expected * int(healthy.sum()))
    assert train.sum() + test.sum() == healthy.sum()
    assert total[got.train].max() <= got.low < got.high < total[got.test][~test].min()


def test_pose_factors_are_those_that_went_in():
    one = draw_patients(1, 0)
    for angle, (a, b), shear in ((7.0, (1.1, 0.9), 0.04), (-12.0, (0.8, 1.3), -0.2)):
        c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        affine = np.array([[c, -s], [s, c]]) @ [[1, shear], [0, 1]] @ np.diag([a, b])
        posed = replace(one, affine=torch.tensor(affine)[None].float())
        assert float(factor_values(posed, "rotation_deg")) == pytest.approx(angle, abs=1e-4)
        assert float(factor_values(posed, "scale")) == pytest.approx(math.sqrt(a * b), abs=1e-5)
        assert float(factor_values(posed, "shear")) == pytest.approx(shear, abs=1e-5)


def test_each_factor_answers_to_its_own_dial():
    """Turning one field of the population moves its factor's spread, and pose factors alone."""
    for name, field in (
        ("rotation_deg", "rotation_deg"),
        ("tilt_deg", "tilt_deg"),
        ("scale", "scale"),
        ("shear", "shear"),
        ("shift_mm", "shift_mm"),
        ("warp_mm", "warp_mm"),
        ("depth_scale", "depth_scale"),
        ("warp_mm", "depth_warp_mm"),
        ("ventricles", "ventricles"),
    ):
        base = replace(ALIKE, **{field: 0.02})
        spread = {f: float(factor_values(draw_patients(12, 0, base), f).std()) for f in FACTORS}
        moved = [f for f in FACTORS if f != "volume_ml" and spread[f] > 1e-5]
        assert moved == [name], field


def test_refusals(people):
    with pytest.raises(ValueError, match="factor is 'age'; the factors are slice_mm, rotation_deg"):
        hold_out(people, "age")
    with pytest.raises(ValueError, match="ventricles does not vary among these 8 patients"):
        hold_out(draw_patients(8, 0), "ventricles")
    with pytest.raises(ValueError, match="volume_ml does not vary"):
        hold_out(draw_patients(8, 0, burden=Burden(affected=0.0)), "volume_ml")
    for share, gap in ((0.0, 0.0), (1.0, 0.0), (0.5, 0.5), (0.5, -0.1)):
        with pytest.raises(ValueError, match="what is left is the test set"):
            hold_out(people, "scale", share, gap)
    clipped = replace(people, ventricles=people.ventricles.clamp(max=-0.4))
    with pytest.raises(ValueError, match="too many share the largest value"):
        hold_out(clipped, "ventricles")
