"""The bank of the four questions of steps and units, and each answer obtained once more."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest
import torch

from medxfer_lab.course.exercise import bank_failures
from medxfer_lab.loss_landscape.exercises import (
    first_to_diverge,
    joint_steps,
    same_function_other_units,
    stable_step,
)
from medxfer_lab.loss_landscape.exercises.measures import MEASURES
from medxfer_lab.loss_landscape.exercises.rate_plans import VERDICTS
from medxfer_lab.loss_landscape.theory.descent import descend, two_block_hessian

SEEDS = (0, 1, 2, 3, 42, 2**31)
ROOMS = {
    "stable_step": stable_step,
    "joint_steps": joint_steps,
    "first_to_diverge": first_to_diverge,
    "same_function_other_units": same_function_other_units,
}


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDXFER_HOME", str(tmp_path))


@pytest.mark.parametrize("seed", SEEDS)
def test_every_bank_holds(seed):
    found = [room.exercise(seed) for room in ROOMS.values()]
    assert bank_failures(found, n_right=4, n_wrong=8) == []


def test_what_is_asked():
    found = {name: room.exercise(0) for name, room in ROOMS.items()}
    assert all(exercise.id == name for name, exercise in found.items())
    assert [e.kind for e in found.values()] == ["derivation", "function", "decision", "function"]
    assert len({e.objective for e in found.values()}) == len(found)
    for exercise in found.values():
        assert all(len(hint) > 30 for hint in exercise.hints) and len(set(exercise.hints)) == 3
        assert len(exercise.solution) > 80


@pytest.mark.parametrize("name", ROOMS)
def test_texts_are_well_formed(name):
    for seed in range(4):
        exercise = ROOMS[name].exercise(seed)
        answers = [a.value for a in (*exercise.right, *exercise.wrong)]
        told = [exercise.grade(answer).message for answer in answers]
        for text in (exercise.prompt, *exercise.hints, exercise.solution, *told):
            assert text.count("$") % 2 == 0 and text.count("`") % 2 == 0, text
            assert not re.search(r"\b(ill|sick)\b|\d%", text), text


@pytest.mark.parametrize("name", ROOMS)
def test_a_stub_and_a_wrong_type_are_met_kindly(name):
    exercise = ROOMS[name].exercise(0)
    assert not exercise.check(...).answered
    keys = {"first": "x", "verdict": [], "divide": None}
    odd = (None, object(), {"a": 1}, [], [[1, 2], [3]], "no idea at all", lambda: 1, np.nan, keys)
    parts = {"curvature": lambda h: None, "compare": 3}
    for answer in (*odd, parts, {1: 2}, [None] * 2, [None] * 3, np.zeros((2, 2)), True):
        got = exercise.check(answer)
        assert got.answered and not got.correct and len(got.message) > 20


@pytest.mark.parametrize("name", ROOMS)
def test_another_seed_asks_another_question_and_the_same_the_same(name):
    room = ROOMS[name]
    assert len({room.exercise(seed).prompt for seed in range(8)}) >= 7
    assert str(room.exercise(5)) == str(room.exercise(5))


# Oracles: PyTorch's own optimiser on quadratics, just below and just above the edge.


def _shrinks(hessian, groups, n_steps, **options) -> bool:
    """Whether SGD comes nearer to the minimum, from a random point; in between is an error.

    groups: (indices in order, rate) pairs, one parameter group each.
    """
    h = torch.as_tensor(hessian, dtype=torch.float64)
    theta = torch.as_tensor(np.random.default_rng(1).standard_normal(len(h)))
    first = theta @ h @ theta
    parts = [torch.nn.Parameter(theta[index].clone()) for index, _ in groups]
    rates = [{"params": [p], "lr": rate} for p, (_, rate) in zip(parts, groups)]
    optimiser = torch.optim.SGD(rates, **options)
    for _ in range(n_steps):
        gradient = h @ torch.cat(parts).detach()
        for part, (index, _) in zip(parts, groups):
            part.grad = gradient[index]
        optimiser.step()
    theta = torch.cat(parts).detach()
    left = float((theta @ h @ theta / first).nan_to_num(nan=np.inf))
    assert left < 0.1 or left > 10, f"the loss is {left} times what it was"
    return left < 1


@pytest.mark.parametrize("seed", range(3))
def test_the_stable_step_is_that_of_pytorchs_own_descent(seed):
    """Seeds 0, 1, 2 ask for the three momenta. A hundredth off the edge decides."""
    kind = list(stable_step.MOMENTA)[seed]
    values = stable_step._values(seed, kind)
    names = stable_step.MOMENTA[kind].names
    beta = values["beta"]
    options = {"momentum": beta, "nesterov": "nesterov" in names}
    options["dampening"] = beta if "dampening" in names else 0
    exercise = stable_step.exercise(seed)
    edge = exercise.right[0].value
    curved = np.diag([values["lam"], values["lam"] / 3])
    for factor, stays in ((0.99, True), (1.01, False)):
        assert _shrinks(curved, [([0, 1], factor * edge)], 300, **options) == stays


@pytest.mark.parametrize("seed", range(3))
def test_joint_rates_by_walking(seed):
    """The share of the loss that `excess_after` states is met by a walk, and never exceeded."""
    a, b, *_ = joint_steps._blocks(seed)
    rng = np.random.default_rng(seed)
    for coupling, shares in itertools.product(joint_steps.COUPLINGS, ((0.45, 0.45), (0.7, 0.5))):
        rates = 2 * np.array(shares) / (a, b)
        h, root = two_block_hessian(a, b, coupling), np.sqrt(rates)
        _, directions = np.linalg.eigh(root[:, None] * h * root)
        starts = root * np.vstack([directions.T, rng.standard_normal((4, 2))])
        left = []
        for start in starts:
            path = descend(h, np.zeros(2), rates, 12, start=start)
            loss = np.einsum("ti,ij,tj->t", path, h, path)
            if loss[0] > 1e-9 * (a + b) * (start @ start):  # not a direction that no loss sees
                left.append(loss[-1] / loss[0])
        stated = joint_steps.excess_after(a, b, rates, coupling, 12)
        assert max(left) == pytest.approx(stated, rel=1e-6)


def test_joint_rates_pass_just_where_the_shares_leave_room():
    exercise = joint_steps.exercise(0)
    a, b, *_ = joint_steps._blocks(0)
    for p, q in itertools.product(np.arange(0.1, 1.05, 0.1), repeat=2):
        got = exercise.check((2 * p / a, 2 * q / b))
        if p + q > 0.995:
            assert not got.correct
        if p + q < 0.95 and min(p, q) > 0.15:
            assert got.correct, (p, q, got)
    assert not exercise.check(2 / (a + b) * np.ones(2)).correct


def _coupled(plan, alike: bool) -> np.ndarray:
    """A Hessian with the plan's curvatures: two parameters a block, blocks alike or uncoupled."""
    n = len(plan.curvature)
    if not alike:
        return np.diag(np.stack([plan.curvature, plan.curvature / 5], 1).ravel())
    jacobian = np.zeros((2, 2 * n))
    jacobian[0, ::2] = np.sqrt(plan.curvature)
    jacobian[1, 1::2] = np.sqrt(plan.curvature / 5)
    return jacobian.T @ jacobian


@pytest.mark.parametrize("seed", range(8))
def test_the_first_to_diverge_by_descending(seed):
    """Uncoupled blocks and blocks that move the outputs alike, by PyTorch's own descent."""
    plan = first_to_diverge._plan(seed)
    exercise = first_to_diverge.exercise(seed)

    def shrinks(hessian, rates):
        groups = [([2 * b, 2 * b + 1], rate) for b, rate in enumerate(rates)]
        return _shrinks(hessian, groups, 200, momentum=plan.momentum)

    apart, alike = _coupled(plan, False), _coupled(plan, True)
    together = {shrinks(apart, plan.rate), shrinks(alike, plan.rate)}
    verdict = {(True,): "safe", (False,): "diverges"}.get(tuple(together), "depends")
    top = np.sort(plan.shares)[-2:]
    raised = plan.rate / np.sqrt(top.prod())  # between the first two edges
    pairs = [slice(2 * b, 2 * b + 2) for b in range(5)]
    alone = [shrinks(apart[k, k], [rate]) for k, rate in zip(pairs, raised)]
    assert alone.count(False) == 1
    first = first_to_diverge.BLOCKS[alone.index(False)]
    divide = exercise.right[1].value[2]
    assert shrinks(alike, plan.rate / divide * 0.98)
    assert not shrinks(alike, plan.rate / divide * 1.02)
    assert exercise.check([first, verdict, divide]).correct


def test_the_seeds_vary_the_answer():
    plans = [first_to_diverge._plan(seed) for seed in range(40)]
    assert {p.verdict for p in plans} == set(VERDICTS)
    assert len({p.first for p in plans}) >= 3
    fresh = [p for p in plans if "fresh" in p.story]
    assert all(p.first == "head" and p.curvature.argmax() == 4 for p in fresh)
    others = [p for p in plans if "fresh" not in p.story]
    assert all(p.curvature.argmax() < 4 for p in others)
    assert any(p.curvature[first_to_diverge.BLOCKS.index(p.first)] < p.curvature.max()
               for p in others)  # fmt: skip


# Units: a network with a normalised layer, differentiated by autograd before and after.

WEIGHTS = 3  # of the normalised layer; then two more


_X = torch.randn(12, WEIGHTS, generator=torch.Generator().manual_seed(3)).double()
_Y = (_X[:, 0] + _X[:, 1].square() > 0.8).double()


def _toy_loss(theta):
    """Mean log loss of v_0 tanh(x . w/|w|) + v_1 over twelve fixed examples; w may be rescaled."""
    w, v = theta[:WEIGHTS], theta[WEIGHTS:]
    logit = v[0] * torch.tanh(_X @ (w / w.norm())) + v[1]
    return torch.nn.functional.binary_cross_entropy_with_logits(logit, _Y)


def _noisy(theta, relative) -> float:
    noise = torch.randn(2000, len(theta), generator=torch.Generator().manual_seed(5)).double()
    moved = theta * (1 + 0.01 * noise) if relative else theta + 0.01 * noise
    both = torch.cat([moved, 2 * theta - moved])
    return float(torch.vmap(_toy_loss)(both).mean() - _toy_loss(theta))


def _measured(theta) -> dict[str, float]:
    h = torch.func.hessian(_toy_loss)(theta).numpy()
    t = np.abs(theta.numpy())
    s = np.linalg.eigvalsh(h)
    return {
        "trace": np.trace(h),
        "top": s[-1],
        "noise": _noisy(theta, False),
        "condition": s[-1] / np.abs(s).min(),
        "norm-times-top": (t @ t) * s[-1],
        "gradient": np.linalg.norm(torch.func.grad(_toy_loss)(theta).numpy()),
        "relative-trace": t**2 @ np.diag(h),
        "relative-top": np.linalg.eigvalsh(t[:, None] * h * t)[-1],
        "relative-noise": _noisy(theta, True),
        "descents": (s < -1e-9).sum(),
    }


def test_what_survives_other_units_by_autograd():
    theta = torch.tensor([0.7, -0.4, 0.5, 1.2, 0.3], dtype=torch.float64)
    factor = 0.2
    scale = torch.ones(5, dtype=torch.float64)
    scale[:WEIGHTS] = factor
    before, after = (torch.func.hessian(_toy_loss)(x).numpy() for x in (theta, scale * theta))
    claimed = same_function_other_units.rescaled_hessian(before, np.arange(WEIGHTS), factor)
    np.testing.assert_allclose(claimed, after, rtol=1e-9, atol=1e-12)
    first, second = _measured(theta), _measured(scale * theta)
    assert first["descents"] > 0
    for measure in MEASURES:
        a, b = first[measure.key], second[measure.key]
        assert (a == pytest.approx(b, rel=1e-6)) == measure.kept, measure.key


def test_every_choice_of_measures_is_answered():
    exercise = same_function_other_units.exercise(1)
    *_, measures = same_function_other_units._numbers(1)
    kept = {k for k, m in zip("abcdef", measures) if m.kept}
    for size in range(7):
        for picked in itertools.combinations("abcdef", size):
            got = exercise.grade([same_function_other_units.rescaled_hessian, set(picked)])
            assert got.correct == (set(picked) == kept)
