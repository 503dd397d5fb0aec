"""Claims, the margins that decide them, and the table that shows what came of them."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from medxfer_lab.course.record import Record
from medxfer_lab.course.rich import to_html

#: verdict -> sign, ink, ground: words and signs carry it where colours do not
VERDICTS = {
    "holds": ("✔", "#0b4f2f", "#d6f0e2"),
    "holds with limits": ("◐", "#5b4300", "#fbeec2"),
    "undecided": ("?", "#333333", "#e6e6e6"),
    "does not hold": ("✘", "#6e1f00", "#fbdccf"),
}


@dataclass(frozen=True)
class Verdict:
    """What the records say of a claim.

    ``effect`` with its interval ``low`` to ``high`` in ``units`` (None where nothing was measured),
    ``why`` in a sentence. ``records`` names what was read; :meth:`Claim.verdict` fills it in.
    """

    verdict: str
    effect: float | None
    low: float | None
    high: float | None
    units: str
    why: str
    records: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.verdict not in VERDICTS:
            raise ValueError(
                f"verdict {self.verdict!r}: expected one of {', '.join(map(repr, VERDICTS))}"
            )


@dataclass(frozen=True)
class Claim:
    """A sentence of the text that an experiment can refute.

    ``source``: where the text makes it; ``measure``: what is measured, in words; ``margin``: the
    smallest effect that counts (a number in the effect's units, or a sentence), committed on
    ``margin_committed`` (ISO date), before the full run; ``decide``: records by
    ``<experiment>.<data>`` to a :class:`Verdict`.
    """

    id: str
    statement: str
    source: str
    measure: str
    margin: float | str
    margin_committed: str
    decide: Callable[[Mapping[str, Record]], Verdict]

    def verdict(self, records: Mapping[str, Record]) -> Verdict:
        """Decide the claim; *undecided*, with the reason, where a record it needs is missing."""
        reading = _Reading(records)
        try:
            found = self.decide(reading)
        except MissingRecord as error:
            return Verdict("undecided", None, None, None, "", str(error))
        return replace(found, records=tuple(reading.read))


class MissingRecord(LookupError):
    """A claim needs a record that has not been made here."""


class _Reading(Mapping[str, Record]):
    """Records that remember which of them were asked for."""

    def __init__(self, records: Mapping[str, Record]) -> None:
        self.records, self.read = records, {}

    def __getitem__(self, name: str) -> Record:
        if name not in self.records:
            raise MissingRecord(f"the record {name} has not been measured yet")
        self.read[name] = True
        return self.records[name]

    def __contains__(self, name: object) -> bool:
        return name in self.records

    def __iter__(self) -> Any:
        return iter(self.records)

    def __len__(self) -> int:
        return len(self.records)


def judge(low: float, high: float, margin: float) -> str:
    """The verdict on "the effect is at least ``margin``" from its 95 % interval.

    The effect is written so that 0 means none and positive favours the claim (differences, log
    ratios). With interval [low, high]: *holds* if low >= margin; *holds with limits* if low > 0
    only (the direction is sure, the size is not, or falls short); *does not hold* if high < margin;
    else *undecided*. Raises ValueError for bounds that are not finite or not in order.
    """
    if not (math.isfinite(low) and math.isfinite(high)) or low > high or margin < 0:
        raise ValueError(
            f"low={low}, high={high}, margin={margin}: expected finite low <= high, margin >= 0"
        )
    if low >= margin:
        return "holds"
    if low > 0:
        return "holds with limits"
    return "does not hold" if high < margin else "undecided"


def judge_all(verdicts: Iterable[str]) -> str:
    """One verdict from those at several training sizes or data sets.

    All alike: that one. Some hold (with or without limits): *holds with limits*. Else *undecided*.
    """
    seen = set(verdicts)
    if not seen:
        return "undecided"
    if len(seen) == 1:
        return seen.pop()
    return "holds with limits" if seen & {"holds", "holds with limits"} else "undecided"


@dataclass(frozen=True)
class EvidenceTable:
    """Claims with their verdicts; shows itself as HTML in a notebook and as text elsewhere."""

    title: str
    claims: tuple[Claim, ...]
    verdicts: tuple[Verdict, ...]
    records: Mapping[str, Record]

    @property
    def summary(self) -> str:
        """How many claims got which verdict."""
        counts = {v: sum(x.verdict == v for x in self.verdicts) for v in VERDICTS}
        parts = [f"{sign} {v}: {counts[v]}" for v, (sign, *_) in VERDICTS.items() if counts[v]]
        return f"{len(self.claims)} claims. " + ", ".join(parts) + "."

    def _repr_html_(self) -> str:
        rows = "".join(map(self._row, self.claims, self.verdicts))
        heads = ("The text says", "What is measured", "Verdict", "Effect", "Measured on")
        head = "".join(f'<th scope="col" style="{_CELL}">{h}</th>' for h in heads)
        return (
            '<div class="evidence-table" style="overflow-x:auto">'
            '<table style="border-collapse:collapse;width:100%;font-size:.9em">'
            '<caption style="text-align:left;caption-side:top">'
            f"<strong>{html.escape(self.title)}</strong> {html.escape(self.summary)}</caption>"
            f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
        )

    def _row(self, claim: Claim, verdict: Verdict) -> str:
        sign, ink, ground = VERDICTS[verdict.verdict]
        badge = (
            f'<strong style="color:{ink};background:{ground};padding:.15em .5em;'
            f'border-radius:.4em;white-space:nowrap">{sign} {verdict.verdict}</strong>'
        )
        margin = f"Margin: {_number(claim.margin)}, committed {claim.margin_committed}."
        cells = [
            f"{to_html(claim.statement)}<small>{html.escape(claim.source)}</small>",
            f"{to_html(claim.measure)}<small>{html.escape(margin)}</small>",
            f"{badge}{to_html(verdict.why)}",
            html.escape(_interval(verdict)),
            "<br>".join(map(html.escape, self._circumstances(verdict))) or "not measured yet",
        ]
        body = "".join(f'<td style="{_CELL}">{cell}</td>' for cell in cells[1:])
        return (
            f'<tr id="claim-{html.escape(claim.id)}">'
            f'<th scope="row" style="{_CELL};font-weight:normal">{cells[0]}</th>{body}</tr>'
        )

    def _circumstances(self, verdict: Verdict) -> list[str]:
        lines = []
        for name in verdict.records:
            record = self.records[name]
            lines.append(f"{name}: {record.device_name}, preset {record.preset}, {record.date}")
        return lines

    def __str__(self) -> str:
        lines = [f"{self.title} {self.summary}".strip()]
        for claim, verdict in zip(self.claims, self.verdicts, strict=True):
            sign = VERDICTS[verdict.verdict][0]
            lines.append(f"{sign} {verdict.verdict}: {claim.statement} [{_interval(verdict)}]")
            lines.append(f"    {verdict.why}")
            lines += [f"    {line}" for line in self._circumstances(verdict)]
        return "\n".join(lines)


_CELL = "text-align:left;vertical-align:top;padding:.5em .7em;border-top:1px solid #9996"


def evidence_table(
    claims: Sequence[Claim], records: Mapping[str, Record], title: str = ""
) -> EvidenceTable:
    """Every claim with verdict, effect, interval, units, device and date, decided now from
    ``records`` (from :func:`medxfer_lab.course.record.records`)."""
    ids = [claim.id for claim in claims]
    if len(set(ids)) < len(ids):
        raise ValueError(f"claim ids must be unique: {ids}")
    verdicts = tuple(claim.verdict(records) for claim in claims)
    return EvidenceTable(title, tuple(claims), verdicts, records)


def _interval(verdict: Verdict) -> str:
    if verdict.effect is None:
        return "none"
    text = _number(verdict.effect)
    if verdict.low is not None and verdict.high is not None:
        text += f" ({_number(verdict.low)} to {_number(verdict.high)})"
    return f"{text} {verdict.units}".strip()


def _number(value: float | str) -> str:
    """Three significant digits, the minus sign a minus sign."""
    if isinstance(value, str):
        return value
    return f"{value:.3g}".replace("-", "−")
