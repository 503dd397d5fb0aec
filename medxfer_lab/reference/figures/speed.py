"""Figures and tables of how fast training is, each drawn from the engine's record."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from medxfer_lab.course import style
from medxfer_lab.course.record import Record

#: architecture in the record -> colour and marker
KINDS = {
    "linear, d = 256": ("#56B4E9", "o"),
    "linear, d = 1280": ("#0072B2", "s"),
    "MLP 256-64": ("#009E73", "^"),
    "small_cnn": ("#D55E00", "D"),
}


def growth(record: Record) -> Figure:
    """How many times faster than the loop, against the number of networks; log axes.

    Left against the loop with all threads, right against the loop with one. The line at 1 is the
    loop itself.
    """
    style.apply()
    rows = [r for r in record.results["rows"]["training"] if r["name"] in KINDS]
    threads = sorted({r["threads"] for r in rows}, reverse=True)
    fig, axes = plt.subplots(1, len(threads), figsize=(7.0, 3.0), sharey=True, squeeze=False)
    for ax, count in zip(axes[0], threads):
        for name, (colour, marker) in KINDS.items():
            own = [r for r in rows if r["name"] == name and r["threads"] == count]
            m, ratio = [r["networks"] for r in own], [r["ratio"] for r in own]
            ax.plot(m, ratio, color=colour, marker=marker, label=name)
        ax.axhline(1, color="#999999", linewidth=1, linestyle=":")
        ax.set_xscale("log", base=2)
        ax.set_yscale("log", base=2)
        ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        ax.set_xlabel("networks")
        words = "one thread" if count == 1 else f"{count} threads"
        ax.set_title(f"against the loop with {words}", fontsize=10)
    axes[0, 0].set_ylabel("times faster than the loop")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside upper center", ncols=4)
    return fig


def shares(record: Record) -> Figure:
    """Counted operations over the matrix rate, as a share of the time taken, by networks."""
    style.apply()
    rows = [r for r in record.results["rows"]["training"] if r["name"] in KINDS]
    most = max(r["threads"] for r in rows)
    fig, ax = plt.subplots(figsize=(5.2, 2.9))
    for name, (colour, marker) in KINDS.items():
        own = [r for r in rows if r["name"] == name and r["threads"] == most]
        ax.plot([r["networks"] for r in own], [100 * r["share"] for r in own], color=colour,
                marker=marker, label=name)  # fmt: skip
    ax.set_xscale("log", base=2)
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.set(xlabel="networks", ylabel="share of the matrix rate, %")
    ax.set_ylim(bottom=0)
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return fig


class Table:
    """Rows of a record as an HTML table that scrolls sideways on a phone."""

    def __init__(self, columns: Sequence[tuple[str, str]], rows: Iterable[dict]) -> None:
        self.columns, self.rows = columns, list(rows)

    def _repr_html_(self) -> str:
        head = "".join(
            f'<th style="text-align:left">{html.escape(t)}</th>' for _, t in self.columns
        )
        body = "".join(
            "<tr>"
            + "".join(f"<td>{html.escape(cell(r, k))}</td>" for k, _ in self.columns)
            + "</tr>"
            for r in self.rows
        )
        return (
            '<div class="evidence-table" style="overflow-x:auto">'
            '<table style="border-collapse:collapse;width:100%;font-size:.9em">'
            f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
        )

    def __repr__(self) -> str:
        lines = ["  ".join(title for _, title in self.columns)]
        lines += ["  ".join(cell(r, k) for k, _ in self.columns) for r in self.rows]
        return "\n".join(lines)


def cell(row: dict, key: str) -> str:
    """One value in words: three significant digits for times, two for ratios."""
    value = row.get(key)
    if value is None or value == "":
        return ""
    if isinstance(value, bool):
        return "met" if value else "missed"
    if not isinstance(value, float):
        return str(value)
    if key == "largest_difference":
        return f"{value:.0e}"
    if key in ("share",):
        return f"{100 * value:.0f} %"
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


_COLUMNS = (
    ("name", "what"),
    ("sizes", "sizes"),
    ("opponent", "against"),
    ("threads", "threads"),
    ("ours_s", "ours, s"),
    ("theirs_s", "theirs, s"),
    ("ratio", "ratio"),
    ("largest_difference", "apart by"),
)


def table(record: Record, script: str, hide: Sequence[str] = (), **only: object) -> Table:
    """One script's rows; only: values that a row must have, e.g. technique="stack".

    hide: columns left out; a hidden note is shown where a row has no ratio and says why.
    Rows of a growth series (note "growth") are shown by :func:`series`.
    """
    chosen = [
        r
        for r in record.results["rows"][script]
        if r.get("note") != "growth" and all(r.get(key) == value for key, value in only.items())
    ]
    if "note" in hide:
        chosen = [r | {"note": r["note"] if r["ratio"] is None else ""} for r in chosen]
    columns = [c for c in _COLUMNS if c[0] not in hide and any(cell(r, c[0]) for r in chosen)]
    if any(r.get("note") for r in chosen):
        columns.append(("note", "note"))
    return Table(columns, chosen)


def series(record: Record) -> Table:
    """How the ratio of heads grows with the number of training sets."""
    rows = [r for r in record.results["rows"]["heads"] if r["note"] == "growth"]
    columns = (("networks", "sets"), ("ours_s", "ours, s"), ("theirs_s", "theirs, s"))
    return Table((*columns, ("ratio", "ratio")), rows)


def promises(record: Record) -> Table:
    """What was promised before the engine was built, what was measured, met or missed."""
    columns = (("words", "promised"), ("least", "at least"), ("measured", "measured"), ("met", ""))
    return Table(columns, record.results["targets"].values())
