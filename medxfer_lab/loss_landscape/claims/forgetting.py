"""Forgetting follows from old curvature, and EWC manages the trade-off."""

from __future__ import annotations

import math

from medxfer_lab.course.claim import Claim, Verdict
from medxfer_lab.loss_landscape.claims.rows import (
    COMMITTED,
    FORECAST_BOUND,
    OURS,
    SECTION,
    Records,
    every,
    row,
    within,
)

#: steps of fine-tuning: near by, and where it ends
NEAR, FAR = ("3", "10"), ("200",)


def _forecast(found: Records, name: str, steps: tuple[str, ...]) -> Verdict:
    """Mean forecast over mean measured rise along the way, as log 1.25 - |log ratio|."""
    results = found["forgetting.simulated"].results
    way, rows, ratios = results["way"], {}, []
    for i, label in enumerate(way["labels"]):
        leaf = way["ratio"][name][label]
        ratios.append(f"{label}: {leaf['mean']:.2f}")
        if label in steps:
            logs = {key: math.log(max(leaf[key], 1e-3)) for key in ("mean", "low", "high")}
            moved = way["distance"]["mean"][i]
            rows[f"step {label}, moved {moved:.1%}"] = within(logs, FORECAST_BOUND)
    reach = results["reach"][f"way_{name}"]
    said = f"forecast over measured by step: {', '.join(ratios)}; single runs hold out to a "
    said += f"relative distance of {reach['mean']:.1%} [{reach['low']:.1%}, {reach['high']:.1%}]"
    return every(rows, 0.0, "log 1.25 minus |log forecast/measured|", list(rows)[-1], said)


def decide_forgetting_near(found: Records) -> Verdict:
    """d'Hd/2 alone, within a factor 1.25 of the old loss's rise, after a few steps."""
    return _forecast(found, "quadratic", NEAR)


def decide_forgetting_far(found: Records) -> Verdict:
    """The same where fine-tuning ends."""
    return _forecast(found, "quadratic", FAR)


def decide_linear_term(found: Records) -> Verdict:
    """With the linear term g'd, after a few steps."""
    return _forecast(found, "total", NEAR)


def decide_diagonal_forecast(found: Records) -> Verdict:
    """Only the Fisher diagonal, which is what EWC keeps of the curvature, after a few steps."""
    return _forecast(found, "fisher_diagonal", NEAR)


STEEP_MARGIN = math.log(10)
DISPLACEMENT_MARGIN = math.log(3)


def _steep(found: Records, name: str, margin: float) -> Verdict:
    results = found["forgetting.simulated"].results
    rows = {"over like lengths": row(results[f"log_steeper_than_like_{name}"])}
    plain = results[f"log_steepness_{name}"]
    said = f"over the mean of all directions: {plain['mean']:+.2f}, which is mostly a matter of "
    said += "which blocks move"
    return every(rows, margin, "log ratio of curvatures", "over like lengths", said)


def decide_gradient_steep(found: Records) -> Verdict:
    """log of the old curvature along the new task's first gradient over that along random
    directions of the same length in every tensor."""
    return _steep(found, "gradient", STEEP_MARGIN)


def decide_displacement_steep(found: Records) -> Verdict:
    """The same for where fine-tuning ends."""
    return _steep(found, "displacement", DISPLACEMENT_MARGIN)


COST_BOUND = 0.02  # nats of target log loss
TRADE_MARGIN = 0.005
REPLAY_GIVE = 0.01


#: parts of what the old network knew beyond a guess that may be lost
BOUNDS = ("known_half", "known_quarter")


def _all_there(matched: dict, ways: tuple[str, ...]) -> str:
    """Which way does not come to a bound in every set; empty where all do."""
    short = [
        f"{way} at {bound}: {leaf['reached']} of {len(leaf['sets'])} sets"
        for bound in BOUNDS
        for way in ways
        for leaf in (matched[bound]["excess"][way],)
        if leaf["reached"] < len(leaf["sets"])
    ]
    return "; ".join(short)


def decide_ewc_manages(found: Records) -> Verdict:
    """.02 nats minus what EWC costs the new task where a part of the old knowledge is lost."""
    matched = found["tradeoff.simulated"].results["matched"]
    if short := _all_there(matched, ("ewc",)):
        return Verdict("undecided", None, None, None, "nats", short)
    rows = {}
    for bound in BOUNDS:
        leaf = matched[bound]["excess"]["ewc"]
        ends = COST_BOUND - leaf["high"], COST_BOUND - leaf["low"]
        rows[bound.replace("_", " ")] = (COST_BOUND - leaf["mean"], *ends)
    return every(rows, 0.0, "nats", "known quarter")


def _against(found: Records, other: str, margin: float = TRADE_MARGIN, give: float = 0.0):
    """Target log loss of the other way minus EWC's at equal forgetting, plus ``give``."""
    matched = found["tradeoff.simulated"].results["matched"]
    if short := _all_there(matched, ("ewc", other)):
        return Verdict("undecided", None, None, None, "nats", short)
    rows = {}
    for bound in BOUNDS:
        effect, low, high = row(matched[bound]["differences"][f"ewc_minus_{other}"], -1)
        rows[bound.replace("_", " ")] = effect + give, low + give, high + give
    return every(rows, margin, "nats", "known quarter")


def decide_ewc_over_l2sp(found: Records) -> Verdict:
    """Against L2-SP, which knows no curvature."""
    return _against(found, "l2sp")


def decide_ewc_over_smaller_rates(found: Records) -> Verdict:
    """Against smaller learning rates of the body, which cost nothing."""
    return _against(found, "smaller_body_rates")


def decide_ewc_as_replay(found: Records) -> Verdict:
    """Against replay, which needs the old examples: no more than .01 nats worse."""
    return _against(found, "replay", margin=0.0, give=REPLAY_GIVE)


CLAIMS: tuple[Claim, ...] = (
    Claim(
        "forgetting_near",
        "The rise of the old loss is about half of d'Hd: after a few steps.",
        SECTION,
        "Mean of d'Hd/2 over mean measured rise within a factor 1.25 of 1, after 3 and 10 steps "
        "of fine-tuning.",
        0.0,
        COMMITTED,
        decide_forgetting_near,
    ),
    Claim(
        "forgetting_far",
        "The rise of the old loss is about half of d'Hd: where fine-tuning ends.",
        SECTION,
        "The same after 200 steps.",
        0.0,
        COMMITTED,
        decide_forgetting_far,
    ),
    Claim(
        "linear_term",
        "With the linear term g'd the forecast after a few steps is right.",
        OURS,
        "The same after 3 and 10 steps, with g'd added.",
        0.0,
        COMMITTED,
        decide_linear_term,
    ),
    Claim(
        "diagonal_forecast",
        "The diagonal of the Fisher information is enough to forecast it.",
        OURS,
        "The same with the Fisher diagonal for the Hessian, which is what EWC keeps.",
        0.0,
        COMMITTED,
        decide_diagonal_forecast,
    ),
    Claim(
        "gradient_steep",
        "The new gradient points where the old loss is very steep.",
        SECTION,
        "Old curvature along the first new gradient over that along random directions with the "
        "same length in every tensor: at least 10.",
        STEEP_MARGIN,
        COMMITTED,
        decide_gradient_steep,
    ),
    Claim(
        "displacement_steep",
        "So does the whole way that fine-tuning takes.",
        SECTION,
        "The same for the displacement after 200 steps: at least 3.",
        DISPLACEMENT_MARGIN,
        COMMITTED,
        decide_displacement_steep,
    ),
    Claim(
        "ewc_manages",
        "EWC manages the trade-off between the old task and the new.",
        SECTION,
        "Where EWC holds the loss of old knowledge to a half and to a quarter of it, the new test"
        " log loss is at most .02 nats above that of plain fine-tuning.",
        0.0,
        COMMITTED,
        decide_ewc_manages,
    ),
    Claim(
        "ewc_over_l2sp",
        "Knowing curvature pays: EWC beats L2-SP.",
        SECTION,
        "Target log loss of L2-SP minus that of EWC at equal forgetting: at least .005 nats.",
        TRADE_MARGIN,
        COMMITTED,
        decide_ewc_over_l2sp,
    ),
    Claim(
        "ewc_over_smaller_rates",
        "EWC beats merely smaller learning rates of the body.",
        OURS,
        "The same against plain fine-tuning with smaller rates of the body.",
        TRADE_MARGIN,
        COMMITTED,
        decide_ewc_over_smaller_rates,
    ),
    Claim(
        "ewc_as_replay",
        "EWC can stand in for the old examples.",
        OURS,
        "Target log loss of EWC at most .01 nats above that of replay, at equal forgetting.",
        0.0,
        COMMITTED,
        decide_ewc_as_replay,
    ),
)
