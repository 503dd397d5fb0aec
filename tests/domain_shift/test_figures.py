"""The chapter's figures: they draw what a record says, with words on every axis.

Records are made up through each experiment's own `run`, with a runner that invents the jobs'
results: so their structure is the experiment's, whatever the numbers.
"""

from __future__ import annotations

import copy
import warnings
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure

from medxfer_lab.course import style
from medxfer_lab.domain_shift import figures
from medxfer_lab.domain_shift.experiment import (
    acquisition,
    conditions,
    league,
    prevalence,
    real,
    retraining,
    shifts,
)
from medxfer_lab.domain_shift.experiment.assess import ARMS, MEASURES
from medxfer_lab.domain_shift.experiment.models import CANDIDATES
from medxfer_lab.domain_shift.figures import parts, patients
from medxfer_lab.domain_shift.figures import shifts as shift_figures
from medxfer_lab.domain_shift.figures.results import SCANNERS
from medxfer_lab.domain_shift.figures.retraining import CONDITIONS
from medxfer_lab.metrics import binomial_interval

SETS = 6
#: excess log loss of the model as deployed, in nats, about as measured
EXCESS = {"label": 0.15, "readers": 0.5, "criterion": 0.12, "burden": 0.06}


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def tuned(job) -> dict:
    return {kind: np.linspace(0.5, 0.6, len(trials)) for kind, trials in CANDIDATES.items()}


def made_up(module, results_of, preset="smoke", **parameters) -> SimpleNamespace:
    """What `module` would record of invented jobs. results_of: (job, generator) -> result."""
    p = module.PRESETS[preset] | parameters

    def runner(jobs, function):
        rng = np.random.default_rng(0)
        return {
            job.key: tuned(job) if job.key.startswith("tune") else results_of(job, rng)
            for job in jobs
        }

    return SimpleNamespace(results=module.run(p, runner), parameters=p)


def assessed(name: str, excess: float, rng, prevalence: float = 0.34) -> dict:
    """An assessment whose deployed model loses `excess`; corrections win most of it back."""
    rows = np.zeros((len(ARMS), len(MEASURES)))
    rows[:, 0] = 0.4 + rng.normal(0, 0.01, len(ARMS))
    rows[: ARMS.index("platt_100"), 0] += excess * np.array([1, 0.1, 0.2, 0.25, 0.3])
    rows[:, 2] = rng.normal(0, 0.02, len(ARMS))
    rows[:, 3:5] = rng.uniform(0.7, 0.9, (len(ARMS), 2))
    rows[:, 5] = rng.uniform(0.3, 0.5, len(ARMS))
    numbers = np.array([0.9, prevalence, 0.3, 0.3])
    return {f"measured.{name}": rows, f"numbers.{name}": numbers}


@pytest.fixture(scope="module")
def shifts_record():
    def job(job, rng):
        out = {}
        for kind in shifts.MODELS:
            for name in (*conditions.NAMES, *conditions.BURDEN_NAMES):
                excess = EXCESS.get(conditions.family(name), 0.0)
                found = assessed(name, excess, rng)
                out |= {key.replace(".", f".{kind}.", 1): v for key, v in found.items()}
        return out

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shifts, "test_target", lambda name, n: SimpleNamespace(index=range(n)))
        return made_up(shifts, job, sets=SETS)


@pytest.fixture(scope="module")
def acquisition_record():
    def job(job, rng):
        modality, out = job.parameters["modality"], {}
        for kind in acquisition.MODELS[modality]:
            for name in acquisition.TARGETS[modality]:
                out |= assessed(f"{kind}.{name}", 0.1, rng)
                out[f"extra.{kind}.{name}"] = rng.uniform(0.1, 0.3, len(acquisition.EXTRA))
        return out

    return made_up(acquisition, job, sets=SETS)


@pytest.fixture(scope="module")
def retraining_record():
    def job(job, rng):
        out = {f"weights.{name}": rng.uniform(0.3, 0.6, 4) for name in retraining.COVARIATE}
        for kind in retraining.MODELS:
            for name in retraining.CONDITIONS:
                arms = retraining.arms_of(name)
                rows = rng.uniform(0.6, 0.9, (len(arms), 2))
                if "continued" in arms and kind != "network":
                    rows[arms.index("continued")] = np.nan
                out[f"{kind}.{name}"] = rows
                out[f"harm.{kind}.{name}"] = rng.normal(0.1, 0.03)
                out[f"ill.{name}"] = rng.uniform(0.2, 0.6)
                out[f"calibrated.{kind}.{name}"] = rng.uniform(0.3, 0.5, len(arms))
        return out

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retraining, "total_variation", lambda name, n: len(name) / 30)
        return made_up(retraining, job, sets=SETS)


@pytest.fixture(scope="module")
def prevalence_record():
    def job(job, rng):
        if job.key.startswith("family"):
            return {"p": rng.uniform(size=20)}
        truth = job.parameters["prevalence"] / 100
        shape = (job.parameters["repetitions"], len(prevalence.ESTIMATORS))
        estimate = truth + rng.normal(0, 0.04, shape)
        return {
            "rows": np.stack([estimate, estimate - 0.08, estimate + 0.08], -1),
            "source_prevalence": 0.34,
        }

    return made_up(prevalence, job)


@pytest.fixture(scope="module")
def league_record():
    def job(job, rng):
        kind = league.KINDS[job.parameters["number"] % 6]
        return {"measured": rng.uniform(size=len(league.MEASURED)), "kind": kind, "said": "so"}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(league, "forest", lambda x, truth: np.roll(truth, 1))
        return made_up(league, job, pairs=36)


@pytest.fixture(scope="module")
def real_record():
    def job(job, rng):
        rates = [binomial_interval(k, 200).record() for k in (20, 90)]
        control = {"covered": True, "error": 0.01, "family_p": 0.4}
        return {
            "auc": [0.98, 0.93],
            "source_prevalence": 0.74,
            "target_prevalence": 0.625,
            "called_positive": 0.77,
            "bbse": {"mean": 0.8, "low": 0.77, "high": 0.83},
            "em": 0.79,
            "family_p": 0.005,
            "false_positive": rates,
            "sensitivity": rates[::-1],
            "control": [control],
        }

    return made_up(real, job)


def drawn(fig: Figure) -> Figure:
    """`fig`, rendered with every warning an error, and with words on every axis that is shown."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fig.canvas.draw()
    for ax in fig.axes:
        if ax.axison and not ax.images:
            shared = ax.get_shared_x_axes().get_siblings(ax)
            assert any(a.get_xlabel() for a in shared) or named_by_ticks(ax), ax.get_title()
            row = [a for a in fig.axes if a.axison and a.get_position().y0 == ax.get_position().y0]
            assert any(a.get_ylabel() for a in row) or named_by_ticks(row[0], "y"), ax.get_title()
    return fig


def named_by_ticks(ax, axis: str = "x") -> bool:
    """Whether the ticks are words, which need no further label."""
    texts = getattr(ax, f"get_{axis}ticklabels")()
    return any(len(t.get_text()) > 5 for t in texts)


def words(fig: Figure) -> str:
    return " ".join(t.get_text() for t in fig.findobj(plt.Text))


def says_simulated(fig: Figure) -> None:
    assert "simulated" in words(fig)


RECORD_FIGURES = {
    "shift_cost": "shifts_record",
    "operating_point": "shifts_record",
    "calibration": "shifts_record",
    "harm": "retraining_record",
    "weighting": "retraining_record",
    "old_knowledge": "retraining_record",
    "scanners": "acquisition_record",
    "coverage": "prevalence_record",
    "prevalence_error": "prevalence_record",
    "league": "league_record",
    "league_confusion": "league_record",
}


@pytest.mark.parametrize("name", RECORD_FIGURES)
def test_figures_of_records_draw_and_say_simulated(name, request):
    fig = drawn(getattr(figures, name)(request.getfixturevalue(RECORD_FIGURES[name])))
    says_simulated(fig)


def test_the_real_figure_says_real(real_record):
    fig = drawn(figures.real(real_record))
    assert "real radiographs" in words(fig) and "simulated" not in words(fig)
    assert "test, truth 0.62" in words(fig) or "test, truth 0.63" in words(fig)


def test_both_kinds_of_model_have_a_cost(shifts_record):
    assert words(figures.shift_cost(shifts_record, "head")).count("Head on features") == 1


def curve(ax, key: str) -> tuple[np.ndarray, np.ndarray]:
    """The line of a panel that has the colour of a key."""
    (found,) = [c.lines[0] for c in ax.containers if c.lines[0].get_color() == style.COLOURS[key]]
    return found.get_data()


def test_cost_shows_the_records_numbers_with_the_source_among_them(shifts_record):
    fig = figures.shift_cost(shifts_record)
    results = shifts_record.results["network"]
    panel = dict(zip(shift_figures.FAMILIES, fig.axes, strict=False))
    x, y = curve(panel["readers"], "deployed")
    assert list(x) == [0, 10, 25, 50, 100]
    expected = [results["none"]["0"], *(results["readers"][s] for s in ("10", "25", "50", "100"))]
    np.testing.assert_allclose(y, [cell["deployed"]["excess"]["mean"] for cell in expected])
    x, _ = curve(panel["select"], "bbse")
    assert list(x) == [1, 3, 10, 30]
    x, _ = curve(panel["label"], "bbse")
    np.testing.assert_allclose(x, [5, 15, 34, 60, 80])


def test_deployed_is_the_boldest_and_panels_share_one_scale(shifts_record):
    fig = figures.shift_cost(shifts_record)
    panels = [ax for ax in fig.axes if ax.axison]
    assert len({ax.get_ylim() for ax in panels}) == 1
    for ax in panels:
        widths = {c.lines[0].get_color(): c.lines[0].get_linewidth() for c in ax.containers}
        assert max(widths, key=widths.get) == style.COLOURS["deployed"]
        assert len(widths) == 5


def test_harm_draws_a_marker_for_every_condition_and_kind(retraining_record):
    (ax,) = figures.harm(retraining_record).axes
    shifted = [name for name in retraining.CONDITIONS if name != "none"]
    count = len(shifted)
    assert {f"{f}.{s}" for f, s in CONDITIONS} >= set(shifted)
    assert len(ax.containers) == 2 * count
    fills = [c.lines[0].get_fillstyle() for c in ax.containers]
    assert fills.count("none") == fills.count("full") == count
    for name in shifted:
        family, _, strength = name.partition(".")
        said = CONDITIONS[family, strength][1]
        (text,) = [t for t in ax.texts if t.get_text() == said]
        cell = retraining_record.results["network"][family][strength]
        assert text.xy == (cell["total_variation"], cell["harm"]["mean"])


def test_weights_say_how_many_patients_are_left(retraining_record):
    said = words(figures.weighting(retraining_record))
    for family, strength in (("select", "30"), ("vendor", "90")):
        share = retraining_record.results["weights"][family][strength]
        assert f"exact weights: effective size {100 * share['known_share']['mean']:.0f} %" in said
        assert f"fitted weights: effective size {100 * share['fitted_share']['mean']:.0f} %" in said


def test_only_a_network_can_be_tuned_on(retraining_record):
    fig = figures.old_knowledge(retraining_record)
    for ax in fig.axes:
        assert len(ax.containers) == 5 + 4


def test_every_scanner_has_a_row_and_the_control_comes_first(acquisition_record):
    assert {m: tuple(names) for m, names in SCANNERS.items()} == {
        m: tuple(names) for m, names in acquisition.TARGETS.items()
    }
    fig = figures.scanners(acquisition_record)
    rows = [t.get_text() for t in fig.axes[0].get_yticklabels()]
    assert rows[0] == "MRI, same scanner again" and len(rows) == 8
    for ax, more in zip(fig.axes, (5 + 3, 0, 0), strict=True):
        assert len(ax.containers) == 2 * 5 + 3 + more


def test_one_network_for_both_scanners_is_drawn_where_the_record_has_it(acquisition_record):
    fig = figures.scanners(acquisition_record)
    ax = fig.axes[0]
    diamonds = [c.lines[0] for c in ax.containers if c.lines[0].get_marker() == "D"]
    expected = [
        acquisition_record.results[modality]["network"][name]["common_excess"]["mean"]
        for modality, names in SCANNERS.items()
        for name in names
    ]
    assert [line.get_xdata()[0] for line in diamonds] == expected
    assert "trained on both scanners" in words(fig)

    without = copy.deepcopy(acquisition_record)
    for kinds in (without.results[modality] for modality in SCANNERS):
        for cell in kinds["network"].values():
            del cell["common_excess"]
    assert "trained on both scanners" not in words(figures.scanners(without))


def test_coverage_draws_the_nominal_line_and_the_records_numbers(prevalence_record):
    fig = figures.coverage(prevalence_record)
    assert [ax.get_title(loc="left") for ax in fig.axes[:3]] == [
        "$p(x|y)$ kept",
        "Second vendor only",
        "Only diseased patients with\nlarge lesions are referred",
    ]
    for ax, target in zip(fig.axes, prevalence.TARGETS):
        assert any(np.allclose(line.get_ydata(), 0.95) for line in ax.lines)
        cells = prevalence_record.results[target]["bbse_soft"]
        expected = [cells[r]["coverage"]["mean"] for r in ("2", "5", "20", "50", "80")]
        np.testing.assert_allclose(ax.containers[0].lines[0].get_ydata(), expected)


@pytest.mark.parametrize(("which", "answers"), [("unlabelled", 4), ("labelled", 6)])
def test_confusion_counts_every_pair_once(league_record, which, answers):
    fig = figures.league_confusion(league_record, which, "forest")
    counts = [int(t.get_text()) for t in fig.axes[0].texts]
    assert len(counts) == answers**2 and sum(counts) == league_record.results["pairs"]


def test_confusion_of_an_unknown_league_or_rule(league_record):
    with pytest.raises(ValueError, match="which is 'few'; the league has unlabelled, labelled"):
        figures.league_confusion(league_record, "few")
    with pytest.raises(ValueError, match="rule is 'chance'; the league has tree"):
        figures.league_confusion(league_record, "labelled", "chance")


def test_the_league_tells_rules_from_guesses(league_record):
    fig = figures.league(league_record)
    assert "20 target labels: 6 answers" in words(fig)
    for ax, which in zip(fig.axes, ("unlabelled", "labelled"), strict=True):
        cells = league_record.results[which]
        said = [t.get_text() for t in ax.texts]
        expected = [cells["chance"], cells["constant"]]
        rules = ("any_shift", "alarm_and_labels", "tree", "forest")
        assert ("alarm_and_labels" in cells) == (which == "labelled")
        expected += [cells[r]["accuracy"]["mean"] for r in rules if r in cells]
        assert said == [f"{100 * value:.0f} %" for value in expected]


def test_colours_of_source_target_and_corrections_differ():
    keys = ("source", "target", *ARMS)
    assert len({style.COLOURS[key] for key in ARMS}) == len(ARMS)
    assert style.COLOURS["source"] != style.COLOURS["target"]
    assert all(style.label(key) for key in keys)
    assert len({style.MARKERS[key] for key in ARMS}) == len(ARMS)


def test_ends_are_never_negative():
    mean, spread = parts.ends([{"mean": 1.0, "low": 0.5, "high": 1.0 - 1e-17}])
    np.testing.assert_allclose(spread, [[0.5], [0.0]])
    assert mean.tolist() == [1.0] and (spread >= 0).all()


def test_cast_has_a_row_for_each_shift_and_relabels_the_same_patients():
    fig = drawn(figures.cast(count=4))
    says_simulated(fig)
    rows = np.array(fig.axes).reshape(len(patients.CAST), 4)
    picture = {name: row[0].images[0].get_array() for name, row in zip(patients.CAST, rows)}
    titles = {name: [ax.get_title() for ax in row] for name, row in zip(patients.CAST, rows)}
    assert np.array_equal(picture["none"], picture["readers.100"])
    assert titles["none"] != titles["readers.100"]
    assert not np.array_equal(picture["none"], picture["low_snr"])
    assert titles["none"] == titles["low_snr"]


def test_cast_names_what_is_kept_only_when_asked():
    def rows(kept):
        fig = figures.cast(count=2, kept=kept)
        return [ax.get_ylabel() for ax in fig.axes[::2]]

    assert rows(False) == list(patients.CAST.values())
    assert [name.partition("\nkeeps ")[0] for name in rows(True)] == rows(False)
    assert [name.partition("\nkeeps ")[2] for name in rows(True)] == [
        "",
        "$p(x|y)$",
        "$p(y|x)$",
        "$p(y|x)$",
        r"$p(y|\mathrm{patient})$",
        "neither",
        "$p(x)$",
    ]


@pytest.fixture
def untrained(monkeypatch):
    """In place of the network: a rule that takes no training, P = mean brightness, squashed."""

    def rule(cohort):
        return (cohort.images.flatten(1).mean(1) / 1000 - 1).numpy().astype(float)

    line = SimpleNamespace(apply=lambda z: z)
    monkeypatch.setattr(patients, "_network", lambda: (rule, line))


def test_same_patients_changes_on_the_right_only(untrained):
    def frame(patient, scanner):
        fig = drawn(figures.same_patients(patient, scanner))
        says_simulated(fig)
        return [(ax.images[0].get_array().copy(), ax.get_title()) for ax in fig.axes]

    one, other = frame(1, "low_snr"), frame(1, "field_3t")
    for i, same in enumerate((True, False, True, False)):
        assert np.array_equal(one[i][0], other[i][0]) == same
        assert (one[i][1] == other[i][1]) == same
    assert not np.array_equal(one[0][0], frame(2, "low_snr")[0][0])
    said = frame(1, "a sixth of the SNR")
    assert all(np.array_equal(a, b) and s == t for (a, s), (b, t) in zip(one, said, strict=True))


def test_same_patients_that_there_are_not(untrained):
    with pytest.raises(ValueError, match="patient is 5; there are"):
        figures.same_patients(5, "low_snr")
    with pytest.raises(ValueError, match="scanner is 'pet'; there are again"):
        figures.same_patients(1, "pet")


def test_there_are_as_many_patients_of_either_kind_as_the_slider_says():
    labels = patients._seen("source").labels
    assert min((labels == 1).sum(), (labels == 0).sum()) >= max(patients.PATIENTS)
