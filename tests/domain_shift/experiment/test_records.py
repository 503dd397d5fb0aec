"""What keeps a record current is re-running: sampled jobs of every committed record.

Each repeats a job of the record's own parameters, from the patients up, and compares within a
tolerance that other processors must meet:

- heads are convex problems: their log loss differs by the features' last bits only, .005; an AUC
  (retraining) by .005 too.
- networks: 300 steps of Adam amplify the last bits until two machines hold visibly different
  networks. The log loss of one condition may differ by .05, the median over conditions by .01. An
  overconfident network under an extreme shift is off by more at a stroke of ill luck: one condition
  in ten may. AUC (retraining): .05, median .01.
- the eight-number model: as heads.
- league: statistics of the images are exact; what hangs on the network (prevalence by BBSE) within
  .03; a p-value by permutation may move by a few of 199 draws.
- prevalence: the scores come from one network; estimates of one repetition of 300 patients within
  .03, hard decisions within .04 (patients change sides).
- real: heads: .005; p-values as in the league.
"""

from __future__ import annotations

from statistics import median
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from medxfer_lab.course.record import Record, every_record
from medxfer_lab.domain_shift import experiment
from medxfer_lab.domain_shift.experiment import (
    EXPERIMENTS,
    acquisition,
    league,
    prevalence,
    real,
    retraining,
    shifts,
)
from medxfer_lab.domain_shift.experiment import conditions as c
from medxfer_lab.domain_shift.experiment import material as m
from medxfer_lab.domain_shift.experiment.models import look, train
from medxfer_lab.imaging import hospitals

RECORDS = every_record("domain_shift")
Pairs = dict[str, tuple[float, float]]


def full(name: str) -> Record:
    """The one full record of an experiment."""
    found = [r for r in RECORDS if r.experiment == name and r.preset == "full"]
    assert len(found) == 1, f"{len(found)} full records of {name}: run `medxfer run domain_shift`"
    return found[0]


def needs_data() -> None:
    if not real.available():
        pytest.skip("MEDXFER_DATA names no folder with pneumoniamnist.npz")


def gaps(pairs: Pairs) -> dict[str, float]:
    assert pairs
    return {name: abs(then - now) for name, (then, now) in pairs.items()}


def agree(found: dict[str, float], kind: str) -> None:
    """Heads and lines to .005; networks to .05, all but one in ten, and .01 in the median."""
    values = [gap for name, gap in found.items() if name.startswith(f"{kind}.")]
    assert values, kind
    if kind != "network":
        assert max(values) <= 0.005, max(found, key=found.get)
    else:
        assert np.mean(np.array(values) <= 0.05) >= 0.9, found
        assert median(values) <= 0.01, found


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_has_its_record(name):
    full(name)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_fingerprint_is_that_of_the_parameters_weights_data_and_versions(name):
    record, module = full(name), EXPERIMENTS[name]
    if module is real:
        needs_data()
    expected = experiment.LABORATORY.fingerprint(module, record.parameters, record.data)
    assert record.fingerprint == expected, "the record is stale: run `medxfer run` again"
    preset = dict(module.PRESETS[record.preset])
    assert record.parameters == preset | ({"data": record.data} if module is real else {})
    assert record.version == module.VERSION and record.wall_s > 0


@pytest.mark.slow
def test_shifts(monkeypatch):
    """Networks, without the two hospitals of another burden, which are drawn by themselves."""
    record = full("shifts")
    monkeypatch.setattr(shifts, "MODELS", ("network",))
    monkeypatch.setattr(c, "BURDEN_NAMES", ())
    found = gaps(shifts.recheck(record, 4))
    assert len(found) == len(c.NAMES)
    agree(found, "network")


@pytest.mark.slow
def test_retraining():
    """The convex models, which must agree most closely; networks are trained again above."""
    record, kinds = full("retraining"), ("statistics", "head")
    found = gaps(retraining.recheck(record, 3, kinds))
    assert len(found) == len(kinds) * len(retraining.CONDITIONS)
    for kind in kinds:
        agree(found, kind)


@pytest.mark.slow
@pytest.mark.parametrize("modality", acquisition.TARGETS)
def test_acquisition(modality, monkeypatch):
    """The source's network on one new scanner; every other scanner costs ten seconds, and so do
    the models trained there, whose losses are not compared."""
    record, original, trained = full("acquisition"), acquisition.train, []
    monkeypatch.setattr(acquisition, "MODELS", {modality: ("network",)})
    new = {"mri": "t1", "ct": "sharp_kernel"}[modality]
    scanners = {new: acquisition.TARGETS[modality][new]}
    monkeypatch.setattr(acquisition, "TARGETS", {modality: scanners})

    def first(*how):
        if not trained:
            trained.append(original(*how))
        return trained[0]

    monkeypatch.setattr(acquisition, "train", first)
    found = gaps(acquisition.recheck(record, modality, 2))
    assert len(found) == 1 and max(found.values()) <= 0.05, found


def listed(n: int, seed: int) -> SimpleNamespace:
    """The chapter's patients with labels, burdens and scanners, not imaged."""

    def image(patients, which, scanners, criterion, *_) -> SimpleNamespace:
        burden = sum(patients.volume_ml(kind) for kind in criterion.kinds)
        labels = criterion.labels(patients)
        return SimpleNamespace(patients=patients, scanner=which, labels=labels, burden=burden)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hospitals, "image_patients", image)
        return m.HOSPITAL.draw(n, seed, size=m.SIZE)


def population_with(z: np.ndarray, others: SimpleNamespace) -> prevalence.Population:
    """`prevalence.population` whose network gave these scores."""
    draw = m.draw
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(m, "draw", lambda n, seed: others if n == len(z) else draw(n, seed))
        patch.setattr(prevalence, "train", lambda *_, **__: lambda cohort: z)
        return prevalence.population.__wrapped__(len(z), 1)


def scores_where_asked(record: Record, cells, others: SimpleNamespace, seed: int) -> np.ndarray:
    """Scores of those patients whom the first repetition draws, found with numbers for scores;
    NaN for all others."""
    n, asked = len(others.labels), set()
    nothing = dict.fromkeys(prevalence.ESTIMATORS, (0.0, 0.0, 0.0))
    numbers = population_with(np.arange(float(n)), others)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prevalence, "_population", lambda *_: numbers)
        patch.setattr(prevalence, "estimates", lambda a, b: asked.update(a[0], b) or nothing)
        for cell in cells:
            prevalence.recheck(record, *cell)
    drawn = m.draw(500, m.TRAINING_SEED - 1)
    how = {"settings": {"learning_rate": prevalence.LEARNING_RATE}, "seed": 0}
    steps = record.parameters["steps"]
    model = train("network", look("network", drawn), drawn.labels, **how, steps=steps)
    index = torch.tensor(sorted(map(int, asked)))
    scanners, criterion = tuple(s for s, _ in m.HOSPITAL.scanners), m.HOSPITAL.criterion
    who, which = others.patients.take(index), others.scanner[index]
    z = np.full(n, np.nan)
    z[index] = model(hospitals.image_patients(who, which, scanners, criterion, seed, m.SIZE))
    return z


@pytest.mark.slow
def test_prevalence(monkeypatch):
    """One network for all; a target that keeps p(x | y) and one that does not. Of the 12,000
    patients some thousand are drawn by the first repetition; only they are imaged."""
    record, cells = full("prevalence"), (("kept", 20), ("vendor", 50))
    seed = m.TRAINING_SEED - 2
    others = listed(record.parameters["population"], seed)
    world = population_with(scores_where_asked(record, cells, others, seed), others)
    monkeypatch.setattr(prevalence, "_population", lambda *_: world)
    for target, rho in cells:
        found = gaps(prevalence.recheck(record, target, rho))
        assert set(found) == set(prevalence.ESTIMATORS)
        for name, gap in found.items():
            assert gap <= (0.04 if name in ("count", "bbse_hard") else 0.03), (target, name, gap)


@pytest.mark.slow
def test_league():
    """A pair on a new scanner."""
    record = full("league")
    kinds, first = record.results["kinds"], record.parameters["first"]
    number = first + kinds.index("acquisition")
    found = gaps(league.recheck(record, number))
    assert set(found) == set(league.MEASURED)
    for name in ("prevalence", "target_prevalence"):
        assert found[name] <= 1e-5, name
    for name in ("bbse", "mixture_prevalence"):
        assert found[name] <= 0.03, name
    assert found["domain_auc"] <= 0.01
    # a permutation p-value of 199 draws, from scores that moved a little
    assert found["images_p"] <= 0.1 and found["mixture_p"] <= 0.15, found


@pytest.mark.parametrize("model", ["pixels"])
def test_real(model):
    """Pixels only: ImageNet features of the whole set take most of a minute."""
    needs_data()
    found = gaps(real.recheck(full("real"), model))
    assert found.pop("family_p") <= 0.05
    assert max(found.values()) <= 0.005, found


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_intervals_hold_their_estimates(name):
    """Every leaf with low and high: low <= mean <= high; counts are those that were run."""
    record, seen = full(name), 0
    sets = record.parameters.get("sets")

    def walk(value, where: str) -> None:
        nonlocal seen
        if isinstance(value, dict) and {"mean", "low", "high"} <= value.keys():
            ends = [value[key] for key in ("low", "mean", "high")]
            assert ends == sorted(ends), f"{where}: {ends}"
            seen += 1
            if sets and "n" in value:
                assert value["n"] == sets, where
        if isinstance(value, dict):
            for key, item in value.items():
                walk(item, f"{where}.{key}")
        elif isinstance(value, list):
            for i, item in enumerate(value):
                walk(item, f"{where}.{i}")

    walk({k: v for k, v in record.results.items() if k != "choices"}, record.name)
    assert seen >= 6


def cells(value: dict, key: str):
    """Every dict below that holds ``key``."""
    if isinstance(value, dict):
        if key in value:
            yield value
        for item in value.values():
            yield from cells(item, key)


def test_prevalence_says_how_often_the_family_test_warned():
    cells = full("prevalence").results
    for target in prevalence.TARGETS:
        assert set(cells[target]["warned"]) == {str(rho) for rho in prevalence.PREVALENCES}


@pytest.mark.parametrize(
    ("name", "listed", "mean"),
    [
        ("shifts", "log_loss_sets", ("deployed", "log_loss")),
        ("acquisition", "log_loss_sets", ("deployed", "log_loss")),
        ("retraining", "auc_sets", ("source", "auc")),
        ("retraining", "harm_sets", ("harm",)),
    ],
)
def test_means_are_those_of_the_sets_listed(name, listed, mean):
    record = full(name)
    checked = 0
    for cell in cells(record.results, listed):
        leaf = cell
        for key in mean:
            leaf = leaf[key]
        assert len(cell[listed]) == record.parameters["sets"]
        assert np.mean(cell[listed]) == pytest.approx(leaf["mean"], abs=1e-5)
        checked += 1
    assert checked >= 8


def test_the_league_s_numbers_follow_from_its_rows():
    """Accuracy of the rules that learn nothing, anew from the measurements that are kept."""
    record = full("league")
    rows, kinds = np.array(record.results["rows"]), np.array(record.results["kinds"])
    assert len(rows) == record.parameters["pairs"] and set(kinds) == set(league.KINDS)
    tree = [league.diagnose_labelled(league.findings(row)) for row in rows]
    found = record.results["labelled"]["tree"]["accuracy"]["mean"]
    assert np.mean(np.array(tree) == kinds) == pytest.approx(found, abs=1 / len(rows))
    blind = np.array([league.diagnose_unlabelled(league.findings(row)) for row in rows])
    truth = np.array([league.merged(kind) for kind in kinds])
    found = record.results["unlabelled"]["tree"]["accuracy"]["mean"]
    assert np.mean(blind == truth) == pytest.approx(found, abs=1 / len(rows))
