"""Heads on frozen features, in small: every number of the record from its raw materials."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from medxfer_lab.bias_variance.experiment import heads
from medxfer_lab.bias_variance.experiment import material as m

SIZES = [16, 24]


@pytest.fixture(scope="module")
def parameters(small):
    return {"sets": 3, "tuning_sets": 1, "sizes": SIZES, **small}


@pytest.fixture(scope="module")
def done(parameters, runner):
    """Results, and every job's output by key."""
    kept: dict[str, dict] = {}

    def watching(jobs, function):
        found = runner(jobs, function)
        assert not kept.keys() & found.keys()
        kept.update(found)
        return found

    return heads.run(parameters, watching), kept


def test_strengths_are_those_with_the_lowest_validation_loss(done):
    results, jobs = done
    for kind in m.LABELS:
        for backbone in m.BACKBONES:
            losses = jobs["tune-0"][f"{kind}.{backbone}"]
            assert losses.shape == (len(SIZES), len(heads.STRENGTHS))
            for i, n in enumerate(SIZES):
                best = heads.STRENGTHS[int(losses[i].argmin())]
                assert results["strengths"][kind][backbone][str(n)] == best


def test_logits_are_those_of_a_head_on_the_first_n_patients(done, small):
    """Pixels, where the whole pipeline fits into ten lines of numpy and scikit-learn."""
    results, jobs = done
    pool, test = (m.fixed_cohort(w, n) for w, n in (("pool", 40), ("test", 40)))

    def pixels(cohort):
        return m.images(cohort).numpy().reshape(-1, 16, 4, 16, 4).mean((2, 4)).reshape(-1, 256)

    drawn, scale = m.cohort(max(SIZES), m.TRAINING_SEED + 1), pixels(pool)
    spread = scale.std(0)
    spread[spread <= 1e-3 * np.median(spread)] = np.inf
    x, z = ((pixels(c) - scale.mean(0)) / spread for c in (drawn, test))
    for i, n in enumerate(SIZES):
        strength = results["strengths"]["lesion"]["pixels"][str(n)]
        model = LogisticRegression(
            C=1 / (n * strength), solver="newton-cholesky", tol=1e-7, max_iter=1000
        )
        expected = model.fit(x[:n], drawn.labels[:n]).decision_function(z)
        np.testing.assert_allclose(jobs["set-001"]["lesion.pixels"][i], expected, atol=1e-3)


def test_record_of_the_results(done, parameters, as_record, tmp_path):
    results, jobs = done
    record = as_record(heads, parameters, results)
    again = type(record).load(record.save(tmp_path / "heads.simulated.cpu.json"))
    assert again == record
    truth = m.truth(parameters["n_test"], parameters["n_pool"])
    assert results["noise"] == pytest.approx(float((truth.eta * (1 - truth.eta)).mean()))
    for kind, backbone in (("lesion", "imagenet"), ("teacher", "small_cnn")):
        scores = [
            roc_auc_score(truth.labels(kind), jobs[f"set-00{k}"][f"{kind}.{backbone}"][1])
            for k in range(3)
        ]
        cell = record.value(f"{kind}.{backbone}.24")
        np.testing.assert_allclose(cell["auc_sets"], scores, atol=5.1e-6)
        assert cell["log_loss"]
    gap = record.value("lesion.paired.imagenet_minus_pixels.16.auc")["mean"]
    means = [record.value(f"lesion.{b}.16.auc")["mean"] for b in ("imagenet", "pixels")]
    assert gap == pytest.approx(means[0] - means[1])


def test_recheck_repeats_a_set(done, parameters, as_record):
    record = as_record(heads, parameters, done[0])
    pairs = heads.recheck(record, 2)
    assert len(pairs) == len(m.LABELS) * len(m.BACKBONES) * len(SIZES)
    for name, (then, now) in pairs.items():
        assert abs(then - now) < 1e-4, name
    # trimmed to its smallest size it says the same: training sets are nested
    fewer = {**parameters, "sizes": SIZES[:1]}
    for name, (then, now) in heads.recheck(as_record(heads, fewer, done[0]), 2).items():
        assert (then, now) == pytest.approx(pairs[name], abs=3e-3), name


def test_presets_differ_in_scale_only():
    for preset in heads.PRESETS.values():
        assert set(preset) == set(heads.PRESETS["full"])
    full = heads.PRESETS["full"]
    assert full["sets"] >= 50 and full["tuning_sets"] >= 1
    assert len(full["sizes"]) >= 6 and {16, 1000} <= set(full["sizes"])
