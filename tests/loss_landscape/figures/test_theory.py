"""The theory's figures say what the theory says, and fit an explorer."""

import matplotlib.pyplot as plt
import pytest

from medxfer_lab.course.explorer import explorer
from medxfer_lab.loss_landscape.figures import theory


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def titles(fig):
    return [ax.get_title(loc="left") for ax in fig.axes]


@pytest.mark.parametrize(
    "s, momentum, edge, word",
    [
        (1.9, 0.0, "2", "settles"),
        (2.0, 0.0, "2", "at the edge"),
        (2.1, 0.0, "2", "leaves"),
        (2.1, 0.9, "3.8", "settles"),
        (3.8, 0.9, "3.8", "at the edge"),
        (3.9, 0.9, "3.8", "leaves"),
    ],
)
def test_one_direction_below_at_and_above_the_edge(s, momentum, edge, word):
    fig = theory.step_on_quadratic(s, momentum)
    assert titles(fig) == ["twelve steps", word, f"edge at {edge}"]
    loss, growth = fig.axes[1].lines[0].get_ydata(), fig.axes[2].lines[1].get_ydata()[0]
    if word != "at the edge":
        assert (loss[-1] < loss[0]) == (growth < 1) == (word == "settles")
    assert theory.step_on_quadratic(0.1) is fig  # an explorer draws into one figure


def test_two_blocks_settle_where_it_is_shaded():
    for p, q, coupling, word in (
        (0.9, 0.9, 0.0, "settles"),
        (0.9, 0.9, 0.7, "leaves"),
        (0.5, 0.5, -1.0, "at the edge"),
        (0.45, 0.5, 1.0, "settles"),
        (0.1, 1.1, 0.0, "leaves"),
    ):
        fig = theory.two_blocks(p, q, coupling)
        plane, rates = fig.axes
        assert plane.get_title(loc="left") == f"twenty steps: {word}"
        (shaded,) = rates.collections
        if word != "at the edge":
            assert shaded.get_paths()[0].contains_point((p, q)) == (word == "settles")


def test_block_rates_leave_only_what_the_coupling_does():
    one, block, _ = titles(theory.condition(100.0))
    assert one.endswith("134") and block.endswith("= 3")
    one, block, _ = titles(theory.condition(1.0))
    assert one.endswith("= 3") and block.endswith("= 3")


def test_the_catapult_comes_back_between_two_and_four():
    words = {s: titles(theory.catapult(s)) for s in (1.5, 3.0, 4.2)}
    assert [w[0] for w in words.values()] == ["settles", "leaves and comes back", "leaves for good"]
    assert float(words[3.0][2].split()[-1]) < 2
    assert words[4.2][2] == "from 4.2 upwards"


def test_an_explorer_takes_them():
    alt = "Paths on the bowl of two blocks."
    box = explorer(lambda step: theory.two_blocks(step, step), alt, step=[0.5, 1.0])
    assert len(box.children) == 2
