"""One way to run them all: smoke of every experiment, records that are valid, refusals."""

from __future__ import annotations

import numpy as np
import pytest

from medxfer_lab.chapters import room
from medxfer_lab.course.record import Record
from medxfer_lab.reference import experiment
from medxfer_lab.reference.experiment import EXPERIMENTS, modality, simulated, speed


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(
        modality.PRESETS, "smoke", {"seeds": 2, "n_train": 3, "n_test": 1, "size": 32}
    )


def smoke(name: str, folder) -> Record:
    (record,) = experiment.run("smoke", experiment=name, folder=folder, progress=False)
    assert Record.load(folder / f"{name}.simulated.json") == record
    return record


def test_modality(folder):
    record = smoke("modality", folder)
    assert record.fingerprint == experiment.LABORATORY.fingerprint(
        modality, record.parameters, "simulated"
    )
    count = record.results["real_count"]
    for arm in modality.ARMS:
        tables = record.results[arm]
        for held_out in ("held_out_patients", "held_out_scanners"):
            rows = tables[held_out]["confusion"]
            assert all(sum(row.values()) == 2 for row in rows.values())  # seeds times n_test
        for reading in modality.READINGS:
            real = tables[reading]
            assert {m: sum(row.values()) for m, row in real["confusion"].items()} == count
            assert real["right"] == sum(real["confusion"][m][m] for m in count)
            for picture in real["pictures"].values():
                assert sum(picture["probability"].values()) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    "name", ["realism", "radiograph", "population", "invariance", "acquisition"]
)
def test_others(name, folder):
    record = smoke(name, folder)
    assert record.results and record.version == EXPERIMENTS[name].VERSION


@pytest.mark.slow
def test_speed(folder, monkeypatch):
    monkeypatch.setitem(speed.PRESETS["smoke"], "counts", {"MR": 2})
    monkeypatch.setattr(speed, "PROCESSES", (2,))
    results = smoke("speed", folder).results
    cell = results["MR"]["processes_2"]
    assert 0 < cell["wall_s"] and cell["per_1000_cpu_s"] == cell["cpu_s"] * 500
    projection = results["projection"]
    assert projection["missing"] or projection["project"]["largest_difference"] < 1e-5


def test_times_are_taken_anew(tmp_path, monkeypatch):
    calls = []

    def clock(**parameters):
        calls.append(parameters)
        return {"wall_s": 1.0 + len(calls), "cpu_s": 1.0, "load_before": 0.0}

    monkeypatch.setattr(speed, "acquire_job", clock)
    monkeypatch.setattr(speed, "projection_job", lambda **_: {"missing": "not measured here"})
    first, second = smoke("speed", tmp_path), smoke("speed", tmp_path)
    assert first.results["MR"] != second.results["MR"]
    assert len(calls) == 2 * len(speed.SCANNERS) * len(speed.PROCESSES)


def test_the_command_knows_the_reference_pages():
    assert room("reference", "experiment") is experiment
    with pytest.raises(ValueError, match="no experiment is called 'x'; known: modality, realism"):
        experiment.run("smoke", experiment="x")


def test_every_experiment_has_the_same_door():
    for name, module in EXPERIMENTS.items():
        assert module.NAME == name and isinstance(module.VERSION, int)
        assert set(module.PRESETS) == {"smoke", "quick", "full"}
        assert all(set(p) == set(module.PRESETS["full"]) for p in module.PRESETS.values())


def test_unknown_preset_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no preset is called 'huge'; known: smoke, quick, full"):
        experiment.run("huge", experiment="population", folder=tmp_path)


def test_one_rendering_serves_both_groups_and_is_what_a_single_one_gives():
    groups = [simulated.SCANNERS["MR"][:2], simulated.UNSEEN_SCANNERS["ultrasound"]]
    both = simulated.several(groups, 3, seed=5, size=32)
    for group, images in zip(groups, both):
        # the same pixels but for the last bits: batches of other sizes sum in another order
        np.testing.assert_allclose(
            simulated.pictures(group, 3, 5, 32), images, rtol=1e-4, atol=1e-2
        )


def test_monochrome1_is_turned_so_that_bone_is_bright():
    (frontal,) = simulated.several([simulated.UNSEEN_SCANNERS["radiograph"]], 1, seed=5, size=32)
    assert float(frontal[0, 0, 16, 16]) > float(frontal[0, 0, 0, 0])


def test_as_shown_takes_the_middle_square_and_no_notice_of_scale():
    import torch

    image = torch.rand(60, 80, generator=torch.Generator().manual_seed(1))
    shown = simulated.as_shown(image, 60)
    assert shown.shape == (1, 1, 60, 60)
    torch.testing.assert_close(shown, simulated.as_shown(1000 * image[:, 10:70] - 300, 60))
