"""Pretrained parameters sit in a wide valley, and tuning stays in it."""

from __future__ import annotations

import math

from medxfer_lab.course.claim import Claim, Verdict, judge
from medxfer_lab.loss_landscape.claims.rows import (
    COMMITTED,
    OURS,
    SECTION,
    Records,
    every,
    row,
)

WIDE_MARGIN = math.log(1.25)


def decide_wide_source(found: Records) -> Verdict:
    """log(width of the pretraining recipe's valley / of another training's), equal old loss."""
    ratios = found["valley.simulated"].results["source"]["log_ratios"]
    rows = {arm.replace("_", " "): row(leaf["width"], -1) for arm, leaf in ratios.items()}
    return every(rows, WIDE_MARGIN, "log ratio of relative widths", next(iter(rows)))


def decide_wide_target(found: Records) -> Verdict:
    """log(width where tuning from photographs ends / from untrained, from matched scales)."""
    ratios = found["valley.simulated"].results["target"]["log_ratios"]
    rows = {"against untrained": row(ratios["photographs"]["width"])}
    said = "raw top eigenvalue, log ratio against untrained: "
    e, low, high = row(ratios["photographs"]["top"])
    return every(
        rows,
        WIDE_MARGIN,
        "log ratio of relative widths",
        "against untrained",
        said + f"{e:+.2f} [{low:+.2f}, {high:+.2f}]",
    )


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
    leaf = found["paths.simulated"].results["target_differences"]["pretraining"]
    effect, low, high = row(leaf)
    return Verdict(judge(low, high, WALL_MARGIN), effect, low, high, "nats", "by pairs")


CLAIMS: tuple[Claim, ...] = (
    Claim(
        "wide_valley_source",
        "Pretrained parameters sit at the bottom of a wide valley of the old loss.",
        SECTION,
        "Relative noise at which the old loss rises by a tenth of a nat: with the pretraining "
        "recipe at least 1.25 times that of other ways to train, at equal old loss; over seeds.",
        WIDE_MARGIN,
        COMMITTED,
        decide_wide_source,
    ),
    Claim(
        "wide_valley_target",
        "Tuning from pretrained parameters ends in a wide valley of the new loss.",
        SECTION,
        "Relative noise at which the new loss rises by a tenth of a nat: from photographs at "
        "least 1.25 times that from an untrained start, at equal training loss; over paired sets.",
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
