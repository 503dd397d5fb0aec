"""Pretrained parameters sit in a wide valley, and tuning stays in it."""

from __future__ import annotations

import math

from medxfer_lab.course.claim import Claim, Verdict, judge
from medxfer_lab.loss_landscape.claims.rows import (
    COMMITTED,
    OURS,
    SECTION,
    Records,
    Row,
    every,
    row,
)

WIDE_MARGIN = math.log(1.25)


#: mean log ratio of losses up to which they count as equal
EQUAL_LOSS = 0.05


def _width(leaf: dict | None, loss: dict | None, sign: float) -> Row | str:
    """The row of a log ratio of widths, or why it cannot be compared."""
    if leaf is None or loss is None:
        return "the loss did not rise far enough, or fell, under the noise"
    if abs(loss["mean"]) > EQUAL_LOSS:
        return f"losses are not equal (mean log ratio {loss['mean']:+.2f})"
    return row(leaf, sign)


def _wide(found_rows: dict[str, Row | str], said: str) -> Verdict:
    odd = [f"{name}: {why}" for name, why in found_rows.items() if isinstance(why, str)]
    if odd:
        return Verdict("undecided", None, None, None, "", f"{'; '.join(odd)}; {said}")
    units = "log ratio of relative widths"
    return every(found_rows, WIDE_MARGIN, units, next(iter(found_rows)), said)


def decide_wide_source(found: Records) -> Verdict:
    """log(width with the pretraining's settings / with a large batch, without augmentation)."""
    ratios = found["valley.simulated"].results["source"]["log_ratios"]
    rows, said = {}, []
    for arm, leaf in ratios.items():
        if arm in ("large_batch", "plain"):
            rows[arm.replace("_", " ")] = _width(leaf["width"], leaf["reached"], -1)
        elif leaf["width"] is not None:
            said.append(f"{arm.replace('_', ' ')} {-leaf['width']['mean']:+.2f}")
    return _wide(rows, f"described only: {', '.join(said)}")


def decide_wide_target(found: Records) -> Verdict:
    """log(width where tuning from photographs ends / from untrained, from matched scales)."""
    results = found["valley.simulated"].results["target"]
    rows = {}
    for other, key in (
        ("untrained", "log_ratios"),
        ("matched scales", "log_ratios_matched_scales"),
    ):
        leaf = results[key]["photographs"]
        rows[f"over {other}"] = _width(leaf["width"], leaf["loss"], 1)
    top = results["log_ratios"]["photographs"]["top"]
    said = f"raw top eigenvalue over untrained, log ratio {top['mean']:+.2f} "
    return _wide(rows, said + f"[{top['low']:+.2f}, {top['high']:+.2f}]")


BARRIER_BOUND = 0.05  # nats


def decide_one_valley(found: Records) -> Verdict:
    """.05 nats minus the barrier between networks tuned from one pretraining; over pairs."""
    kinds = found["paths.simulated"].results["kinds"]
    rows = {}
    for kind in ("batches", "head", "patients"):
        leaf = kinds[kind]["target"]["barrier"]
        ends = BARRIER_BOUND - leaf["high"], BARRIER_BOUND - leaf["low"]
        rows[f"other {kind}"] = (BARRIER_BOUND - leaf["mean"], *ends)
    return every(rows, 0.0, "nats", "other patients")


WALL_MARGIN = 0.05


def decide_other_valley(found: Records) -> Verdict:
    """Barrier between networks of two pretrainings minus that within one, by pairs."""
    leaf = found["paths.simulated"].results["target_differences"]["pretraining_minus_head"]
    effect, low, high = row(leaf)
    return Verdict(
        judge(low, high, WALL_MARGIN),
        effect,
        low,
        high,
        "nats",
        "same patients, other head and batches: within one pretraining and between two",
    )


CLAIMS: tuple[Claim, ...] = (
    Claim(
        "wide_valley_source",
        "Pretraining ends in a wide valley of the old loss.",
        SECTION,
        "Relative noise at which the old loss rises by a tenth of a nat, early in training (equal "
        "held-out loss 1.6): with the pretraining's settings at least 1.25 times that with a large "
        "batch, and without augmentation and decay; over seeds.",
        WIDE_MARGIN,
        COMMITTED,
        decide_wide_source,
    ),
    Claim(
        "wide_valley_target",
        "Tuning from pretrained parameters ends in a wide valley of the new loss.",
        SECTION,
        "Relative noise at which the new loss rises by a tenth of a nat: from photographs at least "
        "1.25 times that from an untrained start and from matched scales, at equal training loss; "
        "over paired sets.",
        WIDE_MARGIN,
        COMMITTED,
        decide_wide_target,
    ),
    Claim(
        "one_valley",
        "Networks tuned from one pretraining stay in one valley.",
        SECTION,
        "Barrier of the test loss on the straight line between two of them: at most .05 nats "
        "(other batches, other head, other patients); over pairs.",
        0.0,
        COMMITTED,
        decide_one_valley,
    ),
    Claim(
        "other_valley",
        "Networks tuned from two pretrainings are in two valleys.",
        OURS,
        "Barrier between them minus barrier within one pretraining: at least .05 nats; by pairs.",
        WALL_MARGIN,
        COMMITTED,
        decide_other_valley,
    ),
)
