"""Training anew: who trains on what, and what the differences are differences of."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss, roc_auc_score

from medxfer_lab.domain_shift.experiment import conditions as c
from medxfer_lab.domain_shift.experiment import material as m
from medxfer_lab.domain_shift.experiment import models, shifts
from medxfer_lab.domain_shift.experiment import retraining as r
from medxfer_lab.domain_shift.experiment.assess import Scores, recalibrated, sigmoid
from medxfer_lab.domain_shift.experiment.ratio import fitted_weights, weighted_calibration

PARAMETERS = {"sets": 2, "n": 40, "pool": 150, "k": 20, "n_test": 400, "steps": 2}
SHARED = {key: PARAMETERS[key] for key in ("n", "pool", "k", "n_test", "steps")}
SETTINGS = {"head": {"strength": 0.3}, "network": {"learning_rate": 1e-3}}
FEW = {"head": {"strength": 1.0}, "network": {"learning_rate": 4e-3}}


@pytest.fixture
def one_of_each(monkeypatch):
    """One condition of each family, under which 40 patients surely are of both classes."""
    few = ("select_fluid.30",), ("label.80",), ("readers.100",)
    for name, value in zip(("COVARIATE", "LABEL", "CONCEPT"), few):
        monkeypatch.setattr(r, name, value)
    monkeypatch.setattr(r, "CONDITIONS", ("none", *sum(few, ())))


@pytest.fixture
def world(drawn_from_the_ward):
    for cached in (shifts.test_target, shifts._test_pool):
        cached.cache_clear()
    yield drawn_from_the_ward
    for cached in (shifts.test_target, shifts._test_pool):
        cached.cache_clear()


@pytest.mark.slow
def test_run_record_and_recheck(world, one_of_each, runner, as_record, monkeypatch, tmp_path):
    monkeypatch.setattr(r, "MODELS", ("statistics", "network"))
    kept: dict[str, dict] = {}

    def watching(jobs, function):
        kept.update(found := runner(jobs, function))
        return found

    results = r.run(PARAMETERS, watching)
    for kind in r.MODELS:
        for name in r.CONDITIONS:
            family, _, strength = name.partition(".")
            cell, arms = results[kind][family][strength or "0"], r.arms_of(name)
            rows = np.stack([kept[f"set-00{k}"][f"{kind}.{name}"] for k in range(2)])
            assert rows.shape == (2, len(arms), 2)
            for i, arm in enumerate(arms):
                if arm == "continued" and kind != "network":
                    assert arm not in cell and np.isnan(rows[:, i]).all()
                    continue
                leaf = cell[arm]
                assert leaf["auc"]["mean"] == pytest.approx(rows[:, i, 0].mean())
                up, down = rows[:, i, 0] - rows[:, 0, 0], rows[:, 0, 1] - rows[:, i, 1]
                assert leaf["auc_gain"]["mean"] == pytest.approx(up.mean())
                assert leaf["refined_gain"]["mean"] == pytest.approx(down.mean())
            harm = [float(kept[f"set-00{k}"][f"harm.{kind}.{name}"]) for k in range(2)]
            np.testing.assert_allclose(cell["harm_sets"], harm, atol=6e-6)
            assert cell["harm"]["mean"] == pytest.approx(np.mean(harm))
            if name in r.COVARIATE:
                rows = np.stack([kept[f"set-00{k}"][f"calibrated.{kind}.{name}"] for k in range(2)])
                gain = cell["known_weights"]["calibrated_gain"]["mean"]
                assert gain == pytest.approx((rows[:, 0] - rows[:, 1]).mean())
                assert cell["source"]["calibrated_gain"]["mean"] == 0
    for name in r.COVARIATE:
        family, _, strength = name.partition(".")
        shares = [kept[f"set-00{k}"][f"weights.{name}"][0] for k in range(2)]
        assert results["weights"][family][strength]["known_share"]["mean"] == pytest.approx(
            np.mean(shares)
        )
    record = as_record(r, PARAMETERS, results)
    assert type(record).load(record.save(tmp_path / "retraining.simulated.cpu.json")) == record
    pairs = r.recheck(record, 1, r.MODELS)
    assert len(pairs) == 2 * len(r.CONDITIONS)
    for name, (then, now) in pairs.items():
        assert now == pytest.approx(then, abs=2e-3), name  # a swap of two of some 80 patients


def parts_of_set(k: int):
    p = PARAMETERS
    everyone = m.draw(2 * p["n"] + p["pool"], m.TRAINING_SEED + 30_000 + k)
    ends = torch.arange(len(everyone)).split([p["n"], p["n"], p["pool"]])
    return [everyone.take(part) for part in ends]


def scores(model, name: str) -> tuple[np.ndarray, np.ndarray]:
    fixed = m.draw(PARAMETERS["n_test"], m.TEST_SEED)
    there = c.target(c.Pool(fixed), name, m.TEST_SEED)
    return model(fixed.take(there.index)), there.labels.numpy()


def auc_and_refined(model, name: str) -> list[float]:
    z, y = scores(model, name)
    half = len(y) // 2
    p = recalibrated(Scores(z[:half], y[:half])).probabilities(z[half:])
    return [roc_auc_score(y[half:], z[half:]), log_loss(y[half:], p)]


@pytest.mark.slow
def test_every_arm_of_a_set_by_hand(world, one_of_each, monkeypatch):
    """Networks: plain, weighted, on target labels, on few, on both, on from the source's."""
    monkeypatch.setattr(r, "MODELS", ("network",))
    k, p = 1, PARAMETERS
    found = r.training_job(k, **SHARED, settings=SETTINGS, settings_few=FEW)
    drawn, held, others = parts_of_set(k)
    shown = m.pictures(drawn)

    def trained(x, y, weights=None, settings=SETTINGS):
        return models.train("network", x, y, settings["network"], k, p["steps"], weights)

    source = trained(shown, drawn.labels)
    for name in r.CONDITIONS:
        there = c.target(c.Pool(others), name, k, p["n"])
        x, y = m.pictures(others.take(there.index)), there.labels
        arms = {"source": source, "target": trained(x, y)}
        if name in r.COVARIATE:
            known = c.known_weights(drawn, name)
            fitted = fitted_weights(drawn, others.take(there.index), k).known
            arms |= {"known_weights": trained(shown, drawn.labels, known)}
            arms |= {"fitted_weights": trained(shown, drawn.labels, fitted)}
            w = c.known_weights(held, name)
            line = weighted_calibration(arms["known_weights"](held), held.labels.numpy(), w)
            z, labels = scores(arms["known_weights"], name)
            half = len(labels) // 2
            loss = log_loss(labels[half:], sigmoid(line.apply(z[half:])))
            assert found[f"calibrated.network.{name}"][1] == pytest.approx(loss, abs=1e-3)
        elif name in r.CONCEPT:
            few = x[: p["k"]], y[: p["k"]]
            arms |= {"few": trained(*few, settings=FEW)}
            both = torch.cat([shown, few[0]]), torch.cat([drawn.labels, few[1]])
            arms |= {"pooled": trained(*both)}
            arms |= {"continued": models.go_on(source, *few, FEW["network"], k, p["steps"])}
        assert set(arms) == set(r.arms_of(name))
        for row, arm in zip(found[f"network.{name}"], r.arms_of(name)):
            np.testing.assert_allclose(row, auc_and_refined(arms[arm], name), atol=2e-3)
        z, labels = scores(source, name)
        half = len(labels) // 2
        line = recalibrated(Scores(source(held), held.labels.numpy()))
        deployed = log_loss(labels[half:], sigmoid(line.apply(z[half:])))
        native = auc_and_refined(arms["target"], name)[1]
        assert float(found[f"harm.network.{name}"]) == pytest.approx(deployed - native, abs=1e-3)


def test_arms():
    assert r.arms_of("vendor.90") == r.WEIGHTED_ARMS
    assert r.arms_of("readers.50") == r.CONCEPT_ARMS
    assert r.arms_of("label.5") == r.LABEL_ARMS
    assert all(r.arms_of(name)[0] == "source" for name in r.CONDITIONS)
    assert set(r.CONDITIONS) <= set(c.NAMES)


def test_total_variation_by_its_definition(world):
    """1/2 sum |p - q| over what the shift changes: the label, the scanner, s(x), moved labels."""
    n = 400
    fixed = m.draw(n, m.TEST_SEED)
    assert r.total_variation("none", n) == 0
    for rho in (5, 80):
        p = np.array([1 - fixed.prevalence, fixed.prevalence])
        q = np.array([1 - rho / 100, rho / 100])
        assert r.total_variation(f"label.{rho}", n) == pytest.approx(np.abs(p - q).sum() / 2)
    second = float((fixed.scanner == 1).float().mean())
    odds = second * 3, (1 - second) / 7  # weights of the two vendors, .9/.3 and .1/.7
    q = odds[0] / sum(odds)
    assert r.total_variation("vendor.90", n) == pytest.approx(q - second, abs=1e-6)
    s = c.Pool(fixed).kept_with("select", 30).numpy()
    # the target's excess over the source, where it exceeds it: largest set of q(A) - p(A)
    q = s / s.sum()
    assert r.total_variation("select.30", n) == pytest.approx((q - 1 / n).clip(min=0).sum())
    strict = (fixed.burden >= 40).float()
    moved = float((strict != fixed.labels).float().mean())
    assert r.total_variation("criterion.40", n) == pytest.approx(moved)
    few, all_of_them = (r.total_variation(f"readers.{s}", n) for s in (50, 100))
    assert 0 < few < all_of_them < 1


def test_refined_forgives_calibration_and_deployed_loss_does_not(world):
    """A score stretched and moved: same AUC, same refined loss; as deployed it costs."""

    class Fixed:
        def __init__(self, gain, shift):
            self.gain, self.shift = gain, shift

        def on_fixed(self, n, seed, index=slice(None)):
            burden = np.log1p(m.fixed_cohort(n, seed).burden.numpy().astype(float))
            noise = np.random.default_rng(0).standard_normal(n)
            return (self.gain * (burden - 2 + noise) + self.shift)[index]

    there = shifts.test_target("label.60", 400)
    half = len(there.labels) // 2
    losses = []
    for how in ((1, 0), (5, -3)):
        as_it_is = SimpleNamespace(apply=lambda z: z)
        losses.append(r.deployed_loss(Fixed(*how), as_it_is, "label.60", 400))
        z = Fixed(*how).on_fixed(400, m.TEST_SEED)[there.index][half:]
        assert losses[-1] == pytest.approx(log_loss(there.labels[half:], sigmoid(z)))
    assert losses[0] != pytest.approx(losses[1], abs=1e-3)
    a, b = (r.scored(Fixed(*how), "label.60", 400) for how in ((1, 0), (5, -3)))
    assert a == pytest.approx(b, abs=1e-6)


def test_lead_of_few_labels_is_paired():
    rng = np.random.default_rng(0)
    rows = rng.uniform(0.5, 1, (4, len(r.CONCEPT_ARMS), 2))
    found = r._summary(rows, r.CONCEPT_ARMS)
    few = rows[:, r.CONCEPT_ARMS.index("few"), 0]
    for arm in ("source", "pooled", "continued"):
        lead = few - rows[:, r.CONCEPT_ARMS.index(arm), 0]
        leaf = found[arm]["few_minus_this_auc"]
        half = 3.182446 * lead.std(ddof=1) / 2  # Student's t, three degrees of freedom
        assert leaf["mean"] == pytest.approx(lead.mean())
        assert leaf["high"] - leaf["mean"] == pytest.approx(half, rel=1e-5)
    assert "few_minus_this_auc" not in found["target"]
    np.testing.assert_allclose(found["auc_sets"], rows[:, 0, 0], atol=6e-6)
    with_gap = rows.copy()
    with_gap[2, r.CONCEPT_ARMS.index("continued")] = np.nan
    assert "continued" not in r._summary(with_gap, r.CONCEPT_ARMS)


def test_put():
    nested: dict = {}
    r.put(nested, "label.5", {"a": 1})
    r.put(nested, "label.80", {"a": 2})
    r.put(nested, "none", {"a": 3})
    assert nested == {"label": {"5": {"a": 1}, "80": {"a": 2}}, "none": {"0": {"a": 3}}}
