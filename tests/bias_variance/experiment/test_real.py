"""Real pictures: splits, tuning and subsets, on files made up here in the real files' layout."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from medxfer_lab.bias_variance.experiment import real
from medxfer_lab.training import probe


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with both files in small: every picture carries its own number in a corner."""
    rng = np.random.default_rng(0)

    def stack(first: int, n: int, side: int) -> np.ndarray:
        pictures = rng.integers(0, 200, (n, side, side)).astype(np.uint8)
        pictures[:, 0, 0] = np.arange(first, first + n)
        return pictures

    y = (rng.random((90, 1)) < 0.6).astype(np.uint8)
    np.savez(
        tmp_path / "pneumoniamnist.npz",
        **{"train_images": stack(0, 90, 28), "train_labels": y},
        **{"val_images": stack(90, 10, 28), "val_labels": y[:10]},
        **{"test_images": stack(100, 40, 28), "test_labels": y[:40]},
    )
    np.savez(
        tmp_path / "busi_128.npz",
        images=stack(0, 150, 32),
        labels=np.repeat([0, 1, 2], 50)[rng.permutation(150)],
        classes=np.array(["normal", "benign", "malignant"]),
        names=np.array(["x"] * 150),
    )
    monkeypatch.setenv("MEDXFER_DATA", str(tmp_path))
    cached = real.features
    cached.cache_clear()
    yield tmp_path
    cached.cache_clear()


def test_available(folder, monkeypatch):
    assert real.available() == ["pneumoniamnist", "busi"]
    (folder / "busi_128.npz").unlink()
    assert real.available() == ["pneumoniamnist"]
    monkeypatch.delenv("MEDXFER_DATA")
    assert real.available() == []


def test_digest_is_of_the_file(folder):
    before = real.digest("busi")
    assert len(before) == 64 and before != real.digest("pneumoniamnist")
    with open(folder / "busi_128.npz", "ab") as file:
        file.write(b"x")
    assert real.digest("busi") != before


def test_busi_is_malignant_against_benign_and_its_halves_are_disjoint(folder):
    x, y, z, t = real.load("busi", 1000)
    with np.load(folder / "busi_128.npz") as file:
        labels = file["labels"]
    numbers, tests = x[:, 0, 0].astype(int), z[:, 0, 0].astype(int)
    assert not set(numbers) & set(tests)
    assert len(numbers) == 60 and len(tests) == 40
    assert set(np.flatnonzero(labels > 0)) == set(numbers) | set(tests)
    assert np.array_equal(y, labels[numbers] == 2) and np.array_equal(t, labels[tests] == 2)
    assert len(real.load("busi", 50)[1]) == 30


def test_pneumonia_keeps_its_own_test_set(folder):
    x, y, z, t = real.load("pneumoniamnist", 50)
    with np.load(folder / "pneumoniamnist.npz") as file:
        numbers = x[:, 0, 0].astype(int)
        assert np.array_equal(y, file["train_labels"].ravel()[numbers])
        assert np.array_equal(z, file["test_images"])
        assert np.array_equal(t, file["test_labels"].ravel())
    assert len(set(numbers)) == 50 and y.dtype == t.dtype == np.float32


def test_a_file_with_pickles_is_refused(folder):
    np.savez(folder / "busi_128.npz", images=np.array([{}], dtype=object), labels=[1], classes=[""])
    with pytest.raises(ValueError, match="allow_pickle"):
        real.load("busi", 10)


def test_pixels_are_standardised_by_the_pool(folder):
    pool, test = real.features("busi", "pixels", 0, 1000, 32)
    assert pool.shape == (60, 256) and test.shape == (40, 256)
    np.testing.assert_allclose(pool.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(pool.numpy().std(0), 1, atol=1e-4)
    blocks = real.load("busi", 1000)[0].reshape(60, 16, 2, 16, 2).mean((2, 4)).reshape(60, 256)
    scaled = (blocks - blocks.mean(0)) / blocks.std(0)
    np.testing.assert_allclose(pool, scaled, atol=1e-3)


def test_two_classes():
    y = np.array([1, 1, 1, 1, 0, 1, 0], dtype=np.float32)
    order = np.arange(7)
    assert real._two_classes(order, y, 3).tolist() == [0, 1, 4]
    assert real._two_classes(order, y, 5).tolist() == [0, 1, 2, 3, 4]
    assert order.tolist() == list(range(7))


def planted(monkeypatch, signal: dict[str, float]) -> None:
    """Features that carry the label with a known strength, by backbone."""

    def features(data, backbone, seed, limit, side):
        _, y, _, t = real.load(data, limit)
        rng = np.random.default_rng(1)
        return tuple(
            torch.tensor(rng.standard_normal((len(v), 6)) + signal[backbone] * v[:, None])
            for v in (y, t)
        )

    monkeypatch.setattr(real, "features", features)


def test_tuning_never_sees_the_test_set(folder, monkeypatch):
    """With test features and labels spoilt, tuning draws say the same; training draws do not."""
    signal = {"imagenet": 1.0, "untrained": 0.5, "pixels": 0.0}
    planted(monkeypatch, signal)
    arguments = {"data": "busi", "sizes": [16, 30], "limit": 1000, "side": 32}
    tuned, trained = real.sampling_job(-1, **arguments), real.sampling_job(1, **arguments)
    plain = real.features
    monkeypatch.setattr(real, "features", lambda *a: (plain(*a)[0], -plain(*a)[1]))
    for backbone in real.BACKBONES:
        assert np.array_equal(real.sampling_job(-1, **arguments)[backbone], tuned[backbone])
    assert not np.array_equal(real.sampling_job(1, **arguments)["imagenet"], trained["imagenet"])


def test_run(folder, monkeypatch, runner, as_record, tmp_path):
    planted(monkeypatch, {"imagenet": 1.5, "untrained": 0.5, "pixels": 0.0})
    parameters = {"data": "busi", "sets": 6, "sizes": [16, 30], "limit": 1000, "side": 32}
    kept: dict[str, dict] = {}

    def watching(jobs, function):
        kept.update(found := runner(jobs, function))
        return found

    results = real.run(parameters, watching)
    for backbone in real.BACKBONES:
        for j, n in enumerate((16, 30)):
            tuned = np.mean([kept[f"tune-{k}"][backbone][:, j] for k in (1, 2, 3)], axis=0)
            best = int(tuned.argmax())
            cell = results[backbone][str(n)]
            assert cell["strength"] == real.STRENGTHS[best]
            scores = [kept[f"set-00{k}"][backbone][best, j] for k in range(6)]
            np.testing.assert_allclose(cell["auc_sets"], scores, atol=5.1e-6)
    means = {b: results[b]["30"]["auc"]["mean"] for b in real.BACKBONES}
    assert means["imagenet"] > means["untrained"] > means["pixels"]
    gap = results["paired"]["imagenet_minus_pixels"]["30"]["auc"]
    assert gap["mean"] == pytest.approx(means["imagenet"] - means["pixels"]) and gap["low"] > 0
    record = as_record(real, parameters, results)
    assert type(record).load(record.save(tmp_path / "real.busi.cpu.json")) == record


def test_subset_k_is_scored_on_the_test_set(folder, monkeypatch):
    """Plain pixels end to end, against scikit-learn's AUC of a head fitted by hand."""
    monkeypatch.setattr(real, "BACKBONES", ("pixels",))
    found = real.sampling_job(2, "pneumoniamnist", [20], 80, 28)["pixels"]
    _, y, _, t = real.load("pneumoniamnist", 80)
    pool, test = real.features("pneumoniamnist", "pixels", 0, 80, 28)
    order = np.random.default_rng((10, 2, 0)).permutation(80)[:20]
    logits = probe(pool[order], torch.from_numpy(y[order]), real.STRENGTHS).logits(test)[:, 0]
    assert found[:, 0] == pytest.approx([roc_auc_score(t, row) for row in logits])


def test_full_preset_leaves_pictures_to_tune_on():
    """647 benign or malignant pictures in the file: three fifths of them are the pool."""
    pool = {"busi": 647 * 3 // 5, "pneumoniamnist": real.PRESETS["full"]["limit"]}
    for n in pool.values():
        assert max(real.PRESETS["full"]["sizes"]) < 0.8 * n


@pytest.mark.skipif(not real.available(), reason="MEDXFER_DATA names no folder with real pictures")
@pytest.mark.parametrize("data", real.available())
def test_the_real_files_are_what_the_experiment_expects(data):
    x, y, z, t = real.load(data, 2000)
    assert x.dtype == z.dtype == np.uint8 and x.ndim == 3
    assert len(x) == len(y) and len(z) == len(t) and set(y) == set(t) == {0.0, 1.0}
    counts = {"pneumoniamnist": (2000, 624), "busi": (388, 259)}
    assert (len(x), len(z)) == counts[data]
