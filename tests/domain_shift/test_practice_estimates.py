"""The bank of the four questions of estimates, and each answer obtained once more, another way."""

from __future__ import annotations

import re
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize
from scipy.stats import norm

from medxfer_lab.course.exercise import bank_failures
from medxfer_lab.course.values import number
from medxfer_lab.domain_shift.exercises import (
    effective_sample_size,
    em_bug,
    prior_correction,
    threshold_with_costs,
)
from medxfer_lab.domain_shift.exercises.several import several

SEEDS = (0, 1, 2, 3, 7, 11, 42, 1234, 2**31)
ROOMS = {
    "prior_correction": prior_correction,
    "threshold_with_costs": threshold_with_costs,
    "effective_sample_size": effective_sample_size,
    "em_bug": em_bug,
}


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDXFER_HOME", str(tmp_path))


@pytest.mark.parametrize("seed", SEEDS)
def test_every_bank_holds(seed):
    found = [room.exercise(seed) for room in ROOMS.values()]
    assert bank_failures(found, n_right=3, n_wrong=5) == []


def test_what_is_asked():
    found = {name: room.exercise(0) for name, room in ROOMS.items()}
    assert all(exercise.id == name for name, exercise in found.items())
    assert len({exercise.objective for exercise in found.values()}) == len(found)
    assert [e.kind for e in found.values()] == ["number", "number", "number", "bug"]
    for exercise in found.values():
        assert all(len(hint) > 30 for hint in exercise.hints) and len(set(exercise.hints)) == 3
        assert len(exercise.solution) > 80 and exercise.objective and exercise.prompt


@pytest.mark.parametrize("name", ROOMS)
def test_a_stub_and_a_wrong_type_are_met_kindly(name):
    exercise = ROOMS[name].exercise(0)
    assert not exercise.check(...).answered
    odd = (None, object(), {"a": 1}, [], [[1, 2], [3]], "no idea at all", lambda: 1, np.nan)
    for answer in odd:
        got = exercise.check(answer)
        assert got.answered and not got.correct and len(got.message) > 20


@pytest.mark.parametrize("name", ROOMS)
def test_another_seed_asks_another_question_and_the_same_the_same(name):
    room = ROOMS[name]
    assert len({room.exercise(seed).prompt for seed in range(8)}) >= 7
    assert str(room.exercise(5)) == str(room.exercise(5))


def test_several_numbers_name_the_first_that_is_wrong():
    checks = {"a": number(0.25, praise="", percent=True), "b": number(3.0, praise="")}
    grade = several(checks, praise="Both.")
    for answer in ([0.25, 3], {"b": 3, "a": "1/4"}, np.array([0.25, 3.0]), ("25 %", 3)):
        assert grade(answer).correct and grade(answer).message == "Both."
    assert grade([25, -3]).diagnosis == "percent" and "`a`" in grade([25, -3]).message
    assert grade([0.25, -3]).diagnosis == "sign" and "`b`" in grade([0.25, -3]).message
    assert grade([0.25]).diagnosis == "shape"
    for answer in ({"a": 1}, {"a": 1, "c": 2}, 0.25, "ab", np.eye(2)):
        assert grade(answer).diagnosis == "wrong-type"


# Oracles: each answer is obtained once more, by another way.


@pytest.mark.parametrize("seed", range(6))
def test_corrected_probabilities_from_the_densities(seed):
    """An image is placed by its probability at the source, then judged by Bayes' rule anew."""
    case = prior_correction._case(seed)
    pi, rho, p = case.source_prevalence, case.target_prevalence, case.probabilities
    distance = 1.5
    x = (np.log(p / (1 - p)) - np.log(pi / (1 - pi))) / distance + distance / 2
    ill, healthy = norm.pdf(x, distance), norm.pdf(x)
    np.testing.assert_allclose(pi * ill / (pi * ill + (1 - pi) * healthy), p)
    again = rho * ill / (rho * ill + (1 - rho) * healthy)
    exercise = prior_correction.exercise(seed)
    assert exercise.check(again).correct
    np.testing.assert_allclose(exercise.right[0].value, again)


def test_both_ways_of_giving_the_output_occur():
    prompts = [prior_correction.exercise(seed).prompt for seed in range(8)]
    assert 0 < sum("log odds" in prompt for prompt in prompts) < 8


@pytest.mark.parametrize("seed", range(6))
def test_the_threshold_by_trying_them_all(seed):
    """Hours lost per patient screened, for twenty thousand thresholds on the old probability."""
    case = threshold_with_costs._case(seed)
    distance = np.sqrt(2) * norm.ppf(threshold_with_costs.AUC)
    t = np.linspace(0, 1, 20_001)[1:-1]
    pi, rho = case.source_prevalence, threshold_with_costs.TARGET_PREVALENCE
    x = (np.log(t / (1 - t)) - np.log(pi / (1 - pi))) / distance + distance / 2
    sensitivity, specificity = norm.sf(x, distance), norm.cdf(x)
    missed = rho * (1 - sensitivity) * case.false_negative
    lost = missed + (1 - rho) * (1 - specificity) * case.false_positive
    best = lost.argmin()
    rates = [round(float(r[best]), 2) for r in (sensitivity, specificity)]
    assert list(case.rates) == pytest.approx(rates, abs=0.011)  # two roundings apart at most
    said = [Fraction(str(rate)) for rate in case.rates]
    true, false = 200 * said[0], 9800 * (1 - said[1])  # of 10,000 screened
    exercise = threshold_with_costs.exercise(seed)
    assert exercise.check([float(t[best]), float(true / (true + false))]).correct
    assert exercise.right[0].value[0] == pytest.approx(float(t[best]), abs=2e-4)


@pytest.mark.parametrize("seed", range(6))
def test_effective_size_scan_by_scan(seed):
    case = effective_sample_size._case(seed)

    def weights(counts):
        return np.concatenate(
            [
                np.full(n_k, q_k * counts.sum() / n_k)
                for n_k, q_k in zip(counts, case.target, strict=True)
            ]
        )

    first, second = weights(case.counts), weights(case.second)
    assert first.sum() == pytest.approx(case.n) and len(second) == case.n
    sizes = [w.sum() ** 2 / (w**2).sum() for w in (first, second)]
    answer = [sizes[0], sizes[0] / case.n, sizes[1], case.target[0]]
    exercise = effective_sample_size.exercise(seed)
    assert exercise.check(answer).correct
    np.testing.assert_allclose(exercise.right[2].value, answer)


def test_a_weighted_mean_is_as_uncertain_as_the_effective_size_says():
    """Variance of 20,000 weighted means: relative standard error sqrt(2/20000) = 1 %; 4 of them."""
    case = effective_sample_size._case(0)
    rng = np.random.default_rng(0)
    share = np.repeat(case.target / case.counts, case.counts)
    means = np.concatenate([rng.standard_normal((1000, case.n)) @ share for _ in range(20)])
    effective = effective_sample_size.exercise(0).right[0].value[0]
    assert 1 / means.var() == pytest.approx(effective, rel=0.04)


def test_the_formula_is_silent_when_the_supports_part():
    """What the praise says: with the heavy scans gone the formula counts all Corvid scans."""
    case = effective_sample_size._case(0)
    exercise = effective_sample_size.exercise(0)
    corvid = case.counts[0] + case.counts[1]
    left = np.concatenate([np.full(corvid, case.target[0] / corvid), np.zeros(case.counts[2])])
    silent = left.sum() ** 2 / (left**2).sum()
    said = exercise.check(exercise.right[0].value).message
    assert int(re.search(r"formula says (\d+)", said)[1]) == round(silent) == corvid


def test_em_by_searching_the_likelihood():
    rng = np.random.default_rng(5)
    for _ in range(12):
        found = em_bug.draw(rng)
        p, prior = found["probabilities_target"], found["probabilities_source"].mean()

        def loss(rho, p=p, prior=prior):
            return -np.log(rho * p / prior + (1 - rho) * (1 - p) / (1 - prior)).mean()

        best = optimize.minimize_scalar(loss, bounds=(0, 1), options={"xatol": 1e-9}).x
        assert em_bug.em(**found) == pytest.approx(best, abs=em_bug.TOLERANCE / 4)


def test_the_mended_function_finds_the_prevalence_and_the_bug_does_not():
    """Mean error over 40 pairs of hospitals, against its own standard error."""
    rng = np.random.default_rng(6)
    errors = {em_bug.em: [], em_bug.em_of_labels: []}
    for _ in range(40):
        found = em_bug._hospitals(rng, 0.4)
        for estimate, values in errors.items():
            values.append(estimate(**found) - 0.4)
    z = {f: np.mean(v) / (np.std(v, ddof=1) / np.sqrt(40)) for f, v in errors.items()}
    assert abs(z[em_bug.em]) < 4 and np.mean(errors[em_bug.em_of_labels]) < -0.1
    assert z[em_bug.em_of_labels] < -4


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0.01, 0.99), min_size=2, max_size=30))
def test_where_nothing_shifts_nothing_is_corrected(values):
    p = np.array(values)
    assert em_bug.em(p, p, np.ones(3)) == pytest.approx(p.mean(), rel=1e-9)


def test_the_code_of_prompt_and_solution_runs():
    exercise, room = em_bug.exercise(0), {}
    for text, diagnosis in ((exercise.prompt, "label-counts"), (exercise.solution, "right")):
        code = re.search(r"```python\n(.*?)```", text, re.DOTALL)[1]
        exec(code, {"np": np}, room)
        assert exercise.check(room["em"]).diagnosis == diagnosis


def test_what_else_learners_write_for_em():
    grade = em_bug.exercise(0).check

    def only_the_start(probabilities_target, probabilities_source, labels_source):
        prior = np.mean(labels_source)
        start = np.mean(probabilities_source)
        return em_bug._iterate(probabilities_target, prior, start=start)

    def clipped_in_the_loop(p, s, y):
        prior = q = s.mean()
        for _ in range(300):
            q = np.clip(np.mean(em_bug._posterior(p, prior, q)), 0.1, 0.9)
        return q

    def many_steps_guarded(p, s, y):
        prior = q = s.mean()
        for _ in range(1000):
            q = np.clip(np.mean(em_bug._posterior(p, prior, q)), 1e-6, 1 - 1e-6)
        return np.array([q])

    def prior_of_the_target(p, s, y):
        return em_bug._iterate(p, p.mean())

    assert grade(only_the_start).diagnosis == "label-counts"
    assert grade(clipped_in_the_loop).diagnosis == "clipped"
    assert grade(prior_of_the_target).diagnosis == "one-step"
    assert grade(many_steps_guarded).correct
    assert grade(lambda p, s, y: 0.3).diagnosis == "unknown"
    assert grade(lambda p, s, y: np.nan).diagnosis == "unknown"
    assert grade(lambda p: p.mean()).diagnosis == "raises"
