"""The two follow-ups that decide no claim: longer training, distances at one learning rate."""

from __future__ import annotations

import numpy as np
import pytest

from medxfer_lab.bias_variance.claims import CLAIMS
from medxfer_lab.bias_variance.experiment import distance, longer, networks
from medxfer_lab.bias_variance.experiment import material as m
from medxfer_lab.course.record import records


def watched(runner):
    kept: dict[str, dict] = {}

    def watching(jobs, function):
        kept.update(found := runner(jobs, function))
        return found

    return kept, watching


def test_longer_trains_as_long_as_it_says_and_pairs_the_lead(runner, monkeypatch, as_record):
    asked = []
    original = networks.train

    def train(*arguments, steps):
        asked.append((arguments[2], steps))
        return original(*arguments, steps=steps)

    monkeypatch.setattr(networks, "train", train)
    kept, watching = watched(runner)
    parameters = {"sets": 3, "sizes": [16], "steps": [2, 4], "n_test": 40}
    results = longer.run(parameters, watching)
    assert sorted(asked) == sorted([(s, c) for s in longer.STRATEGIES for c in (2, 4)] * 3)
    for i, count in enumerate((2, 4)):
        cell = results["16"][str(count)]
        grids = {s: [kept[f"set-00{k}"][s][i, 0] for k in range(3)] for s in longer.STRATEGIES}
        for s, scores in grids.items():
            assert cell[s]["mean"] == pytest.approx(np.mean(scores))
        lead = np.subtract(grids["full_fine_tuning"], grids["scratch"])
        assert cell["lead"]["mean"] == pytest.approx(lead.mean())
        half = (cell["lead"]["high"] - cell["lead"]["low"]) / 2
        # Student's t with two degrees of freedom
        assert half == pytest.approx(4.302653 * lead.std(ddof=1) / np.sqrt(3), rel=1e-5)
    as_record(longer, parameters, results)


def test_distance_uses_one_rate_for_all_and_keeps_every_set(runner, monkeypatch, as_record):
    asked = []

    class Done:
        def __init__(self, value):
            self.matched_distance = value

    def train(pictures, labels, name, settings, kind, seed):
        asked.append((name, len(pictures), settings["learning_rate"], kind, seed))
        unmatched = seed == 1 and len(pictures) == 8
        return Done(None if unmatched else len(pictures) / 100 + seed / 1000)

    monkeypatch.setattr(networks, "train", train)
    _, watching = watched(runner)
    parameters = {"sets": 3, "sizes": [8, 16]}
    results = distance.run(parameters, watching)
    assert {rate for _, _, rate, _, _ in asked} == {distance.SETTINGS["learning_rate"]}
    assert {kind for *_, kind, _ in asked} == {"lesion"} and len(asked) == 12
    for name in distance.STRATEGIES:
        few, many = results[name]["8"], results[name]["16"]
        assert few["matched_sets"] == pytest.approx([0.08, -1, 0.082])
        assert few["matched_reached"] == 2 and "matched_distance" not in few
        assert many["matched_reached"] == 3
        assert many["matched_distance"]["mean"] == pytest.approx(0.161)
    as_record(distance, parameters, results)


def test_a_real_run_of_distance_is_relative_to_the_start(monkeypatch):
    """With a bound that every network meets, the distance at the 25th step is reported."""
    monkeypatch.setattr(networks, "steps_for", lambda n: 25)
    monkeypatch.setattr(networks, "MATCH_LOSS", 1e9)
    found = distance.training_job(0, [16])
    drawn = m.cohort(16, m.TRAINING_SEED)
    for name in distance.STRATEGIES:
        done = networks.train(m.images(drawn), drawn.labels, name, distance.SETTINGS, "lesion", 0)
        assert found[name][0] == pytest.approx(done.distance, rel=1e-3) and done.distance > 0


def test_follow_ups_decide_no_claim():
    """Added after the first look, they may be quoted; verdict and effect must not hang on them."""
    found = records("bias_variance")
    without = {n: r for n, r in found.items() if r.experiment not in (longer.NAME, distance.NAME)}
    assert len(without) < len(found)
    for claim in CLAIMS:
        a, b = claim.verdict(found), claim.verdict(without)
        assert (a.verdict, a.effect, a.low, a.high) == (b.verdict, b.effect, b.low, b.high)
