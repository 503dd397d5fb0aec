"""Every claim on made-up records: each verdict it can reach, from numbers chosen to reach it."""

from __future__ import annotations

import copy
import datetime
import math
import re

import numpy as np
import pytest
from scipy import stats

from medxfer_lab.course.claim import VERDICTS, Claim, Verdict, evidence_table
from medxfer_lab.course.record import Record, fingerprint, records
from medxfer_lab.domain_shift import claims
from medxfer_lab.domain_shift.claims import CLAIMS, CONCEPT, COVARIATE, KINDS
from medxfer_lab.domain_shift.experiment import acquisition, prevalence, retraining, shifts

BY_ID = {claim.id: claim for claim in CLAIMS}


def leaf(mean: float, half: float) -> dict:
    return {"mean": mean, "low": mean - half, "high": mean + half, "n": 16}


def decide(name: str, experiment: str, results: dict) -> Verdict:
    made = Record(
        chapter="domain_shift",
        experiment=experiment,
        data="simulated",
        device="cpu",
        preset="full",
        version=1,
        fingerprint=fingerprint({}),
        results=results,
    )
    return BY_ID[name].verdict({f"{experiment}.simulated": made})


def check(found: Verdict, verdict: str, effect: float, half: float | None = None) -> None:
    assert found.verdict == verdict, found.why
    assert found.effect == pytest.approx(effect)
    assert found.low <= found.effect <= found.high
    if half is not None:
        assert (found.high - found.low) / 2 == pytest.approx(half)


def harm(means: dict[tuple[str, str], float], spread: float) -> dict:
    """Harm of six sets under every condition that the claim reads, both kinds of model."""
    rng = np.random.default_rng(0)
    out: dict = {}
    for kind in KINDS:
        for (family, strength), mean in means.items():
            noise = rng.standard_normal(6)
            cell = {"harm_sets": (mean + spread * (noise - noise.mean())).tolist()}
            out.setdefault(kind, {}).setdefault(family, {})[strength] = cell
    return out


@pytest.mark.parametrize(
    ("covariate", "label", "concept", "spread", "verdict"),
    [
        (0.01, 0.10, 0.90, 0.01, "holds"),
        (0.015, 0.026, 0.90, 0.002, "holds with limits"),
        (0.20, 0.10, 0.90, 0.01, "holds with limits"),  # one covariate shift is worse than one
        (0.005, -0.20, -0.30, 0.01, "does not hold"),
        (0.01, 0.02, 0.02, 0.3, "undecided"),
    ],
)
def test_covariate_benign(covariate, label, concept, spread, verdict):
    """Every pair counts; the worst covariate shift is the vendor's here."""
    means = {("select", "30"): 0.0, ("select_fluid", "30"): -0.01, ("vendor", "90"): covariate}
    means |= {("label", "80"): label, ("readers", "100"): concept}
    results = harm(means, spread)
    found = decide("covariate_benign", "retraining", results)
    check(found, verdict, min(label, concept) - covariate)
    assert found.why.count("over") == 2 * 2 * len(COVARIATE)
    which, kind = found.units.removesuffix(" shown").removeprefix("nats, "), "network"
    if which.startswith("head"):
        kind = "head"
    other = results[kind]["readers"]["100"] if "readers" in which else results[kind]["label"]["80"]
    pairs = np.subtract(other["harm_sets"], results[kind]["vendor"]["90"]["harm_sets"])
    half = stats.t.ppf(0.975, 5) * pairs.std(ddof=1) / math.sqrt(6)
    assert found.high - found.effect == pytest.approx(half)


def gains(values: dict[str, dict[tuple[str, str], float]], half: float, path: tuple) -> dict:
    """kind -> family -> strength -> path -> leaf."""
    out: dict = {}
    for kind, cells in values.items():
        for (family, strength), mean in cells.items():
            value = leaf(mean, half)
            for key in reversed(path):
                value = {key: value}
            out.setdefault(kind, {}).setdefault(family, {})[strength] = value
    return out


def everywhere(kinds, cells, mean: float) -> dict:
    return {kind: dict.fromkeys(cells, mean) for kind in kinds}


@pytest.mark.parametrize(
    ("most", "rest", "half", "verdict"),
    [
        (0.012, 0.005, 0.004, "holds"),
        (0.05, 0.005, 0.004, "holds with limits"),
        (0.05, 0.05, 0.004, "does not hold"),
        (0.02, 0.02, 0.01, "undecided"),
        (0.05, 0.02, 0.01, "undecided"),
    ],
)
def test_covariate_rule_unchanged(most, rest, half, verdict):
    values = everywhere(KINDS, COVARIATE, rest)
    values["head"][("select_fluid", "30")] = most
    results = gains(values, half, ("target", "refined_gain"))
    found = decide("covariate_rule_unchanged", "retraining", results)
    check(found, verdict, claims.RULE_BOUND - max(most, rest), half)
    assert all(f"{kind}, {f} {s}" in found.why for kind in KINDS for f, s in COVARIATE)


def won_back(shares: dict[str, float], half: float, meant: dict[str, bool] | None = None) -> dict:
    """The same shares for both kinds of model; ``meant`` by strength, True where it is silent."""
    cells = {
        strength: {
            arm: {"won_back": leaf(share, half) | {"meant": (meant or {}).get(strength, True)}}
            for arm in ("known_prevalence", "bbse", "em")
        }
        for strength, share in shares.items()
    }
    return {kind: {"label": copy.deepcopy(cells)} for kind in KINDS}


@pytest.mark.parametrize(
    ("name", "bound"),
    [
        ("label_correctable", claims.CORRECTED_SHARE),
        ("label_unlabelled", claims.UNLABELLED_SHARE),
    ],
)
@pytest.mark.parametrize(
    ("above", "half", "verdict"),
    [
        ((0.1, 0.12), 0.05, "holds"),
        ((-0.2, 0.12), 0.05, "holds with limits"),
        ((-0.2, -0.3), 0.05, "does not hold"),
        ((0.01, -0.01), 0.05, "undecided"),
        ((-0.2, 0.01), 0.05, "undecided"),
    ],
)
def test_won_back(name, bound, above, half, verdict):
    shares = {s: bound + a for s, a in zip(("5", "80"), above)}
    found = decide(name, "shifts", won_back(shares, half))
    check(found, verdict, min(above), half)


def test_shares_of_nothing_are_left_out():
    shares = {"5": 0.95, "15": -3.0}
    for name in ("label_correctable", "label_unlabelled"):
        found = decide(name, "shifts", won_back(shares, 0.02, {"15": False}))
        assert found.verdict == "holds" and "15 %" not in found.why
        nothing = decide(name, "shifts", won_back(shares, 0.02, {"5": False, "15": False}))
        assert (nothing.verdict, nothing.effect) == ("undecided", None)
        assert nothing.why == "no excess to win back"


def test_unlabelled_asks_both_estimators_and_correctable_neither():
    results = won_back({"5": 0.95}, 0.02)
    results["network"]["label"]["5"]["em"]["won_back"] = leaf(0.1, 0.02) | {"meant": True}
    assert decide("label_unlabelled", "shifts", results).verdict == "holds with limits"
    assert decide("label_correctable", "shifts", results).verdict == "holds"


@pytest.mark.parametrize(
    ("least", "rest", "half", "verdict"),
    [
        (0.15, 0.3, 0.02, "holds"),
        (0.05, 0.3, 0.02, "holds with limits"),
        (0.05, 0.05, 0.02, "holds with limits"),
        (0.01, 0.01, 0.02, "does not hold"),
        (0.09, 0.09, 0.1, "undecided"),
    ],
)
def test_concept_defeats(least, rest, half, verdict):
    values = everywhere(KINDS, CONCEPT, rest)
    values["network"][("criterion", "40")] = least
    results = gains(values, half, ("target", "refined_gain"))
    check(decide("concept_defeats", "retraining", results), verdict, min(least, rest), half)


@pytest.mark.parametrize(
    ("network", "head", "half", "verdict"),
    [
        (0.08, 0.08, 0.02, "holds"),
        (0.02, 0.02, 0.01, "holds with limits"),
        (0.08, -0.05, 0.02, "holds with limits"),
        (-0.05, -0.05, 0.02, "does not hold"),
        (0.02, 0.02, 0.05, "undecided"),
    ],
)
def test_concept_harmful(network, head, half, verdict):
    """A head has no weights to go on from: its arm is missing and is not asked for."""
    results: dict = {}
    for kind, mean in (("network", network), ("head", head)):
        for family, strength in CONCEPT:
            arms = ("pooled", "continued") if kind == "network" else ("pooled",)
            cell = {arm: {"few_minus_this_auc": leaf(mean, half)} for arm in arms}
            results.setdefault(kind, {}).setdefault(family, {})[strength] = cell
    found = decide("concept_harmful", "retraining", results)
    check(found, verdict, min(network, head), half)
    assert "network, readers 50, continued" in found.why
    assert "head, readers 50, continued" not in found.why


def scanners(values: dict[str, float], rest: float, half: float, key: str) -> dict:
    """mri with both kinds, ct with the network; ``values`` by name of the scanner."""
    kinds = {"mri": ("network", "head"), "ct": ("network",)}
    return {
        modality: {
            kind: {
                name: {key: leaf(values.get(name, rest), half)}
                for name in acquisition.TARGETS[modality]
            }
            for kind in kinds[modality]
        }
        for modality in kinds
    }


@pytest.mark.parametrize(
    ("worst", "rest", "half", "verdict"),
    [
        (0.01, 0.005, 0.005, "holds"),
        (0.2, 0.005, 0.005, "holds with limits"),
        (0.2, 0.2, 0.05, "does not hold"),
        (0.02, 0.02, 0.01, "undecided"),
        (0.2, 0.02, 0.01, "undecided"),
    ],
)
def test_scanner_is_covariate(worst, rest, half, verdict):
    """Neither the control nor T1, another contrast, counts among the new scanners."""
    silent = {"again": 9.0, "t1": 9.0}
    results = scanners(silent | {"other_vendor": worst}, rest, half, "excess")
    found = decide("scanner_is_covariate", "acquisition", results)
    check(found, verdict, claims.SCANNER_BOUND - worst, half)
    assert "again" not in found.why and "t1" not in found.why
    assert "five new scanners" in BY_ID["scanner_is_covariate"].measure
    assert sum(map(len, claims.NEW_SCANNERS.values())) == 5


@pytest.mark.parametrize(
    ("worst", "rest", "verdict"),
    [
        (0.01, 0.005, "holds"),
        (0.2, 0.005, "holds with limits"),
        (0.2, 0.2, "does not hold"),
        (0.02, 0.02, "undecided"),
    ],
)
def test_scanner_common_rule(worst, rest, verdict):
    """Networks alone are trained on both scanners; heads are not asked."""
    results = scanners({"again": 9.0, "t1": 9.0, "low_dose": worst}, rest, 0.004, "common_excess")
    for cell in results["mri"]["head"].values():
        del cell["common_excess"]
    found = decide("scanner_common_rule", "acquisition", results)
    check(found, verdict, claims.SCANNER_BOUND - max(worst, rest), 0.004)
    assert "head" not in found.why and found.why.count("network") == 5


@pytest.mark.parametrize(
    ("least", "rest", "half", "verdict"),
    [
        (0.02, 0.05, 0.005, "holds"),
        (0.008, 0.008, 0.005, "holds with limits"),
        (-0.01, 0.05, 0.005, "holds with limits"),
        (-0.01, 0.0, 0.005, "does not hold"),
        (0.005, 0.005, 0.02, "undecided"),
    ],
)
def test_scanner_weights(least, rest, half, verdict):
    silent = {"again": -9.0, "t1": -9.0}
    results = scanners(silent | {"low_dose": least}, rest, half, "weighting_gain")
    found = decide("scanner_weights", "acquisition", results)
    check(found, verdict, min(least, rest), half)


@pytest.mark.parametrize(
    ("name", "kinds", "other"),
    [
        ("weights_help_flexible", KINDS, ("statistics",)),
        ("weights_help_poor", ("statistics",), KINDS),
    ],
)
@pytest.mark.parametrize(
    ("least", "rest", "half", "verdict"),
    [
        (0.02, 0.05, 0.005, "holds"),
        (0.008, 0.008, 0.005, "holds with limits"),
        (-0.02, 0.05, 0.005, "holds with limits"),
        (-0.02, -0.01, 0.005, "does not hold"),
        (0.005, 0.005, 0.02, "undecided"),
    ],
)
def test_weights_help(name, kinds, other, least, rest, half, verdict):
    values = everywhere(kinds, COVARIATE, rest) | everywhere(other, COVARIATE, 7.0)
    values[kinds[0]][("vendor", "90")] = least
    results = gains(values, half, ("known_weights", "refined_gain"))
    check(decide(name, "retraining", results), verdict, min(least, rest), half)


@pytest.mark.parametrize(("name", "estimator"), [("bbse_covers", "bbse_soft"), ("em_covers", "em")])
@pytest.mark.parametrize(
    ("worst", "rest", "half", "verdict"),
    [
        (0.945, 0.95, 0.01, "holds"),
        (0.80, 0.95, 0.01, "holds with limits"),
        (0.80, 0.85, 0.01, "does not hold"),
        (0.935, 0.93, 0.01, "undecided"),
        (0.80, 0.93, 0.01, "undecided"),
    ],
)
def test_coverage(name, estimator, worst, rest, half, verdict):
    cells = {str(rho): {"coverage": leaf(rest, half)} for rho in prevalence.PREVALENCES}
    cells["2"] = {"coverage": leaf(worst, half)}
    silent = {"2": {"coverage": leaf(0.1, 0.0)}}
    kept = dict.fromkeys(prevalence.ESTIMATORS, silent) | {estimator: cells}
    results = {"kept": kept, "vendor": {estimator: silent}}
    found = decide(name, "prevalence", results)
    check(found, verdict, min(worst, rest) - claims.COVERAGE_BOUND, half)


@pytest.mark.parametrize("which", ["unlabelled", "labelled"])
@pytest.mark.parametrize(
    ("lead", "half", "verdict"),
    [
        (0.25, 0.05, "holds"),
        (0.16, 0.05, "holds with limits"),
        (0.02, 0.05, "does not hold"),
        (0.12, 0.13, "undecided"),
    ],
)
def test_league(which, lead, half, verdict):
    rival = {"unlabelled": "tree_minus_any_shift", "labelled": "tree_minus_alarm_and_labels"}
    silent = {key: leaf(-0.9, 0.01) for key in rival.values()}
    results = {name: dict(silent) for name in rival}
    results[which][rival[which]] = leaf(lead, half)
    check(decide(f"league_{which}", "league", results), verdict, lead, half)


def test_the_margins_in_the_code_are_those_of_the_statements():
    """A reader sees the measure in words; the number that decides must be the same one."""
    said = {
        "covariate_benign": ("at least .02 nats", claims.BENIGN_MARGIN, 0.02),
        "covariate_rule_unchanged": ("at most .02 nats", claims.RULE_BOUND, 0.02),
        "label_correctable": ("at least .8", claims.CORRECTED_SHARE, 0.8),
        "label_unlabelled": ("at least .7", claims.UNLABELLED_SHARE, 0.7),
        "concept_defeats": ("at least .1 nats", claims.DEFEAT_MARGIN, 0.1),
        "concept_harmful": ("at least .03", claims.HARM_MARGIN, 0.03),
        "scanner_is_covariate": ("at most .02 nats", claims.SCANNER_BOUND, 0.02),
        "scanner_common_rule": ("at most .02 nats", claims.SCANNER_BOUND, 0.02),
        "scanner_weights": ("at least .01 nats", claims.REWEIGHT_MARGIN, 0.01),
        "weights_help_flexible": ("at least .01 nats", claims.WEIGHT_MARGIN, 0.01),
        "weights_help_poor": ("at least .01 nats", claims.WEIGHT_MARGIN, 0.01),
        "bbse_covers": ("at least .93", claims.COVERAGE_BOUND, 0.93),
        "em_covers": ("The same", claims.COVERAGE_BOUND, 0.93),
        "league_unlabelled": ("at least .15", claims.LEAGUE_MARGIN, 0.15),
        "league_labelled": ("at least .15", claims.LEAGUE_MARGIN, 0.15),
    }
    assert said.keys() == BY_ID.keys()
    for name, (words, number, expected) in said.items():
        assert words in BY_ID[name].measure, name
        assert number == expected, name


def test_a_claim_s_margin_is_that_of_its_rule_and_was_committed():
    """Bounds are in the effect (bound minus measured), so their claims' margin is zero."""
    sizes = {
        "covariate_benign": claims.BENIGN_MARGIN,
        "concept_defeats": claims.DEFEAT_MARGIN,
        "concept_harmful": claims.HARM_MARGIN,
        "scanner_weights": claims.REWEIGHT_MARGIN,
        "weights_help_flexible": claims.WEIGHT_MARGIN,
        "weights_help_poor": claims.WEIGHT_MARGIN,
        "league_unlabelled": claims.LEAGUE_MARGIN,
        "league_labelled": claims.LEAGUE_MARGIN,
    }
    for claim in CLAIMS:
        assert claim.margin == sizes.get(claim.id, 0.0), claim.id
        assert datetime.date.fromisoformat(claim.margin_committed)


def test_numbers_in_the_words_are_those_of_the_presets():
    full = {e.NAME: e.PRESETS["full"] for e in (shifts, prevalence, retraining)}
    assert f"{full['shifts']['sample']} unlabelled" in BY_ID["label_unlabelled"].measure
    assert f"{full['retraining']['k']} target labels" in BY_ID["concept_harmful"].measure
    assert f"source's {full['retraining']['n']} patients" in BY_ID["concept_harmful"].measure
    for name in ("covariate_benign", "covariate_rule_unchanged"):
        assert f"model of {full['retraining']['n']} target patients" in BY_ID[name].measure
    n, m = full["prevalence"]["n"], full["prevalence"]["m"]
    assert f"{n} labelled source and {m} unlabelled" in BY_ID["bbse_covers"].measure
    assert re.search(r"2, 5, 20, 50 and 80 %", BY_ID["bbse_covers"].measure)
    assert prevalence.PREVALENCES == (2, 5, 20, 50, 80)
    conditions = {f"{f}.{s}" for f, s in (*COVARIATE, *CONCEPT)} | {"label.80"}
    assert conditions <= set(retraining.CONDITIONS)


def test_nothing_measured_is_undecided_and_says_what_is_missing():
    for claim in CLAIMS:
        found = claim.verdict({})
        assert found.verdict == "undecided" and found.effect is None
        assert re.search(r"the record \w+\.simulated has not been measured yet", found.why)


@pytest.fixture(scope="module")
def measured() -> dict[str, Record]:
    return records("domain_shift")


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
