"""What keeps a record current is re-running: sampled jobs of every committed record.

Each repeats a job of the record's own parameters, from the patients up, and compares within a
tolerance that other processors must meet:

- curvature, Lite0: an eigenvalue is known to a hundredth, its residual; twice that for two
  machines whose weights differ by the last bits.
- steps: bisection on either side may end in the next cell, which is log(1024)/2^halvings wide;
  the predicted step that it is a multiple of is 2/eigenvalue, known as above.
- forgetting: after ten steps of Adam, to two hundredths, or a thousandth of a nat.
- rates, trade-off, valley, paths, rates on Lite0: 50 to 200 steps of Adam or SGD amplify the last
  bits until two machines hold visibly different networks. Log loss and AUC of patients within .05;
  the old loss, of several nats by then, within a tenth; old accuracy within .05.

What needs the source's photographs fetches them once, and is skipped where that cannot be.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from medxfer_lab.course.record import every_record
from medxfer_lab.loss_landscape import experiment
from medxfer_lab.loss_landscape.experiment import (
    EXPERIMENTS,
    curvature,
    forgetting,
    lite0,
    material,
    paths,
    rates,
    steps,
    tradeoff,
    valley,
)
from medxfer_lab.nets.photographs import PhotographsError

RECORDS = {r.experiment: r for r in every_record("loss_landscape") if r.preset == "full"}
Pairs = dict[str, tuple[float, float]]

on_record = pytest.mark.parametrize("name", list(EXPERIMENTS))


def full(name: str):
    if name not in RECORDS:
        pytest.fail(f"no record of {name}: run `medxfer run loss_landscape --preset full`")
    return RECORDS[name]


@pytest.fixture(scope="module")
def photographs():
    try:
        return material.photographs()
    except PhotographsError as error:
        pytest.skip(str(error))


def agree(pairs: Pairs, relative: float, absolute: float = 0.0, part: str = "") -> None:
    """Every pair whose name ends so."""
    chosen = {name: pair for name, pair in pairs.items() if name.endswith(part)}
    assert chosen, f"no {part!r} in {sorted(pairs)}"
    for name, (then, now) in chosen.items():
        assert now == pytest.approx(then, rel=relative, abs=absolute), name


@on_record
def test_fingerprint_is_that_of_parameters_weights_photographs_and_versions(name):
    record, module = RECORDS[name], EXPERIMENTS[name]
    expected = experiment.LABORATORY.fingerprint(module, record.parameters, record.data)
    assert record.fingerprint == expected, "the record is stale: run `medxfer run` again"
    assert record.parameters == module.PRESETS["full"]
    assert record.version == module.VERSION and record.wall_s > 0


@on_record
def test_intervals_hold_their_estimates(name):
    """Every leaf with low and high, a number or a curve: low <= mean <= high, or all missing."""
    seen = 0

    def walk(value, where: str) -> None:
        nonlocal seen
        if isinstance(value, dict) and {"mean", "low", "high"} <= value.keys():
            ends = np.array([value[key] for key in ("low", "mean", "high")], float)
            slack = 1e-9 * np.abs(ends).max(0)  # means of numbers that are all alike
            assert np.isnan(ends).all() or (np.diff(ends, axis=0) >= -slack).all(), where
            seen += 1
        if isinstance(value, dict):
            for key, item in value.items():
                walk(item, f"{where}.{key}")

    walk(RECORDS[name].results, name)
    assert seen >= 3


@pytest.mark.slow
def test_curvature(photographs, monkeypatch):
    """On old photographs and on new patients; the head's own tuning, which is not asked, short."""
    monkeypatch.setattr(curvature, "HEAD_STEPS", 1)
    pairs = curvature.recheck(full("curvature"), 3)
    assert len(pairs) == 6
    agree(pairs, 0.02)


def test_steps():
    record = full("steps")
    pairs = steps.recheck(record, 5)
    cell = math.log(steps.HIGHEST / steps.LOWEST) / 2 ** record.parameters["halvings"]
    assert set(pairs) == {"body.conv4", "head"}
    for name, (then, now) in pairs.items():
        assert abs(math.log(now / then)) <= 1.01 * cell + 0.02, name


@pytest.mark.slow
def test_forgetting(photographs):
    pairs = forgetting.recheck(full("forgetting"), 6)
    assert len(pairs) == 6
    agree(pairs, 0.02, 1e-3)


@pytest.mark.slow
def test_rates():
    pairs = rates.recheck(full("rates"), 2, ("adam.reversed", "sgd.curvature"))
    assert len(pairs) == 2 * len(rates.MEASURED)
    agree(pairs, 0.0, 0.05)


@pytest.mark.slow
def test_tradeoff(photographs):
    pairs = tradeoff.recheck(full("tradeoff"), 4, ("ewc",))
    assert len(pairs) == 2 * len(tradeoff.MEASURED)
    for what in ("target_loss", "auc", "source_accuracy"):
        agree(pairs, 0.0, 0.05, what)
    agree(pairs, 0.1, 0.0, "source_loss")


@pytest.mark.slow
def test_valley():
    agree(valley.recheck(full("valley"), 1), 0.0, 0.05)


@pytest.mark.slow
def test_paths():
    pairs = paths.recheck(full("paths"), 2)
    assert set(pairs) == {"photographs", "untrained"}
    agree(pairs, 0.0, 0.05)


@pytest.mark.slow
def test_lite0():
    pairs = lite0.recheck(full("lite0"), 1)
    assert len(pairs) == 2 * len(full("lite0").results["stages"])
    agree(pairs, 0.02)


@pytest.mark.slow
def test_lite0_rates():
    agree(EXPERIMENTS["lite0_rates"].recheck(full("lite0_rates"), 1), 0.0, 0.05)
