"""Every claim on made-up records: each verdict it can reach, from numbers chosen to reach it."""

from __future__ import annotations

import copy
import datetime
import math
import re

import pytest

from medxfer_lab.bias_variance import claims
from medxfer_lab.bias_variance.claims import CLAIMS
from medxfer_lab.course.claim import VERDICTS, Claim, Verdict, evidence_table
from medxfer_lab.course.record import Record, fingerprint, records

BY_ID = {claim.id: claim for claim in CLAIMS}
SMALL = ("16", "32", "100")


def leaf(mean: float, half: float) -> dict:
    return {"mean": mean, "low": mean - half, "high": mean + half, "n": 30}


def record(experiment: str, results: dict) -> Record:
    return Record(
        chapter="bias_variance",
        experiment=experiment,
        data="simulated",
        device="cpu",
        preset="full",
        version=1,
        fingerprint=fingerprint({}),
        results=results,
    )


def decide(name: str, results: dict) -> Verdict:
    experiment = "ridge" if name.startswith("formula") else "networks"
    experiment = "heads" if name == "features_beat_controls" else experiment
    return BY_ID[name].verdict({f"{experiment}.simulated": record(experiment, results)})


def paired(kind: str, pair: str, term: str, leaves: dict[str, dict]) -> dict:
    """Results that hold one paired term at several sizes."""
    return {kind: {"paired": {pair: {n: {term: value} for n, value in leaves.items()}}}}


def scratch_variance(ratio: float, half: float) -> dict:
    """Variance at n = 32 is ``ratio`` times that at n = 1,000; both known to +- half, relative."""
    cells = {}
    for n, value in (("32", 0.01 * ratio), ("1000", 0.01)):
        squared = {"variance": leaf(value, value * half), "total": leaf(4 * value, value)}
        cells[n] = {"squared": squared}
    return {"lesion": {"scratch": cells}}


@pytest.mark.parametrize(
    ("ratio", "half", "verdict"),
    [
        (4.0, 0.1, "holds"),
        (1.6, 0.1, "holds with limits"),
        (1.02, 0.05, "does not hold"),
        (0.5, 0.1, "does not hold"),
        (2.0, 0.6, "undecided"),
    ],
)
def test_scratch_variance(ratio, half, verdict):
    found = decide("scratch_variance", scratch_variance(ratio, half))
    assert found.verdict == verdict
    assert found.effect == pytest.approx(math.log(ratio))
    # the delta method: relative errors of a ratio add in squares
    assert found.high - found.effect == pytest.approx(math.hypot(half, half))
    assert "25%" in found.why


def low_bias(shares: tuple[float, float], half: float) -> dict:
    """Squared bias as a share of eta's variance, .05, at n = 32 and 100."""
    cells = {
        n: {"squared": {"bias": leaf(share * 0.05, half * 0.05)}}
        for n, share in zip(("32", "100"), shares)
    }
    return {"variance_of_eta": 0.05, "teacher": {"scratch": cells}}


@pytest.mark.parametrize(
    ("shares", "half", "verdict"),
    [
        ((0.02, 0.03), 0.01, "holds"),
        ((0.5, 0.4), 0.05, "does not hold"),
        ((0.1, 0.1), 0.05, "undecided"),
        ((0.5, 0.02), 0.01, "holds with limits"),
    ],
)
def test_scratch_low_bias(shares, half, verdict):
    found = decide("scratch_low_bias", low_bias(shares, half))
    assert found.verdict == verdict
    assert found.effect == pytest.approx((claims.LOW_BIAS_SHARE - shares[0]) * 0.05)
    assert found.low <= found.effect <= found.high


@pytest.mark.parametrize(
    ("name", "pair"),
    [
        ("variance_cut", "full_fine_tuning_minus_scratch"),
        ("variance_cut_anchored", "l2sp_minus_scratch"),
    ],
)
@pytest.mark.parametrize(
    ("ratios", "half", "verdict"),
    [
        ((1.5, 2.0, 1.6), 0.05, "holds"),
        ((1.1, 1.15, 1.12), 0.05, "holds with limits"),
        ((0.7, 0.8, 0.9), 0.05, "does not hold"),
        ((1.25, 1.25, 1.25), 0.4, "undecided"),
        ((2.0, 2.0, 0.7), 0.05, "holds with limits"),
        ((0.7, 1.2, 0.7), 0.3, "undecided"),
    ],
)
def test_variance_cut(name, pair, ratios, half, verdict):
    """The record says first minus second (tuned over scratch); the claim turns it round."""
    leaves = {n: leaf(-math.log(r), half) for n, r in zip(SMALL, ratios)}
    found = decide(name, paired("lesion", pair, "log_variance_ratio", leaves))
    assert found.verdict == verdict
    assert found.effect == pytest.approx(math.log(ratios[1]))
    assert found.high - found.effect == pytest.approx(half)
    assert all(f"n = {n}" in found.why for n in SMALL)


@pytest.mark.parametrize(
    ("gaps", "half", "verdict"),
    [
        ((0.01, 0.02, 0.02), 0.005, "holds"),
        ((-0.01, -0.02, -0.02), 0.005, "does not hold"),
        ((0.001, -0.001, 0.0), 0.01, "undecided"),
        ((0.02, -0.02, 0.0), 0.005, "holds with limits"),
    ],
)
def test_bias_price(gaps, half, verdict):
    leaves = {n: leaf(g, half) for n, g in zip(SMALL, gaps)}
    pair = "full_fine_tuning_minus_scratch"
    found = decide("bias_price", paired("teacher", pair, "bias", leaves))
    assert found.verdict == verdict and found.effect == pytest.approx(gaps[1])


@pytest.mark.parametrize(
    ("few", "many", "half", "verdict"),
    [
        (0.10, 0.01, 0.01, "holds"),
        (0.06, 0.03, 0.01, "holds with limits"),
        (0.01, 0.02, 0.01, "does not hold"),
        (0.05, 0.02, 0.05, "undecided"),
    ],
)
def test_advantage_shrinks(few, many, half, verdict):
    leaves = {"32": leaf(few, half), "1000": leaf(many, half)}
    pair = "full_fine_tuning_minus_scratch"
    found = decide("advantage_shrinks", paired("lesion", pair, "auc", leaves))
    assert found.verdict == verdict and found.effect == pytest.approx(few - many)
    assert found.effect - found.low == pytest.approx(math.hypot(half, half))


def distances(values: dict[str, float], half: float = 0.05, reached: dict | None = None) -> dict:
    """A curve of matched distances; half is relative. ``reached``: of 30 sets, where not all."""
    curve = {}
    for n, value in values.items():
        count = (reached or {}).get(n, 30)
        curve[n] = {"matched_reached": count, "matched_sets": [0.1] * count + [-1.0] * (30 - count)}
        if count >= 3:
            curve[n]["matched_distance"] = leaf(value, value * half)
    return curve


@pytest.mark.parametrize(
    ("tuned", "control", "half", "verdict"),
    [
        ({"32": 0.1, "1000": 0.3}, {"32": 0.2, "1000": 0.2}, 0.05, "holds"),
        # scratch networks stay near their own start just as much: it is not the prior
        ({"32": 0.1, "1000": 0.3}, {"32": 0.2, "1000": 0.6}, 0.05, "holds with limits"),
        ({"32": 0.1, "1000": 0.13}, {"32": 0.2, "1000": 0.2}, 0.05, "holds with limits"),
        ({"32": 0.3, "1000": 0.1}, {"32": 0.2, "1000": 0.2}, 0.05, "does not hold"),
        ({"32": 0.1, "1000": 0.14}, {"32": 0.2, "1000": 0.2}, 0.4, "undecided"),
    ],
)
def test_stay_near(tuned, control, half, verdict):
    curves = {"full_fine_tuning": distances(tuned, half), "scratch": distances(control, half)}
    found = decide("stay_near", {"lesion": curves})
    assert found.verdict == verdict
    assert found.effect == pytest.approx(math.log(tuned["1000"] / tuned["32"]))
    assert "scratch from its own start" in found.why


def test_stay_near_uses_the_largest_size_that_most_runs_matched():
    tuned = distances({"32": 0.1, "500": 0.3, "1000": 0.9}, reached={"1000": 20})
    results = {"lesion": {"full_fine_tuning": tuned, "scratch": distances({"32": 0.2})}}
    found = decide("stay_near", results)
    assert found.verdict == "holds" and found.effect == pytest.approx(math.log(3))
    assert found.why == "n = 32 against n = 500"
    for reached in ({"32": 2}, {"500": 2, "1000": 2}):
        tuned = distances({"32": 0.1, "500": 0.3, "1000": 0.9}, reached=reached)
        results["lesion"]["full_fine_tuning"] = tuned
        found = decide("stay_near", results)
        assert (found.verdict, found.effect) == ("undecided", None), reached


def worth(rows: dict[str, tuple]) -> dict:
    cells = {n: dict(zip(("mean", "low", "high"), row)) for n, row in rows.items()}
    return {"lesion": {"label_worth": {"full_fine_tuning": cells}}}


@pytest.mark.parametrize(
    ("rows", "verdict"),
    [
        ({"32": (120, 90, 200), "100": (400, 300, 600)}, "holds"),
        ({"32": (50, 40, 60), "100": (130, 110, 190)}, "holds with limits"),
        ({"32": (30, 20, 40), "100": (80, 60, 120)}, "does not hold"),
        ({"32": (64, 20, 200), "100": (200, 60, 700)}, "undecided"),
        ({"32": (120, 90, 200), "100": (80, 60, 120)}, "holds with limits"),
        # scratch never gets there within the sizes measured: evidence for the claim, not none
        ({"32": (120, 90, 200), "100": (">1000", 420, ">1000")}, "holds"),
        ({"32": (">1000", ">1000", ">1000"), "100": (">1000", ">1000", ">1000")}, "holds"),
        ({"32": ("<16", "<16", 20), "100": (20, "<16", 40)}, "does not hold"),
        ({"32": (64, "<16", ">1000"), "100": (200, "<16", ">1000")}, "undecided"),
    ],
)
def test_fraction_suffices(rows, verdict):
    found = decide("fraction_suffices", worth(rows))
    assert found.verdict == verdict
    assert found.low <= found.effect <= found.high
    if not isinstance(rows["32"][0], str):
        assert found.effect == pytest.approx(math.log(rows["32"][0] / 32))
    for row in rows.values():
        assert all(end in found.why for end in row if isinstance(end, str))


@pytest.mark.parametrize(
    ("gaps", "half", "verdict"),
    [
        ((0.2, 0.3, 0.15), 0.02, "holds"),
        ((0.03, 0.04, 0.04), 0.005, "holds with limits"),
        ((-0.1, 0.01, 0.0), 0.02, "does not hold"),
        ((0.05, 0.05, 0.05), 0.08, "undecided"),
        ((0.2, 0.3, -0.1), 0.02, "holds with limits"),
    ],
)
def test_features_beat_controls(gaps, half, verdict):
    controls = ("untrained", "matched_scales", "pixels")
    pairs = {f"imagenet_minus_{b}": {"100": {"auc": leaf(g, half)}} for b, g in zip(controls, gaps)}
    found = decide("features_beat_controls", {"lesion": {"paired": pairs}})
    assert found.verdict == verdict and found.effect == pytest.approx(gaps[0])
    assert all(f"against {b}" in found.why for b in controls)


@pytest.mark.parametrize(
    ("name", "population"),
    [("formula_predicts", "standardised"), ("formula_predicts_natural", "natural")],
)
@pytest.mark.parametrize(
    ("ratios", "half", "verdict"),
    [
        ((1.01, 0.97, 1.04), 0.02, "holds"),
        ((1.01, 0.97, 1.08), 0.02, "holds with limits"),
        ((1.01, 0.97, 1.08), 0.05, "holds with limits"),
        ((1.3, 1.2, 1.01), 0.02, "does not hold"),
        ((0.7, 0.8, 1.01), 0.02, "does not hold"),
    ],
)
def test_formula_predicts(name, population, ratios, half, verdict):
    rows = {n: {"ratio": leaf(r, half)} for n, r in zip(("16", "100", "1000"), ratios)}
    wrong = {n: {"ratio": leaf(9.0, half)} for n in rows}
    other = {"standardised": "natural", "natural": "standardised"}[population]
    found = decide(name, {population: {"zero": rows}, other: {"zero": wrong}})
    assert found.verdict == verdict
    assert found.effect == max(ratios, key=lambda r: abs(r - 1))


def test_the_margins_in_the_code_are_those_of_the_statements():
    """A reader sees the measure in words; the number that decides must be the same one."""
    assert claims.SCRATCH_MARGIN == claims.WORTH_MARGIN == math.log(2)
    said = {
        "scratch_variance": "at least twice",
        "scratch_low_bias": "at most a tenth",
        "variance_cut": "at least 1.25",
        "variance_cut_anchored": "at least 1.25",
        "bias_price": "above zero",
        "advantage_shrinks": "at least .03",
        "stay_near": "1.5 times",
        "fraction_suffices": "at least 2 n",
        "features_beat_controls": "at least .05",
        "formula_predicts": "within 5 %",
        "formula_predicts_natural": "The same margin",
    }
    assert said.keys() == BY_ID.keys()
    for name, words in said.items():
        assert words in BY_ID[name].measure, name
    assert claims.VARIANCE_MARGIN == math.log(1.25) and claims.STAY_MARGIN == math.log(1.5)
    assert claims.SHRINK_MARGIN == 0.03 and claims.FEATURES_MARGIN == 0.05
    assert claims.FORMULA_MARGIN == 0.05 and claims.LOW_BIAS_SHARE == 0.1


def test_margins_are_positive_where_a_size_is_claimed():
    """Two claims are of a direction only: their margin is zero, and their measure says so."""
    for claim in CLAIMS:
        assert claim.margin >= 0
        if claim.id not in ("bias_price", "scratch_low_bias"):
            assert claim.margin > 0, claim.id
        assert datetime.date.fromisoformat(claim.margin_committed)


def test_nothing_measured_is_undecided_and_says_what_is_missing():
    for claim in CLAIMS:
        found = claim.verdict({})
        assert found.verdict == "undecided" and found.effect is None
        assert re.search(r"the record \w+\.simulated has not been measured yet", found.why)


@pytest.fixture(scope="module")
def measured() -> dict[str, Record]:
    return records("bias_variance")


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda c: c.id)
def test_every_claim_is_decided_by_the_records_that_come_with_the_course(claim: Claim, measured):
    found = claim.verdict(measured)
    assert found.verdict in VERDICTS and found.records, found.why
    assert "nan" not in found.why and "inf" not in found.why and found.why
    assert found.effect is not None and math.isfinite(found.effect)
    assert found.low <= found.effect <= found.high
    assert claims.verdicts()[claim.id] == found


def test_every_record_a_claim_read_is_of_the_full_preset(measured):
    used = {name for claim in CLAIMS for name in claim.verdict(measured).records}
    assert used and all(measured[name].preset == "full" for name in used)


def test_the_evidence_table_shows_them_all(measured):
    table = evidence_table(CLAIMS, measured)
    page = table._repr_html_()
    for claim in CLAIMS:
        assert f'id="claim-{claim.id}"' in page
    assert "nan" not in str(table)


def test_deciding_changes_no_record(measured):
    before = copy.deepcopy({n: r.results for n, r in measured.items()})
    claims.verdicts()
    evidence_table(CLAIMS, measured)
    assert before == {n: r.results for n, r in measured.items()}
