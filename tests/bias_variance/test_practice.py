"""The bank: every right variant passes, every wrong answer gets its own diagnosis, for any seed."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import sympy

from medxfer_lab.bias_variance.exercises import (
    bias_of_l2sp,
    centre_and_variance,
    decomposition,
    optimal_strength,
    predict_the_variance,
    prior_sample_size,
    read_the_bargain,
    real_bias,
)
from medxfer_lab.bias_variance.practice import ROOMS, exercises, reading_figure
from medxfer_lab.course.exercise import bank_failures

SEEDS = (0, 1, 2, 3, 7, 11, 42, 1234, 2**31)
IDS = list(exercises(0))


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDXFER_HOME", str(tmp_path))


@pytest.mark.parametrize("seed", SEEDS)
def test_every_bank_holds(seed, capsys):
    found = exercises(seed).values()
    assert bank_failures(found) == []
    with capsys.disabled():
        n_right = sum(len(e.right) for e in found)
        n_wrong = sum(len(e.wrong) for e in found)
        if seed == 0:
            print(f"\n{len(found)} exercises, {n_right} right variants, {n_wrong} wrong answers")


def test_what_the_chapter_asks():
    found = exercises()
    assert len(found) >= 8 and all(key == e.id for key, e in found.items())
    assert {e.kind for e in found.values()} >= {
        "derivation", "number", "decision", "prediction", "bug", "plot reading",
    }  # fmt: skip
    for exercise in found.values():
        assert all(len(hint) > 30 for hint in exercise.hints) and len(set(exercise.hints)) == 3
        assert len(exercise.solution) > 80 and exercise.objective and exercise.prompt


@pytest.mark.parametrize("id", IDS)
def test_a_stub_and_a_wrong_type_are_met_kindly(id):
    exercise = ROOMS[IDS.index(id)].exercise(0)
    assert not exercise.check(...).answered
    for answer in (
        None,
        object(),
        {"a": 1},
        [],
        [[1, 2], [3]],
        "no idea at all",
        lambda: 1,
        np.nan,
    ):
        got = exercise.check(answer)
        assert got.answered and not got.correct and len(got.message) > 20


@pytest.mark.parametrize("id", IDS)
def test_another_seed_asks_another_question(id):
    room = ROOMS[IDS.index(id)]
    prompts = {room.exercise(seed).prompt for seed in range(8)}
    assert len(prompts) >= 2


def test_the_same_seed_asks_the_same_question():
    first, second = exercises(5), exercises(5)
    assert all(str(first[id]) == str(second[id]) for id in IDS)


@pytest.mark.parametrize("seed", [-1, 1.5, "0", None, True])
def test_a_seed_is_a_whole_number(seed):
    with pytest.raises(ValueError, match="seed="):
        exercises(seed)


# Oracles: each answer is obtained once more, by another way.


@pytest.mark.parametrize("seed", [0, 1])
def test_bias_against_the_mean_of_many_fits(seed):
    """The formula against L2-SP itself, fitted by least squares to labels without noise."""
    rng = np.random.default_rng(seed)
    n, d, lam = 12, 4, 0.7
    X = rng.standard_normal((n, d))
    theta, centre = rng.standard_normal(d), rng.standard_normal(d)
    scale = n if seed == 0 else 1  # mean or sum over the images
    rows = np.vstack([X / np.sqrt(scale), np.sqrt(lam) * np.eye(d)])
    target = np.concatenate([X @ theta / np.sqrt(scale), np.sqrt(lam) * centre])
    fitted = np.linalg.lstsq(rows, target, rcond=None)[0]
    s, v = np.linalg.eigh(X.T @ X / n)
    answer = exercises(seed)["bias_of_l2sp"].right[0].value
    names = {"s": s, "theta": v.T @ theta, "c": v.T @ centre, "lam": lam, "alpha": lam, "n": n}
    symbols = sorted(map(str, sympy.sympify(answer).free_symbols))
    formula = sympy.lambdify(symbols, sympy.sympify(answer))
    np.testing.assert_allclose(formula(**{k: names[k] for k in symbols}), v.T @ (fitted - theta))
    assert bias_of_l2sp.exercise(seed).check(sympy.sympify(answer)).correct


def test_optimal_strength_by_search():
    for seed in range(5):
        n, sigma, b, _ = optimal_strength._numbers(seed)
        lam = np.geomspace(1e-4, 1e2, 200_001)
        for s in (0.1, 1.0, 7.0):
            risk = (lam**2 * b**2 + sigma**2 / n * s) / (s + lam) ** 2
            assert optimal_strength.exercise(seed).check(lam[risk.argmin()]).correct


def test_prior_sample_size_by_counting():
    sigma, tau, s = prior_sample_size._numbers(0)
    counted = []
    for value in s:
        precision = np.cumsum(np.full(10**6, value / sigma**2))
        reached = precision >= 1 / tau**2
        counted.append(float(reached.argmax() + 1) if reached.any() else np.inf)
    wanted = np.asarray(prior_sample_size.exercise(0).right[1].value)
    assert counted[3] == wanted[3] == np.inf
    assert np.all(np.abs(np.subtract(counted[:3], wanted[:3])) <= 1)


def test_decomposition_by_enumeration():
    """All m runs and both labels, weighted: no formula of the decomposition is used."""
    from medxfer_lab.metrics import decompose_squared

    for seed in range(5):
        predictions, eta = decomposition._numbers(seed)
        noise, bias2, variance = decomposition.decompose(predictions, eta)
        total = np.mean(
            [
                eta[j] * (1 - p[j]) ** 2 + (1 - eta[j]) * p[j] ** 2
                for p, j in itertools.product(predictions, range(2))
            ]
        )
        assert noise + bias2 + variance == pytest.approx(total)
        library = decompose_squared(predictions, eta=eta)
        assert bias2 == pytest.approx(library.bias2.estimate)
        assert variance == pytest.approx(library.variance.estimate)


def test_moving_the_centre_by_simulation():
    """At fixed design the centre leaves the variance alone; over random designs it does not."""
    n, d, lam, sets = 40, 100, 0.3, 400
    s = (np.arange(1, d + 1) ** -0.5) / np.mean(np.arange(1, d + 1) ** -0.5)
    theta = np.full(d, 1 / np.sqrt(s.sum()))

    def variance(missed: float, fixed: bool) -> float:
        rng = np.random.default_rng(3)
        centre = theta * (1 - np.sqrt(missed))
        X, estimates = rng.standard_normal((n, d)) * np.sqrt(s), []
        for _ in range(sets):
            X = X if fixed else rng.standard_normal((n, d)) * np.sqrt(s)
            y = X @ theta + np.sqrt(0.5) * rng.standard_normal(n)
            gain = np.linalg.solve(X @ X.T + n * lam * np.eye(n), y - X @ centre)
            estimates.append(centre + X.T @ gain)
        return float(np.sum(s * np.var(estimates, axis=0, ddof=1)))

    far, near = centre_and_variance.variances(n, d, lam)
    assert far > 1.3 * near
    assert variance(1.0, fixed=False) == pytest.approx(far, rel=0.06)
    assert variance(0.1, fixed=False) == pytest.approx(near, rel=0.06)
    assert variance(1.0, fixed=True) == pytest.approx(variance(0.1, fixed=True), rel=1e-12)


def test_a_bias_of_variance_over_m_is_nothing():
    """Without bias the squared mean of m runs is variance/m on average, by simulation."""
    rng = np.random.default_rng(0)
    m, variance = 30, 0.12
    means = rng.normal(0, np.sqrt(variance), (200_000 // m, m)).mean(axis=1)
    assert np.mean(means**2) == pytest.approx(variance / m, rel=0.03)
    prompt = real_bias.exercise(0).prompt
    assert "0.004, variance 0.12" in prompt and f"on {m} training sets" in prompt


def test_the_figure_can_be_read_and_heard():
    import matplotlib.pyplot as plt

    fig, alt = reading_figure(3)
    bias, variance, total = (line.get_ydata() for line in fig.axes[0].lines)
    x = fig.axes[0].lines[0].get_xdata()
    answer = x[np.argmin(np.abs(np.log(bias / variance)))]
    assert read_the_bargain.exercise(3).check(float(answer)).correct
    np.testing.assert_allclose(total, bias + variance)
    assert "cross once" in alt and len(alt) < 1000
    plt.close(fig)


def test_a_prediction_is_scored_against_the_record_or_theory(monkeypatch):
    reveal = predict_the_variance.revealed(0)
    got = predict_the_variance.exercise(0).check(reveal.factor * 1.2)
    assert got.correct and "off by a factor of 1.2" in got.message
    assert f"a factor of {reveal.factor:.3g}" in got.message
    monkeypatch.setattr(predict_the_variance, "measured_variances", dict)
    for seed in range(6):
        exercise = predict_the_variance.exercise(seed)
        assert bank_failures([exercise]) == []
        assert "not on this computer; theory expects" in exercise.check(2.0).message
    measured = {100: 0.04, 500: 0.01}
    monkeypatch.setattr(predict_the_variance, "measured_variances", lambda: measured)
    exercise = predict_the_variance.exercise(0)
    message = exercise.check(4).message
    assert exercise.check(4).correct and "Measured on simulated scans: `0.04`" in message
    assert exercise.check(5).correct and exercise.check(9).diagnosis == "too-large"
    for ratio in (0.2, 0.9, 1.0, 1.3, 2.2, 5.0, 30.0):  # whatever the record will say
        measured = {100: 0.01 * ratio, 500: 0.01}
        assert bank_failures([predict_the_variance.exercise(0)]) == []


def test_the_record_is_read_and_its_absence_survived(monkeypatch):
    from medxfer_lab.course.record import Record, RecordError, fingerprint

    variance = {"16": 0.03, "100": 0.02, "500": 0.01}
    results = {
        "teacher": {
            "imagenet": {n: {"squared": {"variance": {"mean": v}}} for n, v in variance.items()}
        }
    }
    record = Record(
        chapter="bias_variance",
        experiment="heads",
        data="simulated",
        device="cpu",
        preset="smoke",
        version=1,
        fingerprint=fingerprint({}),
        results=results,
    )
    monkeypatch.setattr(
        predict_the_variance, "records", lambda chapter: {"heads.simulated": record}
    )
    assert predict_the_variance.measured_variances() == {16: 0.03, 100: 0.02, 500: 0.01}
    monkeypatch.setattr(predict_the_variance, "records", lambda chapter: {})
    assert predict_the_variance.measured_variances() == {}

    def damaged(chapter):
        raise RecordError("truncated")

    monkeypatch.setattr(predict_the_variance, "records", damaged)
    assert predict_the_variance.measured_variances() == {}
