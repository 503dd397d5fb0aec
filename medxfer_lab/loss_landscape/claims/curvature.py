"""Early layers in high curvature, late ones in flatter regions: small network and Lite0."""

from __future__ import annotations

import math
from dataclasses import replace

from medxfer_lab.course.claim import Claim, Verdict
from medxfer_lab.loss_landscape.claims.rows import (
    COMMITTED,
    FORECAST_BOUND,
    OURS,
    SECTION,
    Records,
    row,
    some,
    within,
)

CURVATURE_MARGIN = math.log(2)
PLACES = {
    "old_start": "old loss, pretrained",
    "fresh": "new loss, fresh head",
    "head_tuned": "new loss, head tuned",
    "tuned_b": "new loss, tuned",
}


def _curvature(found: Records, measure: str, against: str) -> Verdict:
    results = found["curvature.simulated"].results
    rows = {
        words: row(results[place][f"log_first_over_{measure}"][against])
        for place, words in PLACES.items()
    }
    return some(rows, CURVATURE_MARGIN, "log ratio of curvatures", PLACES["fresh"])


def decide_early_over_late(found: Records) -> Verdict:
    """log(top eigenvalue of the first block / of the body's last block), raw."""
    return _curvature(found, "top", "conv4")


def decide_early_over_late_relative(found: Records) -> Verdict:
    """The same per relative change of each weight, which no rescaling can move."""
    return _curvature(found, "relative_top", "conv4")


def decide_early_over_head(found: Records) -> Verdict:
    """log(top eigenvalue of the first block / of the head), raw."""
    return _curvature(found, "top", "head")


def decide_early_over_head_relative(found: Records) -> Verdict:
    """The same per relative change of each weight."""
    return _curvature(found, "relative_top", "head")


def decide_lite0_early(found: Records) -> Verdict:
    """Minus Spearman's correlation of curvature with depth, target loss; over sets. One network:
    it cannot hold without limits."""
    ranks = found["lite0.simulated"].results["curvature"]["depth_rank"]
    rows = {
        "raw": row(ranks["top"], -1),
        "per relative change": row(ranks["relative_top"], -1),
    }
    return _of_one_network(some(rows, 0.5, "rank correlation", "raw"))


def _of_one_network(verdict: Verdict) -> Verdict:
    limited = "holds with limits" if verdict.verdict == "holds" else verdict.verdict
    return replace(verdict, verdict=limited, why=f"{verdict.why}; one network")


def decide_lite0_drift(found: Records) -> Verdict:
    """log 1.25 - |log drift/forecast| of the old answers on photographs, at the usual rate."""
    looks = found["lite0.simulated"].results["drift"]["usual"]["looks"]
    rows = {}
    for step, cell in sorted(looks.items(), key=lambda look: int(look[0])):
        logs = {key: math.log(cell["ratio"][key]) for key in ("mean", "low", "high")}
        rows[f"step {step}"] = within(logs, FORECAST_BOUND)
    units = "log 1.25 minus |log measured/forecast|"
    return _of_one_network(some(rows, 0.0, units, next(iter(rows))))


CLAIMS: tuple[Claim, ...] = (
    Claim(
        "early_over_late",
        "Early layers sit in high curvature, later ones in flatter regions.",
        SECTION,
        "Top Gauss-Newton eigenvalue of the first block over that of the last block of the body: "
        "at least 2, on old and new loss, before and after tuning.",
        CURVATURE_MARGIN,
        COMMITTED,
        decide_early_over_late,
    ),
    Claim(
        "early_over_late_relative",
        "The same, whatever the units of the weights.",
        SECTION,
        "The same ratio per relative change of each weight: at least 2.",
        CURVATURE_MARGIN,
        COMMITTED,
        decide_early_over_late_relative,
    ),
    Claim(
        "early_over_head",
        "The new classification head sits in a flatter region than early layers.",
        SECTION,
        "Top Gauss-Newton eigenvalue of the first block over that of the head: at least 2, at the"
        " same places.",
        CURVATURE_MARGIN,
        COMMITTED,
        decide_early_over_head,
    ),
    Claim(
        "early_over_head_relative",
        "The same, whatever the units of the weights.",
        SECTION,
        "The same ratio per relative change of each weight: at least 2.",
        CURVATURE_MARGIN,
        COMMITTED,
        decide_early_over_head_relative,
    ),
    Claim(
        "lite0_early",
        "In EfficientNet-Lite0, too, curvature falls from early to late stages.",
        SECTION,
        "Rank correlation of the top eigenvalue with depth, raw and relative: at most -.5; over "
        "sets of patients, one pretraining.",
        0.5,
        COMMITTED,
        decide_lite0_early,
    ),
    Claim(
        "lite0_drift",
        "What a large network forgets follows from curvature as well.",
        OURS,
        "Drift of Lite0's old answers on photographs over half d'Fd, with the Fisher matrix F: "
        "within a factor 1.25 of 1 at some look; over sets of patients, one pretraining.",
        0.0,
        COMMITTED,
        decide_lite0_drift,
    ),
)
