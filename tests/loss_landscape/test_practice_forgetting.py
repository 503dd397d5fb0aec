"""The bank of the four questions of forgetting, and each answer obtained once more, another way."""

from __future__ import annotations

import itertools
import re
from dataclasses import asdict

import numpy as np
import pytest
import torch
from scipy import optimize

from medxfer_lab.course.exercise import bank_failures
from medxfer_lab.loss_landscape.exercises import (
    ewc_closed_form,
    ewc_from_bayes,
    fisher_bugs,
    forgetting_forecast,
    importances,
)
from medxfer_lab.loss_landscape.theory.consolidation import (
    empirical_importance,
    model_importance,
)
from medxfer_lab.loss_landscape.theory.forgetting import LogisticTask

SEEDS = (0, 1, 2, 42, 2**31)
ROOMS = {
    "forgetting_forecast": forgetting_forecast,
    "ewc_from_bayes": ewc_from_bayes,
    "ewc_closed_form": ewc_closed_form,
    "fisher_bugs": fisher_bugs,
}


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDXFER_HOME", str(tmp_path))


@pytest.mark.parametrize("seed", SEEDS)
def test_every_bank_holds(seed):
    found = [room.exercise(seed) for room in ROOMS.values()]
    assert bank_failures(found, n_right=4, n_wrong=10) == []


def test_what_is_asked():
    found = {name: room.exercise(0) for name, room in ROOMS.items()}
    assert all(exercise.id == name for name, exercise in found.items())
    assert [e.kind for e in found.values()] == ["function", "derivation", "function", "bug"]
    assert len({e.objective for e in found.values()}) == len(found)
    for exercise in found.values():
        assert all(len(hint) > 30 for hint in exercise.hints) and len(set(exercise.hints)) == 3
        assert len(exercise.solution) > 80


@pytest.mark.parametrize("name", ROOMS)
def test_a_stub_and_a_wrong_type_are_met_kindly(name):
    exercise = ROOMS[name].exercise(0)
    assert not exercise.check(...).answered
    odd = (None, object(), {"a": 1}, [], [[1, 2], [3]], "no idea at all", lambda: 1, np.nan, True)
    parts = ({"fisher": 3, "factor": 4}, {"fisher": importances.fisher, "factor": "many"})
    for answer in (*odd, *parts, [None] * 2, np.zeros((2, 2))):
        got = exercise.check(answer)
        assert got.answered and not got.correct and len(got.message) > 20


@pytest.mark.parametrize("name", ROOMS)
def test_another_seed_asks_another_question_and_the_same_the_same(name):
    room = ROOMS[name]
    assert len({room.exercise(seed).prompt for seed in range(8)}) >= 7
    assert str(room.exercise(5)) == str(room.exercise(5))
    assert room.exercise(5).solution == room.exercise(5).solution


@pytest.mark.parametrize("name", ["forgetting_forecast", "ewc_closed_form", "fisher_bugs"])
def test_the_code_of_the_solution_is_right(name):
    exercise, room = ROOMS[name].exercise(0), {}
    exec(re.search(r"```python\n(.*?)```", exercise.solution, re.DOTALL)[1], {"np": np}, room)
    (function,) = room.values()
    answer = [function, exercise.right[0].value["factor"]] if name == "fisher_bugs" else function
    assert exercise.check(answer).correct


# Forgetting.


def test_the_forecast_by_automatic_differentiation():
    """A loss that is no quadratic: what the forecast leaves out shrinks like the third power."""
    generator = torch.Generator().manual_seed(0)
    x, weights = (torch.randn(n, 3, generator=generator, dtype=torch.float64) for n in (20, 1))
    start, way = weights[0], torch.tensor([0.3, -0.5, 0.4], dtype=torch.float64)

    def loss(theta):
        return torch.log1p(torch.exp(x @ theta)).mean() + torch.sin(theta).sum()

    gradient = torch.autograd.functional.jacobian(loss, start).numpy()
    hessian = torch.autograd.functional.hessian(loss, start).numpy()
    errors = []
    for scale in (0.2, 0.1):
        delta = scale * way
        told = forgetting_forecast.forecast(gradient, hessian, None, None, delta.numpy())
        errors.append(abs(told - float(loss(start + delta) - loss(start))))
    assert errors[0] < 2e-3 and 7 < errors[0] / errors[1] < 9  # 2^3, and a little fourth order


@pytest.mark.parametrize("seed", range(5))
def test_the_prompt_of_the_forecast_tells_the_truth(seed):
    """Both losses fall along the way; their quadratics are written out entry by entry."""
    case = forgetting_forecast._case(seed)

    def rise(g, H):
        d = case.delta
        squares = (H[0, 0] * d[0] ** 2 + 2 * H[0, 1] * d[0] * d[1] + H[1, 1] * d[1] ** 2) / 2
        return g[0] * d[0] + g[1] * d[1] + squares

    prompt = forgetting_forecast.exercise(seed).prompt
    told = float(re.search(r"measured rise is (-?[\d.]+\d)\.", prompt)[1])
    assert told == pytest.approx(rise(case.old_gradient, case.old_hessian), abs=5.1e-5)
    assert told < 0 > rise(case.new_gradient, case.new_hessian)
    room = {}
    for line in re.findall(r"- `(\w+ = .*)`", prompt):
        exec(line, {"np": np}, room)
    assert list(room) == list(asdict(case))
    assert forgetting_forecast.forecast(**room) == pytest.approx(told, abs=5.1e-5)


def test_where_a_forecast_first_goes_wrong_is_shown():
    grade = forgetting_forecast.exercise(0).check

    def at_minima_only(old_gradient, old_hessian, new_gradient, new_hessian, delta):
        return delta @ old_hessian @ delta / 2 if not old_gradient.any() else 0.0

    got = grade(at_minima_only)
    assert got.diagnosis == "unknown" and "the answer should be" in got.message
    assert grade(lambda g, H, d: g @ d + d @ H @ d / 2).diagnosis == "raises"
    assert grade(lambda g, H, gn, Hn, d: H @ d).diagnosis == "vector"


# EWC from Bayes' rule.


@pytest.mark.parametrize("seed", range(4))
def test_the_strength_is_that_of_both_hospitals_at_once(seed):
    """A mean of normal data, where nothing is approximate: the minimum of the penalised loss is the
    posterior mean of all patients. F = 1/variance of an observation, the prior is centred at 0."""
    case = ewc_from_bayes._case(seed)
    rng = np.random.default_rng(seed)
    spread = case.F**-0.5
    old, new = (2 + spread * rng.standard_normal(n) for n in (case.n_old, case.n_new))
    total = case.F * (case.n_old + case.n_new) + case.P
    everything = case.F * (old.sum() + new.sum()) / total
    start = case.F * old.sum() / (case.F * case.n_old + case.P)
    strength = ewc_from_bayes.exercise(seed).right[5].value
    penalty = strength / 2 if case.halved else strength

    def loss(theta):
        return case.F * np.mean((new - theta) ** 2) / 2 + penalty * (theta - start) ** 2

    tuned = optimize.minimize_scalar(loss, bracket=(0, 4)).x
    assert tuned == pytest.approx(everything, abs=1e-6)
    assert abs(new.mean() - everything) > 1e-3  # so the penalty has something to do


def test_every_slip_of_the_strength_is_known_in_words_and_in_numbers():
    for seed in (0, 1):
        case, exercise = ewc_from_bayes._case(seed), ewc_from_bayes.exercise(seed)
        assert case.halved == (seed == 0) == ("\\frac{c}{2}" in exercise.prompt)
        for slip in ewc_from_bayes._mistakes(case):
            value = ewc_from_bayes.evaluate(slip.value, case)
            for answer in (slip.value, value, f"{value:.4g}"):
                assert exercise.check(answer).diagnosis == slip.diagnosis
        assert exercise.check(-exercise.right[5].value).diagnosis == "sign"


# EWC between quadratic valleys.


def test_the_minimum_by_searching_it():
    rng = np.random.default_rng(3)
    for _ in range(8):
        x = ewc_closed_form.draw(rng)

        def loss(theta, x=x):
            new, old = theta - x["new_optimum"], theta - x["old_optimum"]
            return new @ x["new_hessian"] @ new / 2 + x["strength"] / 2 * (
                old @ x["importance"] @ old
            )

        found = optimize.minimize(loss, np.zeros(len(x["new_optimum"])), tol=1e-10).x
        np.testing.assert_allclose(ewc_closed_form._reference(**x), found, atol=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_the_prompt_of_the_valleys_tells_the_truth(seed):
    prompt, room = ewc_closed_form.exercise(seed).prompt, {}
    for line in re.findall(r"- `(\w+ = .*)`", prompt):
        exec(line, {"np": np}, room)
    told = [float(v) for v in re.search(r"EWC ends at \((.*?)\)", prompt)[1].split(",")]
    h, s = room["new_hessian"], room["strength"] * room["importance"]
    pull = h @ (np.array(told) - room["new_optimum"]) + s @ (np.array(told) - room["old_optimum"])
    # rounded to 0.005 in both entries
    assert np.all(abs(pull) <= 0.0051 * abs(h + s).sum(axis=1))


# Importances.


@pytest.mark.parametrize("seed", range(3))
def test_importances_of_a_logistic_task(seed):
    rng = np.random.default_rng(seed)
    x, y, theta = rng.standard_normal((30, 4)), rng.integers(0, 2, 30), rng.standard_normal(4)
    task = LogisticTask(x, y)
    p = task.probabilities(theta)
    gradients = np.stack([p[:, None] * x, (p - 1)[:, None] * x], axis=1)
    found = importances.fisher(gradients, p, y)
    np.testing.assert_allclose(found, model_importance(task, theta))
    np.testing.assert_allclose(found, np.diag(task.hessian(theta)))
    (slip,) = [m for m in importances.slips() if m.diagnosis == "data-labels"]
    np.testing.assert_allclose(slip.value(gradients, p, y), empirical_importance(task, theta))


def test_a_batch_makes_importances_as_many_times_smaller():
    """Expectation over all 2^b labellings of a batch, exactly."""
    found = importances.draw(np.random.default_rng(2))
    gradients, p = found["gradients"], found["probabilities"]
    b, expected = len(p), 0.0
    for labels in itertools.product((0, 1), repeat=b):
        chance = np.prod([q if y else 1 - q for q, y in zip(p, labels, strict=True)])
        expected += chance * gradients[np.arange(b), labels].mean(axis=0) ** 2
    np.testing.assert_allclose(importances.fisher(gradients, p, None), b * expected)


def test_every_slip_of_importances_is_known():
    exercise = fisher_bugs.exercise(1)
    batch = exercise.right[0].value["factor"]
    for slip in importances.slips():
        got = exercise.check({"fisher": slip.value, "factor": batch})
        assert got.diagnosis == slip.diagnosis and got.message == slip.message
    both_wrong = {"fisher": importances.slips()[0].value, "factor": 1}
    assert exercise.check(both_wrong).diagnosis == "batch-mean"
    unknown = {"fisher": importances.fisher, "factor": 1.5 * batch}
    assert exercise.check(unknown).diagnosis == "unknown"
    assert exercise.check({"fisher": importances.fisher, "factor": ...}).answered is False
