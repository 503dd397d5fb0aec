"""K classes: the binary estimators, general optimisers, exact worlds and Monte Carlo as oracles."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import optimize
from scipy.special import softmax

from medxfer_lab.methods.label_shift import (
    black_box_class_shares,
    black_box_shift_estimate,
    em_class_shares,
    em_prevalence,
)
from medxfer_lab.methods.label_shift.classes import em_step
from medxfer_lab.methods.label_shift.estimate import onto_simplex

CENTRES = np.array([[0.0, 0.0], [2.0, 0.0], [0.5, 2.0]])
SOURCE = np.array([0.5, 0.3, 0.2])
TARGET = np.array([0.2, 0.3, 0.5])


def patients(rng, n, shares):
    """Calibrated source probabilities (n, 3) of three normal classes in the plane, and labels."""
    y = rng.choice(3, n, p=shares)
    x = CENTRES[y] + rng.standard_normal((n, 2))
    density = -((x[:, None] - CENTRES) ** 2).sum(-1) / 2
    return softmax(density + np.log(SOURCE), 1), y


def one_hot(p):
    return np.eye(3)[p.argmax(1)]


def exact_rows(counts, scores):
    """Rows of scores (4 pictures, K) repeated in the exact counts (classes, 4), and labels."""
    pictures = np.repeat(np.tile(np.arange(4), len(counts)), counts.ravel())
    return scores[pictures], np.repeat(np.arange(len(counts)), counts.sum(1))


COUNTS = np.array([[10, 6, 3, 1], [1, 12, 5, 2], [1, 2, 6, 11]])  # 20 patients a class


def test_exact_in_a_finite_world():
    """BBSE for any score; EM for the calibrated one alone."""
    calibrated = (COUNTS * SOURCE[:, None] / (COUNTS.T @ SOURCE)).T
    sharpened = calibrated**3 / (calibrated**3).sum(1, keepdims=True)
    for scores in (calibrated, sharpened):
        source, y = exact_rows(COUNTS, scores)
        target, _ = exact_rows(COUNTS * [[2], [3], [5]], scores)
        assert np.allclose(black_box_class_shares(source, y, target).raw, TARGET, atol=1e-12)
        right = np.allclose(em_class_shares(target, SOURCE).raw, TARGET, atol=1e-6)
        assert right == (scores is calibrated)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6))
def test_two_classes_are_the_binary_estimators(seed):
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.repeat([0, 1], 30))
    s = 1 / (1 + np.exp(-rng.normal(2 * y - 1, 1)))
    t = 1 / (1 + np.exp(-rng.normal(2 * (rng.random(50) < 0.3) - 1, 1)))
    pair = [np.stack([1 - v, v], 1) for v in (s, t)]
    one, many = black_box_shift_estimate(s, y, t), black_box_class_shares(pair[0], y, pair[1])
    assert many.raw[1] == pytest.approx(one.raw)
    assert many.standard_errors[1] == pytest.approx(one.standard_error)
    assert many.condition_number == pytest.approx(one.condition_number)
    assert many.shares[1] == pytest.approx(one.prevalence)
    em, ems = em_prevalence(t, 0.4), em_class_shares(pair[1], [0.6, 0.4])
    assert ems.shares[1] == pytest.approx(em.prevalence, abs=1e-7)
    if 0.001 < em.prevalence < 0.999:
        assert ems.standard_errors[1] == pytest.approx(em.standard_error, rel=1e-5)


@pytest.mark.parametrize("shares", [TARGET, [0.5, 0.5, 0.0], [0.0, 0.0, 1.0]])
def test_em_ends_where_a_general_optimiser_does(shares):
    p, _ = patients(np.random.default_rng(2), 300, shares)
    ratios = p / SOURCE
    search = optimize.minimize(
        lambda r: -np.log(ratios @ r).mean(),
        np.ones(3) / 3,
        jac=lambda r: -(ratios / (ratios @ r)[:, None]).mean(0),
        bounds=[(0, 1)] * 3,
        constraints={"type": "eq", "fun": lambda r: r.sum() - 1, "jac": np.ones_like},
        options={"ftol": 1e-14, "maxiter": 500},
    )
    estimate = em_class_shares(p, SOURCE)
    assert np.allclose(estimate.shares, search.x, atol=1e-5)
    assert np.log(ratios @ estimate.shares).mean() >= -search.fun - 1e-10


def test_acceleration_does_not_change_the_fixed_point():
    p, _ = patients(np.random.default_rng(3), 200, TARGET)
    rho = SOURCE
    for _ in range(3000):
        rho = em_step(rho, p / SOURCE)
    assert np.allclose(em_class_shares(p, SOURCE).shares, rho, atol=1e-8)


@pytest.mark.parametrize("method", ["soft", "hard", "em"])
def test_covariance_is_that_of_repetitions(method):
    """Each variance over N = 1,500 repetitions within 4 of its relative errors sqrt(2/N)."""
    made = []
    for i in range(1500):
        rng = np.random.default_rng([4, i])
        target = patients(rng, 400, TARGET)[0]
        if method == "em":
            made.append(em_class_shares(target, SOURCE))
            continue
        source, y = patients(rng, 400, SOURCE)
        shape = one_hot if method == "hard" else np.asarray
        made.append(black_box_class_shares(shape(source), y, shape(target)))
    spread = np.cov([e.raw for e in made], rowvar=False)
    claimed = np.mean([e.covariance for e in made], 0)
    assert np.diag(spread) == pytest.approx(np.diag(claimed), rel=4 * np.sqrt(2 / 1500))
    assert np.allclose(claimed.sum(0), 0, atol=1e-12)


def test_shares_outside_the_simplex_are_said_to_be():
    rng = np.random.default_rng(5)
    source, y = patients(rng, 300, SOURCE)
    estimate = black_box_class_shares(source, y, patients(rng, 60, [0, 0, 1])[0])
    assert not estimate.inside and estimate.raw.min() < 0
    assert estimate.shares.min() == 0 and estimate.shares.sum() == pytest.approx(1)
    assert estimate.raw.sum() == pytest.approx(1)
    assert np.allclose(estimate.weights(SOURCE) * SOURCE, estimate.shares)


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(float, 4, elements=st.floats(-2, 2)), st.integers(0, 10**6))
def test_the_projection_is_the_nearest_point(point, seed):
    """No point of the simplex is nearer: 200 random ones and the corners tried."""
    point = point + (1 - point.sum()) / 4
    ours = onto_simplex(point)
    assert ours.min() >= 0 and ours.sum() == pytest.approx(1)
    others = np.random.default_rng(seed).dirichlet(np.ones(4) / 2, 200)
    others = np.concatenate([others, np.eye(4)])
    best = np.linalg.norm(others - point, axis=1).min()
    assert np.linalg.norm(ours - point) <= best + 1e-12
    # the obtuse angle that marks the nearest point of a convex set
    assert ((others - ours) @ (point - ours)).max() <= 1e-9


def test_an_empty_class_has_no_standard_error():
    p, _ = patients(np.random.default_rng(2), 300, [0.5, 0.5, 0.0])
    estimate = em_class_shares(p[p[:, 2] < 0.2], SOURCE)  # too few of class 2: on the edge
    assert estimate.shares[2] < 1e-8
    assert np.isnan(estimate.standard_errors).tolist() == [False, False, True]


def test_classes_not_told_apart_are_refused():
    rng = np.random.default_rng(6)
    p, y = patients(rng, 300, SOURCE)
    blurred = np.stack([p[:, 0], (1 - p[:, 0]) / 2, (1 - p[:, 0]) / 2], 1)
    with pytest.raises(ValueError, match="not told apart by the scores"):
        black_box_class_shares(blurred, y, blurred)
    with pytest.raises(ValueError, match="flat along a line"):
        em_class_shares(blurred, [0.5, 0.25, 0.25])
    with pytest.raises(ValueError, match="standard error .* may be singular"):
        black_box_class_shares(p, rng.permutation(y), p)


ROWS = [[0.8, 0.2], [0.6, 0.4], [0.1, 0.9], [0.3, 0.7]]


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: black_box_class_shares(ROWS, [0, 0, 1, 2], ROWS), "from 0 to 1"),
        (lambda: black_box_class_shares(ROWS, [0, 0, 0, 1], ROWS), "class 1 has 1"),
        (lambda: black_box_class_shares(ROWS, [0, 0, 1], ROWS), "3 values"),
        (lambda: black_box_class_shares(ROWS, [0, 0, 1, 1], ROWS[:1]), "at least 2 rows"),
        (lambda: black_box_class_shares([[2.0, 1.0]], [0], ROWS), "expected"),
        (lambda: em_class_shares(ROWS, [1.0, 0.0]), "0 for class 1"),
        (lambda: em_class_shares(ROWS, [0.5, 0.3, 0.2]), "3 shares"),
        (lambda: em_class_shares(ROWS, [0.99, 0.01], max_steps=1), "did not converge in 1 steps"),
    ],
)
def test_errors_say_what_is_wrong(call, words):
    with pytest.raises(ValueError, match=words):
        call()
