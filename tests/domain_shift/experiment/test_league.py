"""Pairs are what they say, findings keep their order, rules are judged on pairs not seen."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict

from medxfer_lab.domain_shift.experiment import league as g
from medxfer_lab.domain_shift.experiment import material as m
from medxfer_lab.domain_shift.theory.diagnosis import ANSWERS, KINDS, Findings

SEED = 4_000_005


@pytest.fixture
def few_trees(monkeypatch):
    """Forests of 40 trees: what is tested does not hang on their number."""
    monkeypatch.setattr(
        g, "RandomForestClassifier", lambda trees, **rest: RandomForestClassifier(40, **rest)
    )


def hospitals(kind: str, n: int, seeds: range):
    return [(seed, *g.target_hospital(kind, n, seed)) for seed in seeds]


def test_no_shift_is_another_draw():
    ((seed, cohort, said),) = hospitals("none", 20, range(SEED, SEED + 1))
    assert torch.equal(cohort.images, m.draw(20, seed).images) and said == "no shift"


def test_label_pairs_have_the_prevalence_that_is_said():
    both = set()
    for _, cohort, said in hospitals("label", 40, range(SEED, SEED + 4)):
        rho = float(said.split()[-1])
        assert len(cohort) == 40 and abs(float(cohort.labels.sum()) - 40 * rho) < 1 + 40 * 0.005
        assert torch.equal(cohort.labels, (cohort.burden >= 20).float())
        assert 0.05 <= rho <= 0.18 or 0.55 <= rho <= 0.8
        assert len(cohort.patient_ids.unique()) == 40
        both.add(rho > 0.5)
    assert both == {True, False}


@pytest.mark.parametrize("rho", [0.05, 0.18, 0.55, 0.8])
def test_a_label_pair_finds_its_patients(rho):
    """n rho diseased of a third, n (1 - rho) healthy of two thirds, five deviations to spare."""
    n = 400
    drawn = g._enough(n, rho)
    for p, wanted in ((1 / 3, n * rho), (2 / 3, n * (1 - rho))):
        assert drawn * p - 5 * np.sqrt(drawn * 2 / 9) > wanted + 1


def test_covariate_pairs_are_other_patients_with_their_own_labels():
    seen = set()
    for seed, cohort, said in hospitals("covariate", 25, range(SEED, SEED + 4)):
        assert len(cohort) == 25
        assert torch.equal(cohort.labels, (cohort.burden >= 20).float())
        pool = m.draw(100, seed)
        assert set(cohort.patient_ids.tolist()) <= set(pool.patient_ids.tolist())
        if "vendor" in said:
            share = float(said.partition("%")[0]) / 100
            n, p = len(cohort), float((cohort.scanner == 1).float().mean())
            assert 0.695 <= share <= 0.955
            assert abs(p - share) < 4 * np.sqrt(share * (1 - share) / n) + 0.05
        seen.add(said.split()[0])
    assert len(seen) >= 2


def test_concept_pairs_are_the_same_images_called_otherwise():
    manners = set()
    for seed, cohort, said in hospitals("concept", 20, range(SEED, SEED + 12)):
        own = m.draw(20, seed)
        assert torch.equal(cohort.images, own.images)
        if said.startswith("criterion"):
            volume = float(said.split()[1])
            assert torch.equal(cohort.labels, (own.burden >= volume).float())
        else:
            spots = (own.patients.volume_ml("lookalike") >= 0.5).float()
            moved = cohort.labels != own.labels
            assert moved.any() and torch.equal(cohort.labels[moved], spots[moved])
        manners.add(said.split()[0])
    assert manners == {"criterion", "readers"}


def test_acquisition_pairs_are_the_same_patients_on_a_scanner_the_source_never_had():
    names = set()
    for seed, cohort, said in hospitals("acquisition", 20, range(SEED, SEED + 5)):
        own = m.draw(20, seed)
        assert torch.equal(cohort.labels, own.labels) and torch.equal(cohort.burden, own.burden)
        assert not torch.equal(cohort.images, own.images)
        assert cohort.scanners[0] in g.NEW_SCANNERS
        assert cohort.scanners[0] not in [s for s, _ in m.HOSPITAL.scanners]
        assert said == f"on {cohort.scanners[0].name}"
        names.add(said)
    assert len(names) >= 2


def test_burden_pairs_have_the_share_of_affected_that_is_said():
    for _, cohort, said in hospitals("burden", 60, range(SEED, SEED + 3)):
        share = float(said.split()[1])
        count = int((cohort.burden > 0).sum())
        assert abs(count - 60 * share) < 4 * np.sqrt(60 * share * (1 - share)) + 0.5
        assert share <= 0.25 or share >= 0.75
        assert torch.equal(cohort.labels, (cohort.burden >= 20).float())


@pytest.fixture
def fake_network(monkeypatch):
    """Log odds that know the lesion's volume, with noise of their own."""

    class Fake:
        def log_odds(self, cohort):
            noise = np.random.default_rng(len(cohort)).standard_normal(len(cohort))
            return 2 * np.log((cohort.burden.numpy().astype(float) + 1) / 20) + noise

    monkeypatch.setattr(g, "deployed", lambda number, n, steps: Fake())
    return Fake()


def test_a_pair_s_kind_is_its_number(fake_network, few_trees):
    for number in (0, 3, 10):
        assert g.pair_job(number, 20, 20, 40, 2)["kind"] == KINDS[number % 6]


def test_measurements_by_hand(fake_network):
    """Pair 1, label shift: prevalences, BBSE, the test of the scores, the mixture's prevalence."""
    number, n = 1, 150
    job = g.pair_job(number, n, 20, 40, 2)
    found = dict(zip(g.MEASURED, job["measured"]))
    seed = 7_000_000 + 10 * number
    source, (target, said) = m.draw(n, seed), g.target_hospital("label", n, seed + 5)
    assert job["said"] == said
    assert found["prevalence"] == pytest.approx(source.prevalence)
    assert found["target_prevalence"] == pytest.approx(target.prevalence)
    p, q = (1 / (1 + np.exp(-fake_network.log_odds(c))) for c in (source, target))
    y = source.labels.numpy()
    raw = (q.mean() - p[y == 0].mean()) / (p[y == 1].mean() - p[y == 0].mean())
    assert found["bbse"] == pytest.approx(np.clip(raw, 0, 1))
    assert abs(found["mixture_prevalence"] - target.prevalence) < 0.2
    z, z_there = (fake_network.log_odds(c) for c in (source, target))
    assert found["scores_p"] == pytest.approx(ks_2samp(z, z_there).pvalue)
    again = g.pair_job(number, n, 20, 40, 2)["measured"]
    assert np.array_equal(job["measured"], again)


def test_labels_beyond_the_first_are_not_looked_at(fake_network, monkeypatch):
    """With every later label turned round, only the target's prevalence, the truth, moves."""
    before = g.pair_job(0, 60, 20, 40, 2)["measured"]
    honest = g.target_hospital

    def spoilt(kind, n, seed):
        cohort, said = honest(kind, n, seed)
        labels = cohort.labels.clone()
        labels[20:] = 1 - labels[20:]
        return g.replace(cohort, labels=labels), said

    monkeypatch.setattr(g, "target_hospital", spoilt)
    after = g.pair_job(0, 60, 20, 40, 2)["measured"]
    changed = [key for key, a, b in zip(g.MEASURED, before, after) if a != b]
    assert changed == ["target_prevalence"]


def test_deployed_is_trained_and_calibrated_on_different_patients(drawn_from_the_ward):
    g.deployed.cache_clear()
    a, b = g.deployed(0, 40, 2), g.deployed(1, 40, 2)
    g.deployed.cache_clear()
    assert a is not b
    held = m.draw(80, m.TRAINING_SEED + 50_000).take(torch.arange(40, 80))
    p = 1 / (1 + np.exp(-a.log_odds(held)))
    n1 = float(held.labels.sum())
    smooth = (n1 * (n1 + 1) / (n1 + 2) + (40 - n1) / (40 - n1 + 2)) / 40  # Platt's targets
    assert p.mean() == pytest.approx(smooth, abs=1e-4)


def test_domain_auc_sees_a_scanner_between_two_known_ones():
    """Source at -3 and 3, target at 0: a linear rule is blind, trees are not."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((200, 8))
    x[:, 0] = x[:, 0] / 3 + 3 * rng.choice([-1, 1], 200)
    t = rng.standard_normal((200, 8))
    t[:, 0] = t[:, 0] / 3
    assert g.domain_auc(x, t, 0) > 0.97
    domain = np.repeat([0, 1], 200)
    line = LogisticRegression()
    z = cross_val_predict(line, np.r_[x, t], domain, cv=5, method="decision_function")
    assert roc_auc_score(domain, z) < 0.65


def test_domain_auc_of_one_hospital_is_a_half(few_trees):
    rng = np.random.default_rng(1)
    aucs = [g.domain_auc(*rng.standard_normal((2, 100, 8)), seed) for seed in range(8)]
    error = np.sqrt(201 / (12 * 100 * 100) / 8)
    assert abs(np.mean(aucs) - 0.5) < 4 * error + 0.02  # out of bag, trees lean a little away


def test_findings_take_the_measurements_of_their_names():
    row = np.arange(len(g.MEASURED)) / 100
    found = g.findings(row)
    for name in Findings.__dataclass_fields__:
        assert getattr(found, name) == row[g.MEASURED.index(name)], name


def test_merged():
    said = {kind: g.merged(kind) for kind in KINDS}
    assert said["none"] == said["concept"] == "same images"
    assert said["covariate"] == said["burden"] == "other patients"
    assert (said["label"], said["acquisition"]) == ("label shift", "new scanner")


def test_rules_without_labels_look_at_none():
    assert set(g.UNLABELLED) < set(g.MEASURED)
    assert not {"deployed_p", "corrected_p", "target_prevalence"} & set(g.UNLABELLED)


def made_up(kinds: np.ndarray, rng) -> np.ndarray:
    """Rows on which the tree is right, whatever the kind."""
    rows = rng.uniform(0.2, 0.8, (len(kinds), len(g.MEASURED)))
    put = {
        "none": {"images_p": 0.5, "scores_p": 0.5, "deployed_p": 0.5},
        "concept": {"images_p": 0.5, "scores_p": 0.5, "deployed_p": 0.01},
        "label": {"images_p": 0.01, "mixture_p": 0.5, "corrected_p": 0.5},
        "covariate": {"images_p": 0.01, "mixture_p": 0.01, "deployed_p": 0.5},
        "burden": {"images_p": 0.01, "mixture_p": 0.01, "deployed_p": 0.01},
        "acquisition": {"images_p": 0.01, "domain_auc": 0.99},
    }
    for row, kind in zip(rows, kinds):
        row[g.MEASURED.index("domain_auc")] = 0.6
        for key, value in put[kind].items():
            row[g.MEASURED.index(key)] = value
    return rows


KINDS_OF_PAIRS = np.array(KINDS * 10)


def test_tree_on_hand_made_findings(few_trees):
    rows = made_up(KINDS_OF_PAIRS, np.random.default_rng(0))
    labelled, unlabelled = (
        f(rows, KINDS_OF_PAIRS) for f in (g.labelled_league, g.unlabelled_league)
    )
    for found in (labelled, unlabelled):
        assert found["tree"]["accuracy"]["mean"] == 1.0
        for truth, row in found["tree"]["confusion"].items():
            assert row[truth] == sum(row.values())
    # "any shift": right for none and for what it calls covariate, ten pairs each of sixty
    assert labelled["any_shift"]["accuracy"]["mean"] == pytest.approx(20 / 60)
    assert labelled["tree_minus_any_shift"]["mean"] == pytest.approx(40 / 60)
    assert labelled["chance"] == pytest.approx(1 / 6) and labelled["constant"] == pytest.approx(
        1 / 6
    )
    # the rival with labels also knows concept shift
    assert labelled["alarm_and_labels"]["accuracy"]["mean"] == pytest.approx(30 / 60)
    assert labelled["tree_minus_alarm_and_labels"]["mean"] == pytest.approx(30 / 60)
    assert unlabelled["any_shift"]["accuracy"]["mean"] == pytest.approx(40 / 60)
    assert unlabelled["constant"] == pytest.approx(1 / 3) and unlabelled["chance"] == 0.25
    assert unlabelled["answers"] == list(ANSWERS) and labelled["answers"] == list(KINDS)


def test_the_lead_is_paired_over_pairs(few_trees):
    rows = made_up(KINDS_OF_PAIRS, np.random.default_rng(0))
    rows[:7, g.MEASURED.index("deployed_p")] = 0.001
    found = g.labelled_league(rows, KINDS_OF_PAIRS)
    tree = [g.diagnose_labelled(g.findings(row)) == k for row, k in zip(rows, KINDS_OF_PAIRS)]
    guess = {"same images": "none", "other patients": "covariate"}
    alarm = [guess[g.any_shift(g.findings(row))] == k for row, k in zip(rows, KINDS_OF_PAIRS)]
    lead = np.array(tree, float) - np.array(alarm)
    leaf = found["tree_minus_any_shift"]
    half = 2.000995 * lead.std(ddof=1) / np.sqrt(60)  # Student's t, 59 degrees of freedom
    assert leaf["mean"] == pytest.approx(lead.mean())
    assert leaf["high"] - leaf["mean"] == pytest.approx(half, rel=1e-5)
    assert sum(sum(r.values()) for r in found["tree"]["confusion"].values()) == 60


def test_the_forest_never_sees_the_pair_it_judges(few_trees):
    """With truths dealt out at random it is at chance; had it seen its pair, it would be near 1."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal((120, 9))
    right = [np.mean(g.forest(x, t) == t) for t in (rng.permutation(KINDS * 20) for _ in range(3))]
    error = np.sqrt(1 / 6 * 5 / 6 / 360)
    assert abs(np.mean(right) - 1 / 6) < 4 * error
    truth = np.array(KINDS * 20)
    x[:, 0] += 8 * np.array([KINDS.index(t) for t in truth])
    assert np.mean(g.forest(x, truth) == truth) > 0.9


def test_run_record_and_recheck(fake_network, few_trees, runner, as_record, tmp_path):
    parameters = {"pairs": 12, "n": 24, "labels": 20, "n_train": 40, "steps": 2, "first": 6}
    done: dict[str, dict] = {}

    def watching(jobs, function):
        assert [job.parameters["number"] for job in jobs] == list(range(6, 18))
        done.update(runner(jobs, function))
        return done

    results = g.run(parameters, watching)
    assert results["pairs"] == 12 and results["kinds"] == list(KINDS) * 2
    rows = np.stack([job["measured"] for job in done.values()])
    np.testing.assert_allclose(results["rows"], rows, atol=6e-6)
    seen = rows[:, g.MEASURED.index("images_p")] <= 0.05
    for i, kind in enumerate(KINDS):
        assert results["by_manner"][kind]["mean"] == pytest.approx(seen[i::6].mean())
    record = as_record(g, parameters, results)
    assert type(record).load(record.save(tmp_path / "league.simulated.cpu.json")) == record
    for name, (then, now) in g.recheck(record, 9).items():
        assert now == pytest.approx(then, abs=1e-5), name


def test_presets():
    full, quick = g.PRESETS["full"], g.PRESETS["quick"]
    assert set(full) == set(quick) == set(g.PRESETS["smoke"])
    assert full["first"] >= quick["first"] + quick["pairs"]  # rules were fixed on other pairs
    assert all(preset["pairs"] % len(KINDS) == 0 for preset in g.PRESETS.values())
