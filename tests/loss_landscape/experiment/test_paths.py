"""Lines and planes between networks: what is interpolated, and what counts as a wall."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from medxfer_lab.course.record import Record, fingerprint
from medxfer_lab.loss_landscape.experiment import material as m
from medxfer_lab.loss_landscape.experiment import paths as p

SMOKE = p.PRESETS["smoke"]
CURVES = arrays(float, 7, elements=st.floats(-5, 5))


@pytest.fixture
def pictures(monkeypatch):
    """Noise in place of photographs."""
    rng = np.random.default_rng(0)
    shown, classes = rng.integers(0, 256, (64, 32, 32), dtype=np.uint8), rng.integers(0, 10, 64)
    found = SimpleNamespace(images=shown, labels=classes, test_images=shown, test_labels=classes)
    monkeypatch.setattr(m, "photographs", lambda: found)
    m.source.cache_clear()
    yield found
    m.source.cache_clear()


def runner(jobs, function):
    keys = [job.key for job in jobs]
    assert len(set(keys)) == len(keys)
    return {job.key: dict(function(**job.parameters)) for job in jobs}


def test_run_record_and_recheck(pictures, tmp_path):
    kept: dict[str, dict] = {}

    def watching(jobs, function):
        kept.update(found := runner(jobs, function))
        return found

    results = p.run(SMOKE, watching)
    pairs = [kept[f"pair-0{j}"] for j in range(2)]
    assert pairs[0]["target"].shape == (len(p.KINDS), 3)
    assert pairs[0]["source"].shape == (len(p.PRETRAINED), 3)
    assert set(results["kinds"]) == set(p.KINDS)
    assert "source" not in results["kinds"]["untrained_other"]
    walls = np.stack([p.barrier(job["target"]) for job in pairs])
    other, head = (list(p.KINDS).index(kind) for kind in ("pretraining", "head"))
    found = results["kinds"]["pretraining"]["target"]["barrier"]
    assert found["mean"] == pytest.approx(walls[:, other].mean())
    found = results["target_differences"]["pretraining_minus_head"]
    assert found["mean"] == pytest.approx((walls[:, other] - walls[:, head]).mean())
    assert "patients_minus_batches" in results["source_differences"]
    assert "untrained_other_minus_untrained_same" not in results["source_differences"]
    assert np.shape(results["plane"]["source"]) == (3, 3)
    record = Record(
        chapter="loss_landscape",
        experiment=p.NAME,
        data=p.DATA,
        device="cpu",
        preset="smoke",
        version=p.VERSION,
        fingerprint=fingerprint(SMOKE),
        results=results,
        parameters=SMOKE,
    )
    assert Record.load(record.save(tmp_path / "paths.json")) == record
    for then, now in p.recheck(record, 1).values():
        assert now == pytest.approx(then, abs=1e-4)


@given(CURVES, st.floats(-3, 3), st.floats(-3, 3))
def test_a_barrier_ignores_slope_and_level_and_is_never_negative(losses, level, slope):
    t = np.linspace(0, 1, 7)
    found = p.barrier(losses)
    assert found >= 0
    assert p.barrier(losses + level + slope * t) == pytest.approx(float(found), abs=1e-9)
    assert p.excess(losses)[[0, -1]] == pytest.approx([0, 0])


def test_a_valley_has_no_barrier_and_a_hill_its_height():
    t = np.linspace(0, 1, 11)
    assert p.barrier((t - 0.4) ** 2) == 0
    assert p.barrier(1 + t + 0.8 * np.sin(np.pi * t)) == pytest.approx(0.8)
    assert p.excess(t**2)[5] == pytest.approx(-0.25)


def test_line_from_one_network_to_the_other_by_hand():
    """Half-way is the mean of all tensors, the heads' too; neither network is changed."""
    first, second = m.start(0), m.start(1, "untrained")
    before = {name: value.clone() for name, value in first.state_dict().items()}
    data = m.fixed_target(30, 5)
    found = p.losses_on_line(first, second, data, 3)
    half = m.start(2)
    other = second.state_dict()
    half.load_state_dict({name: (value + other[name]) / 2 for name, value in before.items()})
    expected = [m.loss(network, data) for network in (first, half, second)]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert all(torch.equal(value, before[name]) for name, value in first.state_dict().items())


def test_apart_is_the_bodies_relative_distance():
    first, second = m.start(0), m.start(0, head_seed=5)
    assert p.apart(first, second) == 0
    with torch.no_grad():
        for parameter in second.body.parameters():
            parameter.mul_(1.5)
    assert p.apart(first, second) == pytest.approx(0.5)


def test_plane_holds_its_three_points(pictures, monkeypatch):
    """On a grid through them, the losses are those of theta_0, A and B themselves."""
    monkeypatch.setattr(p, "axis", lambda points, grid: points)
    found = p.plane_job(1, 24, 40, 3, 3)
    sets = [m.target(24, p.FIRST_SEED + 2 + i) for i in range(2)]
    ends = [
        p.tuned("photographs", 1, 101, 100 * (i + 1) + 1, data, 3)[0] for i, data in enumerate(sets)
    ]
    test, old = m.fixed_target(40, m.TEST_SEED), m.old(1)
    for (row, column), network in zip(
        ((0, 0), (0, 1), (2, 2)), (m.start(1, head_seed=101), *ends), strict=True
    ):
        assert found["target"][row, column] == pytest.approx(m.loss(network, test), abs=1e-5)
        under_old = m.loss(m.with_head(network, old.head), m.source(40))
        assert found["source"][row, column] == pytest.approx(under_old, abs=1e-4)


def test_axis_covers_its_points_with_a_margin():
    found = p.axis([0.0, 2.0, -1.0], 13)
    assert found[0] == pytest.approx(-1.75) and found[-1] == pytest.approx(2.75)
    assert np.allclose(np.diff(found), 4.5 / 12)
