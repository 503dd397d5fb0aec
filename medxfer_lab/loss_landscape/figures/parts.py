"""What the figures of records share: estimates with their intervals, words beside lines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import ceil, floor, log10

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter

from medxfer_lab.course import style


def ends(cells: Iterable[dict]) -> tuple[np.ndarray, np.ndarray]:
    """Means (n,) and distances to the ends of the 95 % intervals (2, n), as errorbar wants them."""
    mean, low, high = np.array([[cell[k] for k in ("mean", "low", "high")] for cell in cells]).T
    return mean, np.maximum(0, [mean - low, high - mean])


def line(ax: Axes, x: Sequence[float], cells: Sequence[dict], key: str, **how) -> None:
    """Means and intervals along x in the colour and with the marker of a key of the style."""
    mean, spread = ends(cells)
    look = {"color": style.COLOURS[key], "marker": style.MARKERS.get(key, "o"), "ms": 4}
    ax.errorbar(x, mean, spread, **(look | {"elinewidth": 1} | how))


def dots(ax: Axes, cells: Sequence[dict], y: Sequence[float], colour: str, **how) -> None:
    """Estimates with horizontal intervals, one a row."""
    mean, spread = ends(cells)
    ax.errorbar(mean, y, xerr=spread, **({"fmt": "o", "color": colour, "elinewidth": 1.3} | how))


def apart(values: Sequence[float], gap: float) -> np.ndarray:
    """`values` moved as little as keeps them `gap` apart, order kept: where words can stand.

    Least squares under the constraint: subtract i gaps, and the values only need be monotone.
    """
    values = np.asarray(values, float)
    order = np.argsort(values, kind="stable")
    blocks: list[list[float]] = []  # mean and size of each run that is pooled
    for value in values[order] - gap * np.arange(len(values)):
        blocks.append([float(value), 1])
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            (a, n), (b, m) = blocks[-2:]
            blocks[-2:] = [[(n * a + m * b) / (n + m), n + m]]
    placed = np.empty(len(values))
    flat = [mean for mean, size in blocks for _ in range(int(size))]
    placed[order] = np.array(flat) + gap * np.arange(len(values))
    return placed


def beside(ax: Axes, x: float, words: Mapping[str, tuple[float, str]], gap: float, **how) -> None:
    """Words right of x, each at its line's height or a little off; words -> (height, colour).

    gap: least distance in shares of the panel's height. Set scale and limits of y first.
    """
    to_axes = ax.transData + ax.transAxes.inverted()
    shares = [float(to_axes.transform((x, y))[1]) for y, _ in words.values()]
    for (said, (y, colour)), at in zip(words.items(), apart(shares, gap)):
        end = (float(to_axes.transform((x, y))[0]), at)
        look = {"color": colour, "fontsize": 8.5, "va": "center", "annotation_clip": False}
        place = {"xycoords": "axes fraction", "textcoords": "offset points", "xytext": (6, 0)}
        ax.annotate(said, end, **(look | place | how))


def few_ticks(axis: Axis, most: int = 7) -> None:
    """Plain numbers on a logarithmic axis, at most so many; set its limits first."""
    low, high = sorted(axis.get_view_interval())
    powers = range(floor(log10(low)), ceil(log10(high)) + 1)
    for steps in ((1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 7), (1, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,)):
        ticks = [step * 10.0**k for k in powers for step in steps]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) <= most:
            break
    ticks = ticks[:: ceil(len(ticks) / most)]
    axis.set_ticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.set_minor_formatter(NullFormatter())


def key(ax: Axes | Figure, entries: dict[str, dict], title: str = "", **how) -> None:
    """A key from words -> properties of a line, without any interval; of a panel or of all."""
    lines = [Line2D([], [], label=words, **properties) for words, properties in entries.items()]
    ax.legend(handles=lines, title=title, alignment="left", **how)


def said(fig: Figure, words: str) -> None:
    """What is theory and what is simulated, in small print below the figure."""
    fig.supxlabel(words, fontsize=8, color="0.35")
