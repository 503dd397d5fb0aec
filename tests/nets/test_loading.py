"""`load`: every network by name, the same twice, and errors that list what there is."""

import shutil

import pytest
import torch

from medxfer_lab.nets import WEIGHTS, WeightsError, load, small_cnn
from medxfer_lab.nets.initial import matched_scales, texture
from medxfer_lab.nets.small_cnn import CHECKPOINTS, checkpoint_path

PAIRS = [(name, weights) for name, options in WEIGHTS.items() for weights in options]
X = texture(12, 64, seed=5)


@torch.no_grad()
@pytest.mark.parametrize(("name", "weights"), PAIRS)
def test_same_arguments_same_network(name, weights):
    first, again = (load(name, weights, seed=1) for _ in range(2))
    assert first.digest == again.digest and not first.training
    logits = first(first.prepare(X))
    assert logits.shape == (12,)
    assert torch.equal(logits, again(again.prepare(X)))
    x = first.features(first.prepare(X))
    assert torch.isfinite(x).all()
    # no collapse: different images stay apart, by more than a hundredth of their features' size
    assert torch.pdist(x).min() > 0.01 * x.norm(dim=1).mean() > 1e-4


@pytest.mark.parametrize(("name", "weights"), PAIRS)
def test_seed_changes_everything_but_imagenet(name, weights):
    bodies = {load(name, weights, seed=seed).digest for seed in (0, 1, 2)}
    assert len(bodies) == (1 if weights == "imagenet" else 3)
    assert not torch.equal(load(name, weights, 0).head.weight, load(name, weights, 1).head.weight)


def test_the_three_kinds_of_weights_differ():
    for name, options in WEIGHTS.items():
        assert len({load(name, weights).digest for weights in options}) == len(options)


def test_pretrained_is_the_default():
    assert load("small_cnn").digest == load("small_cnn", "photographs", seed=0).digest
    assert load("efficientnet_lite0").digest == load("efficientnet_lite0", "imagenet").digest


def test_pretrained_head_can_be_kept():
    assert load("small_cnn", "photographs", n_classes=None).n_classes == 10
    network = load("efficientnet_lite0", "imagenet", n_classes=None)
    assert network.n_classes == 1000
    assert network.head.bias.std() > 0
    for name in WEIGHTS:
        with pytest.raises(ValueError, match="no pretrained head: give n_classes"):
            load(name, "untrained", n_classes=None)


@pytest.mark.parametrize("seed", [1, 4, 11])
def test_matched_scales_of_the_small_network_take_its_first_three_checkpoints_in_turn(seed):
    """Records made when there were three must go on meaning the same networks."""
    drawn = load("small_cnn", "matched_scales", seed).body.state_dict()
    model = load("small_cnn", "photographs", seed % 3).body.state_dict()
    expected = matched_scales(model, seed)
    assert all(torch.equal(drawn[name], value) for name, value in expected.items())


def test_unknown_names_list_the_known():
    with pytest.raises(
        ValueError, match="efficientnet_lite0 has no weights 'photographs'.*imagenet"
    ):
        load("efficientnet_lite0", "photographs")
    with pytest.raises(ValueError, match="small_cnn has no weights 'imagenet'.*photographs"):
        load("small_cnn", "imagenet")
    with pytest.raises(ValueError, match=r"seeds \(0, 1, .* 7\), not 8.*reset_head"):
        load("small_cnn", "photographs", seed=8)
    with pytest.raises(ValueError, match="no network 'small_cnnn'.*efficientnet_lite0"):
        load("small_cnnn")


def test_damaged_shipped_weights_are_refused(tmp_path, monkeypatch):
    for seed in CHECKPOINTS:
        for path in (checkpoint_path(seed), checkpoint_path(seed).with_suffix(".json")):
            shutil.copy(path, tmp_path)
    monkeypatch.setattr(small_cnn, "FOLDER", tmp_path)
    assert load("small_cnn", seed=1).n_features == 64
    whole = checkpoint_path(1).read_bytes()
    checkpoint_path(1).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WeightsError, match="small_cnn.photographs.1.safetensors do not match"):
        load("small_cnn", seed=1)
    checkpoint_path(2).write_bytes(checkpoint_path(0).read_bytes())
    with pytest.raises(WeightsError, match="do not match their card"):
        load("small_cnn", seed=2)
