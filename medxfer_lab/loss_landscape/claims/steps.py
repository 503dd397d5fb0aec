"""How long a step may be, alone and jointly."""

from __future__ import annotations

import math
from dataclasses import replace

from medxfer_lab.course.claim import Claim, Verdict
from medxfer_lab.loss_landscape.claims.rows import (
    COMMITTED,
    OURS,
    SECTION,
    Records,
    every,
    row,
    some,
    within,
)

STEP_BOUND = math.log(1.25)
BLOCKS = ("conv1", "conv2", "conv3", "conv4", "head")


def _steps(found: Records, start: str) -> Verdict:
    """Found over what the same search finds on the quadratic model: the model's grace is not the
    theory's fault. Found over 2/lambda is said beside it."""
    results = found["steps.simulated"].results[start]
    cases = (*BLOCKS, "one", "each")
    rows = {case: within(results[case]["log_found_over_model"], STEP_BOUND) for case in cases}
    ratios = ", ".join(
        f"{case} {math.exp(results[case]['log_found_over_predicted']['mean']):.2f}" for case in rows
    )
    said = f"found over 2/curvature: {ratios}"
    beyond = sum(results[case]["beyond_the_search"] for case in cases)
    verdict = some(rows, 0.0, "log 1.25 minus |log found/model|", "one", said)
    if beyond:
        why = f"{verdict.why}; {beyond} edges lie beyond the search"
        return replace(verdict, verdict="undecided", why=why)
    return verdict


def decide_step_predicted(found: Records) -> Verdict:
    """The largest stable step found is within a factor 1.25 of the quadratic model's."""
    return _steps(found, "fresh")


def decide_step_predicted_tuned(found: Records) -> Verdict:
    """The same after 100 steps of fine-tuning, where the landscape is steeper."""
    return _steps(found, "tuned")


JOINT_MARGIN = math.log(1.25)


def _rule(found: Records, key: str, margin: float, combine=every) -> Verdict:
    results = found["steps.simulated"].results
    rows = {start: row(results[start][key]) for start in ("fresh", "tuned")}
    return combine(rows, margin, "log ratio of steps found", "fresh")


def decide_least_block_unsafe(found: Records) -> Verdict:
    """log(longest step of the least block alone / longest common step), both found."""
    return _rule(found, "least_block_over_one", JOINT_MARGIN)


def decide_sum_rule_safe(found: Records) -> Verdict:
    """log(longest common step found / 2 over the sum of the blocks' curvatures)."""
    return _rule(found, "one_over_sum_rule", 0.0)


def decide_own_steps_unsafe(found: Records) -> Verdict:
    """log(each block's own 2/curvature / the share of it that all can take at once)."""
    return _rule(found, "own_over_joint", math.log(2))


def decide_early_step_shorter(found: Records) -> Verdict:
    """log(longest step of the body's last block / of its first), both found. Where edges of the
    first block lie beyond the search the ratio is an upper bound, which cannot show that it is
    large: that start is left open, and the claim holds with limits at best."""
    results = found["steps.simulated"].results
    open_ends = {s: results[s]["conv1"]["beyond_the_search"] for s in ("fresh", "tuned")}
    rows = {s: row(results[s]["last_over_first"]) for s, count in open_ends.items() if not count}
    said = "; ".join(
        f"{s}: left open, {count} edges of the first block lie beyond the search"
        for s, count in open_ends.items()
        if count
    )
    if not rows:
        return Verdict("undecided", None, None, None, "", said)
    verdict = every(rows, math.log(2), "log ratio of steps found", next(iter(rows)), said)
    if said and verdict.verdict == "holds":
        return replace(verdict, verdict="holds with limits")
    return verdict


def decide_head_takes_more(found: Records) -> Verdict:
    """log(longest step of the head / of the first block), both found."""
    return _rule(found, "head_over_first", math.log(2), some)


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
    Claim(
        "own_steps_unsafe",
        "Giving every block its own longest step is too long for all of them together.",
        OURS,
        "Each block's 2/curvature over the share of it that is stable jointly, found: at least 2.",
        math.log(2),
        COMMITTED,
        decide_own_steps_unsafe,
    ),
    Claim(
        "early_step_shorter",
        "To take stable steps, the learning rate of early layers must be small.",
        SECTION,
        "Longest step found, last block of the body over the first: at least 2, at a fresh head "
        "and after tuning.",
        math.log(2),
        COMMITTED,
        decide_early_step_shorter,
    ),
    Claim(
        "head_takes_more",
        "The new head can tolerate larger updates than early layers.",
        SECTION,
        "Longest step found, head over first block: at least 2, at a fresh head and after tuning.",
        math.log(2),
        COMMITTED,
        decide_head_takes_more,
    ),
)
