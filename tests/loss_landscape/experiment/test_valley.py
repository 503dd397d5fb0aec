"""How wide, at equal loss: when training stops, what is measured, and whose intervals those are."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import stats

from medxfer_lab.course.record import Record, fingerprint
from medxfer_lab.loss_landscape.experiment import material as m
from medxfer_lab.loss_landscape.experiment import valley as v
from medxfer_lab.loss_landscape.theory.symmetry import rescaled
from medxfer_lab.methods import curvature
from medxfer_lab.training import predict


@pytest.fixture
def pictures(monkeypatch):
    """Noise in place of photographs."""
    rng = np.random.default_rng(0)
    shown = [rng.integers(0, 256, (128, 32, 32), dtype=np.uint8) for _ in range(2)]
    classes = [rng.integers(0, 10, 128) for _ in range(2)]
    found = SimpleNamespace(
        images=shown[0], labels=classes[0], test_images=shown[1], test_labels=classes[1]
    )
    monkeypatch.setattr(m, "photographs", lambda: found)
    m.source.cache_clear()
    yield found
    m.source.cache_clear()


def runner(jobs, function):
    keys = [job.key for job in jobs]
    assert len(set(keys)) == len(keys)
    return {job.key: dict(function(**job.parameters)) for job in jobs}


def test_run_record_and_recheck(pictures, monkeypatch, tmp_path):
    monkeypatch.setattr(v, "ARMS", {name: v.ARMS[name] for name in ("recipe", "plain")})
    kept: dict[str, dict] = {}

    def watching(jobs, function):
        kept.update(found := runner(jobs, function))
        return found

    p = v.PRESETS["smoke"]
    results = v.run(p, watching)
    logs = [[np.log(kept[f"{s}-set-{k}"]["trace"]) for k in range(2)] for s in v.STARTS]
    found = results["target"]["log_ratios"]["photographs"]["trace"]
    assert found["mean"] == pytest.approx(np.subtract(logs[1], logs[0]).mean())
    logs = [[np.log(kept[f"{a}-{k}"]["relative_top"]) for k in range(2)] for a in v.ARMS]
    found = results["source"]["log_ratios"]["plain"]["relative_top"]
    assert found["mean"] == pytest.approx(np.mean(logs[1]) - np.mean(logs[0]))
    assert set(results["source"]["networks"]) == set(v.ARMS)
    assert len(results["source"]["finished"]["top"]["values"]) == p["finished"]
    for key, job in kept.items():
        if not key.startswith("finished"):
            assert job["reached"] <= (p["target_level"] if "set" in key else p["level"])
    record = Record(
        chapter="loss_landscape",
        experiment=v.NAME,
        data=v.DATA,
        device="cpu",
        preset="smoke",
        version=v.VERSION,
        fingerprint=fingerprint(p),
        results=results,
        parameters=p,
    )
    assert Record.load(record.save(tmp_path / "valley.json")) == record
    pairs = v.recheck(record, 1)
    assert len(pairs) == min(3, len(results["target"]["looks"][1]))
    for then, now in pairs.values():
        assert now == pytest.approx(then, abs=1e-4)


def test_relative_measures_survive_a_change_of_units_and_raw_ones_do_not(pictures):
    """Convolutions ten times as large, the function as it was (Dinh et al. 2017)."""
    network = m.old(0)
    other = rescaled(network, dict.fromkeys(network.blocks[:4], 10.0))
    torch.testing.assert_close(
        predict(other, m.source(8)[0]), predict(network, m.source(8)[0]), atol=2e-2, rtol=1e-2
    )
    here, there = (v.measures(net, m.source(8), 1) for net in (network, other))
    for name in ("relative_top", "relative_trace", "rise_0_1"):
        assert there[name] == pytest.approx(here[name], rel=0.05), name
    assert there["top"] < 0.9 * here["top"]
    parts = curvature.fisher_diagonal(network, m.source(8)[0], labels="exact")
    moved = sum(float(part.sum()) for name, part in parts.items() if part.ndim == 4)
    assert there["trace"] == pytest.approx(here["trace"] - 0.99 * moved, rel=0.05)


def test_measures_are_those_of_the_matrix(pictures):
    """Of the head alone G is small enough to be written down; its trace is part of the whole."""
    network, (inputs, labels) = m.old(0), m.source(6)
    found = v.measures(network, (inputs, labels), 1)
    parameters = dict(network.named_parameters())
    operator = curvature.gauss_newton_operator(network, inputs)
    rows = curvature.lanczos(operator, operator.dimension, 40, seed=1)
    assert found["top"] == pytest.approx(rows.ritz_values[0], rel=0.02)
    signs = torch.randn(operator.dimension, generator=torch.Generator().manual_seed(0)).sign()
    size = operator.flatten(parameters).detach().abs()
    diagonal = operator.flatten(curvature.fisher_diagonal(network, inputs, labels="exact"))
    assert found["trace"] == pytest.approx(float(diagonal.sum()), rel=1e-4)
    assert found["relative_trace"] == pytest.approx(float((size**2 * diagonal).sum()), rel=1e-4)
    # top <= trace for G >= 0, and a Rayleigh quotient is at most the top
    for top, trace, scale in (("top", "trace", 1.0), ("relative_top", "relative_trace", size)):
        direction = signs * scale
        quotient = float(direction @ operator(direction)) / operator.dimension
        assert quotient <= found[top] <= found[trace]
    assert found["loss"] == pytest.approx(m.loss(network, (inputs, labels)))


def test_width_of_a_parabola_is_where_it_has_risen():
    for a in (0.02, 0.7, 4.0, 900.0):  # the last reaches it before the first spread
        rises = [a * s**2 for s in v.SPREADS]
        found = v.width(rises)
        if a * v.SPREADS[-1] ** 2 < v.RISE:
            assert np.isnan(found)
        else:
            assert found == pytest.approx((v.RISE / a) ** 0.5)
    assert v.width([-0.1, 0.3, 0.2], (1.0, 2.0, 4.0), 0.1) == pytest.approx(1.5)


def test_training_stops_at_the_first_look_below(monkeypatch):
    network = torch.nn.Linear(2, 2)
    batches = iter(lambda: (torch.zeros(1, 2), torch.tensor([1])), None)
    optimiser = torch.optim.SGD(network.parameters(), 0.0)
    heights = iter([3.0, 2.0, 1.0])
    assert v.train_until(network, batches, optimiser, lambda: next(heights), 2.0, 7) == (
        14,
        [3.0, 2.0],
    )
    monkeypatch.setattr(v, "MOST_CHECKS", 3)
    with pytest.raises(RuntimeError, match=r"5\.000 after 6 steps.*level 2\.0 was not reached"):
        v.train_until(network, batches, optimiser, lambda: 5.0, 2.0, 2)


def test_batches_go_through_everybody_before_anybody_twice():
    drawn = v.indices(10, 3, torch.Generator().manual_seed(0))
    first, second = ([next(drawn) for _ in range(3)] for _ in range(2))
    for epoch in (first, second):
        assert len(set(torch.cat(epoch).tolist())) == 9
    assert not torch.equal(torch.cat(first), torch.cat(second))


def test_arms_differ_from_the_recipe_as_named(pictures):
    """Without augmentation a batch holds photographs as they are; with it, moved or mirrored."""
    rates = {name: arm.build(torch.nn.Linear(1, 1)).param_groups[0] for name, arm in v.ARMS.items()}
    assert rates["large_batch"]["lr"] == pytest.approx(2 * rates["recipe"]["lr"])
    assert rates["plain"]["weight_decay"] == 0 and rates["momentum"]["momentum"] == 0.9
    whole = m.source_training(128)[0].flatten(1)
    for name, same in (("plain", True), ("recipe", False)):
        inputs, labels = next(v.photograph_batches(v.ARMS[name], 3))
        found = [bool((whole == picture).all(1).any()) for picture in inputs.flatten(1)]
        assert all(found) if same else not all(found)
        assert len(labels) == v.ARMS[name].batch


def test_welch_by_its_formula():
    rng = np.random.default_rng(1)
    a, b = rng.normal(1, 1, 4), rng.normal(0, 3, 6)
    parts = a.var(ddof=1) / 4, b.var(ddof=1) / 6
    degrees = sum(parts) ** 2 / (parts[0] ** 2 / 3 + parts[1] ** 2 / 5)
    half = stats.t.ppf(0.975, degrees) * sum(parts) ** 0.5
    found = v.unpaired(a, b)
    assert found["mean"] == pytest.approx(a.mean() - b.mean())
    assert found["high"] - found["mean"] == pytest.approx(half)
    assert found["mean"] - found["low"] == pytest.approx(half)


def test_what_has_no_logarithm_is_not_compared():
    every = (*v.MEASURES, "loss", "reached")
    rows = [dict.fromkeys(every, 1.0), dict.fromkeys(every, 2.0)]
    worse = [row | {"rise_0_1": -1.0, "width": float("nan")} for row in rows]
    found = v.ratios({"a": rows, "b": worse}, "a", v.paired)["b"]
    assert found["rise_0_1"] is None and found["width"] is None
    assert found["top"]["mean"] == 0
    kept = v.summary(worse)
    assert kept["width"] == {"values": [None, None], "mean": None}
    assert kept["top"]["mean"] == pytest.approx(2**0.5)
