"""The three kinds of model that meet a shift, and one way to train and ask each of them.

- ``head``: a linear head on frozen ImageNet features of EfficientNet-Lite0 (1,280 of them).
- ``network``: the small network, pretrained on photographs, fine-tuned whole.
- ``statistics``: a logistic line on eight numbers of the image: a model too poor to be right.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from medxfer_lab import nets
from medxfer_lab.domain_shift.experiment import material as m
from medxfer_lab.imaging import Cohort, Hospital
from medxfer_lab.metrics import log_loss
from medxfer_lab.training import FullFineTuning, fit, predict, probe, tune

#: five trials for either kind; head: mean log loss + strength/2 ||w||^2
CANDIDATES: dict[str, list[dict]] = {
    "head": [{"strength": s} for s in (3.0, 1.0, 0.3, 0.1, 0.03)],
    "network": [{"learning_rate": r} for r in (3e-4, 6e-4, 1e-3, 2e-3, 4e-3)],
}
_WEAK = 1e-3  # penalty of the eight-number model: keeps it finite, changes nothing


@dataclass(frozen=True)
class Model:
    """kind: see the head of this file. fitted: what ``kind`` looks at -> log odds (n,).
    network: of that kind alone."""

    kind: str
    fitted: Callable[[Tensor], np.ndarray]
    network: nets.Network | None = None

    def __call__(self, cohort: Cohort) -> np.ndarray:
        """Log odds of patients who are met once."""
        return self.fitted(look(self.kind, cohort))

    def on_fixed(
        self,
        n: int,
        seed: int,
        hospital: Hospital = m.HOSPITAL,
        index: Tensor | slice = slice(None),
    ) -> np.ndarray:
        """Log odds of a cohort that all jobs share, or of its patients at ``index``."""
        shown = {
            "head": m.fixed_features,
            "network": m.fixed_pictures,
            "statistics": m.fixed_statistics,
        }[self.kind](n, seed, hospital)
        return self.fitted(shown[index])


def look(kind: str, cohort: Cohort) -> Tensor:
    """What a kind of model looks at: pictures, features, or eight numbers."""
    if kind == "network":
        return m.pictures(cohort)
    return m.features(cohort) if kind == "head" else m.statistics(cohort)


def train(
    kind: str,
    seen: Tensor,
    labels: Tensor,
    settings: dict,
    seed: int,
    steps: int,
    weights: np.ndarray | None = None,
) -> Model:
    """One model. seen: from :func:`look`. weights: (n,) of the patients, their mean 1.

    seed: checkpoint (in turn), new head and order of the batches of a network; else unused.
    """
    if kind == "network":
        return _network(seen, labels, settings, seed, steps, weights)
    if kind == "head":
        return Model(kind, _head(seen, labels, settings["strength"], weights))
    centre, spread = seen.mean(0), seen.std(0)
    line = _head((seen - centre) / spread, labels, _WEAK, weights)
    return Model(kind, lambda new: line((new - centre) / spread))


def _head(
    x: Tensor, labels: Tensor, strength: float, weights: np.ndarray | None
) -> Callable[[Tensor], np.ndarray]:
    """With weights scikit-learn's solver, at a tolerance at which it agrees with ours."""
    if weights is None:
        fitted = probe(x, labels, strength)
        return lambda new: fitted.logits(new)[0, 0].numpy()
    model = LogisticRegression(C=1 / (len(labels) * strength), tol=1e-8, max_iter=5_000)
    model.fit(x.double().numpy(), labels.numpy(), weights / weights.mean())
    return lambda new: model.decision_function(new.double().numpy())


def _network(
    shown: Tensor,
    labels: Tensor,
    settings: dict,
    seed: int,
    steps: int,
    weights: np.ndarray | None,
) -> Model:
    start = nets.load("small_cnn", "photographs", seed=seed % m.CHECKPOINTS)
    start.reset_head(seed)
    return _tuned(start, shown, labels, settings, seed, steps, weights)


def go_on(
    model: Model, seen: Tensor, labels: Tensor, settings: dict, seed: int, steps: int
) -> Model:
    """A trained network, tuned on with other labels: its old knowledge is the start."""
    if model.network is None:
        raise ValueError(f"a {model.kind!r} model has no network to tune on; train a new one")
    return _tuned(model.network, seen, labels, settings, seed, steps, None)


def _tuned(
    start: nets.Network,
    shown: Tensor,
    labels: Tensor,
    settings: dict,
    seed: int,
    steps: int,
    weights: np.ndarray | None,
) -> Model:
    done = fit(
        start,
        start.prepare(shown),
        labels,
        FullFineTuning(),
        seed=seed,
        steps=steps,
        learning_rate=settings["learning_rate"],
        flip=True,
        sample_weights=None if weights is None else torch.from_numpy(weights),
    ).network
    return Model("network", lambda new: predict(done, done.prepare(new)).double().numpy(), done)


def tuning_job(k: int, n: int, steps: int) -> dict:
    """Validation log loss of every trial, on other patients: (trials,) for each kind of model."""
    drawn, held = m.draw(n, m.TUNING_SEED + k), m.draw(n, m.TUNING_SEED + 50 + k)
    truth = held.labels.numpy().astype(float)
    losses = {}
    for kind, trials in CANDIDATES.items():
        seen, new = look(kind, drawn), look(kind, held)
        fits = [train(kind, seen, drawn.labels, s, k, steps).fitted for s in trials]
        losses[kind] = np.array([log_loss(fitted(new), truth) for fitted in fits])
    return losses


def choose(tuned: list[dict]) -> tuple[dict, dict]:
    """Settings with the least mean validation loss for each kind of model; the choices' record."""

    def loss(kind: str, settings: dict, draw: int) -> float:
        return float(tuned[draw][kind][CANDIDATES[kind].index(settings)])

    chosen = tune(CANDIDATES, loss, range(len(tuned)), budget=5)
    settings = {kind: choice.settings for kind, choice in chosen.items()}
    return settings, {kind: choice.record() for kind, choice in chosen.items()}
