"""How long a step may be, alone and jointly."""

from __future__ import annotations

import math

from medxfer_lab.course.claim import Claim, Verdict
from medxfer_lab.loss_landscape.claims.rows import (
    COMMITTED,
    OURS,
    Records,
    every,
    row,
    within,
)

STEP_BOUND = math.log(1.25)
BLOCKS = ("conv1", "conv2", "conv3", "conv4", "head")


def _steps(found: Records, start: str) -> Verdict:
    results = found["steps.simulated"].results[start]
    rows = {
        case: within(results[case]["log_found_over_predicted"], STEP_BOUND)
        for case in (*BLOCKS, "one", "each")
    }
    ratios = ", ".join(
        f"{case} {math.exp(results[case]['log_found_over_predicted']['mean']):.2f}" for case in rows
    )
    units = "log 1.25 minus |log found/predicted|"
    return every(rows, 0.0, units, "one", f"found over predicted: {ratios}")


def decide_step_predicted(found: Records) -> Verdict:
    """The largest stable step found is within a factor 1.25 of 2/lambda, at a fresh head."""
    return _steps(found, "fresh")


def decide_step_predicted_tuned(found: Records) -> Verdict:
    """The same after 100 steps of fine-tuning, where the landscape is steeper."""
    return _steps(found, "tuned")


JOINT_MARGIN = math.log(1.25)


def decide_least_block_unsafe(found: Records) -> Verdict:
    """log(least block's own 2/lambda_b / largest stable common step found)."""
    results = found["steps.simulated"].results
    rows = {start: row(results[start]["least_block_over_one"]) for start in ("fresh", "tuned")}
    return every(rows, JOINT_MARGIN, "log ratio of steps", "fresh")


def decide_sum_rule_safe(found: Records) -> Verdict:
    """log(largest stable common step found / 2 over the sum of the blocks' curvatures)."""
    results = found["steps.simulated"].results
    rows = {start: row(results[start]["sum_rule_over_one"], -1) for start in ("fresh", "tuned")}
    return every(rows, 0.0, "log ratio of steps", "fresh")


CLAIMS: tuple[Claim, ...] = (
    Claim(
        "step_predicted",
        "The longest stable step of a real network is 2 over its top curvature, at a fresh head.",
        OURS,
        "Found over predicted step within a factor 1.25 of 1: each block alone, all with one "
        "step, all with a step each.",
        0.0,
        COMMITTED,
        decide_step_predicted,
    ),
    Claim(
        "step_predicted_tuned",
        "The same after a hundred steps of fine-tuning.",
        OURS,
        "Found over predicted step within a factor 1.25 of 1.",
        0.0,
        COMMITTED,
        decide_step_predicted_tuned,
    ),
    Claim(
        "least_block_unsafe",
        "A common step that every block could take alone is too long for all of them together.",
        OURS,
        "Least block's own 2/curvature over the longest common step found: at least 1.25.",
        JOINT_MARGIN,
        COMMITTED,
        decide_least_block_unsafe,
    ),
    Claim(
        "sum_rule_safe",
        "A common step below 2 over the sum of the curvatures is stable.",
        OURS,
        "Longest common step found over 2 over the sum: above 1.",
        0.0,
        COMMITTED,
        decide_sum_rule_safe,
    ),
)
