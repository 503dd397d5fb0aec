"""The engine's record: its own arithmetic, and the scripts it is made of, in small."""

from __future__ import annotations

import subprocess
import sys

import pytest

from medxfer_lab.course.record import records
from medxfer_lab.reference.experiment import engine


@pytest.fixture(scope="module")
def record():
    return records("reference")["engine.simulated"]


def test_ratios_are_of_the_times_and_promises_of_the_rows(record):
    for script, rows in record.results["rows"].items():
        measured = [r for r in rows if r["ratio"] is not None]
        assert len(measured) > 3, script
        for r in measured:
            assert r["ratio"] == pytest.approx(r["theirs_s"] / r["ours_s"]), r["name"]
    again = engine.targets(record.results["rows"])
    assert again == record.results["targets"] and set(again) == set(engine.PROMISES)
    assert engine.at_32(record.results["rows"]["training"]) == record.results["at_32"]


def default(opponent: str) -> bool:
    """scikit-learn at its default tolerance."""
    return opponent.startswith("LogisticRegression") and "tol" not in opponent


def test_answers_were_equal(record):
    """Each row says how far apart both answers were; only scikit-learn's default may be far.

    Traces are random estimates: their difference is in standard errors of a difference, and four
    of them come by chance once in ten thousand.
    """
    for rows in record.results["rows"].values():
        for r in rows:
            if r["largest_difference"] is not None and not default(r["opponent"]):
                limit = 4 if r["name"].startswith("trace") else 1e-3
                assert r["largest_difference"] <= limit, (r["name"], r["opponent"])


def test_a_promise_is_decided_by_its_worst_row():
    rows = [
        {"name": "MLP 256-64", "networks": m, "threads": t, "ratio": ratio, "opponent": "bare loop"}
        for m, t, ratio in ((32, 2, 3.5), (32, 1, 1.0), (8, 2, 0.9), (32, 2, 2.9))
    ]
    found = engine.targets({"training": rows})
    assert found["mlp"]["measured"] == 2.9 and found["mlp"]["met"] is False
    assert found["never_slower"]["measured"] == 0.9 and not found["never_slower"]["met"]
    assert "ridge" not in found  # nothing measured, nothing said


@pytest.mark.slow
def test_a_script_hands_over_its_rows():
    """With one repeat and two networks: the pipeline, and that equal work is asserted in it."""
    arguments = ["--repeats", "1", "--parts", "many", "--most", "1"]
    rows = engine.script_job("training.py", arguments)["rows"]
    assert {"linear, d = 256", "MLP 256-64", "small_cnn"} <= {r["name"] for r in rows}
    assert all(r["ratio"] > 0 for r in rows if r["opponent"] == "bare loop")
    with pytest.raises(RuntimeError, match="benchmarks/training.py failed"):
        engine.script_job("training.py", ["--no-such-option"])
    with pytest.raises(FileNotFoundError, match="benchmarks/nothing.py is not here"):
        engine.script_job("nothing.py", [])


def test_different_answers_are_no_benchmark():
    code = "import table; table.agree('this', 2e-3, 1e-3)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=engine.FOLDER, capture_output=True, text=True
    )
    assert done.returncode and "the results differ by 2.00e-03 (> 1e-03)" in done.stderr
