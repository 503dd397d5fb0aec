"""Words stand apart, and logarithmic axes carry a few plain numbers."""

import matplotlib

matplotlib.use("Agg")

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from sklearn.isotonic import IsotonicRegression

from medxfer_lab.loss_landscape.figures import parts

HEIGHTS = st.lists(st.floats(-5, 5), min_size=1, max_size=8, unique=True)


@settings(max_examples=60, deadline=None)
@given(HEIGHTS, st.floats(0, 3))
def test_words_are_moved_as_little_as_keeps_them_apart(heights, gap):
    placed, order = parts.apart(heights, gap), np.argsort(heights)
    index = np.arange(len(heights))
    best = IsotonicRegression().fit_transform(index, np.sort(heights) - gap * index)
    np.testing.assert_allclose(placed[order], best + gap * index, atol=1e-9)


def test_words_that_are_apart_stay():
    assert parts.apart([3.0, 0.0, 1.0], 0.5).tolist() == [3.0, 0.0, 1.0]


@pytest.mark.parametrize("limits", [(0.9, 1.6), (0.2, 30), (1e-9, 1e9)])
def test_a_logarithmic_axis_has_a_few_numbers(limits):
    axis = Figure().subplots().xaxis
    axis.axes.set_xscale("log")
    axis.axes.set_xlim(limits)
    parts.few_ticks(axis, 6)
    ticks = axis.get_ticklocs()
    assert 3 <= len(ticks) <= 6 and limits[0] <= ticks[0] < ticks[-1] <= limits[1]
    assert [float(text.get_text()) for text in axis.get_ticklabels()] == pytest.approx(ticks)
