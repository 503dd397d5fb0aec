"""The same patients on another scanner: does the source's rule stay the right one?

The text files a new scanner under covariate shift: p(y | x) kept, so the ideal rule the same, and
nothing to do but count some images more often. Each set tries that. Patients are imaged on the
source scanner and again on each target scanner; one model is trained on the pictures of each. Then,
on fixed test patients seen on the target scanner,

- *excess*: log loss of the source's model minus that of the target's own model, trained on the
  *same patients* and calibrated on its own scanner. Zero if the ideal rule is the same and both
  models are as near to it. The control, the same scanner once more, shows what zero looks like;
- *posterior_gap*: mean |p_source(x) - p_target(x)|, the two models' probabilities for one picture;
- whether the domains can be told apart, and what importance weights are then worth (training and
  calibration both weighted);
- *common_excess* (network): of one model trained on the pictures of *both* scanners. If it is as
  good as the target's own, one rule serves both; then a large excess says that the source's
  patients could not teach it, not that no common rule exists.

Computed tomography hardly shows the chapter's lesion: in a first run (8 sets) the network's AUC
there was .53, and who knows nothing loses nothing. Its patients therefore have haemorrhages as
well, and from 2 ml of them on they are diseased; those jobs were then run again.

Settings are tuned on the chapter's two-vendor hospital and used for every scanner, computed
tomography included: a badly tuned native model would make the excess too small.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch

from medxfer_lab import metrics, nets
from medxfer_lab.course.jobs import Job
from medxfer_lab.domain_shift.experiment import material as m
from medxfer_lab.domain_shift.experiment.assess import (
    ARMS,
    Scores,
    assess,
    recalibrated,
    sigmoid,
    summary,
)
from medxfer_lab.domain_shift.experiment.models import Model, choose, look, train, tuning_job
from medxfer_lab.domain_shift.experiment.ratio import (
    FittedWeights,
    fitted_weights,
    weighted_calibration,
)
from medxfer_lab.imaging import Cohort, Criterion, Disease, rescan
from medxfer_lab.imaging.scanners import (
    CT_ROUTINE,
    FLAIR_CORVID,
    FLAIR_MERGANSER,
    T1,
    Scanner,
    at_field,
)
from medxfer_lab.imaging.shifts import effective_sample_size

NAME, DATA, VERSION = "acquisition", "simulated", 1
PRESETS = {
    "smoke": {"sets": 3, "n": 80, "sample": 120, "n_test": 200, "steps": 20},
    "quick": {"sets": 2, "n": 200, "sample": 200, "n_test": 500, "steps": 150},
    "full": {"sets": 8, "n": 500, "sample": 400, "n_test": 2000, "steps": 300},
}
SOURCES: dict[str, Scanner] = {"mri": FLAIR_CORVID, "ct": CT_ROUTINE}
TARGETS: dict[str, dict[str, Scanner]] = {
    "mri": {
        "again": FLAIR_CORVID,
        "low_snr": replace(FLAIR_CORVID, name="low SNR", snr=FLAIR_CORVID.snr / 6),
        "field_3t": at_field(FLAIR_CORVID, 3.0, name="3 T"),
        "other_vendor": FLAIR_MERGANSER,
        "t1": T1,
    },
    "ct": {
        "again": CT_ROUTINE,
        "low_dose": replace(
            CT_ROUTINE, name="a tenth of the dose", photons=CT_ROUTINE.photons / 10
        ),
        "sharp_kernel": replace(CT_ROUTINE, name="sharp kernel", kernel="sharp"),
    },
}
HAEMORRHAGE = Disease("haemorrhage", mean=0.6, most=2, volume_ml=(1.0, 12.0), filling=(0.3, 0.6))
#: computed tomography is shown to the network alone: features cost most
MODELS = {"mri": ("network", "head"), "ct": ("network",)}
TUNING_DRAWS = 2


def admitted(n: int, seed: int, modality: str) -> Cohort:
    """n patients of the chapter's hospital, all on the source scanner; for computed tomography the
    disease is haemorrhage."""
    hospital = replace(m.HOSPITAL, scanners=((SOURCES[modality], 1.0),))
    if modality == "ct":
        burden = replace(hospital.burden, others=(HAEMORRHAGE,))
        criterion = Criterion(volume_ml=2.0, kinds=("haemorrhage",))
        hospital = replace(hospital, burden=burden, criterion=criterion)
    return m.draw(n, seed, hospital)


@lru_cache(maxsize=12)
def test_cohort(modality: str, scanner: str, n: int) -> Cohort:
    """The fixed test patients on one scanner ("source", or a name in TARGETS)."""
    source = admitted(n, m.TEST_SEED + 7, modality)
    if scanner == "source":
        return source
    return rescan(source, TARGETS[modality][scanner], m.TEST_SEED + 8)


@lru_cache(maxsize=24)
def test_look(kind: str, modality: str, scanner: str, n: int) -> torch.Tensor:
    """What a kind of model sees of the fixed test patients."""
    cohort = test_cohort(modality, scanner, n)
    if kind == "head":
        return m.standardise(nets.cached_features(m.imagenet(), m.pictures(cohort)))
    return look(kind, cohort)


def training_job(
    k: int, modality: str, n: int, sample: int, n_test: int, steps: int, settings: dict
) -> dict:
    """Set k on every target scanner of a modality: arrays by kind of model and scanner."""
    seed = m.TRAINING_SEED + 10_000 + k
    everyone = admitted(2 * n, seed, modality)
    drawn, held = everyone.take(torch.arange(n)), everyone.take(torch.arange(n, 2 * n))
    visitors = admitted(sample, seed + 5_000, modality)
    truth = test_cohort(modality, "source", n_test).labels.numpy()
    # visitors are numbered like the others: a seed of their own, or they would share the noise
    seeds = (seed + 100_000, seed + 100_000, seed + 200_000)
    parts = (drawn, held, visitors)
    there = {
        name: [rescan(part, scanner, one) for part, one in zip(parts, seeds, strict=True)]
        for name, scanner in TARGETS[modality].items()
    }
    out: dict = {}
    for kind in MODELS[modality]:
        seen = look(kind, drawn)
        source = train(kind, seen, drawn.labels, settings[kind], k, steps)
        fixed = Scores(source(held), held.labels.numpy())
        own_scanner = source.fitted(test_look(kind, modality, "source", n_test))
        for name, (drawn_there, held_there, visitors_there) in there.items():
            shown = test_look(kind, modality, name, n_test)
            z = source.fitted(shown)
            found = assess(
                fixed, Scores(source(visitors_there), visitors.labels.numpy()), Scores(z, truth)
            )
            key = f"{kind}.{name}"
            out |= found.arrays(key)
            seen_there = look(kind, drawn_there)
            native = train(kind, seen_there, drawn.labels, settings[kind], k, steps)
            calibrated = recalibrated(Scores(native(held_there), held.labels.numpy()))
            weights = fitted_weights(drawn, visitors_there, k)
            weighted = train(kind, seen, drawn.labels, settings[kind], k, steps, weights.known)
            held_weights = fitted_weights(held, visitors_there, k).known
            numbers = _extra(truth, fixed, own_scanner, z, calibrated.apply(native.fitted(shown)))
            numbers += _weighted(truth, weighted, shown, held, held_weights, weights)
            if kind == "network":
                both = torch.cat([seen, seen_there]), torch.cat([drawn.labels] * 2)
                common = train(kind, *both, settings[kind], k, steps)
                line = recalibrated(Scores(common(held_there), held.labels.numpy()))
                numbers.append(_second_half_loss(line.apply(common.fitted(shown)), truth))
            else:
                numbers.append(np.nan)
            out[f"extra.{key}"] = np.array(numbers)
    return out


EXTRA = (
    "auc_source",
    "auc_target",
    "log_loss_source",
    "log_loss_target",
    "excess",
    "posterior_gap",
    "verdicts_changed",
    "slope",
    "domain_auc",
    "effective_share",
    "weighted_excess",
    "common_excess",
)


def _extra(
    truth: np.ndarray, fixed: Scores, own: np.ndarray, z: np.ndarray, native: np.ndarray
) -> list[float]:
    """The first eight numbers of EXTRA. own: source model on source pictures; z: on the target's;
    native: the target's own model, calibrated."""
    half = len(truth) // 2
    at_home = recalibrated(fixed)
    deployed, home = at_home.apply(z), at_home.apply(own)
    y = truth[half:]
    losses = [metrics.log_loss(v[half:], y) for v in (home, native, deployed)]
    called = [sigmoid(v) >= 0.25 for v in (home, deployed)]
    return [
        float(metrics.auc(own[half:], y)),
        float(metrics.auc(native[half:], y)),
        losses[0],
        losses[1],
        losses[2] - losses[1],
        float(np.abs(sigmoid(deployed) - sigmoid(native)).mean()),
        float((called[0] != called[1]).mean()),
        recalibrated(Scores(deployed[:half], truth[:half])).slope,
    ]


def _weighted(
    truth: np.ndarray,
    weighted: Model,
    shown: torch.Tensor,
    held: Cohort,
    held_weights: np.ndarray,
    weights: FittedWeights,
) -> list[float]:
    """The next three numbers of EXTRA; the weighted model is calibrated on weighted patients."""
    line = weighted_calibration(weighted(held), held.labels.numpy(), held_weights)
    share = effective_sample_size(torch.from_numpy(weights.known)) / len(weights.known)
    loss = _second_half_loss(line.apply(weighted.fitted(shown)), truth)
    return [weights.domain_auc, share, loss]


def _second_half_loss(z: np.ndarray, truth: np.ndarray) -> float:
    half = len(truth) // 2
    return float(metrics.log_loss(z[half:], truth[half:]))


def run(parameters: dict, runner) -> dict:
    """Both modalities: tune on draws of their own, train, assess, summarise."""
    p = parameters
    tuned = runner(
        [
            Job(f"tune-{k}", {"k": 10 + k, "n": p["n"], "steps": p["steps"]})
            for k in range(TUNING_DRAWS)
        ],
        tuning_job,
    )
    settings, choices = choose(list(tuned.values()))
    shared = {key: p[key] for key in ("n", "sample", "n_test", "steps")} | {"settings": settings}
    jobs = [
        Job(f"{modality}-{k:03d}", {"k": k, "modality": modality, **shared})
        for modality in TARGETS
        for k in range(p["sets"])
    ]
    done = runner(jobs, training_job)
    out: dict = {"settings": settings, "choices": choices}
    for modality, scanners in TARGETS.items():
        sets = [job for key, job in done.items() if key.startswith(modality)]
        out[modality] = {
            kind: {name: _summary(sets, f"{kind}.{name}") for name in scanners}
            for kind in MODELS[modality]
        }
    return out


def _summary(sets: list[dict], key: str) -> dict:
    cell = summary(
        np.stack([job[f"measured.{key}"] for job in sets]),
        np.stack([job[f"numbers.{key}"] for job in sets]),
    )
    extra = np.stack([job[f"extra.{key}"] for job in sets])
    column = {name: extra[:, j] for j, name in enumerate(EXTRA)}
    # what weighting leaves of the excess: the weighted model's loss minus the native one's
    column["weighted_excess"] = column["weighted_excess"] - column["log_loss_target"]
    column["common_excess"] = column["common_excess"] - column["log_loss_target"]
    column["weighting_gain"] = column["excess"] - column["weighted_excess"]
    deployed = np.stack([job[f"measured.{key}"] for job in sets])[:, ARMS.index("deployed"), 0]
    known = {name: v for name, v in column.items() if not np.isnan(v).any()}
    numbers = {name: metrics.mean_interval(v).record() for name, v in known.items()}
    return cell | numbers | {"log_loss_sets": np.round(deployed, 5).tolist()}


def recheck(record, modality: str, k: int) -> dict[str, tuple[float, float]]:
    """{model.scanner: (deployed log loss in the record, now)} of set k."""
    shared = {key: record.parameters[key] for key in ("n", "sample", "n_test", "steps")}
    now = training_job(k, modality, **shared, settings=record.results["settings"])
    return {
        f"{kind}.{name}": (
            record.results[modality][kind][name]["log_loss_sets"][k],
            float(now[f"measured.{kind}.{name}"][0, 0]),
        )
        for kind in MODELS[modality]
        for name in TARGETS[modality]
    }
