"""The bank of the four questions of judgement, and each answer obtained once more, another way."""

from __future__ import annotations

import itertools
import re
from fractions import Fraction

import numpy as np
import pytest
from scipy import optimize, stats
from scipy.special import expit, logit

from medxfer_lab.course.exercise import bank_failures
from medxfer_lab.domain_shift.exercises import (
    bbse_situations,
    diagnose_hospital,
    toy_hospitals,
    two_scanners,
    two_worlds_proof,
    when_bbse_fails,
)

SEEDS = (0, 1, 2, 3, 7, 11, 42, 1234, 2**31)
ROOMS = {
    "two_scanners": two_scanners,
    "when_bbse_fails": when_bbse_fails,
    "two_worlds_proof": two_worlds_proof,
    "diagnose_hospital": diagnose_hospital,
}


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDXFER_HOME", str(tmp_path))


@pytest.mark.parametrize("seed", SEEDS)
def test_every_bank_holds(seed):
    found = [room.exercise(seed) for room in ROOMS.values()]
    assert bank_failures(found, n_right=3, n_wrong=5) == []


def test_what_is_asked():
    for id, room in ROOMS.items():
        exercise = room.exercise(0)
        assert exercise.id == id
        assert all(len(hint) > 30 for hint in exercise.hints) and len(set(exercise.hints)) == 3
        assert len(exercise.solution) > 80 and exercise.objective and exercise.prompt


@pytest.mark.parametrize("id", ROOMS)
def test_a_stub_and_a_wrong_type_are_met_kindly(id):
    exercise = ROOMS[id].exercise(0)
    assert not exercise.check(...).answered
    keys = {**dict.fromkeys("ABCDEF"), "old": "x", "new": [], "kept": 3}
    odd = (None, object(), {"a": 1}, [], [[1, 2], [3]], "no idea at all", lambda: 1, np.nan)
    for answer in (*odd, keys, {1: 2}, [1, 2, 3], [None] * 4, [None] * 6, np.zeros((2, 2)), True):
        got = exercise.check(answer)
        assert got.answered and not got.correct and len(got.message) > 20
        assert got.diagnosis != "raises"


@pytest.mark.parametrize("id", ROOMS)
def test_another_seed_asks_another_question_the_same_seed_the_same(id):
    prompts = [ROOMS[id].exercise(seed).prompt for seed in range(8)]
    assert len(set(prompts)) >= 6
    assert str(ROOMS[id].exercise(5)) == str(ROOMS[id].exercise(5))
    assert ROOMS[id].exercise(5).solution == ROOMS[id].exercise(5).solution


# Two scanners: the joint law of (lesion, label, image), exactly, cell by cell.


def _joint(clinic, channel) -> dict[tuple[int, int, int], Fraction]:
    total = int(clinic.counts.sum())
    found = {}
    for z, y, x in itertools.product(range(2), repeat=3):
        bright = Fraction(str(channel[z]))
        found[z, y, x] = Fraction(int(clinic.counts[z, y]), total) * (bright if x else 1 - bright)
    return found


def _four_laws(joint) -> dict[str, tuple[Fraction, ...]]:
    def p(x=None, y=None):
        return sum(
            v for (_, b, a), v in joint.items() if (x is None or a == x) and (y is None or b == y)
        )

    cells = list(itertools.product(range(2), repeat=2))
    return {
        "p(x)": (p(x=0), p(x=1)),
        "p(y)": (p(y=0), p(y=1)),
        "p(x|y)": tuple(p(a, b) / p(y=b) for a, b in cells),
        "p(y|x)": tuple(p(a, b) / p(x=a) for a, b in cells),
    }


@pytest.mark.parametrize("seed", SEEDS)
def test_two_scanners_cell_by_cell(seed):
    clinic = two_scanners._clinic(seed)
    old, new = (_four_laws(_joint(clinic, c)) for c in (clinic.old, clinic.new))
    kept = [name for name in two_scanners.QUANTITIES if old[name] == new[name]]
    assert kept == ["p(y)"]
    answer = {"old": float(old["p(y|x)"][3]), "new": float(new["p(y|x)"][3]), "kept": kept}
    assert two_scanners.exercise(seed).check(answer).correct
    for name in ("p(x)", "p(x|y)", "p(y|x)"):
        got = two_scanners.exercise(seed).check({**answer, "kept": [*kept, name]})
        assert not got.correct


def test_every_belief_about_what_is_kept_is_answered():
    exercise = two_scanners.exercise(0)
    numbers = {k: v for k, v in exercise.right[0].value.items() if k != "kept"}
    for size in range(5):
        for kept in itertools.combinations(two_scanners.QUANTITIES, size):
            got = exercise.check({**numbers, "kept": list(kept)})
            assert got.correct == (kept == ("p(y)",)) and got.diagnosis != "raises"
    assert exercise.check({**numbers, "kept": "p(y), p(q)"}).diagnosis == "wrong-type"
    assert exercise.check({"old": 78.7, "new": 58.5, "kept": "p(y)"}).diagnosis == "percent"


# BBSE and EM on populations: a score on a grid, its law known in each class, no chance anywhere.

GRID = np.linspace(-12, 14, 5201)


def _law(mean: float) -> np.ndarray:
    density = stats.norm.pdf(GRID, mean)
    return density / density.sum()


def _bbse(positive, law0, law1, target) -> float | None:
    tpr, fpr = law1[positive].sum(), law0[positive].sum()
    return (target[positive].sum() - fpr) / (tpr - fpr) if tpr - fpr > 1e-12 else None


def _em(probability, start, target) -> float:
    """The fixed point that EM's own steps lead to."""
    rho = start
    for _ in range(20_000):
        odds = logit(probability) + logit(rho) - logit(start)
        step = float((target * expit(odds)).sum())
        if abs(step - rho) < 1e-13:
            break
        rho = step
    return rho


def _population(key: str, h: bbse_situations.Hospital):
    """(positive, law0, law1 at the source, target law, probability, true prevalence)."""
    pi, rho = h.source / 100, h.target / 100
    law0, law1 = _law(0.0), _law(2.6)
    probability = expit(logit(pi) + 2.6 * GRID - 2.6**2 / 2)
    threshold = stats.norm.ppf(1 - h.old_rate / 100)
    positive = threshold < GRID
    target = (1 - rho) * law0 + rho * law1
    if key == "overconfident":
        stretch = logit(h.says / 100) / logit(h.true / 100)
        probability = expit(stretch * logit(probability))
    if key == "silent":  # a blunter network, whose probabilities end below the threshold
        law1 = np.where(GRID > 0, 2.0, 0.5) * law0
        law1 /= law1.sum()
        probability = pi * law1 / (pi * law1 + (1 - pi) * law0)
        positive = probability >= h.never / 100
        target = (1 - rho) * law0 + rho * law1
    if key == "constant":
        probability, positive = np.full(len(GRID), pi), np.zeros(len(GRID), bool)
    if key == "scanner":
        moved = _law(threshold - stats.norm.ppf(1 - h.new_rate / 100))
        target = (1 - rho) * moved + rho * law1
    if key == "newcomer":
        rho = 0.8 * rho
        target = 0.8 * target + 0.2 * _law(threshold + 1)
    return positive, law0, law1, target, probability, rho


@pytest.mark.parametrize("seed", SEEDS)
def test_verdicts_on_bbse_and_em_by_doing_both(seed):
    h = bbse_situations.hospital(seed)
    verdicts = []
    for situation in bbse_situations.situations(seed):
        positive, law0, law1, target, probability, rho = _population(situation.key, h)
        by_bbse = _bbse(positive, law0, law1, target)
        by_em = _em(probability, h.source / 100, target)
        right = [by_bbse is not None and abs(by_bbse - rho) < 1e-6, abs(by_em - rho) < 1e-6]
        for estimate, holds in ((by_bbse, right[0]), (by_em, right[1])):
            assert holds or estimate is None or abs(estimate - rho) > 0.02  # wrong is clearly wrong
        verdicts.append({(1, 1): "both", (1, 0): "BBSE", (0, 1): "EM", (0, 0): "neither"}[*right])
    assert when_bbse_fails.exercise(seed).check(verdicts).correct
    assert set(verdicts) == {"both", "BBSE", "EM", "neither"}


def test_every_wrong_verdict_is_answered_and_counted():
    exercise = when_bbse_fails.exercise(3)
    good = exercise.right[1].value
    for place, slip in itertools.product(range(6), when_bbse_fails.VERDICTS):
        answer = [*good[:place], slip, *good[place + 1 :]]
        got = exercise.check(answer)
        assert got.correct == (slip == good[place])
        assert got.correct or got.message.startswith("5 of 6 are right")


# Two worlds: the best randomised procedure against both worlds, by linear programming.


def _minimax(d: float, k: int) -> float:
    """A guess for the fresh disputed patient for each history of k draws and each world.

    A history is which of the k labelled patients are disputed; with any of them the label tells the
    world, without one both worlds give the same history. Variables: P(guess = world 2), then t.
    """
    histories = list(itertools.product((False, True), repeat=k))
    chance = np.array([np.prod([d if hit else 1 - d for hit in h]) for h in histories])
    told = np.array([any(h) for h in histories])
    n = len(histories)
    column = np.arange(n)
    other = np.where(told, n + column, column)  # world 2 shares the variables where nothing is told
    first, second = np.zeros(2 * n + 1), np.zeros(2 * n + 1)
    np.add.at(first, column, d * chance)  # risk in world 1: guess = world 2
    np.add.at(second, other, -d * chance)  # risk in world 2: 1 - P(guess = world 2)
    first[-1] = second[-1] = -1
    cost = np.zeros(2 * n + 1)
    cost[-1] = 1
    result = optimize.linprog(
        cost, A_ub=[first, second], b_ub=[0, -d * chance.sum()], bounds=(0, 1), method="highs"
    )
    return float(result.fun)


@pytest.mark.parametrize("seed", SEEDS)
def test_two_worlds_by_linear_programming(seed):
    d, k = two_worlds_proof._numbers(seed)
    value = _minimax(d, k)
    assert _minimax(d, 0) == pytest.approx(d / 2)
    exercise = two_worlds_proof.exercise(seed)
    answer = {**exercise.right[0].value, "labels": value}
    assert exercise.check(answer).correct and value == pytest.approx(exercise.right[2].value[3])


def test_the_first_gap_that_is_wrong_is_the_one_answered():
    exercise = two_worlds_proof.exercise(4)
    good = exercise.right[0].value
    bad = {w.diagnosis: w.value for w in exercise.wrong if isinstance(w.value, dict)}
    mixed = {**good, "step": bad["strong-test"]["step"], "labels": 7.0}
    got = exercise.check(mixed)
    assert got.diagnosis == "strong-test" and got.message.startswith("(step)")
    assert exercise.check({**good, "labels": 7.0}).message.startswith("(labels)")
    assert exercise.check({**good, "premise": "z"}).diagnosis == "wrong-type"


# A hospital: its shifts are what they are called, and its panels can be read by eye and by ear.


def _ks(first: np.ndarray, second: np.ndarray) -> float:
    return float(stats.ks_2samp(first, second).pvalue)


@pytest.mark.parametrize("source, other", [(0.3, 0.75), (0.55, 0.15)])
def test_the_toy_shifts_keep_what_they_should(source, other):
    """Kept laws pass a test at 0.001 (seed fixed), moved ones fail it by far."""
    rng = np.random.default_rng(5)
    x0, y0 = toy_hospitals._draw(rng, "none", source, source, False)
    worlds = {
        name: toy_hospitals._draw(rng, name, source, other, False) for name in ("label", "concept")
    }
    worlds["selected"] = toy_hospitals._draw(rng, "covariate", source, other, False)
    worlds["vendors"] = toy_hospitals._draw(rng, "covariate", source, other, True)

    def residual(x, y):
        """z of the sum of y - eta(x), within the lower and the upper half of the scores."""
        eta = toy_hospitals.eta(x, source)
        halves = (eta < 0.5, eta >= 0.5)
        spread = [np.sqrt((eta[h] * (1 - eta[h])).sum()) for h in halves]
        return max(abs((y - eta)[h].sum()) / s for h, s in zip(halves, spread))

    assert residual(x0, y0) < 3.5
    for name, (x, y) in worlds.items():
        images = min(_ks(x0[:, j], x[:, j]) for j in (0, 1))
        assert (images > 0.001) == (name == "concept")
        assert (residual(x, y) < 3.5) == (name in ("selected", "vendors"))
    x, y = worlds["label"]
    assert min(_ks(x0[y0 == c, j], x[y == c, j]) for c in (0, 1) for j in (0, 1)) > 0.001
    # the two that no image tells apart have one law of images
    assert min(_ks(x[:, j], worlds["selected"][0][:, j]) for j in (0, 1)) > 0.001


def _diagnosis(moved: bool, elsewhere: bool, off: int | None) -> str:
    """What a reader concludes who knows the definitions; ``off`` is None without labels."""
    if elsewhere:
        return "acquisition"
    if off is None:
        return "not identifiable"
    if moved:
        return "label" if off else "covariate"
    return "concept" if off else "none"


def _by_eye(figure) -> str:
    """Reads nothing but the artists of the figure."""
    scores, labels, images = figure.axes
    grey = np.array([p.get_height() for p in scores.patches[:10]]) / 10
    outline = scores.patches[10].get_xy()[:, 1]
    blue = outline[1:21:2] / 10
    source, target = (np.column_stack(line.get_data()) for line in images.lines)
    upper = (source[:, 1] > 0).mean(), (target[:, 1] > 0).mean()
    moved = np.abs(grey - blue).max() > 0.06 or abs(upper[0] - upper[1]) > 0.25
    bars = [np.asarray(line.get_ydata(), float) for line in labels.lines[1::2]]
    at = [float(np.asarray(line.get_xdata())[0]) for line in labels.lines[2::2]]
    off = sum(not low <= x <= high for (low, high), x in zip(bars, at))
    elsewhere = (target[:, 1] > source[:, 1].max()).mean() > 0.5
    return _diagnosis(moved, elsewhere, off if at else None)


def _by_ear(text: str) -> str:
    """Reads nothing but the alternative text."""
    bars = [(int(a), int(b)) for a, b in re.findall(r" (\d+)% and (\d+)%", text)]
    points = re.findall(r"\((\S+) to (\S+)\) at (\d\.\d\d)", text)
    clouds = re.findall(r"(\d+)% around -2, (\d+)% around 2, (\d+)% around 5", text)
    vendors = [[int(share) for share in row] for row in clouds]
    moved = max(abs(a - b) for a, b in bars) > 6 or abs(vendors[0][1] - vendors[1][1]) > 20
    off = sum(not float(a) <= float(x) <= float(b) for a, b, x in points)
    return _diagnosis(moved, vendors[1][2] > vendors[0][2] + 50, off if points else None)


def test_the_figure_can_be_read_and_heard_without_being_told():
    import matplotlib.pyplot as plt

    kinds = set()
    for seed in range(30):
        exercise = diagnose_hospital.exercise(seed)
        figure, alt = diagnose_hospital.figure(seed)
        assert exercise.check(_by_eye(figure)).correct, f"seed {seed}"
        assert exercise.check(_by_ear(alt)).correct, f"seed {seed}"
        assert not re.search(r"shift|concept|covariate|acquisition|criteri|identif", alt, re.I)
        assert len(alt) < 1000 and "simulated" in alt
        shown = " ".join(t.get_text() for t in figure.findobj(plt.Text))
        assert not re.search(r"shift|concept|covariate|acquisition", shown, re.I)
        kinds.add(toy_hospitals.panels(seed).kind)
        plt.close(figure)
    assert kinds == set(toy_hospitals.KINDS)


def test_a_mixture_of_vendors_speaks_against_label_shift_by_its_images():
    seen = {p.by_vendor: s for s in range(40) if (p := toy_hospitals.panels(s)).kind == "covariate"}
    for by_vendor, diagnosis in ((True, "label-against-images"), (False, "label-against-labels")):
        assert diagnose_hospital.exercise(seen[by_vendor]).check("label").diagnosis == diagnosis


def test_no_labels_is_not_the_same_as_not_identifiable():
    """A scanner that the source never had can be seen without labels; all else needs them."""
    empty = {p.kind for p in map(toy_hospitals.panels, range(60)) if not p.points}
    assert empty == {"open", "acquisition"}
