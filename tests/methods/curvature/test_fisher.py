"""Oracles: a loop over examples and labels with plain autograd; the dense Gauss-Newton matrix."""

import math
from itertools import product

import pytest
import torch
from torch.nn import functional as F  # noqa: N812 (torch's own idiom)

from medxfer_lab.methods.curvature import block, fisher_diagonal
from tests.methods.curvature.cases import (
    NAMES,
    Logits,
    case,
    dense_gauss_newton,
    dense_jacobian,
    probabilities,
)

torch.set_num_threads(1)


def flat(tensors):
    return torch.cat([t.reshape(-1) for t in tensors.values()])


def gradient(c, i, label):
    """d(-log p(label | x_i))/dtheta by backward(), one example."""
    c.network.zero_grad()
    logits = c.network(c.inputs[i : i + 1])
    if logits.ndim == 1:
        F.binary_cross_entropy_with_logits(logits, torch.tensor([float(label)]).double()).backward()
    else:
        F.cross_entropy(logits, torch.tensor([label])).backward()
    return torch.cat([p.grad.reshape(-1) for p in c.network.parameters()]).clone()


def loop(c):
    """The expectation over the model's labels, example after example, label after label."""
    p, total = probabilities(c), 0.0
    for i in range(len(c.inputs)):
        for label in range(p.shape[1]):
            total = total + p[i, label] * gradient(c, i, label) ** 2
    return total / len(c.inputs)


@pytest.mark.parametrize("name", NAMES)
def test_exact_equals_the_loop_and_the_diagonal_of_gauss_newton(name):
    c = case(name)
    found = fisher_diagonal(c.network, c.inputs, labels="exact", chunk_size=5)
    assert list(found) == list(c.parameters)
    assert all(found[n].shape == p.shape for n, p in c.parameters.items())
    torch.testing.assert_close(flat(found), loop(c), rtol=1e-10, atol=1e-14)
    diagonal = dense_gauss_newton(c).diagonal()
    torch.testing.assert_close(flat(found), diagonal, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("name", NAMES)
def test_empirical_equals_the_loop_over_the_data_s_labels(name):
    c = case(name)
    found = fisher_diagonal(c.network, c.inputs, labels="empirical", targets=c.labels)
    squares = [gradient(c, i, int(c.labels[i])) ** 2 for i in range(len(c.inputs))]
    torch.testing.assert_close(flat(found), torch.stack(squares).mean(0), rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("samples", [1, 2, 40])
@pytest.mark.parametrize("name", ["mlp_binary", "mlp_3"])
def test_draws_are_whole_labels(name, samples):
    """One example: the result is a mean of its labels' squared gradients, each counted k times."""
    c = case(name, n=1)
    found = flat(fisher_diagonal(c.network, c.inputs, seed=3, samples=samples))
    labels = range(probabilities(c).shape[1])
    each = torch.stack([gradient(c, 0, label) ** 2 for label in labels])
    counts = [k for k in product(range(samples + 1), repeat=len(labels)) if sum(k) == samples]
    means = torch.tensor(counts, dtype=torch.float64) @ each / samples
    distance = (means - found).abs().max(1).values / found.max()
    assert distance.min() < 1e-12 and (distance < 1e-6).sum() == 1


@pytest.mark.parametrize("name", NAMES)
def test_sampled_labels_agree_with_the_expectation(name):
    """z of a random projection, its variance known from the labels' distribution."""
    c, samples = case(name), 400
    w = torch.rand(len(flat(c.parameters)), generator=torch.Generator().manual_seed(1)).double()
    found = float(flat(fisher_diagonal(c.network, c.inputs, seed=0, samples=samples)) @ w)
    p, n = probabilities(c), len(c.inputs)
    s = torch.tensor([[w @ gradient(c, i, y) ** 2 for y in range(p.shape[1])] for i in range(n)])
    mean = (p * s).sum(1)
    variance = (p * (s - mean[:, None]) ** 2).sum() / n**2 / samples
    assert abs(found - float(mean.mean())) < 4 * float(variance.sqrt())


def test_the_square_of_the_mean_gradient_is_not_the_fisher():
    """The public mistake. Labels drawn from the model: its expectation is F/n, n the batch."""
    c, n = case("mlp_binary", n=24), 24
    fisher = flat(fisher_diagonal(c.network, c.inputs, labels="exact"))
    p, jacobian = probabilities(c)[:, 1], dense_jacobian(c)[:, 0]
    drawn = torch.bernoulli(p.expand(2000, n), generator=torch.Generator().manual_seed(0))
    mistakes = ((p - drawn) @ jacobian / n).square().sum(1)
    error = float(mistakes.std()) / 2000**0.5
    assert abs(float(mistakes.mean()) - float(fisher.sum()) / n) < 4 * error
    assert float(mistakes.max()) < float(fisher.sum())
    torch.testing.assert_close(fisher, loop(c), rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("margin", [0.5, 2.0, 8.0])
def test_empirical_vanishes_at_interpolation_the_model_s_own_does_not(margin):
    """Every example at the same margin m: (1 - p)^2 against p (1 - p), a ratio of exp(-m)."""
    targets = (torch.arange(10) % 2).double()
    inputs = (2 * targets - 1)[:, None]
    network = Logits(torch.nn.Linear(1, 1)).double().eval()
    network.layers[0].weight.data.fill_(margin)
    network.layers[0].bias.data.zero_()
    own = flat(fisher_diagonal(network, inputs, labels="exact"))
    data = flat(fisher_diagonal(network, inputs, labels="empirical", targets=targets))
    expected = torch.full((2,), math.exp(-margin), dtype=torch.float64)
    torch.testing.assert_close(data / own, expected, rtol=1e-10, atol=0)


def test_chunks_and_order_of_calls_change_nothing():
    c = case("group_norm")
    ones = [
        fisher_diagonal(c.network, c.inputs, seed=5, samples=3, chunk_size=k) for k in (1, 5, 99)
    ]
    for other in ones[1:]:
        torch.testing.assert_close(flat(ones[0]), flat(other), rtol=1e-12, atol=1e-16)
    assert not torch.equal(flat(ones[0]), flat(fisher_diagonal(c.network, c.inputs, seed=6)))


def test_a_block_is_that_part_of_the_whole():
    c = case("batch_norm_3")
    whole = fisher_diagonal(c.network, c.inputs, seed=0)
    part = fisher_diagonal(c.network, c.inputs, seed=0, parameters=block(c.network, "layers.4"))
    assert set(part) == {"layers.4.weight", "layers.4.bias"}
    for name, value in part.items():
        torch.testing.assert_close(value, whole[name], rtol=1e-12, atol=1e-16)


def test_it_is_the_second_order_of_the_kl_divergence():
    """KL(theta || theta + h e_j) = h^2/2 F_j + O(h^3): no gradient anywhere in this oracle."""
    c, name = case("mlp_3"), "layers.2.bias"
    fisher, p, h = fisher_diagonal(c.network, c.inputs, labels="exact"), probabilities(c), 1e-3
    for j in range(3):
        ends = []
        for sign in (1, -1):  # both sides: the cubic term cancels
            values = c.parameters
            values[name] = values[name] + sign * h * torch.eye(3, dtype=torch.float64)[j]
            q = torch.log_softmax(c.logits(values), 1)
            ends.append(float((p * (p.log() - q)).sum(1).mean()))
        assert sum(ends) / h**2 == pytest.approx(float(fisher[name][j]), rel=1e-5)


def test_bad_input_is_named():
    c = case("mlp_3")
    with pytest.raises(ValueError, match="give seed"):
        fisher_diagonal(c.network, c.inputs)
    with pytest.raises(ValueError, match="labels is 'true'"):
        fisher_diagonal(c.network, c.inputs, labels="true")
    with pytest.raises(ValueError, match="targets are missing"):
        fisher_diagonal(c.network, c.inputs, labels="empirical")
    with pytest.raises(ValueError, match="targets are given"):
        fisher_diagonal(c.network, c.inputs, seed=0, targets=c.labels)
    with pytest.raises(ValueError, match="labels run from 3 to 3"):
        fisher_diagonal(
            c.network, c.inputs, labels="empirical", targets=torch.full_like(c.labels, 3)
        )
    with pytest.raises(ValueError, match="samples is 0"):
        fisher_diagonal(c.network, c.inputs, seed=0, samples=0)
    with pytest.raises(ValueError, match="in training mode"):
        fisher_diagonal(case("batch_norm_3").network.train(), torch.zeros(2, 1, 6, 6), seed=0)
