"""Keeping the old task: the loop, the curves, the bug, and a whole run on made-up photographs."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from medxfer_lab import nets
from medxfer_lab.course.record import Record, fingerprint
from medxfer_lab.loss_landscape.experiment import material as m
from medxfer_lab.loss_landscape.experiment import rates
from medxfer_lab.loss_landscape.experiment import tradeoff as t
from medxfer_lab.loss_landscape.experiment.continual import Replay, tune_on
from medxfer_lab.methods.curvature import fisher_diagonal
from medxfer_lab.nets.photographs import Photographs
from medxfer_lab.training import EWC, L2SP, FullFineTuning, LinearProbe, Strategy, fit
from medxfer_lab.training.batches import draw_batches
from medxfer_lab.training.inputs import log_loss

PARAMETERS = {"sets": 2, "n": 30, "n_source": 32, "n_test": 40, "steps": 4}


@pytest.fixture
def world(monkeypatch):
    """Photographs of noise: what is asked here is who is trained on what."""
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (2, 96, 32, 32)).astype(np.uint8)
    labels = rng.integers(0, 10, (2, 96))
    found = Photographs(pictures[0], labels[0], pictures[1], labels[1], "made up")
    cached = (m.source, m.source_training, t.importance, t.raw_importance)
    monkeypatch.setattr(m, "photographs", lambda: found)
    for function in cached:
        function.cache_clear()
    yield found
    for function in cached:
        function.cache_clear()


@pytest.fixture(scope="module")
def patients():
    return m.target(24, 5)


def old_task(n: int, seed: int = 0) -> m.Set:
    generator = torch.Generator().manual_seed(seed)
    shown = torch.randn(n, 1, 32, 32, generator=generator)
    return shown, torch.randint(10, (n,), generator=generator)


def alike(a: nets.Network, b: nets.Network) -> bool:
    return all(map(torch.equal, a.parameters(), b.parameters()))


def test_without_replay_it_is_fit(patients):
    how = {"seed": 3, "steps": 6, "learning_rate": 2e-3}
    by_fit = fit(m.start(0), *patients, FullFineTuning(), flip=True, **how).network
    start = m.start(0)
    before = copy.deepcopy(start)
    by_hand, seen = tune_on(start, patients, **how)
    assert alike(by_hand, by_fit) and seen == {} and alike(start, before)
    assert not by_hand.training


def test_looks_change_nothing_and_come_when_asked(patients):
    how = {"seed": 3, "learning_rate": 2e-3}
    plain, _ = tune_on(m.start(0), patients, steps=6, **how)
    kept = []
    looked, seen = tune_on(
        m.start(0),
        patients,
        steps=6,
        look=lambda n: kept.append(copy.deepcopy(n)),
        at=(1, 6),
        **how,
    )
    assert alike(plain, looked) and alike(kept[1], plain) and list(seen) == [1, 6]
    assert not alike(kept[0], kept[1])
    with pytest.raises(ValueError, match=r"at holds \[0, 7\]; looks come after steps 1 to 6"):
        tune_on(m.start(0), patients, steps=6, at=(0, 3, 7), **how)


def test_replay_s_first_step_follows_the_gradient_of_the_sum(patients):
    """Adam's first step is rate * g / (|g| + eps), with g of L_new + weight L_old by autograd."""
    few, old = tuple(part[:8] for part in patients), old_task(8)
    weight, rate, start = 0.5, 1e-3, m.start(0)
    replay = Replay(old, m.old(0).head, weight)
    moved, _ = tune_on(start, few, seed=1, steps=1, learning_rate=rate, replay=replay)
    shown = []
    for (x, y), seed in ((few, 1), (old, 1 + 1_000_003)):
        batch = draw_batches(8, 32, 1, seed, flip=True)
        index, coins = batch.index[0], batch.mirrored[0]
        pictures = torch.stack([x[i].flip(-1) if c else x[i] for i, c in zip(index, coins)])
        shown.append((pictures, y[index]))
    loss = log_loss(start(shown[0][0]), shown[0][1])
    loss = loss + weight * log_loss(m.old(0).head(start.body(shown[1][0])), shown[1][1])
    gradients = torch.autograd.grad(loss, list(start.parameters()))
    for before, after, g in zip(start.parameters(), moved.parameters(), gradients, strict=True):
        step = (before - after).detach()
        sure = g.abs() > 1e-5  # where rounding cannot turn the sign
        torch.testing.assert_close(step[sure], rate * g[sure].sign(), rtol=5e-3, atol=1e-6)


def test_replay_keeps_what_it_replays(patients):
    old = old_task(16)
    head = m.old(0).head
    kept = copy.deepcopy(head)
    how = {"seed": 0, "steps": 30, "learning_rate": 2e-3}
    plain, _ = tune_on(m.start(0), patients, **how)
    replayed, _ = tune_on(m.start(0), patients, **how, replay=Replay(old, head, 10.0))
    assert torch.equal(kept.weight, head.weight) and torch.equal(kept.bias, head.bias)
    losses = [m.loss(m.with_head(n, head), old) for n in (plain, replayed)]
    assert losses[1] < losses[0] - 0.1
    with pytest.raises(ValueError, match="weight is 0.0; without old examples leave replay out"):
        Replay(old, head, 0.0)


@pytest.mark.parametrize(
    ("points", "bound", "value"),
    [
        ([(4, 0.4), (2, 0.6)], 3, 0.5),  # crosses half way
        ([(4, 0.4), (2, 0.6)], 5, 0.4),  # plain is within the bound
        ([(4, 0.4), (2, 0.6)], 2, 0.6),
        ([(4, 0.4), (2, 0.6), (1, 0.3)], 2.5, 0.55),  # a stronger tie is not asked
        ([(4, 0.4), (5, 0.5), (1, 0.9)], 3, 0.7),  # a strength that forgets more than plain
        ([(4, 0.4), (1, 0.7), (3, 0.5), (0.5, 0.9)], 2, 0.6),  # the first of three crossings
    ],
)
def test_at_equal_forgetting(points, bound, value):
    assert t.at_equal_forgetting(np.array(points), bound) == pytest.approx(value)


def test_a_line_that_does_not_come_down_has_no_value():
    assert np.isnan(t.at_equal_forgetting(np.array([(4, 0.4), (2, 0.6)]), 1.9))


NUMBERS = st.floats(0, 10, allow_nan=False).map(lambda v: round(v, 3))


@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=2, max_size=6), NUMBERS)
def test_equal_forgetting_against_a_walk_along_the_line(points, bound):
    """By brute force: thousands of points of the line, and the first that is within the bound."""
    points = np.array(points)
    share = np.linspace(0, 1, 2001)[:, None]
    line = np.concatenate([a + share * (b - a) for a, b in zip(points, points[1:])])
    value, inside = t.at_equal_forgetting(points, bound), line[:, 0] <= bound
    assert np.isnan(value) == (not (points[:, 0] <= bound).any())
    if inside.any() and not np.isnan(value):
        at = int(np.argmax(inside))
        # the place lies between the last point outside and the first within
        ends = line[max(at - 1, 0) : at + 1, 1]
        assert ends.min() - 1e-9 <= value <= ends.max() + 1e-9


def test_batches_of_one_are_no_bug():
    assert t.batch_mean_ratio(m.old(0), old_task(6), batch=1) == pytest.approx(1, rel=1e-4)


def test_the_bug_by_hand():
    """Two batches of three, the seventh example in none."""
    network, (x, y) = m.old(0), old_task(7)
    body = [p for name, p in network.named_parameters() if name.startswith("body.")]

    def square(part: slice) -> float:
        g = torch.autograd.grad(log_loss(network(x[part]), y[part]), body)
        return sum(float(v.double().square().sum()) for v in g)

    right = np.mean([square(slice(i, i + 1)) for i in range(6)])
    wrong = np.mean([square(slice(0, 3)), square(slice(3, 6))])
    assert t.batch_mean_ratio(network, (x, y), batch=3) == pytest.approx(wrong / right, rel=1e-4)


def test_with_labels_of_the_model_the_bug_divides_by_the_batch():
    """E ratio = 1/b: an example's expected gradient is zero. Thirty draws of labels, 4 errors."""
    # untrained: no label is so improbable that its gradient, once drawn, outweighs all others
    network, (x, _) = nets.load("small_cnn", "untrained", n_classes=10), old_task(32)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        p = torch.softmax(network(x), 1)
    ratios = []
    for _ in range(30):
        y = torch.multinomial(p, 1, generator=generator)[:, 0]
        ratios.append(t.batch_mean_ratio(network, (x, y), batch=8))
    error = np.std(ratios, ddof=1) / len(ratios) ** 0.5
    assert error < 0.02 and abs(np.mean(ratios) - 1 / 8) < 4 * error


def test_importance_has_mean_one_and_is_the_fisher_information(world):
    old, (x, y) = m.old(1), m.source_training(20)
    for kind, targets in (("exact", None), ("empirical", y)):
        found = t.importance(1, kind, 20)
        assert set(found) == set(m.body(old)) and t.mean_of(found) == pytest.approx(1)
        right = fisher_diagonal(old, x, labels=kind, targets=targets)
        scale = t.mean_of(t.raw_importance(1, kind, 20))
        for name, value in found.items():
            torch.testing.assert_close(value * scale, right[name], rtol=1e-4, atol=1e-9)
    means = [t.mean_of(t.raw_importance(1, kind, 20)) for kind in ("exact", "empirical")]
    assert means[0] != pytest.approx(means[1], rel=0.01)


def test_each_way_by_hand(world, patients):
    how = {"seed": 1, "steps": 4, "learning_rate": 4e-3, "flip": True}
    start, x = m.start(1), (1, patients, 20, 4, 4e-3)
    by_hand = {
        ("plain", 0.0): (FullFineTuning(), {}),
        ("smaller_body_rates", 4.0): (Strategy("full_fine_tuning", body_rate=0.25), {}),
        ("probe", 0.0): (LinearProbe(), {}),
        ("l2sp", 0.3): (L2SP(0.3), {}),
        ("ewc", 0.3): (EWC(0.3), {"importance": t.importance(1, "exact", 20)}),
        ("ewc_empirical", 0.3): (EWC(0.3), {"importance": t.importance(1, "empirical", 20)}),
    }
    for (method, strength), (strategy, more) in by_hand.items():
        expected = fit(start, *patients, strategy, **(how | more)).network
        assert alike(t.tuned_by(method, strength, *x), expected), method
    replay = Replay(m.source_training(20), m.old(1).head, 0.3)
    how.pop("flip")
    assert alike(t.tuned_by("replay", 0.3, *x), tune_on(start, patients, **how, replay=replay)[0])


def test_measured_under_the_old_head(world):
    k, n = 1, 40
    look = t.measuring(k, n)(m.start(k))
    shown, labels = m.source(n)
    with torch.no_grad():
        z = m.old(k)(shown)
    assert look[2] == pytest.approx(float(torch.nn.functional.cross_entropy(z, labels)), rel=1e-5)
    assert look[3] == pytest.approx(float((z.argmax(1) == labels).double().mean()))


def test_pairs_leave_out_what_has_no_value():
    values = np.arange(16.0)
    values[[1, 3, 11]] = np.nan  # pretraining 3 has none; 1 has its second set alone
    means = [4.0, 9.0, 6.0, 8.0, 9.0, 10.0, 11.0]
    found = t._interval(values)
    assert found["n"] == 7 and found["mean"] == pytest.approx(np.mean(means))
    assert t._interval(np.full(16, np.nan)) == {"mean": None, "low": None, "high": None, "n": 0}


def test_matched_by_hand():
    """Plain rises from 1 to 3; EWC pays .1 for half of it, and a fixed .3 more from set to set."""
    done = []
    for k in range(8):
        base = 0.4 + 0.01 * k
        job = {"start": np.array([0.7, 0.5, 1, 0.7]), "plain": np.array([base, 0.9, 3, 0.2])}
        job["probe"] = np.array([0.6, 0.7, 1, 0.7])  # the line's last point: not needed here
        for method in t.STRENGTHS:
            cost = 0.1 if method == "ewc" else 0.4
            job[method] = np.array([[base + 2 * cost, 0.8, 1, 0.7]])
        done.append(job)
    found = t._matched(done, "plain", 0.5)
    assert found["bound"]["mean"] == pytest.approx(2)
    assert found["excess"]["ewc"]["mean"] == pytest.approx(0.1)
    assert found["excess"]["l2sp"]["mean"] == pytest.approx(0.4)
    assert found["excess"]["ewc"]["reached"] == 8
    for other in t.OTHERS:
        assert found["differences"][f"ewc_minus_{other}"]["mean"] == pytest.approx(-0.3)


def test_bounds():
    job = {"start": np.array([0.7, 0.5, 1, 0.7]), "plain": np.array([0.4, 0.9, 5, 0.2])}
    assert t._bound(job, *t.BOUNDS["quarter"]) == pytest.approx(2)
    # of log 10 - 1 nats that were known a half is left
    assert np.log(10) - t._bound(job, *t.BOUNDS["known_half"]) == pytest.approx(
        (np.log(10) - 1) / 2
    )


def test_run_record_and_recheck(world, monkeypatch, tmp_path):
    monkeypatch.setattr(rates, "VALIDATION", 40)
    monkeypatch.setattr(rates, "TRIALS", 2)
    monkeypatch.setattr(t, "STRENGTHS", {method: s[:2] for method, s in t.STRENGTHS.items()})
    kept: dict[str, dict] = {}

    def runner(jobs, function):
        kept.update(done := {job.key: dict(function(**job.parameters)) for job in jobs})
        return done

    results = t.run(PARAMETERS, runner)
    losses = np.mean([kept[f"tune-{k}"]["losses"] for k in rates.TUNING_DRAWS], axis=0)
    rate = t.PLAIN.candidates[int(losses.argmin())]
    assert results["settings"]["settings"] == {"learning_rate": rate}
    for method, strengths in t.STRENGTHS.items():
        rows = np.stack([kept[f"set-00{k}"][method] for k in range(2)])
        plain = np.stack([kept[f"set-00{k}"]["plain"] for k in range(2)])
        cell = results["curves"][method]
        assert cell["strengths"] == list(strengths)
        assert cell["source_loss"]["mean"] == pytest.approx(rows[..., 2].mean(0))
        excess = (rows[..., 0] - plain[:, :1]).mean(0)
        assert cell["target_excess"]["mean"] == pytest.approx(excess)
    assert results["fisher"]["exact_mean"]["mean"] > 0
    record = Record(
        chapter="loss_landscape",
        experiment=t.NAME,
        data=t.DATA,
        device="cpu",
        preset="smoke",
        version=t.VERSION,
        fingerprint=fingerprint(PARAMETERS),
        results=results,
        parameters=PARAMETERS,
    )
    assert Record.load(record.save(tmp_path / "tradeoff.simulated.cpu.json")) == record
    pairs = t.recheck(record, 1, ("ewc", "replay"))
    assert len(pairs) == 12
    for name, (then, now) in pairs.items():
        assert now == pytest.approx(then, abs=1e-4), name


def test_presets():
    for preset in t.PRESETS.values():
        assert not set(range(preset["sets"])) & set(rates.TUNING_DRAWS)
        assert preset["n_source"] >= t.BUG_BATCH
    assert all(list(s) == sorted(s) for s in t.STRENGTHS.values())
    assert {len(s) for s in t.STRENGTHS.values()} == {5}
