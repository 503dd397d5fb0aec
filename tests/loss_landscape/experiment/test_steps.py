"""Stable steps: the search, the quadratic model, Adam by hand, and what is made of the edges."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from medxfer_lab.loss_landscape.experiment import spectra
from medxfer_lab.loss_landscape.experiment import steps as s
from medxfer_lab.loss_landscape.experiment.walk import descend, loss_of, values_of
from medxfer_lab.loss_landscape.theory import descent
from medxfer_lab.loss_landscape.theory.noise import adam_edge
from medxfer_lab.methods import curvature as cv

SPAN = math.log(s.HIGHEST / s.LOWEST)


@pytest.mark.parametrize("threshold", [0.15, 0.5, 1.0, 3.3, 7.0])
@pytest.mark.parametrize("halvings", [3, 12])
def test_the_edge_is_found_to_half_a_cell(threshold, halvings):
    asked = []

    def too_long(factor: float) -> bool:
        asked.append(factor)
        return factor > threshold

    found = s.edge(too_long, halvings)
    assert abs(math.log(found / threshold)) <= SPAN / 2 ** (halvings + 1) * (1 + 1e-9)
    assert len(asked) == halvings + 2


@pytest.mark.parametrize(("answer", "end"), [(True, s.LOWEST), (False, s.HIGHEST)])
def test_an_edge_beyond_the_search_comes_back_as_its_end(answer, end):
    assert s.edge(lambda factor: answer, 5) == end


@pytest.fixture
def to_the_end(monkeypatch):
    monkeypatch.setattr(spectra, "TOLERANCE", 1e-12)


@pytest.mark.parametrize("horizon", [3, 14])
def test_the_model_s_losses_are_those_of_descent_on_it(horizon):
    """In the Krylov space of the gradient as in the whole space, below and beyond the edge."""
    rng = np.random.default_rng(horizon)
    root, g = rng.normal(size=(9, 9)), rng.normal(size=9)
    h, scale = root @ root.T / 9, rng.uniform(0.2, 2, 9)
    matrix = torch.from_numpy(h)

    class Product:
        dimension = 9

        def __call__(self, vector):
            return matrix @ vector

    losses = s.model_losses(Product(), torch.from_numpy(g), torch.from_numpy(scale), horizon)
    edge = descent.joint_edge(h, scale)
    for factor in (0.3 * edge, 1.1 * edge):
        path = descent.descend(h, g, factor * scale, horizon)
        expected = [descent.quadratic_loss(h, g, place) for place in path]
        np.testing.assert_allclose(losses(factor), expected, rtol=1e-7, atol=1e-10)


def test_every_prediction_is_two_over_the_dense_curvature(tiny, dense, to_the_end):
    network, data = tiny()
    matrices, found = dense(network, data), s.block_edges(network, data, 5, 4)
    g, h = matrices.gauss_newton.numpy(), matrices.hessian.numpy()
    parts = [matrices.block(block) for block in network.blocks]
    tops = descent.block_curvatures(g, parts)
    np.testing.assert_allclose(found["tops"], tops)
    np.testing.assert_allclose(found["predicted"][:3], 2 / tops)
    assert found["predicted"][3] == pytest.approx(descent.joint_edge(g, np.ones(len(g))))
    each = descent.joint_edge(g, descent.block_steps(g, parts))
    assert found["predicted"][4] == pytest.approx(each) and 1 / 3 <= each <= 1
    np.testing.assert_allclose(found["hessian"][:3], 2 / descent.block_curvatures(h, parts))
    assert found["hessian"][3] == pytest.approx(2 / np.linalg.eigvalsh(h)[-1])


@pytest.mark.parametrize("case", [1, 2, 3, 4])
def test_found_and_model_bracket_the_first_rise(tiny, dense, to_the_end, case):
    """Half a cell below an edge nothing rises within the horizon; half a cell above it does."""
    network, data = tiny(seed=1)
    horizon, halvings, matrices = 6, 7, dense(network, data)
    found = s.block_edges(network, data, horizon, halvings)
    parts = [matrices.block(block) for block in network.blocks]
    g, slope = matrices.gauss_newton.numpy(), matrices.gradient.numpy()
    moves = np.zeros(len(g))
    names = network.blocks if case >= 3 else (network.blocks[case],)
    for block in names:
        rate = 2 / found["tops"][network.blocks.index(block)] if case == 4 else 1.0
        moves[parts[network.blocks.index(block)]] = rate

    def rises(step: float, model: bool) -> bool:
        place, seen = np.zeros(len(g)), []
        for _ in range(horizon):
            here = matrices.flat + torch.from_numpy(place)
            down = slope + g @ place if model else torch.func.grad(matrices.loss)(here).numpy()
            place = place - step * moves * down
            there = matrices.flat + torch.from_numpy(place)
            rise = descent.quadratic_loss(g, slope, place) if model else matrices.loss(there)
            seen.append(float(rise) - (0.0 if model else float(matrices.loss(matrices.flat))))
        return max(seen) > 0

    for key, cell in (("found", SPAN / 2**halvings), ("model", SPAN / 2**12)):
        edge = found[key][case]
        beyond = edge / found["predicted"][case]
        assert s.LOWEST < beyond < s.HIGHEST
        assert not rises(edge * math.exp(-0.51 * cell), key == "model")
        assert rises(edge * math.exp(0.51 * cell), key == "model")
    # below 2/lambda a quadratic never rises, so the model's edge, with its grace, lies beyond
    assert found["model"][case] >= found["predicted"][case] * math.exp(-SPAN / 2**12)


def test_with_batches_of_everybody_sgd_is_descent(tiny):
    """Twelve examples fit into one batch, in whatever order."""
    network, data = tiny()
    loss, values = loss_of(network, data), values_of(network)
    rates = dict.fromkeys(values, 0.5)
    by_batches = s._sgd(network, data, values, 0.5, 5, seed=1)
    np.testing.assert_allclose(by_batches, descend(loss, values, rates, 5))
    ceiling = float(loss(values)) * (1 + s._SLACK)

    def too_long(factor: float) -> bool:
        rates = dict.fromkeys(values, factor * 2.0)
        return not descend(loss, values, rates, 6, ceiling)[-1] <= ceiling

    assert s.sgd_edge(network, data, 2.0, 6, 6, 2) == pytest.approx(s.edge(too_long, 6))


def test_adam_by_hand_is_torch_s_and_can_be_gone_on_with(tiny):
    network, data = tiny(seed=2)
    done, state = s._adam(network, data, {}, 1e-2, 7, None)
    half, kept = s._adam(network, data, {}, 1e-2, 3, None)
    rest, _ = s._adam(network, data, kept, 1e-2, 4, half["values"])
    assert half["losses"] + rest["losses"][1:] == pytest.approx(done["losses"], rel=1e-12)
    optimiser = torch.optim.Adam(network.parameters(), 1e-2, betas=(s.BETA, 0.999))
    loss, seen = loss_of(network, data), []
    for _ in range(7):
        optimiser.zero_grad()
        value = loss(dict(network.named_parameters()))
        value.backward()
        seen.append(float(value.detach()))
        optimiser.step()
    assert done["losses"][:-1] == pytest.approx(seen, rel=1e-9)
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(done["values"][name], parameter.detach())
        torch.testing.assert_close(state[name]["v"], optimiser.state[parameter]["exp_avg_sq"])


def test_adam_s_prediction_is_that_of_the_preconditioned_matrix(tiny, dense, to_the_end):
    network, data = tiny()
    found = s.adam_edges(network, data, 4, 3)
    settled, state = s._adam(network, data, {}, s.ADAM_RATE, s.SETTLED, None)
    for name, parameter in network.named_parameters():
        parameter.data = settled["values"][name]
    second = torch.cat([state[n]["v"].reshape(-1) for n, _ in network.named_parameters()])
    p = ((second / (1 - 0.999**s.SETTLED)).sqrt() + 1e-8).numpy()
    g = dense(network, data).gauss_newton.numpy()
    top = np.linalg.eigvalsh(g / np.sqrt(p[:, None] * p))[-1]
    assert found["predicted"] == pytest.approx(float(adam_edge(top, s.BETA)))
    assert s.LOWEST <= found["factor"] <= s.HIGHEST


def test_rules_by_hand():
    """Three blocks: found steps 4, 1, 2 alone, .5 together, a quarter of their own at once."""
    stack = {
        "found": np.array([[4.0, 1, 2, 0.5, 0.25]] * 2),
        "predicted": np.array([[3.0, 1.5, 2, 9, 9]] * 2),
    }
    found = {name: math.exp(leaf["mean"]) for name, leaf in s._rules(stack, 3).items()}
    assert found == pytest.approx(
        {
            "least_block_over_one": 2,
            "one_over_sum_rule": 0.5 * (1 / 3 + 1 / 1.5 + 1 / 2),
            "own_over_joint": 4,
            "last_over_first": 1 / 4,  # of the body: the head is the third block
            "head_over_first": 2 / 4,
        }
    )


def test_edges_beyond_the_search_are_counted():
    names = ("predicted", "found", "model", "hessian")
    jobs = []
    for factor in (s.HIGHEST, 1.3, s.LOWEST):
        job = {f"fresh_{key}": np.ones(7) for key in names}
        job["fresh_hessian"] = np.ones(6)
        job["fresh_found"] = np.array([factor, *[1.5] * 6])
        job |= {"fresh_sgd": factor, "fresh_adam_factor": 1.1, "fresh_adam_predicted": 1e-3}
        jobs.append(job | {"loss_fresh": 0.7})
    found = s._start(jobs, "fresh")
    assert [found[case]["beyond_the_search"] for case in s.cases()] == [2, 0, 0, 0, 0, 0, 0]
    assert (found["beyond_sgd"], found["beyond_adam"]) == (2, 0)
    assert found["conv2"]["log_found_over_model"]["mean"] == pytest.approx(math.log(1.5))


def test_run_record_and_recheck(monkeypatch, runner, as_record):
    monkeypatch.setattr(spectra, "MOST_PRODUCTS", 5)
    monkeypatch.setattr(s, "SETTLED", 2)
    monkeypatch.setattr(s, "CURVE_FACTORS", (0.5, 2.5))
    parameters = s.PRESETS["smoke"] | {"horizon": 2, "halvings": 2, "orders": 1}
    record = as_record(s, parameters, s.run(parameters, runner))
    results = record.results
    for start in s.STARTS:
        assert set(s.cases()) < set(results[start])
        assert len(results["curves"][f"{start}_conv1"]) == 2
        for case in s.cases():
            cell = results[start][case]
            expected = np.log(np.divide(cell["pretrainings"], cell["predicted_pretrainings"]))
            assert cell["log_found_over_predicted"]["mean"] == pytest.approx(expected.mean())
    pairs = s.recheck(record, 1)
    assert set(pairs) == {"body.conv4", "head"}
    for name, (then, now) in pairs.items():
        assert now == pytest.approx(then, rel=1e-3), name


def test_cases_are_the_blocks_and_two_more():
    assert s.cases() == ["conv1", "conv2", "conv3", "conv4", "head", "one", "each"]
    assert set(cv.block(s.m.start(0), "head")) == {"head.weight", "head.bias"}
