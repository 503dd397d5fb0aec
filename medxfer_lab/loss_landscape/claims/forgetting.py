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


def _forecast(found: Records, name: str) -> Verdict:
    """Mean forecast over mean measured rise along the way, as log 1.25 - |log ratio|."""
    record = found["forgetting.simulated"]
    way = record.results["way"]
    rows, ratios = {}, []
    for i, label in enumerate(way["labels"]):
        leaf = way["ratio"][name][label]
        logs = {key: math.log(max(leaf[key], 1e-3)) for key in ("mean", "low", "high")}
        distance = way["distance"]["mean"][i]
        rows[f"step {label}, moved {distance:.1%}"] = within(logs, FORECAST_BOUND)
        ratios.append(f"{leaf['mean']:.2f}")
    reach = record.results["reach"][f"way_{name}"]
    said = f"forecast over measured: {', '.join(ratios)}; single runs hold out to a relative "
    said += f"distance of {reach['mean']:.1%} [{reach['low']:.1%}, {reach['high']:.1%}]"
    shown = list(rows)[len(rows) // 2 - 1]
    return every(rows, 0.0, "log 1.25 minus |log forecast/measured|", shown, said)


def decide_forgetting_quadratic(found: Records) -> Verdict:
    """d'Hd/2 alone, within a factor 1.25 of the old loss's rise, at every place of the way."""
    return _forecast(found, "quadratic")


def decide_forgetting_total(found: Records) -> Verdict:
    """The same with the linear term g'd."""
    return _forecast(found, "total")


def decide_diagonal_forecast(found: Records) -> Verdict:
    """The same with only the Fisher diagonal, which is what EWC keeps of the curvature."""
    return _forecast(found, "fisher_diagonal")


STEEP_MARGIN = math.log(10)


def decide_gradient_steep(found: Records) -> Verdict:
    """log of the old curvature along the new task's descent direction over the mean curvature."""
    results = found["forgetting.simulated"].results
    rows = {
        "first gradient": row(results["log_steepness_gradient"]),
        "tuned displacement": row(results["log_steepness_displacement"]),
    }
    return every(rows, STEEP_MARGIN, "log ratio of curvatures", "first gradient")


COST_BOUND = 0.02  # nats of target log loss
TRADE_MARGIN = 0.005


def decide_ewc_manages(found: Records) -> Verdict:
    """.02 nats minus what EWC costs the new task where old loss rose by a part of plain's rise."""
    matched = found["tradeoff.simulated"].results["matched"]
    rows, reached = {}, []
    for share in ("half", "quarter"):
        leaf = matched[share]["excess"]["ewc"]
        reached.append(f"{share}: {leaf['reached']} of {len(leaf['sets'])} sets came there")
        if leaf["mean"] is None:
            return Verdict("undecided", None, None, None, "nats", "; ".join(reached))
        rows[share] = (
            COST_BOUND - leaf["mean"],
            COST_BOUND - leaf["high"],
            COST_BOUND - leaf["low"],
        )
    return every(rows, 0.0, "nats", "half", "; ".join(reached))


def _against(found: Records, other: str) -> Verdict:
    """Target log loss of the other way minus EWC's, at equal forgetting."""
    matched = found["tradeoff.simulated"].results["matched"]
    rows = {}
    for share in ("half", "quarter"):
        leaf = matched[share]["differences"][f"ewc_minus_{other}"]
        if leaf["mean"] is None:
            why = f"too few sets reached a {share} of plain's forgetting by both"
            return Verdict("undecided", None, None, None, "nats", why)
        rows[share] = row(leaf, -1)
    return every(rows, TRADE_MARGIN, "nats", "half")


def decide_ewc_over_l2sp(found: Records) -> Verdict:
    """Against L2-SP, which knows no curvature."""
    return _against(found, "l2sp")


def decide_ewc_over_smaller_rates(found: Records) -> Verdict:
    """Against smaller learning rates, which cost nothing."""
    return _against(found, "smaller_rates")


def decide_ewc_over_replay(found: Records) -> Verdict:
    """Against replay, which needs the old examples."""
    return _against(found, "replay")


CLAIMS: tuple[Claim, ...] = (
    Claim(
        "forgetting_quadratic",
        "The rise of the old loss is about half the displacement times the old Hessian times the "
        "displacement.",
        SECTION,
        "Mean of d'Hd/2 over mean measured rise within a factor 1.25 of 1, at every place along "
        "fine-tuning.",
        0.0,
        COMMITTED,
        decide_forgetting_quadratic,
    ),
    Claim(
        "forgetting_total",
        "With the linear term the forecast is right.",
        OURS,
        "The same with g'd added.",
        0.0,
        COMMITTED,
        decide_forgetting_total,
    ),
    Claim(
        "diagonal_forecast",
        "The diagonal of the Fisher information is enough to forecast it.",
        OURS,
        "The same with the Fisher diagonal for the Hessian: what EWC keeps.",
        0.0,
        COMMITTED,
        decide_diagonal_forecast,
    ),
    Claim(
        "gradient_steep",
        "The new task pulls where the old loss is steep.",
        SECTION,
        "Old curvature along the first new gradient, and along the tuned displacement, over the "
        "mean curvature: at least 10.",
        STEEP_MARGIN,
        COMMITTED,
        decide_gradient_steep,
    ),
    Claim(
        "ewc_manages",
        "EWC manages the trade-off between the old task and the new.",
        SECTION,
        "Where EWC has cut forgetting to a half and a quarter of plain fine-tuning's, the new "
        "test log loss is at most .02 nats above plain's.",
        0.0,
        COMMITTED,
        decide_ewc_manages,
    ),
    Claim(
        "ewc_over_l2sp",
        "Knowing curvature pays: EWC beats L2-SP.",
        SECTION,
        "Target log loss of L2-SP minus that of EWC at equal forgetting (half, quarter): at least"
        " .005 nats.",
        TRADE_MARGIN,
        COMMITTED,
        decide_ewc_over_l2sp,
    ),
    Claim(
        "ewc_over_smaller_rates",
        "EWC beats merely smaller learning rates.",
        OURS,
        "The same against plain fine-tuning with a smaller rate.",
        TRADE_MARGIN,
        COMMITTED,
        decide_ewc_over_smaller_rates,
    ),
    Claim(
        "ewc_over_replay",
        "EWC can stand in for the old examples.",
        OURS,
        "The same against replay, which has them.",
        TRADE_MARGIN,
        COMMITTED,
        decide_ewc_over_replay,
    ),
)
