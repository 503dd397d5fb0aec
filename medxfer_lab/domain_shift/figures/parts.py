"""What the figures of the chapter share: estimates with their intervals, keys, small print."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from medxfer_lab.course import style
from medxfer_lab.course.record import Record

#: kind of model -> how its marker is filled; the same in every figure
FILLS = {"network": "full", "head": "none", "statistics": "left"}
MODELS = {"network": "network", "head": "head on features", "statistics": "eight-number line"}


def ends(cells: Iterable[dict]) -> tuple[np.ndarray, np.ndarray]:
    """Means (n,) and distances to the ends of the 95 % intervals (2, n), as errorbar wants them."""
    mean, low, high = np.array([[cell[k] for k in ("mean", "low", "high")] for cell in cells]).T
    return mean, np.maximum(0, [mean - low, high - mean])


def line(ax: Axes, x: Sequence[float], cells: Sequence[dict], key: str, **how) -> None:
    """Means and intervals along x in the colour and with the marker of a key of the style."""
    mean, spread = ends(cells)
    look = {"color": style.COLOURS[key], "marker": style.MARKERS.get(key, "o"), "ms": 4}
    ax.errorbar(x, mean, spread, **(look | {"elinewidth": 1} | how))


def dots(ax: Axes, cells: Sequence[dict], y: Sequence[float], colour: str, kind: str, **how):
    """Estimates with horizontal intervals, one a row; filled as the kind of model says."""
    mean, spread = ends(cells)
    look = {"fmt": "o", "color": colour, "fillstyle": FILLS[kind], "elinewidth": 1}
    ax.errorbar(mean, y, xerr=spread, **(look | how))


def key(ax: Axes | Figure, entries: dict[str, dict], title: str = "", **how) -> None:
    """A key from words -> properties of a line, without any interval; of a panel or of all."""
    lines = [Line2D([], [], label=words, **properties) for words, properties in entries.items()]
    ax.legend(handles=lines, title=title, alignment="left", **how)


def arm(name: str, **more) -> dict:
    """The line of a correction, for :func:`key`."""
    return {"color": style.COLOURS[name], "marker": style.MARKERS[name], "ms": 4} | more


def kinds_of_marker(kinds: Iterable[str], colour: str = "0.3") -> dict[str, dict]:
    """The filled and the open marker of the kinds of model, for :func:`key`."""
    return {
        MODELS[k]: {"color": colour, "marker": "o", "ls": "none", "fillstyle": FILLS[k]}
        for k in kinds
    }


def sets(record: Record) -> str:
    """What an interval covers, in words."""
    return f"bars: 95 % over {record.parameters['sets']} training sets"


def said(fig: Figure, words: str) -> None:
    """What is theory and what is simulated, in small print below the figure."""
    fig.supxlabel(words, fontsize=8, color="0.35")
