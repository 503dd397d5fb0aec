"""The look of every figure: keys have words, and the blocks' colours are a ramp."""

import matplotlib as mpl
import numpy as np
import pytest

from medxfer_lab.course import style

BLOCKS = ("conv1", "conv2", "conv3", "conv4", "head")


def test_every_colour_has_words():
    assert set(style.COLOURS) == set(style.LABELS) >= set(style.MARKERS)
    assert style.label("replay") == "replay"
    with pytest.raises(KeyError, match="no label for 'warmup'; known: scratch"):
        style.label("warmup")


def test_blocks_are_a_ramp_that_grey_print_keeps():
    assert len({style.MARKERS[b] for b in BLOCKS}) == len(BLOCKS)
    grey = [np.dot([0.2126, 0.7152, 0.0722], mpl.colors.to_rgb(style.COLOURS[b])) for b in BLOCKS]
    assert (np.diff(grey) > 0.03).all()
