"""Figures of the record `lite0`: curvature by stage, and how far old answers drift."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from medxfer_lab.course import style
from medxfer_lab.course.record import Record
from medxfer_lab.loss_landscape.experiment.lite0 import RATES as EXPERIMENT_RATES
from medxfer_lab.loss_landscape.figures.parts import ends, few_ticks, key, said

MEASURES = {"top": "raw", "relative_top": "per relative change of each weight"}
#: rate of tuning -> colour, marker, where a step's number stands (points), which end of the words
RATES = {
    "slow": ("#0072B2", "o", (-9, 3), "right"),
    "usual": ("#D55E00", "s", (10, -13), "left"),
}


def stages(record: Record) -> Figure:
    """Top Gauss-Newton eigenvalue of the new loss by stage of EfficientNet-Lite0, raw and relative.

    Geometric means with intervals over sets of patients; small dots: sets. One pretraining.
    """
    style.apply()
    found = record.results["curvature"]
    names = record.results["stages"]
    fig, axes = plt.subplots(1, 2, figsize=(9.6, 4.0))
    for ax, (measure, words) in zip(axes, MEASURES.items()):
        cells = [found["stages"][name][measure] for name in names]
        for x, cell in enumerate(cells):
            one = np.full(len(cell["values"]), x + 0.18)
            ax.plot(one, cell["values"], "o", color=style.COLOURS["target"], ms=3, alpha=0.5)
        mean, spread = ends(cells)
        body = slice(0, len(names) - 1)
        look = {"color": style.COLOURS["target"], "elinewidth": 1.3, "ms": 6}
        ax.errorbar(range(len(names))[body], mean[body], spread[:, body], fmt="o-", **look)
        ax.errorbar(len(names) - 1, mean[-1], spread[:, -1:], fmt="D", **look)
        ax.set_yscale("log")
        ax.set_xticks(range(len(names)), names, rotation=55, ha="right", rotation_mode="anchor")
        rank = found["depth_rank"][measure]
        interval = f"{rank['mean']:+.2f} [{rank['low']:+.2f}, {rank['high']:+.2f}]"
        ax.set_title(f"{words.capitalize()}\nrank correlation with depth {interval}", fontsize=10)
    axes[0].set_ylabel("top eigenvalue of the new loss")
    said(fig, f"simulated patients; ImageNet weights, fitted head (diamond); {_bars(record)}")
    return fig


def drift(record: Record) -> Figure:
    """Drift of old answers on photographs against its forecast, and their ratio as tuning moves.

    Drift: mean KL divergence between the old network's 1,000 probabilities and those of the moved
    body under the old head (nats). Small symbols: sets of patients; lines join their geometric
    means from look to look. Crosses: a random step, in every tensor as long as that rate's last.
    """
    style.apply()
    fig, (plane, ratio) = plt.subplots(1, 2, figsize=(9.6, 4.4))
    for rate, (colour, marker, offset, ha) in RATES.items():
        cells = record.results["drift"][rate]
        _against(plane, cells, colour, marker, offset, ha)
        _ratios(ratio, cells, colour, marker)
    entries = {f"Adam at {EXPERIMENT_RATES[rate]:g}": look for rate, look in _looks().items()}
    random = {"random steps as long": {"color": "0.4", "marker": "x", "ls": "none"}}
    key(plane, entries | random, loc="upper left")
    plane.set(xscale="log", yscale="log")
    low, high = plane.get_xlim()
    plane.plot([low, high], [low, high], color="0.6", lw=1, zorder=0)
    plane.set(xlim=(low, high), title="Measured and forecast")
    plane.set(xlabel="forecast: $\\delta'F\\delta/2$ (nats)", ylabel="measured drift (nats)")
    ratio.axhspan(1 / 1.25, 1.25, color="0.93", zorder=-1)
    ratio.axhline(1, color="0.6", lw=1, zorder=0)
    ratio.set(xscale="log", yscale="log", xlabel="moved (% of the body's length)")
    ratio.set(ylabel="measured over forecast", title="Ratio; band: a factor of 1.25")
    for axis in (ratio.xaxis, ratio.yaxis):
        few_ticks(axis)
    said(fig, f"simulated patients, real photographs; {_bars(record)}")
    return fig


def _geometric(cell: dict) -> np.ndarray:
    """Geometric means over sets of (measured, forecast)."""
    return np.exp(np.log(cell["sets"]).mean(0))


def _by_step(cells: dict) -> dict[int, dict]:
    """Looks in order of steps: a record's keys are words, which sort 15 before 5."""
    return {int(step): cells["looks"][step] for step in sorted(cells["looks"], key=int)}


def _against(
    ax: Axes, cells: dict, colour: str, marker: str, offset: tuple[int, int], ha: str
) -> None:
    """Measured against forecast of every set and look, and the random steps."""
    looks = _by_step(cells)
    means = np.array([_geometric(cell) for cell in looks.values()])
    for cell in looks.values():
        measured, forecast = np.array(cell["sets"]).T
        ax.plot(forecast, measured, marker, color=colour, ms=3, alpha=0.5)
    ax.plot(means[:, 1], means[:, 0], color=colour, marker=marker, ms=6)
    place = {"textcoords": "offset points", "color": colour, "fontsize": 8.5}
    for step, (measured, forecast) in zip(looks, means):
        ax.annotate(f"step {step}", (forecast, measured), offset, ha=ha, **place)
    measured, forecast = np.array(cells["random"]["sets"]).T
    ax.plot(forecast, measured, "x", color=colour, ms=6)


def _ratios(ax: Axes, cells: dict, colour: str, marker: str) -> None:
    """Geometric mean of measured over forecast, with its interval, against the way moved.

    Random steps are as long as the last look's: drawn a little to its right.
    """
    looks = _by_step(cells).values()
    moved = [100 * cell["moved"]["mean"] for cell in looks]
    mean, spread = ends(cell["ratio"] for cell in looks)
    look = {"color": colour, "marker": marker, "ms": 6, "elinewidth": 1.3}
    ax.errorbar(moved, mean, spread, **look)
    mean, spread = ends([cells["random"]["ratio"]])
    ax.errorbar([1.15 * moved[-1]], mean, spread, **(look | {"marker": "x"}))


def _bars(record: Record) -> str:
    return f"bars: 95 % over {record.parameters['sets']} sets of patients, one pretraining"


def _looks() -> dict[str, dict]:
    return {rate: {"color": c, "marker": marker} for rate, (c, marker, *_) in RATES.items()}
