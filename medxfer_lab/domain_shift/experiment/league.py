"""The diagnosis league: pairs of hospitals whose shift is known, and rules that must name it.

Each pair has patients of its own: a labelled source sample, a target sample, and the first 20
labels of the target for those who are told them. The deployed network is one of a few that were
trained beforehand. The kind of shift is fixed by the pair's number, so all kinds are equally
frequent; its strength and manner are drawn. Intervals (Clopper-Pearson over pairs) cover patients,
strengths and manners, not the networks.

The rules were fixed on pairs of other seeds (preset ``quick``), before the pairs of the record.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from medxfer_lab import metrics
from medxfer_lab.course.jobs import Job
from medxfer_lab.domain_shift.experiment import conditions as c
from medxfer_lab.domain_shift.experiment import material as m
from medxfer_lab.domain_shift.experiment.assess import Scores, inside, recalibrated, sigmoid
from medxfer_lab.domain_shift.experiment.models import look, train
from medxfer_lab.domain_shift.theory.diagnosis import (
    ANSWERS,
    KINDS,
    Findings,
    alarm_and_labels,
    any_shift,
    diagnose_labelled,
    diagnose_unlabelled,
)
from medxfer_lab.imaging import FLAIR, Burden, Cohort, Criterion, relabel, resample, rescan
from medxfer_lab.imaging.scanners import FLAIR_3T, FLAIR_CORVID, Scanner, at_field
from medxfer_lab.imaging.shifts import thin
from medxfer_lab.methods.label_shift import black_box_shift_estimate, correct_log_odds
from medxfer_lab.methods.shift_tests import black_box_test, calibration_test, mixture_family_test

NAME, DATA, VERSION = "league", "simulated", 1
PRESETS = {
    "smoke": {"pairs": 12, "n": 120, "labels": 20, "n_train": 80, "steps": 20, "first": 0},
    "quick": {"pairs": 120, "n": 400, "labels": 20, "n_train": 500, "steps": 300, "first": 0},
    "full": {"pairs": 300, "n": 400, "labels": 20, "n_train": 500, "steps": 300, "first": 1000},
}
NETWORKS = 6
LEARNING_RATE = 1e-3
#: scanners that the source does not have
NEW_SCANNERS: tuple[Scanner, ...] = (
    replace(FLAIR_CORVID, name="low SNR", snr=FLAIR_CORVID.snr / 6),
    at_field(FLAIR_CORVID, 3.0, name="3 T"),
    FLAIR,
    FLAIR_3T,
)
MEASURED = (
    "images_p",
    "scores_p",
    "mixture_p",
    "domain_auc",
    "deployed_p",
    "corrected_p",
    "images_statistic",
    "mixture_statistic",
    "mixture_prevalence",
    "bbse",
    "prevalence",
    "target_prevalence",
)


@dataclass(frozen=True)
class Deployed:
    """A network and its calibration, made before any pair was drawn."""

    model: object
    line: object

    def log_odds(self, cohort: Cohort) -> np.ndarray:
        """Calibrated on the source."""
        return self.line.apply(self.model(cohort))


@lru_cache(maxsize=NETWORKS)
def deployed(number: int, n: int, steps: int) -> Deployed:
    """Network ``number``: trained on n patients of the source, calibrated on n others."""
    everyone = m.draw(2 * n, m.TRAINING_SEED + 50_000 + number)
    drawn, held = everyone.take(torch.arange(n)), everyone.take(torch.arange(n, 2 * n))
    how = {"settings": {"learning_rate": LEARNING_RATE}, "seed": number, "steps": steps}
    model = train("network", look("network", drawn), drawn.labels, **how)
    return Deployed(model, recalibrated(Scores(model(held), held.labels.numpy())))


def target_hospital(kind: str, n: int, seed: int) -> tuple[Cohort, str]:
    """n patients of a hospital that differs from the source by one kind of shift; in words, how."""
    rng = np.random.default_rng((seed, 51))
    if kind == "none":
        return m.draw(n, seed), "no shift"
    if kind == "label":
        rho = float(rng.uniform(0.05, 0.18) if rng.random() < 0.5 else rng.uniform(0.55, 0.8))
        pool = m.draw(_enough(n, rho), seed)
        return resample(pool, rho, seed, n=n).cohort, f"prevalence {rho:.2f}"
    if kind == "covariate":
        return _other_patients(n, seed, rng)
    if kind == "concept":
        return _other_readers(m.draw(n, seed), seed, rng)
    if kind == "acquisition":
        scanner = NEW_SCANNERS[rng.integers(len(NEW_SCANNERS))]
        return rescan(m.draw(n, seed), scanner, seed + 1), f"on {scanner.name}"
    affected = float(rng.uniform(0.1, 0.25) if rng.random() < 0.5 else rng.uniform(0.75, 0.9))
    burden: Burden = replace(m.HOSPITAL.burden, affected=affected)
    return m.draw(n, seed, replace(m.HOSPITAL, burden=burden)), f"affected {affected:.2f}"


def _enough(n: int, rho: float) -> int:
    """Patients to draw at prevalence about one third, so that n of prevalence rho are surely in."""
    return int(max(n * rho / 0.25, n * (1 - rho) / 0.58)) + 40


def _other_patients(n: int, seed: int, rng: np.random.Generator) -> tuple[Cohort, str]:
    kind = ("select", "select_fluid", "vendor")[rng.integers(3)]
    if kind == "vendor":
        share = float(rng.uniform(0.7, 0.95))
        pool = m.draw(4 * n, seed)
        index = thin(c.vendor_weights(share)[pool.scanner], seed)
        said = f"{share:.0%} on the second vendor"
    else:
        factor = float(rng.uniform(10, 30))
        pool = m.draw(4 * n, seed)
        index = thin(c.selection(kind, round(factor))(pool.images), seed, largest=1.0)
        said = f"{kind} by a factor {factor:.0f}"
    if len(index) < n:
        raise ValueError(f"{said}: {len(index)} of {len(pool)} patients are left, {n} are needed")
    return pool.take(index[:n]), said


def _other_readers(cohort: Cohort, seed: int, rng: np.random.Generator) -> tuple[Cohort, str]:
    if rng.random() < 0.6:
        share = float(rng.uniform(0.25, 1.0))
        return replace(
            cohort, labels=c.by_other_readers(cohort, share, seed)
        ), f"readers {share:.2f}"
    volume = float(rng.choice([10.0, 40.0]))
    return relabel(cohort, Criterion(volume_ml=volume)).cohort, f"criterion {volume:.0f} ml"


def pair_job(number: int, n: int, labels: int, n_train: int, steps: int) -> dict:
    """What is measured on pair ``number``, whose kind is KINDS[number % 6]."""
    kind = KINDS[number % len(KINDS)]
    seed = 7_000_000 + 10 * number
    ours = deployed(number // len(KINDS) % NETWORKS, n_train, steps)
    source = m.draw(n, seed)
    target, said = target_hospital(kind, n, seed + 5)
    z, y = ours.log_odds(source), source.labels.numpy()
    z_there, y_there = ours.log_odds(target), target.labels.numpy()
    images = [m.statistics(cohort).numpy() for cohort in (source, target)]
    x = [np.column_stack([s, v]) for s, v in zip(images, (z, z_there), strict=True)]
    whole = metrics.energy_test(*x, seed=seed)
    family = mixture_family_test(x[0], y, x[1], seed=seed)
    bbse = black_box_shift_estimate(sigmoid(z), y, sigmoid(z_there)).prevalence
    moved = correct_log_odds(z_there, float(y.mean()), inside(bbse, n))
    told = slice(labels)
    measured = {
        "images_p": whole.p_value,
        "scores_p": black_box_test(z, z_there).p_value,
        "mixture_p": family.p_value,
        "domain_auc": domain_auc(*images, seed=seed),
        "deployed_p": calibration_test(z_there[told], y_there[told], seed=seed).p_value,
        "corrected_p": calibration_test(moved[told], y_there[told], seed=seed).p_value,
        "images_statistic": whole.statistic,
        "mixture_statistic": family.statistic,
        "mixture_prevalence": family.prevalence,
        "bbse": bbse,
        "prevalence": float(y.mean()),
        "target_prevalence": float(y_there.mean()),
    }
    return {"measured": np.array([measured[key] for key in MEASURED]), "kind": kind, "said": said}


def domain_auc(source: np.ndarray, target: np.ndarray, seed: int) -> float:
    """How well the domains can be told apart: AUC of a random forest, each patient judged by the
    trees that did not see it. A linear rule would not do: a new scanner may lie *between* two
    known ones."""
    domain = np.repeat([0, 1], [len(source), len(target)])
    model = RandomForestClassifier(200, min_samples_leaf=2, oob_score=True, random_state=seed)
    model.fit(np.concatenate([source, target]), domain)
    return float(metrics.auc(model.oob_decision_function_[:, 1], domain))


def findings(row: np.ndarray) -> Findings:
    """The part of MEASURED that the rules look at."""
    return Findings(*(float(row[MEASURED.index(key)]) for key in MEASURED[:6]))


def run(parameters: dict, runner) -> dict:
    """Accuracy of every rule with 0 and with 20 labels, and who was taken for whom."""
    p = parameters
    shared = {key: p[key] for key in ("n", "labels", "n_train", "steps")}
    numbers = range(p["first"], p["first"] + p["pairs"])
    done = list(
        runner([Job(f"pair-{j:05d}", {"number": j, **shared}) for j in numbers], pair_job).values()
    )
    rows = np.stack([job["measured"] for job in done])
    kinds = np.array([job["kind"] for job in done])
    return {
        "pairs": len(done),
        "unlabelled": unlabelled_league(rows, kinds),
        "labelled": labelled_league(rows, kinds),
        "by_manner": _by_manner(rows, kinds, [job["said"] for job in done]),
        "rows": [[round(float(v), 5) for v in row] for row in rows],
        "kinds": kinds.tolist(),
        "said": [job["said"] for job in done],
    }


def merged(kind: str) -> str:
    """The answer that is right for a kind when nobody has labels."""
    return next(answer for answer, kinds in ANSWERS.items() if kind in kinds)


def unlabelled_league(rows: np.ndarray, kinds: np.ndarray) -> dict:
    """Answers about q(x) alone; none and concept, covariate and burden count as one each."""
    truth = np.array([merged(kind) for kind in kinds])
    tree = np.array([diagnose_unlabelled(findings(row)) for row in rows])
    alarm = np.array([any_shift(findings(row)) for row in rows])
    columns = [i for i, key in enumerate(MEASURED) if key in UNLABELLED]
    rules = {"tree": tree, "any_shift": alarm, "forest": forest(rows[:, columns], truth)}
    return _league(rules, truth, tuple(ANSWERS))


#: what a rule without target labels may look at
UNLABELLED = (
    "images_p",
    "scores_p",
    "mixture_p",
    "domain_auc",
    "images_statistic",
    "mixture_statistic",
    "mixture_prevalence",
    "bbse",
    "prevalence",
)


def labelled_league(rows: np.ndarray, kinds: np.ndarray) -> dict:
    """All six kinds apart, with the first labels of the target."""
    tree = np.array([diagnose_labelled(findings(row)) for row in rows])
    guess = {"same images": "none", "other patients": "covariate"}
    alarm = np.array([guess[any_shift(findings(row))] for row in rows])
    columns = [i for i, key in enumerate(MEASURED) if key != "target_prevalence"]
    both = np.array([alarm_and_labels(findings(row)) for row in rows])
    rules = {"tree": tree, "any_shift": alarm, "alarm_and_labels": both}
    rules["forest"] = forest(rows[:, columns], kinds)
    out = _league(rules, kinds, KINDS)
    lead = (tree == kinds).astype(float) - (both == kinds)
    return out | {"tree_minus_alarm_and_labels": metrics.mean_interval(lead).record()}


def forest(x: np.ndarray, truth: np.ndarray, seed: int = 0) -> np.ndarray:
    """What a random forest says that learnt diagnosing from the other pairs (ten folds)."""
    folds = min(10, int(np.unique(truth, return_counts=True)[1].min()))
    split = StratifiedKFold(folds, shuffle=True, random_state=seed)
    model = RandomForestClassifier(300, min_samples_leaf=3, random_state=seed)
    return cross_val_predict(model, x, truth, cv=split)


def _league(rules: dict[str, np.ndarray], truth: np.ndarray, answers: tuple[str, ...]) -> dict:
    counts = np.array([(truth == a).sum() for a in answers])
    out: dict = {"answers": list(answers), "chance": 1 / len(answers)}
    out["constant"] = float(counts.max() / counts.sum())
    for name, said in rules.items():
        right = said == truth
        out[name] = {
            "accuracy": metrics.binomial_interval(int(right.sum()), len(right)).record(),
            "confusion": {
                a: {b: int(((truth == a) & (said == b)).sum()) for b in answers} for a in answers
            },
        }
    base = out["any_shift"]["accuracy"]["mean"]
    lead = (rules["tree"] == truth).astype(float) - (rules["any_shift"] == truth)
    out["tree_minus_any_shift"] = metrics.mean_interval(lead).record() | {"any_shift": base}
    return out


def _by_manner(rows: np.ndarray, kinds: np.ndarray, said: list[str]) -> dict:
    """How often a shift of p(x) was seen, for each kind: the power of the first step."""
    seen = rows[:, MEASURED.index("images_p")] <= 0.05
    return {
        kind: metrics.binomial_interval(
            int(seen[kinds == kind].sum()), int((kinds == kind).sum())
        ).record()
        for kind in KINDS
    }


def recheck(record, number: int) -> dict[str, tuple[float, float]]:
    """{measurement: (in the record, now)} of pair ``number``."""
    p = record.parameters
    now = pair_job(number, p["n"], p["labels"], p["n_train"], p["steps"])["measured"]
    then = record.results["rows"][number - p["first"]]
    return {key: (then[i], float(now[i])) for i, key in enumerate(MEASURED)}
