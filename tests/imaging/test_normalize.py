"""Normalisation against numpy loops, and the laws it must obey for any picture."""

from __future__ import annotations

import json
import re

import numpy as np
import pydicom
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medxfer_lab.imaging import Hospital
from medxfer_lab.imaging.cohort import Cohort
from medxfer_lab.imaging.normalize import (
    Normalized,
    backbone,
    foreground_median,
    percentile,
    recorded,
    three_channels,
    window,
    zscore,
)
from medxfer_lab.nets import load


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


def hounsfield(seed: int = 0, n: int = 3) -> torch.Tensor:
    """Whole Hounsfield units from air to bone."""
    rng = np.random.default_rng(seed)
    return torch.tensor(rng.integers(-1024, 2000, (n, 1, 9, 11)), dtype=torch.float32)


@pytest.mark.parametrize(("level", "width"), [(40, 80), (80, 200), (600, 2800), (-600.5, 1500.25)])
def test_window_is_dicoms_exact_one(level, width):
    """Against pydicom's LINEAR_EXACT, which maps to 0 to 2^16 - 1 here."""
    data = pydicom.Dataset()
    data.PhotometricInterpretation, data.VOILUTFunction = "MONOCHROME2", "LINEAR_EXACT"
    data.WindowCenter, data.WindowWidth = level, width
    data.BitsStored, data.PixelRepresentation = 16, 0
    images = hounsfield()
    expected = pydicom.pixels.apply_windowing(images.numpy().astype(np.float64), data) / 65535
    found = window(images, level, width, units="HU")
    np.testing.assert_allclose(found.images, expected, atol=1e-5)
    assert found.units == "[0, 1]"


def test_zscore_is_the_loop():
    for images in (pictures(0), torch.rand(2, 3, 4, 5, 6) * 50):
        found = zscore(images).images.numpy()
        for image, standard in zip(images.numpy().astype(float), found, strict=True):
            np.testing.assert_allclose(standard, (image - image.mean()) / image.std(), atol=1e-5)


def test_zscore_keeps_small_differences_on_a_large_offset():
    """In float32 a mean of 60,000 would leave a spread of 1 only 1 % exact."""
    rng = np.random.default_rng(0)
    images = torch.tensor(60_000 + rng.integers(0, 4, (2, 1, 64, 64)).astype(np.uint16))
    found = zscore(images).images.double()
    assert (found.mean((1, 2, 3)).abs() < 1e-6).all()
    assert ((found.std((1, 2, 3), correction=0) - 1).abs() < 1e-6).all()


@pytest.mark.parametrize("name", ["efficientnet_lite0", "small_cnn"])
def test_backbone_is_what_the_network_itself_does(name):
    images = torch.rand(2, 1, 32, 32)
    network = load(name, "untrained")
    expected = network.prepare(images, size=32)
    assert torch.equal(backbone(images, name).images, expected)


def test_backbones_of_photographs_by_hand():
    images = torch.rand(2, 3, 8, 8)
    lite0 = backbone(images, "efficientnet_lite0").images
    np.testing.assert_allclose(lite0, (images.numpy() * 255 - 127) / 128, atol=1e-5)
    resnet = backbone(images, "resnet18").images.numpy()
    mean, spread = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]  # ImageNet's, as torchvision says
    for c in range(3):
        expected = (images[:, c].numpy() - mean[c]) / spread[c]
        np.testing.assert_allclose(resnet[:, c], expected, atol=1e-5)
    grey = backbone(images[:, :1], "resnet18").images
    assert grey.shape == (2, 3, 8, 8)


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_three_channels_keep_every_grey(bits):
    """All 2^bits greys stay apart in float32; an 8-bit picture would merge 256 of 65,536."""
    side = 2 ** (bits // 2)
    images = torch.arange(2**bits).reshape(1, 1, side, side)
    images = images.to(torch.uint16 if bits == 16 else torch.int32)
    found = three_channels(images, bits=bits).images
    assert found.shape == (1, 3, side, side) and (found.min(), found.max()) == (0, 1)
    assert len(found[0, 0].unique()) == 2**bits
    assert torch.equal(found[:, 0], found[:, 1]) and torch.equal(found[:, 0], found[:, 2])


def test_three_windows_are_three_channels():
    pairs = ((40.0, 80.0), (80.0, 200.0), (600.0, 2800.0))
    found = three_channels(hounsfield(), pairs, units="HU")
    for c, pair in enumerate(pairs):
        single = window(hounsfield(), *pair, units="HU").images
        assert torch.equal(found.images[:, c : c + 1], single)
    with pytest.raises(ValueError, match="expected three pairs"):
        three_channels(hounsfield(), pairs[:2], units="HU")


def test_a_record_of_every_step():
    ct = Normalized(hounsfield(), "HU")
    done = backbone(window(ct, 40, 80), "efficientnet_lite0")
    lines = str(done).splitlines()
    low, high = int(hounsfield().min()), int(hounsfield().max())
    assert lines[0] == f"window(level=40, width=80): HU {low} to {high} -> [0, 1] 0 to 1"
    assert lines[1] == (
        "backbone(name=efficientnet_lite0): [0, 1] 0 to 1 -> input of efficientnet_lite0 "
        "-0.992188 to 1"
    )
    record = json.loads(json.dumps(done.record()))
    assert record[0] == {
        "method": "window",
        "parameters": {"level": 40, "width": 80},
        "input_range": [low, high],
        "output_range": [0.0, 1.0],
        "units_in": "HU",
        "units_out": "[0, 1]",
    }


def test_the_plain_ones_with_a_record():
    images = pictures(5)
    for scale, parameters in ((percentile, {"low": 2.0}), (foreground_median, {"headroom": 1.5})):
        done = recorded(scale, images, "signal", **parameters)
        assert torch.equal(done.images, scale(images, **parameters))
        assert (done.steps[0].method, done.steps[0].units_in) == (scale.__name__, "signal")
        assert dict(done.steps[0].parameters) == parameters
    with pytest.raises(ValueError, match="percentile was applied before"):
        recorded(percentile, recorded(percentile, images))


def test_a_cohort_keeps_its_history():
    cohort = Cohort(hounsfield(), torch.tensor([0.0, 1.0, 1.0]), None, units="HU")
    seen = cohort.normalised(window(cohort, 40, 80))
    assert seen.units == "[0, 1]" and str(seen.steps[0]).startswith("window(level=40")
    assert torch.equal(seen.labels, cohort.labels) and cohort.steps == ()
    fed = seen.normalised(backbone(seen, "small_cnn"))
    assert [step.method for step in fed.steps] == ["window", "backbone"]
    with pytest.raises(ValueError, match="units is 'HU', but the images know theirs"):
        window(seen, 40, 80, units="HU")


UNIT = torch.linspace(0, 1, 99).reshape(1, 1, 9, 11)
NONSENSE = {
    "magnetic resonance through a window": (
        lambda: window(pictures(0), 40, 80, units="signal"),
        "images are in 'signal'; a window is defined in 'HU'.*use percentile",
    ),
    "8 bits through a window": (
        lambda: window(Normalized(255 * UNIT, "0 to 255"), 40, 80),
        "'0 to 255'; a window is defined in 'HU'",
    ),
    "no units": (lambda: window(hounsfield(), 40, 80), "pass units='HU'"),
    "windowed twice": (
        lambda: window(window(hounsfield(), 40, 80, "HU"), 40, 80),
        "window was applied before",
    ),
    "windowed elsewhere": (lambda: window(UNIT, 40, 80, units="HU"), "they were windowed before"),
    "width 0": (lambda: window(hounsfield(), 40, 0, units="HU"), "a width above 0"),
    "width NaN": (lambda: window(hounsfield(), 40, float("nan"), units="HU"), "finite"),
    "beside the window": (
        lambda: window(hounsfield() * 0 - 1000 + UNIT, 40, 80, units="HU"),
        "image 0 is constant seen through level 40, width 80.*choose another window",
    ),
    "colour through a window": (
        lambda: window(torch.rand(2, 3, 8, 8) * 99, 40, 80, units="HU"),
        "3 channels.*window takes 1: take one channel",
    ),
    "0 to 255 into a network": (lambda: backbone(255 * UNIT, "small_cnn"), "Divide by 255"),
    "0 to 255 by name": (
        lambda: backbone(Normalized(255 * UNIT, "0 to 255"), "small_cnn"),
        "expects .0, 1.: divide 8-bit pictures by 255",
    ),
    "integers into a network": (
        lambda: backbone((255 * UNIT).byte(), "small_cnn"),
        "reach 255; expected",
    ),
    "Hounsfield units into a network": (
        lambda: backbone(Normalized(hounsfield(), "HU"), "resnet18"),
        "window Hounsfield units",
    ),
    "z-scores into a network": (
        lambda: backbone(zscore(pictures(0)), "small_cnn"),
        "'standard deviations'; small_cnn expects",
    ),
    "twice into a network": (
        lambda: backbone(backbone(UNIT, "small_cnn"), "small_cnn"),
        "backbone was applied before",
    ),
    "into two networks": (
        lambda: zscore(backbone(UNIT, "small_cnn")),
        "images are the input of small_cnn already",
    ),
    "colour into small_cnn": (lambda: backbone(UNIT.expand(-1, 3, -1, -1), "small_cnn"), "3 chan"),
    "two channels": (lambda: backbone(UNIT.expand(-1, 2, -1, -1), "resnet18"), "2 channels"),
    "unknown network": (lambda: backbone(UNIT, "resnet19"), "no network 'resnet19'"),
    "a constant image": (
        lambda: zscore(torch.cat([UNIT, torch.full_like(UNIT, 7)])),
        "image 1 is constant .every pixel is 7.: leave it out",
    ),
    "z-scored twice": (lambda: zscore(zscore(pictures(0))), "zscore was applied before"),
    "z-scored elsewhere": (
        lambda: zscore(zscore(pictures(0)).images),
        "mean 0 and deviation 1 already",
    ),
    "percentile of z-scores": (
        lambda: recorded(percentile, zscore(pictures(0))),
        "percentile would undo it",
    ),
    "NaN": (lambda: zscore(UNIT.where(UNIT < 0.5, float("nan"))), "NaN or infinity"),
    "infinity": (lambda: window(UNIT / 0, 4, 8, units="HU"), "NaN or infinity"),
    "int8": (lambda: zscore((UNIT * 255).to(torch.int8)), "int8 ends at 127.*read them as uint8"),
    "int8 through a window": (
        lambda: window(hounsfield().to(torch.int8), 40, 80, units="HU"),
        "16-bit files as int16",
    ),
    "truth values": (lambda: zscore(UNIT > 0.5), "images are bool"),
    "one image": (lambda: zscore(UNIT[0]), r"\(1, 9, 11\).*images\[:, None\]"),
    "no image": (lambda: zscore(UNIT[:0]), "expected"),
    "Hounsfield units as 16 bits": (
        lambda: three_channels(Normalized(hounsfield(), "HU")),
        "for Hounsfield units name three windows",
    ),
    "16 bits called 12": (lambda: three_channels(UNIT * 65535, bits=12), "12 bits .* 0 to 4095"),
    "unit range as 16 bits": (lambda: three_channels(UNIT), "in .0, 1. already"),
    "colour to three channels": (
        lambda: three_channels(255 * UNIT.expand(-1, 3, -1, -1), bits=8),
        "three_channels takes 1",
    ),
    "32 bits": (lambda: three_channels(UNIT * 9999, bits=32), "expected 8 to 16"),
}


@pytest.mark.parametrize("case", NONSENSE)
def test_nonsense_is_refused_with_the_fix_named(case):
    attempt, words = NONSENSE[case]
    with pytest.raises(ValueError) as caught:
        attempt()
    assert re.search(words, str(caught.value)), str(caught.value)
