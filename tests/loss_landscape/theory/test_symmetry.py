"""Oracles: autograd's dense Hessian; the network with another epsilon; Monte Carlo."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.func import functional_call, hessian
from torch.nn import functional as F  # noqa: N812 (torch's own idiom)

from medxfer_lab import nets
from medxfer_lab.loss_landscape.theory.symmetry import (
    relative_noise,
    relative_operator,
    relative_trace,
    relu_pair,
    relu_pair_hessian,
    rescaled,
)
from medxfer_lab.methods.curvature import block, hessian_operator, top_eigenvalues

torch.set_num_threads(1)
X = torch.randn(12, 1, 32, 32, generator=torch.Generator().manual_seed(0)).double()
PIXELS = X[:, :, ::4, ::4]
LABELS = torch.tensor([0, 1] * 6)
FACTORS = {"body.conv1": 3.0, "body.conv2": 0.5, "body.conv4": 20.0}


@pytest.fixture(scope="module")
def network():
    return nets.small_cnn.small_cnn(2, seed=1).double().eval()


class Small(nn.Module):
    """50 parameters: a quick dense Hessian. No kinks: autograd omits their curvature."""

    def __init__(self):
        super().__init__()
        first = nn.Sequential(nn.Conv2d(1, 8, 1), nn.GroupNorm(2, 8), nn.Softplus())
        self.body = nn.Sequential(first)
        self.head = nn.Linear(8, 2)

    def forward(self, x):
        return self.head(self.body(x).mean((2, 3)))


@pytest.fixture(scope="module")
def small():
    with torch.random.fork_rng():
        torch.manual_seed(3)
        small = Small().double()
        for p in small.parameters():
            nn.init.normal_(p, std=0.7)
    return small


def dense(network, x):
    """The Hessian by autograd, (d, d), and theta (d,)."""
    values = {n: p.detach() for n, p in network.named_parameters()}
    blocks = hessian(lambda v: F.cross_entropy(functional_call(network, v, (x,)), LABELS))(values)
    rows = [
        torch.cat([blocks[a][b].reshape(p.numel(), -1) for b in values], 1)
        for a, p in values.items()
    ]
    return torch.cat(rows), torch.cat([p.reshape(-1) for p in values.values()])


def with_epsilon(network, factors):
    """The original convolutions, but normalisations with epsilon/c^2."""
    for name, c in factors.items():
        network.get_submodule(name)[1].eps /= c**2
    return network


def test_rescaling_is_another_epsilon_and_nothing_else(network):
    other = rescaled(network, FACTORS)
    expected = with_epsilon(rescaled(network, {}), FACTORS)(X)
    torch.testing.assert_close(other(X), expected, rtol=1e-12, atol=1e-12)
    before = network.body.conv1[0].weight
    torch.testing.assert_close(other.body.conv1[0].weight, 3 * before)
    assert torch.equal(rescaled(network, {})(X), network(X))


def test_logits_stay_up_to_epsilon(network):
    """|change| of a normalised activation: at most eps/c^2 over twice the variance, relatively."""
    torch.testing.assert_close(rescaled(network, FACTORS)(X), network(X), rtol=1e-2, atol=1e-3)
    sharp = with_epsilon(rescaled(network, {}), dict.fromkeys(network.blocks[:-1], 1e6))
    torch.testing.assert_close(rescaled(sharp, FACTORS)(X), sharp(X), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name, c", [("body.conv1", 3.0), ("body.conv4", 0.25)])
def test_raw_curvature_is_divided_by_c_squared_and_relative_curvature_is_not(network, name, c):
    sharp = with_epsilon(rescaled(network, {}), dict.fromkeys(network.blocks[:-1], 1e6))
    raw, relative = [], []
    for net in (sharp, rescaled(sharp, {name: c})):
        weight = block(net, f"{name}.0")
        operator = hessian_operator(net, X, LABELS, weight)
        for found, product in (
            (raw, operator),
            (relative, relative_operator(operator, dict(net.named_parameters()))),
        ):
            top = top_eigenvalues(product, operator.dimension, 1, seed=0, tolerance=1e-6)
            found.append(float(top.values[0]))
    assert raw[1] == pytest.approx(raw[0] / c**2, rel=1e-5)
    assert relative[1] == pytest.approx(relative[0], rel=1e-5)


def test_relative_operator_and_trace_are_those_of_the_dense_matrix(small):
    matrix, theta = dense(small, PIXELS)
    operator = hessian_operator(small, PIXELS, LABELS)
    product = relative_operator(operator, dict(small.named_parameters()))
    found = torch.stack([product(e) for e in torch.eye(len(theta), dtype=torch.float64)])
    expected = theta.abs()[:, None] * matrix * theta.abs()
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    trace = relative_trace(operator.unflatten(matrix.diagonal()), dict(small.named_parameters()))
    assert trace == pytest.approx(float(expected.trace()), rel=1e-12)


@settings(deadline=None, max_examples=8)
@given(st.floats(0.05, 20))
def test_the_whole_relative_spectrum_stays(c):
    """Every eigenvalue, the whole network's, not only one block's: symmetry at every parameter."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        net = Small().double()
    net.body[0][1].eps = 1e-30
    spectra, traces = [], []
    for one in (net, rescaled(net, {"body.0": c})):
        matrix, theta = dense(one, PIXELS)
        spectra.append(np.linalg.eigvalsh(theta[:, None] * matrix * theta))
        traces.append(float(matrix.trace()))
    np.testing.assert_allclose(spectra[1], spectra[0], rtol=0, atol=1e-9 * spectra[0].max())
    assert abs(c - 1) < 0.05 or abs(traces[1] / traces[0] - 1) > 1e-3


def test_noise_is_half_the_relative_trace_to_second_order(small):
    """Gaussian e: the variance of e'Ae is 2 |A|^2; the rest is of fourth order in the spread."""
    matrix, theta = dense(small, PIXELS)
    relative, spread, draws = theta[:, None] * matrix * theta, 3e-3, 400

    def loss(net):
        return float(F.cross_entropy(net(PIXELS), LABELS))

    rise = relative_noise(small, loss, spread, draws, seed=0)
    deviation = float(relative.norm()) * (2 / draws) ** 0.5
    assert abs(2 * rise / spread**2 - float(relative.trace())) < 4 * deviation
    only = relative_noise(small, loss, spread, draws, seed=0, blocks=("head",))
    part = relative[-18:, -18:]
    deviation = float(part.norm()) * (2 / draws) ** 0.5
    assert abs(2 * only / spread**2 - float(part.trace())) < 4 * deviation


def test_noise_of_any_size_does_not_notice_units_and_leaves_the_network_alone(small):
    exact = rescaled(small, {})
    exact.body[0][1].eps = 1e-30
    before = exact.head.weight.clone()

    def loss(net):
        return float(F.cross_entropy(net(PIXELS), LABELS))

    here, there = (
        relative_noise(net, loss, 0.5, 4, seed=1)
        for net in (exact, rescaled(exact, {"body.0": 7.0}))
    )
    assert here == pytest.approx(there, rel=1e-9) and abs(here) > 1e-3
    assert torch.equal(exact.head.weight, before)


@given(st.floats(0.1, 3), st.floats(-3, 3), st.floats(0.01, 100))
def test_relu_pair_is_the_same_function_in_other_units(u, v, a):
    x, y = np.random.default_rng(0).normal(size=(2, 30))
    np.testing.assert_allclose(relu_pair(a * u, v / a, x), relu_pair(u, v, x), atol=1e-12)
    here, there = relu_pair_hessian(u, v, x, y), relu_pair_hessian(a * u, v / a, x, y)
    scale = np.array([a, 1 / a])
    np.testing.assert_allclose(there * np.outer(scale, scale), here, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("u, v", [(1.3, -0.4), (-0.7, 2.0)])
def test_relu_pair_hessian_is_autograds(u, v):
    x, y = np.random.default_rng(1).normal(size=(2, 25))

    def loss(theta):
        f = theta[1] * F.relu(theta[0] * torch.from_numpy(x))
        return ((f - torch.from_numpy(y)) ** 2).mean() / 2

    expected = torch.autograd.functional.hessian(loss, torch.tensor([u, v], dtype=torch.float64))
    np.testing.assert_allclose(relu_pair_hessian(u, v, x, y), expected, rtol=1e-12)


def test_what_is_refused(network, small):
    batch_norm = nn.Sequential(nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)))
    for net, name in ((network, "head"), (network, "body.conv9"), (batch_norm, "0")):
        with pytest.raises(ValueError, match="no block that starts with a convolution"):
            rescaled(net, {name: 2.0})
    for c in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="the factor of body.conv1"):
            rescaled(network, {"body.conv1": c})
    values = dict(small.named_parameters())
    with pytest.raises(ValueError, match="diagonal is empty"):
        relative_trace({}, values)
    with pytest.raises(ValueError, match="parameters lack 'tail'"):
        relative_trace({"tail": torch.ones(2)}, values)
    with pytest.raises(ValueError, match="from one network"):
        relative_trace({"head.bias": torch.ones(3)}, values)
    operator = hessian_operator(small, X, LABELS)
    with pytest.raises(ValueError, match="parameters lack"):
        relative_operator(operator, block(small, "head"))
    for spread, draws in ((0.0, 3), (0.1, 0), (0.1, 1.5)):
        with pytest.raises(ValueError, match="spread is|draws is"):
            relative_noise(small, lambda net: 0.0, spread, draws, seed=0)
    with pytest.raises(ValueError, match="one y for each x"):
        relu_pair_hessian(1.0, 1.0, [1.0, 2.0], [1.0])
