"""EfficientNet-Lite0: exact spectra by stage, and a forecast of drift that is second order."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from medxfer_lab.course.record import Record, fingerprint
from medxfer_lab.loss_landscape.experiment import lite0 as e
from medxfer_lab.loss_landscape.experiment import material as m
from medxfer_lab.loss_landscape.theory.symmetry import relative_operator, relative_trace
from medxfer_lab.methods import curvature
from medxfer_lab.training import predict

SMOKE = e.PRESETS["smoke"]


@pytest.fixture
def pictures(monkeypatch):
    """Noise in place of photographs."""
    rng = np.random.default_rng(0)
    shown, classes = rng.integers(0, 256, (16, 32, 32), dtype=np.uint8), rng.integers(0, 10, 16)
    found = SimpleNamespace(images=shown, labels=classes, test_images=shown, test_labels=classes)
    monkeypatch.setattr(m, "photographs", lambda: found)
    return found


@pytest.fixture(scope="module")
def old():
    return e.imagenet(None)


def noise(n: int, size: int = 32) -> torch.Tensor:
    drawn = torch.rand(n, 1, size, size, generator=torch.Generator().manual_seed(n))
    return e._arranged(e.imagenet().prepare(drawn))


def runner(jobs, function):
    keys = [job.key for job in jobs]
    assert len(set(keys)) == len(keys)
    return {job.key: dict(function(**job.parameters)) for job in jobs}


def test_run_record_and_recheck(pictures, tmp_path):
    kept: dict[str, dict] = {}

    def watching(jobs, function):
        kept.update(found := runner(jobs, function))
        return found

    results = e.run(SMOKE, watching)
    assert results["stages"][0] == "stem" and results["stages"][-1] == "head"
    values = [kept[f"curvature-{j}"]["rows"][3, 2] for j in range(2)]
    cell = results["curvature"]["stages"]["block03"]["relative_top"]
    assert cell["mean"] == pytest.approx(np.prod(values) ** 0.5)
    np.testing.assert_allclose(cell["values"], values, rtol=1e-4)
    for name in e.RATES:
        rows = np.stack([kept[f"drift-{name}-{j}"]["rows"] for j in range(2)])
        found = results["drift"][name]["looks"][2]
        assert found["measured"]["mean"] == pytest.approx(rows[:, 1, 0].mean())
        assert found["ratio"]["mean"] == pytest.approx(
            np.prod(rows[:, 1, 0] / rows[:, 1, 1]) ** 0.5
        )
        assert (rows > 0).all()
    assert (
        results["drift"]["slow"]["looks"][1]["moved"]["mean"]
        < (results["drift"]["usual"]["looks"][1]["moved"]["mean"])
    )
    record = Record(
        chapter="loss_landscape",
        experiment=e.NAME,
        data=e.DATA,
        device="cpu",
        preset="smoke",
        version=e.VERSION,
        fingerprint=fingerprint(SMOKE),
        results=results,
        parameters=SMOKE,
    )
    assert Record.load(record.save(tmp_path / "lite0.json")) == record
    pairs = e.recheck(record, 1)
    assert len(pairs) == 2 * len(results["stages"])
    for name, (then, now) in pairs.items():
        assert now == pytest.approx(then, rel=1e-3), name


def test_spectra_of_stages_against_operators():
    """The Gram matrix's eigenvalues against Lanczos on products, its trace against Fisher's."""
    network, x = e.imagenet(), noise(3)
    rows, norms = e.stage_spectra(network, x)
    for stage in ("body.block07", "body.block16", "head"):
        part = curvature.block(network, stage)
        i = network.blocks.index(stage)
        operator = curvature.gauss_newton_operator(network, x, part)
        for column, product in ((0, operator), (2, relative_operator(operator, part))):
            top = curvature.top_eigenvalues(product, operator.dimension, 1, seed=0).values[0]
            assert rows[i, column] == pytest.approx(top, rel=2e-3), (stage, column)
        fisher = curvature.fisher_diagonal(network, x, labels="exact", parameters=part)
        assert rows[i, 1] == pytest.approx(sum(float(f.sum()) for f in fisher.values()), rel=1e-3)
        assert rows[i, 3] == pytest.approx(relative_trace(fisher, part), rel=1e-3)
        assert norms[i] == pytest.approx(
            sum(float(p.detach().square().sum()) for p in part.values())
        )


def test_forecast_is_the_gauss_newton_form(old):
    x, part = noise(4), dict(old.body.named_parameters())
    delta = e.random_like({n: 1e-2 * p.detach() for n, p in part.items()}, 0)
    operator = curvature.gauss_newton_operator(old, x, curvature.block(old, "body"))
    vector = operator.flatten({f"body.{n}": d for n, d in delta.items()})
    assert e.forecast(old, delta, x) == pytest.approx(
        float(vector @ operator(vector)) / 2, rel=1e-3
    )


def test_drift_is_its_forecast_for_small_steps_and_not_for_large_ones(old):
    """No linear term: half the step, a quarter of the divergence."""
    old, x = copy.deepcopy(old).double(), noise(6).double()
    answers = predict(old, x)
    unit = e.random_like({n: p.detach() for n, p in old.body.named_parameters()}, 1)

    def drift(size: float) -> tuple[float, float]:
        return e.drift(old, {n: size * d for n, d in unit.items()}, x, answers)

    (measured, forecast), (half, half_forecast) = drift(1e-5), drift(5e-6)
    assert half_forecast == pytest.approx(forecast / 4, rel=1e-6)
    # a linear term would leave half, not a quarter
    assert half == pytest.approx(measured / 4, rel=0.02)
    assert measured == pytest.approx(forecast, rel=0.02)
    measured, forecast = drift(1e-1)
    assert abs(measured / forecast - 1) > 0.3
    unmoved = {n: torch.zeros_like(d) for n, d in unit.items()}
    assert e.drift(old, unmoved, x, answers) == pytest.approx((0, 0), abs=1e-9)


def test_divergence_against_torch():
    g = torch.Generator().manual_seed(0)
    first, second = (torch.randn(7, 5, generator=g, dtype=torch.float64) for _ in range(2))
    expected = F.kl_div(
        second.log_softmax(1), first.log_softmax(1), log_target=True, reduction="batchmean"
    )
    assert e.divergence(first, second) == pytest.approx(float(expected))


def test_head_is_the_penalised_fit(old):
    """Stationary: the gradient of mean log loss + strength/2 ||w||^2 vanishes."""
    network = e.imagenet()
    x, y = noise(12), torch.tensor([0.0, 1.0] * 6)
    e.fit_head(network, (x, y))
    with torch.no_grad():
        features = torch.cat([network.features(part) for part in x.split(e.CHUNK)])
        error = torch.sigmoid(network(x)) - y
        slope = features.T @ error / 12 + e.STRENGTH * network.head.weight[0]
    assert float(error.mean()) == pytest.approx(0, abs=1e-5)
    assert float(slope.abs().max()) < 1e-5


def test_random_step_is_as_long_tensor_by_tensor():
    delta = {"a": torch.ones(3, 2), "b": torch.full((4,), 0.1)}
    found = e.random_like(delta, 0)
    for name, step in delta.items():
        assert float(found[name].norm()) == pytest.approx(float(step.norm()))
        assert not torch.equal(found[name], step)
