"""Figures of the record `forgetting`: the old loss's rise, forecast and measured."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import PlaceHolderLayoutEngine

from medxfer_lab.course import style
from medxfer_lab.course.record import Record
from medxfer_lab.loss_landscape.figures.parts import beside, ends, said

#: what is drawn -> colour, line style, marker, words
CURVES: dict[str, tuple[str, str, str, str]] = {
    "rise": ("#000000", "-", "o", "measured"),
    "total": (style.COLOURS["target"], "--", "s", "$g^Td + d^THd/2$"),
    "quadratic": (style.COLOURS["source"], "-.", "^", "$d^THd/2$"),
    "fisher_diagonal": (style.COLOURS["ewc"], ":", "d", "Fisher diagonal"),
}
#: a forecast holds within this share of what was measured
WITHIN = 0.25
_KINDS = {"way": "Along Adam's way", "line": "Along the straight line to its end"}
_FLOOR = 1e-5  # nats: an interval's end at or below 0 has no place on a log axis


def forecast(record: Record) -> Figure:
    """Rise of the old loss against how far the body moved, log-log, and forecast over measured.

    Left: the places of Adam; right: fractions and multiples of the last displacement. Bands: 95 %
    over pretrainings. Lower row: ratios of means, the grey band within 25 % of the measured rise;
    the orange band is how far single runs stay in it with g'd + d'Hd/2.
    """
    style.apply()
    fig, axes = plt.subplots(
        2, 2, figsize=(10, 6.0), sharex=True, sharey="row", height_ratios=(1.5, 1)
    )
    for (top, below), (kind, title) in zip(axes.T, _KINDS.items(), strict=True):
        curves = record.results[kind]
        x = 100 * np.array(curves["distance"]["mean"])
        for name, (colour, dashes, marker, _) in CURVES.items():
            look = {"color": colour, "ls": dashes, "marker": marker, "ms": 4}
            mean, low, high = (np.maximum(curves[name][k], _FLOOR) for k in _ENDS)
            top.loglog(x, mean, **look)
            top.fill_between(x, low, high, color=colour, alpha=0.15, lw=0)
            if name != "rise":
                ratios, spread = ends(curves["ratio"][name][p] for p in curves["labels"])
                below.errorbar(x, ratios, spread, elinewidth=1, **look)
        _leaves(top, below, record.results["reach"][f"{kind}_total"])
        top.set_title(title)
        below.set(xlabel="body moved (% of its length)", xscale="log")
    axes[1, 0].set_ylim(-0.05, 1.6)
    _ticks(axes[1, 0], (0.5, 1, 2, 5, 10, 20))
    axes[0, 0].set_ylabel("rise of the old loss (nats)")
    axes[1, 0].set_ylabel("forecast / measured")
    _name_lines(axes[0, 1], record.results["line"])
    said(
        fig,
        "old task: photographs, tuned on simulated FLAIR slices; bands and bars: 95 % over "
        f"{record.parameters['pretrainings']} pretrainings; grey: within {_percent(WITHIN)}",
    )
    return fig


_ENDS = ("mean", "low", "high")


def _leaves(top: Axes, below: Axes, reach: dict) -> None:
    """Where single runs leave the 25 % with the full forecast, with its interval."""
    mean, low, high = (100 * reach[k] for k in _ENDS)
    colour = CURVES["total"][0]
    for ax in (top, below):
        ax.axvline(mean, color=colour, lw=1, zorder=0)
        ax.axvspan(low, high, color=colour, alpha=0.12, lw=0, zorder=-1)
    below.axhspan(1 - WITHIN, 1 + WITHIN, color="0.9", zorder=-2)
    below.axhline(1, color="0.6", lw=1, zorder=-1)
    place = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points"}
    look = {"fontsize": 8.5, "color": colour, "va": "top", "xytext": (4, 0)}
    words = f"single runs: off by\n{_percent(WITHIN)} past {mean:.1f} %"
    below.annotate(words, (mean, 0.98), **look, **place)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _ticks(ax: Axes, values: Sequence[float]) -> None:
    ax.set_xticks(values, [f"{v:g}" for v in values])
    ax.minorticks_off()


def _name_lines(ax: Axes, curves: dict) -> None:
    """Words right of the last points."""
    right = 100 * curves["distance"]["mean"][-1]
    heights = {
        words: (max(curves[name]["mean"][-1], _FLOOR), colour)
        for name, (colour, _, _, words) in CURVES.items()
    }
    beside(ax, right, heights, 0.075)


def forecast_at(record: Record, place: int) -> Figure:
    """Old loss at one place of the straight line from the pretrained body to the tuned one.

    place: how much of the line, in per cent of the tuned displacement, one of the record's labels.
    Left: the rise along the line with the forecasts' parabolas. Right: what each says there.
    """
    line = record.results["line"]
    if str(place) not in line["labels"]:
        known = ", ".join(line["labels"])
        raise ValueError(f"place is {place}; the record has {known} (% of the displacement)")
    at = line["labels"].index(str(place))
    style.apply()
    fig, (along, here) = _panels("forecast at", (9.2, 3.6))
    x = np.array([0.0, *map(float, line["labels"])])
    fine = np.linspace(0, 1.3 * place, 61)
    linear, half = (line[name]["mean"][at] for name in ("linear", "quadratic"))
    share = fine / place
    parabolas = {
        "total": share * linear + share**2 * half,
        "quadratic": share**2 * half,
        "fisher_diagonal": share**2 * line["fisher_diagonal"]["mean"][at],
    }
    for name, (colour, dashes, marker, _) in CURVES.items():
        if name == "rise":
            mean, low, high = (np.array([0.0, *line[name][k]]) for k in _ENDS)
            along.plot(x, mean, "o-", color=colour, ms=3)
            along.fill_between(x, low, high, color=colour, alpha=0.15, lw=0)
        else:
            along.plot(fine, parabolas[name], color=colour, ls=dashes)
        along.plot(place, line[name]["mean"][at], marker, color=colour, ms=7, zorder=3)
    along.axvline(place, color="0.7", lw=1, zorder=0)
    along.set(xlabel="of the tuned displacement (%)", ylabel="rise of the old loss (nats)")
    seen = [line[name]["high"][at] for name in CURVES]
    along.set(xlim=(0, 1.3 * place), ylim=(min(0, 1.5 * linear), 1.6 * max(seen)))
    along.set_title(f"Body moved {100 * line['distance']['mean'][at]:.1f} % of its length")
    _bars(here, line, at)
    said(
        fig,
        "old task: photographs, tuned on simulated FLAIR slices; bars and band: 95 % over "
        f"{record.parameters['pretrainings']} pretrainings; axes grow with the place",
    )
    return fig


def _bars(ax: Axes, line: dict, at: int) -> None:
    """Measured, the two terms, their sum and the diagonal at one place; over measured in words."""
    rows = {
        "rise": CURVES["rise"],
        "linear": ("#999933", "", "v", "$g^Td$"),
        **{name: CURVES[name] for name in ("quadratic", "total", "fisher_diagonal")},
    }
    measured = line["rise"]["mean"][at]
    for y, (name, (colour, _, marker, _)) in enumerate(rows.items()):
        cell = {k: line[name][k][at] for k in _ENDS}
        mean, spread = ends([cell])
        ax.barh(y, mean, color=colour, alpha=0.25)
        ax.errorbar(mean, [y], xerr=spread, fmt=marker, color=colour, elinewidth=1.3)
        share = "" if name == "rise" else f" ({_percent(mean[0] / measured)})"
        words = f"{mean[0]:.2g}{share}"
        end = max(cell["high"], 0)
        ax.annotate(words, (end, y), (6, 0), textcoords="offset points", va="center", fontsize=9)
    ax.axvline(0, color="0.6", lw=1)
    ax.set_yticks(range(len(rows)), [words for *_, words in rows.values()])
    ax.invert_yaxis()
    most = max(line[name]["high"][at] for name in rows)
    least = min(0.0, *(line[name]["low"][at] for name in rows))
    ax.set_xlim(1.05 * least, least + 1.45 * (most - least))
    ax.set_xlabel("rise of the old loss (nats)")
    ax.set_title("There: nats (share of measured)")


#: direction -> words, colour; a group begins with the direction itself
_GRADIENT, _DISPLACEMENT, _RANDOM = style.COLOURS["target"], style.COLOURS["lpft"], "0.45"
DIRECTIONS: dict[str, tuple[str, str]] = {
    "gradient": ("first new gradient", _GRADIENT),
    "gradient_less_steep": ("… less its steepest part", _GRADIENT),
    "random_like_gradient": ("random, as long in every tensor", _RANDOM),
    "displacement": ("where tuning ends", _DISPLACEMENT),
    "displacement_less_steep": ("… less its steepest part", _DISPLACEMENT),
    "random_like_displacement": ("random, as long in every tensor", _RANDOM),
    "random_relative": ("random, in proportion to each weight", _RANDOM),
    "random": ("random", _RANDOM),
}


def directions(record: Record) -> Figure:
    """Rise of the old loss along directions of one length, and how much of each is steep.

    Left: mean rise there and back (the linear term cancels), dots, and d'Gd/2, rings. Right: share
    of the squared length within the steepest eigendirections of the old Gauss-Newton matrix;
    the line is what any direction would have by chance.
    """
    style.apply()
    found, top = record.results["directions"], record.parameters["top"]
    fig, (rise, share) = plt.subplots(1, 2, figsize=(10, 4.2), sharey=True)
    height = [-i - 0.5 * (i > 2) - 0.5 * (i > 5) for i in range(len(DIRECTIONS))]
    for y, (name, (_, colour)) in zip(height, DIRECTIONS.items(), strict=True):
        cell = found[name]
        for shift, key, fill in ((0.13, "rise", "full"), (-0.13, "quadratic", "none")):
            mean, spread = _above(cell[key], 1e-6)
            look = {"fmt": "o", "color": colour, "fillstyle": fill, "elinewidth": 1.2}
            rise.errorbar(mean, [y + shift], xerr=spread, **look)
        if "less_steep" in name:
            share.annotate("taken out", (0.02, y), xycoords=("axes fraction", "data"),
                           fontsize=8.5, color=colour, va="center")  # fmt: skip
            continue
        mean, spread = _above(cell["share"], 1e-6)
        share.errorbar(100 * mean, [y], xerr=100 * spread, fmt="o", color=colour, elinewidth=1.2)
    for name in ("gradient", "displacement"):
        y = height[list(DIRECTIONS).index(name)]
        times = np.exp(record.results[f"log_steeper_than_like_{name}"]["mean"])
        words = f"{times:.0f} times as steep as\nrandom of like lengths"
        on_left = found[name]["rise"]["mean"] > 0.05
        place = {"textcoords": "offset points", "va": "center", "fontsize": 8.5}
        end = found[name]["rise"]["low" if on_left else "high"]
        rise.annotate(words, (end, y), (-12 if on_left else 12, 0),
                      ha="right" if on_left else "left", **place)  # fmt: skip
    chance = 100 * record.results["steep_dimension"]
    share.axvline(chance, color="0.6", lw=1, ls="--", zorder=0)
    share.annotate("chance", (chance, 0.55), (-4, 0), textcoords="offset points", ha="right",
                   va="center", fontsize=8.5, color="0.4")  # fmt: skip
    rise.set_yticks(height, [words for words, _ in DIRECTIONS.values()])
    rise.set(xscale="log", ylim=(height[-1] - 0.6, 0.8), xlabel=_RISE_WORDS)
    rise.set_title("Forgetting at one length")
    share.set(xscale="log", xlabel=f"squared length in the {top} steepest directions (%)")
    share.set_xlim(chance / 12, 100)
    share.set_title("How much of it is steep")
    said(
        fig,
        "old loss on photographs; new task: simulated FLAIR slices; dots: measured, there and "
        f"back; rings: $d^TGd/2$; bars: 95 % over {record.parameters['pretrainings']} pretrainings",
    )
    return fig


_RISE_WORDS = "rise of the old loss, body moved 0.5 % (nats)"


def _above(cell: dict, floor: float) -> tuple[np.ndarray, np.ndarray]:
    """As `ends`, with the interval cut off at a floor that a log axis can show."""
    return ends([{key: max(cell[key], floor) for key in _ENDS}])


def _panels(name: str, size: tuple[float, float]) -> tuple[Figure, np.ndarray]:
    """A cleared figure with two panels, margins by hand: an explorer draws it often."""
    fig = plt.figure(num=name, figsize=size, clear=True)
    fig.set_layout_engine(PlaceHolderLayoutEngine(adjust_compatible=True, colorbar_gridspec=False))
    width, height = size
    fig.subplots_adjust(
        0.75 / width, 0.75 / height, 1 - 0.15 / width, 1 - 0.35 / height, wspace=0.42
    )
    return fig, fig.subplots(1, 2)
