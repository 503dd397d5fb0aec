"""Mystery hospitals: pairs whose shift is kept back, what is measured on them, and the answer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch

from medxfer_lab import metrics
from medxfer_lab.domain_shift.experiment import league
from medxfer_lab.domain_shift.experiment import material as m
from medxfer_lab.domain_shift.experiment.assess import inside, sigmoid
from medxfer_lab.domain_shift.experiment.lab import LAB_SEED, scores
from medxfer_lab.domain_shift.experiment.league import Deployed
from medxfer_lab.domain_shift.theory.diagnosis import (
    KINDS,
    Findings,
    diagnose_labelled,
    diagnose_unlabelled,
)
from medxfer_lab.imaging import Cohort
from medxfer_lab.methods import label_shift as ls
from medxfer_lab.methods.shift_tests import black_box_test, calibration_test, mixture_family_test

MYSTERY_SEED = 9_000_000
TOLD = 20  # target labels that a diagnosis may look at


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


def hospital(number: int, n: int = 300) -> Pair:
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
    if kind == "burden":
        said = f"another burden of disease: {said}"
    return (
        f"hospital {number}: {kind} ({said}); right without labels: {league.merged(kind)!r}, "
        f"with labels: {kind!r}"
    )
