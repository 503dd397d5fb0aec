"""Figures of the record `forgetting` draw what it says; records are made up through `run`."""

from __future__ import annotations

import warnings
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pytest

from medxfer_lab.loss_landscape import figures
from medxfer_lab.loss_landscape.experiment import forgetting
from medxfer_lab.loss_landscape.figures import forgetting as forgetting_figures


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def forgetting_record():
    def result(job, rng):
        out = {"old_loss": 0.7, "new_loss": np.full(3, 0.5), "steep_dimension": 0.0004}
        line = np.array(forgetting.FRACTIONS)
        for prefix, x in (("", 0.01 * np.array([0.5, 2, 9])), ("line_", 0.19 * line)):
            out[f"{prefix}distance"], out[f"{prefix}rise"] = x, 60 * x**2 + 300 * x**3
            rows = [rng.normal(0, 0.1) * x, 60 * x**2, 58 * x**2, x**2]
            out[f"{prefix}terms"] = np.stack(rows, axis=1)
        for i, name in enumerate(forgetting.DIRECTIONS):
            keys = ("rise", "forward", "quadratic", "steepness", "share")
            out |= {f"{k}_{name}": rng.uniform(0.9, 1) * 10.0 ** (-i / 2) for k in keys}
        return out

    p, rng = forgetting.PRESETS["smoke"], np.random.default_rng(0)
    found = forgetting.run(p, lambda jobs, _: {job.key: result(job, rng) for job in jobs})
    return SimpleNamespace(results=found, parameters=p)


def words(fig) -> str:
    return " ".join(t.get_text() for t in fig.findobj(plt.Text))


@pytest.mark.parametrize(
    ("name", "values"), [("forecast", ()), ("forecast_at", (30,)), ("directions", ())]
)
def test_they_draw_without_a_warning_and_say_simulated(name, values, forgetting_record):
    fig = getattr(figures, name)(forgetting_record, *values)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fig.canvas.draw()
    assert "simulated" in words(fig)
    assert fig.axes[-1].get_xlabel()


def test_the_forecast_over_measured_is_the_records(forgetting_record):
    fig = figures.forecast(forgetting_record)
    line, way = forgetting_record.results["line"], forgetting_record.results["way"]
    for ax, curves in zip(fig.axes[2:], (way, line), strict=True):
        drawn = ax.containers[0].lines[0].get_ydata()
        expected = [curves["ratio"]["total"][label]["mean"] for label in curves["labels"]]
        np.testing.assert_allclose(drawn, expected)
    reach = forgetting_record.results["reach"]["line_total"]["mean"]
    assert f"past {100 * reach:.1f} %" in words(fig)


def test_a_place_on_the_line_shows_its_own_parabola(forgetting_record):
    fig = figures.forecast_at(forgetting_record, 50)
    line = forgetting_record.results["line"]
    at = line["labels"].index("50")
    curve = next(c for c in fig.axes[0].lines if c.get_linestyle() == "--")
    np.testing.assert_allclose(
        np.interp(50, *curve.get_data()), line["total"]["mean"][at], rtol=0.01
    )
    with pytest.raises(ValueError, match="place is 3; the record has 2, 5, 10"):
        figures.forecast_at(forgetting_record, 3)


def test_directions_are_the_experiments_at_its_length(forgetting_record):
    assert set(forgetting_figures.DIRECTIONS) == set(forgetting.DIRECTIONS)
    said = words(figures.directions(forgetting_record))
    assert f"body moved {100 * forgetting.LENGTH:g} %" in said and "in the 3 steepest" in said
