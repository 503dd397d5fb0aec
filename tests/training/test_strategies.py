"""Strategies as data: what they hand to an optimiser, and what they say of themselves."""

from __future__ import annotations

import re

import pytest
import torch

from medxfer_lab import nets
from medxfer_lab.course.style import COLOURS
from medxfer_lab.training import L2SP, FullFineTuning, LinearProbe, Scratch, Strategy

EVERY = (Scratch(), LinearProbe(), FullFineTuning(), L2SP(0.02))


@pytest.fixture
def network():
    return nets.load("small_cnn", "untrained", seed=1)


def test_what_each_is():
    rows = [(s.name, s.start, s.body_rate > 0, s.tie) for s in EVERY]
    assert rows == [
        ("scratch", "untrained", True, 0.0),
        ("linear_probe", "pretrained", False, 0.0),
        ("full_fine_tuning", "pretrained", True, 0.0),
        ("l2sp", "pretrained", True, 0.02),
    ]
    assert {s.name for s in EVERY} <= set(COLOURS)


@pytest.mark.parametrize("strategy", EVERY, ids=lambda s: s.name)
def test_groups_hold_every_moving_parameter_once(strategy, network):
    groups = strategy.groups(network, 0.01)
    handed = [id(p) for g in groups for p in g["params"]]
    moving = list(network.head.parameters())
    moving += list(network.body.parameters()) if strategy.body_rate else []
    assert sorted(handed) == sorted(map(id, moving))
    assert all(p.requires_grad == (id(p) in handed) for p in network.parameters())


def test_body_rate_scales_the_body_s_rate_only(network):
    head, body = Strategy("x", body_rate=0.1).groups(network, 0.02)
    assert head["lr"] == 0.02 and body["lr"] == pytest.approx(0.002)
    assert head["params"][0] is network.head.weight


def test_a_frozen_body_can_be_thawed(network):
    LinearProbe().groups(network, 0.01)
    assert not any(p.requires_grad for p in network.body.parameters())
    FullFineTuning().groups(network, 0.01)
    assert all(p.requires_grad for p in network.parameters())


@pytest.mark.parametrize("name", ["small_cnn", "efficientnet_lite0"])
def test_the_table_counts_every_parameter(name):
    network = nets.load(name, "untrained")
    lines = L2SP(0.02).describe(network).splitlines()
    assert lines[0] == "l2sp: starts pretrained"
    rows = [line.split() for line in lines[2:]]
    assert [row[0] for row in rows] == list(network.blocks)
    counts = [int(row[1].replace(",", "")) for row in rows]
    assert sum(counts) == sum(p.numel() for p in network.parameters())
    for row, count in zip(rows, counts):
        prefix = row[0] + "."
        own = [p for n, p in network.named_parameters() if n.startswith(prefix)]
        assert count == sum(p.numel() for p in own)
    assert [row[2:] for row in rows] == [["1", "0.02"]] * (len(rows) - 1) + [["1"]]


def test_the_table_of_a_probe_says_what_stands_still(network):
    rows = [line.split() for line in LinearProbe().describe(network).splitlines()[2:]]
    assert [row[2] for row in rows] == ["0"] * (len(rows) - 1) + ["1"]
    assert not re.search("nan", LinearProbe().describe(network))


def test_impossible_strategies():
    with pytest.raises(ValueError, match="start is 'warm'; it is 'pretrained' or 'untrained'"):
        Strategy("x", start="warm")
    with pytest.raises(ValueError, match="body_rate is -1 and tie is 0.0; neither can be"):
        Strategy("x", body_rate=-1)
    for strength in (0.0, -0.5, float("nan")):
        with pytest.raises(ValueError, match=r"without a tie is FullFineTuning\(\)"):
            L2SP(strength)


def test_strategies_are_values():
    assert L2SP(0.1) == L2SP(0.1) != L2SP(0.2)
    assert not torch.is_tensor(L2SP(0.1).tie)
    with pytest.raises(AttributeError):
        Scratch().tie = 1.0
