"""Maximum likelihood for the prevalence: grid search, EM's own steps, exact worlds, coverage."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.special import expit, logit

from medxfer_lab.methods.calibration import fit_calibration
from medxfer_lab.methods.label_shift import em_path, em_prevalence
from tests.methods.label_shift.worlds import exact_sample, posterior

SEPARATION, SOURCE = 1.735, 1 / 3


def log_odds(rng, n, prevalence):
    """Calibrated on the source (prevalence 1/3), AUC .89; and labels."""
    y = (rng.random(n) < prevalence).astype(int)
    score = SEPARATION * (y - 0.5) + rng.standard_normal(n)
    return SEPARATION * score + logit(SOURCE), y


def likelihood(rho, p, start):
    return np.log((1 - rho) * (1 - p) / (1 - start) + rho * p / start).sum()


@pytest.mark.parametrize("rho", [0.0, 0.02, 0.3, 0.9, 1.0])
def test_the_maximum_and_the_interval_by_brute_force(rho):
    p = expit(log_odds(np.random.default_rng(3), 200, rho)[0])
    estimate = em_prevalence(p, SOURCE)
    grid = np.linspace(0, 1, 20_001)
    values = np.array([likelihood(r, p, SOURCE) for r in grid])
    assert estimate.prevalence == pytest.approx(grid[values.argmax()], abs=5.1e-5)
    kept = grid[2 * (values.max() - values) <= stats.chi2.ppf(0.95, 1)]
    assert (estimate.low, estimate.high) == pytest.approx((kept[0], kept[-1]), abs=6e-5)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.05, 0.95), st.floats(0.1, 0.9))
def test_em_climbs_to_it(seed, rho, start):
    """Each step of EM raises the likelihood; the limit is the estimate."""
    p = expit(log_odds(np.random.default_rng(seed), 80, rho)[0])
    path = em_path(p, start, 2000)
    values = [likelihood(r, p, start) for r in path[:200]]
    assert (np.diff(values) >= -1e-9).all()
    best = em_prevalence(p, start).prevalence
    assert likelihood(best, p, start) >= likelihood(path[-1], p, start) - 1e-9
    if 0.02 < best < 0.98:  # the rate of EM tends to 1 at the edges
        assert path[-1] == pytest.approx(best, abs=1e-8)


def test_one_step_is_the_mean_of_the_corrected_probabilities():
    """Saerens et al.'s equation 2.9 as printed, from their starting point."""
    p = np.array([0.1, 0.4, 0.7])
    path = em_path(p, 0.25, 2)
    assert path[0] == 0.25 and path[1] == pytest.approx(p.mean())
    up, down = p * path[1] / 0.25, (1 - p) * (1 - path[1]) / 0.75
    assert path[2] == pytest.approx((up / (up + down)).mean())


@pytest.mark.parametrize("healthy, diseased", [(49, 1), (8, 2), (1, 4)])
def test_right_for_calibrated_probabilities_and_wrong_for_others(healthy, diseased):
    """A finite world without any randomness: only the model can be at fault."""
    target, _ = exact_sample(healthy, diseased)
    rho, eta = diseased / (healthy + diseased), posterior(SOURCE)
    assert em_prevalence(eta[target], SOURCE).raw == pytest.approx(rho, abs=1e-11)
    overconfident = eta**3 / (eta**3 + (1 - eta) ** 3)
    own_mean = overconfident[exact_sample(2, 1)[0]].mean()
    for start in (SOURCE, own_mean):
        assert abs(em_prevalence(overconfident[target], start).raw - rho) > 0.01
    assert abs(em_prevalence(eta[target], 0.5).raw - rho) > 0.01  # the wrong starting prior


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.floats(-3, 3), st.floats(0.1, 0.9))
def test_only_the_step_from_the_start_counts(seed, shift, start):
    """Log odds and start moved alike: the same likelihood ratios, so the same answer."""
    z = log_odds(np.random.default_rng(seed), 60, 0.3)[0]
    first = em_prevalence(expit(z), start)
    second = em_prevalence(expit(z + shift), float(expit(logit(start) + shift)))
    for name in ("prevalence", "low", "high"):
        assert getattr(second, name) == pytest.approx(getattr(first, name), abs=1e-7)


def test_certain_probabilities_give_a_binomial_share():
    p = np.repeat([0.0, 1.0], [90, 10])
    estimate = em_prevalence(p, 0.4)
    assert estimate.prevalence == pytest.approx(0.1, abs=1e-11)
    assert estimate.standard_error == pytest.approx(np.sqrt(0.1 * 0.9 / 100))
    for end in (estimate.low, estimate.high):
        loss = 10 * np.log(0.1 / end) + 90 * np.log(0.9 / (1 - end))
        assert 2 * loss == pytest.approx(stats.chi2.ppf(0.95, 1), abs=1e-6)
    nobody = em_prevalence(np.append(np.zeros(99), 1e-12), 0.4)
    assert (nobody.prevalence, nobody.low, nobody.standard_error) == (0, 0, None)
    assert nobody.high == pytest.approx(1 - np.exp(-stats.chi2.ppf(0.95, 1) / 200), abs=1e-6)


def test_the_observed_information_is_the_curvature():
    p = expit(log_odds(np.random.default_rng(5), 300, 0.3)[0])
    estimate = em_prevalence(p, SOURCE)
    r, h = estimate.raw, 1e-4
    bend = likelihood(r + h, p, SOURCE) - 2 * likelihood(r, p, SOURCE)
    bend += likelihood(r - h, p, SOURCE)
    assert estimate.standard_error == pytest.approx((-bend / h**2) ** -0.5, rel=1e-4)


@pytest.mark.parametrize("rho", [0.02, 0.2, 0.8])
def test_the_interval_covers_where_the_probabilities_are_known(rho):
    """600 repetitions at level .9; 4 standard errors of a share are .049."""
    rng = np.random.default_rng(7)
    made = [em_prevalence(expit(log_odds(rng, 200, rho)[0]), SOURCE, 0.9) for _ in range(600)]
    assert np.mean([rho in e for e in made]) == pytest.approx(0.9, abs=0.049)


def test_the_source_samples_error_is_left_out_as_stated():
    """Calibrated on 150 patients, judged by 500: far below the level, as the docstring warns."""
    rng, hits = np.random.default_rng(8), 0
    for _ in range(300):
        z, y = log_odds(rng, 150, SOURCE)
        line = fit_calibration(z, y)
        assert line.probabilities(z).mean() == pytest.approx(y.mean(), abs=1e-9)
        hits += 0.3 in em_prevalence(line.probabilities(log_odds(rng, 500, 0.3)[0]), y.mean(), 0.9)
    assert hits / 300 < 0.9 - 4 * np.sqrt(0.09 / 300)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: em_prevalence([0.2, 0.2], 0.5), "all 2 probabilities are 0.2"),
        (lambda: em_prevalence([0.2, 1.2], 0.5), r"spans \[0.2, 1.2\]"),
        (lambda: em_prevalence([0.2, 0.3], 1.0), "start is 1.0"),
        (lambda: em_path([0.2, 0.3], 0.5, -1), "steps is -1"),
    ],
)
def test_errors_say_what_is_wrong(call, words):
    with pytest.raises(ValueError, match=words):
        call()
