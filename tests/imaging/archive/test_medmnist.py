"""Data sets in the shared layouts: the same pixels and labels, with what must be known of them."""

from __future__ import annotations

import hashlib
import os
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from medxfer_lab.imaging.archive import catalogue, medmnist
from medxfer_lab.imaging.archive.errors import ArchiveError
from medxfer_lab.imaging.archive.limits import Limits
from tests.imaging.archive import archives

REAL = Path(os.environ.get("MEDXFER_DATA") or "nowhere")


def write(folder: Path, name: str, arrays: dict, size: int = 28, published=None) -> Path:
    path = folder / catalogue.entry(name).filename(size)
    np.savez_compressed(path, **arrays)
    return path


@pytest.fixture
def publish(monkeypatch):
    """Make a file the published one."""

    def pretend(name: str, size: int, path: Path) -> None:
        known = catalogue.entries()
        md5 = hashlib.md5(path.read_bytes()).hexdigest()
        entry = replace(known[name], published={**known[name].published, size: ("https://x", md5)})
        monkeypatch.setattr(catalogue, "entries", lambda: {**known, name: entry})

    return pretend


@pytest.fixture
def quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", medmnist.NotPublished)
        yield


def test_metadata_are_the_packages(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))  # importing medmnist makes a folder there
    from medmnist.info import INFO

    assert catalogue._published() == INFO
    assert list(catalogue.entries()) == list(INFO)
    for name, entry in catalogue.entries().items():
        assert entry.published[28] == (INFO[name]["url"], INFO[name]["MD5"])
        assert len(entry.classes) == len(INFO[name]["label"])
        assert list(entry.published) == ([28, 64] if entry.axes == 3 else [28, 64, 128, 224])


def test_the_published_file_has_no_note_and_no_warning(tmp_path, publish):
    arrays = archives.layout()
    path = write(tmp_path, "pneumoniamnist", arrays)
    publish("pneumoniamnist", 28, path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cohort = medmnist.load("pneumoniamnist", "val", folder=tmp_path)
    np.testing.assert_array_equal(cohort.images[:, 0].numpy(), arrays["val_images"])
    assert cohort.images.dtype == cohort.labels.dtype == torch.float32
    assert cohort.labels.tolist() == [0, 1, 0, 1, 0, 1] and cohort.prevalence == 0.5
    assert cohort.units == "0 to 255" and cohort.patient_ids is None
    assert cohort.classes == ("normal", "pneumonia")
    assert "CC BY 4.0" in cohort.source and "val" in cohort.source
    assert len(cohort.notes) == 1 and "no patient ids" in cohort.notes[0]


def test_another_file_is_read_with_a_note_and_a_warning(tmp_path):
    write(tmp_path, "pneumoniamnist", archives.layout())
    with pytest.warns(medmnist.NotPublished, match="its MD5 differs") as caught:
        cohort = medmnist.load("pneumoniamnist", "train", folder=tmp_path)
    assert "not the file that MedMNIST publishes" in cohort.notes[0]
    assert caught[0].filename == __file__


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("pathmnist", (2, 3, 28, 28)),
        ("organmnist3d", (2, 1, 28, 28, 28)),
        ("chestmnist", (2, 1, 28, 28)),
    ],
)
def test_shapes_and_labels_of_every_kind(tmp_path, quiet, name, shape):
    entry = catalogue.entry(name)
    arrays = archives.layout(6, 28, colour=entry.channels == 3, axes=entry.axes)
    several = entry.task.startswith("multi-label")
    rng = np.random.default_rng(1)
    columns = len(entry.classes) if several else 1
    top = 2 if several else len(entry.classes)
    arrays["test_labels"] = rng.integers(0, top, (2, columns)).astype(np.uint8)
    write(tmp_path, name, arrays)
    cohort = medmnist.load(name, "test", folder=tmp_path)
    assert cohort.images.shape == shape
    expected = arrays["test_images"]
    if entry.channels == 3:
        expected = np.moveaxis(expected, -1, 1)
    np.testing.assert_array_equal(cohort.images.numpy().reshape(expected.shape), expected)
    labels = arrays["test_labels"] if several else arrays["test_labels"][:, 0]
    np.testing.assert_array_equal(cohort.labels.numpy(), labels)
    assert cohort.labels.dtype == (torch.float32 if several else torch.int64)
    with pytest.raises(ValueError, match="choose one class"):
        cohort.prevalence  # noqa: B018


def test_other_sizes_have_other_files(tmp_path, quiet):
    write(tmp_path, "breastmnist", archives.layout(6, 64), 64)
    assert medmnist.load("breastmnist", "test", 64, tmp_path).images.shape == (2, 1, 64, 64)
    with pytest.raises(ArchiveError, match="not published at 32 pixels; sizes: 28, 64, 128, 224"):
        medmnist.load("breastmnist", "test", 32, tmp_path)
    with pytest.raises(ArchiveError, match="sizes: 28, 64$"):
        medmnist.load("organmnist3d", "test", 224, tmp_path)


def test_a_few_of_many(tmp_path, quiet):
    arrays = archives.layout(40)
    write(tmp_path, "pneumoniamnist", arrays)
    whole = medmnist.load("pneumoniamnist", "train", folder=tmp_path)
    some = medmnist.load("pneumoniamnist", "train", folder=tmp_path, most=7, seed=3)
    again = medmnist.load("pneumoniamnist", "train", folder=tmp_path, most=7, seed=3)
    other = medmnist.load("pneumoniamnist", "train", folder=tmp_path, most=7, seed=4)
    assert torch.equal(some.images, again.images) and not torch.equal(some.images, other.images)
    place = [int((whole.images == image).flatten(1).all(1).nonzero()) for image in some.images]
    assert place == sorted(set(place)) and len(place) == 7
    assert torch.equal(some.labels, whole.labels[place])
    everything = medmnist.load("pneumoniamnist", "train", folder=tmp_path, most=1000)
    assert torch.equal(everything.images, whole.images)
    with pytest.raises(ValueError, match="at least one"):
        medmnist.load("pneumoniamnist", "train", folder=tmp_path, most=0)


def test_where_files_are_looked_for(tmp_path, quiet, monkeypatch):
    monkeypatch.setenv("MEDXFER_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MEDXFER_DATA", raising=False)
    with pytest.raises(ArchiveError, match="`medxfer data fetch breastmnist --size 28` gets it"):
        medmnist.load("breastmnist", "test")
    own = tmp_path / "home" / "data"
    own.mkdir(parents=True)
    write(own, "breastmnist", archives.layout(6))
    assert len(medmnist.load("breastmnist", "test")) == 2
    mine = tmp_path / "mine"
    mine.mkdir()
    monkeypatch.setenv("MEDXFER_DATA", str(mine))
    assert len(medmnist.load("breastmnist", "test")) == 2  # not in MEDXFER_DATA, but in the other
    write(mine, "breastmnist", archives.layout(12))
    assert len(medmnist.load("breastmnist", "test")) == 4
    assert catalogue.folders() == [mine, own] and catalogue.folders(tmp_path) == [tmp_path]


def test_names_and_splits(tmp_path):
    with pytest.raises(ArchiveError, match="no data set 'busi'; there are pathmnist, chestmnist"):
        medmnist.load("busi")
    with pytest.raises(ArchiveError, match="split is 'dev'; the splits are train, val, test"):
        medmnist.load("breastmnist", "dev")


WRONG = {
    "labels missing": ({"train_labels": None}, "holds no array 'train_labels'"),
    "images missing": ({"train_images": None}, "holds no array 'train_images'"),
    "one label too few": ({"train_labels": np.zeros((11, 1), "u1")}, "12 images and 11 labels"),
    "class 2 of 2": ({"train_labels": np.full((12, 1), 2, "u1")}, "from 2 to 2; expected 0 to 1"),
    "class -1": ({"train_labels": np.full((12, 1), -1, "i1")}, "from -1 to -1"),
    "two columns": ({"train_labels": np.zeros((12, 2), "u1")}, "2 columns; expected 1"),
    "real labels": ({"train_labels": np.zeros((12, 1), "f4")}, "float32.*whole numbers"),
    "text labels": ({"train_labels": np.full((12, 1), "a")}, "whole numbers"),
    "three axes": ({"train_labels": np.zeros((12, 1, 1), "u1")}, "whole numbers"),
    "none": (
        {"train_images": np.zeros((0, 28, 28), "u1"), "train_labels": np.zeros((0, 1), "u1")},
        "at least one image",
    ),
    "scalar": ({"train_images": np.uint8(3)}, "at least one image"),
    "29 pixels": ({"train_images": np.zeros((12, 29, 28), "u1")}, r"expected uint8 \(n, 28, 28\)"),
    "colour": ({"train_images": np.zeros((12, 28, 28, 3), "u1")}, r"expected uint8 \(n, 28, 28\)"),
    "16 bits": ({"train_images": np.zeros((12, 28, 28), "u2")}, "expected uint8"),
    "text": ({"train_images": np.full((12, 28, 28), "a")}, "numbers"),
    "truth": ({"train_images": np.zeros((12, 28, 28), "?")}, "numbers"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_fit_the_layout(tmp_path, quiet, case):
    change, words = WRONG[case]
    arrays = {k: v for k, v in {**archives.layout(), **change}.items() if v is not None}
    write(tmp_path, "pneumoniamnist", arrays)
    with pytest.raises(ArchiveError, match=words):
        medmnist.load("pneumoniamnist", "train", folder=tmp_path)


def flat(**more) -> dict:
    rng = np.random.default_rng(2)
    return {
        "images": rng.integers(0, 256, (9, 8, 10), dtype=np.uint8),
        "labels": np.arange(9, dtype=np.uint8) % 3,
        "classes": np.array(["normal", "benign", "malignant"]),
        "names": np.array([f"{k}.png" for k in range(9)]),
        **more,
    }


def test_the_flat_layout(tmp_path):
    arrays = flat(patients=np.array(list("bbaaccddd")))
    np.savez(tmp_path / "a.npz", **arrays)
    cohort = medmnist.load_file(tmp_path / "a.npz")
    np.testing.assert_array_equal(cohort.images[:, 0].numpy(), arrays["images"])
    assert cohort.labels.tolist() == [0, 1, 2] * 3 and cohort.labels.dtype == torch.int64
    assert cohort.classes == ("normal", "benign", "malignant") and cohort.names[1] == "1.png"
    assert cohort.patient_ids.tolist() == [1, 1, 0, 0, 2, 2, 3, 3, 3] and cohort.notes == ()
    assert (cohort.units, cohort.source) == ("0 to 255", "a.npz")
    binary = cohort.against("malignant", negative=("benign",))
    assert binary.labels.tolist() == [0, 1] * 3 and binary.names[0] == "1.png"


@pytest.mark.parametrize(
    ("images", "units"),
    [
        (np.zeros((9, 4, 4), "u2"), "0 to 65535"),
        (np.linspace(0, 1, 144).reshape(9, 4, 4), "[0, 1]"),
        (np.linspace(-1, 1, 144).reshape(9, 4, 4), "unknown"),
        (np.zeros((9, 4, 4), "i2"), "unknown"),
    ],
)
def test_units_follow_from_the_type(tmp_path, images, units):
    np.savez(tmp_path / "a.npz", **flat(images=images))
    cohort = medmnist.load_file(tmp_path / "a.npz")
    assert cohort.units == units and cohort.images.dtype == torch.float32


def test_medmnist_layout_without_a_name(tmp_path):
    arrays = archives.layout(6, 9, axes=3)
    np.savez(tmp_path / "a.npz", **arrays)
    cohort = medmnist.load_file(tmp_path / "a.npz", "test", axes=3)
    assert cohort.images.shape == (2, 1, 9, 9, 9) and "no patient ids" in cohort.notes[0]
    with pytest.raises(ArchiveError, match="Name the split: train, val, test"):
        medmnist.load_file(tmp_path / "a.npz", axes=3)
    with pytest.raises(ArchiveError, match="Pass axes=3 for volumes"):
        medmnist.load_file(tmp_path / "a.npz", "test")


FLAT_WRONG = {
    "nan": ({"images": np.full((9, 4, 4), np.nan)}, "NaN"),
    "infinite": ({"images": np.full((9, 4, 4), np.inf)}, "infinity"),
    "one nan": ({"images": np.where(np.arange(144) == 77, np.nan, 1.0).reshape(9, 4, 4)}, "NaN"),
    "beyond float32": ({"images": np.full((9, 4, 4), 1e300)}, "beyond float32"),
    "names": ({"names": np.array(["a"])}, "1 names for 9 images"),
    "classes": ({"classes": np.array(["a", "b"])}, "from 0 to 2; expected 0 to 1"),
    "classes as numbers": ({"classes": np.arange(3)}, "a list"),
    "patients": ({"patients": np.arange(4)}, "one id for each of 9"),
    "real patients": ({"patients": np.arange(9.0)}, "one id for each of 9"),
    "flat": ({"images": np.zeros((9, 80), "u1")}, r"shape \(9, 80\)"),
    "five channels": ({"images": np.zeros((9, 4, 4, 5), "u1")}, "1 or 3 channels"),
    "findings": ({"labels": np.full((9, 3), 2, "u1")}, "expected 0 to 1"),
    "no images": ({"images": np.zeros((9, 0, 4), "u1")}, "at least one image"),
}


@pytest.mark.parametrize("case", FLAT_WRONG)
def test_what_does_not_fit_the_flat_layout(tmp_path, case):
    change, words = FLAT_WRONG[case]
    np.savez(tmp_path / "a.npz", **flat(**change))
    with pytest.raises(ArchiveError, match=words):
        medmnist.load_file(tmp_path / "a.npz")


def test_text_that_is_no_unicode(tmp_path):
    broken = np.array(["abc", "d", "e"])
    for code in (0xD800, 0x110000, 0xFFFFFFFF, 27):
        broken.view(np.uint32)[0] = code
        np.savez(tmp_path / "a.npz", **flat(classes=broken))
        with pytest.raises(ArchiveError, match="expected printable Unicode"):
            medmnist.load_file(tmp_path / "a.npz")


def test_limits_reach_the_reader(tmp_path):
    np.savez(tmp_path / "a.npz", **flat())
    with pytest.raises(ArchiveError, match="images has 720 values"):
        medmnist.load_file(tmp_path / "a.npz", limits=Limits(values=719))
    with pytest.raises(ArchiveError, match="sides to 9"):
        medmnist.load_file(tmp_path / "a.npz", limits=Limits(edge=9))


def test_duplicates_across_splits_are_found(tmp_path):
    arrays = archives.layout(12)
    arrays["val_images"][3] = arrays["train_images"][7]
    arrays["test_images"][0] = arrays["train_images"][7]
    write(tmp_path, "breastmnist", arrays)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # whoever asks this knows
        found = medmnist.duplicates_across_splits("breastmnist", folder=tmp_path)
    assert found == {
        ("train", "val"): [(7, 3)],
        ("train", "test"): [(7, 0)],
        ("val", "test"): [(3, 0)],
    }


@pytest.mark.skipif(not (REAL / "pneumoniamnist.npz").is_file(), reason="MEDXFER_DATA lacks it")
def test_real_chest_radiographs(quiet):
    """A reconstruction: official counts, another MD5, eight images in both train and val."""
    parts = {split: medmnist.load("pneumoniamnist", split) for split in catalogue.SPLITS}
    assert {k: len(v) for k, v in parts.items()} == catalogue.entry("pneumoniamnist").counts
    assert any("MD5 differs" in note for note in parts["train"].notes)
    found = medmnist.duplicates_across_splits("pneumoniamnist")
    assert len({j for _, j in found["train", "val"]}) == 8
    assert found["train", "test"] == found["val", "test"] == []


@pytest.mark.skipif(not (REAL / "busi_128.npz").is_file(), reason="MEDXFER_DATA lacks it")
def test_real_breast_ultrasounds():
    cohort = medmnist.load_file(REAL / "busi_128.npz")
    assert cohort.images.shape == (780, 1, 128, 128) and cohort.units == "0 to 255"
    assert cohort.classes == ("normal", "benign", "malignant")
    assert cohort.labels.bincount().tolist() == [133, 437, 210]
    assert cohort.patient_ids is None and cohort.names[0] == "normal (1).png"
