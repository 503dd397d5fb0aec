"""What keeps a record current is re-running: a sampled job of every committed record.

- modality: one seed from patients to probabilities. Convex heads on features that differ in their
  last bits between processors: the probability of the true class moves by at most .02, for pixels
  and ImageNet's features.
- realism: two modalities. Renderings and statistics in float32 and float64: relative 1e-3.
- radiograph: one patient. Quantised counts: a rounding that falls the other way moves a pixel by
  one level; the ideal observer's ratio is checked to 1e-3. The record keeps means only, so this
  compares the mean over the first patients with what the record says, within its spread.
- population: chapter 1's. Relative 1e-4.
- speed, engine: times of another day cannot be repeated; their own arithmetic is checked (the
  engine's in test_engine.py).
- invariance: the p-values of the first repetition. Permutation p-values are multiples of 1/(B + 1)
  of features in float32: a rank that flips moves one by a few such steps, |difference| <= .03.
- acquisition: logistic lines on float32 features: relative 1e-3 of their intervals.
"""

from __future__ import annotations

import numpy as np
import pytest

from medxfer_lab.course.record import every_record, plain
from medxfer_lab.reference import experiment
from medxfer_lab.reference.experiment import (
    EXPERIMENTS,
    acquisition,
    invariance,
    modality,
    population,
    radiograph,
    real_pictures,
    realism,
)

RECORDS = {record.experiment: record for record in every_record("reference")}


def needed(name: str):
    assert name in RECORDS, f"no record: run `medxfer run reference --experiment {name}`"
    if hasattr(EXPERIMENTS[name], "digests") and real_pictures.missing():
        pytest.skip(real_pictures.missing())
    return RECORDS[name]


@pytest.mark.parametrize("name", sorted(EXPERIMENTS))
def test_fingerprint_is_that_of_parameters_files_and_version(name):
    record, module = needed(name), EXPERIMENTS[name]
    assert record.fingerprint == experiment.LABORATORY.fingerprint(
        module, record.parameters, record.data
    ), "the record is stale: run `medxfer run reference` again"
    assert record.preset == "full" and record.parameters == plain(module.PRESETS["full"])
    assert record.version == module.VERSION and record.wall_s > 0


@pytest.mark.slow
def test_modality(monkeypatch):
    record = needed("modality")
    monkeypatch.setattr(modality, "ARMS", ("imagenet", "pixels"))
    sizes = {key: record.parameters[key] for key in ("n_train", "n_test", "size")}
    found = modality.seed_job(0, **sizes)
    pictures = real_pictures.real_pictures(modality.MODALITIES)
    for arm in modality.ARMS:
        for reading in modality.READINGS:
            then = record.results[arm][reading]["pictures"]
            for i, (name, picture) in enumerate(pictures.items()):
                truth = modality.MODALITIES.index(picture.modality)
                now = found[f"{arm}.{reading}"][i, truth]
                assert abs(now - then[name]["probability_right_seeds"][0]) <= 0.02, (arm, name)


@pytest.mark.parametrize("name", ["MR", pytest.param("CT", marks=pytest.mark.slow)])
def test_realism(name):
    record = needed("realism")
    p = record.parameters
    now = plain(realism.modality_job(name, p["n"], p["size"]))
    pairs = list(_numbers(record.results[name], now))
    assert len(pairs) > 500
    for path, then, value in pairs:
        # curves are stored rounded, and a pixel on the border of two bins may change sides
        assert value == pytest.approx(then, rel=1e-3, abs=2e-2 if "curves" in path else 2e-3), path


def _numbers(then, now, path=""):
    """Every pair of numbers at the same place of two trees."""
    assert type(then) is type(now) or isinstance(then, int | float), path
    if isinstance(then, dict):
        assert set(then) == set(now), path
        for key in then:
            yield from _numbers(then[key], now[key], f"{path}.{key}")
    elif isinstance(then, list):
        assert len(then) == len(now), path
        for i, (a, b) in enumerate(zip(then, now)):
            yield from _numbers(a, b, f"{path}.{i}")
    elif isinstance(then, int | float):
        yield path, then, now


def test_radiograph():
    record = needed("radiograph")
    p = record.parameters
    # the two largest shadows of patient 0 lie within what 24 patients differ by
    now = radiograph.patient_job(0, p["volumes_ml"][-1:], p["size"])
    for name in radiograph.PROJECTIONS:
        then = record.results[name]["by_volume"][-1]
        assert now[name]["ideal"][0] == pytest.approx(
            record.results[name]["ideal_first_patient"][-1], rel=1e-3
        )
        assert abs(now[name]["present"][0] - then["contrast_present"]) < 4 * max(
            then["contrast_absent_sd"], 0.5 * abs(then["contrast_present"])
        )


def test_population():
    record = needed("population")
    now = population.population_job("chapter_1", **record.parameters)
    then = record.results["chapter_1"]
    for key in ("participation_ratio", "dimensions", "first_share"):
        assert now[key] == pytest.approx(then[key], rel=1e-4), key
    for name, cell in then["overlap"].items():
        assert now["overlap"][name]["mean"] == pytest.approx(cell["mean"], rel=1e-4)
    np.testing.assert_allclose(now["share"], then["share"], rtol=1e-3)


def test_speed():
    results = needed("speed").results
    for name, target in results["targets_s"].items():
        assert target > 0 and results[name]["count"] == 1000
        for cell in (results[name][f"processes_{k}"] for k in (1, 2)):
            assert cell["per_1000_wall_s"] == pytest.approx(cell["wall_s"])
            assert 0 < cell["cpu_s"]
        # processor time cannot exceed what the processes had on the wall's clock
        for k in (1, 2):
            cell = results[name][f"processes_{k}"]
            assert cell["cpu_s"] <= k * cell["wall_s"] * 1.05


@pytest.mark.slow
def test_invariance():
    """The first repetition, every cell of it."""
    record = needed("invariance")
    sizes = {key: record.parameters[key] for key in ("n", "size", "seed")}
    found = plain(invariance.repetition_job(1, **sizes))
    first = record.results["first"]
    assert {row: set(cells) for row, cells in found.items()} == {
        row: set(cells) for row, cells in first.items()
    }
    for row, cells in found.items():
        for column, p in cells.items():
            assert abs(p - first[row][column]) <= 0.03, (row, column, p, first[row][column])


def test_invariance_cells_are_what_they_should_be():
    """Kept cells: the rate of all together near alpha. Changed cells: seen more often than that.

    p(y | x) under acquisition shift is the exception that the study explains: the images do not
    overlap, so no test on the image can see it.
    """
    results = needed("invariance").results
    size = results["size"]
    # cells of one repetition share patients: allow twice the half-width of the interval
    assert abs(size["mean"] - results["alpha"]) < size["high"] - size["low"]
    for row, cells in results["matrix"].items():
        for column, cell in cells.items():
            if cell["expected"] == "changed" and (row, column[:6]) != ("acquisition", "p(y|x)"):
                assert cell["low"] > results["alpha"], (row, column, cell)


@pytest.mark.slow
def test_acquisition():
    record = needed("acquisition")
    found = plain(acquisition.acquisition_posterior(**record.parameters))
    for name, line in found.items():
        key = name if name == "source" else f"snr_{line['snr']:g}"
        for part in ("intercept", "slope"):
            then, now = record.results[key][part], line[part]
            width = then["high"] - then["low"]
            assert abs(now["mean"] - then["mean"]) <= 1e-3 * width + 1e-6, (key, part)
