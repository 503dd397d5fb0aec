"""Feeding: shapes, ranges, resizing; and what every network promises."""

import copy
import pickle

import numpy as np
import pytest
import torch

from medxfer_lab.nets.network import check_images, resize
from medxfer_lab.nets.small_cnn import small_cnn


def area_average(image: np.ndarray, size: int) -> np.ndarray:
    """Brute force: blow every pixel up to size x size, then average blocks of the old size."""
    height, width = image.shape
    blown = np.repeat(np.repeat(image, size, axis=0), size, axis=1)
    return blown.reshape(size, height, size, width).mean(axis=(1, 3))


@pytest.mark.parametrize("shape", [(96, 96), (40, 40), (33, 70), (128, 32), (32, 32)])
def test_shrinking_is_the_area_average(shape):
    image = np.random.default_rng(0).random(shape)
    found = resize(torch.from_numpy(image)[None, None], 32)[0, 0].numpy()
    np.testing.assert_allclose(found, area_average(image, 32), atol=1e-12)


def test_shrinking_does_not_alias():
    """Stripes one pixel wide become grey, not broad stripes."""
    stripes = torch.zeros(1, 1, 96, 96)
    stripes[..., ::2] = 1
    assert resize(stripes, 32).sub(0.5).abs().max() < 1 / 3
    assert resize(stripes, 32).mean() == pytest.approx(0.5, abs=1e-6)
    assert resize(stripes, 48).sub(0.5).abs().max() < 1e-6


@pytest.mark.parametrize("side", [5, 28, 31])
def test_growing_keeps_range_and_constants(side):
    images = torch.rand(2, 1, side, side)
    grown = resize(images, 32)
    assert grown.shape == (2, 1, 32, 32)
    assert grown.min() >= images.min() and grown.max() <= images.max()
    assert torch.allclose(resize(torch.full((1, 1, side, side), 0.3), 32), torch.tensor(0.3))


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (torch.full((1, 1, 8, 8), 1186.0), "reach 1186.*imaging.normalize.percentile"),
        (torch.full((1, 1, 8, 8), -1024.0), "go down to -1024.*imaging.normalize.percentile"),
        (torch.zeros(1, 1, 8, 8, dtype=torch.uint8), "uint8.*divide 8-bit pictures by 255"),
        (np.zeros((1, 1, 8, 8), dtype=np.int16), "int16.*imaging.normalize.percentile"),
        (torch.full((1, 1, 8, 8), float("nan")), "NaN or infinity"),
        (torch.full((1, 1, 8, 8), float("inf")), "NaN or infinity"),
        (torch.zeros(8, 8, 8), r"\(8, 8, 8\).*images\[:, None\]"),
        (torch.zeros(8, 8), r"\(8, 8\)"),
        (torch.zeros(1, 3, 8, 8), "3 channels.*expected 1"),
        (torch.zeros(1, 1, 0, 8), "no pixels"),
    ],
)
def test_wrong_images_are_refused_with_the_way_out(images, words):
    with pytest.raises(ValueError, match=words):
        small_cnn().prepare(images)


def test_no_images_is_not_an_error_and_lists_are():
    network = small_cnn()
    assert network.features(network.prepare(torch.zeros(0, 1, 40, 40))).shape == (0, 64)
    with pytest.raises(TypeError, match="list"):
        check_images([[0.0]])


def test_rounding_just_outside_is_let_through():
    assert check_images(torch.full((1, 1, 4, 4), 1.00001)).shape == (1, 1, 4, 4)


def test_arrays_doubles_and_non_contiguous_images_are_taken():
    images = np.random.default_rng(0).random((3, 1, 40, 50))
    network = small_cnn()
    straight = network.prepare(images)
    assert straight.dtype == torch.float32
    turned = np.ascontiguousarray(images.transpose(0, 1, 3, 2)).transpose(0, 1, 3, 2)
    assert torch.equal(network.prepare(turned), straight)
    assert torch.equal(network.prepare(torch.from_numpy(images)), straight)


def test_logits_have_one_axis_for_one_class():
    x = torch.zeros(4, 1, 32, 32)
    assert small_cnn()(x).shape == (4,)
    assert small_cnn(n_classes=3)(x).shape == (4, 3)
    with pytest.raises(ValueError, match="n_classes is 0"):
        small_cnn(n_classes=0)


def test_blocks_cover_every_parameter_once_in_order():
    network = small_cnn()
    owners = [
        [block for block in network.blocks if name.startswith(f"{block}.")]
        for name, _ in network.named_parameters()
    ]
    assert all(len(owner) == 1 for owner in owners)
    assert list(dict.fromkeys(owner[0] for owner in owners)) == list(network.blocks)
    assert network.blocks[-1] == "head"


def test_digest_follows_the_body_and_nothing_else():
    network = small_cnn(seed=0)
    before = network.digest
    network.reset_head(seed=5)
    assert network.digest == before == small_cnn(seed=0).digest
    with torch.no_grad():
        network.body.conv1[0].weight[0, 0, 0, 0] += 1e-3
    assert network.digest != before
    assert small_cnn(seed=1).digest != before


def test_reset_head_is_seeded_and_can_change_the_number_of_classes():
    network = small_cnn()
    network.reset_head(seed=3, n_classes=4)
    first = network.head.weight.clone()
    network.reset_head(seed=3)
    assert network.n_classes == 4 and torch.equal(network.head.weight, first)
    network.reset_head(seed=4)
    assert not torch.equal(network.head.weight, first)


def test_building_leaves_the_global_generator_alone():
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    small_cnn(seed=0).reset_head(seed=1)
    assert torch.equal(torch.rand(3), expected)


def test_networks_can_be_copied_and_sent_to_another_process():
    network = small_cnn()
    for twin in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        assert twin.digest == network.digest
        assert twin.prepare(torch.zeros(1, 1, 40, 40)).shape == (1, 1, 32, 32)
