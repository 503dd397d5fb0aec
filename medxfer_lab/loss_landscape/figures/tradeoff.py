"""Figures of the record `tradeoff`: what keeping the old task costs the new one, six ways."""

from __future__ import annotations

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import PlaceHolderLayoutEngine

from medxfer_lab.course import style
from medxfer_lab.course.record import Record
from medxfer_lab.loss_landscape.experiment.tradeoff import GUESS, LAST, OTHERS
from medxfer_lab.loss_landscape.figures.parts import dots, ends, few_ticks, said

#: way -> line style, words, what its strength is
WAYS = {
    "replay": ("-", "replay", "weight of replayed photographs"),
    "ewc": ("-", "EWC", "strength of the tie"),
    "ewc_empirical": ("--", "EWC, empirical Fisher", "strength of the tie"),
    "l2sp": ("-", "L2-SP", "strength of the tie"),
    "smaller_body_rates": ("-.", "smaller body rates", "body's rate divided by"),
    "early_stopping": (":", "early stopping", "steps divided by"),
}
BOUNDS = {"known_half": "half lost", "known_quarter": "quarter lost"}
#: points that several ways share -> words
POINTS = {"plain": "plain\nfine-tuning", "probe": "probe", "start": "start"}
#: way -> at which strength its name stands, how far off (points), which end of the words
_BESIDE = {
    "replay": (3, (8, 6), "left"),
    "ewc": (4, (-8, -14), "right"),
    "ewc_empirical": (3, (-8, -16), "right"),
    "l2sp": (3, (8, 5), "left"),
    "smaller_body_rates": (2, (-8, -10), "right"),
    "early_stopping": (2, (8, 5), "left"),
}
MEASURES = {
    "source_loss": "old log loss (nats)",
    "source_accuracy": "old accuracy",
    "target_loss": "new log loss (nats)",
    "auc": "new AUC",
}
_SMALL = {"textcoords": "offset points", "fontsize": 8.5, "color": "0.35"}


def leaves(record: Record, way: str, what: str) -> list[dict]:
    """One measure along a way: plain, its strengths in order, and where it ends."""
    results = record.results
    leaf = results["curves"][way][what]
    triples = zip(leaf["mean"], leaf["low"], leaf["high"])
    curve = [dict(zip(("mean", "low", "high"), triple)) for triple in triples]
    return [results["plain"][what], *curve, *(results[end][what] for end in LAST.get(way, ()))]


def stability_plasticity(record: Record) -> Figure:
    """New loss against old loss, a curve a way, from plain fine-tuning (right) to the strongest.

    Down and to the left is better. Bars: intervals of the new loss, over pretrainings; what differs
    from way to way is far surer than they say, see :func:`cost_at_equal_forgetting`.
    """
    style.apply()
    fig, ax = plt.subplots(figsize=(9.0, 5.4))
    for way in WAYS:
        _way(ax, record, way)
    _plane(ax, record)
    _words(ax, record)
    said(
        fig,
        f"simulated patients, real photographs; {_bars(record)}\n"
        "low and left is better; lost: of what the old network knew beyond a guess",
    )
    return fig


def _way(ax: Axes, record: Record, way: str, bars: bool = True, **how) -> None:
    x = [leaf["mean"] for leaf in leaves(record, way, "source_loss")]
    y, spread = ends(leaves(record, way, "target_loss"))
    look = {"color": style.COLOURS[way], "ls": WAYS[way][0], "marker": style.MARKERS.get(way, "o")}
    look |= {"ms": 5, "elinewidth": 0.7}
    ax.errorbar(x, y, spread if bars else None, **(look | how))


def _plane(ax: Axes, record: Record) -> None:
    """Axes, bounds, and the points that several ways share; log scale of the old loss."""
    ax.set_xscale("log")
    bounds = {words: record.results["matched"][b]["bound"]["mean"] for b, words in BOUNDS.items()}
    for words, at in (bounds | {"a guess": GUESS}).items():
        ax.axvline(at, color="0.75", lw=1, ls="--", zorder=0)
        place = {"xytext": (0, 2), "xycoords": ("data", "axes fraction"), "va": "bottom"}
        ax.annotate(words.replace(" lost", "\nlost"), (at, 1), ha="center", **(_SMALL | place))
    for name, words in POINTS.items():
        x, y = (record.results[name][what]["mean"] for what in ("source_loss", "target_loss"))
        ax.plot(x, y, "s", color="black", ms=7, zorder=4)
        side = {"xytext": (9, 0), "ha": "left"} if name == "plain" else {"xytext": (-9, 0)}
        ax.annotate(words, (x, y), va="center", **({"ha": "right"} | _SMALL | side))
    old, new = (
        [leaf["mean"] for way in WAYS for leaf in leaves(record, way, what)]
        for what in ("source_loss", "target_loss")
    )
    ax.set_xlim(0.62 * min(old), 1.45 * max(old))  # room for the words of the points
    room = 0.2 * (max(new) - min(new))
    ax.set_ylim(min(new) - room, max(new) + room)
    few_ticks(ax.xaxis)
    ax.set_xlabel("old task: log loss under the old head (nats)")
    ax.set_ylabel("new task: log loss (nats)")


def _words(ax: Axes, record: Record) -> None:
    """Every way's name beside one of its strengths."""
    for way, (_, words, _) in WAYS.items():
        i, offset, ha = _BESIDE[way]
        x, y = (leaves(record, way, w)[i]["mean"] for w in ("source_loss", "target_loss"))
        place = {"xytext": offset, "ha": ha, "color": style.COLOURS[way], "fontsize": 10}
        ax.annotate(words, (x, y), **(_SMALL | place))


def along_strength(record: Record, method: str, i: int) -> Figure:
    """Where strength i of a way lies on its curve, with the numbers; i = 0 is plain fine-tuning.

    Raises ValueError for an unknown way, and for a strength that was not tried.
    """
    if method not in WAYS:
        raise ValueError(f"method is {method!r}; there are {', '.join(WAYS)}")
    strengths = record.results["curves"][method]["strengths"]
    if not 0 <= i <= len(strengths):
        raise ValueError(f"i is {i}; {method} has 0 (plain) and strengths 1 to {len(strengths)}")
    style.apply()
    fig = plt.figure(num="trade-off", figsize=(9.4, 4.2), clear=True)
    # margins by hand: panels stand still from frame to frame, and draw twice as fast
    fig.set_layout_engine(PlaceHolderLayoutEngine(adjust_compatible=True, colorbar_gridspec=False))
    fig.subplots_adjust(0.07, 0.19, 0.985, 0.87, wspace=0.05)
    plane, table = fig.subplots(1, 2, width_ratios=(1.5, 1))
    for way in WAYS:
        if way != method:
            _way(plane, record, way, bars=False, color="0.8", ms=3, lw=1)
    _way(plane, record, method, bars=False)
    _plane(plane, record)
    x, y = (leaves(record, method, w)[i] for w in ("source_loss", "target_loss"))
    (y_mean,), y_spread = ends([y])
    (x_mean,), x_spread = ends([x])
    look = {"color": style.COLOURS[method], "marker": "o", "ms": 12, "zorder": 5, "mec": "black"}
    plane.errorbar(x_mean, y_mean, y_spread, x_spread, **look)
    words, means = WAYS[method][1:]
    value = "none: plain fine-tuning" if i == 0 else f"{means}: {strengths[i - 1]:g}"
    table.set_title(f"{words}\n{value}", color=style.COLOURS[method])
    _table(table, record, method, i)
    said(fig, f"simulated patients, real photographs; {_bars(record)}; grey: the other ways")
    return fig


def _table(ax: Axes, record: Record, way: str, i: int) -> None:
    """Each measure at the start, here with its interval, and of plain fine-tuning."""
    ax.axis("off")
    columns = {0.42: "start", 0.66: "here", 0.98: "plain"}
    for x, words in columns.items():
        ax.text(x, 0.9, words, ha="center", color="0.35", transform=ax.transAxes)
    for row, (what, words) in enumerate(MEASURES.items()):
        y = 0.76 - 0.19 * row
        here, digits = leaves(record, way, what)[i], 2 if what.startswith("source") else 3
        others = (record.results[name][what]["mean"] for name in ("start", "plain"))
        for x, value in zip((0.42, 0.98), others):
            ax.text(x, y, f"{value:.{digits}f}", ha="center", transform=ax.transAxes)
        look = {"ha": "center", "transform": ax.transAxes}
        ax.text(0.66, y, f"{here['mean']:.{digits}f}", weight="bold", **look)
        interval = f"[{here['low']:.{digits}f}, {here['high']:.{digits}f}]"
        ax.text(0.66, y - 0.07, interval, fontsize=8, color="0.35", **look)
        ax.text(-0.02, y, words.replace(" (", "\n("), va="center", transform=ax.transAxes)


def cost_at_equal_forgetting(record: Record) -> Figure:
    """What each way costs the new task where a given part of the old knowledge is lost (nats).

    Above: new log loss less plain fine-tuning's. Below: less EWC's, by pairs. Knowledge is what the
    start's old loss is below that of a guess. Words say where not every set comes to the bound.
    """
    style.apply()
    fig, axes = plt.subplots(2, 2, figsize=(9.6, 5.8), sharey="row", sharex="row")
    sets = record.parameters["sets"]
    for (above, below), (bound, words) in zip(axes.T, BOUNDS.items()):
        matched = record.results["matched"][bound]
        _cost(above, matched["excess"], tuple(WAYS), lambda way: way)
        for y, way in enumerate(reversed(WAYS)):
            if (reached := matched["excess"][way]["reached"]) < sets:
                place = {"xycoords": ("axes fraction", "data"), "xytext": (-2, 7), "ha": "right"}
                ax_words = f"{reached} of {sets} sets come to it"
                above.annotate(ax_words, (1, y), **(_SMALL | place))
        _cost(below, matched["differences"], OTHERS, lambda way: f"ewc_minus_{way}", sign=-1)
        above.set_title(f"Old knowledge: a {words}")
        above.set_xlabel("new log loss less plain fine-tuning's (nats)")
        below.set_xlabel("new log loss less EWC's (nats), by pairs")
    said(fig, f"simulated patients, real photographs; {_bars(record)}; left is better")
    return fig


def _cost(ax: Axes, cells: dict, ways: tuple[str, ...], name_of, sign: int = 1) -> None:
    """One row a way, from the top; a way without enough sets has no dot."""
    ways = [way for way in WAYS if way in ways]
    for y, way in enumerate(reversed(ways)):
        leaf = cells[name_of(way)]
        if leaf["mean"] is not None:
            low, high = sorted((sign * leaf["low"], sign * leaf["high"]))
            turned = {"mean": sign * leaf["mean"], "low": low, "high": high}
            look = {"fmt": style.MARKERS.get(way, "o"), "ms": 6}
            dots(ax, [turned], [y], style.COLOURS[way], **look)
    ax.axvline(0, color="0.6", lw=1, zorder=0)
    ax.set_yticks(range(len(ways)), [WAYS[way][1] for way in reversed(ways)])
    ax.set_ylim(-0.6, len(ways) - 0.4)


def _bars(record: Record) -> str:
    n = record.results["plain"]["target_loss"]["n"]
    return f"bars: 95 % over {n} pretrainings, {record.parameters['sets']} training sets"
