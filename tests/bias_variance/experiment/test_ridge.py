"""Formula over measurement: the population, its truth, and the measured risks by brute force."""

from __future__ import annotations

import numpy as np
import pytest

from medxfer_lab.bias_variance.experiment import material as m
from medxfer_lab.bias_variance.experiment import ridge

PARAMETERS = {"sets": 40, "sizes": [24, 48], "pool": 120, "dimension": 30}


@pytest.fixture(scope="module", params=list(ridge.SCALINGS))
def scaling(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def world(scaling):
    return ridge._world(PARAMETERS["pool"], PARAMETERS["dimension"], scaling)


@pytest.fixture(scope="module")
def done(runner):
    kept: dict[str, dict] = {}

    def watching(jobs, function):
        kept.update(found := runner(jobs, function))
        return found

    return ridge.run(PARAMETERS, watching), kept


def test_population_is_in_its_principal_axes(world):
    x = world["features"]
    second = x.T @ x / len(x)
    assert x.shape == (120, 30) and x.dtype == np.float64
    np.testing.assert_allclose(x.mean(0), 0, atol=1e-9)
    np.testing.assert_allclose(second, np.diag(world["eigenvalues"]), atol=1e-9)
    assert world["eigenvalues"].mean() == pytest.approx(1)
    assert (np.diff(world["eigenvalues"]) <= 1e-12).all()


def test_truth_is_the_best_linear_head_with_unit_signal(world):
    x, target = world["features"], world["lesion"]
    best = np.linalg.lstsq(x, target, rcond=None)[0]
    theta = world["theta"]
    assert (x @ theta).var() == pytest.approx(1)
    np.testing.assert_allclose(theta / theta[0], best / best[0], rtol=1e-6)
    assert (x @ theta) @ target > 0


def test_centres_are_as_wrong_as_stated(world):
    x = world["features"]
    for name, wrongness in ridge.CENTRES.items():
        missed = x @ (world["theta"] - world["centres"][name])
        assert np.mean(missed**2) == pytest.approx(wrongness)


def test_scalings_differ_as_stated():
    """Both centred; one divides every feature by its standard deviation, one leaves them alone."""
    raw = m.raw_features(m.images(m.cohort(120, ridge.POPULATION_SEED)), "imagenet", 0)
    raw = raw.astype(float) - raw.mean(0, dtype=float)
    for scaling, spread in (("natural", 1.0), ("standardised", raw.std(0) + 1e-6)):
        gram = (raw / spread) @ (raw / spread).T
        expected = np.sort(np.linalg.eigvalsh(gram))[::-1][:30]
        found = ridge._world(120, 30, scaling)["eigenvalues"]
        np.testing.assert_allclose(found, expected / expected.mean(), rtol=1e-6)


def test_populations_have_training_sets_of_their_own(done):
    _, jobs = done
    assert len(set(ridge.SCALINGS.values())) == len(ridge.SCALINGS)
    assert len(jobs) == 40 * len(ridge.SCALINGS)


def test_heads_solve_the_tied_least_squares(world, done, scaling):
    """min mean (y - x'theta)^2 + lam ||theta - centre||^2 over rows drawn without replacement."""
    _, jobs = done
    rng = np.random.default_rng((5, ridge.SCALINGS[scaling]))
    rows = rng.permutation(120)[:48]
    noise = np.sqrt(ridge.NOISE_SHARE) * rng.standard_normal(48)
    x = world["features"][rows[:24]]
    y = x @ world["theta"] + noise[:24]
    for name, centre in world["centres"].items():
        head = jobs[f"{scaling}-005"][name][0]
        gradient = x.T @ (x @ head - y) / 24 + ridge.STRENGTH * (head - centre)
        np.testing.assert_allclose(gradient, 0, atol=1e-9)


def test_measured_risk_is_the_average_over_the_whole_population(world, done, scaling):
    results, jobs = done
    x = world["features"]
    for name in (*ridge.CENTRES, "real"):
        best = np.linalg.lstsq(x, world["lesion"], rcond=None)[0]
        truth = x @ (best if name == "real" else world["theta"])
        for i, n in enumerate(PARAMETERS["sizes"]):
            predictions = np.stack([x @ jobs[f"{scaling}-{k:03d}"][name][i] for k in range(40)])
            excess = np.mean((predictions - truth) ** 2, axis=1)
            row = results[scaling][name][str(n)]
            np.testing.assert_allclose(row["excess_sets"], excess, atol=1e-6)
            assert row["measured"]["mean"] == pytest.approx(excess.mean())
            variance = predictions.var(0, ddof=1).mean()
            bias2 = np.mean((predictions.mean(0) - truth) ** 2) - variance / 40
            assert row["measured_variance"] == pytest.approx(variance)
            assert row["measured_bias2"] == pytest.approx(bias2)
            assert row["ratio"]["mean"] == pytest.approx(excess.mean() / row["predicted"])
            parts = ("predicted_bias2", "predicted_variance_design", "predicted_variance_noise")
            assert sum(row[p] for p in parts) == pytest.approx(row["predicted"])


def test_formula_agrees_with_measurement_and_the_naive_one_does_not(done, scaling):
    """Within Monte Carlo error and a stated relative error of a tenth; plug-in is outside."""
    results = done[0][scaling]
    for name in ridge.CENTRES:
        for n in ("24", "48"):
            row = results[name][n]
            error = (row["ratio"]["high"] - row["ratio"]["low"]) / 2
            assert abs(row["ratio"]["mean"] - 1) < 1.5 * error + 0.1, (name, n)
    row = results["zero"]["24"]
    error = (row["measured"]["high"] - row["measured"]["low"]) / 2
    assert abs(row["plug_in"] - row["measured"]["mean"]) > error
    assert results["good"]["24"]["measured"]["mean"] < row["measured"]["mean"]


def test_leverage_is_the_diagonal_of_the_hat_matrix(world, done, scaling):
    """x' Sigma^-1 x over the dimension: mean 1 over the population, large for who sticks out."""
    x = world["features"]
    hat = np.diag(x @ np.linalg.inv(x.T @ x) @ x.T) * len(x) / x.shape[1]
    assert hat.mean() == pytest.approx(1)
    assert done[0][scaling]["leverage_largest"] == pytest.approx(hat.max())
    assert done[0][scaling]["leverage_sd"] == pytest.approx(hat.std())


def test_recheck_repeats_a_set(done, as_record):
    pairs = ridge.recheck(as_record(ridge, PARAMETERS, done[0]), 7)
    names = {f"{s}.{c}.{n}" for s in ridge.SCALINGS for c in ridge.CENTRES for n in (24, 48)}
    assert set(pairs) == names
    for name, (then, now) in pairs.items():
        assert then == pytest.approx(now, rel=1e-4), name


def test_presets_fit_their_pool():
    for preset in ridge.PRESETS.values():
        assert max(preset["sizes"]) < preset["pool"] and preset["dimension"] < preset["pool"]
    assert len(ridge.PRESETS["full"]["sizes"]) >= 6


@pytest.mark.parametrize("scaling", list(ridge.SCALINGS))
def test_a_rounding_of_the_features_moves_no_prediction(scaling, monkeypatch):
    """Another processor rounds features differently: about 1e-5 of a convolutional feature's
    size. Principal axes of equal eigenvalues turn into each other by it (here all are equal, the
    worst case); what a centre predicts for a patient must not."""
    rng = np.random.default_rng(0)
    drawn = rng.standard_normal((120, 50))
    raw = 5 * np.linalg.qr(drawn - drawn.mean(0))[0]
    found = {}
    for name, noise in (("here", 0.0), ("there", 5e-6)):
        shown = (raw + noise * rng.standard_normal(raw.shape)).astype(np.float32)
        monkeypatch.setattr(m, "raw_features", lambda pictures, backbone, seed, s=shown: s)
        ridge._world.cache_clear()
        world = ridge._world(120, 50, scaling)
        found[name] = {c: world["features"] @ v for c, v in world["centres"].items()}
    ridge._world.cache_clear()
    for centre in ridge.CENTRES:
        np.testing.assert_allclose(found["there"][centre], found["here"][centre], atol=1e-3)
    assert found["here"]["good"].std() > 0.5
