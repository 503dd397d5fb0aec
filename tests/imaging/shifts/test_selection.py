"""Selection: the image decides and nothing else; weights in both directions; what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from medxfer_lab.imaging.shifts import LogisticSelection, effective_sample_size, select, thin
from tests.imaging.shifts.cases import cohort_of, pixel, small

SHARE = torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64)
DRAWS = 3000


def by_value(images):
    """s(x) for x in {0, 1, 2}."""
    return SHARE[pixel(images).long()]


@pytest.fixture(scope="module")
def draws():
    return [select(small(), by_value, seed) for seed in range(DRAWS)]


def test_kept_with_the_given_probability(draws):
    kept = torch.stack([torch.zeros(24).index_fill(0, d.index, 1) for d in draws]).mean(0)
    s = by_value(small().images)
    assert ((kept - s).abs() < 4.5 * (s * (1 - s) / DRAWS).sqrt()).all()
    first = draws[0]
    together = torch.cat([first.index, first.turned_away]).sort().values
    assert torch.equal(together, torch.arange(24))
    assert torch.equal(first.cohort.patient_ids, first.index)


def test_the_label_has_no_say():
    """Same images, labels turned round: the same patients are kept."""
    source = small()
    turned = replace(source, labels=1 - source.labels)
    assert torch.equal(select(source, by_value, 5).index, select(turned, by_value, 5).index)


def test_weights_lead_from_source_to_target(draws):
    """E over selections of the sum over the kept of f = sum of s f = n E[s] mean of w f."""
    source = small()
    f = source.labels.double() + 10 * (pixel(source.images) == 2)
    w, mean_s = draws[0].weights, draws[0].probability.mean()
    totals = torch.stack([f[d.index].sum() for d in draws])
    expected = 24 * mean_s * (w * f).mean()
    assert float(totals.mean()) == pytest.approx(
        float(expected), abs=4.5 * float(totals.std()) / np.sqrt(DRAWS)
    )
    assert float(w.mean()) == pytest.approx(1.0)
    upside_down = 24 * mean_s * (f / w).mean()  # the other direction is far off
    assert abs(float(totals.mean() - upside_down)) > 20 * float(totals.std()) / np.sqrt(DRAWS)


def test_back_weights_lead_from_target_to_source(draws):
    """Horvitz and Thompson: E of the sum over the kept of f/s = sum of f over everyone."""
    source = small()
    f = source.labels.double() + 10 * (pixel(source.images) == 2)
    totals = torch.stack([(d.back_weights * f[d.index]).sum() for d in draws])
    mean_s = float(draws[0].probability.mean())
    assert float(totals.mean()) == pytest.approx(
        float(f.sum()) * mean_s, abs=4.5 * float(totals.std()) / np.sqrt(DRAWS)
    )
    for d in draws[:20]:
        assert torch.allclose(d.weights[d.index] * d.back_weights, torch.tensor(1.0).double())


def test_posterior_is_kept_and_prevalence_is_not(draws):
    """P(y = 1 | x) in the pooled targets, for each x; by exact shares in the source."""
    source = small()
    count = np.zeros((3, 2))
    for d in draws:
        at = (pixel(d.cohort.images).long().numpy(), d.cohort.labels.long().numpy())
        np.add.at(count, at, 1)
    for value, share in enumerate((0.2, 0.5, 5 / 6)):
        total = count[value].sum()
        assert count[value, 1] / total == pytest.approx(share, abs=4.5 * np.sqrt(0.25 / total))
    assert count[:, 1].sum() / count.sum() > source.prevalence + 0.1


def test_effective_sample_sizes():
    chosen = select(small(), by_value, 1)
    s = np.repeat([0.2, 0.5, 0.9], [10, 8, 6])
    assert chosen.effective_sample_size == pytest.approx(s.sum() ** 2 / (s**2).sum())
    t = s[chosen.index.numpy()]
    assert chosen.back_effective_sample_size == pytest.approx((1 / t).sum() ** 2 / (1 / t**2).sum())
    assert effective_sample_size(torch.ones(7)) == pytest.approx(7)
    assert effective_sample_size(torch.tensor([0.0, 3.0, 0.0])) == pytest.approx(1)


def test_effective_sample_size_is_the_variance_of_a_weighted_mean():
    rng = np.random.default_rng(0)
    w = rng.exponential(size=40)
    means = (rng.standard_normal((20_000, 40)) @ w) / w.sum()
    assert 1 / means.var() == pytest.approx(effective_sample_size(torch.tensor(w)), rel=0.05)


def test_logistic_selection_stays_in_its_range():
    x = torch.linspace(-50, 50, 101)[:, None, None, None]
    rule = LogisticSelection(pixel, centre=1.0, width=2.0, low=0.1, high=0.7)
    s = rule(x)
    assert s.min() >= 0.1 and s.max() <= 0.7 and (s.diff() >= 0).all()
    assert float(rule(torch.full((1, 1, 1, 1), 1.0))) == pytest.approx(0.4)
    assert float(rule(torch.full((1, 1, 1, 1), 3.0))) == pytest.approx(0.1 + 0.6 / (1 + np.exp(-1)))
    prefers_small = LogisticSelection(pixel, centre=1.0, width=-2.0)
    assert (prefers_small(x).diff() <= 0).all()


def test_logistic_selection_around_a_reference():
    reference = torch.arange(101.0)[:, None, None, None]
    rule = LogisticSelection.around(pixel, reference, steepness=4.0, low=0.2)
    assert rule.centre == 50.0 and rule.low == 0.2
    assert rule.width == pytest.approx(float(torch.arange(101.0).std()) / 4)


def test_thinning_is_the_selection_it_undoes():
    """Keeping with probability w / largest: shares by value, over many seeds."""
    w = SHARE[[0, 0, 1, 2, 2, 2]]
    kept = torch.stack([torch.zeros(6).index_fill(0, thin(w, s), 1) for s in range(DRAWS)]).mean(0)
    expected = w / 0.9
    assert ((kept - expected).abs() <= 4.5 * (expected * (1 - expected) / DRAWS).sqrt()).all()
    kept = torch.stack([torch.zeros(6).index_fill(0, thin(w, s, 1.0), 1) for s in range(DRAWS)])
    assert float(kept.mean(0)[5]) == pytest.approx(0.9, abs=0.03)
    with pytest.raises(ValueError, match="must bound"):
        thin(w, 0, largest=0.5)


@pytest.mark.parametrize(
    "probability, words",
    [
        (lambda x: pixel(x) * 0.5, r"image 0 is 0.0; expected \(0, 1\]"),
        (lambda x: pixel(x) + 0.5, "is 1.5"),
        (lambda x: pixel(x) * torch.nan, "is nan"),
        (lambda x: x[:, 0], r"shape \(24, 1, 1\)"),
        (lambda x: torch.sigmoid((pixel(x) - pixel(x).mean()) / pixel(x).std()), "another batch"),
        (lambda x: torch.full((len(x),), 1e-12), "nobody of 24"),
    ],
)
def test_refused_probabilities(probability, words):
    with pytest.raises(ValueError, match=words):
        select(small(), probability, seed=0)


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"low": 0.0}, "low, high are 0.0"),
        ({"high": 1.1}, "1.1"),
        ({"width": 0.0}, "width not 0"),
        ({"centre": float("nan")}, "finite"),
    ],
)
def test_refused_settings(settings, words):
    with pytest.raises(ValueError, match=words):
        LogisticSelection(**({"measure": pixel, "centre": 0.0, "width": 1.0} | settings))


@pytest.mark.parametrize("weights", [[], [0.0, 0.0], [1.0, -1.0], [1.0, float("inf")]])
def test_refused_weights(weights):
    with pytest.raises(ValueError, match="weights"):
        effective_sample_size(torch.tensor(weights))


def test_everybody_may_come():
    chosen = select(cohort_of(torch.arange(5), torch.ones(5)), lambda x: torch.ones(len(x)), 0)
    assert len(chosen.cohort) == 5 and len(chosen.turned_away) == 0
