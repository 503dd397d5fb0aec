"""What the text's section on the loss landscape claims, and how a record decides it.

Margins were committed before the full run (see the date of each claim, and this file's history);
later commits may mend a bug in reading a record, never move a margin.

Effects are written so that 0 means none and positive favours the claim. Intervals are 95 %, over
the eight pretrainings (the mean of each one's training sets is one value) unless a claim says
otherwise; test patients and held-out photographs are fixed.
"""

from __future__ import annotations

from medxfer_lab.course.claim import Claim, Verdict
from medxfer_lab.course.record import records
from medxfer_lab.loss_landscape.claims import curvature, forgetting, rates, steps, valley

CLAIMS: tuple[Claim, ...] = (
    *valley.CLAIMS,
    *curvature.CLAIMS,
    *steps.CLAIMS,
    *rates.CLAIMS,
    *forgetting.CLAIMS,
)


def verdicts() -> dict[str, Verdict]:
    """Every claim's verdict from the records at hand."""
    found = records("loss_landscape")
    return {claim.id: claim.verdict(found) for claim in CLAIMS}
