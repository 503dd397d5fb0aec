"""Ridge: against scikit-learn, against the closed form with a centre, against leaving each out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from medxfer_lab.methods import linear_gaussian as lg
from medxfer_lab.training import ridge_path
from medxfer_lab.training.heads.checks import all_finite

GRID = tuple(np.logspace(-3, 2, 6))


def data(m: int, n: int, d: int, t: int = 1, seed: int = 0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((m, n, d)) @ np.diag(np.linspace(0.2, 3, d)) + 1.5
    y = x @ rng.standard_normal((d, t)) + rng.standard_normal((m, n, t)) + 4
    return torch.tensor(x), torch.tensor(y)


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("n, d", [(12, 30), (40, 7), (9, 9)])
def test_agrees_with_scikit_learn(n, d, intercept):
    x, y = data(3, n, d, t=2)
    found = ridge_path(x, y, GRID, intercept=intercept)
    assert found.weights.shape == (6, 3, d, 2) and found.intercepts.shape == (6, 3, 2)
    for i, strength in enumerate(GRID):
        for k in range(3):
            fit = Ridge(alpha=n * strength, fit_intercept=intercept, solver="svd")
            fit.fit(x[k].numpy(), y[k].numpy())
            np.testing.assert_allclose(found.weights[i, k].numpy().T, fit.coef_, atol=1e-8)
            np.testing.assert_allclose(found.intercepts[i, k].numpy(), fit.intercept_, atol=1e-8)
            np.testing.assert_allclose(
                found.predict(x[0])[i, k].numpy(), fit.predict(x[0].numpy()), atol=1e-8
            )


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("n, d", [(10, 25), (14, 4)])
def test_leave_one_out_is_what_leaving_one_out_gives(n, d, intercept):
    """The strength is n strength in all: each refit on n - 1 keeps the total penalty."""
    x, y = data(2, n, d)
    found = ridge_path(x, y, GRID, intercept=intercept)
    for i, strength in enumerate(GRID):
        for k in range(2):
            errors = []
            for left_out in range(n):
                rest = np.arange(n) != left_out
                fit = Ridge(alpha=n * strength, fit_intercept=intercept, solver="svd")
                fit.fit(x[k].numpy()[rest], y[k].numpy()[rest, 0])
                miss = fit.predict(x[k].numpy()[[left_out]])[0] - float(y[k, left_out, 0])
                errors.append(miss**2)
            assert float(found.loo[i, k, 0]) == pytest.approx(np.mean(errors), rel=1e-7)
    assert torch.equal(found.best(), found.loo.argmin(0))


def test_a_tie_goes_to_the_stronger_whatever_the_order():
    """Features that say nothing: every strength leaves the mean of the others."""
    y = data(1, 12, 3)[1][0, :, 0]
    for path in ((0.1, 1.0, 10.0), (10.0, 1.0, 0.1)):
        found = ridge_path(torch.zeros(12, 3), y, path)
        assert found.strengths[int(found.best())] == 10.0


@pytest.mark.parametrize("n, d", [(10, 25), (30, 6)])
def test_a_centre_is_l2sp_s(n, d):
    x, y = data(1, n, d)
    centre = torch.tensor(np.random.default_rng(1).standard_normal(d))
    found = ridge_path(x[0], y[0, :, 0], 0.3, centre=centre, intercept=False)
    expected = lg.l2sp(x[0].numpy(), y[0, :, 0].numpy(), 0.3, centre.numpy())
    np.testing.assert_allclose(found.weights[0, 0, :, 0].numpy(), expected, atol=1e-8)
    far = ridge_path(x[0], y[0, :, 0], 1e9, centre=centre)
    torch.testing.assert_close(far.weights[0, 0, :, 0], centre, rtol=0, atol=1e-6)


def test_rows_of_a_pool_and_unequal_sets():
    x, y = data(1, 50, 8)
    index = [torch.arange(0, 20), torch.arange(5, 45), torch.arange(30, 50)]
    found = ridge_path(x[0], y[0, :, 0], GRID, index=index)
    for k, rows in enumerate(index):
        alone = ridge_path(x[0, rows], y[0, rows, 0], GRID)
        torch.testing.assert_close(found.weights[:, k], alone.weights[:, 0], rtol=0, atol=1e-9)
        torch.testing.assert_close(found.loo[:, k], alone.loo[:, 0], rtol=1e-9, atol=0)


def test_errors():
    x, y = data(2, 10, 4)
    with pytest.raises(ValueError, match="each must be positive"):
        ridge_path(x, y, (1.0, 0.0))
    with pytest.raises(ValueError, match="targets hold NaN"):
        ridge_path(x, y * float("nan"), 1.0)
    with pytest.raises(ValueError, match=r"centre has shape \(3,\); expected \(4,\)"):
        ridge_path(x, y, 1.0, centre=torch.zeros(3))
    with pytest.raises(ValueError, match="features have shape .* and targets"):
        ridge_path(x, y[:, :9], 1.0)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_one_value_that_is_not_finite_is_found(value):
    """Also beside its opposite, and values whose sum alone is too large are let through."""
    x, y = data(1, 10, 4)
    x[0, 3, 2] = value
    x[0, 4, 2] = -value
    with pytest.raises(ValueError, match="features hold NaN or infinity"):
        ridge_path(x, y, 1.0)
    large = torch.full((3, 3), 1e308, dtype=torch.float64)
    assert all_finite(large) and not torch.isfinite(large.sum())
