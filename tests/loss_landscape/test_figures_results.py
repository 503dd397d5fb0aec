"""Figures of rates, trade-off, valley, paths and Lite0 draw what their records say."""

from __future__ import annotations

import copy
import warnings

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import pytest

from medxfer_lab.course.record import records
from medxfer_lab.loss_landscape import figures
from medxfer_lab.loss_landscape.experiment.paths import KINDS


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def found():
    return {name.partition(".")[0]: record for name, record in records("loss_landscape").items()}


DRAWN = {
    "rates": ("gains", "block_distances"),
    "tradeoff": ("stability_plasticity", "cost_at_equal_forgetting"),
    "valley": ("widths",),
    "paths": ("barriers", "plane"),
    "lite0": ("stages", "drift"),
}


@pytest.mark.parametrize(("record", "name"), [(r, n) for r, names in DRAWN.items() for n in names])
def test_figures_draw_without_a_warning_and_say_simulated(found, record, name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fig = getattr(figures, name)(found[record])
        fig.canvas.draw()
    assert "simulated" in words(fig)
    for ax in fig.axes:
        column = ax.get_shared_x_axes().get_siblings(ax)
        named = [text.get_text() for a in column for text in a.get_xticklabels()]
        assert any(a.get_xlabel() for a in column) or max(map(len, named)) > 3


def words(fig) -> str:
    return " ".join(t.get_text() for t in fig.findobj(plt.Text))


def middles(ax) -> list[float]:
    """x of every estimate that is drawn with an interval, in the order drawn."""
    return [x for c in ax.containers for x in c.lines[0].get_xdata()]


def test_gains_and_barriers_are_the_records(found):
    arms, kinds = found["rates"].results["arms"], found["paths"].results["kinds"]
    drawn = middles(figures.gains(found["rates"]).axes[0])
    expected = [c["log_loss_gain"]["mean"] for g in arms.values() for c in g.values()]
    assert sorted(drawn) == pytest.approx(sorted(e for e in expected if e != 0))
    new, _, old, _ = figures.barriers(found["paths"]).axes
    for ax, task in ((new, "target"), (old, "source")):
        expected = [kinds[k][task]["barrier"]["mean"] for k in KINDS if task in kinds[k]]
        assert middles(ax) == pytest.approx(expected)


def test_drift_is_drawn_in_order_of_steps(found):
    fig = figures.drift(found["lite0"])
    said = [t.get_text() for t in fig.axes[0].texts]
    for rate, at in (("slow", 0), ("usual", 2)):
        looks = found["lite0"].results["drift"][rate]["looks"]
        moved = sorted(100 * cell["moved"]["mean"] for cell in looks.values())
        assert fig.axes[1].containers[at].lines[0].get_xdata() == pytest.approx(moved)
        steps = [f"step {step}" for step in sorted(map(int, looks))]
        assert said[: len(steps)] == steps
        said = said[len(steps) :]


def test_what_no_set_reaches_has_words_in_place_of_a_dot(found):
    record = copy.deepcopy(found["tradeoff"])
    matched = record.results["matched"]["known_quarter"]
    nowhere = dict.fromkeys(("mean", "low", "high"), None)
    matched["excess"]["replay"] |= nowhere | {"reached": 1}
    matched["differences"]["ewc_minus_replay"] |= nowhere
    fig = figures.cost_at_equal_forgetting(record)
    _, quarter, _, against = fig.axes
    l2sp = matched["differences"]["ewc_minus_l2sp"]["mean"]
    assert (len(middles(quarter)), len(middles(against))) == (5, 4)
    assert -l2sp in middles(against)
    assert f"1 of {record.parameters['sets']} sets come to it" in words(fig)


@pytest.mark.parametrize(("method", "i"), [("ewc", 0), ("early_stopping", 5)])
def test_a_strength_stands_on_its_curve_with_its_numbers(found, method, i):
    results = found["tradeoff"].results
    fig = figures.along_strength(found["tradeoff"], method, i)
    here = [results["plain"][w]["mean"] for w in ("source_loss", "target_loss")]
    if i:
        curve = results["curves"][method]
        here = [curve[w]["mean"][i - 1] for w in ("source_loss", "target_loss")]
        assert f"{curve['strengths'][i - 1]:g}" in fig.axes[1].get_title("left")
    assert fig.axes[0].containers[-1].lines[0].get_xydata()[0] == pytest.approx(here)
    assert f"{here[1]:.3f}" in words(fig)


def test_strengths_and_ways_that_there_are_not(found):
    with pytest.raises(ValueError, match="method is 'sleep'; there are replay"):
        figures.along_strength(found["tradeoff"], "sleep", 1)
    with pytest.raises(ValueError, match="i is 6; ewc has 0 .plain. and strengths 1 to 5"):
        figures.along_strength(found["tradeoff"], "ewc", 6)
