"""Frames, links and bounds of an explorer; that it moves in a browser is tested with the site."""

from __future__ import annotations

import re
import sys

import matplotlib.pyplot as plt
import numpy as np
import pytest
from ipywidgets import HTML, SelectionSlider, Stack

from medxfer_lab.course.explorer import explorer


@pytest.fixture
def draw():
    fig, ax = plt.subplots(figsize=(3, 2))

    def draw(n, strength=0.0):
        ax.clear()
        ax.plot([0, n], [0, strength])
        return fig

    yield draw
    plt.close(fig)


def leaves(widget) -> list[str]:
    if isinstance(widget, HTML):
        return [widget.value]
    return [leaf for child in widget.children for leaf in leaves(child)]


def alts(widget) -> list[str]:
    return [re.search(r'alt="([^"]*)"', leaf)[1] for leaf in leaves(widget)]


def test_two_sliders_make_a_stack_of_stacks_with_every_frame(draw):
    box = explorer(draw, "A line.......", n=[1, 2, 3], strength=([0.0, 0.5], "pull", 0.5))
    first, second, stack = box.children
    assert isinstance(stack, Stack) and len(stack.children) == 3
    assert [text for text, _ in first.options] == ["1", "2", "3"]
    assert (second.description, second.index) == ("pull", 1)
    assert all(inner.selected_index == 1 for inner in stack.children)
    assert alts(stack)[1] == "A line....... (Now: n 1, pull 0.5.)"
    assert len(set(leaves(stack))) == 6
    assert "medxfer-explorer" in box._dom_classes


def test_alt_text_may_follow_the_values(draw):
    box = explorer(draw, lambda n: f"A line that ends at {n}.", n=[4, 5])
    assert alts(box.children[-1]) == [
        "A line that ends at 4. (Now: n 4.)",
        "A line that ends at 5. (Now: n 5.)",
    ]


def test_three_sliders(draw):
    def three(a, b, c):
        return draw(a + b, c)

    box = explorer(three, "A line of three.", a=[1, 2], b=[1, 2], c=[1, 2])
    assert sum(isinstance(child, SelectionSlider) for child in box.children) == 3
    assert len(leaves(box.children[-1])) == 8


def test_numpy_values_read_like_numbers(draw):
    box = explorer(draw, "A line that grows.", n=np.array([1.5, 2.5]))
    assert [text for text, _ in box.children[0].options] == ["1.5", "2.5"]


def test_a_new_figure_each_time_leaves_none_open():
    def fresh(n):
        fig, ax = plt.subplots(figsize=(2, 2))
        ax.plot([0, n])
        return fig

    open_before = plt.get_fignums()
    explorer(fresh, "A line that grows.", n=[1, 2, 3])
    assert plt.get_fignums() == open_before


def test_too_many_frames_say_how_many(draw):
    with pytest.raises(ValueError, match=r"8 x 8 = 64 frames .* fewer values"):
        explorer(draw, "A line that grows.", n=range(8), strength=range(8))


def test_too_heavy_frames_say_how_heavy(draw, monkeypatch):
    module = sys.modules["medxfer_lab.course.explorer"]  # the function hides it as an attribute
    monkeypatch.setattr(module, "MOST_BYTES", 2_000)
    with pytest.raises(ValueError, match=r"2 frames weigh 0.0 MB, more than 0.0 MB: draw smaller"):
        explorer(draw, "A line that grows.", n=[1, 2])


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({}, "one to three sliders, not 0"),
        ({"n": [1]}, "slider 'n' has 1 values"),
        ({"n": ([1, 2], "labels", 3)}, r"cannot start at 3: it takes \[1, 2\]"),
    ],
)
def test_sliders_that_make_no_sense(draw, parameters, message):
    with pytest.raises(ValueError, match=message):
        explorer(draw, "A line that grows.", **parameters)


def test_frames_without_words_are_refused(draw):
    with pytest.raises(ValueError, match="say in a sentence"):
        explorer(draw, lambda n: "", n=[1, 2])
