"""The arrangement a device is fast at computes the same."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from medxfer_lab import nets
from medxfer_lab.training.layout import arrange, memory_format, products_for_convolutions


def gradients(network, x, double=True):
    network = copy.deepcopy(network).double() if double else network
    network.zero_grad()
    out = network(x.double() if double else x)
    out.square().sum().backward()
    return out.detach(), [p.grad for p in network.parameters()]


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(1, 4, 5, stride=2, padding=2, bias=False),
        nn.Conv2d(1, 3, (3, 2), stride=(1, 2), padding=(0, 1), dilation=(2, 1)),
        nn.Conv2d(1, 2, 1),
    ],
    ids=["as in small_cnn", "all odd", "one pixel"],
)
def test_products_equal_the_convolution(layer):
    """In float64, value and gradient, to 1e-12."""
    network = nn.Sequential(layer, nn.ReLU(), nn.Conv2d(layer.out_channels, 2, 3, padding=1))
    x = torch.randn(3, 1, 13, 11, generator=torch.Generator().manual_seed(0))
    expected, wanted = gradients(network, x)
    double = copy.deepcopy(network).double()
    with products_for_convolutions(double):
        found, got = gradients(double, x.double(), double=False)
        assert "forward" in double[0].__dict__ and "forward" in double[2].__dict__
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    for a, b in zip(got, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-11)
    assert "forward" not in double[0].__dict__


def test_what_products_leave_alone():
    """Grouped, string-padded and subclassed convolutions keep their own forward."""
    lite = nets.load("efficientnet_lite0", "untrained")
    network = nn.Sequential(
        nn.Conv2d(4, 4, 3, groups=2), nn.Conv2d(4, 4, 3, padding="same"), lite.body.stem
    )
    with products_for_convolutions(network):
        assert not any("forward" in m.__dict__ for m in network.modules())


def test_outside_of_gradients_the_convolution_itself_runs():
    network = nets.load("small_cnn", "photographs").eval()
    x = torch.randn(4, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = network(x)
        with products_for_convolutions(network):
            assert torch.equal(network(x), expected)


def test_an_error_inside_leaves_nothing_swapped():
    network = nets.load("small_cnn", "untrained")
    with pytest.raises(ZeroDivisionError):
        with products_for_convolutions(network):
            raise ZeroDivisionError
    assert "forward" not in network.body.conv1[0].__dict__


def test_order_in_memory():
    small, lite = nets.load("small_cnn"), nets.load("efficientnet_lite0", "untrained")
    assert memory_format(small) == torch.contiguous_format
    assert memory_format(lite) == torch.channels_last
    assert memory_format(nn.Sequential(nn.Linear(2, 2))) == torch.contiguous_format
    x = torch.randn(2, 3, 4, 5)
    assert arrange(x, torch.channels_last).is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(arrange(x, torch.channels_last), x)
    assert arrange(x[:, 0, 0], torch.channels_last).shape == (2, 5)
