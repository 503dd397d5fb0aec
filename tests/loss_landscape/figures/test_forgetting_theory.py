"""What the figures draw, read back from their artists and checked against the theory."""

import matplotlib

matplotlib.use("Agg")

import numpy as np
import pytest

from medxfer_lab.loss_landscape.figures import forgetting_theory as figures
from medxfer_lab.loss_landscape.theory.consolidation import ewc_solution


def markers(ax, *kinds):
    """Where single points with these markers lie, (k, 2), in the order drawn."""
    lines = [line for line in ax.lines if line.get_marker() in kinds and len(line.get_xdata()) == 1]
    return np.array([line.get_xydata()[0] for line in lines])


@pytest.mark.parametrize("step", [0.25, 3.0])
def test_forecast_and_truth_are_within_the_band(step):
    fig = figures.quadratic_forecast(step)
    task, start = figures._old_task()
    for ax, (_, move) in zip(fig.axes[1:], figures._moves().values(), strict=True):
        (true,), (forecast,) = markers(ax, "o"), markers(ax, "s")
        assert true[1] == pytest.approx(task.loss(start + step * move) - task.loss(start))
        assert true[0] == forecast[0] == step
        assert abs(true[1] - forecast[1]) <= task.third_bound(move) * step**3 / 6
        shown = f"true {true[1]:+.3f}, forecast {forecast[1]:+.3f}"
        assert shown in ax.get_title("left")


@pytest.mark.parametrize("strength", [0.05, 5.0])
def test_dots_are_ewc_s_solutions_and_none_is_below_the_full_matrix(strength):
    plane, cost = figures.ewc_strength(strength).axes
    dots = markers(plane, "o", "d", "D")
    for dot, (importance, *_) in zip(dots, figures.PENALTIES.values(), strict=True):
        valleys = figures.NEW_HESSIAN, figures.NEW_OPTIMUM
        expected = ewc_solution(*valleys, importance, figures.OLD_OPTIMUM, strength)
        np.testing.assert_allclose(dot, expected)
    weighed = markers(cost, "o", "d", "D") @ [1, strength]  # L_n + s L_o
    assert weighed[0] <= weighed[1:].min()


@pytest.mark.parametrize("factor", [0.5, 2.5])
def test_units_change_raw_curvature_and_nothing_else(factor):
    plane, raw, relative = figures.units(factor).axes
    (u, v), (a_u, v_a) = markers(plane, "o")
    assert a_u * v_a == pytest.approx(u * v) and a_u == pytest.approx(factor * u)
    before, after = (line.get_ydata() for line in relative.lines)
    np.testing.assert_allclose(after, before, rtol=1e-9)
    before, after = (line.get_ydata() for line in raw.lines)
    rise = (after - after.min()) / (before - before.min()).max()
    assert rise.max() == pytest.approx(factor**-2, rel=1e-6)
