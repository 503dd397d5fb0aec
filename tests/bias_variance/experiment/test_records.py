"""What keeps a record current is re-running: a few sampled jobs of every committed record.

Each repeats jobs of the record's own parameters, from the patients up, at the smaller training
sizes (sets are nested, so those are the same patients), and compares within a tolerance that other
processors must meet:

- heads: a convex problem, so AUC differs by the features' last bits only. |difference| <= .005.
- networks: some hundred steps of Adam amplify the last bits (other vector units, other order of
  summation) until two machines hold visibly different networks; the AUC of one set may differ by
  .05 at n <= 100. A wrong learning rate, label, start or set moves most cells by more than that,
  and the median over cells must stay within .01.
- ridge: one linear system per head. Relative 1e-3.
- parable: the probe as heads, the networks as networks; crossed, longer: as networks.
- distance: the loss is checked every 25 steps, so a set may match it one check later elsewhere;
  the median over cells must agree within a tenth.
- real: as heads.
"""

from __future__ import annotations

from dataclasses import replace
from statistics import median

import numpy as np
import pytest
from scipy import stats

from medxfer_lab import metrics
from medxfer_lab.bias_variance import experiment
from medxfer_lab.bias_variance.experiment import (
    EXPERIMENTS,
    crossed,
    distance,
    longer,
    networks,
    parable,
    real,
)
from medxfer_lab.bias_variance.experiment import material as m
from medxfer_lab.course.record import Record, every_record
from medxfer_lab.training import predict

RECORDS = every_record("bias_variance")
Pairs = dict[str, tuple[float, float]]


def by_name(name: str) -> list:
    return [pytest.param(r, id=r.path.stem) for r in RECORDS if r.experiment == name]


def needs_data(record: Record) -> None:
    if record.experiment == "real" and record.data not in real.available():
        pytest.skip(f"MEDXFER_DATA names no folder with {real.FILES[record.data]}")


def at_sizes(record: Record, *sizes: int) -> Record:
    """The record with its jobs cut to a few training sizes."""
    kept = [n for n in record.parameters["sizes"] if n in sizes]
    assert kept, f"{record.name} has sizes {record.parameters['sizes']}, none of {sizes}"
    return replace(record, parameters=record.parameters | {"sizes": kept})


def gaps(pairs: Pairs) -> dict[str, float]:
    assert pairs
    return {name: abs(then - now) for name, (then, now) in pairs.items()}


def test_every_experiment_has_its_record():
    found = {r.experiment for r in RECORDS if r.preset == "full"}
    assert found == set(EXPERIMENTS)


@pytest.mark.parametrize("record", [pytest.param(r, id=r.path.stem) for r in RECORDS])
def test_fingerprint_is_that_of_the_parameters_weights_data_and_versions(record):
    needs_data(record)
    module = EXPERIMENTS[record.experiment]
    expected = experiment.LABORATORY.fingerprint(module, record.parameters, record.data)
    assert record.fingerprint == expected, "the record is stale: run `medxfer run` again"
    preset = dict(module.PRESETS[record.preset])
    assert record.parameters == preset | ({"data": record.data} if module is real else {})
    assert record.version == module.VERSION and record.wall_s > 0


@pytest.mark.slow
@pytest.mark.parametrize("record", by_name("heads"))
def test_heads(record, monkeypatch):
    """All extractors but the matched scales, which take the road of the untrained network."""
    kept = {b: how for b, how in m.BACKBONES.items() if b != "matched_scales"}
    monkeypatch.setattr(m, "BACKBONES", kept)
    found = gaps(EXPERIMENTS["heads"].recheck(at_sizes(record, 16, 32, 64, 100), 4))
    assert len(found) == 4 * len(kept) * len(m.LABELS)
    assert max(found.values()) <= 0.005, max(found, key=found.get)


@pytest.mark.slow
@pytest.mark.parametrize("record", by_name("networks"))
def test_networks(record):
    found = gaps(networks.recheck(at_sizes(record, 100), 4))
    assert len(found) == len(networks.STRATEGIES) * len(m.LABELS)
    assert max(found.values()) <= 0.05, max(found, key=found.get)
    assert median(found.values()) <= 0.01


@pytest.mark.slow
@pytest.mark.parametrize("record", by_name("ridge"))
def test_ridge(record, monkeypatch):
    """Both populations rest on the same raw features: they are computed once for the two."""
    known: dict[tuple, np.ndarray] = {}
    compute = m.raw_features

    def once(pictures, backbone, seed):
        key = (len(pictures), backbone, seed)
        if key not in known:
            known[key] = compute(pictures, backbone, seed)
        return known[key].copy()

    monkeypatch.setattr(m, "raw_features", once)
    for k in (0, 57):
        pairs = EXPERIMENTS["ridge"].recheck(record, k)
        assert len(pairs) > 2 * len(record.sizes)
        for name, (then, now) in pairs.items():
            assert now == pytest.approx(then, rel=1e-3), name


def repeated_parable(record: Record, k: int) -> Pairs:
    """AUC of every arm, strategy and test, then and now."""
    p = record.parameters
    found = parable.training_job(k, p["sizes"], p["n_test"], p["n_pool"])
    return {
        f"{arm}.{name}.{test}.{n}": (
            record.results[arm][name][test][str(n)]["auc_sets"][k],
            float(found[f"{arm}.{name}"][t, j]),
        )
        for arm in parable.ARMS
        for name in parable.STRATEGIES
        for t, test in enumerate(parable.TESTS)
        for j, n in enumerate(p["sizes"])
    }


@pytest.mark.slow
@pytest.mark.parametrize("record", by_name("parable"))
def test_parable(record):
    found = gaps(repeated_parable(at_sizes(record, 16), 7))
    for name, gap in found.items():
        assert gap <= (0.005 if "linear_probe" in name else 0.05), name


def repeated_real(record: Record, k: int) -> Pairs:
    """AUC of every backbone and size at the strength that was chosen, then and now."""
    p = record.parameters
    found = real.sampling_job(k, p["data"], p["sizes"], p["limit"], p["side"])
    pairs = {}
    for backbone in real.BACKBONES:
        for j, n in enumerate(p["sizes"]):
            cell = record.results[backbone][str(n)]
            row = real.STRENGTHS.index(cell["strength"])
            pairs[f"{backbone}.{n}"] = cell["auc_sets"][k], float(found[backbone][row, j])
    return pairs


@pytest.mark.slow
@pytest.mark.parametrize("record", by_name("real"))
def test_real(record, monkeypatch):
    """Pixels on both sets; ImageNet features on the smaller one only, to save a minute."""
    needs_data(record)
    backbones = ("imagenet", "pixels") if record.data == "busi" else ("pixels",)
    monkeypatch.setattr(real, "BACKBONES", backbones)
    for k in (3, 40):
        found = gaps(repeated_real(record, k))
        assert len(found) == len(backbones) * len(record.sizes)
        assert max(found.values()) <= 0.005, max(found, key=found.get)


def repeated_crossed(record: Record, k: int, n: int, seed: int) -> Pairs:
    """AUC of one cell of the design, both strategies, then and now."""
    p = record.parameters
    drawn = m.cohort(n, m.TRAINING_SEED + k)
    test = m.fixed_cohort("test", p["n_test"])
    pairs = {}
    for name in crossed.STRATEGIES:
        picture = m.images(drawn)
        done = networks.train(picture, drawn.labels, name, crossed.SETTINGS, "lesion", seed)
        logits = predict(done.network, done.network.prepare(m.images(test))).numpy()
        now = float(metrics.auc(logits, test.labels.numpy()))
        pairs[f"{name}.{n}"] = (record.results[name][str(n)]["auc_cells"][k][seed], now)
    return pairs


@pytest.mark.parametrize("record", by_name("crossed"))
def test_crossed(record):
    found = gaps(repeated_crossed(record, 3, 32, 2))
    assert max(found.values()) <= 0.05, max(found, key=found.get)


@pytest.mark.slow
@pytest.mark.parametrize("record", by_name("longer"))
def test_longer(record):
    """The fewest steps only: the longest run of one set takes a minute.

    A record that keeps no single sets can only say how far one set lies from the mean.
    """
    n, steps, k = record.parameters["sizes"][0], record.parameters["steps"][0], 5
    found = longer.training_job(k, [n], [steps], record.parameters["n_test"])
    cell = record.results[str(n)][str(steps)]
    for name in longer.STRATEGIES:
        now = float(found[name][0, 0])
        if "auc_sets" in cell:
            assert abs(cell["auc_sets"][name][k] - now) <= 0.05, name
        else:
            leaf = cell[name]
            sets = leaf["n"]
            spread = (leaf["high"] - leaf["mean"]) * sets**0.5 / stats.t.ppf(0.975, sets - 1)
            assert abs(leaf["mean"] - now) <= 4 * spread, name


@pytest.mark.slow
@pytest.mark.parametrize("record", by_name("distance"))
def test_distance(record):
    sizes = [n for n in record.parameters["sizes"] if n <= 100]
    found = distance.training_job(5, sizes)
    relative = []
    for name in distance.STRATEGIES:
        for n, now in zip(sizes, found[name]):
            then = record.results[name][str(n)]["matched_sets"][5]
            if then > 0 and now > 0:
                relative.append(abs(now / then - 1))
    assert len(relative) >= len(sizes) and median(relative) <= 0.1, relative


@pytest.mark.parametrize("record", [pytest.param(r, id=r.path.stem) for r in RECORDS])
def test_intervals_hold_their_estimates_and_counts(record):
    """Every leaf with low and high: low <= mean <= high, from as many sets as were run."""
    seen = 0

    def walk(value, where: str) -> None:
        nonlocal seen
        if isinstance(value, dict) and {"mean", "low", "high"} <= value.keys():
            ends = [value[key] for key in ("low", "mean", "high")]
            if not any(isinstance(end, str) for end in ends):
                assert ends == sorted(ends), f"{where}: {ends}"
                seen += 1
            if "n" in value and "matched" not in where:
                assert value["n"] == record.parameters["sets"], where
        if isinstance(value, dict):
            for key, item in value.items():
                walk(item, f"{where}.{key}")

    walk(record.results, record.name)
    assert seen >= 6


@pytest.mark.parametrize("record", [pytest.param(r, id=r.path.stem) for r in RECORDS])
def test_means_are_those_of_the_sets_listed(record):
    """Where single sets are kept beside their mean, the two agree (five digits are kept)."""
    checked = 0

    def walk(value) -> None:
        nonlocal checked
        if not isinstance(value, dict):
            return
        for name, mean in (("auc_sets", "auc"), ("excess_sets", "measured")):
            if name in value:
                assert len(value[name]) == record.parameters["sets"]
                assert np.mean(value[name]) == pytest.approx(value[mean]["mean"], abs=1e-5)
                checked += 1
        for item in value.values():
            walk(item)

    walk(record.results)
    assert checked or record.experiment in ("crossed", "longer", "distance")
