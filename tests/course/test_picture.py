"""Every figure on a page has words; drawing it closes it."""

from __future__ import annotations

import base64
import io
import re

import matplotlib.pyplot as plt
import pytest
from PIL import Image

from medxfer_lab.course.picture import image, picture, render


def figure():
    fig, ax = plt.subplots(figsize=(4, 2))
    ax.plot([0, 1])
    return fig


def test_html_carries_the_picture_its_words_and_its_caption():
    made = picture(figure(), alt='A line from 0 to 1, "straight".', caption="Under 5 < 6.")
    html = made._repr_html_()
    assert 'alt="A line from 0 to 1, &quot;straight&quot;."' in html
    assert "<figcaption>Under 5 &lt; 6.</figcaption>" in html
    data = re.search(r'src="data:image/png;base64,([^"]+)"', html)[1]
    with Image.open(io.BytesIO(base64.b64decode(data))) as drawn:
        assert drawn.size == (480, 240)
    assert 'width="384"' in html, "4 inches are 384 CSS pixels whatever the dpi"
    assert repr(made) == 'Picture: A line from 0 to 1, "straight".'


def test_the_figure_is_closed():
    fig = figure()
    picture(fig, alt="A line from 0 to 1.")
    assert not plt.fignum_exists(fig.number)


@pytest.mark.parametrize("alt", ["", "   ", "plot", None])
def test_words_that_say_nothing_are_refused(alt):
    with pytest.raises(ValueError, match="say in a sentence"):
        picture(figure(), alt=alt)


def test_drawing_twice_gives_the_same_bytes():
    fig = figure()
    assert render(fig, 80) == render(fig, 80)
    assert len(render(fig, 80, colours=64)) < len(render(fig, 80))


def test_image_without_a_width_has_none():
    assert "width" not in image(b"x", "Some words here.")
