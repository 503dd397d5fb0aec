"""Label shift: counts, exact weights, p(x | y) kept patient by patient, posterior odds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from medxfer_lab.imaging.shifts import effective_sample_size, resample
from medxfer_lab.imaging.shifts.label import _most
from tests.imaging.shifts.cases import cohort_of, pixel, small


def test_as_many_as_can_be_had():
    """By brute force over n: both roundings of n q must fit, for every smaller n too or not."""
    for n0, n1, q in [
        (8, 3, 0.5),
        (14, 10, 0.3),
        (5, 5, 0.37),
        (20, 1, 0.5),
        (9, 9, 0.0),
        (3, 7, 1),
    ]:
        feasible = [
            n
            for n in range(n0 + n1 + 1)
            if np.ceil(n * q - 1e-9) <= n1 and np.ceil(n * (1 - q) - 1e-9) <= n0
        ]
        assert _most(np.array([n0, n1]), np.array([1 - q, q])) == max(feasible), (n0, n1, q)


def test_fields_follow_their_patient():
    source = small()
    target = resample(source, 0.6, seed=3)
    assert torch.equal(target.cohort.images, source.images[target.index])
    assert torch.equal(target.cohort.patient_ids, target.index)
    assert len(target.index.unique()) == len(target.cohort) == 18  # 11 diseased / .6
    assert torch.equal(resample(source, 0.6, seed=3).index, target.index)
    assert not torch.equal(resample(source, 0.6, seed=4).index, target.index)


def test_prevalence_is_exact_on_average():
    """n q = 6.5 for n = 13: rounded up or down at random, so that the mean is 6.5."""
    counts = [int(resample(small(), 0.5, seed=s, n=13).cohort.labels.sum()) for s in range(1000)]
    assert set(counts) == {6, 7}
    assert np.mean(counts) == pytest.approx(6.5, abs=4 * 0.5 / np.sqrt(1000))


@pytest.mark.parametrize("replacement", [False, True])
def test_every_patient_of_a_class_is_equally_likely(replacement):
    """p(x | y) kept: within a class, inclusion does not depend on who it is (chi-squared)."""
    source, draws = small(), 3000
    index = torch.cat(
        [resample(source, 0.3, s, n=10, replacement=replacement).index for s in range(draws)]
    )
    count = np.bincount(index.numpy(), minlength=24)
    for y in (0, 1):
        here = count[source.labels.numpy() == y]
        statistic = ((here - here.mean()) ** 2 / here.mean()).sum()
        # without replacement counts vary less than multinomial ones: one-sided
        assert statistic < stats.chi2(len(here) - 1).ppf(1 - 1e-4)
    assert index.shape == (10 * draws,)


def test_weights_lead_there_and_back():
    source, q = small(), 0.7
    target = resample(source, q, seed=0)
    p = source.prevalence
    assert target.class_weights.tolist() == pytest.approx([(1 - q) / (1 - p), q / p])
    assert float(target.weights.mean()) == pytest.approx(1.0)
    assert float((target.weights * source.labels).mean()) == pytest.approx(q)
    assert (target.weights[target.index] * target.back_weights).tolist() == pytest.approx(
        [1.0] * len(target.index)
    )


def test_weighted_source_is_the_target_in_expectation():
    """Shares of each (x, y): mean over many targets against the weighted source."""
    source, q = small(), 0.6
    table = np.zeros((3, 2))
    for s in range(2000):
        target = resample(source, q, s, n=10).cohort
        np.add.at(table, (pixel(target.images).long().numpy(), target.labels.long().numpy()), 1)
    weighted = np.zeros((3, 2))
    where = (pixel(source.images).long().numpy(), source.labels.long().numpy())
    np.add.at(weighted, where, resample(source, q, 0).weights.numpy() / 24)
    np.testing.assert_allclose(table / 2e4, weighted, atol=4 * np.sqrt(0.25 / 2e4))
    wrong = weighted[:, ::-1] * [q / (1 - q), (1 - q) / q]  # classes swapped: must not fit
    assert np.abs(table / 2e4 - wrong).max() > 0.05


def test_posterior_odds_are_multiplied_alike_for_every_image():
    """p(y | x) by counting in the weighted source: odds times q(1) p(0)/(q(0) p(1))."""
    source, q = small(), 0.6
    w, p = resample(source, q, 0).weights, source.prevalence
    factor = q * (1 - p) / ((1 - q) * p)
    for value in (0, 1, 2):
        here = pixel(source.images) == value
        ill, well = here & (source.labels == 1), here & (source.labels == 0)
        before = float(ill.sum() / well.sum())
        assert float(w[ill].sum() / w[well].sum()) == pytest.approx(before * factor)


def test_with_replacement_patients_return_under_their_id():
    target = resample(small(), 0.9, seed=1, n=200, replacement=True)
    assert len(target.cohort) == 200
    assert len(target.cohort.patient_ids.unique()) <= 24
    diseased = int(target.cohort.labels.sum())
    low, high = stats.binom.ppf([1e-4, 1 - 1e-4], 200, 0.9)
    assert low <= diseased <= high


def test_a_class_left_out_has_no_way_back():
    target = resample(small(), 1.0, seed=0)
    assert target.cohort.labels.min() == 1 and target.back_weights is None
    assert target.class_weights[0] == 0 and len(target.cohort) == 11


def test_effective_sample_size_of_label_weights():
    """By hand: n0 patients of weight a, n1 of weight b."""
    target = resample(small(), 0.8, seed=0)
    a, b = target.class_weights.tolist()
    assert effective_sample_size(target.weights) == pytest.approx(
        (13 * a + 11 * b) ** 2 / (13 * a**2 + 11 * b**2)
    )


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: resample(small(), 1.2, 0), "probability"),
        (lambda: resample(small(), 0.5, 0, n=23), "at most 22"),
        (lambda: resample(small(), 0.5, 0, n=0), "at least one"),
        (lambda: resample(cohort_of(torch.zeros(3), torch.zeros(3)), 0.5, 0), "label 1"),
        (lambda: resample(cohort_of(torch.zeros(2), torch.tensor([0, 2])), 0.5, 0), "hold 2"),
    ],
)
def test_errors_say_what_is_wrong(call, words):
    with pytest.raises(ValueError, match=words):
        call()
