"""Many networks at once: the same networks as one after another, whatever the technique."""

from __future__ import annotations

import pytest
import torch

from medxfer_lab import nets
from medxfer_lab.training import (
    EWC,
    L2SP,
    FullFineTuning,
    LinearProbe,
    PartialFineTuning,
    Scratch,
    fit,
    fit_many,
)
from medxfer_lab.training.many import choose_technique, multiply_adds
from medxfer_lab.training.stack import fit_stack, same_architecture
from tests.training.nets_for_tests import Convolutions, Perceptron, pictures, vectors, weights
from tests.training.test_strategies import EVERY


def fisher(network, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {
        n: torch.rand(p.shape, generator=generator, dtype=p.dtype)
        for n, p in network.named_parameters()
    }


def one_by_one(networks, cohorts, strategy, seeds, **settings):
    return [
        fit(net, x, y, strategy, seed=seed, **settings)
        for net, (x, y), seed in zip(networks, cohorts, seeds, strict=True)
    ]


def assert_same(many, single, atol):
    for a, b in zip(many, single, strict=True):
        torch.testing.assert_close(weights(a.network), weights(b.network), rtol=0, atol=atol)
        torch.testing.assert_close(a.losses, b.losses, rtol=0, atol=max(atol, 1e-6))
        assert a.distance == pytest.approx(b.distance, abs=atol)
        assert a.train_loss == pytest.approx(b.train_loss, abs=max(atol, 1e-7))
        assert a.matched_step == b.matched_step
        assert a.network.state_dict().keys() == b.network.state_dict().keys()
        for (name, left), right in zip(
            a.network.state_dict().items(), b.network.state_dict().values()
        ):
            torch.testing.assert_close(left, right, rtol=0, atol=atol, msg=name)


@pytest.mark.parametrize("strategy", EVERY, ids=lambda s: s.name)
def test_a_stack_of_perceptrons_equals_the_loop(strategy):
    """Every strategy, in float64, where only the order of sums can differ."""
    networks = [Perceptron((12, 9, 7, 5), seed).double() for seed in range(4)]
    cohorts = [vectors(30, 12, seed) for seed in range(4)]
    cohorts = [(x.double(), y) for x, y in cohorts]
    settings = {"steps": 60, "batch_size": 8, "learning_rate": 0.01, "match_loss": 0.6}
    settings["importance"] = fisher(networks[0])
    many = fit_many(networks, cohorts, strategy, seeds=range(4), technique="stack", **settings)
    assert_same(many, one_by_one(networks, cohorts, strategy, range(4), **settings), 1e-9)


@pytest.mark.parametrize("convolutions", ["grouped", "products"])
@pytest.mark.parametrize(
    "strategy",
    [Scratch(), LinearProbe(), PartialFineTuning(1), L2SP(0.1), EWC(0.1), EVERY[6], EVERY[-1]],
    ids=lambda s: s.name,
)
def test_a_stack_of_convolutions_equals_the_loop(strategy, convolutions):
    """With batch normalisation's running statistics, mirrored pictures and both ways to convolve:
    what runs on a GPU, here on the processor in float64."""
    networks = [Convolutions(seed).double() for seed in range(3)]
    cohorts = [(x.double(), y) for x, y in (pictures(20, 8, seed) for seed in range(3))]
    settings = {"steps": 30, "batch_size": 6, "learning_rate": 0.01, "flip": True}
    settings["importance"] = fisher(networks[0])
    many = fit_stack(
        networks, cohorts, strategy, seeds=range(3), convolutions=convolutions, **settings
    )
    assert_same(many, one_by_one(networks, cohorts, strategy, range(3), **settings), 1e-8)


def test_small_cnn_in_float32_stays_within_the_stated_tolerance():
    """25 steps: roundings of 1e-7 a step, carried on by Adam, stay below 1e-4 in the weights."""
    networks = [nets.load("small_cnn", "photographs", seed=s) for s in range(3)]
    cohorts = [pictures(32, 32, seed) for seed in range(3)]
    settings = {"steps": 25, "batch_size": 16}
    many = fit_many(
        networks, cohorts, FullFineTuning(), seeds=range(3), technique="stack", **settings
    )
    single = one_by_one(networks, cohorts, FullFineTuning(), range(3), **settings)
    assert_same(many, single, 1e-4)


def test_bfloat16_computes_under_autocast_and_keeps_float32_weights():
    networks = [Perceptron((12, 9), seed) for seed in range(2)]
    cohorts = [vectors(40, 12, seed) for seed in range(2)]
    settings = {"steps": 40, "batch_size": 16, "learning_rate": 0.01}
    full = fit_many(networks, cohorts, Scratch(), seeds=(0, 1), technique="stack", **settings)
    half = fit_many(
        networks,
        cohorts,
        Scratch(),
        seeds=(0, 1),
        technique="stack",
        precision=torch.bfloat16,
        **settings,
    )
    for a, b in zip(full, half, strict=True):
        assert weights(b.network).dtype == torch.float32
        gap = float((weights(a.network) - weights(b.network)).abs().max())
        assert 0 < gap < 0.05  # eight bits of mantissa: near, not equal
        assert b.train_loss == pytest.approx(a.train_loss, abs=0.02)


def test_several_classes():
    networks = [Perceptron((10, 6), seed, outputs=3).double() for seed in range(2)]
    cohorts = [(x.double(), y) for x, y in (vectors(30, 10, s, classes=3) for s in range(2))]
    settings = {"steps": 20, "batch_size": 8, "learning_rate": 0.02}
    many = fit_many(networks, cohorts, Scratch(), seeds=(5, 6), technique="stack", **settings)
    single = one_by_one(networks, cohorts, Scratch(), (5, 6), **settings)
    assert_same(many, single, 1e-9)
    assert single[0].train_loss < 1.0986 and networks[0](cohorts[0][0]).shape == (30, 3)


def test_mixed_architectures_strategies_sizes_and_rates_come_back_in_order():
    networks = [Perceptron(s, k) for k, s in enumerate([(12, 9), (12,), (12, 9), (12, 9), (12, 4)])]
    cohorts = [vectors(n, 12, k) for k, n in enumerate((30, 30, 20, 30, 30))]
    strategies = [Scratch(), Scratch(), Scratch(), L2SP(0.1), LinearProbe()]
    rates = [0.01, 0.01, 0.01, 0.01, 0.02]
    seeds = [4, 3, 2, 1, 0]
    steps = [9, 9, 9, 9, 12]
    many = fit_many(
        networks,
        cohorts,
        strategies,
        seeds=seeds,
        steps=steps,
        learning_rate=rates,
        technique="stack",
    )
    single = [
        fit(net, *cohort, strategy, seed=seed, learning_rate=rate, steps=count)
        for net, cohort, strategy, seed, rate, count in zip(
            networks, cohorts, strategies, seeds, rates, steps
        )
    ]
    assert_same(many, single, 1e-5)


@pytest.mark.slow
def test_worker_processes_give_the_same_bits_as_one_thread():
    networks = [nets.load("small_cnn", "photographs", seed=s) for s in range(3)]
    cohorts = [pictures(40, 32, seed) for seed in range(3)]
    settings = {"steps": 30, "batch_size": 16, "flip": True, "match_loss": 0.69}
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        single = one_by_one(networks, cohorts, L2SP(0.01), range(3), **settings)
    finally:
        torch.set_num_threads(before)
    many = fit_many(
        networks,
        cohorts,
        L2SP(0.01),
        seeds=range(3),
        technique="processes",
        processes=2,
        **settings,
    )
    assert_same(many, single, 0)
    assert many[0].matched_distance == single[0].matched_distance
    assert all(p.requires_grad for p in many[0].network.parameters())


def test_the_rule():
    """A stack where there is no convolution, processes where there is enough to do, else a loop."""
    vector = [Perceptron((12, 9), s) for s in range(3)], [vectors(30, 12, s) for s in range(3)]
    small = [nets.load("small_cnn")] * 3, [pictures(40, 32, 0)] * 3

    def rule(networks, cohorts, steps=250, device="cpu"):
        return choose_technique(networks, cohorts, steps * len(networks), 32, device)

    assert rule(*vector) == "stack"
    assert rule(vector[0][:2], vector[1][:2]) == "loop"
    assert rule(*small, steps=2) == "loop"
    assert rule(small[0] * 20, small[1] * 20) in (
        "processes",
        "loop",
    )  # loop: one core, or a worker
    assert rule(*small, device="cuda") == "stack"
    dropping = [Perceptron((12, 9), 0) for _ in range(3)]
    for network in dropping:
        network.body.append(torch.nn.Dropout(0.5))
    assert rule(dropping, vector[1]) == "loop"


def test_multiply_adds_are_counted():
    """small_cnn at 32 pixels: 16 x 16 x 16 x 25 + 8 x 8 x (32 x 144 + 48 x 288) + 4 x 4 x 64 x 432
    in the convolutions and 64 in the head, a picture."""
    body = 16 * 16 * 16 * 25 + 8 * 8 * (32 * 144 + 48 * 288) + 4 * 4 * 64 * 432
    assert multiply_adds(nets.load("small_cnn"), torch.zeros(3, 1, 32, 32)) == 3 * (body + 64)


def test_networks_that_come_in_are_never_changed():
    networks = [Perceptron((12, 9), seed) for seed in range(2)]
    before = [weights(n).clone() for n in networks]
    cohorts = [vectors(30, 12, seed) for seed in range(2)]
    for technique in ("loop", "stack"):
        done = fit_many(networks, cohorts, Scratch(), seeds=(0, 1), technique=technique, steps=4)
        assert all(torch.equal(weights(n), b) for n, b in zip(networks, before))
        assert all(not f.network.training for f in done)


def test_same_architecture():
    assert same_architecture([Perceptron((4, 3), 0), Perceptron((4, 3), 1)])
    assert not same_architecture([Perceptron((4, 3), 0), Perceptron((4, 2), 1)])


def test_none_is_none_and_errors_name_what_is_wrong():
    assert fit_many([], [], Scratch(), seeds=[]) == []
    networks, cohorts = [Perceptron((12, 9), 0)], [vectors(30, 12, 0)]
    with pytest.raises(ValueError, match="seeds has 2 entries for 1 networks; one each is due"):
        fit_many(networks, cohorts, Scratch(), seeds=[0, 1])
    with pytest.raises(ValueError, match="technique is 'fast'; known: auto, loop, stack"):
        fit_many(networks, cohorts, Scratch(), seeds=[0], technique="fast")
    with pytest.raises(ValueError, match="all 30 labels are 1; training needs both classes"):
        fit_many(networks, [(cohorts[0][0], torch.ones(30))], Scratch(), seeds=[0])
    with pytest.raises(ValueError, match="device is cuda; worker processes share the processor"):
        fit_many(networks, cohorts, Scratch(), seeds=[0], technique="processes", device="cuda")
    with pytest.raises(ValueError, match="ewc needs importance="):
        fit_many(networks, cohorts, EWC(0.1), seeds=[0])
