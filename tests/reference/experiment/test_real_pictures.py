"""Real pictures: found without a network, read right, and missed in words."""

from __future__ import annotations

import socket

import numpy as np
import pytest

from medxfer_lab.reference.experiment import real_pictures as r


@pytest.fixture(scope="module")
def pictures():
    found = r.real_pictures()
    if r.missing():
        pytest.skip(r.missing())
    return found


def test_what_the_course_depends_on_brings_some_of_each_but_radiographs():
    """Without the extras there are still pictures of these."""
    brought = {n for n, s in r.SOURCES.items() if s.package not in r._EXTRAS}
    assert all(r.path_of(name) for name in brought)
    assert {r.MODALITIES[r.SOURCES[n].modality] for n in brought} == {"MR", "CT", "ultrasound"}


def test_the_file_says_the_modality_that_the_table_says(pictures):
    for name, picture in pictures.items():
        if picture.picture.modality is not None:
            assert picture.picture.modality == picture.source.modality, name
    said = [p for p in pictures.values() if p.picture.modality is not None]
    assert len(said) == 17  # all but two MR of other formats and four photographs


def test_units_ranges_and_frames(pictures):
    head = pictures["ct_head"]
    assert head.picture.units == "HU" and head.grey().min() == r.LOWEST_HU
    assert float(head.grey().max()) == 1468.0 and head.spacing_mm == pytest.approx(0.478516)
    assert pictures["mr_shoulder"].grey().shape == (1024, 1024)
    assert pictures["us_heart"].picture.pixels.shape == (1, 3, 480, 640)  # one frame of 120
    sagittal = pictures["mr_head_sagittal"].grey()
    assert sagittal.shape == (256, 256) and float(sagittal.max()) == 215.0
    chest = pictures["radiograph_chest"].grey()  # bright is more: bones and heart, not lungs
    assert float(chest[900:1500, 850:950].mean()) > float(chest[500:800, 350:500].mean())


def test_areas_lie_inside_and_hold_more_than_one_grey(pictures):
    for name, picture in pictures.items():
        area, whole = picture.grey(area=True), picture.grey()
        assert area.shape <= whole.shape and min(area.shape) >= 48, name
        assert float(area.max()) > float(area.min()), name


def test_pictures_are_of_different_acquisitions(pictures):
    """No two of them correlate like two encodings of one picture do."""
    from medxfer_lab.reference.experiment.simulated import as_shown

    flat = np.stack([as_shown(p.grey())[0, 0].numpy().ravel() for p in pictures.values()])
    correlation = np.corrcoef(flat) - 2 * np.eye(len(flat))
    assert correlation.max() < 0.9


def test_missing_extras_are_said_and_nothing_is_fetched(monkeypatch):
    find = r.importlib.util.find_spec
    monkeypatch.setattr(
        r.importlib.util,
        "find_spec",
        lambda name, *a: None if name in ("data_store", "skimage") else find(name, *a),
    )

    def refuse(*args, **kwargs):
        raise AssertionError("a network request")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    said = r.missing()
    assert "radiograph_chest" in said and "pip install pydicom-data scikit-image" in said
    found = r.real_pictures()
    assert 4 <= len(found) < len(r.SOURCES) and "ct_head" not in found
    assert r.real_pictures(("radiograph",)) == {}
