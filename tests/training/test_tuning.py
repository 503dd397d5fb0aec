"""Equal tuning budgets: who wins, who may not play."""

from __future__ import annotations

import numpy as np
import pytest

from medxfer_lab.training import tune


def table(seed: int = 0) -> dict[tuple[str, int, int], float]:
    """Loss of (strategy, setting, draw)."""
    rng = np.random.default_rng(seed)
    return {(s, c, d): rng.random() for s in ("a", "b") for c in range(4) for d in (7, 8, 9)}


def candidates(n: int = 4) -> dict[str, list[dict]]:
    return {s: [{"rate": c} for c in range(n)] for s in ("a", "b")}


@pytest.mark.parametrize("seed", range(5))
def test_lowest_mean_over_the_draws_wins(seed):
    losses = table(seed)
    chosen = tune(candidates(), lambda s, c, d: losses[s, c["rate"], d], (7, 8, 9), budget=4)
    for strategy in ("a", "b"):
        means = [np.mean([losses[strategy, c, d] for d in (7, 8, 9)]) for c in range(4)]
        choice = chosen[strategy]
        assert choice.settings == {"rate": int(np.argmin(means))}
        assert choice.loss == pytest.approx(min(means))
        assert [t[0] for t in choice.trials] == [{"rate": c} for c in range(4)]
        assert [t[1] for t in choice.trials] == pytest.approx(means)


def test_every_trial_is_made_once_on_every_draw():
    calls = []

    def evaluate(strategy, settings, draw):
        calls.append((strategy, settings["rate"], draw))
        return 0.0

    tune(candidates(), evaluate, ("x", "y"), budget=4)
    assert sorted(calls) == sorted((s, c, d) for s in "ab" for c in range(4) for d in "xy")


def test_ties_go_to_the_earlier_candidate():
    chosen = tune(candidates(), lambda s, c, d: [3.0, 1.0, 1.0, 2.0][c["rate"]], [0], budget=4)
    assert chosen["a"].settings == {"rate": 1}


def test_settings_cannot_be_changed_by_the_trial():
    given = candidates()

    def meddling(strategy, settings, draw):
        settings["rate"] = -1
        return 0.0

    chosen = tune(given, meddling, [0], budget=4)
    assert given == candidates() and chosen["b"].settings == {"rate": 0}


@pytest.mark.parametrize(
    "settings", [[{"rate": 1}], [{"rate": 1}, {"rate": 1}], [{"rate": r} for r in range(3)]]
)
def test_unequal_budgets_are_refused_before_anything_is_trained(settings):
    calls = []
    with pytest.raises(ValueError, match="'b' has . different settings for a budget of 2 trials"):
        tune(
            {"a": [{"rate": 1}, {"rate": 2}], "b": settings},
            lambda *call: calls.append(call) or 0.0,
            [0],
            budget=2,
        )
    assert not calls


def test_tuning_needs_draws():
    with pytest.raises(ValueError, match="draws is empty; tuning needs at least one draw"):
        tune(candidates(), lambda *_: 0.0, [], budget=4)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_trial_that_diverged_once_cannot_win(bad):
    """Not even as the first candidate, nor if it was best on the other draws."""
    losses = {(0, 7): bad, (0, 8): 0.0, (1, 7): 0.9, (1, 8): 0.8}
    chosen = tune(
        {"a": [{"rate": 0}, {"rate": 1}]}, lambda s, c, d: losses[c["rate"], d], (7, 8), budget=2
    )["a"]
    assert chosen.settings == {"rate": 1} and chosen.loss == pytest.approx(0.85)
    assert chosen.trials[0][1] == float("inf") and chosen.record()["trials"][0]["loss"] is None
    with pytest.raises(ValueError, match="every trial of 'a' diverged .*smaller learning rates"):
        tune({"a": [{"rate": 0}]}, lambda s, c, d: bad, (7,), budget=1)


def test_draws_that_tune_are_not_reported():
    with pytest.raises(ValueError, match=r"draws \[8\] are to tune and to be reported"):
        tune(candidates(), lambda s, c, d: 0.0, (7, 8), budget=4, reported=(8, 9))


def test_the_edge_of_what_was_tried_is_said():
    def choose(best, kind=float):
        settings = [{"rate": kind(r), "mode": "x"} for r in (1, 2, 3)]
        return tune({"a": settings}, lambda s, c, d: abs(float(c["rate"]) - best), (7,), budget=3)[
            "a"
        ]

    assert choose(1).at_the_edge and choose(3).at_the_edge and not choose(2).at_the_edge
    assert not choose(3, kind=str).at_the_edge  # words have no edge
    assert choose(2).record() == {
        "settings": {"rate": 2.0, "mode": "x"},
        "loss": 0.0,
        "at_the_edge": False,
        "trials": [
            {"settings": {"rate": r, "mode": "x"}, "loss": abs(r - 2.0)} for r in (1.0, 2.0, 3.0)
        ],
    }
