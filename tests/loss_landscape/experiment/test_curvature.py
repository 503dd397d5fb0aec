"""Curvature along tuning: which network is looked at where, and what the record makes of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medxfer_lab.loss_landscape.experiment import curvature as c
from medxfer_lab.loss_landscape.experiment import material as m
from medxfer_lab.loss_landscape.experiment import spectra
from medxfer_lab.loss_landscape.experiment.walk import adam_walk
from medxfer_lab.methods.curvature import fisher_diagonal

PARAMETERS = {"pretrainings": 2, "n": 16, "steps": [2, 4], "lanczos": 4, "starts": 1}


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr(c, "HEAD_STEPS", 3)
    monkeypatch.setattr(spectra, "MOST_PRODUCTS", 6)


def test_places(pictures, short):
    """Every place has the network and the examples that its name says."""
    found = c.places(1, 12, [2, 4])
    assert tuple(sorted(found)) == tuple(sorted(c.PLACES))
    start, data = m.start(1), m.target(12, m.TRAINING_SEED + 1)
    way = adam_walk(start, data, seed=1, learning_rate=c.LEARNING_RATE, steps=4, at=[2, 4])
    for place, (network, (x, y)) in found.items():
        old = place in c.OLD_PLACES
        assert network.n_classes == (10 if old else 1)
        expected = m.source(12) if old else data
        assert torch.equal(x, expected[0]) and torch.equal(y, expected[1])
    for place, values in (("tuned_a", way[2]), ("tuned_b", way[4])):
        for name, p in found[place][0].named_parameters():
            assert torch.equal(p, values[name]), (place, name)
    end = found["old_end"][0]
    assert end.digest == found["tuned_b"][0].digest != start.digest
    assert torch.equal(end.head.weight, m.old(1).head.weight)
    head = found["head_tuned"][0]
    assert head.digest == start.digest and not torch.equal(head.head.weight, start.head.weight)


def test_run_record_and_recheck(pictures, short, runner, as_record):
    kept: dict[str, dict] = {}

    def watching(jobs, function):
        kept.update(found := runner(jobs, function))
        return found

    record = as_record(c, PARAMETERS, c.run(PARAMETERS, watching))
    jobs = [kept["pretraining-0"], kept["pretraining-1"]]
    for place in c.PLACES:
        cell = record.results[place]
        raw = np.stack([job[place] for job in jobs])  # (pretrainings, blocks, measures)
        assert cell["loss"]["mean"] == pytest.approx(np.mean([j[f"loss_{place}"] for j in jobs]))
        assert cell["relative_trace"]["conv3"]["pretrainings"] == pytest.approx(raw[:, 2, 4])
        geometric = np.sqrt(raw[0, 4, 0] * raw[1, 4, 0])
        assert cell["top"]["head"]["mean"] == pytest.approx(geometric)
        ratio = np.log(raw[:, 0, 3] / raw[:, 3, 3]).mean()
        assert cell["log_first_over_relative_top"]["conv4"]["mean"] == pytest.approx(ratio)
        assert ("hessian_top" in cell) == (place in c.HESSIAN_PLACES)
    assert kept["spectrum-0"]["nodes_fresh"].shape == (1, PARAMETERS["lanczos"])
    weights = record.results["spectrum"]["fresh"]["weights"]
    assert np.sum(weights, axis=1) == pytest.approx(1, abs=1e-4)
    pairs = c.recheck(record, 1)
    assert len(pairs) == 6
    for name, (then, now) in pairs.items():
        assert now == pytest.approx(then, rel=1e-4), name


def test_other_units_move_the_raw_number_alone(pictures, short):
    """conv1 times c leaves the loss as it is and divides the convolution's part by c squared."""
    found = c.spectrum_job(0, 16, [2, 4], 2, 1)
    fisher = fisher_diagonal(m.old(0), m.source(16)[0], labels="exact")
    first = {n: float(v.sum()) for n, v in fisher.items() if n.startswith("body.conv1.")}
    convolution = first["body.conv1.0.weight"]
    rest = sum(first.values()) - convolution
    for i, factor in enumerate(c.FACTORS, start=1):
        # up to group normalisation's epsilon, which weighs more where the weights are small
        assert found[f"loss_{i}"] == pytest.approx(found["loss_0"], rel=2e-2)
        ratio = found[f"units_{i}"] / found["units_0"]
        trace = convolution / factor**2 + rest
        assert found[f"units_{i}"][0, 1] == pytest.approx(trace, rel=0.05)
        assert (ratio[0, 0] > 10) if factor < 1 else (ratio[0, 0] < 0.9)
        assert ratio[0, 3:] == pytest.approx(1, rel=0.05)
        assert ratio[1:] == pytest.approx(1, rel=0.05)
