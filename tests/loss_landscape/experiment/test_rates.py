"""Rates: which arm is what, whose rate it gets, and what the differences are differences of."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medxfer_lab.course.record import Record, fingerprint
from medxfer_lab.loss_landscape.experiment import material as m
from medxfer_lab.loss_landscape.experiment import rates as r
from medxfer_lab.loss_landscape.experiment.clusters import over_pretrainings, pretraining_means
from medxfer_lab.training import BlockRates, fit

PARAMETERS = {"sets": 2, "slow_sets": 2, "n": 30, "n_test": 40, "steps": 2}
ALIKE = torch.equal


@pytest.fixture(scope="module")
def patients():
    return m.target(24, 5)


def runner(jobs, function):
    keys = [job.key for job in jobs]
    assert len(set(keys)) == len(keys)
    return {job.key: dict(function(**job.parameters)) for job in jobs}


def test_no_arm_is_favoured_by_its_grid():
    for name, arm in r.ARMS.items():
        tried = np.array(arm.candidates)
        assert len(tried) == r.TRIALS, name
        np.testing.assert_allclose(tried[1:] / tried[:-1], r.RATIO)
        assert tried[r.TRIALS // 2] == arm.centre
    assert all(f"{name.partition('.')[0]}.uniform" in r.EVERY for name in r.EVERY)


@pytest.mark.parametrize(
    ("name", "rates"),
    [
        ("adam.uniform", (1, 1, 1, 1)),
        ("sgd.discriminative", (2.6**-4, 2.6**-3, 2.6**-2, 2.6**-1)),
        ("untrained.reversed", (2.6**4, 2.6**3, 2.6**2, 2.6)),
        ("adam.frozen_early", (0, 0, 1, 1)),
    ],
)
def test_an_arm_written_out(patients, name, rates):
    start = m.start(1, "untrained" if name.startswith("untrained") else "photographs")
    optimizer = "sgd" if name.startswith("sgd") else "adam"
    how = {"seed": 1, "steps": 3, "learning_rate": 1e-3, "flip": True, "optimizer": optimizer}
    by_hand = fit(start, *patients, BlockRates(rates), **how).network
    found = r.trained(name, 1, patients, 1e-3, 3).network
    for (key, a), b in zip(by_hand.named_parameters(), found.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7, msg=key)
    still = r.distances(start, found)
    assert (still > 0).tolist() == [rate > 0 for rate in rates]


def test_slow_arms_take_more_and_smaller_steps(patients):
    how = {"seed": 2, "steps": 3 * r.LONGER, "learning_rate": 8e-3 / r.SLOW, "flip": True}
    by_hand = fit(m.start(2), *patients, r.ARMS["adam.discriminative"].strategy, **how).network
    found = r.trained("slow.discriminative", 2, patients, 8e-3, 3).network
    assert all(map(ALIKE, by_hand.parameters(), found.parameters()))


def test_curvatures_are_those_of_the_whole_matrix(patients):
    """J by autograd, one image and one block at a time; the largest singular value, squared."""
    images, network = patients[0][:6], m.start(0)
    with torch.no_grad():
        p = torch.sigmoid(network(images)).double()
    for block, top in zip(
        (*(f"body.{b}" for b in r.BLOCKS), "head"), r.curvatures(network, images)
    ):
        mine = [v for key, v in network.named_parameters() if key.startswith(f"{block}.")]
        rows = [torch.autograd.grad(network(x[None])[0], mine) for x in images]
        jacobian = torch.stack([torch.cat([g.flatten() for g in row]) for row in rows]).double()
        scaled = jacobian * (p * (1 - p) / len(images)).sqrt()[:, None]
        assert top == pytest.approx(float(torch.linalg.matrix_norm(scaled, 2)) ** 2, rel=5e-3)


def test_rates_by_curvature_are_inverse_to_it(patients):
    start = m.start(0)
    strategy = r.strategy_of(r.ARMS["sgd.curvature"], start, patients[0])
    tops = r.curvatures(start, patients[0][: r.CURVATURE_IMAGES])
    np.testing.assert_allclose(np.array(strategy.block_rates) * tops[:-1], tops[-1])


def test_distances_by_hand():
    start, now = m.start(0), m.start(0)
    with torch.no_grad():
        for key, value in now.named_parameters():
            if key.startswith("body.conv2."):
                value.mul_(1.3)
            if key.startswith("body.conv4."):
                value.zero_()
    np.testing.assert_allclose(r.distances(start, now), [0, 0.3, 0, 1], atol=1e-6)


@pytest.mark.parametrize(
    ("losses", "beyond", "usable", "asked"),
    [
        ([0.1, 0.2, 0.6, 0.68, 0.9], [], 3, 0),  # the grid holds the edge: .68 is no use
        ([0.9] * 5, [], None, 0),
        ([0.1] * 5, [0.5, float("nan"), 0.1], "x4", 2),  # a run that diverged ends the search
        ([0.1] * 5, [0.5, 0.5, 0.5], "x64", 3),
    ],
)
def test_largest_usable_rate(monkeypatch, losses, beyond, usable, asked):
    tried = r.ARMS["sgd.uniform"].candidates
    script, calls = iter([*losses, *beyond]), []

    class Done:
        network = None

        def __init__(self, rate):
            calls.append(rate)
            self.train_loss = next(script)

    monkeypatch.setattr(r, "trained", lambda name, k, data, rate, steps: Done(rate))
    monkeypatch.setattr(m, "fixed_target", lambda n, seed: None)
    monkeypatch.setattr(m, "loss", lambda network, data: 0.5)
    found = r.tuning_job("sgd.uniform", 104, 10, 5, edge=True)
    expected = {None: 0.0, 3: tried[2], "x4": 4 * tried[-1], "x64": 64 * tried[-1]}[usable]
    assert found["usable"] == pytest.approx(expected)
    assert len(calls) == 5 + asked and calls[:5] == tried
    np.testing.assert_array_equal(found["losses"], np.column_stack([[0.5] * 5, losses]))


def made_up(rng, sets: int) -> list[dict]:
    return [
        {name: rng.uniform(0.3, 0.9, 3) for name in r.EVERY}
        | {f"distance.{name}": rng.random(4) for name in r.EVERY}
        for _ in range(sets)
    ]


def test_gains_are_paired_signed_and_clustered():
    done = made_up(np.random.default_rng(0), 16)
    for name, reference, key in (
        ("sgd.reversed", "sgd.uniform", "gain"),
        ("sgd.curvature", "sgd.discriminative", "lead"),
        ("slow.uniform", "slow.discriminative", "lead"),
    ):
        cell = r.summary(done, name)
        for i, (what, sign) in enumerate(zip(r.MEASURED, (-1, 1, -1))):
            pairs = [sign * (job[name][i] - job[reference][i]) for job in done]
            means = (np.array(pairs[:8]) + np.array(pairs[8:])) / 2  # set k and set k + 8
            leaf = cell[f"{what}_{key}"]
            assert leaf["n"] == 8 and leaf["mean"] == pytest.approx(means.mean())
            half = 2.364624 * means.std(ddof=1) / 8**0.5  # Student's t, seven degrees of freedom
            assert leaf["high"] - leaf["mean"] == pytest.approx(half, rel=1e-5)
            np.testing.assert_allclose(cell[f"{what}_sets"], [j[name][i] for j in done], atol=6e-6)
        moved = np.mean([job[f"distance.{name}"][2] for job in done])
        assert cell["distance"]["conv3"]["mean"] == pytest.approx(moved)


def test_contrasts_say_how_much_of_a_gain_is_gone():
    done = made_up(np.random.default_rng(1), 16)
    for job in done:  # pretrained: .2 nats and .1 of AUC better; elsewhere nothing
        for group, gain in (("adam", (0.2, 0.1)), ("untrained", (0, 0)), ("slow", (0, 0))):
            uniform = job[f"{group}.uniform"]
            job[f"{group}.discriminative"] = uniform + np.array([-gain[0], gain[1], 0])
    found = r.contrasts(done, 8)
    for other in ("untrained", "slow"):
        assert found[other]["log_loss"]["mean"] == pytest.approx(0.2)
        assert found[other]["auc"]["mean"] == pytest.approx(0.1)
        assert found[other]["train_loss"]["mean"] == pytest.approx(0)


def test_sets_of_a_pretraining_are_no_evidence_for_each_other():
    values = np.arange(16.0) % 8  # two equal sets of each pretraining
    np.testing.assert_array_equal(pretraining_means(values), np.arange(8.0))
    once = over_pretrainings(values[:8])
    assert over_pretrainings(values) == once and once["n"] == 8
    curve = over_pretrainings(np.stack([values, -values], 1))
    assert curve["mean"] == pytest.approx([3.5, -3.5]) and curve["n"] == 8


def test_run_record_and_recheck(monkeypatch, tmp_path):
    """Every arm, in two steps of training: jobs, choices, cells, disk, the repeated set."""
    monkeypatch.setattr(r, "STRIDES", 0)
    monkeypatch.setattr(r, "TRIALS", 2)
    monkeypatch.setattr(r, "VALIDATION", 40)
    kept: dict[str, dict] = {}

    def watching(jobs, function):
        kept.update(found := runner(jobs, function))
        return found

    results = r.run(PARAMETERS, watching)
    for name in r.ARMS:
        group, _, arm = name.partition(".")
        losses = [kept[f"tune-{k}-{group}-{arm}"]["losses"][:, 0] for k in r.TUNING_DRAWS]
        best = r.ARMS[name].candidates[int(np.mean(losses, 0).argmin())]
        assert results["settings"][group][arm]["settings"] == {"learning_rate": best}
        assert len(results["settings"][group][arm]["trials"]) == r.TRIALS
        assert "largest_usable_rate" in results["arms"][group][arm]
    for name in r.EVERY:
        group, _, arm = name.partition(".")
        rows = np.stack([kept[f"set-00{k}"][name] for k in range(2)])
        cell = results["arms"][group][arm]
        for i, what in enumerate(r.MEASURED):
            assert cell[what]["mean"] == pytest.approx(rows[:, i].mean()), name
    record = Record(
        chapter="loss_landscape",
        experiment=r.NAME,
        data=r.DATA,
        device="cpu",
        preset="smoke",
        version=r.VERSION,
        fingerprint=fingerprint(PARAMETERS),
        results=results,
        parameters=PARAMETERS,
    )
    assert Record.load(record.save(tmp_path / "rates.simulated.cpu.json")) == record
    pairs = r.recheck(record, 1, ("adam.uniform", "sgd.curvature", "slow.discriminative"))
    assert len(pairs) == 9
    for name, (then, now) in pairs.items():
        assert now == pytest.approx(then, abs=1e-5), name


def test_what_tunes_is_never_reported():
    for preset in r.PRESETS.values():
        assert preset["slow_sets"] <= preset["sets"] and not set(range(preset["sets"])) & set(
            r.TUNING_DRAWS
        )
    assert r.PRESETS["full"]["slow_sets"] >= 8  # Student's t with seven degrees of freedom
