"""Claims: the rule that decides, and a table that shows all of it without relying on colour."""

from __future__ import annotations

import re

import pytest

from medxfer_lab.course.claim import Claim, Verdict, evidence_table, judge, judge_all
from medxfer_lab.course.record import Record, fingerprint


def record(name="heads") -> Record:
    return Record(
        chapter="a_chapter",
        experiment=name,
        data="simulated",
        device="cpu",
        preset="full",
        version=1,
        fingerprint=fingerprint({}),
        results={"gap": {"mean": 0.3, "low": 0.2, "high": 0.4}},
        device_name="Abacus 3000",
        date="2026-02-03",
    )


def claim(decide, id="probe_wins") -> Claim:
    return Claim(
        id=id,
        statement="A probe beats $w_0$ & pixels",
        source="The Bias-Variance Bargain, paragraph 3",
        measure="paired difference of AUC at n = 100",
        margin=0.05,
        margin_committed="2026-01-01",
        decide=decide,
    )


def decide(records) -> Verdict:
    gap = records["heads.simulated"].value("gap")
    verdict = judge(gap["low"], gap["high"], 0.05)
    return Verdict(verdict, gap["mean"], gap["low"], gap["high"], "AUC", "Clear of the margin.")


@pytest.mark.parametrize(
    "low, high, margin, verdict",
    [
        (0.1, 0.2, 0.05, "holds"),
        (0.05, 0.2, 0.05, "holds"),
        (0.01, 0.2, 0.05, "holds with limits"),
        (0.01, 0.02, 0.05, "holds with limits"),
        (-0.01, 0.2, 0.05, "undecided"),
        (-0.01, 0.02, 0.05, "does not hold"),
        (-0.2, -0.1, 0.05, "does not hold"),
        (-0.2, -0.1, 0.0, "does not hold"),
    ],
)
def test_judge(low, high, margin, verdict):
    assert judge(low, high, margin) == verdict


@pytest.mark.parametrize("low, high, margin", [(1, 0, 0), (float("nan"), 1, 0), (0, 1, -1)])
def test_judge_refuses_nonsense(low, high, margin):
    with pytest.raises(ValueError, match="expected finite low <= high"):
        judge(low, high, margin)


def test_judge_all():
    assert judge_all(["holds", "holds"]) == "holds"
    assert judge_all(["holds", "undecided"]) == "holds with limits"
    assert judge_all(["holds", "does not hold"]) == "holds with limits"
    assert judge_all(["undecided", "does not hold"]) == "undecided"
    assert judge_all([]) == "undecided"


def test_a_verdict_knows_which_records_it_read():
    found = {"heads.simulated": record(), "tails.simulated": record("tails")}
    verdict = claim(decide).verdict(found)
    assert verdict.verdict == "holds" and verdict.records == ("heads.simulated",)


def test_a_missing_record_leaves_the_claim_undecided():
    verdict = claim(decide).verdict({})
    assert verdict.verdict == "undecided"
    assert "heads.simulated has not been measured" in verdict.why


def test_an_error_inside_decide_is_not_swallowed():
    with pytest.raises(KeyError, match="no 'gpa'"):
        claim(lambda r: r["heads.simulated"].value("gpa")).verdict({"heads.simulated": record()})


def test_an_unknown_verdict_is_refused():
    with pytest.raises(ValueError, match="'proved'"):
        Verdict("proved", None, None, None, "", "")


def test_the_table_shows_everything_in_words():
    refused = Verdict("does not hold", -0.1, -0.2, 0.0, "AUC", "The wrong way round.")
    table = evidence_table(
        [
            claim(decide),
            claim(lambda r: refused, id="other"),
            claim(lambda r: r["x.y"], id="third"),
        ],
        {"heads.simulated": record()},
        "A chapter.",
    )
    page = table._repr_html_()
    text = re.sub(r"<[^>]+>", " ", page)
    for wanted in (
        "✔ holds",
        "✘ does not hold",
        "? undecided",
        "0.3 (0.2 to 0.4) AUC",
        "−0.1 (−0.2 to 0) AUC",
        "Abacus 3000",
        "2026-02-03",
        "Margin: 0.05, committed 2026-01-01.",
        "paragraph 3",
        "3 claims. ✔ holds: 1, ? undecided: 1, ✘ does not hold: 1.",
        "not measured yet",
        "&amp; pixels",
    ):
        assert wanted in text
    assert page.count('scope="row"') == 3 and 'id="claim-third"' in page
    assert "✔ holds: A probe beats" in str(table)


def test_ids_must_be_unique():
    with pytest.raises(ValueError, match="unique"):
        evidence_table([claim(decide), claim(decide)], {})
