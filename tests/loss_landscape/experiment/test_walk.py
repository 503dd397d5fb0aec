"""Tuning with a record of the way, against loops written out."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch

from medxfer_lab.loss_landscape.experiment import material as m
from medxfer_lab.loss_landscape.experiment import walk as w
from medxfer_lab.loss_landscape.theory import descent
from medxfer_lab.training.batches import draw_batches
from medxfer_lab.training.inputs import log_loss

HOW = {"seed": 3, "learning_rate": 2e-3, "batch_size": 8}


@pytest.fixture(scope="module")
def patients():
    return m.target(20, 5)


def same(a: w.Values, b: w.Values) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_adam_s_walk_is_torch_s_own_loop_at_a_constant_rate(patients):
    (x, y), steps = patients, 5
    start = m.start(0)
    before = w.values_of(start)
    found = w.adam_walk(start, patients, steps=steps, at=[0, 2, steps], **HOW)
    network = copy.deepcopy(start).train()
    optimiser = torch.optim.Adam(network.parameters(), lr=2e-3)
    batches = draw_batches(20, 8, steps, 3, flip=True)
    for index, coins in zip(batches.index, batches.mirrored, strict=True):
        shown = torch.stack([x[i].flip(-1) if c else x[i] for i, c in zip(index, coins)])
        optimiser.zero_grad()
        log_loss(network(shown), y[index]).backward()
        optimiser.step()
    assert list(found) == [0, 2, steps] and same(found[0], before)
    assert same(w.values_of(start), before)  # who is handed in stays where they were
    for name, value in network.named_parameters():
        torch.testing.assert_close(found[steps][name], value.detach(), rtol=1e-5, atol=1e-7)
    assert not same(found[2], found[steps])


def test_a_shorter_walk_is_the_beginning_of_a_longer_one(patients):
    short = w.adam_walk(m.start(0), patients, steps=2, at=[2], **HOW)
    long = w.adam_walk(m.start(0), patients, steps=6, at=[2, 6], **HOW)
    assert same(short[2], long[2]) and not same(long[2], long[6])


def test_only_what_is_named_moves(patients):
    start = m.start(0)
    (after,) = w.adam_walk(start, patients, steps=2, at=[2], prefixes=("head",), **HOW).values()
    moved = {n for n, v in w.values_of(start).items() if not torch.equal(v, after[n])}
    assert moved == {"head.weight", "head.bias"}


def test_with_values_copies(tiny):
    network, _ = tiny()
    before = w.values_of(network)
    other = w.with_values(network.train(), {"head.bias": torch.ones(1)})
    assert float(other.head.bias.detach()) == 1 and not other.training
    assert torch.equal(other.head.weight, network.head.weight)
    with torch.no_grad():
        other.head.weight.zero_()
    assert same(w.values_of(network), before)


@pytest.mark.parametrize("classes", [1, 3])
def test_loss_and_gradient_of_a_part(tiny, dense, classes):
    """What is left out stands still; the gradient is the dense one's part."""
    network, data = tiny(classes)
    matrices, loss = dense(network, data), w.loss_of(network, data)
    part = {n: v for n, v in w.values_of(network).items() if n.startswith("body.conv4.")}
    value, slope = w.gradient(loss, part)
    assert value == pytest.approx(float(matrices.loss(matrices.flat)))
    found = torch.cat([slope[name].reshape(-1) for name in part])
    torch.testing.assert_close(found, matrices.gradient[matrices.block("body.conv4")])


def quadratic(seed: int = 0):
    """1/2 x'Hx + g'x over two tensors, at 0."""
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(5, 5))
    h, g = root @ root.T, rng.normal(size=5)
    matrix, slope = torch.from_numpy(h), torch.from_numpy(g)

    def loss(values):
        x = torch.cat([values["a"].reshape(-1), values["b"]])
        return slope @ x + x @ matrix @ x / 2

    zero = {
        "a": torch.zeros(2, 1, dtype=torch.float64),
        "b": torch.zeros(3, dtype=torch.float64),
    }
    return h, g, loss, zero


def test_descent_on_a_quadratic_is_the_theory_s():
    h, g, loss, zero = quadratic()
    edge = descent.joint_edge(h, [1.0, 1, 2, 2, 2])
    for factor in (0.5, 1.3):  # below and above the edge
        rates = {"a": factor * edge, "b": 2 * factor * edge}
        steps = [rates["a"]] * 2 + [rates["b"]] * 3
        path = descent.descend(h, g, steps, 9)
        expected = [descent.quadratic_loss(h, g, place) for place in path]
        np.testing.assert_allclose(w.descend(loss, zero, rates, 9), expected, rtol=1e-9, atol=1e-12)
    assert float(zero["a"].abs().sum()) == 0


def test_descent_stops_above_its_ceiling_and_at_what_is_no_number():
    h, _, loss, zero = quadratic()
    rates = dict.fromkeys(zero, 40 * 2 / np.linalg.eigvalsh(h)[-1])
    free = w.descend(loss, zero, rates, 400)
    assert not math.isfinite(free[-1]) and len(free) < 401
    stopped = w.descend(loss, zero, rates, 400, ceiling=1e6)
    assert stopped == free[: len(stopped)] and stopped[-1] > 1e6
    assert max(stopped[:-1]) <= 1e6
