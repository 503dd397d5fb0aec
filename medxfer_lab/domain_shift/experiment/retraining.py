"""Train anew for the target: with importance weights, with some target labels, or with plenty.

Three questions. *How much harm does each shift do?* The deployed model's log loss minus that of a
model with as many target labels, beside the total variation between source and target, so that
shifts of different kinds can be compared. *Does importance weighting help?* Under an exact
covariate shift, three kinds of model (poor: eight statistics; flexible: a head on 1,280 features;
a whole network) are trained on the source plain, with the known weights, and with weights from a
domain classifier. *Is old knowledge harmful?* Under concept shift, 100 target labels train alone,
pooled with the source's, or (network) on from the source's network.

Scores are from the second half of the fixed test patients of the target: AUC, and the log loss
left after slope and intercept were fitted to the first half (*refined*): what a model knows, its
calibration aside. Harm is the deployed loss of the source's model minus the refined loss of the
target's; under "none" it shows what the comparison alone makes of no shift. Weighted models are
also scored *as calibrated* on weighted source patients, without target labels.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import torch

from medxfer_lab import metrics
from medxfer_lab.course.jobs import Job
from medxfer_lab.domain_shift.experiment import conditions as c
from medxfer_lab.domain_shift.experiment import material as m
from medxfer_lab.domain_shift.experiment.assess import Scores, recalibrated
from medxfer_lab.domain_shift.experiment.models import Model, choose, go_on, look, train, tuning_job
from medxfer_lab.domain_shift.experiment.ratio import fitted_weights, weighted_calibration
from medxfer_lab.domain_shift.experiment.shifts import test_target
from medxfer_lab.imaging import Cohort
from medxfer_lab.imaging.shifts import effective_sample_size
from medxfer_lab.methods.calibration import Calibration

NAME, DATA, VERSION = "retraining", "simulated", 1
PRESETS = {
    "smoke": {"sets": 3, "n": 80, "pool": 500, "k": 40, "n_test": 500, "steps": 20},
    "quick": {"sets": 2, "n": 250, "pool": 1000, "k": 60, "n_test": 1500, "steps": 150},
    "full": {"sets": 12, "n": 500, "pool": 1700, "k": 100, "n_test": 6000, "steps": 300},
}
MODELS = ("statistics", "head", "network")
COVARIATE = ("select.30", "select_fluid.30", "vendor.90")
LABEL = ("label.5", "label.80")
CONCEPT = ("readers.50", "readers.100", "criterion.40")
WEIGHTED_ARMS = ("source", "known_weights", "fitted_weights", "target")
LABEL_ARMS = ("source", "target")
CONCEPT_ARMS = ("source", "few", "pooled", "continued", "target")
CONDITIONS = ("none", *COVARIATE, *LABEL, *CONCEPT)
TUNING_DRAWS = 2


def training_job(
    set_number: int,
    n: int,
    pool: int,
    k: int,
    n_test: int,
    steps: int,
    settings: dict,
    settings_few: dict,
) -> dict:
    """(arms, 2) AUC and refined log loss of every kind of model and condition; its harm."""
    everyone = m.draw(2 * n + pool, m.TRAINING_SEED + 30_000 + set_number)
    parts = torch.arange(2 * n + pool).split([n, n, pool])
    drawn, held, others = (everyone.take(part) for part in parts)
    from_pool = c.Pool(others)
    targets = {name: c.target(from_pool, name, set_number, n) for name in CONDITIONS}
    weights, held_weights, out = {}, {}, {}
    for name in COVARIATE:
        there = others.take(targets[name].index)
        weights[name], numbers = _weights(drawn, there, name, set_number)
        held_weights[name], _ = _weights(held, there, name, set_number)
        out[f"weights.{name}"] = numbers
    for name in CONDITIONS:
        out[f"ill.{name}"] = float(targets[name].labels.sum())
    for kind in MODELS:
        seen, seen_others = look(kind, drawn), look(kind, others)
        how = {"settings": settings.get(kind, {}), "seed": set_number, "steps": steps}
        trained = partial(train, kind, **how)
        source = trained(seen, drawn.labels)
        few_trained = partial(train, kind, **(how | {"settings": settings_few.get(kind, {})}))
        seen_held, y_held = look(kind, held), held.labels.numpy()
        line = recalibrated(Scores(source.fitted(seen_held), y_held))
        for name, there in targets.items():
            x = seen_others[there.index]
            models = {"source": source, "target": trained(x, there.labels)}
            if name in COVARIATE:
                lines = {"source": line}
                for arm, w in weights[name].items():
                    models[arm] = trained(seen, drawn.labels, weights=w)
                    z = models[arm].fitted(seen_held)
                    lines[arm] = weighted_calibration(z, y_held, held_weights[name][arm])
                losses = [deployed_loss(models[a], lines[a], name, n_test) for a in lines]
                out[f"calibrated.{kind}.{name}"] = np.array(losses)
            elif name in CONCEPT:
                few = x[:k], there.labels[:k]
                both = torch.cat([seen, few[0]]), torch.cat([drawn.labels, few[1]])
                models |= {"few": few_trained(*few), "pooled": trained(*both)}
                if kind == "network":
                    models["continued"] = go_on(source, *few, settings_few[kind], set_number, steps)
            arms = arms_of(name)
            rows = [scored(models[a], name, n_test) if a in models else [np.nan] * 2 for a in arms]
            out[f"{kind}.{name}"] = np.array(rows)
            harm = deployed_loss(source, line, name, n_test) - rows[arms.index("target")][1]
            out[f"harm.{kind}.{name}"] = harm
    return out


def arms_of(name: str) -> tuple[str, ...]:
    """Who is trained under a condition."""
    if name in COVARIATE:
        return WEIGHTED_ARMS
    return CONCEPT_ARMS if name in CONCEPT else LABEL_ARMS


def deployed_loss(model: Model, line: Calibration, name: str, n_test: int) -> float:
    """Log loss of the source's model, calibrated on the source, on the target's test patients."""
    test = test_target(name, n_test)
    z, y = model.on_fixed(n_test, m.TEST_SEED, index=test.index), test.labels.numpy()
    half = len(y) // 2
    return float(metrics.log_loss(line.apply(z[half:]), y[half:]))


def total_variation(name: str, n_test: int) -> float:
    """Total variation between source and target as laws of (patient, y), on the test patients.

    Label shift: |rho - pi|. Covariate shift: 1/2 E|w - 1|. Concept shift: the share of labels that
    moved; of laws of (x, y), where an image does not settle y, it is an upper bound.
    """
    cohort = m.fixed_cohort(n_test, m.TEST_SEED)
    if name == "none":
        return 0.0
    if name in LABEL:
        return abs(c.strength(name) - cohort.prevalence)
    if name in CONCEPT:
        return float((test_target(name, n_test).labels != cohort.labels).float().mean())
    return float(np.abs(c.known_weights(cohort, name) - 1).mean() / 2)


def _weights(
    source: Cohort, target: Cohort, name: str, seed: int
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The exact and the fitted weights of source patients, and four numbers about them."""
    known, fitted = c.known_weights(source, name), fitted_weights(source, target, seed)
    sizes = [effective_sample_size(torch.from_numpy(w)) / len(known) for w in (known, fitted.known)]
    numbers = np.array([*sizes, fitted.domain_auc, np.corrcoef(known, fitted.known)[0, 1]])
    return {"known_weights": known, "fitted_weights": fitted.known}, numbers


def scored(model: Model, name: str, n_test: int) -> list[float]:
    """AUC and refined log loss on the target's test patients."""
    test = test_target(name, n_test)
    z, y = model.on_fixed(n_test, m.TEST_SEED, index=test.index), test.labels.numpy()
    half = len(y) // 2
    refined = recalibrated(Scores(z[:half], y[:half])).apply(z[half:])
    return [float(metrics.auc(z[half:], y[half:])), float(metrics.log_loss(refined, y[half:]))]


def run(parameters: dict, runner) -> dict:
    """Tune on draws of their own, train, score, compare by pairs."""
    p = parameters
    tuned = runner(
        [
            Job(f"tune-{j}", {"k": 20 + j, "n": p["n"], "steps": p["steps"]})
            for j in range(TUNING_DRAWS)
        ],
        tuning_job,
    )
    settings, choices = choose(list(tuned.values()))
    # 100 labels ask for other settings than 500: tuned with as many, on other draws of the source
    tuned_few = runner(
        [
            Job(f"tune-few-{j}", {"k": 30 + j, "n": p["k"], "steps": p["steps"]})
            for j in range(2 * TUNING_DRAWS)
        ],
        tuning_job,
    )
    settings_few, choices_few = choose(list(tuned_few.values()))
    shared = {key: p[key] for key in ("n", "pool", "k", "n_test", "steps")}
    shared |= {"settings": settings, "settings_few": settings_few}
    jobs = [Job(f"set-{j:03d}", {"set_number": j, **shared}) for j in range(p["sets"])]
    done = list(runner(jobs, training_job).values())
    out: dict = {"settings": settings, "choices": choices, "weights": {}}
    out |= {"settings_few": settings_few, "choices_few": choices_few}
    for name in COVARIATE:
        rows = np.stack([job[f"weights.{name}"] for job in done])
        labels = ("known_share", "fitted_share", "domain_auc", "correlation")
        cell = {key: metrics.mean_interval(rows[:, i]).record() for i, key in enumerate(labels)}
        put(out["weights"], name, cell)
    for kind in MODELS:
        out[kind] = {}
        for name in CONDITIONS:
            cell = _summary(np.stack([j[f"{kind}.{name}"] for j in done]), arms_of(name))
            harm = np.array([j[f"harm.{kind}.{name}"] for j in done])
            cell["harm"] = metrics.mean_interval(harm).record()
            cell["harm_sets"] = np.round(harm, 5).tolist()
            cell["total_variation"] = total_variation(name, p["n_test"])
            cell["target_ill"] = float(np.mean([j[f"ill.{name}"] for j in done]))
            if name in COVARIATE:
                losses = np.stack([j[f"calibrated.{kind}.{name}"] for j in done])
                for a, arm in enumerate(WEIGHTED_ARMS[:3]):
                    gain = metrics.mean_interval(losses[:, 0] - losses[:, a]).record()
                    cell[arm] |= {"calibrated_gain": gain}
            put(out[kind], name, cell)
    return out


def put(nested: dict, name: str, cell: dict) -> None:
    """Under family and strength of a condition's name."""
    family, _, strength = name.partition(".")
    nested.setdefault(family, {})[strength or "0"] = cell


def _summary(rows: np.ndarray, arms: tuple[str, ...]) -> dict:
    """rows: (sets, arms, 2). Means, and differences from the source model (AUC up, loss down)."""
    out: dict = {}
    for a, arm in enumerate(arms):
        if np.isnan(rows[:, a]).any():
            continue
        out[arm] = {
            "auc": metrics.mean_interval(rows[:, a, 0]).record(),
            "refined": metrics.mean_interval(rows[:, a, 1]).record(),
            "auc_gain": metrics.mean_interval(rows[:, a, 0] - rows[:, 0, 0]).record(),
            "refined_gain": metrics.mean_interval(rows[:, 0, 1] - rows[:, a, 1]).record(),
        }
    if "few" in out:
        few = arms.index("few")
        for arm in ("source", "pooled", "continued"):
            if arm in out:
                lead = rows[:, few, 0] - rows[:, arms.index(arm), 0]
                out[arm]["few_minus_this_auc"] = metrics.mean_interval(lead).record()
    out["auc_sets"] = np.round(rows[:, 0, 0], 5).tolist()
    return out


def recheck(record, k: int, kinds: tuple[str, ...] = MODELS) -> dict[str, tuple[float, float]]:
    """{model.condition: (AUC of the source's model in the record, now)} of set k."""
    p = record.parameters
    # the first n of the job's patients: a draw's patients do not depend on how many are drawn
    drawn = m.draw(p["n"], m.TRAINING_SEED + 30_000 + k)
    pairs = {}
    for kind in kinds:
        settings = record.results["settings"].get(kind, {})
        model = train(kind, look(kind, drawn), drawn.labels, settings, k, p["steps"])
        for name in CONDITIONS:
            family, _, strength = name.partition(".")
            then = record.results[kind][family][strength or "0"]["auc_sets"][k]
            pairs[f"{kind}.{name}"] = (then, scored(model, name, p["n_test"])[0])
    return pairs
