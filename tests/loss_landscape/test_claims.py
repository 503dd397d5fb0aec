"""Every claim on made-up records: each verdict it can reach, from numbers chosen to reach it."""

from __future__ import annotations

import copy
import datetime
import math

import pytest

from medxfer_lab.course.claim import VERDICTS, evidence_table
from medxfer_lab.course.record import Record, records
from medxfer_lab.loss_landscape import claims
from medxfer_lab.loss_landscape.claims import CLAIMS, valley
from tests.loss_landscape.claims_for_tests import (
    BY_ID,
    LOG_FACTOR,
    OTHERS,
    ROWS,
    decide,
    leaf,
    made,
    put,
    sizes,
)


def test_every_claim_is_here():
    assert set(ROWS) == set(BY_ID) and len(BY_ID) == len(CLAIMS)


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("kind", ["strong", "weak", "negative", "open"])
def test_all_rows_alike(name, kind):
    rows, margin = ROWS[name], BY_ID[name].margin
    if kind == "weak" and not margin:
        kind = "strong"  # above a margin of zero there is no half-way
    found = decide(name, made(name, [kind] * len(rows.leaves)))
    words = ("holds", "holds with limits", "does not hold", "undecided")
    verdict = dict(zip(("strong", "weak", "negative", "open"), words, strict=True))[kind]
    if rows.one_network and verdict == "holds":
        verdict = "holds with limits"
    assert found.verdict == verdict, found.why
    effect, half = sizes(name)[kind]
    assert found.effect == pytest.approx(effect)
    assert (found.high - found.low) / 2 == pytest.approx(half)


@pytest.mark.parametrize("name", [n for n, rows in ROWS.items() if len(rows.leaves) > 1])
@pytest.mark.parametrize(
    ("odd", "of_every"), [("negative", "does not hold"), ("open", "undecided")]
)
def test_one_odd_row_wherever_it_is(name, odd, of_every):
    """Every row is read: where all must hold the odd one decides, else it sets limits."""
    rows = ROWS[name]
    for i in range(len(rows.leaves)):
        kinds = ["strong"] * len(rows.leaves)
        kinds[i] = odd
        found = decide(name, made(name, kinds))
        expected = of_every if rows.together == "every" else "holds with limits"
        assert found.verdict == expected, found.why
        assert found.effect == pytest.approx(sizes(name)[kinds[rows.shown]][0])


@pytest.mark.parametrize("name", ["step_predicted", "step_predicted_tuned"])
def test_edges_beyond_the_search_decide_nothing(name):
    results = made(name, ["strong"] * 7)
    start = ROWS[name].leaves[0].partition(".")[0]
    results[start]["conv2"]["beyond_the_search"] = 3
    found = decide(name, results)
    assert found.verdict == "undecided" and "3 edges lie beyond the search" in found.why
    results[start]["conv2"]["beyond_the_search"] = 0
    results["tuned" if start == "fresh" else "fresh"]["head"]["beyond_the_search"] = 1
    assert decide(name, results).verdict == "holds"


@pytest.mark.parametrize(
    ("beyond", "kind", "verdict"),
    [
        (("fresh",), "strong", "holds with limits"),
        (("fresh",), "negative", "does not hold"),
        (("tuned",), "open", "undecided"),
        (("fresh", "tuned"), "strong", "undecided"),
    ],
)
def test_a_ratio_to_an_edge_beyond_the_search_is_left_open(beyond, kind, verdict):
    """It bounds the ratio from above, so that start cannot speak for the claim."""
    name = "early_step_shorter"
    results = made(name, ["strong" if start in beyond else kind for start in ("fresh", "tuned")])
    for start in beyond:
        results[start]["conv1"]["beyond_the_search"] = 2
    found = decide(name, results)
    assert found.verdict == verdict and "left open, 2 edges of the first block" in found.why
    assert found.effect == (None if len(beyond) > 1 else pytest.approx(sizes(name)[kind][0]))


READ = {
    "discriminative_helps": ("adam discriminative", "sgd uniform"),
    "reversed_hurts": ("sgd reversed", "adam uniform"),
    "curvature_rates": ("sgd curvature", "sgd uniform"),
    "reason_stability": ("untrained discriminative", "sgd curvature"),
    "reason_preservation": ("adam discriminative", "untrained discriminative"),
}


@pytest.mark.parametrize(("name", "arms"), READ.items())
def test_a_rate_at_the_edge_of_its_grid_decides_nothing(name, arms):
    for arm in arms:
        results = made(name, ["strong"] * len(ROWS[name].leaves))
        group, _, which = arm.partition(" ")
        results["settings"][group][which]["at_the_edge"] = True
        found = decide(name, results)
        assert found.verdict == "undecided", found.why
        # the reasons ask first whether there is anything to explain, which is undecided as well
        assert arm in found.why or "nothing to explain" in found.why


@pytest.mark.parametrize("name", ["reason_stability", "reason_preservation"])
@pytest.mark.parametrize(
    ("gain", "half", "said"),
    [(-0.1, 0.01, "they do not help"), (0.01, 0.1, "nothing to explain: that they help undecided")],
)
def test_nothing_to_explain(name, gain, half, said):
    results = made(name, ["strong"] * len(ROWS[name].leaves))
    for group in ("adam", "sgd"):
        results["arms"][group]["discriminative"]["log_loss_gain"] = leaf(gain, half)
    found = decide(name, results)
    assert found.verdict == "undecided" and said in found.why
    results["arms"]["adam"]["discriminative"]["log_loss_gain"] = leaf(0.3, 0.01)  # with limits
    assert decide(name, results).verdict == "holds"


@pytest.mark.parametrize(
    ("name", "ways"),
    [
        ("ewc_manages", ("ewc",)),
        ("ewc_over_l2sp", ("ewc", "l2sp")),
        ("ewc_over_smaller_rates", ("ewc", "smaller_body_rates")),
        ("ewc_as_replay", ("ewc", "replay")),
    ],
)
def test_a_way_that_never_comes_to_the_bound_is_not_compared(name, ways):
    """In one set of sixteen is enough; what the claim does not ask is not asked."""
    for way in ("ewc", *OTHERS):
        results = made(name, ["strong", "strong"])
        results["matched"]["known_quarter"]["excess"][way]["reached"] = 15
        found = decide(name, results)
        if way in ways:
            assert (found.verdict, found.effect) == ("undecided", None)
            assert found.why == f"{way} at known_quarter: 15 of 16 sets"
        else:
            assert found.verdict == "holds", found.why


@pytest.mark.parametrize(
    ("name", "loss"), [("wide_valley_source", "reached"), ("wide_valley_target", "loss")]
)
def test_widths_are_compared_at_equal_loss_or_not_at_all(name, loss):
    for path in ROWS[name].leaves:
        where = path.rpartition(".")[0]
        for key, value, said in (
            (loss, leaf(valley.EQUAL_LOSS + 0.01), "losses are not equal (mean log ratio +0.06)"),
            (loss, leaf(-0.9), "losses are not equal"),
            ("width", None, "did not rise far enough"),
        ):
            results = made(name, ["strong", "strong"])
            put(results, f"{where}.{key}", value)
            found = decide(name, results)
            assert (found.verdict, found.effect) == ("undecided", None) and said in found.why
        put(results, f"{where}.width", leaf(0.0))
        results = made(name, ["strong", "strong"])
        put(results, f"{where}.{loss}", leaf(valley.EQUAL_LOSS - 0.01))
        assert decide(name, results).verdict == "holds"


def test_ids_dates_and_margins():
    for claim in CLAIMS:
        assert claim.margin >= 0 and claim.statement.endswith(".")
        assert datetime.date.fromisoformat(claim.margin_committed) >= datetime.date(2026, 11, 25)
    said = {0.01: ".01 nats", 0.005: ".005 nats", 0.05: ".05 nats", math.log(2): "at least 2"}
    said |= {math.log(10): "at least 10", math.log(3): "at least 3", LOG_FACTOR: "1.25", 0.5: "-.5"}
    for claim in CLAIMS:
        if claim.margin and "The same" not in claim.measure:
            assert said[claim.margin] in claim.measure, claim.id


@pytest.fixture(scope="module")
def measured() -> dict[str, Record]:
    return records("loss_landscape")


@pytest.mark.parametrize("name", BY_ID)
def test_the_records_at_hand_decide_every_claim(name, measured):
    found = BY_ID[name].verdict(measured)
    assert found.verdict in VERDICTS and found.why
    assert "nan" not in found.why and "inf" not in found.why
    if found.effect is not None:
        assert all(map(math.isfinite, (found.low, found.effect, found.high)))
        assert found.low <= found.effect <= found.high
        assert all(measured[used].preset == "full" for used in found.records)
    else:
        assert found.verdict == "undecided"
    assert BY_ID[name].verdict({}).why.endswith("has not been measured yet")


def test_the_table_shows_them_all_and_changes_no_record(measured):
    before = copy.deepcopy({n: r.results for n, r in measured.items()})
    page = evidence_table(CLAIMS, measured)._repr_html_()
    assert all(f'id="claim-{claim.id}"' in page for claim in CLAIMS) and "nan" not in page
    assert list(claims.verdicts()) == list(BY_ID)
    assert before == {n: r.results for n, r in measured.items()}
