"""The small network, and the weights that come with it."""

import pytest
import torch

from medxfer_lab.nets import files
from medxfer_lab.nets.photographs import CIFAR10_DIGEST
from medxfer_lab.nets.small_cnn import CHECKPOINTS, checkpoint_path, small_cnn


def test_parameters_counted_by_hand():
    # convolutions without bias, and two numbers a channel in each group norm
    by_hand = 16 * 1 * 25 + 32 * 16 * 9 + 48 * 32 * 9 + 64 * 48 * 9 + 2 * (16 + 32 + 48 + 64)
    assert sum(p.numel() for p in small_cnn().body.parameters()) == by_hand == 46_800
    assert sum(p.numel() for p in small_cnn().head.parameters()) == 64 + 1


def test_an_image_does_not_depend_on_its_neighbours_nor_on_the_mode():
    network, x = small_cnn(), torch.randn(6, 1, 32, 32)
    together = network.train().features(x)
    alone = torch.cat([network.eval().features(image[None]) for image in x])
    assert torch.allclose(together, alone, atol=1e-5)


def test_constant_brightness_is_not_lost_and_input_is_standardised():
    network = small_cnn()
    assert network.prepare(torch.full((1, 1, 32, 32), 0.5)).abs().max() == 0
    assert network.prepare(torch.ones(1, 1, 32, 32)).max() == 2


@pytest.mark.parametrize("seed", CHECKPOINTS)
def test_shipped_weights_match_their_card(seed):
    tensors, card = files.read_weights(checkpoint_path(seed))
    files.fill(small_cnn(n_classes=10), tensors, "shipped")
    assert card["seed"] == seed and card["network"] == "small_cnn"
    assert card["parameters"] == 46_800 + 64 * 10 + 10
    assert card["data"]["digest"] == CIFAR10_DIGEST and card["data"]["complete"]
    assert card["data"]["licence_position"]
    assert card["score"]["test_accuracy"] > 0.65
    assert card["hardware"]["threads"] == 1 and card["seconds"]["wall"] > 0
    assert card["recipe"]["epochs"] > 1


def test_checkpoints_are_different_networks():
    digests = {files.sha256(checkpoint_path(seed)) for seed in CHECKPOINTS}
    assert len(digests) == len(CHECKPOINTS) == 8
