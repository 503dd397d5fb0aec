"""Decision and numbers: layer-wise rates against the curvatures of the blocks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from medxfer_lab.course.exercise import Exercise, Variant, Wrong
from medxfer_lab.course.feedback import Feedback, right, wrong, wrong_type
from medxfer_lab.course.parts import named
from medxfer_lab.course.values import Mistake, apart, number
from medxfer_lab.loss_landscape.exercises.rate_plans import BLOCKS, VERDICTS, Plan, plans
from medxfer_lab.loss_landscape.theory.descent import stable_step

KEYS = ("first", "verdict", "divide")
EXAMPLE = 'answer = {"first": "conv2", "verdict": "safe", "divide": 0.5}'


def exercise(seed: int) -> Exercise:
    """Block, verdict and factor; the seed draws the plan and whether the head is fresh."""
    plan = _plan(seed)
    answer = {"first": plan.first, "verdict": plan.verdict, "divide": plan.divide}
    mistakes = _mistakes(plan)
    listed = ", ".join(f"{b} {s:.2f}" for b, s in zip(BLOCKS, plan.shares, strict=True))
    return Exercise(
        id="first_to_diverge",
        title="Which block goes first?",
        objective="Read from curvatures and rates which block diverges first, and cut the rates",
        kind="decision",
        prompt=(
            f"A team wants to fine-tune a network for lesions on FLAIR slices. {plan.story} It "
            f"proposes layer-wise rates, each {plan.decay:g} times that of the next later block, "
            f"and gradient descent on all slices at once with momentum {plan.momentum:g} "
            "(`SGD(momentum=...)`, the gradient enters in full). The largest eigenvalue of each "
            "block's part of the Hessian (numbers of this exercise; the Hessian has no negative "
            "ones), and the rates:\n\n"
            + "\n".join(
                f"- {b}: curvature {c:g}, learning rate {r:g}"
                for b, c, r in zip(BLOCKS, plan.curvature, plan.rate, strict=True)
            )
            + "\n\nHow the blocks are coupled is not known.\n\n"
            "- `first`: each block is trained alone, and all rates are raised from zero by a "
            "common factor. Which block is the first to diverge?\n"
            "- `verdict`: all blocks are trained together, with the rates as proposed. `diverges` "
            "(whatever the coupling), `depends` (on the coupling) or `safe` (whatever the "
            "coupling)?\n"
            "- `divide`: by which number must all rates be divided, so that anything lower is "
            "safe whatever the coupling? (Below 1: there was room.)\n\nAnswer with a dict with "
            "these keys, or the three in this order."
        ),
        hints=(
            "Neither the largest rate nor the largest curvature goes first by itself. What is the "
            "largest stable rate of one block, and which share of it does the plan take?",
            "With momentum $\\beta$ a block alone is stable below $2(1 + \\beta)/\\lambda_b$. "
            "Divide each rate by this. A share above 1 diverges, whatever else is trained.",
            "All together lie between two bounds: at least as steep as the largest share, at most "
            "as steep as the *sum* of the shares. Compare both with 1; the sum is also the number "
            "to divide by.",
        ),
        grade=_grade(plan),
        right=(
            Variant("dict", answer),
            Variant("list", [plan.first, plan.verdict, plan.divide]),
            Variant("rounded", (plan.first, plan.verdict.upper(), float(f"{plan.divide:.3g}"))),
            Variant("texts", {**answer, "first": f" {plan.first.title()} ", "divide": _text(plan)}),
        ),
        wrong=(
            *(
                Wrong(f"first: {block}", {**answer, "first": block}, diagnosis)
                for diagnosis, block in _blocks_taken(plan).items()
            ),
            *(
                Wrong(f"verdict: {given}", {**answer, "verdict": given}, says[0])
                for (true, given), says in _SAYS.items()
                if true == plan.verdict
            ),
            *(Wrong(m.diagnosis, {**answer, "divide": m.value}, m.diagnosis) for m in mistakes),
            Wrong("a block only", plan.first, "wrong-type"),
        ),
        solution=(
            "As shares of their own edges, $\\eta_b\\lambda_b/(2(1 + \\beta))$, the rates are: "
            f"{listed}. The largest is that of {plan.first}, so it goes first. The largest is "
            f"{'above' if plan.shares.max() > 1 else 'below'} 1 and the sum is {plan.divide:.3g}, "
            f"so the verdict is `{plan.verdict}`: a move within one block alone is as steep as its "
            "share, and no coupling makes all together steeper than the sum. Divided by "
            f"{plan.divide:.3g}, the shares add up to 1.\n\n{_lesson(plan)}"
        ),
    )


def _text(plan: Plan) -> str:
    return f"{plan.divide:.4g}"


def _lesson(plan: Plan) -> str:
    if plan.first == "head" and plan.curvature.argmax() == 4:
        return (
            "The usual reason for layer-wise rates, that later layers are flatter, does not hold "
            "here: the largest rate meets the largest curvature. A fresh head says one half of "
            "everything, which is where the log loss curves most. Train the head alone first, with "
            "a rate of its own, and measure again."
        )
    return (
        "A block's curvature says little by itself, and so does its rate. Their product is what "
        "grows, and a decay chosen by habit may keep it even or not."
    )


def _plan(seed: int) -> Plan:
    """The first plan of the seed with no close call, and for which no two slips coincide."""
    return next(plan for plan in plans(seed) if _is_clear(plan))


def _is_clear(plan: Plan) -> bool:
    shares, values = np.sort(plan.shares), [plan.divide, *(m.value for m in _mistakes(plan))]
    return (
        0.35 < plan.divide < 4
        and abs(shares[-1] - 1) > 0.08
        and abs(plan.divide - 1) > 0.15
        and shares[-1] > 1.25 * shares[-2]
        and apart(values, rtol=0.05)
        and np.sort(plan.curvature)[-1] > 1.1 * np.sort(plan.curvature)[-2]
    )


def _blocks_taken(plan: Plan) -> dict[str, str]:
    """Diagnosis -> a block that is taken for the first, each by a reason of its own."""
    found: dict[str, str] = {}
    steepest = BLOCKS[int(plan.curvature.argmax())]
    for block in (steepest, "head", "conv1", *BLOCKS):
        if block != plan.first:
            found.setdefault(_block_mistake(plan, block), block)
    return found


def _block_mistake(plan: Plan, block: str) -> str:
    if plan.curvature[BLOCKS.index(block)] == plan.curvature.max():
        return "largest-curvature"
    if block == "head":
        return "largest-rate"
    return "early-layers" if block == "conv1" else "smaller-share"


_BLOCK_SAYS = {
    "largest-curvature": (
        "{block} has the largest curvature, but a small rate. What counts is their product."
    ),
    "largest-rate": (
        "The head has the largest rate, but not the largest curvature. What counts is their "
        "product."
    ),
    "early-layers": (
        "That the first layers are the steepest is a rule of thumb. Look at the numbers of this "
        "network: rate times curvature of conv1 is not the largest."
    ),
    "smaller-share": (
        "Rate times curvature of {block} is not the largest. Work it out for all five blocks."
    ),
}

#: (true, given) -> diagnosis and words
_SAYS = {
    ("diverges", "depends"): (
        "beyond-alone",
        "One block is beyond its own edge. A move within that block grows by itself; all together "
        "are at least as steep, however the blocks are coupled.",
    ),
    ("diverges", "safe"): (
        "not-checked",
        "Divide each rate by the edge of its block: one of them is above 1, and diverges alone.",
    ),
    ("depends", "safe"): (
        "block-by-block",
        "Each block is stable alone, but they are trained together. Blocks that move the outputs "
        "alike add their steepness up, and the sum is beyond the edge.",
    ),
    ("depends", "diverges"): (
        "sum-is-a-bound",
        "The sum of the shares is what the steepness can be *at most*, where all blocks move the "
        "outputs alike. Without coupling each stays below its own edge, and nothing diverges.",
    ),
    ("safe", "depends"): (
        "room-overlooked",
        "Even if all blocks move the outputs alike, the shares of their edges add up to less than "
        "1. No coupling gets beyond the sum.",
    ),
    ("safe", "diverges"): (
        "edge-too-low",
        "Work out each block's edge once more, momentum included: no share reaches 1, nor does "
        "their sum.",
    ),
}


def _mistakes(plan: Plan) -> list[Mistake]:
    """Slips in the number to divide by."""
    b, total = plan.momentum, plan.divide
    return [
        Mistake(
            "first-only",
            float(plan.shares.max()),
            "That brings the first block to its own edge. The others take their shares too: where "
            "all move the outputs alike, the shares add up.",
        ),
        Mistake(
            "momentum-forgotten",
            total * (1 + b),
            "This is for descent without momentum. With momentum $\\beta$ the edge is $2(1 + "
            "\\beta)/\\lambda$.",
        ),
        Mistake(
            "momentum-as-rate",
            total * (1 + b) / (1 - b),
            "You counted momentum as a longer step, by $1/(1 - \\beta)$. At the edge the gradient "
            "changes sign at every step, and the remembered ones oppose it: the edge moves *up*, "
            "to $2(1 + \\beta)/\\lambda$.",
        ),
        Mistake(
            "mean-share",
            total / len(BLOCKS),
            "This is the mean of the shares. What adds up in the outputs is their sum.",
        ),
        Mistake(
            "two-forgotten",
            2 * total,
            "You compared rate times curvature with $1 + \\beta$; the edge is at twice that: a "
            "step may overshoot.",
        ),
        Mistake(
            "head-rate-for-all",
            float((plan.rate[-1] / stable_step(plan.curvature, b)).sum()),
            "You gave every block the rate of the head. The plan has a rate for each block.",
        ),
        Mistake(
            "upside-down",
            1 / total,
            "This is the number to *multiply* all rates by. The question asks what to divide by.",
        ),
    ]


def _grade(plan: Plan) -> Callable[[Any], Feedback]:
    """Block, then verdict, then number: each follows from the one before."""
    by_number = number(plan.divide, _mistakes(plan), praise="", wanted="a number for `divide`")

    def grade(answer: Any) -> Feedback:
        given = named(answer, KEYS)
        if given is None:
            return wrong_type(answer, f"a dict with the keys {', '.join(KEYS)}", EXAMPLE)
        block, verdict = (_word(given[key]) for key in KEYS[:2])
        if block not in BLOCKS:
            return wrong_type(given["first"], f"one of {', '.join(BLOCKS)} for `first`", EXAMPLE)
        if block != plan.first:
            found = _block_mistake(plan, block)
            return wrong(found, _BLOCK_SAYS[found].format(block=block))
        if verdict not in VERDICTS:
            wanted = f"one of {', '.join(VERDICTS)} for `verdict`"
            return wrong_type(given["verdict"], wanted, EXAMPLE)
        if verdict != plan.verdict:
            diagnosis, says = _SAYS[plan.verdict, verdict]
            return wrong(diagnosis, f"`first` is right. {says}")
        found = by_number(given["divide"])
        if not found.correct:
            return wrong(found.diagnosis, f"The first two are right. {found.message}")
        return right(_lesson(plan))

    return grade


def _word(given: Any) -> str:
    return given.strip().lower() if isinstance(given, str) else ""
