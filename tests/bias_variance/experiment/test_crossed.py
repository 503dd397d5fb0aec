"""Every training set meets every seed: the cube is what it says, the components add up."""

from __future__ import annotations

import numpy as np
import pytest

from medxfer_lab.bias_variance.experiment import crossed, networks
from medxfer_lab.bias_variance.experiment import material as m
from medxfer_lab.training import predict

PARAMETERS = {"sets": 3, "seeds": 3, "sizes": [16]}


@pytest.fixture(scope="module")
def done(small, runner):
    kept: dict[str, dict] = {}

    def watching(jobs, function):
        kept.update(runner(jobs, function))
        return kept

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(networks, "steps_for", lambda n: 3)
        return crossed.run({**PARAMETERS, **small}, watching), kept


def test_a_cell_is_this_set_trained_with_this_seed(done, small, monkeypatch):
    _, jobs = done
    monkeypatch.setattr(networks, "steps_for", lambda n: 3)
    drawn = m.cohort(16, m.TRAINING_SEED + 2)
    test = m.images(m.fixed_cohort("test", small["n_test"]))
    for name in crossed.STRATEGIES:
        found = networks.train(
            m.images(drawn), drawn.labels, name, crossed.SETTINGS, "lesion", 1
        ).network
        expected = predict(found, found.prepare(test)).numpy()
        assert jobs["set-002"][name].shape == (1, 3, small["n_test"])
        np.testing.assert_allclose(jobs["set-002"][name][0, 1], expected, atol=1e-5)


def test_components_are_those_of_the_analysis_of_variance(done, as_record, small, tmp_path):
    results, jobs = done
    for name in crossed.STRATEGIES:
        cube = np.stack([jobs[f"set-00{k}"][name][0] for k in range(3)]).astype(float)
        p = 1 / (1 + np.exp(-cube))  # (sets, seeds, patients)
        rows, columns, mean = p.mean(1), p.mean(0), p.mean((0, 1))
        rest = ((p - rows[:, None] - columns[None] + mean) ** 2).sum((0, 1)) / 4
        data = (3 * ((rows - mean) ** 2).sum(0) / 2 - rest) / 3
        seed = (3 * ((columns - mean) ** 2).sum(0) / 2 - rest) / 3
        parts = results[name]["16"]
        assert parts["data"]["mean"] == pytest.approx(data.mean())
        assert parts["seed"]["mean"] == pytest.approx(seed.mean())
        assert parts["interaction"]["mean"] == pytest.approx(rest.mean())
        total = sum(parts[k]["mean"] for k in ("data", "seed", "interaction"))
        assert parts["total"]["mean"] == pytest.approx(total)
    record = as_record(crossed, {**PARAMETERS, **small}, results)
    assert type(record).load(record.save(tmp_path / "crossed.simulated.cpu.json")) == record
