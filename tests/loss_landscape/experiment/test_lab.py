"""The lab measures what the chapter's experiments measure, on a task of its own."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
import torch

from medxfer_lab.course.record import Record, fingerprint
from medxfer_lab.imaging.windows import BRAIN_WINDOW
from medxfer_lab.loss_landscape import figures
from medxfer_lab.loss_landscape.experiment import lab, memory, rates, spectra
from medxfer_lab.loss_landscape.experiment import material as m
from medxfer_lab.loss_landscape.theory.symmetry import rescaled
from medxfer_lab.training import predict


@lru_cache(maxsize=1)
def small() -> lab.Tasks:
    return lab.admit(n_old=40, n_new=24, n_test=30, seed=5)


@lru_cache(maxsize=1)
def fresh():
    return lab.move_on(m.start(0), 3)


@lru_cache(maxsize=1)
def measured() -> lab.Steepness:
    return lab.steepness(fresh(), small().new)


def record(n: int = 12, steps: int = 3) -> Record:
    leaf = {"mean": 0.5, "low": 0.4, "high": 0.6}
    arms = {arm: {"log_loss": leaf, "log_loss_sets": [0.45, 0.5, 0.55]} for arm in lab.RATE_ARMS}
    chosen = {arm: {"settings": {"learning_rate": r}} for arm, r in zip(lab.RATE_ARMS, (1, 2, 3))}
    for cell in chosen.values():
        cell["settings"]["learning_rate"] *= 1e-3
    parameters = {"n": n, "steps": steps}
    return Record(
        chapter="loss_landscape",
        experiment="rates",
        data="simulated",
        device="cpu",
        preset="smoke",
        version=1,
        fingerprint=fingerprint(parameters),
        results={"settings": {"adam": chosen}, "arms": {"adam": arms}},
        parameters=parameters,
    )


def test_two_tasks_that_share_no_patient():
    tasks = small()
    sets = (tasks.old, tasks.old_test, tasks.new, tasks.new_test)
    assert [len(y) for _, y in sets] == [40, 30, 24, 30]
    together = torch.cat([x.flatten(1) for x, _ in sets])
    assert len(torch.unique(together, dim=0)) == 124
    assert all(0 < float(y.mean()) < 1 for _, y in sets)
    assert torch.equal(lab.admit(n_old=8, n_new=4, n_test=4, seed=5).old[0], tasks.old[0][:8])


def test_each_kind_of_picture_is_brought_to_the_network_s_scale():
    ct = lab.EMERGENCY.draw(3, 1, size=32)
    level, width = BRAIN_WINDOW
    grey = ((ct.images - level) / width + 0.5).clamp(0, 1)
    assert torch.allclose(lab.prepared(ct)[0], (grey - 0.5) / 0.25, atol=1e-5)
    eight = replace(ct, images=torch.full((3, 1, 28, 28), 51.0), units="0 to 255")
    assert torch.allclose(lab.prepared(eight)[0], torch.full((3, 1, 32, 32), (0.2 - 0.5) / 0.25))
    flair = m.draw(3, 1)
    assert torch.equal(lab.prepared(flair)[0], m.target(3, 1)[0])


def test_moving_on_leaves_the_old_network_alone():
    old = m.start(1)
    new = lab.move_on(old, 2)
    assert new.digest == old.digest and not torch.equal(new.head.weight, old.head.weight)
    assert torch.equal(new.head.weight, lab.move_on(old, 2).head.weight)


def test_steepness_is_the_chapter_s():
    found, rows = measured(), spectra.by_block(fresh(), small().new)
    assert np.allclose(list(found.top.values()), rows[:, 0], rtol=1e-6)
    assert np.allclose(list(found.relative.values()), rows[:, 3], rtol=1e-6)
    # of a positive semidefinite matrix: between the largest block's and the sum of the blocks'
    assert 0.98 * max(found.top.values()) <= found.joint <= 1.02 * sum(found.top.values())
    assert found.stable()["head"] == 2 / found.top["head"]
    assert f"{found.top['head']:.3g}" in lab.steepness_table({"here": found})


def test_other_units_move_raw_curvature_alone():
    other = lab.steepness(rescaled(fresh(), {"body.conv1": 0.1}), small().new)
    assert other.top["body.conv1"] > 20 * measured().top["body.conv1"]
    for block, value in measured().relative.items():
        assert other.relative[block] == pytest.approx(value, rel=0.03)


def test_descent_moves_the_blocks_that_have_a_step():
    """On the head alone the loss is convex and its Hessian is Gauss-Newton: below the edge it
    falls at every step. A block's step may not leak into another's."""
    step = measured().stable()["head"]
    runs = lab.descents(fresh(), small().new, {"head": step}, (0.5, 40.0), horizon=5)
    assert np.all(np.diff(runs[0.5]) < 0) and len(runs[0.5]) == 6
    assert runs[40.0][0] == runs[0.5][0] and runs[40.0][1] > runs[40.0][0]
    still = lab.descents(fresh(), small().new, {"head": step, "body.conv1": 0.0}, (0.5,), 5)
    assert np.allclose(still[0.5], runs[0.5], atol=1e-6)


def test_step_times_curvature_along_a_descent():
    """At the start what the table says; on the head after one step as by hand."""
    step = measured().stable()["head"]
    found = lab.step_times_curvature(fresh(), small().new, ["head"], 0.5 * step, (0, 1))
    assert found[0] == pytest.approx(1.0, rel=1e-6) and list(found) == [0, 1]
    moved = lab.move_on(fresh(), 3)
    loss = torch.nn.functional.binary_cross_entropy_with_logits(
        moved(small().new[0]), small().new[1]
    )
    slopes = torch.autograd.grad(loss, list(moved.head.parameters()))
    with torch.no_grad():
        for p, g in zip(moved.head.parameters(), slopes, strict=True):
            p -= 0.5 * step * g
        x = torch.cat([moved.features(small().new[0]), torch.ones(24, 1)], 1).double()
        p = torch.sigmoid(moved(small().new[0])).double()
    matrix = x.T @ (x * (p * (1 - p))[:, None]) / 24
    assert found[1] == pytest.approx(
        0.5 * step * float(torch.linalg.eigvalsh(matrix)[-1]), rel=0.02
    )


def test_rates_are_the_record_s_and_runs_its_experiment_s():
    made, data = record(), (small().old[0][:12], small().old[1][:12])
    ours = lab.with_rates([m.start(0)], [data], made, seeds=[0])
    for arm, rate in lab.tuned_rates(made).items():
        theirs = rates.trained(f"adam.{arm}", 0, data, rate, 3).network
        apart = predict(ours[arm][0], data[0]) - predict(theirs, data[0])
        assert float(apart.abs().max()) < 1e-3
    losses = lab.as_the_record(small(), made, 2)
    assert losses["reversed"].shape == (2,)
    assert losses["uniform"][0] == pytest.approx(
        m.loss(ours["uniform"][0], small().old_test), abs=1e-3
    )
    with pytest.raises(ValueError, match="4 sets of 12 need 48 patients; 40 came"):
        lab.as_the_record(small(), made, 4)


def test_real_pictures_where_there_are_any(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MEDXFER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MEDXFER_DATA", str(tmp_path))
    assert lab.with_real(small()) is None
    rng = np.random.default_rng(0)
    files = {}
    for part in ("train", "val", "test"):
        files[f"{part}_images"] = rng.integers(0, 256, (9, 28, 28)).astype(np.uint8)
        files[f"{part}_labels"] = (np.arange(9) % 2).astype(np.uint8)[:, None]
    np.savez(tmp_path / "pneumoniamnist.npz", **files)
    found = lab.with_real(small(), n_new=6, n_test=5)
    said = capsys.readouterr()  # a site build takes stderr for an error
    assert said.err == "" and said.out.count("is not the file that MedMNIST publishes") == 1
    assert found.old is small().old and found.new[0].shape == (6, 1, 32, 32)
    assert len(found.new_test[1]) == 5 and float(found.new[0].abs().max()) <= 2


def test_figures_draw_what_they_were_given():
    import matplotlib.pyplot as plt

    blocks = ["conv1", "conv2", "conv3", "conv4", "head"]
    cells = {b: {"mean": 1.0, "low": 0.5, "high": 2.0} for b in blocks}
    places = {p: {"top": cells, "relative_top": cells} for p in ("fresh", "tuned_b")}
    there = replace(record(), results=places)
    fig = figures.lab_curvature({"here": measured()}, there)
    drawn = [line.get_xdata() for line in fig.axes[0].lines]
    assert any(np.array_equal(x, list(measured().top.values())) for x in drawn)

    fig = figures.lab_descents({"a": {0.8: [1.0, 0.9], 1.25: [1.0, 2.0]}, "b": {1.0: [1.0, 9.0]}})
    assert [ax.get_title("left") for ax in fig.axes] == ["a", "b"]
    assert any(list(line.get_ydata()) == [1.0, 2.0] for line in fig.axes[0].lines)

    fig = figures.lab_against_record(record(), {arm: np.array([0.3]) for arm in lab.RATE_ARMS})
    assert sum(list(line.get_ydata()) == [0.3] for line in fig.axes[0].lines) == 3

    start = memory.Kept(0.9, 0.5, 0.25, 0.9)
    fig = figures.lab_kept({("plain", 0.0): start, ("ewc", 2.0): memory.Kept(1, 1, 2, 1)}, start)
    assert {t.get_text() for t in fig.axes[0].texts} == {"plain", "EWC 2"}
    plt.close("all")
