"""Forgetting: the forecast's terms against dense matrices, and how far a forecast reaches."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from medxfer_lab.loss_landscape.experiment import forgetting as f
from medxfer_lab.loss_landscape.experiment import material as m

PARAMETERS = {"pretrainings": 2, "sets": 2, "n": 16, "n_old": 16, "at": [1, 2, 4], "top": 2}


@pytest.fixture
def old(tiny, dense, monkeypatch):
    """A three-class old task whose matrices can be written down: (Old, matrices, body)."""
    network, data = tiny(3, seed=4)
    monkeypatch.setattr(m, "old", lambda k: network)
    monkeypatch.setattr(m, "source", lambda n: data)
    matrices = dense(network, data)
    inside = np.concatenate([matrices.block("body.conv1"), matrices.block("body.conv4")])
    return f.Old(m.old(0), m.source(12)), matrices, np.sort(inside)


def some(n: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_terms_are_those_of_the_dense_matrices(old):
    task, matrices, at = old
    d = some(len(at)).numpy()
    g, h = matrices.gauss_newton[np.ix_(at, at)].numpy(), matrices.hessian[np.ix_(at, at)].numpy()
    expected = [matrices.gradient.numpy()[at] @ d, d @ h @ d / 2, d @ g @ d / 2]
    expected.append(d @ (np.diag(g) * d) / 2)
    np.testing.assert_allclose(task.terms(torch.from_numpy(d)), expected, rtol=1e-9)
    assert abs(expected[1] - expected[2]) > 1e-3 and abs(expected[2] - expected[3]) > 1e-3


def test_rise_is_the_loss_s_and_its_expansion_is_right_to_third_order(old):
    task, matrices, at = old
    d, errors = 0.1 * some(len(at), 1), []
    for scale in (1.0, 0.5, 0.25):
        there = matrices.flat.clone()
        there[at] += scale * d
        rise = float(matrices.loss(there) - matrices.loss(matrices.flat))
        assert task.rise(scale * d) == pytest.approx(rise, rel=1e-9)
        errors.append(abs(task.terms(scale * d)[:2].sum() - rise))
    # a remainder of third order falls eightfold with every halving
    assert errors[0] / errors[1] == pytest.approx(8, rel=0.25)
    assert errors[1] / errors[2] == pytest.approx(8, rel=0.25)


def test_steep_directions_are_the_top_eigenvectors(old):
    task, matrices, at = old
    values, vectors = torch.linalg.eigh(matrices.gauss_newton[np.ix_(at, at)])
    found = task.steep(2)
    for row, expected, value in zip(found, vectors.T.flip(0), values.flip(0)):
        residual = float((task.gauss_newton(row.double()) - value * row).norm() / values[-1])
        assert residual < 2e-2 and abs(float(row.double() @ expected)) > 0.99


def test_as_long_in_every_tensor(old):
    task, _, at = old
    one, other = some(len(at), 2), some(len(at), 3)
    found = task.hessian.unflatten(task.as_long(one, other))
    start, wanted = task.hessian.unflatten(one), task.hessian.unflatten(other)
    for name, value in found.items():
        assert float(value.norm()) == pytest.approx(float(wanted[name].norm()))
        cosine = (value * start[name]).sum() / (value.norm() * start[name].norm())
        assert float(cosine) == pytest.approx(1)


def test_directions_by_hand(old):
    """One length for all; there and back the linear term cancels; less steep is orthogonal."""
    task, matrices, at = old
    g = matrices.gauss_newton[np.ix_(at, at)].numpy()
    descent, way = -task.gradient, some(len(at), 5)
    found = f._directions(task, descent, way, 2, 0)
    length = f.LENGTH * float(matrices.flat[at].norm())
    for name, vector in (("gradient", descent), ("displacement", way)):
        unit = (vector / vector.norm()).numpy()
        curved = unit @ g @ unit
        assert found[f"quadratic_{name}"] == pytest.approx(curved * length**2 / 2)
        assert found[f"steepness_{name}"] == pytest.approx(curved * len(at) / np.trace(g))
        delta = torch.from_numpy(length * unit)
        assert found[f"forward_{name}"] == pytest.approx(task.rise(delta))
        assert found[f"rise_{name}"] == pytest.approx((task.rise(delta) + task.rise(-delta)) / 2)
        assert found[f"share_{name}_less_steep"] == pytest.approx(0, abs=1e-9)
        assert found[f"steepness_{name}_less_steep"] < found[f"steepness_{name}"]
    # down the old gradient itself the loss falls, and by its length to first order
    fall = -length * float(task.gradient.norm())
    assert found["forward_gradient"] == pytest.approx(fall, rel=0.1)
    assert found["steep_dimension"] == pytest.approx(2 / len(at))


def test_forecasts_from_terms():
    found = f.forecasts(np.array([[0.1, 0.2, 0.3, 0.4], [1, 2, 3, 4]]))
    assert {name: list(values) for name, values in found.items()} == {
        "total": pytest.approx([0.3, 3]),
        "quadratic": pytest.approx([0.2, 2]),
        "gauss_newton": pytest.approx([0.3, 3]),
        "fisher_diagonal": pytest.approx([0.4, 4]),
    }


@pytest.mark.parametrize(
    ("forecast", "expected"),
    [
        ([0.1, 0.4, 1.2], 0.3),  # right to the end
        ([0.1, 0.31, 0.8], 0.2),  # the last is off by a third
        ([0.1, 0.6, 1.2], 0.1),  # right again further out: everywhere before counts
        ([0.2, 0.4, 1.2], 0.05),  # never: half of the first place
        ([0.109, 0.4, 1.2], 0.3),
        ([0.1, 0.301, 0.901], 0.3),  # not quite a quarter off
    ],
)
def test_reach(forecast, expected):
    distance, rise = np.array([0.1, 0.2, 0.3]), np.array([0.1, 0.4, 1.2])
    assert f.reach(distance, rise, np.array(forecast)) == pytest.approx(expected)


def test_near_nothing_a_hundredth_of_a_nat_is_near_enough():
    distance, rise = np.array([0.1, 0.2]), np.array([0.001, -0.002])
    assert f.reach(distance, rise, np.array([0.0105, 0.007])) == 0.2
    assert f.reach(distance, rise, np.array([0.0125, 0.0])) == 0.05


def test_run_record_and_recheck(pictures, monkeypatch, runner, as_record):
    monkeypatch.setattr(f, "DRAWS", 1)
    kept: dict[str, dict] = {}

    def watching(jobs, function):
        kept.update(found := runner(jobs, function))
        return found

    record = as_record(f, PARAMETERS, f.run(PARAMETERS, watching))
    way, jobs = record.results["way"], list(kept.values())
    assert list(kept) == [f"pretraining-{k}-set-{s}" for k in (0, 1) for s in (0, 1)]
    rises = np.array([job["rise"] for job in jobs])
    assert way["rise"]["n"] == 2 and way["rise"]["mean"] == pytest.approx(rises.mean(0))
    totals = np.array([job["terms"][:, :2].sum(1) for job in jobs])
    # jackknife over two pretrainings: twice the whole, less the mean of either alone
    whole = totals[:, 1].sum() / rises[:, 1].sum()
    alone = [totals[p, 1].sum() / rises[p, 1].sum() for p in (slice(0, 2), slice(2, 4))]
    assert way["ratio"]["total"]["2"]["mean"] == pytest.approx(2 * whole - np.mean(alone))
    line = record.results["line"]
    at_one = f.FRACTIONS.index(1.0)
    assert line["labels"][at_one] == "100"
    assert line["rise"]["mean"][at_one] == pytest.approx(way["rise"]["mean"][-1])
    steep = record.results["log_steeper_than_like_gradient"]["mean"]
    first = [kept[f"pretraining-{k}-set-0"] for k in (0, 1)]
    ratios = [j["steepness_gradient"] / j["steepness_random_like_gradient"] for j in first]
    assert steep == pytest.approx(np.mean([math.log(r) for r in ratios]))
    assert record.results["reach"]["way_total"]["runs"] == 4
    pairs = f.recheck(record, 1)
    assert len(pairs) == 6
    for name, (then, now) in pairs.items():
        assert now == pytest.approx(then, rel=5e-3, abs=1e-5), name
