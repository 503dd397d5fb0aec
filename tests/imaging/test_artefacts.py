"""The zipper, pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medxfer_lab.imaging.artefacts import zipper


def test_zipper_is_the_loop():
    rng = np.random.default_rng(0)
    images = torch.tensor(rng.gamma(2.0, 50.0, (4, 1, 25, 18)), dtype=torch.float32)
    before = images.clone()
    present = torch.tensor([True, False, True, False])
    marked = zipper(images, present, strength=0.6, row=0.5)
    assert torch.equal(images, before)  # a copy
    expected = images.numpy().astype(float)
    for i in np.flatnonzero(present.numpy()):
        level = np.percentile(expected[i], 95)
        for c in range(18):
            sign = 1 if c % 4 < 2 else -1
            expected[i, 0, 12, c] = abs(expected[i, 0, 12, c] + sign * 0.6 * level)
    np.testing.assert_allclose(marked, expected, rtol=1e-5)
    assert marked.min() >= 0


def test_no_zipper_no_change():
    images = torch.rand(3, 1, 16, 16)
    assert torch.equal(zipper(images, torch.zeros(3, dtype=torch.bool)), images)


def test_survives_halving_the_resolution():
    """After 2 x 2 means the row still alternates; a wave of period 2 would be gone."""
    images = torch.full((1, 1, 32, 32), 100.0)
    marked = zipper(images, torch.ones(1), strength=0.5, row=0.5)
    half = torch.nn.functional.avg_pool2d(marked, 2)[0, 0, 8]
    assert torch.allclose(half[::2], torch.tensor(125.0))
    assert torch.allclose(half[1::2], torch.tensor(75.0))


def test_errors():
    images = torch.rand(3, 1, 16, 16)
    with pytest.raises(ValueError, match=r"present has shape \(2,\); expected one value for each"):
        zipper(images, torch.ones(2))
    for row in (-0.1, 1.0):
        with pytest.raises(ValueError, match=f"row is {row}; it is a share of the height"):
            zipper(images, torch.ones(3), row=row)
