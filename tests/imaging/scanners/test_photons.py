"""Photon counts against scipy's Poisson distribution and finite differences."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.optimize import brentq
from scipy.special import gammaincc, ndtr

from medxfer_lab.imaging.scanners.base import stream
from medxfer_lab.imaging.scanners.photons import log_transform, poisson_counts, standard_normals


def draw(mean: float, n: int, seed: int = 0, dtype=torch.float32) -> torch.Tensor:
    normal = torch.from_numpy(np.random.default_rng(seed).standard_normal(n))
    return poisson_counts(torch.full((n,), mean, dtype=dtype), normal)


@pytest.mark.parametrize("mean", [1e-9, 0.02, 0.7, 4.0, 9.99, 10.0, 25.0, 150.0, 2e3, 1e5])
def test_counts_are_poisson_quantiles(mean):
    """The same normal draw through scipy's quantile function: off by one at most, and rarely."""
    n = 20_000
    normal = np.random.default_rng(1).standard_normal(n)
    exact = stats.poisson.ppf(stats.norm.cdf(normal), mean).clip(min=0)
    expected = torch.full((n,), mean, dtype=torch.float64)
    apart = np.abs(poisson_counts(expected, torch.from_numpy(normal)).numpy() - exact)
    assert apart.max() <= 1
    assert apart.mean() <= (1e-3 if mean >= 10 else 0)


@pytest.mark.parametrize("mean", [1e2, 1e3, 1e4])
@pytest.mark.parametrize("w", [-3.0, -1.0, 0.5, 2.0, 3.0])
def test_the_expansion_is_right_to_its_order(w, mean):
    """Unrounded it solves Q(x, mean) = Phi(w), Q the regularised upper incomplete gamma function.

    What is left out is of order mean^-1.5; its factor stays below 0.45 up to three deviations.
    """
    low, high = mean - 8 * math.sqrt(mean), mean + 8 * math.sqrt(mean)
    exact = brentq(lambda x: gammaincc(x, mean) - ndtr(w), low, high, xtol=1e-12)
    found = poisson_counts(*torch.tensor([[mean], [w]], dtype=torch.float64), quantise=False)
    assert abs(float(found) - exact) < 0.45 * mean**-1.5


@pytest.mark.parametrize("mean", [0.5, 6.0, 11.0, 40.0])
def test_counts_follow_the_probabilities(mean):
    """Chi-squared test over all counts expected at least five times."""
    n = 100_000
    counts = draw(mean, n).numpy()
    assert (counts == np.round(counts)).all() and counts.min() >= 0
    bins = np.arange(0, int(mean + 8 * math.sqrt(mean) + 8))
    probability = stats.poisson.pmf(bins, mean)
    often = n * probability >= 5
    seen = np.array([(counts == b).sum() for b in bins[often]])
    assert (
        stats.chisquare(
            np.append(seen, n - seen.sum()),
            n * np.append(probability[often], 1 - probability[often].sum()),
        ).pvalue
        > 1e-3
    )


@pytest.mark.parametrize("mean", [3.0, 50.0, 4e3, 3e5])
def test_variance_is_the_mean(mean):
    n = 100_000
    counts = draw(mean, n, seed=2).double().numpy()
    assert abs(counts.mean() - mean) < 4 * math.sqrt(mean / n)
    # the fourth central moment of a Poisson variable is m + 3 m^2
    assert abs(counts.var() - mean) < 4 * math.sqrt((mean + 2 * mean**2) / n)


def test_gradient_is_the_finite_difference_of_the_unrounded_count():
    mean = torch.logspace(1.1, 6, 40, dtype=torch.float64, requires_grad=True)
    normal = torch.from_numpy(np.random.default_rng(3).standard_normal(40))
    assert torch.autograd.gradcheck(lambda m: poisson_counts(m, normal, quantise=False), mean)
    (smooth,) = torch.autograd.grad(poisson_counts(mean, normal, False).sum(), mean)
    (rounded,) = torch.autograd.grad(poisson_counts(mean, normal).sum(), mean)
    assert torch.equal(smooth, rounded)
    # to leading order, dN/dm = 1 + w / (2 sqrt(m)); the next term is of order 1/m
    leading = 1 + normal / (2 * mean.detach().sqrt())
    assert ((smooth - leading).abs() < 1 / mean.detach()).all()


def test_gradient_is_the_slope_of_the_mean_count():
    """Averaged over draws the slope is 1, for the mean count is the mean itself."""
    normal = torch.from_numpy(np.random.default_rng(4).standard_normal(100_000))
    mean = torch.tensor(30.0, dtype=torch.float64, requires_grad=True)
    poisson_counts(mean.expand(100_000), normal).mean().backward()
    spread = 1 / (2 * math.sqrt(30.0)) / math.sqrt(100_000)
    assert abs(float(mean.grad) - 1) < 4 * spread + 1e-3  # 1e-3: order 1/m^2


def test_darkness_has_a_logarithm_and_a_finite_gradient():
    expected = torch.tensor([0.0, 1e-30, 2.0], requires_grad=True)
    counts = poisson_counts(expected, torch.zeros(3))
    assert counts.tolist()[:2] == [0, 0]
    line = log_transform(counts, 1000.0)
    assert float(line[0].detach()) == pytest.approx(math.log(1000 / 0.5))
    line.sum().backward()
    assert torch.isfinite(expected.grad).all()


def test_draws_belong_to_the_patient():
    ids = torch.tensor([7, 3])
    draws = standard_normals(5, ids, (4, 6))
    assert draws.shape == (2, 4, 6) and draws.dtype == torch.float32
    alone = stream(5, 3).standard_normal((4, 6), dtype=np.float32)
    assert (draws[1].numpy() == alone).all()
    assert not torch.equal(standard_normals(6, ids, (4, 6)), draws)


def test_one_draw_a_count():
    with pytest.raises(ValueError, match=r"normal has shape \(2,\); expected one draw a count"):
        poisson_counts(torch.ones(3), torch.zeros(2))
