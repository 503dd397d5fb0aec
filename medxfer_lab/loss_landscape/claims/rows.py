"""From a record's leaves to a verdict: what every claim of the chapter shares."""

from __future__ import annotations

import math
from collections.abc import Mapping

from medxfer_lab.course.claim import Verdict, judge, judge_all
from medxfer_lab.course.record import Record

COMMITTED = "2026-11-25"
SECTION = "Principles and Mechanisms, Navigating the Loss Landscape"
OURS = "this course's derivation"
#: a forecast counts as right within this factor, as a logarithm
FORECAST_BOUND = math.log(1.25)
Records = Mapping[str, Record]
Row = tuple[float, float, float]  # effect, low, high


def row(leaf: dict, sign: float = 1.0) -> Row:
    """Effect and interval of a record's leaf; sign -1 turns it round."""
    ends = sorted((sign * leaf["low"], sign * leaf["high"]))
    return sign * leaf["mean"], ends[0], ends[1]


def within(leaf: dict, bound: float) -> Row:
    """bound - |x| for an x that should be 0: its interval is the image of x's."""
    ends = [abs(leaf["low"]), abs(leaf["high"])]
    nearest = 0.0 if leaf["low"] <= 0 <= leaf["high"] else min(ends)
    return bound - abs(leaf["mean"]), bound - max(ends), bound - nearest


#: from worst to best, as a claim about several things at once is as good as the worst of them
_ORDER = ("does not hold", "undecided", "holds with limits", "holds")


def some(rows: Mapping[str, Row], margin: float, units: str, shown: str, said: str = "") -> Verdict:
    """One verdict over several rows, each a place where the claim may hold: with limits where it
    holds in some. ``shown`` is the row whose effect stands in the table."""
    return _verdict(rows, margin, units, shown, said, judge_all)


def every(
    rows: Mapping[str, Row], margin: float, units: str, shown: str, said: str = ""
) -> Verdict:
    """One verdict over several rows that must all hold: the worst of theirs."""
    return _verdict(rows, margin, units, shown, said, lambda each: min(each, key=_ORDER.index))


def _verdict(rows, margin, units, shown, said, together) -> Verdict:
    each = {name: judge(low, high, margin) for name, (_, low, high) in rows.items()}
    listed = "; ".join(
        f"{name}: {e:+.3f} [{low:+.3f}, {high:+.3f}], {each[name]}"
        for name, (e, low, high) in rows.items()
    )
    listed = f"{listed}; {said}" if said else listed
    effect, low, high = rows[shown]
    return Verdict(together(each.values()), effect, low, high, f"{units}, {shown} shown", listed)
