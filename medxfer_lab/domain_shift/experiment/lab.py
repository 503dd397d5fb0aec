"""What the lab runs live: one network of City General meets other hospitals, all of them simulated.

Its patients are in no record. Networks are trained as the chapter's experiments train theirs, with
the record's tuned learning rate where there is a record.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

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
from medxfer_lab.domain_shift.theory.diagnosis import (
    KINDS,
    Findings,
    diagnose_labelled,
    diagnose_unlabelled,
)
from medxfer_lab.imaging import Cohort, rescan
from medxfer_lab.methods import label_shift as ls
from medxfer_lab.methods.shift_tests import black_box_test, calibration_test, mixture_family_test
from medxfer_lab.training import FullFineTuning, fit, predict

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LAB_SEED = 77_000
MYSTERY_SEED = 9_000_000
#: a missed disease costs three false alarms, so the diseased are called from here on
CALLED_FROM = ls.cost_threshold(COST_FALSE_POSITIVE, COST_FALSE_NEGATIVE)
TOLD = 20  # target labels that a diagnosis may look at


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


@lru_cache(maxsize=1)
def verdict_network() -> Deployed:
    """One small network for figures that need verdicts: 300 patients, 150 steps, 200 calibrate."""
    everyone = m.draw(500, LAB_SEED + 900)
    drawn, held = everyone.take(torch.arange(300)), everyone.take(torch.arange(300, 500))
    return deploy(drawn, held, steps=150)


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
        rows = [f"{'':<22}{'AUC':>7}{'log loss':>10}{'saved, set by set (nats)':>32}"]
        for (kind, arm), values in self.numbers.items():
            auc, loss = values.mean(0)
            saved = self.numbers[kind, "plain"][:, 1] - values[:, 1]
            each = " ".join(f"{v:+.3f}" for v in saved) if arm != "plain" else ""
            rows.append(f"{f'{kind}, {arm}':<22}{auc:>7.3f}{loss:>10.3f}{each:>32}")
        return "\n".join(rows)


def weighting(
    home: Home, name: str, sets: int, how: Mapping[str, float], device: str = "cpu"
) -> Weighting:
    """Train on fresh sets of City General, plain and with the known weights of a covariate shift,
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


@dataclass(frozen=True)
class Pair:
    """A labelled source sample and a target sample, of whose labels the first TOLD may be read."""

    source: Cohort
    target: Cohort


def examine(network: Deployed, pair: Pair, seed: int = LAB_SEED) -> Findings:
    """What the league measures on a pair of hospitals."""
    here, z = scores(network, pair.source), network.log_odds(pair.target)
    images = [m.statistics(cohort).numpy() for cohort in (pair.source, pair.target)]
    x = [np.column_stack(pair) for pair in zip(images, (here.z, z), strict=True)]
    bbse = ls.black_box_shift_estimate(sigmoid(here.z), here.y, sigmoid(z)).prevalence
    y, few = pair.target.labels[:TOLD].numpy(), z[:TOLD]
    moved = ls.correct_log_odds(few, float(here.y.mean()), inside(bbse, len(z)))
    return Findings(
        images_p=metrics.energy_test(*x, seed=seed).p_value,
        scores_p=black_box_test(here.z, z).p_value,
        mixture_p=mixture_family_test(x[0], here.y, x[1], seed=seed).p_value,
        domain_auc=league.domain_auc(*images, seed=seed),
        deployed_p=calibration_test(few, y, seed=seed).p_value,
        corrected_p=calibration_test(moved, y, seed=seed).p_value,
    )


def diagnoses(found: Findings) -> tuple[str, str]:
    """What the chapter's rules say without target labels, and with TOLD of them."""
    return diagnose_unlabelled(found), diagnose_labelled(found)


def report(found: Findings, labels: bool = True) -> str:
    """The measurements in words, and what the rules make of them; of labels too if asked for."""
    lines = {
        "images are alike": f"p = {found.images_p:.3f}",
        "scores are alike": f"p = {found.scores_p:.3f}",
        "a mixture of the source's classes": f"p = {found.mixture_p:.3f}",
        "hospitals told apart": f"AUC {found.domain_auc:.2f}",
        "verdict without labels": diagnose_unlabelled(found),
    }
    if labels:
        lines |= {
            f"{TOLD} labels fit the model as deployed": f"p = {found.deployed_p:.3f}",
            f"{TOLD} labels fit it corrected by BBSE": f"p = {found.corrected_p:.3f}",
            f"verdict with {TOLD} labels": diagnose_labelled(found),
        }
    return "\n".join(f"{question:<42}{answer}" for question, answer in lines.items())


def alarms(network: Deployed, cohort: Cohort, counts: tuple[int, ...], repeats: int = 100) -> dict:
    """How often `calibration_test` of so many labels rejects at 5 %, over random choices of the
    patients to label: counts -> share."""
    found, rng = scores(network, cohort), np.random.default_rng((LAB_SEED, len(cohort)))
    out = {}
    for count in counts:
        chosen = [rng.choice(len(found.y), count, replace=False) for _ in range(repeats)]
        tests = [
            calibration_test(found.z[who], found.y[who], seed=i, draws=199)
            for i, who in enumerate(chosen)
        ]
        out[count] = float(np.mean([test.rejects() for test in tests]))
    return out


@lru_cache(maxsize=2)
def _source(n: int) -> Cohort:
    return m.draw(n, MYSTERY_SEED)


@lru_cache(maxsize=8)
def _target(number: int, n: int) -> tuple[Cohort, str, str]:
    """Target with everything known, kind, and how; six numbers in a row hold each kind once."""
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        raise ValueError(f"number={number!r}: mystery hospitals are numbered 1, 2, 3 and so on")
    block, place = divmod(number - 1, len(KINDS))
    kind = KINDS[np.random.default_rng((MYSTERY_SEED, block)).permutation(len(KINDS))[place]]
    target, said = league.target_hospital(kind, n, MYSTERY_SEED + 10 * number)
    return target, kind, said


def mystery(number: int, n: int = 300) -> Pair:
    """Hospital ``number`` beside City General: n patients of each, what happened kept back.

    The target's labels are NaN beyond the first TOLD; latent burden, mask and scanner are gone.
    All numbers share the source's patients. Raises ValueError for a number below 1.
    """
    target, _, _ = _target(number, n)
    labels = target.labels.clone()
    labels[TOLD:] = torch.nan
    hidden = dict.fromkeys(("masks", "burden", "patients", "scanner", "eta"))
    return Pair(_source(n), replace(target, labels=labels, scanners=(), **hidden))


def reveal(number: int, n: int = 300) -> str:
    """What happened at hospital ``number``, and the answers that are right."""
    _, kind, said = _target(number, n)
    return (
        f"hospital {number}: {kind} ({said}); right without labels: {league.merged(kind)!r}, "
        f"with labels: {kind!r}"
    )


def _figure(name: str, columns: int, width: float) -> tuple[Figure, np.ndarray]:
    """A clean figure with panels side by side, 3.7 inches high, and its axes."""
    import matplotlib.pyplot as plt

    style.apply()
    fig = plt.figure(num=name, figsize=(width * columns, 3.7), clear=True)
    return fig, fig.subplots(1, columns, squeeze=False)[0]


def _by_score(ax: Axes, p: np.ndarray, y: np.ndarray, parts: int, key: str, **how) -> None:
    """Share of diseased against mean probability in equal parts of the patients, 95 % intervals."""
    groups = np.array_split(np.argsort(p, kind="stable"), parts)
    found = [metrics.binomial_interval(int(y[g].sum()), len(g)) for g in groups]
    share, low, high = np.array([(f.estimate, f.low, f.high) for f in found]).T
    ax.plot([0, 1], [0, 1], color="0.8", lw=1, zorder=0)
    look = {"color": style.COLOURS[key], "elinewidth": 0.8, "label": style.label(key)} | how
    ax.errorbar([p[g].mean() for g in groups], share, [share - low, high - share], **look)
    ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel="predicted probability")


def calibration(targets: Mapping[str, tuple[Mapping[str, Correction], Scores]]) -> Figure:
    """Share of diseased against prediction in fifths, a panel a target, a line a correction."""
    fig, axes = _figure("calibration", len(targets), 4.2)
    for ax, (title, (found, test)) in zip(axes, targets.items(), strict=True):
        for key, one in found.items():
            dashes = "-" if key in ("deployed", "known_prevalence") else ":"
            p, how = sigmoid(one.log_odds), {"marker": style.MARKERS[key], "ls": dashes}
            _by_score(ax, p, test.y, 5, key, **how)
        ax.set_title(title)
    axes[0].set_ylabel("share with the disease")
    axes[-1].legend(loc="lower right")
    fig.supxlabel("simulated patients; on the grey line a prediction is right", fontsize=8)
    return fig


def verdicts(pairs: Mapping[str, tuple[Scores, Scores]]) -> Figure:
    """Each patient's probability before and after a change of scanner, a panel a scanner."""
    fig, axes = _figure("verdicts", len(pairs), 3.3)
    looks = ((0, "#56B4E9", "o", "healthy"), (1, "#D55E00", "^", "diseased"))
    for ax, (title, (here, there)) in zip(axes, pairs.items(), strict=True):
        before, after = sigmoid(here.z), sigmoid(there.z)
        for ill, colour, marker, word in looks:
            who = here.y == ill
            ax.plot(before[who], after[who], marker, color=colour, ms=3, label=word)
        ax.axvline(CALLED_FROM, color="0.6", lw=1)
        ax.axhline(CALLED_FROM, color="0.6", lw=1)
        changed = float(((before >= CALLED_FROM) != (after >= CALLED_FROM)).mean())
        auc = metrics.auc(there.z, there.y)
        ax.set_title(f"{title}\n{changed:.0%} of verdicts changed, AUC {auc:.2f}", fontsize=9)
        ax.set(xlabel="probability on the old scan", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes[0].set_ylabel("probability on the new scan")
    axes[0].legend(loc="lower right")
    fig.supxlabel("same simulated patients; grey: called diseased from here on", fontsize=8)
    return fig


def panels(network: Deployed, pair: Pair) -> Figure:
    """Three views of a target beside its source: scores, the labels that were told, images."""
    fig, (scored, told, images) = _figure("mystery", 3, 3.2)
    for key, marker in (("source", "o"), ("target", "^")):
        cohort, colour = getattr(pair, key), style.COLOURS[key]
        p, x = sigmoid(network.log_odds(cohort)), m.statistics(cohort).numpy()
        scored.hist(p, np.linspace(0, 1, 11), density=True, color=colour, alpha=0.45, label=key)
        images.plot(x[:, 4], x[:, 0], marker, color=colour, ms=3, alpha=0.6, label=key)
    y = pair.target.labels[:TOLD].numpy()
    _by_score(told, p[:TOLD], y, 4, "target", marker="^", ls="")
    scored.set(title="scores", xlabel="predicted probability")
    scored.set(ylabel="density", xlim=(0, 1))
    scored.legend(loc="upper center")
    told.set(title=f"{TOLD} target labels, by fives", ylabel="share with the disease")
    images.set(title="images", xlabel="97th percentile / median", ylabel="log mean brightness")
    fig.supxlabel("simulated patients; bars: 95 % intervals; images: inside the head", fontsize=8)
    return fig


def against_record(record: Record, dots: Mapping[int, Mapping[str, list[float]]]) -> Figure:
    """Log loss against prevalence: the record's means and intervals, and the lab's networks.

    dots: prevalence in % -> "deployed" and "known_prevalence" -> log losses, nats.
    """
    fig, (ax,) = _figure("against record", 1, 6.4)
    cells = {int(s): cell for s, cell in record.results["network"]["label"].items()}
    at = sorted(cells)
    for arm in ("deployed", "known_prevalence"):
        look = {"color": style.COLOURS[arm]}
        leaves = [cells[s][arm]["log_loss"] for s in at]
        mean, low, high = ([leaf[key] for leaf in leaves] for key in ("mean", "low", "high"))
        ax.plot(at, mean, label=style.label(arm), **look)
        ax.fill_between(at, low, high, alpha=0.2, **look)
        for share, found in dots.items():
            here = np.full(len(found[arm]), share)
            ax.plot(here, found[arm], style.MARKERS[arm], alpha=0.6, **look)
    ax.set(xlabel="prevalence of the target (%)", ylabel="log loss (nats)")
    ax.set_title("Dots: your networks. Lines: the record's mean.")
    ax.legend()
    return fig


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
