"""The shifts keep what they say, and the tests would have seen it: a small run of the matrix.

The statements themselves are tested here at a fixed seed, with bounds from binomial tails; the
record of the reference page holds the same study with more repetitions.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from medxfer_lab.reference.experiment.shift_study import (
    CHANGED,
    COLUMNS,
    EXPECTED,
    KEPT,
    known,
    repetition_p_values,
    summary,
)

REPETITIONS = 8
#: cells that a study of 200 patients sees almost always (power 1 in a study of 300)
SEEN = {
    "label": ("p(y)", "p(y|t)", "q = p / w", "p(y|x) = eta"),
    "selection": ("p(x)", "q = p / w"),
    "scanner mixture": ("p(x)", "p(x|y=0)", "p(x|y=1)", "q = p / w"),
    "concept": ("p(y)", "p(x|y=1)", "p(y|x)", "p(y|t)", "p(y|x) = eta"),
    "acquisition": ("p(x)", "p(x|y=0)", "p(x|y=1)", "p(y|t)"),
    "burden, volume criterion": ("p(y)",),
    "burden, all affected diseased": ("p(y)", "p(y|t)"),
}


@pytest.fixture(scope="module")
def study() -> dict:
    fixed = known(32, 0)
    return summary([repetition_p_values(fixed, 200, 32, 0, k) for k in range(1, REPETITIONS + 1)])


def cells(study: dict, expected: str) -> list:
    return [
        (row, column, cell)
        for row, columns in study["matrix"].items()
        for column, cell in columns.items()
        if cell["expected"] == expected
    ]


@pytest.mark.slow
def test_what_is_kept_is_not_rejected(study):
    """Each cell: rejections within chance 1e-4 of Binomial(8, .05); and their total."""
    kept = cells(study, KEPT)
    assert len(kept) > 20
    rejections = [round(cell["mean"] * REPETITIONS) for _, _, cell in kept]
    most = stats.binom.ppf(1 - 1e-4, REPETITIONS, study["alpha"])
    worst = kept[int(np.argmax(rejections))]
    assert max(rejections) <= most, worst
    # cells share patients, so their total varies more than a binomial: twice its standard deviation
    n = REPETITIONS * len(kept)
    sd = np.sqrt(n * 0.05 * 0.95)
    assert sum(rejections) <= 0.05 * n + 4 * 2 * sd


@pytest.mark.slow
@pytest.mark.parametrize("row", SEEN)
def test_what_changes_is_seen(study, row):
    """At least 4 of 8: chance .9996 at a power of .9, chance .0004 at a size of .05."""
    for column in SEEN[row]:
        cell = study["matrix"][row][column]
        assert cell["expected"] == CHANGED, (row, column)
        assert cell["mean"] >= 0.5, (row, column, cell["mean"])


@pytest.mark.slow
def test_the_matrix_is_a_record(study):
    assert set(study["matrix"]) == set(EXPECTED) and study["columns"] == COLUMNS
    for _, columns in study["matrix"].items():
        assert set(columns) <= set(COLUMNS)
        for cell in columns.values():
            assert cell["low"] <= cell["mean"] <= cell["high"] and cell["n"] == REPETITIONS
    assert study["alpha"] == 0.05
    kept = [
        cell["n"]
        for columns in study["matrix"].values()
        for cell in columns.values()
        if cell["expected"] == "kept"
    ]
    assert study["size"]["n"] == sum(kept)
