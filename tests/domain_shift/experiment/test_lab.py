"""What the lab trains and measures is what the chapter's experiments do; a mystery stays one."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
import torch
from scipy.special import expit, logit

from medxfer_lab import metrics
from medxfer_lab.domain_shift import figures
from medxfer_lab.domain_shift.experiment import lab, league, mystery, shifts
from medxfer_lab.domain_shift.experiment import material as m
from medxfer_lab.domain_shift.experiment.assess import Scores, recalibrated
from medxfer_lab.domain_shift.experiment.models import look, train
from medxfer_lab.domain_shift.theory.diagnosis import KINDS


@lru_cache(maxsize=1)
def small() -> lab.Home:
    return lab.admit(n=60, test=60, others=160, seed=5)


class Oracle:
    """A network whose log odds of its one cohort are known."""

    def __init__(self, z: np.ndarray):
        self.z = z

    def log_odds(self, cohort) -> np.ndarray:
        return self.z


def test_patients_are_divided_and_none_serves_twice():
    home = small()
    groups = (home.drawn, home.held, home.test, home.others.cohort)
    assert [len(group) for group in groups] == [60, 60, 60, 160]
    together = torch.cat([group.images for group in groups]).flatten(1)
    assert len(torch.unique(together, dim=0)) == 340
    readers = home.target("readers.100")
    assert torch.equal(readers.images, home.others.cohort.images)
    assert not torch.equal(readers.labels, home.others.cohort.labels)


@pytest.mark.parametrize("weighted", [False, True])
def test_a_deployed_network_is_the_experiment_s(weighted):
    home = small()
    weights = np.linspace(0.2, 1.8, 60) if weighted else None
    ours = lab.deploy(home.drawn, home.held, 2e-3, 8, seed=4, weights=weights)
    how = {"settings": {"learning_rate": 2e-3}, "seed": 4, "steps": 8, "weights": weights}
    theirs = train("network", look("network", home.drawn), home.drawn.labels, **how)
    line = recalibrated(Scores(theirs(home.held), home.held.labels.numpy()))
    assert np.array_equal(ours.log_odds(home.test), line.apply(theirs(home.test)))


def test_settings_are_the_record_s_where_there_is_one(as_record):
    results = {"settings": {"network": {"learning_rate": 2e-3}}}
    tuned = as_record(shifts, {"steps": 70}, results)
    assert lab.settings({"shifts.simulated": tuned}) == {"learning_rate": 2e-3, "steps": 70}
    assert lab.settings({}) == {"learning_rate": 1e-3, "steps": 300}


def test_corrections_against_the_exact_model(gaussian):
    """With exact log odds the known prevalence gives the exact posterior; estimates near it."""
    rng, rho = np.random.default_rng(1), 0.05
    held = gaussian(6000, 1 / 3, rng)
    sample, test = (gaussian(n, rho, rng, source=1 / 3) for n in (6000, 4000))
    home = replace(small(), held=replace(small().held, labels=torch.from_numpy(held.y)))
    found = lab.corrections(Oracle(held.z), home, sample, test, rho)
    assert list(found) == ["deployed", "known_prevalence", "bbse", "em"]
    assert np.allclose(found["deployed"].log_odds, test.z)
    source = held.y.mean()
    p, q = expit(test.z), expit(found["known_prevalence"].log_odds)
    bayes = p * rho / source / (p * rho / source + (1 - p) * (1 - rho) / (1 - source))
    assert np.allclose(q, bayes)
    for key in ("bbse", "em"):
        # three standard errors; with 6,000 patients of either hospital one is about .007
        assert abs(found[key].prevalence - rho) < 3 * (found[key].high - found[key].low) / 3.92
        assert 0.005 < found[key].high - found[key].low < 0.06
        one_step = found[key].log_odds - test.z
        assert np.allclose(one_step, logit(found[key].prevalence) - logit(source))
    losses = {key: metrics.log_loss(one.log_odds, test.y) for key, one in found.items()}
    assert max(losses["known_prevalence"], losses["bbse"], losses["em"]) < losses["deployed"] - 0.05
    assert f"{losses['em']:.3f}" in lab.correction_table(found, test)


def test_an_estimate_of_zero_leaves_finite_odds(gaussian):
    held = gaussian(500, 1 / 3, np.random.default_rng(4))
    home = replace(small(), held=replace(small().held, labels=torch.from_numpy(held.y)))
    healthy = Scores(np.full(50, -6.0) + np.linspace(0, 0.1, 50), np.zeros(50))
    found = lab.corrections(Oracle(held.z), home, healthy, healthy, 0.01)
    assert found["em"].prevalence == 0 and np.isfinite(found["em"].log_odds).all()


def test_the_table_counts_what_the_threshold_does():
    """Ten at home (sensitivity 3/4, specificity 5/6), twenty in a target with other counts."""
    yes, no = logit(0.26), logit(0.24)
    home = Scores(np.array([yes] * 3 + [no] + [yes] + [no] * 5), np.array([1] * 4 + [0] * 6))
    target = Scores(np.array([yes, no] + [yes] * 3 + [no] * 15), np.array([1] * 2 + [0] * 18))
    lines = lab.operating_table(home, {"rare": target}).splitlines()
    assert [float(v) for v in lines[1].split()[1:]] == [0.40, 0.75, 0.83, 0.75, 0.75]
    predicted = 0.75 * 0.1 / (0.75 * 0.1 + 0.9 / 6)
    assert [float(v) for v in lines[2].split()[1:]] == [0.10, 0.50, 0.83, 0.25, round(predicted, 2)]


def test_a_second_scan_keeps_patients_and_labels():
    network = lab.deploy(small().drawn, small().held, steps=4)
    again, there = lab.rescanned(network, "again", n=24), lab.rescanned(network, "low_snr", n=24)
    assert np.array_equal(again[0].z, there[0].z)
    assert np.array_equal(there[0].y, there[1].y)
    assert np.abs(again[1].z - again[0].z).mean() < np.abs(there[1].z - there[0].z).mean()


def test_equal_weights_change_nothing_and_others_do():
    """Vendor shares as at home make every weight 1: plain and weighted are then one model."""
    how = {"learning_rate": 1e-3, "steps": 4}
    same = lab.weighting(small(), "vendor.30", 2, how)
    assert same.numbers["network", "plain"].shape == (2, 2) and len(same.plain) == 2
    for kind, tolerance in (("network", 1e-5), ("statistics", 1e-4)):
        plain, weighted = same.numbers[kind, "plain"], same.numbers[kind, "weighted"]
        assert np.allclose(plain, weighted, atol=tolerance)
    other = lab.weighting(small(), "vendor.70", 1, how)
    for kind in ("network", "statistics"):
        gap = other.numbers[kind, "plain"][:, 1] - other.numbers[kind, "weighted"][:, 1]
        assert abs(gap[0]) > 1e-4
        assert f"{gap[0]:+.3f}" in other.table()
    assert "eight-number line, weighted" in other.table() and "statistics" not in other.table()


@pytest.mark.parametrize("number", [0, 3])
def test_examination_is_the_league_s(number, monkeypatch):
    """On the league's own pair, with its network, the same findings."""
    made = lab.deploy(small().drawn, small().held, steps=4)
    monkeypatch.setattr(league, "deployed", lambda *_: made)
    row = league.pair_job(number, n=60, labels=mystery.TOLD, n_train=0, steps=0)["measured"]
    seed = 7_000_000 + 10 * number
    target, _ = league.target_hospital(KINDS[number], 60, seed + 5)
    found = mystery.examine(made, mystery.Pair(m.draw(60, seed), target), seed)
    assert found == league.findings(row)
    assert mystery.diagnoses(found)[0] in mystery.report(found, labels=False)
    assert "labels fit" in mystery.report(found) and "labels fit" not in mystery.report(
        found, labels=False
    )


def test_alarms_keep_their_size_and_grow_with_labels(gaussian):
    """Calibrated: 5 % of 400 choices, four binomial standard errors. Turned round: nearly all."""
    right = gaussian(20_000, 1 / 3, np.random.default_rng(6))
    cohort = replace(small().held, labels=torch.from_numpy(right.y))
    sizes = mystery.alarms(Oracle(right.z), cohort, (10, 40), repeats=400)
    assert all(abs(share - 0.05) < 4 * np.sqrt(0.05 * 0.95 / 400) for share in sizes.values())
    wrong = mystery.alarms(Oracle(-right.z), cohort, (2, 40), repeats=100)
    assert wrong[40] > 0.95 > wrong[2]


def test_a_mystery_keeps_its_secret_and_its_number():
    seen = mystery.hospital(2, n=40)
    assert len(seen.source) == len(seen.target) == 40
    told = seen.target.labels[: mystery.TOLD]
    assert set(told.tolist()) <= {0.0, 1.0} and seen.target.labels[mystery.TOLD :].isnan().all()
    for part in ("masks", "burden", "patients", "scanner", "eta"):
        assert getattr(seen.target, part) is None
    assert seen.target.scanners == ()
    again = mystery.hospital(2, n=40)
    assert torch.equal(seen.target.images, again.target.images)
    assert not torch.equal(seen.target.images[:5], mystery.hospital(3, n=40).target.images[:5])


def test_every_six_numbers_hold_each_kind_in_an_order_of_their_own(monkeypatch):
    monkeypatch.setattr(league, "target_hospital", lambda kind, n, seed: (None, str(seed)))
    mystery._target.cache_clear()
    said = [mystery.reveal(number, n=1) for number in range(1, 25)]
    mystery._target.cache_clear()
    kinds = [next(k for k in KINDS if f": {k} (" in line) for line in said]
    blocks = [kinds[i : i + 6] for i in range(0, 24, 6)]
    assert all(sorted(block) == sorted(KINDS) for block in blocks)
    assert len({tuple(block) for block in blocks}) > 1
    assert len(set(said)) == 24
    for kind, line in zip(kinds, said, strict=True):
        assert f"{league.merged(kind)!r}" in line and f"labels: {kind!r}" in line
        assert (kind == "burden") == ("another burden of disease" in line)


@pytest.mark.parametrize("number", [0, -1, 1.0, True, "one"])
def test_a_hospital_needs_a_number(number):
    with pytest.raises(ValueError, match="numbered 1, 2, 3"):
        mystery.hospital(number)


def test_figures_draw_what_they_were_given(gaussian, as_record):
    import matplotlib.pyplot as plt

    test = gaussian(200, 0.3, np.random.default_rng(7))
    one = lab.Correction(0.3, 0.3, 0.3, test.z)
    fig = figures.lab_calibration({"here": ({"deployed": one}, test), "there": ({"em": one}, test)})
    x, y = fig.axes[0].containers[0].lines[0].get_data()
    order = np.argsort(test.z)
    assert np.allclose(y, [test.y[g].mean() for g in np.split(order, 5)])
    assert np.allclose(x, [expit(test.z[g]).mean() for g in np.split(order, 5)])

    turned = Scores(-test.z, test.y)
    fig = figures.lab_verdicts({"same": (test, test), "turned": (test, turned)})
    assert "0% of verdicts" in fig.axes[0].get_title("left")
    assert f"AUC {metrics.auc(-test.z, test.y):.2f}" in fig.axes[1].get_title("left")

    leaf = {"log_loss": {"mean": 0.4, "low": 0.3, "high": 0.5}}
    cells = {str(s): {"deployed": leaf, "known_prevalence": leaf} for s in (5, 80)}
    dots = {5: {"deployed": [0.6, 0.7], "known_prevalence": [0.1]}}
    fig = figures.lab_against_record(as_record(shifts, {}, {"network": {"label": cells}}), dots)
    drawn = [line.get_data() for line in fig.axes[0].lines]
    assert any(list(x) == [5, 80] and list(y) == [0.4, 0.4] for x, y in drawn)
    assert any(list(x) == [5, 5] and list(y) == [0.6, 0.7] for x, y in drawn)
    plt.close("all")


def test_panels_show_the_told_labels_alone():
    import matplotlib.pyplot as plt

    network = lab.deploy(small().drawn, small().held, steps=4)
    seen = mystery.hospital(2, n=40)
    fig = figures.lab_panels(network, seen)
    points = fig.axes[1].containers[0].lines[0].get_data()[1]
    assert len(points) == 4
    assert np.isclose(points.mean(), float(seen.target.labels[: mystery.TOLD].mean()))
    assert len(fig.axes[2].lines[1].get_xdata()) == 40
    plt.close("all")


def test_losses_of_several_networks_by_prevalence():
    network = lab.deploy(small().drawn, small().held, steps=4)
    found = lab.label_shift_losses((network, network), small(), 80)
    assert found["deployed"][0] == found["deployed"][1]
    there = lab.scores(network, small().target("label.80"))
    source = float(small().held.labels.mean())
    moved = there.z + logit(0.8) - logit(source)
    assert np.isclose(
        found["known_prevalence"][0], np.logaddexp(0, np.where(there.y, -moved, moved)).mean()
    )
