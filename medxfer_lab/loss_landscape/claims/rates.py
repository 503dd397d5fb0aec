"""Discriminative rates help, and for which of two reasons."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from medxfer_lab.course.claim import Claim, Verdict
from medxfer_lab.loss_landscape.claims.rows import (
    COMMITTED,
    OURS,
    SECTION,
    Records,
    Row,
    every,
    row,
    some,
)

RATES_MARGIN = 0.01  # nats of test log loss


def _arm(found: Records, group: str, arm: str, measure: str) -> Row:
    return row(found["rates.simulated"].results["arms"][group][arm][measure])


def _auc_said(found: Records, pairs: Iterable[tuple[str, str]]) -> str:
    said = []
    for group, arm in pairs:
        effect, low, high = _arm(found, group, arm, "auc_gain")
        said.append(f"{group} {arm} {effect:+.3f} [{low:+.3f}, {high:+.3f}]")
    return f"AUC gained: {', '.join(said)}"


def decide_discriminative_helps(found: Records) -> Verdict:
    """Test log loss of uniform minus discriminative rates, pretrained body; Adam and SGD."""
    pairs = (("adam", "discriminative"), ("sgd", "discriminative"))
    rows = {g: _arm(found, g, a, "log_loss_gain") for g, a in pairs}
    verdict = some(rows, RATES_MARGIN, "nats", "adam", _auc_said(found, pairs))
    arms = [f"{group} {arm}" for group, arm in (*pairs, ("adam", "uniform"), ("sgd", "uniform"))]
    return _not_at_the_edge(found, verdict, arms)


def decide_reversed_hurts(found: Records) -> Verdict:
    """Test log loss of reversed rates (early blocks fastest) minus uniform; Adam and SGD."""
    pairs = (("adam", "reversed"), ("sgd", "reversed"))
    rows = {g: (-e, -h, -lo) for g, a in pairs for e, lo, h in [_arm(found, g, a, "log_loss_gain")]}
    verdict = some(rows, RATES_MARGIN, "nats", "adam", _auc_said(found, pairs))
    arms = [f"{group} {arm}" for group, arm in (*pairs, ("adam", "uniform"), ("sgd", "uniform"))]
    return _not_at_the_edge(found, verdict, arms)


def _explained(found: Records, verdict: Verdict, arms: Iterable[str]) -> Verdict:
    """Undecided where nothing is there to explain, or a rate lies at the edge of its grid."""
    helps = decide_discriminative_helps(found).verdict
    if helps not in ("holds", "holds with limits"):
        why = f"nothing to explain: that they help {helps.replace('holds', 'hold')}; {verdict.why}"
        if helps == "does not hold":
            why = f"nothing to explain: they do not help; {verdict.why}"
        return replace(verdict, verdict="undecided", why=why)
    return _not_at_the_edge(found, verdict, arms)


def _not_at_the_edge(found: Records, verdict: Verdict, arms: Iterable[str]) -> Verdict:
    settings = found["rates.simulated"].results["settings"]
    groups = [name.split(" ") for name in arms]
    edge = [f"{group} {arm}" for group, arm in groups if settings[group][arm]["at_the_edge"]]
    if not edge:
        return verdict
    why = f"the tuned rate lies at the edge of what was tried: {', '.join(edge)}; {verdict.why}"
    return replace(verdict, verdict="undecided", why=why)


def decide_reason_stability(found: Records) -> Verdict:
    """What stability predicts: it helps an untrained body too; rates by curvature help SGD; and
    the gain is smaller far below the edge of stability."""
    contrast = found["rates.simulated"].results["contrasts"]["slow"]["log_loss"]
    rows = {
        "untrained body": _arm(found, "untrained", "discriminative", "log_loss_gain"),
        "rates by curvature (SGD)": _arm(found, "sgd", "curvature", "log_loss_gain"),
        "gain lost at slow rates": row(contrast),
    }
    verdict = every(rows, RATES_MARGIN, "nats", "untrained body")
    return _explained(found, verdict, ("untrained discriminative", "sgd curvature"))


def decide_reason_preservation(found: Records) -> Verdict:
    """What preservation predicts: the gain stays at slow rates, and is larger for a pretrained
    body than for an untrained one. (Freezing early blocks also takes the steepest ones away, so it
    would speak for both reasons.)"""
    contrast = found["rates.simulated"].results["contrasts"]["untrained"]["log_loss"]
    rows = {
        "at slow rates": _arm(found, "slow", "discriminative", "log_loss_gain"),
        "pretrained more than untrained": row(contrast),
    }
    verdict = every(rows, RATES_MARGIN, "nats", "at slow rates")
    return _explained(found, verdict, ("adam discriminative", "untrained discriminative"))


def decide_curvature_rates(found: Records) -> Verdict:
    """Test log loss of uniform minus rates in proportion to 1/curvature, SGD."""
    rows = {"SGD": _arm(found, "sgd", "curvature", "log_loss_gain")}
    verdict = every(rows, RATES_MARGIN, "nats", "SGD")
    return _not_at_the_edge(found, verdict, ("sgd curvature", "sgd uniform"))


def decide_lite0_discriminative(found: Records) -> Verdict:
    """Test log loss of uniform minus discriminative rates on Lite0; over sets, one pretraining."""
    record = found["lite0_rates.simulated"].results
    rows = {"Lite0": row(record["arms"]["discriminative"]["log_loss_gain"])}
    effect, low, high = row(record["arms"]["reversed"]["log_loss_gain"])
    said = f"reversed rates gain {effect:+.3f} [{low:+.3f}, {high:+.3f}]"
    verdict = every(rows, RATES_MARGIN, "nats", "Lite0", said)
    edge = [arm for arm, choice in record["settings"].items() if choice["at_the_edge"]]
    if edge:
        why = f"{verdict.why}; at the edge of the rates tried: {', '.join(edge)}"
        return replace(verdict, why=why)
    return verdict


CLAIMS: tuple[Claim, ...] = (
    Claim(
        "discriminative_helps",
        "Small rates for early layers, larger ones for late layers help.",
        SECTION,
        "Test log loss of uniform minus discriminative rates, equal tuning, Adam and SGD: at "
        "least .01 nats.",
        RATES_MARGIN,
        COMMITTED,
        decide_discriminative_helps,
    ),
    Claim(
        "reversed_hurts",
        "The other way round hurts.",
        SECTION,
        "Test log loss of reversed minus uniform rates: at least .01 nats.",
        RATES_MARGIN,
        COMMITTED,
        decide_reversed_hurts,
    ),
    Claim(
        "reason_stability",
        "They help because early layers have high curvature.",
        SECTION,
        "They help an untrained body, rates by curvature help SGD, and the gain is lost far below"
        " the edge of stability: each at least .01 nats.",
        RATES_MARGIN,
        COMMITTED,
        decide_reason_stability,
    ),
    Claim(
        "reason_preservation",
        "They help because early features should be kept.",
        SECTION,
        "The gain stays far below the edge, and is larger than for an untrained body: each at "
        "least .01 nats.",
        RATES_MARGIN,
        COMMITTED,
        decide_reason_preservation,
    ),
    Claim(
        "curvature_rates",
        "Rates in proportion to one over curvature help.",
        OURS,
        "Test log loss of uniform rates minus rates by curvature, stochastic gradient descent: at "
        "least .01 nats.",
        RATES_MARGIN,
        COMMITTED,
        decide_curvature_rates,
    ),
    Claim(
        "lite0_discriminative",
        "Discriminative rates help a network of the usual size.",
        "added after the small network's record, before the run it reads",
        "Test log loss of uniform minus discriminative rates, EfficientNet-Lite0: at least .01 "
        "nats; over sets of patients, one pretraining.",
        RATES_MARGIN,
        COMMITTED,
        decide_lite0_discriminative,
    ),
)
