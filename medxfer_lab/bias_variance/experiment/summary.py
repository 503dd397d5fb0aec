"""From predictions of m training sets to a record's numbers, the same way for every experiment."""

from __future__ import annotations

import numpy as np

from medxfer_lab import metrics
from medxfer_lab.bias_variance.experiment.material import Truth


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Probabilities of logits."""
    return 1 / (1 + np.exp(-np.asarray(logits, dtype=float)))


def decomposed(logits: np.ndarray, kind: str, truth: Truth) -> metrics.ErrorDecomposition:
    """Squared-error decomposition: against eta where it is known, else against labels."""
    if kind == "teacher":
        return metrics.decompose_squared(sigmoid(logits), eta=truth.eta)
    return metrics.decompose_squared(sigmoid(logits), labels=truth.lesion)


def summarise(logits: np.ndarray, kind: str, truth: Truth, log_loss: bool) -> dict:
    """Everything that is reported of one algorithm at one training size.

    logits: (m, n_test), one row per training set. Intervals cover the draw of training sets (with
    their initialisations), test patients held fixed. log_loss: add the Kullback-Leibler
    decomposition; only for penalised heads, whose logits stay finite.
    """
    labels = truth.labels(kind)
    scores = metrics.auc(logits, labels)
    out = {
        "auc": metrics.mean_interval(scores).record(),
        "auc_sets": np.round(scores, 5).tolist(),
        "squared": decomposed(logits, kind, truth).record(),
        "calibration_error": float(
            np.mean([metrics.calibration_error(sigmoid(row), labels) for row in logits])
        ),
    }
    if log_loss:
        target = {"eta": truth.eta} if kind == "teacher" else {"labels": truth.lesion}
        out["log_loss"] = metrics.decompose_log_loss(logits, **target).record()
    return out


def paired(first: np.ndarray, second: np.ndarray, kind: str, truth: Truth) -> dict:
    """First minus second on the same training sets: AUC, bias, variance, total, log ratio."""
    labels = truth.labels(kind)
    gap = metrics.auc(first, labels) - metrics.auc(second, labels)
    terms = metrics.compare(decomposed(first, kind, truth), decomposed(second, kind, truth))
    return {"auc": metrics.mean_interval(gap).record()} | {k: v.record() for k, v in terms.items()}


def compare_aucs(record, logits: dict, k: int, truth: Truth) -> dict[str, tuple[float, float]]:
    """{"kind.algorithm.n": (AUC in the record, AUC now)} for training set k."""
    pairs = {}
    for name, rows in logits.items():
        if not name.startswith(("lesion.", "teacher.")) or rows.ndim != 2:
            continue
        kind, algorithm = name.split(".")
        for n, row in zip(record.parameters["sizes"], rows, strict=True):
            then = record.results[kind][algorithm][str(n)]["auc_sets"][k]
            now = float(metrics.auc(row, truth.labels(kind)))
            pairs[f"{name}.{n}"] = (then, now)
    return pairs
