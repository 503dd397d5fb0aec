"""What the lab runs live: one network of City General meets other hospitals, all of them simulated.

Its patients are in no record. Networks are trained as the chapter's experiments train theirs, with
the record's tuned learning rate where there is a record.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from medxfer_lab import metrics, nets
from medxfer_lab.course import style
from medxfer_lab.course.record import Record
from medxfer_lab.domain_shift.experiment import acquisition, league
from medxfer_lab.domain_shift.experiment import conditions as c
from medxfer_lab.domain_shift.experiment import material as m
from medxfer_lab.domain_shift.experiment.assess import (
    COST_FALSE_NEGATIVE,
    COST_FALSE_POSITIVE,
    MEASURES,
    Scores,
    inside,
    measures,
    recalibrated,
    sigmoid,
)
from medxfer_lab.domain_shift.experiment.league import Deployed
from medxfer_lab.domain_shift.experiment.models import Model, look, train
from medxfer_lab.imaging import Cohort, rescan
from medxfer_lab.methods import label_shift as ls
from medxfer_lab.training import FullFineTuning, fit, predict

LAB_SEED = 77_000
#: a missed disease costs three false alarms, so the diseased are called from here on
CALLED_FROM = ls.cost_threshold(COST_FALSE_POSITIVE, COST_FALSE_NEGATIVE)
#: a kind of model -> what it is called in tables, where the key is not the word
WORDS = {"statistics": "eight-number line"}


@dataclass(frozen=True)
class Home:
    """Patients of City General: to train on, to calibrate with, to test on; and others, of whom
    the targets are made."""

    drawn: Cohort
    held: Cohort
    test: Cohort
    others: c.Pool

    def target(self, name: str) -> Cohort:
        """Every other patient who belongs to a condition (`conditions.NAMES`), labels its own."""
        chosen = c.target(self.others, name, LAB_SEED)
        return replace(self.others.cohort.take(chosen.index), labels=chosen.labels)


def admit(n: int = 400, test: int = 400, others: int = 2000, seed: int = LAB_SEED) -> Home:
    """Simulate patients of City General; none is in a record."""
    parts = torch.arange(2 * n + test + others).split([n, n, test, others])
    everyone = m.draw(2 * n + test + others, seed)
    drawn, held, tested, rest = (everyone.take(part) for part in parts)
    return Home(drawn, held, tested, c.Pool(rest))


def settings(found: Mapping[str, Record]) -> dict:
    """learning_rate and steps of the record ``shifts``, or the league's where there is none."""
    record = found.get("shifts.simulated")
    if record is None:
        return {"learning_rate": league.LEARNING_RATE, "steps": league.PRESETS["full"]["steps"]}
    tuned = record.results["settings"]["network"]
    return {"learning_rate": tuned["learning_rate"], "steps": record.parameters["steps"]}


def deploy(
    drawn: Cohort,
    held: Cohort,
    learning_rate: float = league.LEARNING_RATE,
    steps: int = 300,
    *,
    seed: int = 0,
    weights: np.ndarray | None = None,
    device: str = "cpu",
) -> Deployed:
    """The small network, fine-tuned whole on ``drawn`` (weights: (n,)), calibrated on ``held``."""
    start = nets.load("small_cnn", "photographs", seed=seed % m.CHECKPOINTS)
    start.reset_head(seed)
    done = fit(
        start,
        start.prepare(look("network", drawn)),
        drawn.labels,
        FullFineTuning(),
        seed=seed,
        steps=steps,
        learning_rate=learning_rate,
        flip=True,
        sample_weights=None if weights is None else torch.from_numpy(weights),
        device=device,
    ).network

    def log_odds(shown: Tensor) -> np.ndarray:
        return predict(done, start.prepare(shown)).double().numpy()

    model = Model("network", log_odds, done)
    return Deployed(model, recalibrated(Scores(model(held), held.labels.numpy())))


def scores(network: Deployed, cohort: Cohort) -> Scores:
    """Calibrated log odds (nats) and labels."""
    return Scores(network.log_odds(cohort), cohort.labels.numpy())


def rates(found: Scores) -> tuple[float, float]:
    """Sensitivity and specificity when the diseased are called from CALLED_FROM on."""
    values = dict(zip(MEASURES, measures(found.z, found.y), strict=True))
    return values["sensitivity"], values["specificity"]


def operating_table(home: Scores, targets: Mapping[str, Scores]) -> str:
    """What the threshold does at home and in each target; PPV as measured, and as Bayes' rule
    predicts from home's sensitivity and specificity with the target's prevalence."""
    head = ("prevalence", "sensitivity", "specificity", "PPV", "PPV predicted")
    rows = [f"{'':<16}" + "".join(f"{word:>14}" for word in head)]
    at_home = rates(home)
    for name, found in {"home": home, **targets}.items():
        called = sigmoid(found.z) >= CALLED_FROM
        prevalence = float(found.y.mean())
        predicted = ls.predictive_values(*at_home, prevalence).positive
        values = (prevalence, *rates(found), float(found.y[called].mean()), predicted)
        rows.append(f"{name:<16}" + "".join(f"{v:>14.2f}" for v in values))
    return "\n".join(rows)


@dataclass(frozen=True)
class Correction:
    """log_odds: (n,) of the test patients. prevalence: what the target's is taken to be, with its
    95 % interval where it is an estimate."""

    prevalence: float
    low: float
    high: float
    log_odds: np.ndarray


def corrections(
    network: Deployed, home: Home, sample: Scores, test: Scores, known: float
) -> dict[str, Correction]:
    """The test patients' log odds as deployed and under three corrections for label shift.

    sample: target patients whose labels are not looked at. known: the target's true prevalence.
    """
    at_home = scores(network, home.held)
    source, seen = float(at_home.y.mean()), sigmoid(sample.z)
    bbse = ls.black_box_shift_estimate(sigmoid(at_home.z), at_home.y, seen)
    em = ls.em_prevalence(seen, source)
    ends = {
        "deployed": (source,) * 3,
        "known_prevalence": (known,) * 3,
        "bbse": (bbse.prevalence, bbse.low, bbse.high),
        "em": (em.prevalence, em.low, em.high),
    }
    return {
        name: Correction(
            *found, ls.correct_log_odds(test.z, source, inside(found[0], len(sample.z)))
        )
        for name, found in ends.items()
    }


def correction_table(found: Mapping[str, Correction], test: Scores) -> str:
    """Prevalence and log loss, a row a correction."""
    rows = [f"{'':<18}{'prevalence':>11}{'95 % interval':>17}{'log loss (nats)':>18}"]
    for key, one in found.items():
        ends = f"{one.low:.2f} to {one.high:.2f}" if one.low < one.high else ""
        loss = metrics.log_loss(one.log_odds, test.y)
        rows.append(f"{style.label(key):<18}{one.prevalence:>11.2f}{ends:>17}{loss:>18.3f}")
    return "\n".join(rows)


@lru_cache(maxsize=2)
def _scanned_twice(n: int) -> Cohort:
    return acquisition.admitted(n, LAB_SEED + 300, "mri")


def rescanned(network: Deployed, scanner: str, n: int = 300) -> tuple[Scores, Scores]:
    """The same n patients on the source scanner and on one of `acquisition.TARGETS`."""
    patients = _scanned_twice(n)
    there = rescan(patients, acquisition.TARGETS["mri"][scanner], LAB_SEED + 400)
    return scores(network, patients), scores(network, there)


@dataclass(frozen=True)
class Weighting:
    """Training with and without weights. numbers: kind of model and arm -> (sets, 2) AUC and log
    loss (nats; slope and intercept fitted to other target patients). plain: the networks."""

    numbers: dict[tuple[str, str], np.ndarray]
    plain: tuple[Deployed, ...]

    def table(self) -> str:
        """Means over training sets, and what the weights save set by set."""
        rows = [f"{'':<28}{'AUC':>7}{'log loss':>10}{'saved, set by set (nats)':>32}"]
        for (kind, arm), values in self.numbers.items():
            auc, loss = values.mean(0)
            saved = self.numbers[kind, "plain"][:, 1] - values[:, 1]
            each = " ".join(f"{v:+.3f}" for v in saved) if arm != "plain" else ""
            words = f"{WORDS.get(kind, kind)}, {arm}"
            rows.append(f"{words:<28}{auc:>7.3f}{loss:>10.3f}{each:>32}")
        return "\n".join(rows)


def weighting(
    home: Home, name: str, sets: int, how: Mapping[str, float], device: str = "cpu"
) -> Weighting:
    """Train on fresh sets of City General, plain and with the exact weights of a covariate shift,
    and score on the target. how: learning_rate and steps of the network."""
    target, numbers, plain = home.target(name), {}, []
    y, shown, eight = target.labels.numpy(), m.pictures(target), m.statistics(target)
    for k in range(sets):
        drawn = m.draw(len(home.drawn), LAB_SEED + 500 + k)
        weights = c.known_weights(drawn, name)
        for arm, w in (("plain", None), ("weighted", weights)):
            network = deploy(drawn, home.held, **how, seed=k, weights=w, device=device)
            line = train("statistics", m.statistics(drawn), drawn.labels, {}, k, 0, weights=w)
            plain += [network] if w is None else []
            for model, seen in ((line, eight), (network.model, shown)):
                found = refined(Scores(model.fitted(seen), y))
                numbers.setdefault((model.kind, arm), []).append(found)
    ordered = sorted(numbers.items(), key=lambda item: item[0][0])
    return Weighting({key: np.array(rows) for key, rows in ordered}, tuple(plain))


def refined(found: Scores) -> tuple[float, float]:
    """AUC and log loss on the second half, slope and intercept fitted to the first."""
    half = len(found.y) // 2
    second = found.part(slice(half, None))
    z = recalibrated(found.part(slice(half))).apply(second.z)
    return float(metrics.auc(z, second.y)), float(metrics.log_loss(z, second.y))


def label_shift_losses(networks: tuple[Deployed, ...], home: Home, share: int) -> dict:
    """Log losses (nats) of several networks in a target of prevalence ``share`` %, by arm."""
    target, source = home.target(f"label.{share}"), float(home.held.labels.mean())
    out: dict[str, list[float]] = {"deployed": [], "known_prevalence": []}
    for network in networks:
        found = scores(network, target)
        moved = ls.correct_log_odds(found.z, source, share / 100)
        out["deployed"].append(float(metrics.log_loss(found.z, found.y)))
        out["known_prevalence"].append(float(metrics.log_loss(moved, found.y)))
    return out


def device() -> str:
    """The fastest device at hand: a GPU if torch sees one, else the processor."""
    return "cuda" if torch.cuda.is_available() else "cpu"
