"""Normalisation against numpy loops, and the laws it must obey for any picture."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medxfer_lab.imaging import Hospital
from medxfer_lab.imaging.normalize import foreground_median, percentile


def pictures(seed: int, n: int = 3, shape: tuple[int, int] = (9, 11)) -> torch.Tensor:
    """Positive, skewed, each image on a scale of its own."""
    rng = np.random.default_rng(seed)
    scale = rng.uniform(0.1, 500, (n, 1, 1, 1))
    return torch.tensor(scale * rng.gamma(2.0, 1.0, (n, 1, *shape)), dtype=torch.float32)


def loop_percentile(images: np.ndarray, low: float, high: float) -> np.ndarray:
    out = []
    for image in images.astype(float):
        floor, ceiling = np.percentile(image, [low, high])
        out.append(np.clip((image - floor) / (ceiling - floor), 0, 1))
    return np.stack(out)


def loop_foreground_median(images: np.ndarray, headroom: float) -> np.ndarray:
    out = []
    for image in images.astype(float):
        values = image.ravel()
        bright = np.percentile(values, 90)
        foreground = sorted(v for v in values if v > 0.35 * bright)
        middle = foreground[(len(foreground) - 1) // 2]  # the lower one of two
        out.append(np.clip(image / (headroom * middle), 0, 1))
    return np.stack(out)


@pytest.mark.parametrize(("low", "high"), [(1.0, 99.5), (0.0, 100.0), (10.0, 60.0)])
def test_percentile_is_the_loop(low, high):
    images = pictures(0, n=4)
    found = percentile(images, low, high)
    assert found.shape == images.shape and found.dtype == torch.float32
    np.testing.assert_allclose(found, loop_percentile(images.numpy(), low, high), atol=2e-6)


@pytest.mark.parametrize("headroom", [2.0, 1.3])
def test_foreground_median_is_the_loop(headroom):
    images = pictures(1, n=4)
    found = foreground_median(images, headroom)
    assert found.shape == images.shape and found.dtype == torch.float32
    expected = loop_foreground_median(images.numpy(), headroom)
    np.testing.assert_allclose(found, expected, atol=2e-6)


@given(seed=st.integers(0, 10_000), scale=st.floats(1e-3, 1e4), offset=st.floats(-3, 3))
@settings(max_examples=60, deadline=None)
def test_percentile_forgets_scale_and_offset(seed, scale, offset):
    """percentile(a x + b) = percentile(x), a > 0; float32 loses eps * (|b| + 1) / spread."""
    images = pictures(seed, n=1)
    moved = scale * (images + offset * images.std())
    torch.testing.assert_close(percentile(moved), percentile(images), rtol=0, atol=2e-5)


@given(seed=st.integers(0, 10_000), scale=st.floats(1e-3, 1e4))
@settings(max_examples=60, deadline=None)
def test_foreground_median_forgets_scale_only(seed, scale):
    """Scaled by a power of two, so that rounding moves no pixel across the foreground's edge."""
    power = 2.0 ** round(np.log2(scale))
    images = pictures(seed, n=1)
    found = foreground_median(images)
    torch.testing.assert_close(foreground_median(power * images), found, rtol=0, atol=1e-6)
    assert 0 <= found.min() and found.max() <= 1
    shifted = foreground_median(images + 5 * images.std())
    assert not torch.allclose(shifted, found, atol=0.01)  # zero signal stays zero: it has meaning


@given(seed=st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_percentile_twice_is_percentile_once(seed):
    """Exactly so where both percentiles fall on a pixel: 201 pixels, ranks 2 and 199."""
    once = percentile(pictures(seed, n=2, shape=(3, 67)))
    torch.testing.assert_close(percentile(once), once, rtol=0, atol=1e-6)


def test_each_image_stands_alone():
    images = pictures(2, n=5)
    for scale in (percentile, foreground_median):
        together = scale(images)
        for i in range(5):
            assert torch.equal(scale(images[i : i + 1])[0], together[i])


def test_a_lesion_darkens_the_rest_under_percentile_and_not_under_the_median():
    """Why the chapter uses the second: brighten a spot of simulated brains and look elsewhere."""
    images = Hospital().draw(8, seed=3, size=48).images
    spot = torch.zeros_like(images, dtype=torch.bool)
    spot[..., 18:28, 18:28] = True
    brighter = torch.where(spot, 3 * images, images)
    moved = {
        scale.__name__: float((scale(brighter) - scale(images))[~spot].abs().mean())
        for scale in (percentile, foreground_median)
    }
    assert moved["foreground_median"] < 0.25 * moved["percentile"]


@pytest.mark.parametrize("scale", [percentile, foreground_median])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_not_finite(scale, bad):
    images = pictures(3)
    images[1, 0, 2, 2] = bad
    with pytest.raises(ValueError, match="NaN or infinity; clean them"):
        scale(images)


def test_errors_name_value_expectation_and_way_out():
    with pytest.raises(ValueError, match=r"\(9, 11\).*add the missing axes with images\[:, None\]"):
        percentile(torch.rand(9, 11))
    with pytest.raises(ValueError, match=r"\(2, 3, 9, 11\); expected \(n, 1, height, width\)"):
        foreground_median(torch.rand(2, 3, 9, 11))
    for low, high in ((50, 50), (-1, 99), (1, 101)):
        with pytest.raises(ValueError, match=f"percentiles are {low} and {high}; need"):
            percentile(pictures(0), low, high)
    images = pictures(4)
    images[2] = 7.0
    with pytest.raises(ValueError, match="image 2 is constant: nothing to scale; leave it out"):
        percentile(images)
    images[2] = 0.0
    with pytest.raises(ValueError, match="image 2 has no bright tenth: is it empty"):
        foreground_median(images)
