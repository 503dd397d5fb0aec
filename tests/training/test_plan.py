"""A strategy on a network: who moves, in which phase, how fast, in which mode."""

from __future__ import annotations

import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from medxfer_lab import nets
from medxfer_lab.training import (
    EWC,
    L2SP,
    LPFT,
    BiasOnly,
    Discriminative,
    FullFineTuning,
    GradualUnfreezing,
    LinearProbe,
    LowRank,
    NormalisationOnly,
    PartialFineTuning,
    Phase,
    Scratch,
    Strategy,
)
from medxfer_lab.training.adapters import add_adapters
from medxfer_lab.training.plan import blocks_of, importance_for, plan
from tests.training.test_strategies import EVERY


@pytest.fixture(scope="module")
def small():
    return nets.load("small_cnn", "untrained", seed=1)


@pytest.fixture(scope="module")
def lite():
    return nets.load("efficientnet_lite0", "untrained")


def body_rates(strategy, network, phase=0):
    return [row.rates[phase] for row in plan(strategy, network).rows[:-1]]


def test_rates_by_block(small):
    assert body_rates(Scratch(), small) == body_rates(FullFineTuning(), small) == [1, 1, 1, 1]
    assert body_rates(LinearProbe(), small) == [0, 0, 0, 0]
    assert body_rates(PartialFineTuning(1), small) == [0, 0, 0, 1]
    assert body_rates(Discriminative(0.5), small) == [1 / 16, 1 / 8, 1 / 4, 1 / 2]
    assert body_rates(Discriminative(2.0), small) == [16, 8, 4, 2]
    assert body_rates(LPFT(), small, 0) == [0] * 4 and body_rates(LPFT(), small, 1) == [1] * 4
    gradual = [body_rates(GradualUnfreezing(5), small, i) for i in range(5)]
    assert gradual == [[0] * (4 - i) + [1] * i for i in range(5)]
    for strategy in EVERY:
        assert set(plan(strategy, small).rows[-1].rates) == {1.0}


@pytest.mark.parametrize("strategy", EVERY, ids=lambda s: s.name)
def test_groups_hold_every_moving_parameter_once(strategy, small, lite):
    for network in (small, lite):
        found = plan(strategy, network)
        handed = [
            id(p) for g in found.groups(dict(network.named_parameters()), 0.01) for p in g["params"]
        ]
        assert len(set(handed)) == len(handed)
        for phase in range(len(strategy.phases)):
            found.open(network, phase)
            moving = {id(p) for p in network.parameters() if p.requires_grad}
            rated = {
                id(p)
                for g in found.groups(dict(network.named_parameters()), 0.01)
                for p in g["params"]
                if g["rates"][phase] > 0
            }
            assert moving == rated <= set(handed)


def test_open_leaves_frozen_blocks_in_evaluation_mode(lite):
    """Their batch normalisation would drift otherwise; open blocks train as they do alone."""
    found = plan(PartialFineTuning(2), lite)
    found.open(lite, 0)
    modes = {
        name: module.training
        for name, module in lite.named_modules()
        if isinstance(module, nn.BatchNorm2d)
    }
    assert {n.split(".")[1] for n, mode in modes.items() if mode} == {"block16", "top"}
    plan(FullFineTuning(), lite).open(lite, 0)
    assert all(module.training for module in lite.modules())
    plan(LinearProbe(), lite).open(lite, 0)
    assert not any(module.training for module in lite.body.modules())


def test_normalisation_only_and_bias_only_name_the_right_ones(small, lite):
    for network in (small, lite):
        norms = {
            f"{name}.{kind}"
            for name, module in network.named_modules()
            if isinstance(module, nn.BatchNorm2d | nn.GroupNorm)
            for kind in ("weight", "bias")
        }
        rows = plan(NormalisationOnly(), network).rows[:-1]
        assert {n for row in rows for n in row.names} == norms
        rows = plan(BiasOnly(), network).rows[:-1]
        biases = {n for n, _ in network.body.named_parameters(prefix="body") if n.endswith("bias")}
        assert {n for row in rows for n in row.names} == biases != set()


def test_adapters_are_counted_before_and_after_they_exist(small):
    before = plan(LowRank(3), small)
    network = nets.load("small_cnn", "untrained", seed=1)
    add_adapters(network.body, 3, seed=0)
    after = plan(LowRank(3), network)
    assert [r.moving for r in before.rows] == [r.moving for r in after.rows]
    assert [r.parameters for r in before.rows] == [r.parameters for r in after.rows]
    # convolution (16, 1, 5, 5) is a 16 x 25 matrix: 3 * (16 + 25) numbers
    assert after.rows[0].moving == 3 * (16 + 25)
    assert all(".parametrizations.weight.0." in n for r in after.rows[:-1] for n in r.names)


@pytest.mark.parametrize("strategy", EVERY, ids=lambda s: s.name)
@pytest.mark.parametrize("name", ["small_cnn", "efficientnet_lite0"])
def test_the_table_counts_every_parameter(strategy, name, small, lite):
    network = {"small_cnn": small, "efficientnet_lite0": lite}[name]
    lines = strategy.describe(network).splitlines()
    assert lines[0].startswith(f"{strategy.name}: starts {strategy.start}")
    rows = [line.split() for line in lines[2:-1]]
    assert [row[0] for row in rows] == list(network.blocks)
    counts = [int(row[1].replace(",", "")) for row in rows]
    moving = [int(row[2].replace(",", "")) for row in rows]
    total = [int(x.replace(",", "")) for x in lines[-1].split()[1:]]
    assert sum(counts) == total[0] == sum(p.numel() for p in network.parameters())
    assert sum(moving) == total[1] and moving[-1] == counts[-1]
    for row, count in zip(rows, counts):
        own = [p for n, p in network.named_parameters() if n.startswith(row[0] + ".")]
        assert count == sum(p.numel() for p in own)
    assert not re.search("nan", "\n".join(lines))


def test_the_table_says_rate_and_tie(small):
    rows = [line.split()[3:] for line in L2SP(0.02).describe(small).splitlines()[2:-1]]
    assert rows == [["1", "0.02"]] * 4 + [["1"]]
    rows = [line.split()[3:] for line in EWC(0.5).describe(small).splitlines()[2:-1]]
    assert rows == [["1", "0.5", "x", "Fisher"]] * 4 + [["1"]]
    rows = [line.split()[2:] for line in LinearProbe().describe(small).splitlines()[2:-1]]
    assert rows == [["0", "0"]] * 4 + [["65", "1"]]
    rows = [line.split()[3:] for line in LPFT().describe(small).splitlines()[2:-1]]
    assert rows == [["0", "1"]] * 4 + [["1", "1"]]


@given(
    shares=st.lists(st.floats(0.05, 5), min_size=1, max_size=6),
    steps=st.integers(1, 400),
    restart=st.booleans(),
)
def test_every_step_has_one_phase_and_a_rate_between_0_and_1(shares, steps, restart):
    phases = tuple(Phase(s) for s in shares)
    strategy = Strategy("x", phases=phases, restart=restart)
    found = plan(strategy, nets.load("small_cnn", "untrained", seed=0))
    schedule = found.schedule(steps)
    order = [phase for phase, _ in schedule]
    assert len(schedule) == steps and order == sorted(order)
    assert all(0 <= rate <= 1 for _, rate in schedule)
    assert schedule[0][1] == 1 / max(1, (order.count(order[0]) if restart else steps) // 10)
    for i, share in enumerate(shares):  # lengths are the shares', to a step of rounding
        assert abs(order.count(i) - steps * share / sum(shares)) <= 1


def test_a_restart_rises_again():
    found = plan(LPFT(0.5), nets.load("small_cnn", "untrained", seed=0))
    rates = [rate for _, rate in found.schedule(100)]
    assert rates[4] == rates[54] == 1 and rates[50] == 0.2 and rates[49] < 0.01
    single = plan(FullFineTuning(), nets.load("small_cnn", "untrained", seed=0))
    assert rates[:50] == [rate for _, rate in single.schedule(50)]


def test_blocks_of_a_wrapped_model():
    """torchvision's bodies are one model: they are taken apart one level further."""
    network = nets.load("resnet18", "untrained")
    blocks = blocks_of(network)
    assert blocks[0] == "body.model.conv1" and "body.model.layer4" in blocks
    found = plan(PartialFineTuning(1), network)
    moving = {n for row in found.rows if any(row.rates) for n in row.names}
    assert {n.rpartition(".layer4")[0] for n in moving - {"head.weight", "head.bias"}} == {
        "body.model"
    }
    assert sum(r.parameters for r in found.rows) == sum(p.numel() for p in network.parameters())


def test_blocks_agree_with_the_network_s_own(small, lite):
    assert blocks_of(small) == small.blocks and blocks_of(lite) == lite.blocks


def test_importance_is_asked_for_and_checked(small):
    good = {n: torch.ones_like(p) for n, p in small.named_parameters()}
    assert importance_for(L2SP(1.0), small, None) is None
    found = importance_for(EWC(1.0), small, good)
    assert set(found) == {n for n in good if n.startswith("body.")}
    with pytest.raises(ValueError, match="ewc needs importance=, the Fisher information"):
        importance_for(EWC(1.0), small, None)
    with pytest.raises(ValueError, match="importance lacks 'body.conv1.0.weight'"):
        importance_for(EWC(1.0), small, {})
    bad = good | {"body.conv1.1.bias": -torch.ones(16)}
    with pytest.raises(ValueError, match="least value -1; expected .16,. and none below 0"):
        importance_for(EWC(1.0), small, bad)
    bad = good | {"body.conv1.1.bias": torch.full((16,), float("nan"))}
    with pytest.raises(ValueError, match="least value nan"):
        importance_for(EWC(1.0), small, bad)
