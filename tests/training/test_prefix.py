"""Blocks that stand still are run once: the trained network is the one of the naive way."""

from __future__ import annotations

import pytest
import torch

from medxfer_lab import nets
from medxfer_lab.training import (
    LPFT,
    GradualUnfreezing,
    LinearProbe,
    PartialFineTuning,
    fit,
)
from medxfer_lab.training.plan import plan
from medxfer_lab.training.prefix import Feed, Suffix, feed
from tests.training.nets_for_tests import Convolutions, pictures, weights

FROZEN = (LinearProbe(), PartialFineTuning(1), PartialFineTuning(2), LPFT(), GradualUnfreezing(3))


def both_ways(network, x, y, strategy, **settings):
    return (
        fit(network, x, y, strategy, cache_prefix=cached, **settings) for cached in (True, False)
    )


@pytest.mark.parametrize("flip", [False, True], ids=["as they are", "mirrored"])
@pytest.mark.parametrize("strategy", FROZEN, ids=lambda s: f"{s.name}-{s.phases[0].opened}")
def test_equals_the_naive_way_on_the_small_network(strategy, flip):
    """In float64, where the order of sums in a batch of another size is all that can differ."""
    network = nets.load("small_cnn", "photographs").double()
    network.reset_head(0)
    network.head.double()
    x, y = pictures(40, 32, seed=0)
    x = x.double()
    one, two = both_ways(network, x, y, strategy, seed=3, steps=12, batch_size=16, flip=flip)
    torch.testing.assert_close(weights(one.network), weights(two.network), rtol=0, atol=1e-9)
    torch.testing.assert_close(one.losses, two.losses, rtol=0, atol=1e-6)
    assert one.train_loss == pytest.approx(two.train_loss, abs=1e-9)
    assert one.distance == pytest.approx(two.distance, abs=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", [LinearProbe(), PartialFineTuning(2)], ids=lambda s: s.name)
def test_equals_the_naive_way_with_batch_normalisation(strategy):
    network = nets.load("efficientnet_lite0", "imagenet")
    shown, y = pictures(24, 32, seed=1)
    x = network.prepare(torch.sigmoid(shown)).double()
    network = network.double()
    one, two = both_ways(network, x, y, strategy, seed=0, steps=6, batch_size=8, flip=True)
    torch.testing.assert_close(weights(one.network), weights(two.network), rtol=0, atol=1e-8)
    state = zip(one.network.state_dict().items(), two.network.state_dict().values())
    for (name, a), b in state:
        if "running" in name:
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9, msg=name)


def test_the_comparison_could_fail():
    """Other order of patients: far larger differences than the tolerance above."""
    network = nets.load("small_cnn", "photographs")
    x, y = pictures(40, 32, seed=0)
    one, two = (fit(network, x, y, LinearProbe(), seed=s, steps=12, batch_size=16) for s in (3, 4))
    assert (weights(one.network) - weights(two.network)).abs().max() > 1e-3


@pytest.mark.parametrize("frozen", range(1, 5))
def test_suffix_after_prefix_is_the_network(frozen):
    network = nets.load("small_cnn", "photographs").eval()
    x, _ = pictures(9, 32, seed=2)
    found = feed(network, x, frozen, flip=True)
    assert isinstance(found.model, Suffix)
    with torch.no_grad():
        torch.testing.assert_close(found.model(found.pictures), network(x), rtol=0, atol=1e-5)
        torch.testing.assert_close(
            found.model(found.mirrored), network(x.flip(-1)), rtol=0, atol=1e-5
        )
        index, coins = torch.tensor([4, 1, 8]), torch.tensor([True, False, True])
        got = found.model(found.batch(index, coins))
        expected = network(torch.stack([x[4].flip(-1), x[1], x[8].flip(-1)]))
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-5)
    head_only = frozen == 4
    assert (found.pictures.ndim == 2) == head_only


def test_nothing_frozen_too_much_to_keep_and_wrapped_models_are_run_whole():
    network = Convolutions(seed=0).eval()
    x, _ = pictures(8, 8, seed=0)
    assert feed(network, x, 0, False).model is network
    # 8 pictures of 4 x 4 x 4 activations in float32: 2,048 bytes
    assert isinstance(feed(network, x, 1, False, limit_bytes=2048).model, Suffix)
    assert feed(network, x, 1, False, limit_bytes=2047).model is network
    assert feed(network, x, 1, True, limit_bytes=2048).model is network
    wrapped = nets.load("resnet18", "untrained")
    assert feed(wrapped, torch.zeros(1, 3, 32, 32), 3, False).model is wrapped
    assert plan(PartialFineTuning(1), wrapped).frozen_blocks(0) > 0


def test_frozen_blocks_are_not_run_again(monkeypatch):
    network = nets.load("small_cnn", "photographs")
    x, y = pictures(20, 32, seed=0)
    seen = []
    original = type(network.body.conv1[0]).forward

    def watched(self, inputs):
        if inputs.shape[1] == 1:
            seen.append(len(inputs))
        return original(self, inputs)

    monkeypatch.setattr(type(network.body.conv1[0]), "forward", watched)
    fit(network, x, y, PartialFineTuning(2), seed=0, steps=10, batch_size=8)
    assert sum(seen) == 20 + 1  # every picture once, and one to learn the size


def test_feed_without_coins_takes_rows():
    x = torch.arange(12.0).view(4, 3)
    assert torch.equal(Feed(None, x).batch(torch.tensor([2, 0]), None), x[[2, 0]])
