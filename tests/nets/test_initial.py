"""Controls that know nothing: scales match, statistics are those of what passed through."""

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from medxfer_lab.nets import efficientnet_lite0
from medxfer_lab.nets.initial import calibrate_batch_norm, matched_scales, texture

TAIL = 1e-8  # two-sided, for each of some 200 numbers: fails by chance once in a million runs


@pytest.fixture(scope="module")
def pretrained():
    return efficientnet_lite0.read_imagenet()[0]


def test_every_tensor_keeps_mean_and_spread_within_sampling_error(pretrained):
    """Mean: normal with sd sigma / sqrt(m). Variance: m s^2 / sigma^2 is chi-squared(m - 1)."""
    drawn = matched_scales(pretrained, seed=0)
    z = stats.norm.isf(TAIL / 2)
    for name, tensor in pretrained.items():
        if "running" in name or "tracked" in name:
            continue
        before, after = tensor.double().numpy().ravel(), drawn[name].double().numpy().ravel()
        m, sigma = before.size, before.std()
        assert abs(after.mean() - before.mean()) <= z * sigma / np.sqrt(m) + 1e-7, name
        low, high = stats.chi2(m - 1).ppf([TAIL / 2, 1 - TAIL / 2])
        assert low <= m * after.var() / sigma**2 <= high, name


def test_draws_are_normal_and_carry_nothing_of_the_weights(pretrained):
    name = "top.0.weight"
    before = pretrained[name].double().numpy().ravel()
    after = matched_scales(pretrained, seed=0)[name].double().numpy().ravel()
    assert abs(stats.kurtosis(after)) < 6 * np.sqrt(24 / after.size)
    assert abs(stats.skew(after)) < 6 * np.sqrt(6 / after.size)
    assert abs(np.corrcoef(before, after)[0, 1]) < 6 / np.sqrt(after.size)


def test_seeds_and_statistics(pretrained):
    first, again, other = (matched_scales(pretrained, seed) for seed in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in pretrained)
    assert not torch.equal(first["stem.0.weight"], other["stem.0.weight"])
    assert torch.equal(first["stem.1.running_var"], pretrained["stem.1.running_var"])
    assert first.keys() == pretrained.keys()
    assert all(first[n].dtype == pretrained[n].dtype for n in pretrained)


def test_constant_and_single_tensors_keep_their_value():
    drawn = matched_scales({"one": torch.tensor([3.0]), "flat": torch.full((5,), 2.0)}, seed=0)
    assert drawn["one"].tolist() == [3.0] and drawn["flat"].tolist() == [2.0] * 5


def test_texture_falls_as_one_over_frequency():
    images = texture(64, 64, seed=0)
    assert images.shape == (64, 1, 64, 64) and images.dtype == torch.float32
    assert 0 <= images.min() and images.max() <= 1
    power = np.abs(np.fft.fft2(images[:, 0].double().numpy())) ** 2
    frequency = np.hypot(np.fft.fftfreq(64)[:, None], np.fft.fftfreq(64)[None, :])
    inside = (frequency > 0.03) & (frequency < 0.3)
    slope = np.polyfit(np.log(frequency[inside]), np.log(power.mean(0)[inside]), 1)[0]
    assert slope == pytest.approx(-2, abs=0.15)  # power; clipping at two sd flattens it a little


def test_texture_is_seeded_and_grey():
    assert torch.equal(texture(2, 32, 1), texture(2, 32, 1))
    assert not torch.equal(texture(2, 32, 1), texture(2, 32, 2))
    colour = texture(2, 32, 1, channels=3)
    assert colour.shape == (2, 3, 32, 32) and torch.equal(colour[:, 0], colour[:, 2])


def test_calibration_measures_each_layer_on_what_reaches_it():
    torch.manual_seed(0)
    body = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 5, 3), nn.BatchNorm2d(5)
    ).eval()
    x = torch.randn(16, 1, 12, 12)
    calibrate_batch_norm(body, x)
    with torch.no_grad():
        # by hand: normalise with the batch's own statistics, layer after layer
        first = body[0](x).transpose(0, 1).flatten(1)
        assert torch.allclose(body[1].running_mean, first.mean(1), atol=1e-5)
        assert torch.allclose(body[1].running_var, first.var(1), rtol=1e-5)
        scaled = (body[0](x) - first.mean(1)[:, None, None]) / (
            first.var(1, unbiased=False)[:, None, None] + body[1].eps
        ).sqrt()
        second = body[3](scaled.relu()).transpose(0, 1).flatten(1)
        assert torch.allclose(body[4].running_mean, second.mean(1), atol=1e-5)
        assert torch.allclose(body[4].running_var, second.var(1), rtol=1e-4)
    assert not body.training and body[1].momentum == 0.1


def test_calibration_does_nothing_without_batch_norm():
    body = nn.Sequential(nn.Linear(2, 2))
    before = body[0].weight.clone()
    calibrate_batch_norm(body, torch.zeros(1, 2))
    assert torch.equal(body[0].weight, before)
