"""Estimators in a population that is exact: repetitions draw what they say, coverage is counted."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import optimize, stats

from medxfer_lab.domain_shift.experiment import material as m
from medxfer_lab.domain_shift.experiment import prevalence as e
from medxfer_lab.domain_shift.experiment.assess import sigmoid
from medxfer_lab.methods.calibration import fit_calibration

PARAMETERS = {"repetitions": 4, "n": 200, "m": 150, "population": 500, "steps": 3}


@pytest.fixture(scope="module")
def world(gaussian):
    """Scores of many patients: the spectrum of the diseased is easier, the vendor moves all."""
    drawn = gaussian(60_000, 1 / 3, np.random.default_rng(0))
    healthy, diseased = drawn.z[drawn.y == 0], drawn.z[drawn.y == 1]
    return e.Population(
        {"kept": healthy, "vendor": healthy + 1.5, "spectrum": healthy},
        {"kept": diseased, "vendor": diseased + 1.5, "spectrum": diseased + 1.0},
        float(drawn.y.mean()),
    )


@pytest.mark.parametrize("target", e.TARGETS)
def test_a_sample_is_what_it_says(world, target):
    rng = np.random.default_rng(1)
    n, rho = 20_000, 0.2
    z, y = e.sample(world, target, rho, n, rng)
    assert abs(y.sum() - n * rho) < 4 * np.sqrt(n * rho * (1 - rho))
    assert np.isin(z[y == 1], world.diseased[target]).all()
    assert np.isin(z[y == 0], world.healthy[target]).all()
    for ours, whole in ((z[y == 1], world.diseased[target]), (z[y == 0], world.healthy[target])):
        assert abs(ours.mean() - whole.mean()) < 4 * whole.std() / np.sqrt(len(ours))


def test_estimators_by_hand(world):
    rng = np.random.default_rng(2)
    source, (seen, _) = (
        e.sample(world, "kept", 1 / 3, 400, rng),
        e.sample(world, "kept", 0.6, 300, rng),
    )
    found = {name: value[0] for name, value in e.estimates(source, seen).items()}
    assert tuple(found) == e.ESTIMATORS or set(found) == set(e.ESTIMATORS)
    z, y = source
    line = fit_calibration(z, y)
    p_source, p = (1 / (1 + np.exp(-(line.slope * v + line.intercept))) for v in (z, seen))
    assert found["count"] == pytest.approx((p >= 0.5).mean())
    assert found["mean_probability"] == pytest.approx(p.mean())
    for name, f_source, f in (
        ("bbse_soft", p_source, p),
        ("bbse_delta", p_source, p),
        ("bbse_hard", p_source >= 0.5, p >= 0.5),
    ):
        m0, m1 = f_source[y == 0].mean(), f_source[y == 1].mean()
        assert found[name] == pytest.approx((f.mean() - m0) / (m1 - m0)), name
    balanced = 1 / (1 + np.exp(-line.slope * seen))
    for name, q in (("em", p), ("em_uncalibrated", sigmoid(seen)), ("em_wrong_start", balanced)):
        pi = y.mean()

        def loss(rho, q=q, pi=pi):
            return -np.log((1 - rho) * (1 - q) / (1 - pi) + rho * q / pi).sum()

        best = optimize.minimize_scalar(loss, bounds=(1e-6, 1 - 1e-6), method="bounded")
        assert found[name] == pytest.approx(best.x, abs=1e-4), name


def test_where_it_is_kept_estimates_are_right_and_where_not_they_are_not(world, monkeypatch):
    """Means over repetitions, within their own standard errors."""
    monkeypatch.setattr(e, "_population", lambda size, steps: world)
    how = {"repetitions": 60, "n": 400, "m": 400, "population": 0, "steps": 0}
    means = {}
    for target in e.TARGETS:
        rows = e.repetitions_job(target, 20, **how)["rows"]
        estimate = rows[:, e.ESTIMATORS.index("bbse_soft"), 0]
        means[target] = (estimate.mean() - 0.2) / (estimate.std(ddof=1) / np.sqrt(60))
        if target == "kept":
            em = rows[:, e.ESTIMATORS.index("em"), 0]
            assert abs(em.mean() - 0.2) < 4 * em.std(ddof=1) / np.sqrt(60) + 0.005
            p = {y: sigmoid(z["kept"]) for y, z in enumerate((world.healthy, world.diseased))}
            expected = 0.8 * p[0].mean() + 0.2 * p[1].mean()  # of the uncorrected mean
            mean = rows[:, e.ESTIMATORS.index("mean_probability"), 0]
            assert expected > 0.23
            assert abs(mean.mean() - expected) < 4 * mean.std(ddof=1) / np.sqrt(60) + 0.005
    assert abs(means["kept"]) < 4 and means["vendor"] > 8 and means["spectrum"] > 3


def test_the_family_test_warns_where_the_family_is_left(world, monkeypatch):
    """40 repetitions: at its level where p(z | y) is kept, nearly always where all scores moved."""
    monkeypatch.setattr(e, "_population", lambda size, steps: world)
    monkeypatch.setattr(e, "FAMILY_REPETITIONS", 40)
    kept, moved = (e.family_job(t, 5, 200, 200, 0, 0)["p"] for t in ("kept", "vendor"))
    assert (kept <= 0.05).sum() <= stats.binom.ppf(0.9999, 40, 0.05)
    assert (moved <= 0.05).mean() > (kept <= 0.05).mean() + 0.2


def test_every_estimate_lies_in_its_interval(world, monkeypatch):
    monkeypatch.setattr(e, "_population", lambda size, steps: world)
    for target, rho in (("kept", 2), ("vendor", 80)):
        rows = e.repetitions_job(target, rho, 20, 120, 100, 0, 0)["rows"]
        assert (rows[..., 1] <= rows[..., 0] + 1e-12).all()
        assert (rows[..., 0] <= rows[..., 2] + 1e-12).all()


def test_coverage_is_counted():
    rng = np.random.default_rng(3)
    estimate = rng.normal(0.2, 0.05, 500)
    rows = np.stack([estimate, estimate - 0.06, estimate + 0.09], 1)
    found = e._cell(rows, 0.2)
    covered = sum(low <= 0.2 <= high for _, low, high in rows)
    assert 300 < covered < 500
    exact = stats.binomtest(covered, 500).proportion_ci(0.95, "exact")
    assert found["coverage"]["mean"] == pytest.approx(covered / 500)
    assert found["coverage"]["low"] == pytest.approx(exact.low)
    assert found["coverage"]["high"] == pytest.approx(exact.high)
    assert found["bias"]["mean"] == pytest.approx(estimate.mean() - 0.2)
    assert found["root_mean_square"] == pytest.approx(np.sqrt(((estimate - 0.2) ** 2).mean()))
    assert found["width"]["mean"] == pytest.approx(0.15)
    assert found["first"] == pytest.approx(rows[0])
    edge = np.array([[0.3, 0.2, 0.4], [0.1, 0.0, 0.2], [0.5, 0.21, 0.6]])
    assert e._cell(edge, 0.2)["coverage"]["mean"] == pytest.approx(2 / 3)  # ends count as inside


def test_jobs_repeat_and_the_first_repetition_stands_for_itself(world, monkeypatch):
    monkeypatch.setattr(e, "_population", lambda size, steps: world)
    how = {"n": 100, "m": 100, "population": 0, "steps": 0}
    whole, one = (e.repetitions_job("kept", 20, k, **how)["rows"] for k in (5, 1))
    assert np.array_equal(whole[0], one[0])
    other = e.repetitions_job("kept", 50, 1, **how)["rows"]
    assert not np.array_equal(other, one)


def test_run_record_and_recheck(world, runner, as_record, monkeypatch, tmp_path):
    monkeypatch.setattr(e, "_population", lambda size, steps: world)
    monkeypatch.setattr(e, "FAMILY_REPETITIONS", 3)
    results = e.run(PARAMETERS, runner)
    shared = {key: PARAMETERS[key] for key in ("n", "m", "population", "steps")}
    p = e.family_job("vendor", 50, **shared)["p"]
    assert results["vendor"]["warned"]["50"]["mean"] == pytest.approx((p <= 0.05).mean())
    rows = e.repetitions_job("spectrum", 80, **PARAMETERS)["rows"]
    for i, name in enumerate(e.ESTIMATORS):
        cell = results["spectrum"][name]["80"]
        assert cell["bias"]["mean"] == pytest.approx(rows[:, i, 0].mean() - 0.8)
    assert results["source_prevalence"] == world.prevalence
    record = as_record(e, PARAMETERS, results)
    assert type(record).load(record.save(tmp_path / "prevalence.simulated.cpu.json")) == record
    pairs = e.recheck(record, "vendor", 5)
    assert set(pairs) == set(e.ESTIMATORS)
    assert all(then == pytest.approx(now) for then, now in pairs.values())


def test_population_is_the_network_s_scores_of_others(drawn_from_the_ward):
    """Sizes by hand: the second vendor's patients, lesions of 40 ml and more."""
    e.population.cache_clear()
    found = e.population(300, 2)
    e.population.cache_clear()
    others = m.draw(300, m.TRAINING_SEED - 2)
    ill, second = others.labels == 1, others.scanner == 1
    large = others.burden >= 40
    count = {name: len(z) for name, z in found.diseased.items()}
    assert count == {
        "kept": int(ill.sum()),
        "vendor": int((ill & second).sum()),
        "spectrum": int((ill & large).sum()),
    }
    assert len(found.healthy["vendor"]) == int((~ill & second).sum())
    assert np.array_equal(found.healthy["spectrum"], found.healthy["kept"])
    assert found.prevalence == pytest.approx(others.prevalence)
    assert np.isin(found.diseased["spectrum"], found.diseased["kept"]).all()
    assert torch.equal(others.labels, (others.burden >= 20).float())


def test_presets_differ_in_scale_only():
    full = e.PRESETS["full"]
    for preset in e.PRESETS.values():
        assert set(preset) == set(full)
    # coverage surely above .93 can be told from .95 with these repetitions
    assert np.sqrt(0.95 * 0.05 / full["repetitions"]) * 1.96 < 0.01
