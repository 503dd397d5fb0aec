"""The figure's numbers: the centre moves the variance over random designs only."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pytest

from medxfer_lab.bias_variance.exercises.moving_the_centre import alternative, draw, parts


@pytest.mark.parametrize("strength", [0.1, 0.3, 1.0])
def test_only_random_designs_change_their_variance(strength):
    near, far = parts(0.0, strength), parts(1.0, strength)
    assert near["fixed design"][1] == pytest.approx(far["fixed design"][1], rel=1e-12)
    assert far["random designs"][1] > 1.05 * near["random designs"][1]
    assert near["fixed design"][0] == near["random designs"][0] == 0
    assert far["fixed design"][0] > 0 and far["random designs"][0] > 0


def test_the_figure_shows_these_numbers():
    fig = draw(0.5, 0.3)
    shown = [text.get_text() for text in fig.axes[0].texts]
    wanted = [f"variance {variance:.2f}" for _, variance in parts(0.5, 0.3).values()]
    assert shown == wanted and all(text in alternative(0.5, 0.3) for text in wanted)
    plt.close(fig)
