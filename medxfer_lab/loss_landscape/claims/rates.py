"""Discriminative rates help, and for which of two reasons."""

from __future__ import annotations

from collections.abc import Iterable

from medxfer_lab.course.claim import Claim, Verdict
from medxfer_lab.loss_landscape.claims.rows import (
    COMMITTED,
    SECTION,
    Records,
    Row,
    every,
    row,
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
    return every(rows, RATES_MARGIN, "nats", "adam", _auc_said(found, pairs))


def decide_reversed_hurts(found: Records) -> Verdict:
    """Test log loss of reversed rates (early blocks fastest) minus uniform; Adam and SGD."""
    pairs = (("adam", "reversed"), ("sgd", "reversed"))
    rows = {g: (-e, -h, -lo) for g, a in pairs for e, lo, h in [_arm(found, g, a, "log_loss_gain")]}
    return every(rows, RATES_MARGIN, "nats", "adam", _auc_said(found, pairs))


def decide_reason_stability(found: Records) -> Verdict:
    """What stability predicts: it helps an untrained body too; rates by curvature help SGD; and
    the gain is smaller far below the edge of stability."""
    contrast = found["rates.simulated"].results["contrasts"]["slow"]["log_loss"]
    rows = {
        "untrained body": _arm(found, "untrained", "discriminative", "log_loss_gain"),
        "rates by curvature (SGD)": _arm(found, "sgd", "curvature", "log_loss_gain"),
        "gain lost at slow rates": row(contrast),
    }
    return every(rows, RATES_MARGIN, "nats", "untrained body")


def decide_reason_preservation(found: Records) -> Verdict:
    """What preservation predicts: the gain stays at slow rates, is larger for a pretrained body
    than for an untrained one, and freezing the early blocks helps as well."""
    contrast = found["rates.simulated"].results["contrasts"]["untrained"]["log_loss"]
    rows = {
        "at slow rates": _arm(found, "slow", "discriminative", "log_loss_gain"),
        "pretrained more than untrained": row(contrast),
        "early blocks frozen": _arm(found, "adam", "frozen_early", "log_loss_gain"),
    }
    return every(rows, RATES_MARGIN, "nats", "at slow rates")


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
        "The gain stays far below the edge, is larger than for an untrained body, and freezing "
        "early blocks helps as well: each at least .01 nats.",
        RATES_MARGIN,
        COMMITTED,
        decide_reason_preservation,
    ),
)
