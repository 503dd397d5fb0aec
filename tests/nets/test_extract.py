"""Features in batches are those of one batch, and the network is left as it was."""

import numpy as np
import pytest
import torch

from medxfer_lab.nets import features, load
from medxfer_lab.nets.network import Network

IMAGES = torch.rand(11, 1, 40, 40, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("batch_size", [1, 4, 11, 64])
def test_batches_do_not_matter(batch_size):
    network = load("small_cnn")
    with torch.no_grad():
        whole = network.features(network.prepare(IMAGES)).numpy()
    found = features(network, IMAGES, batch_size)
    assert found.dtype == np.float32 and found.shape == (11, 64)
    np.testing.assert_allclose(found, whole, atol=1e-5)
    np.testing.assert_allclose(features(network, IMAGES.numpy(), batch_size), found)


def test_evaluation_mode_is_used_and_the_old_one_restored():
    network = load("efficientnet_lite0", "untrained").train()
    before = {name: buffer.clone() for name, buffer in network.named_buffers()}
    found = features(network, IMAGES[:3], size=32)
    assert network.training and found.shape == (3, 1280)
    assert all(torch.equal(buffer, before[name]) for name, buffer in network.named_buffers())
    np.testing.assert_allclose(features(network, IMAGES[:1], size=32), found[:1], rtol=1e-3)


def test_the_mode_is_restored_after_an_error():
    network = load("small_cnn").train()
    with pytest.raises(ValueError, match="reach 255"):
        features(network, IMAGES / IMAGES.max() * 255)
    assert network.training
    with pytest.raises(ValueError, match="batch_size is 0"):
        features(network, IMAGES, batch_size=0)


def test_no_images_give_no_rows():
    assert features(load("small_cnn"), IMAGES[:0]).shape == (0, 64)


def test_progress_goes_to_stdout_and_can_be_silenced(capsys, monkeypatch):
    monkeypatch.delenv("MEDXFER_QUIET", raising=False)
    features(load("small_cnn"), IMAGES, progress=True)
    out, err = capsys.readouterr()
    assert "features" in out and err == ""
    monkeypatch.setenv("MEDXFER_QUIET", "1")
    features(load("small_cnn"), IMAGES, progress=True)
    assert capsys.readouterr() == ("", "")


def test_network_type():
    assert isinstance(load("small_cnn"), Network)


@pytest.mark.parametrize("name", ["small_cnn", "efficientnet_lite0"])
@pytest.mark.parametrize("batch_size", [1, 4, 64])
def test_the_rest_of_the_body_on_a_blocks_activations_gives_the_features(name, batch_size):
    """To the last bit, at every depth: freezing a prefix and keeping its output changes nothing."""
    network = load(name)
    plain = torch.from_numpy(features(network, IMAGES, batch_size))
    for block in [f"body.{name}" for name, _ in network.body.named_children()]:
        kept = features(network, IMAGES, batch_size, block=block)
        assert kept.dtype == np.float32 and len(kept) == 11
        prefix, rest = network.split(block)
        with torch.no_grad():
            found = torch.cat([rest(x) for x in torch.from_numpy(kept).split(batch_size)])
        assert torch.equal(found, plain), block
        assert len(prefix) + len(rest) == len(network.body)


def test_activations_are_those_inside_the_network():
    """Against a forward hook, and as the table of the architecture says."""
    network, seen = load("small_cnn"), []
    network.body.conv2.register_forward_hook(lambda _, __, out: seen.append(out))
    features(network, IMAGES)
    found = features(network, IMAGES, block="body.conv2")
    assert found.shape == (11, 32, 8, 8) and np.array_equal(found, seen[0].numpy())
    assert features(network, IMAGES[:0], block="body.conv2").shape == (0, 32, 8, 8)


@pytest.mark.parametrize("block", ["conv2", "body", "head", "body.conv2.0", ""])
def test_an_unknown_block_is_refused_with_the_known(block):
    with pytest.raises(ValueError, match=f"no block '{block}'; it has body.conv1, .*body.pool"):
        features(load("small_cnn"), IMAGES, block=block)


def test_the_mode_of_every_part_is_restored():
    """A frozen batch norm in a network that trains stays in evaluation mode."""
    network = load("efficientnet_lite0").train()
    network.body.stem.eval()
    features(network, IMAGES[:1])
    assert network.training and network.body.top.training
    assert not any(part.training for part in network.body.stem.modules())
