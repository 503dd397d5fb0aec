"""Stochastic gradient descent with momentum, and a rate for each block: loops written out."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from medxfer_lab.course.style import COLOURS, LABELS, MARKERS
from medxfer_lab.training import (
    EWC,
    L2SP,
    LPFT,
    BlockRates,
    Discriminative,
    FullFineTuning,
    LinearProbe,
    Strategy,
    fit,
    fit_many,
)
from medxfer_lab.training.plan import plan
from tests.training.nets_for_tests import Convolutions, Perceptron, pictures, vectors, weights

BODY = ("body.layer1", "body.layer2", "body.layer3")


def heavy_ball(network, x, y, rate, steps, rates=(1.0, 1.0, 1.0), tie=0.0):
    """Full batches: v <- .9 v + g, theta <- theta - rate_b * schedule * v, one block at a time."""
    network = copy.deepcopy(network)
    start = {n: p.detach().clone() for n, p in network.named_parameters()}
    speed = {n: torch.zeros_like(p) for n, p in start.items()}
    warm = max(1, steps // 10)
    for step in range(steps):
        loss = F.binary_cross_entropy_with_logits(network(x), y)
        found = torch.autograd.grad(loss, list(network.parameters()))
        fall = 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))
        scheduled = rate * ((step + 1) / warm if step < warm else fall)
        with torch.no_grad():
            for (name, p), g in zip(network.named_parameters(), found, strict=True):
                block = name.rsplit(".", 2)[0]
                own = rates[BODY.index(block)] if block in BODY else 1.0
                g = g + tie * (p - start[name]) if block in BODY else g
                speed[name] = 0.9 * speed[name] + g
                p -= scheduled * own * speed[name]
    return network


def problem(n=24):
    x, y = vectors(n, 8, seed=0)
    return Perceptron((8, 7, 6, 5), seed=0).double(), x.double(), y.double()


@pytest.mark.parametrize(
    "strategy, rates, tie",
    [
        (FullFineTuning(), (1, 1, 1), 0),
        (L2SP(0.3), (1, 1, 1), 0.3),
        (BlockRates((0.1, 3, 0.5)), (0.1, 3, 0.5), 0),
    ],
    ids=("plain", "tied", "by block"),
)
def test_sgd_equals_the_loop_written_out(strategy, rates, tie):
    """One batch holds every patient, so the order cannot matter but for rounding."""
    network, x, y = problem()
    how = {"steps": 30, "batch_size": 64, "learning_rate": 0.05}
    done = fit(network, x, y, strategy, seed=0, optimizer="sgd", **how)
    expected = heavy_ball(network, x, y, 0.05, 30, rates, tie)
    torch.testing.assert_close(weights(done.network), weights(expected), rtol=0, atol=1e-12)
    adam = fit(network, x, y, strategy, seed=0, **how)
    assert (weights(done.network) - weights(adam.network)).abs().max() > 1e-2


def test_adam_is_what_it_is_without_asking():
    network, x, y = problem()
    plain, named = (
        fit(network, x, y, FullFineTuning(), seed=3, steps=12, batch_size=8, **how)
        for how in ({}, {"optimizer": "adam"})
    )
    assert torch.equal(weights(plain.network), weights(named.network))
    assert torch.equal(plain.losses, named.losses)


@pytest.mark.parametrize(
    "strategy", [LinearProbe(), LPFT(), EWC(0.1), BlockRates((0.0, 2.0))], ids=lambda s: s.name
)
def test_a_stack_takes_the_same_steps(strategy):
    networks = [Convolutions(seed).double() for seed in range(3)]
    cohorts = [(x.double(), y) for x, y in (pictures(20, 8, seed) for seed in range(3))]
    how = {"steps": 20, "batch_size": 6, "learning_rate": 0.05, "optimizer": "sgd"}
    how["importance"] = {n: torch.rand_like(p) for n, p in networks[0].named_parameters()}
    many = {
        t: fit_many(networks, cohorts, strategy, seeds=range(3), technique=t, **how)
        for t in ("stack", "loop")
    }
    for a, b in zip(many["stack"], many["loop"], strict=True):
        torch.testing.assert_close(weights(a.network), weights(b.network), rtol=0, atol=1e-9)
        torch.testing.assert_close(a.losses, b.losses, rtol=0, atol=1e-6)


def test_a_rate_that_is_zero_is_a_block_that_stands_still():
    network, x, y = problem()
    how = {"seed": 0, "steps": 10, "batch_size": 8, "optimizer": "sgd", "learning_rate": 0.05}
    still = fit(network, x, y, BlockRates((0, 0, 0)), **how)
    probe = fit(network, x, y, LinearProbe(), **how)
    assert still.distance == 0
    assert torch.equal(weights(still.network), weights(probe.network))
    done = fit(network, x, y, BlockRates((0, 1, 0)), **how).network
    before = network.state_dict()
    moved = {n.rsplit(".", 2)[0] for n, p in done.state_dict().items() if (p != before[n]).any()}
    assert moved == {"body.layer2", "head"}


def test_rates_by_block_override_the_ladder_and_keep_the_head_at_one():
    network = problem()[0]
    ladder = [row.rates for row in plan(Discriminative(0.5), network).rows]
    given = [row.rates for row in plan(BlockRates([1 / 8, 1 / 4, 1 / 2]), network).rows]
    assert ladder == given and given[-1] == (1.0,)
    both = Strategy("x", body_rate=7.0, decay=0.1, block_rates=(3.0, 2.0, 0.0))
    assert [row.rates[0] for row in plan(both, network).rows] == [3, 2, 0, 1]
    assert [row.moving > 0 for row in plan(both, network).rows] == [True, True, False, True]
    assert BlockRates([1, 2]) == BlockRates((1.0, 2.0)) and hash(BlockRates([1, 2]))
    named = BlockRates([1], name="curvature_rates")
    assert {named.name, BlockRates([1]).name} <= set(COLOURS) & set(LABELS) & set(MARKERS)


def test_errors_name_value_and_expectation():
    network, x, y = problem()
    with pytest.raises(ValueError, match="optimizer is 'lbfgs'; known: adam, sgd"):
        fit(network, x, y, FullFineTuning(), seed=0, optimizer="lbfgs")
    with pytest.raises(ValueError, match="optimizer is 'SGD'; known: adam, sgd"):
        fit_many([network], [(x, y)], FullFineTuning(), seeds=[0], optimizer="SGD")
    with pytest.raises(ValueError, match=r"holds 2 rates and the body has 3 blocks \(body.layer1"):
        plan(BlockRates((1, 1)), network)
    for bad in (-1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="block_rates is .*finite and at least 0"):
            BlockRates((1, bad, 1))
    with pytest.raises(ValueError, match="rates is empty; give one a block"):
        BlockRates(())
