"""Low-rank adapters: nothing at the start, a rank at most r at the end, plain weights after."""

from __future__ import annotations

import pytest
import torch

from medxfer_lab import nets
from medxfer_lab.training import LowRank, fit
from medxfer_lab.training.adapters import add_adapters, merge_adapters
from tests.training.nets_for_tests import Convolutions, Perceptron, pictures, vectors, weights


def test_at_the_start_nothing_changes():
    network = nets.load("small_cnn", "photographs")
    x = torch.randn(5, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    before, names = network(x), [n for n, _ in network.named_parameters()]
    adapted = add_adapters(network.body, 3, seed=1)
    assert len(adapted) == 4 and torch.equal(network(x), before)
    merge_adapters(network.body)
    assert [n for n, _ in network.named_parameters()] == names
    assert torch.equal(network(x), before)


def test_the_random_side_has_the_stated_variance_and_seed():
    network = Perceptron((400, 300), seed=0)
    add_adapters(network.body, 50, seed=3)
    down = network.body.layer1[0].parametrizations.weight[0].down
    # variance of a sample variance of 20,000 normal numbers: 2 / 20,000; five deviations
    assert float(down.detach().var()) * 400 == pytest.approx(1, abs=5 * (2 / 20_000) ** 0.5)
    other = Perceptron((400, 300), seed=0)
    add_adapters(other.body, 50, seed=3)
    assert torch.equal(other.body.layer1[0].parametrizations.weight[0].down, down)


@pytest.mark.parametrize("rank", [1, 2])
def test_what_is_added_has_at_most_that_rank_and_nothing_else_moves(rank):
    network = Convolutions(seed=0)
    x, y = pictures(24, 8, seed=0)
    done = fit(network, x, y, LowRank(rank), seed=0, steps=30, learning_rate=0.02)
    moved = 0
    for (name, before), (_, after) in zip(
        network.named_parameters(), done.network.named_parameters()
    ):
        gap = (after - before).detach()
        if name.startswith("head"):
            assert gap.abs().max() > 0
        elif before.ndim > 1:
            values = torch.linalg.svdvals(gap.flatten(1).double())
            assert values[0] > 1e-4 and bool((values[rank:] < 1e-6 * values[0]).all()), name
            moved += 1
        else:
            assert float(gap.abs().max()) == 0, name
    assert moved == 2 and done.distance > 0
    assert done.network.state_dict().keys() == network.state_dict().keys()


def test_a_rank_as_large_as_the_matrix_is_full_fine_tuning_s_reach():
    """Matrices whose smaller side is at most the rank get no adapter; none at all is an error."""
    network = Convolutions(seed=0)  # matrices 4 x 9 and 6 x 36
    assert add_adapters(network.body, 5, seed=0) == ["conv2.0.weight"]
    with pytest.raises(ValueError, match="rank is 6, and no weight of the body has a higher rank"):
        add_adapters(Convolutions(seed=0).body, 6, seed=0)


def test_same_seed_same_bits():
    x, y = vectors(30, 8, seed=1)
    one, two, other = (
        fit(Perceptron((8, 6), 0), x, y, LowRank(2), seed=s, steps=10).network for s in (1, 1, 2)
    )
    assert torch.equal(weights(one), weights(two)) and not torch.equal(weights(one), weights(other))
