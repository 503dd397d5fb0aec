"""A shift that looks like label shift and is not: on files made up in the real file's layout."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from medxfer_lab.domain_shift.experiment import real
from medxfer_lab.domain_shift.experiment.assess import Scores

PARAMETERS = {"limit": 60, "side": 32, "controls": 3, "strength": 0.1}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """80 training, 60 validation, 90 test images; ten of validation also occur in training."""
    rng = np.random.default_rng(0)

    def part(n: int, prevalence: float):
        y = (rng.random((n, 1)) < prevalence).astype(np.uint8)
        noise = rng.integers(0, 120, (n, 28, 28))
        noise[:, :14] += (90 * y)[:, :, None]
        return noise.astype(np.uint8), y

    files = {}
    for name, n, prevalence in (("train", 80, 0.7), ("val", 60, 0.7), ("test", 90, 0.4)):
        files[f"{name}_images"], files[f"{name}_labels"] = part(n, prevalence)
    files["val_images"][5:15] = files["train_images"][20:30]
    np.savez(tmp_path / "pneumoniamnist.npz", **files)
    monkeypatch.setenv("MEDXFER_DATA", str(tmp_path))
    real.load.cache_clear()
    yield tmp_path
    real.load.cache_clear()


def test_available_and_digest(folder, monkeypatch):
    assert real.available() == ["pneumoniamnist"]
    before = real.digest("pneumoniamnist")
    with open(folder / "pneumoniamnist.npz", "ab") as file:
        file.write(b"x")
    assert len(before) == 64 and real.digest("pneumoniamnist") != before
    monkeypatch.setenv("MEDXFER_DATA", str(folder / "nowhere"))
    assert real.available() == []
    monkeypatch.delenv("MEDXFER_DATA")
    assert real.available() == []


def test_validation_images_seen_in_training_are_left_out(folder):
    """Also those that the limit dropped from training: the file is what counts."""
    found = real.load("pneumoniamnist", 60)
    with np.load(folder / "pneumoniamnist.npz") as file:
        fresh = np.r_[0:5, 15:60]
        assert np.array_equal(found["val"][0], file["val_images"][fresh])
        assert np.array_equal(found["val"][1], file["val_labels"].ravel()[fresh])
        assert np.array_equal(found["test"][0], file["test_images"])
        images = [x.tobytes() for x in file["train_images"]]
        index = [images.index(x.tobytes()) for x in found["train"][0]]
        assert len(set(index)) == 60
        assert np.array_equal(found["train"][1], file["train_labels"].ravel()[index])


def test_a_file_with_pickles_is_refused(folder):
    np.savez(folder / "pneumoniamnist.npz", train_images=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match="allow_pickle"):
        real.load("pneumoniamnist", 10)


def test_pixels_are_block_means(folder):
    images = real.load("pneumoniamnist", 60)["test"][0]
    expected = images.reshape(90, 14, 2, 14, 2).mean((2, 4)).reshape(90, 196) / 255
    np.testing.assert_allclose(real.features(images, "pixels", 32), expected, atol=1e-6)


@pytest.fixture
def label_shift(gaussian):
    """p(x | y) kept exactly: log odds and one idle column; 0.7 here, 0.4 there."""
    rng = np.random.default_rng(1)
    source, target = gaussian(400, 0.7, rng), gaussian(500, 0.4, rng, source=0.7)
    x, t = (np.column_stack([s.z, rng.standard_normal(len(s.z))]) for s in (source, target))
    return source, x, target, t


def test_measured_by_hand(label_shift):
    source, x, target, t = label_shift
    found = real.measured(source, x, target, t, 0)
    assert found["auc"] == pytest.approx([roc_auc_score(s.y, s.z) for s in (source, target)])
    line = real.recalibrated(source)
    p, q = (1 / (1 + np.exp(-line.apply(s.z))) for s in (source, target))
    m0, m1 = p[source.y == 0].mean(), p[source.y == 1].mean()
    assert found["bbse"]["mean"] == pytest.approx((q.mean() - m0) / (m1 - m0))
    assert found["bbse"]["low"] <= 0.4 <= found["bbse"]["high"]
    assert found["called_positive"] == pytest.approx((q >= 0.5).mean())
    assert found["mean_probability"] == pytest.approx(q.mean())
    assert found["family_p"] > 0.05
    for key, y in (("sensitivity", 1), ("false_positive", 0)):
        for leaf, s, r in zip(found[key], (source, target), (p, q)):
            k, n = int((r[s.y == y] >= 0.5).sum()), int((s.y == y).sum())
            exact = stats.binomtest(k, n).proportion_ci(0.95, "exact")
            assert (leaf["mean"], leaf["low"], leaf["high"]) == pytest.approx(
                (k / n, exact.low, exact.high)
            )


def test_a_shift_of_the_healthy_is_seen_without_labels_and_misleads(label_shift):
    """The healthy of the target look half ill: BBSE is wrong, the family test says so."""
    source, x, target, t = label_shift
    healthy = target.y == 0
    z = np.where(healthy, 0.3 * target.z + 0.5, target.z)
    moved = real.measured(source, x, Scores(z, target.y), np.column_stack([z, t[:, 1]]), 0)
    assert moved["bbse"]["low"] > 0.4 and moved["family_p"] <= 0.05
    assert moved["false_positive"][1]["low"] > moved["false_positive"][0]["high"]


def test_no_estimate_hangs_on_target_labels(label_shift):
    source, x, target, t = label_shift
    before = real.measured(source, x, target, t, 0)
    spoilt = Scores(target.z, np.random.default_rng(2).permutation(target.y))
    after = real.measured(source, x, spoilt, t, 0)
    for key in ("bbse", "em", "family_p", "called_positive", "mean_probability"):
        assert before[key] == after[key], key


def test_control_splits_keep_p_of_x_given_y(label_shift, monkeypatch):
    """Halves are disjoint; the target has the asked prevalence and its own half's patients."""
    source, x, _, _ = label_shift
    asked = []
    honest = real.measured

    def watched(ours, x_ours, theirs, x_theirs, seed):
        asked.append((set(ours.z), set(theirs.z), theirs.y.mean(), len(theirs.y)))
        assert np.array_equal(x_ours[:, 0], ours.z) and np.array_equal(x_theirs[:, 0], theirs.z)
        return honest(ours, x_ours, theirs, x_theirs, seed)

    monkeypatch.setattr(real, "measured", watched)
    outcomes = [real._control(source, x, 0.4, seed) for seed in range(12)]
    for ours, theirs, prevalence, n in asked:
        assert not ours & theirs and len(ours) == 200 and len(theirs) == n
        assert prevalence == pytest.approx(0.4, abs=0.5 / n)
    assert len({frozenset(ours) for ours, *_ in asked}) == 12
    covered = sum(o["covered"] for o in outcomes)
    # twelve tries at .95, less what shared patients make dependent
    assert covered >= stats.binom.ppf(1e-4, 12, 0.95) - 1
    assert np.mean([o["error"] for o in outcomes]) == pytest.approx(0, abs=0.1)


def test_run_record_and_recheck(folder, runner, as_record, monkeypatch, tmp_path):
    monkeypatch.setattr(real, "MODELS", ("pixels",))
    kept = {}

    def watching(jobs, function):
        found = runner(jobs, function)
        kept.update({key: dict(job, control=list(job["control"])) for key, job in found.items()})
        return found

    parameters = {"data": "pneumoniamnist", **PARAMETERS}
    results = real.run(parameters, watching)
    cell, controls = results["pixels"], kept["pixels"]["control"]
    assert cell["control"]["splits"] == 3
    assert cell["control"]["covered"] == sum(c["covered"] for c in controls)
    assert cell["control"]["rejected"] == sum(c["family_p"] <= 0.05 for c in controls)
    errors = np.array([c["error"] for c in controls])
    assert cell["control"]["mean_error"] == pytest.approx(errors.mean())
    assert cell["control"]["root_mean_square"] == pytest.approx(np.sqrt((errors**2).mean()))
    assert cell["train_prevalence"] == pytest.approx(
        real.load("pneumoniamnist", 60)["train"][1].mean()
    )
    record = as_record(real, parameters, results)
    assert type(record).load(record.save(tmp_path / "real.pneumoniamnist.cpu.json")) == record
    for name, (then, now) in real.recheck(record, "pixels").items():
        assert now == pytest.approx(then, abs=1e-9), name


@pytest.mark.skipif(not real.available(), reason="MEDXFER_DATA names no folder with real pictures")
def test_the_real_file_is_what_the_experiment_expects():
    parts = real.load("pneumoniamnist", 10_000)
    counts = {name: len(y) for name, (_, y) in parts.items()}
    assert counts["train"] == 4708 and counts["test"] == 624 and 500 < counts["val"] <= 524
    assert parts["test"][1].mean() == 0.625 and parts["val"][1].mean() > 0.72
    seen = {x.tobytes() for x in parts["train"][0]}
    assert not any(x.tobytes() in seen for x in parts["val"][0])
