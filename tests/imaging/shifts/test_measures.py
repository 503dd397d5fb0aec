"""Functions of one image, on phantoms whose areas and levels are known."""

from __future__ import annotations

import math

import pytest
import torch

from medxfer_lab.imaging import FLAIR, Hospital
from medxfer_lab.imaging.shifts import (
    MEASURES,
    bright_area,
    bright_level,
    brightness,
    central_fluid_area,
    head_size,
    pooled_statistics,
)


def phantom(size: int = 128, fluid: float = 0.15, lesion: float = 0.12) -> torch.Tensor:
    """A disc of radius .7 and level 100, dark fluid in its middle, a lesion of level 150 aside."""
    axis = (torch.arange(size) + 0.5) / size * 2 - 1
    rows, columns = torch.meshgrid(axis, axis, indexing="ij")
    image = 100.0 * (rows**2 + columns**2 < 0.49)
    image[rows**2 + columns**2 < fluid**2] = 5.0
    image[rows**2 + (columns - 0.45) ** 2 < lesion**2] = 150.0
    return image[None, None]


def disc(radius: float) -> float:
    """Share of the square of edge 2 that a disc covers."""
    return math.pi * radius**2 / 4


def test_areas_of_the_phantom():
    image = phantom()
    assert float(head_size(image)) == pytest.approx(disc(0.7), rel=0.01)
    assert float(central_fluid_area(image)) == pytest.approx(disc(0.15), rel=0.04)
    assert float(bright_area(image)) == pytest.approx(disc(0.12), rel=0.05)
    mean = (100 * disc(0.7) - 95 * disc(0.15) + 50 * disc(0.12)) / disc(0.7)
    assert float(brightness(image)) == pytest.approx(mean, rel=0.01)


def test_fluid_outside_the_middle_does_not_count():
    image = phantom(fluid=0.0)
    image[0, 0, 60:68, 22:30] = 5.0  # near the rim of the head
    assert float(central_fluid_area(image)) == 0.0


def test_level_jumps_when_the_lesion_exceeds_three_per_cent():
    """The lesion's share of the head is (radius/.7)^2: 3 % at .121."""
    assert float(bright_level(phantom(lesion=0.115))) == pytest.approx(1.0)
    assert float(bright_level(phantom(lesion=0.127))) == pytest.approx(1.5)


def test_areas_do_not_depend_on_the_number_of_pixels():
    for measure in (head_size, central_fluid_area, bright_area):
        assert float(measure(phantom(64))) == pytest.approx(float(measure(phantom(256))), rel=0.12)


def test_pooled_statistics_of_the_phantom():
    found = pooled_statistics(phantom())[0]
    assert found.shape == (8,)
    assert float(found[0].exp()) == pytest.approx(float(brightness(phantom())), rel=1e-5)
    assert found[1:4].tolist() == pytest.approx([1.0, 1.0, 1.0])
    assert float(found[4]) == pytest.approx(float(bright_level(phantom())))
    assert float(found[7]) == pytest.approx(float(bright_area(phantom())))


def test_gain_moves_brightness_alone():
    images = Hospital().draw(12, seed=2, size=32).images
    once, twice = pooled_statistics(images), pooled_statistics(2 * images)
    torch.testing.assert_close(twice[:, 0], once[:, 0] + math.log(2))
    torch.testing.assert_close(twice[:, 1:], once[:, 1:], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(brightness(2 * images), 2 * brightness(images))


@pytest.mark.parametrize("measure", [*MEASURES.values(), pooled_statistics])
def test_each_image_alone(measure):
    """Batch, order and neighbours do not matter; selection relies on it."""
    images = Hospital(scanners=((FLAIR, 1.0),)).draw(16, seed=1, size=32).images
    together, order = (
        measure(images),
        torch.randperm(16, generator=torch.Generator().manual_seed(0)),
    )
    torch.testing.assert_close(measure(images[order]), together[order], rtol=1e-6, atol=1e-7)
    alone = torch.cat([measure(image[None]) for image in images])
    torch.testing.assert_close(alone, together, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("measure", [*MEASURES.values(), pooled_statistics])
def test_an_empty_image_gives_a_number(measure):
    assert torch.isfinite(measure(torch.zeros(2, 1, 16, 16))).all()


def test_errors_say_what_is_wrong():
    with pytest.raises(ValueError, match="add 1000"):
        brightness(torch.full((1, 1, 8, 8), -1000.0))
    with pytest.raises(ValueError, match="NaN"):
        brightness(torch.full((1, 1, 8, 8), torch.nan))
    with pytest.raises(ValueError, match="slice"):
        pooled_statistics(torch.zeros(1, 1, 4, 8, 8))
