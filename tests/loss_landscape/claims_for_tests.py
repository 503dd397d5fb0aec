"""Made-up records for the tests of the claims: which leaves a claim reads, and how they are filled.

A claim reads rows: places where it may hold. ``ROWS`` says which leaves of which record they are,
how an effect is written into a leaf, and whether all rows must hold ("every") or some ("some").
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass

from medxfer_lab.course.claim import Verdict
from medxfer_lab.course.record import Record, fingerprint
from medxfer_lab.loss_landscape.claims import CLAIMS, curvature, forgetting, steps, valley

BY_ID = {claim.id: claim for claim in CLAIMS}
LOG_FACTOR = math.log(1.25)


def leaf(mean: float, half: float = 0.0) -> dict:
    return {"mean": mean, "low": mean - half, "high": mean + half, "n": 8}


def turned(mean: float, half: float) -> dict:
    return leaf(-mean, half)


def below(bound: float) -> Callable[[float, float], dict]:
    """The leaf whose distance to a bound is the effect; also of |x| for an x above 0."""
    return lambda mean, half: leaf(bound - mean, half)


def factor(mean: float, half: float) -> dict:
    """A ratio whose logarithm is log 1.25 minus the effect."""
    logs = below(LOG_FACTOR)(mean, half)
    return {key: value if key == "n" else math.exp(value) for key, value in logs.items()}


@dataclass(frozen=True)
class Rows:
    """leaves: paths in the record's results. unit: size of effects where the margin is zero."""

    experiment: str
    leaves: tuple[str, ...]
    together: str
    write: Callable[[float, float], dict] = leaf
    shown: int = 0
    unit: float = 1.0
    one_network: bool = False


def of_curvature(measure: str, against: str) -> Rows:
    paths = tuple(f"{p}.log_first_over_{measure}.{against}" for p in curvature.PLACES)
    return Rows("curvature", paths, "some", shown=1)


def of_steps(start: str) -> Rows:
    paths = tuple(f"{start}.{c}.log_found_over_model" for c in (*steps.BLOCKS, "one", "each"))
    return Rows("steps", paths, "some", below(LOG_FACTOR), 5, LOG_FACTOR / 2)


def of_rules(key: str, together: str = "every", unit: float = 1.0) -> Rows:
    return Rows("steps", (f"fresh.{key}", f"tuned.{key}"), together, unit=unit)


def of_arms(*arms: str, together: str = "some", write=leaf) -> Rows:
    return Rows("rates", tuple(f"arms.{a}.log_loss_gain" for a in arms), together, write)


def of_forecasts(name: str, *labels: str) -> Rows:
    paths = tuple(f"way.ratio.{name}.{label}" for label in labels)
    return Rows("forgetting", paths, "every", factor, len(labels) - 1, LOG_FACTOR / 2)


def of_bounds(path: str, write, unit: float = 1.0) -> Rows:
    paths = tuple(f"matched.{bound}.{path}" for bound in forgetting.BOUNDS)
    return Rows("tradeoff", paths, "every", write, 1, unit)


ROWS = {
    "early_over_late": of_curvature("top", "conv4"),
    "early_over_late_relative": of_curvature("relative_top", "conv4"),
    "early_over_head": of_curvature("top", "head"),
    "early_over_head_relative": of_curvature("relative_top", "head"),
    "lite0_early": Rows(
        "lite0",
        ("curvature.depth_rank.top", "curvature.depth_rank.relative_top"),
        "some",
        turned,
        one_network=True,
    ),
    "lite0_drift": Rows(
        "lite0",
        ("drift.usual.looks.1.ratio", "drift.usual.looks.60.ratio"),
        "some",
        factor,
        unit=LOG_FACTOR / 2,
        one_network=True,
    ),
    "step_predicted": of_steps("fresh"),
    "step_predicted_tuned": of_steps("tuned"),
    "least_block_unsafe": of_rules("least_block_over_one"),
    "sum_rule_safe": of_rules("one_over_sum_rule"),
    "own_steps_unsafe": of_rules("own_over_joint"),
    "early_step_shorter": of_rules("last_over_first"),
    "head_takes_more": of_rules("head_over_first", "some"),
    "discriminative_helps": of_arms("adam.discriminative", "sgd.discriminative"),
    "reversed_hurts": of_arms("adam.reversed", "sgd.reversed", write=turned),
    "curvature_rates": of_arms("sgd.curvature", together="every"),
    "lite0_discriminative": Rows("lite0_rates", ("arms.discriminative.log_loss_gain",), "every"),
    "forgetting_near": of_forecasts("quadratic", "3", "10"),
    "forgetting_far": of_forecasts("quadratic", "200"),
    "linear_term": of_forecasts("total", "3", "10"),
    "diagonal_forecast": of_forecasts("fisher_diagonal", "3", "10"),
    "gradient_steep": Rows("forgetting", ("log_steeper_than_like_gradient",), "every"),
    "displacement_steep": Rows("forgetting", ("log_steeper_than_like_displacement",), "every"),
    "ewc_manages": of_bounds("excess.ewc", below(forgetting.COST_BOUND), 0.01),
    "ewc_over_l2sp": of_bounds("differences.ewc_minus_l2sp", turned),
    "ewc_over_smaller_rates": of_bounds("differences.ewc_minus_smaller_body_rates", turned),
    "ewc_as_replay": of_bounds("differences.ewc_minus_replay", below(forgetting.REPLAY_GIVE), 0.01),
    "wide_valley_source": Rows(
        "valley",
        ("source.log_ratios.large_batch.width", "source.log_ratios.plain.width"),
        "every",
        turned,
    ),
    "wide_valley_target": Rows(
        "valley",
        (
            "target.log_ratios.photographs.width",
            "target.log_ratios_matched_scales.photographs.width",
        ),
        "every",
    ),
    "one_valley": Rows(
        "paths",
        tuple(f"kinds.{k}.target.barrier" for k in ("batches", "head", "patients")),
        "every",
        below(valley.BARRIER_BOUND),
        2,
        0.01,
    ),
    "other_valley": Rows("paths", ("target_differences.pretraining_minus_head",), "every"),
    # these two only where discriminative rates help at all, as they do in `silent`
    "reason_stability": Rows(
        "rates",
        (
            "arms.untrained.discriminative.log_loss_gain",
            "arms.sgd.curvature.log_loss_gain",
            "contrasts.slow.log_loss",
        ),
        "every",
    ),
    "reason_preservation": Rows(
        "rates", ("arms.slow.discriminative.log_loss_gain", "contrasts.untrained.log_loss"), "every"
    ),
}


def put(results: dict, path: str, value) -> dict:
    *above, last = path.split(".")
    for key in above:
        results = results.setdefault(key, {})
    results[last] = value
    return results


def silent() -> dict[str, dict]:
    """experiment -> results in which nothing that a claim reads beside its rows is odd."""
    out: dict = {name: {} for name in ("curvature", "lite0", "paths")}
    out["steps"] = {
        start: {
            case: {"log_found_over_predicted": leaf(0.1), "beyond_the_search": 0}
            for case in (*steps.BLOCKS, "one", "each")
        }
        for start in ("fresh", "tuned")
    }
    arms = ("uniform", "discriminative", "reversed", "curvature")
    out["rates"] = {"arms": {}, "settings": {}}
    for group in ("adam", "sgd", "untrained", "slow"):
        out["rates"]["arms"][group] = {
            arm: {"log_loss_gain": leaf(0.5), "auc_gain": leaf(0.1)} for arm in arms
        }
        out["rates"]["settings"][group] = {arm: {"at_the_edge": False} for arm in arms}
    out["lite0_rates"] = {
        "arms": {"reversed": {"log_loss_gain": leaf(0.2)}},
        "settings": {arm: {"at_the_edge": False} for arm in arms[:3]},
    }
    labels = ["1", "3", "10", "80", "200"]
    names = ("quadratic", "total", "fisher_diagonal")
    ratios = {name: {label: leaf(0.9) for label in labels} for name in names}
    out["forgetting"] = {
        "way": {"labels": labels, "distance": {"mean": [0.1] * 5}, "ratio": ratios},
        "reach": {f"way_{name}": leaf(0.1, 0.05) for name in names},
        "log_steepness_gradient": leaf(9.0),
        "log_steepness_displacement": leaf(9.0),
    }
    ways = {w: leaf(9.0) | {"reached": 16, "sets": [0.0] * 16} for w in ("ewc", *OTHERS)}
    matched = {bound: {"excess": copy.deepcopy(ways)} for bound in forgetting.BOUNDS}
    out["tradeoff"] = {"matched": matched}
    cell = {"width": leaf(9.0), "reached": leaf(0.0), "loss": leaf(0.0), "top": leaf(3.0)}
    source = {arm: dict(cell) for arm in ("large_batch", "plain", "momentum")}
    target = {
        key: {"photographs": dict(cell)} for key in ("log_ratios", "log_ratios_matched_scales")
    }
    return out | {"valley": {"source": {"log_ratios": source}, "target": target}}


OTHERS = ("l2sp", "smaller_body_rates", "replay")


def sizes(name: str) -> dict[str, tuple[float, float]]:
    """Effect and half interval of a row that is strong, weak, negative or open."""
    margin, unit = BY_ID[name].margin, ROWS[name].unit
    size = margin or unit
    return {
        "strong": (2 * margin + 0.5 * unit, size / 4),
        "weak": (margin / 2, margin / 4),
        "negative": (-size, size / 4),
        "open": (margin / 2, size),
    }


def made(name: str, kinds: list[str]) -> dict:
    """The claim's record, one kind for each of its rows."""
    rows, results = ROWS[name], silent()[ROWS[name].experiment]
    for path, kind in zip(rows.leaves, kinds, strict=True):
        *above, last = path.split(".")
        parent = results
        for key in above:
            parent = parent.setdefault(key, {})
        parent[last] = parent.get(last, {}) | rows.write(*sizes(name)[kind])
    return results


def decide(name: str, results: dict) -> Verdict:
    experiment = ROWS[name].experiment
    how = {"chapter": "loss_landscape", "experiment": experiment, "data": "simulated"}
    how |= {"device": "cpu", "preset": "full", "version": 1, "fingerprint": fingerprint({})}
    return BY_ID[name].verdict({f"{experiment}.simulated": Record(**how, results=results)})
