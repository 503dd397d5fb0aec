"""Figures of curvature and steps: they draw what a record says, with words on axes.

Records are made up through each experiment's own `run`, with a runner that invents the jobs'
results: so their structure is the experiment's, whatever the numbers.
"""

from __future__ import annotations

import copy
import warnings
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pytest

from medxfer_lab.loss_landscape import figures
from medxfer_lab.loss_landscape.experiment import curvature, spectra, steps
from medxfer_lab.loss_landscape.figures.curvature import BLOCKS

#: raw curvature of conv1 ... head when fresh and after tuning, about as measured
FRESH, TUNED = np.array([1.6, 0.3, 0.6, 0.16, 6.8]), np.array([120, 36, 14, 0.4, 2.2])


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def made_up(module, result_of) -> SimpleNamespace:
    """What `module` would record of invented jobs. result_of: (job, generator) -> result."""
    p, rng = module.PRESETS["smoke"], np.random.default_rng(0)
    found = module.run(p, lambda jobs, _: {job.key: result_of(job, rng) for job in jobs})
    return SimpleNamespace(results=found, parameters=p)


@pytest.fixture(scope="module")
def curvature_record():
    def result(job, rng):
        if job.key.startswith("spectrum"):
            places, shape = curvature.HESSIAN_PLACES, (1, job.parameters["lanczos"])
            out = {f"nodes_{p}": rng.normal(1, 5, shape) for p in places}
            out |= {f"weights_{p}": np.full(shape, 1 / shape[1]) for p in places}
            out |= {f"units_{i}": np.full((5, 5), top) for i, top in enumerate((90, 9000, 5))}
            return out | {f"loss_{i}": 0.7 for i in range(3)}
        out = {}
        for place in curvature.PLACES:
            raw = FRESH if place in ("fresh", "head_tuned", "tuned_a") else TUNED
            out[place] = np.outer(raw, np.ones(len(spectra.MEASURES))) * rng.uniform(0.9, 1.1)
            out[place][-1, 3:] /= 1000  # per relative change the head is flat
            out[f"loss_{place}"], out[f"hessian_{place}"] = 0.7, raw
        return out

    return made_up(curvature, result)


@pytest.fixture(scope="module")
def steps_record():
    def result(job, rng):
        if job.key.startswith("curves"):
            t = np.arange(job.parameters["horizon"] + 1)
            rows = np.stack([0.7 * (0.8 if f < 1 else 1.3) ** t for f in steps.CURVE_FACTORS])
            rows[-1, 2:] = np.nan
            cases = [case.replace("body.", "") for case in steps.CURVE_CASES]
            return {f"{start}_{case}": rows for start in steps.STARTS for case in cases}
        out = {}
        for start, tops in (("fresh", FRESH), ("tuned", TUNED)):
            predicted = np.array([*2 / tops, 2 / tops.sum(), 0.2])
            out |= {f"{start}_{key}": predicted for key in ("predicted", "model")}
            out[f"{start}_found"] = predicted * rng.uniform(0.8, 1.2, len(predicted))
            out[f"{start}_hessian"] = predicted[:-1]
            out |= {f"{start}_{key}": 0.5 for key in ("sgd", "adam_factor", "adam_predicted")}
            out[f"loss_{start}"] = 0.7
        return out

    return made_up(steps, result)


def words(fig) -> str:
    return " ".join(t.get_text() for t in fig.findobj(plt.Text))


@pytest.mark.parametrize(
    ("kind", "name", "values"),
    [
        ("curvature", "curvature_by_block", ()),
        ("curvature", "spectrum", ()),
        ("steps", "stable_steps", ()),
        ("steps", "real_block", ("conv1", 1.25)),
    ],
)
def test_they_draw_without_a_warning_and_say_simulated(kind, name, values, request):
    fig = getattr(figures, name)(request.getfixturevalue(f"{kind}_record"), *values)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fig.canvas.draw()
    assert "simulated" in words(fig)
    assert fig.axes[-1].get_xlabel()


def test_the_heads_place_among_the_blocks_is_read_from_the_record(curvature_record):
    fig = figures.curvature_by_block(curvature_record)
    assert "the head: the steepest when fresh, second flattest after 4 steps" in words(fig)
    assert "the head is flattest, fresh and tuned" in words(fig)
    fresh = fig.axes[0].containers[1].lines[0].get_ydata()
    expected = [curvature_record.results["fresh"]["top"][b]["mean"] for b in BLOCKS]
    np.testing.assert_allclose(fresh, expected)


def test_units_are_drawn_in_the_order_of_the_factors(curvature_record):
    loss, raw, _ = figures.units_measured(curvature_record).axes
    assert raw.lines[0].get_xdata().tolist() == [0.1, 1, 10]
    assert raw.lines[0].get_ydata().tolist() == [9000, 90, 5]
    assert {t.get_text() for t in loss.texts} == {"0.7"}


def test_an_edge_beyond_the_search_is_a_lower_bound(steps_record):
    assert "≥" not in words(figures.stable_steps(steps_record))
    other = copy.deepcopy(steps_record)
    other.results["fresh"]["conv1"]["beyond_the_search"] = 3
    ratio = np.exp(other.results["fresh"]["conv1"]["log_found_over_predicted"]["mean"])
    said = words(figures.stable_steps(other))
    assert f"≥ {ratio:.1f}" in said and "at least: search ended" in said


@pytest.mark.parametrize(("factor", "rises"), [(0.8, False), (1.25, True)])
def test_a_block_beside_its_parabola(steps_record, factor, rises):
    fig = figures.real_block(steps_record, "head", factor)
    assert [ax.texts[0].get_text() == "rises" for ax in fig.axes] == [rises] * 3
    assert figures.real_block(steps_record, "one", 0.25) is fig  # an explorer draws into one
    with pytest.raises(ValueError, match="case is 'conv2'; the record has conv1, conv4, head, one"):
        figures.real_block(steps_record, "conv2", factor)
    with pytest.raises(ValueError, match="factor is 3; the record has 0.25"):
        figures.real_block(steps_record, "head", 3)
