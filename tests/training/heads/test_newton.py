"""Newton's method: its pieces against brute force, and a hard set among easy ones."""

from __future__ import annotations

import pytest
import torch

from medxfer_lab.training.heads.gram import Gram, gram
from medxfer_lab.training.heads.kernel import KernelLogistic, KernelSoftmax
from medxfer_lab.training.heads.logistic import probe
from medxfer_lab.training.heads.newton import minimise, probabilities
from medxfer_lab.training.heads.primal import PrimalSystem
from tests.training.heads.sets_for_tests import gradient, problem


def systems(x, classes):
    kernel = KernelLogistic if classes == 1 else KernelSoftmax
    return {"kernel": kernel(Gram(gram(x))), "primal": PrimalSystem(x)}


@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize("space", ["kernel", "primal"])
def test_a_step_is_that_of_autograd_s_hessian(classes, space):
    """From the head without weights, in the weights and intercepts themselves."""
    x, y = problem(12, 4, m=2, seed=0, classes=max(2, classes))
    strength, d = 0.1, 4
    target = y[..., None] if classes == 1 else torch.nn.functional.one_hot(y.long(), 3).double()
    system = systems(x, classes)[space]
    start = system.start(torch.zeros(2, classes, dtype=torch.float64))
    p = probabilities(start.scores)
    system.factor(p, strength, torch.arange(2))
    step = system.solve(system.residual(start, target - p, strength), strength)
    for m in range(2):

        def loss(flat, m=m):
            w = flat.view(d + 1, classes)
            scores = x[m] @ w[:d] + w[d]
            if classes == 1:
                value = torch.nn.functional.binary_cross_entropy_with_logits(scores, target[m])
            else:
                value = torch.nn.functional.cross_entropy(scores, target[m])
            return value + strength / 2 * w[:d].square().sum()

        at = torch.zeros((d + 1) * classes, dtype=torch.float64)
        hessian = torch.autograd.functional.hessian(loss, at)
        slope = torch.autograd.functional.jacobian(loss, at)
        # pinv: adding a constant to all intercepts changes nothing
        expected = (-torch.linalg.pinv(hessian, hermitian=True) @ slope).view(d + 1, classes)
        found = step.coefficients[m] if space == "primal" else x[m].T @ step.coefficients[m]
        # a factor in float32 steers the binary kernel's step
        rough = 1e-4 if space == "kernel" and classes == 1 else 1e-10
        torch.testing.assert_close(found, expected[:d], rtol=0, atol=rough)
        torch.testing.assert_close(step.intercepts[m], expected[d], rtol=0, atol=rough)


def nearly_separable(n, d):
    """Six sets; in the fifth one feature tells all patients but one."""
    x, y = problem(n, d, m=6, seed=1)
    clean = torch.linspace(-1, 1, n, dtype=torch.float64)
    x[4] *= 0.1
    x[4, :, 0] = 50 * clean
    y[4] = (clean > 0).double()
    y[4, n // 2] = 0
    return x, y


@pytest.mark.parametrize(("n", "d"), [(40, 12), (30, 25), (30, 60)])
@pytest.mark.parametrize("space", ["kernel", "primal"])
@pytest.mark.parametrize("strength", [1e-4, 1e-5, 1e-6])
def test_a_hard_set_among_easy_ones(n, d, space, strength):
    """All are solved, at weak strengths too, where most patients are certain."""
    x, y = nearly_separable(n, d)
    heads = probe(x, y, (1.0, strength), space=space)
    # below the tolerance, or as far as scores of the size |x|^2 / strength can be known
    known = 2.3e-16 * float(x.square().sum(-1).max()) / strength
    for m in range(6):
        of_w, of_b = gradient(x[m], y[m], strength, heads.weights[1, m], heads.intercepts[1, m])
        spread = float(x[m].square().mean(0).max().sqrt())
        assert of_w.abs().max() < max(1.01e-10, known) * spread
        assert of_b.abs() < max(2e-10, known)


@pytest.mark.parametrize("space", ["kernel", "primal"])
def test_a_hard_set_costs_the_others_nothing(space):
    x, y = nearly_separable(30, 60)
    easy = torch.tensor([0, 1, 2, 3, 5])
    options = {"space": space, "tolerance": 1e-12}
    together, alone = probe(x, y, 0.01, **options), probe(x[easy], y[easy], 0.01, **options)
    torch.testing.assert_close(together.weights[:, easy], alone.weights, rtol=0, atol=1e-8)
    torch.testing.assert_close(together.intercepts[:, easy], alone.intercepts, rtol=0, atol=1e-8)


def test_from_any_start_to_the_same_head():
    """The objective is convex: a far start, where every patient is certain, costs steps only."""
    x, y = problem(30, 8, m=3, seed=2)
    target = y[..., None]
    ends = []
    for scale in (0.0, 30.0):
        system = PrimalSystem(x)
        w = scale * torch.randn(3, 8, 1, generator=torch.Generator().manual_seed(0)).double()
        b = torch.full((3, 1), scale, dtype=torch.float64)
        start = system.start(b)
        start.coefficients, start.scores = w, system.scores(w, b)
        ends.append(minimise(system, target, 0.05, start, 1e-12, 100)[0])
    torch.testing.assert_close(ends[0].coefficients, ends[1].coefficients, rtol=0, atol=1e-9)
    torch.testing.assert_close(ends[0].intercepts, ends[1].intercepts, rtol=0, atol=1e-9)


def test_a_path_equals_single_solves():
    x, y = problem(25, 50, m=3, seed=5)
    path = (0.1, 10.0, 0.01, 1.0, 0.1)  # in any order, one twice
    heads = probe(x, y, path, tolerance=1e-12)
    assert heads.strengths == path
    torch.testing.assert_close(heads.weights[0], heads.weights[4], rtol=0, atol=1e-13)
    for k, strength in enumerate(path):
        alone = probe(x, y, strength, tolerance=1e-12)
        torch.testing.assert_close(heads.weights[k], alone.weights[0], rtol=0, atol=1e-8)
        torch.testing.assert_close(heads.intercepts[k], alone.intercepts[0], rtol=0, atol=1e-8)
