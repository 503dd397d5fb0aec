"""From predictions to a record's numbers: against scikit-learn and brute-force averages."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from medxfer_lab.bias_variance.experiment import summary
from medxfer_lab.bias_variance.experiment.material import Truth
from medxfer_lab.course.record import plain


@pytest.fixture
def truth() -> Truth:
    rng = np.random.default_rng(0)
    eta = rng.beta(1, 1, 70)
    lesion, drawn = ((rng.random(70) < eta).astype(float) for _ in range(2))
    return Truth(lesion, eta, drawn)


@pytest.fixture
def logits() -> np.ndarray:
    return np.random.default_rng(1).standard_normal((6, 70)) * 1.5


@pytest.mark.parametrize("kind", ["lesion", "teacher"])
def test_summarise(truth, logits, kind):
    found = summary.summarise(logits, kind, truth, log_loss=True)
    labels = truth.lesion if kind == "lesion" else truth.teacher
    scores = [roc_auc_score(labels, row) for row in logits]
    np.testing.assert_allclose(found["auc_sets"], scores, atol=5.1e-6)  # five digits kept
    assert found["auc"]["mean"] == pytest.approx(np.mean(scores))
    half = stats.t.ppf(0.975, 5) * np.std(scores, ddof=1) / np.sqrt(6)
    assert found["auc"]["high"] - found["auc"]["mean"] == pytest.approx(half)
    p = 1 / (1 + np.exp(-logits))
    variance = p.var(0, ddof=1).mean()
    target = truth.eta if kind == "teacher" else truth.lesion
    gap = ((p.mean(0) - target) ** 2).mean() - variance / 6
    assert found["squared"]["variance"]["mean"] == pytest.approx(variance)
    name = "bias" if kind == "teacher" else "bias_plus_noise"
    named = [k for k in found["squared"] if k.startswith("bias") and found["squared"][k]]
    assert any(found["squared"][k]["mean"] == pytest.approx(gap) for k in named), (name, named)
    assert "log_loss" in found and plain(found)


def test_log_loss_is_left_out_for_networks(truth, logits):
    assert "log_loss" not in summary.summarise(logits, "lesion", truth, log_loss=False)


@pytest.mark.parametrize("kind", ["lesion", "teacher"])
def test_paired_is_first_minus_second(truth, logits, kind):
    other = logits[:, ::-1] * 0.5
    found = summary.paired(logits, other, kind, truth)
    labels = truth.labels(kind)
    gaps = [roc_auc_score(labels, a) - roc_auc_score(labels, b) for a, b in zip(logits, other)]
    assert found["auc"]["mean"] == pytest.approx(np.mean(gaps))
    half = stats.t.ppf(0.975, 5) * np.std(gaps, ddof=1) / np.sqrt(6)
    assert found["auc"]["high"] - found["auc"]["low"] == pytest.approx(2 * half)
    variances = [(1 / (1 + np.exp(-z))).var(0, ddof=1).mean() for z in (logits, other)]
    assert found["variance"]["mean"] == pytest.approx(variances[0] - variances[1])
    low, high = (found["log_variance_ratio"][k] for k in ("low", "high"))
    assert low < np.log(variances[0] / variances[1]) < high
    turned = summary.paired(other, logits, kind, truth)
    assert turned["bias"]["mean"] == pytest.approx(-found["bias"]["mean"])


def test_compare_aucs_pairs_by_name_and_size(truth, logits):
    record = SimpleNamespace(
        parameters={"sizes": [16, 32]},
        results={"lesion": {"x": {n: {"auc_sets": [0.1, 0.2]} for n in ("16", "32")}}},
    )
    rows = {
        "lesion.x": logits[:2],
        "distance.lesion.x": np.zeros(2),
        "matched.lesion.x": logits[:2],
    }
    pairs = summary.compare_aucs(record, rows, 1, truth)
    assert set(pairs) == {"lesion.x.16", "lesion.x.32"}
    assert pairs["lesion.x.32"] == (0.2, pytest.approx(roc_auc_score(truth.lesion, logits[1])))


def test_sigmoid():
    assert summary.sigmoid(np.array([0.0, np.log(3)])).tolist() == pytest.approx([0.5, 0.75])
