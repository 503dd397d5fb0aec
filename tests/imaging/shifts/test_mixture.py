"""Scanner mixtures: weights, identifiability and the bound on how far p(y | x) moves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from medxfer_lab.imaging import FLAIR, T1, Hospital
from medxfer_lab.imaging.shifts import (
    mixture_weights,
    posterior_change,
    remix,
    scanner_error,
    scanner_weights,
)
from medxfer_lab.metrics.two_sample import prevalence_test
from tests.imaging.shifts.cases import cohort_of, pixel

SOURCE = Hospital(scanners=((FLAIR, 3.0), (T1, 1.0)))


def exact_change(p, q, f, eta) -> float:
    """E_q |P_p(y = 1 | x) - P_q(y = 1 | x)| by summing over x. f: (K, X), eta: (K, X)."""
    joint_p, joint_q = p[:, None] * f, q[:, None] * f
    moved = (joint_p * eta).sum(0) / joint_p.sum(0) - (joint_q * eta).sum(0) / joint_q.sum(0)
    return float((joint_q.sum(0) * np.abs(moved)).sum())


def least_error(p, f) -> float:
    """Error of the best classifier of the scanner: 1 - sum over x of the largest p_k f_k(x)."""
    return float(1 - (p[:, None] * f).max(0).sum())


def random_example(seed: int):
    rng = np.random.default_rng(seed)
    k, x = rng.integers(2, 5), rng.integers(2, 9)
    p, q = rng.dirichlet(np.ones(k)), rng.dirichlet(np.ones(k))
    f = rng.dirichlet(np.full(x, rng.choice([0.05, 0.3, 2.0])), size=k) + 1e-9
    return p, q, f / f.sum(1, keepdims=True), rng.integers(0, 2, (k, x)).astype(float), rng


def test_bound_holds_by_brute_force():
    """800 random mixtures, up to 8 images; the best classifier of the scanner and a random one."""
    ratios = []
    for seed in range(800):
        p, q, f, eta, rng = random_example(seed)
        change = exact_change(p, q, f, eta)
        assert change <= posterior_change(p, q, least_error(p, f)) + 1e-12
        guess = rng.integers(0, len(p), f.shape[1])
        error = 1 - sum(p[g] * f[g, x] for x, g in enumerate(guess))
        assert change <= posterior_change(p, q, float(error)) + 1e-12
        if least_error(p, f) > 1e-6:
            spread = (q / p).max() - (q / p).min()
            ratios.append(change / (spread * least_error(p, f)))
    # half the bound would be violated: the constant cannot be improved
    assert max(ratios) > 0.9


def test_bound_is_approached():
    """One scanner's image turns up among the other's with chance epsilon, meaning the opposite."""
    p, q = np.array([0.5, 0.5]), np.array([0.1, 0.9])
    for epsilon, least in ((0.1, 0.85), (0.001, 0.998)):
        f = np.array([[1.0, 0.0], [epsilon, 1 - epsilon]])
        eta = np.array([[0.0, 0.0], [1.0, 0.0]])
        ratio = exact_change(p, q, f, eta) / posterior_change(p, q, least_error(p, f))
        assert least < ratio <= 1


def test_scanners_that_never_look_alike_change_nothing():
    f = np.array([[0.5, 0.5, 0, 0], [0, 0, 0.2, 0.8]])
    p, q = np.array([0.9, 0.1]), np.array([0.2, 0.8])
    assert least_error(p, f) == pytest.approx(0, abs=1e-12)
    assert posterior_change(p, q, 0.0) == 0.0
    eta = np.array([[0.1, 0.9, 0, 0], [0, 0, 0.5, 0.2]])
    with np.errstate(invalid="ignore"):
        assert exact_change(p, q, f, eta) == pytest.approx(0, abs=1e-12)


def test_change_is_the_total_variation_from_covariate_shift():
    """Sum over (x, y) of |q(x, y) - q(x) p(y | x)| / 2 is the same number."""
    p, q, f, eta, _ = random_example(3)
    joint = {k: w[:, None] * f for k, w in (("p", p), ("q", q))}
    q_x = joint["q"].sum(0)
    p_y = (joint["p"] * eta).sum(0) / joint["p"].sum(0)
    q_y = (joint["q"] * eta).sum(0) / q_x
    variation = 0.5 * (np.abs(q_x * (q_y - p_y)) + np.abs(q_x * ((1 - q_y) - (1 - p_y)))).sum()
    assert variation == pytest.approx(exact_change(p, q, f, eta))


def test_recorded_scanner_weights_are_exact_even_when_images_overlap():
    """E_p[w_k g(x, y)] = E_q[g(x, y)], cell by cell, for scanners that look alike."""
    p, q, f, eta, _ = random_example(11)
    ill_q = (q[:, None] * f * eta).sum(0)
    weighted = ((q / p)[:, None] * p[:, None] * f * eta).sum(0)
    np.testing.assert_allclose(weighted, ill_q, rtol=1e-12)


@pytest.fixture(scope="module")
def cohort():
    return SOURCE.draw(240, seed=7, size=32)


def test_remixing_keeps_the_patients(cohort):
    target = remix(SOURCE, (1, 3)).draw(240, seed=7, size=32)
    assert torch.equal(target.labels, cohort.labels)
    assert torch.equal(target.burden, cohort.burden)
    share = float((target.scanner == 1).float().mean())
    low, high = stats.binom.ppf([1e-4, 1 - 1e-4], 240, 0.75) / 240
    assert low <= share <= high
    same = target.scanner == cohort.scanner  # who lay in the same scanner has the same picture
    assert 0.3 < float(same.float().mean()) < 0.7
    torch.testing.assert_close(target.images[same], cohort.images[same], rtol=1e-5, atol=2e-3)


def test_scanner_is_chosen_independently_of_the_patient(cohort):
    labels = cohort.labels.numpy()
    which = cohort.scanner.numpy()
    assert prevalence_test(labels[which == 0], labels[which == 1]).p_value > 1e-3


def test_weights_by_hand(cohort):
    target = remix(SOURCE, (1, 3))
    w = mixture_weights(SOURCE, target, cohort)
    assert scanner_weights(SOURCE, target).tolist() == pytest.approx([1 / 3, 3.0])
    assert set(w[cohort.scanner == 0].tolist()) == {w.min().item()}
    assert (w.min().item(), w.max().item()) == pytest.approx((1 / 3, 3.0))
    assert float(w.mean()) == pytest.approx(1.0, abs=4 * 1.15 / np.sqrt(240))


def test_flair_and_t1_can_be_told_apart(cohort):
    found = scanner_error(cohort, seed=0)
    assert found.tried == 120 and found.error <= 0.02
    assert found.upper <= 0.06  # 0 of 120 gives .025
    assert found.posterior_change((3, 1), (1, 3)) == pytest.approx(
        min(1.0, (3 - 1 / 3) * found.upper)
    )


def test_one_scanner_under_two_names_cannot():
    twin = replace(FLAIR, name="the same machine next door")
    hospital = Hospital(scanners=((FLAIR, 1.0), (twin, 1.0)))
    found = scanner_error(hospital.draw(240, seed=8, size=32), seed=0)
    low, high = stats.binom.ppf([1e-4, 1 - 1e-4], 120, 0.5) / 120
    assert low <= found.error <= high
    assert found.posterior_change((1, 1), (1, 9)) > 0.5  # no claim of covariate shift here


def test_upper_bound_covers():
    """A scanner drawn by coin: every classifier errs half the time; the bound says so in 95 %."""
    covered = []
    for seed in range(400):
        rng = np.random.default_rng(seed)
        coin = torch.from_numpy(rng.integers(0, 2, 60))
        images = torch.from_numpy(rng.standard_normal(60))
        cohort = cohort_of(images, torch.zeros(60), scanner=coin)
        found = scanner_error(cohort, seed, features=lambda x: pixel(x)[:, None])
        covered.append(found.upper >= 0.5)
    low = stats.binom.ppf(1e-4, 400, 0.95) / 400
    assert low <= np.mean(covered) <= 0.995


def test_three_scanners_are_told_apart_by_votes():
    which = torch.arange(90) % 3
    x = which + 0.1 * torch.from_numpy(np.random.default_rng(0).standard_normal(90))
    cohort = cohort_of(x, torch.zeros(90), scanner=which)
    assert scanner_error(cohort, 0, features=lambda x: pixel(x)[:, None]).errors == 0


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: remix(SOURCE, (1,)), "one for each of 2"),
        (lambda: remix(SOURCE, (-1, 2)), "none negative"),
        (lambda: remix(Hospital(scanners=((FLAIR, 1.0), (T1, 0.0))), (1, 1)), "never does"),
        (lambda: scanner_weights(SOURCE, Hospital()), "rescan"),
        (lambda: posterior_change((1, 0), (1, 1), 0.1), "source must use all"),
        (lambda: posterior_change((1, 1), (1, 1), 1.1), "probability"),
        (lambda: scanner_error(cohort_of(torch.ones(4), torch.ones(4)), 0), "one scanner"),
        (
            lambda: mixture_weights(SOURCE, SOURCE, cohort_of(torch.ones(4), torch.ones(4))),
            "expected those of the source",
        ),
    ],
)
def test_errors_say_what_is_wrong(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_a_patient_seen_twice_is_refused():
    twice = replace(
        cohort_of(torch.rand(8), torch.zeros(8), scanner=torch.arange(8) % 2),
        patient_ids=torch.arange(8) // 2,
    )
    with pytest.raises(ValueError, match="twice"):
        scanner_error(twice, 0)


def test_a_scanner_that_leaves_the_mixture_has_weight_zero():
    gone = remix(SOURCE, (1, 0))
    assert scanner_weights(SOURCE, gone).tolist() == pytest.approx([4 / 3, 0])
    unused = Hospital(scanners=((FLAIR, 1.0), (T1, 0.0)))
    assert scanner_weights(unused, unused).tolist() == [1.0, 0.0]
