"""The template against nilearn's own files and scipy's trilinear interpolation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

from medxfer_lab.imaging.anatomy import TISSUES, Template, template


def test_fractions_are_fractions():
    fractions = template().fractions
    assert fractions.shape[0] == len(TISSUES) and fractions.dtype == torch.float32
    assert fractions.min() >= 0 and fractions.max() <= 1
    # three float32 fractions, each rounded by at most half an eps, and two sums
    assert fractions.sum(0).max() <= 1 + 4 * np.finfo(np.float32).eps
    for name, share in zip(TISSUES, fractions):
        assert share.max() > 0.95, f"nowhere is there pure {name}"


def test_maps_are_nilearn_s_and_lie_where_their_affine_says():
    """World coordinates by the images' own affine, signs included: tissue there is nilearn's."""
    from nilearn import datasets

    image = datasets.load_mni152_wm_template(resolution=2)
    grey = datasets.load_mni152_gm_template(resolution=2).get_fdata()
    white = image.get_fdata()
    rng = np.random.default_rng(0)
    voxels = rng.permutation(np.argwhere((white > 0.3) & (white + grey <= 1)))[:200]
    world = voxels @ image.affine[:3, :3].T + image.affine[:3, 3]
    found = template().sample(torch.tensor(world, dtype=torch.float32)[None, None])[0, :, 0]
    # float32 coordinates: |voxel| < 128, a few roundings of 2**-17 each, times a slope below 1
    np.testing.assert_allclose(found[2], white[tuple(voxels.T)], atol=1e-4)
    np.testing.assert_allclose(found[1], grey[tuple(voxels.T)], atol=1e-4)


def test_csf_is_what_the_mask_leaves():
    from nilearn import datasets

    mask = datasets.load_mni152_brain_mask(resolution=2).get_fdata()
    csf, grey, white = template().fractions.numpy()
    outside = mask == 0
    assert csf[outside].max() == 0
    full = mask == 1
    np.testing.assert_allclose((csf + grey + white)[full], 1, atol=1e-6)


def test_sample_is_trilinear_interpolation_and_zero_outside():
    """A random volume of unequal sides, so that no two axes can be mixed up unnoticed."""
    rng = np.random.default_rng(1)
    volume = rng.random((3, 7, 9, 11)).astype(np.float32)
    brain = Template(torch.from_numpy(volume), (-6.0, 4.0, 10.0), 1.5)
    points = rng.uniform(-1.5, 12.5, (2, 5, 6, 3))  # voxels, some outside the volume
    world = torch.tensor(points * 1.5 + np.array([-6.0, 4.0, 10.0]))
    found = brain.sample(world)
    assert found.shape == (2, 3, 5, 6)
    for channel in range(3):
        expected = map_coordinates(
            volume[channel].astype(float), np.moveaxis(points, -1, 0), order=1, mode="grid-constant"
        )
        np.testing.assert_allclose(found[:, channel], expected, atol=1e-12)


def test_two_resolutions_show_the_same_brain():
    """At points well inside one tissue, 1 mm and 2 mm maps agree."""
    rng = np.random.default_rng(2)
    points = torch.tensor(rng.uniform((-60, -90, 0), (60, 60, 40), (1, 1, 4000, 3))).float()
    fine, coarse = (template(r).sample(points)[0, :, 0] for r in (1, 2))
    correlation = [np.corrcoef(f, c)[0, 1] for f, c in zip(fine, coarse)]
    assert min(correlation) > 0.9  # shifted by one 2 mm voxel it would fall below


def test_other_resolutions_do_not_exist():
    with pytest.raises(ValueError, match="resolution_mm is 3; the template comes in 1 or 2 mm"):
        template(3)
