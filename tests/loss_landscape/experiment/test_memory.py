"""What is left of an old task: forecasts against the loss itself, and three ways to hold on."""

from __future__ import annotations

import copy
from functools import lru_cache

import numpy as np
import pytest
import torch
from torch.func import functional_call, jvp

from medxfer_lab import metrics
from medxfer_lab.loss_landscape import figures
from medxfer_lab.loss_landscape.experiment import lab, memory
from medxfer_lab.loss_landscape.experiment import material as m
from medxfer_lab.loss_landscape.experiment.tradeoff import mean_of
from medxfer_lab.training import L2SP, fit, predict
from medxfer_lab.training.inputs import log_loss


@lru_cache(maxsize=1)
def tasks() -> lab.Tasks:
    return lab.admit(n_old=40, n_new=40, n_test=30, seed=6)


@lru_cache(maxsize=1)
def old():
    return lab.learn_old(tasks(), steps=10)


@lru_cache(maxsize=1)
def looks() -> list[memory.Look]:
    return memory.watch(old(), tasks(), at=(3, 1), n_old=20)


def test_looks_are_at_the_network_that_moved():
    """Distance, rise and scores of the last look, from fine-tuning done over."""
    assert [look.step for look in looks()] == [1, 3]
    data = tasks().old_test[0][:20], tasks().old_test[1][:20]
    for look in looks():
        rise = metrics.log_loss(look.scores, data[1].numpy()) - m.loss(old(), data)
        assert look.rise == pytest.approx(float(rise), abs=1e-5)
        assert look.auc == float(metrics.auc(look.scores, data[1].numpy()))
        assert look.total == look.linear + look.half
        shifted = [
            metrics.log_loss(look.scores + b, data[1].numpy()) for b in np.linspace(-3, 3, 601)
        ]
        best = float(min(shifted)) - m.loss(old(), data)
        assert best - 1e-4 < look.mended < best + 1e-6 and look.mended <= look.rise + 1e-5
    assert looks()[0].distance < looks()[1].distance
    assert f"{looks()[1].rise:.3f}" in memory.forecast_table(looks())


def test_the_forecast_is_taylor_s():
    """Against forward derivatives of the old loss along the way, in float64."""
    data = tasks().old_test[0][:20], tasks().old_test[1][:20]
    task, network = memory.Old(old(), data), copy.deepcopy(old()).double()
    assert task.start == pytest.approx(m.loss(old(), data), abs=1e-6)
    generator = torch.Generator().manual_seed(0)
    way = 0.05 * torch.randn(len(task.place), generator=generator, dtype=torch.float64)
    place = {name: p.detach() for name, p in network.named_parameters()}

    def along(t):
        moved = {n: place[n] + t * v for n, v in task.hessian.unflatten(way).items()}
        return log_loss(functional_call(network, place | moved, (data[0].double(),)), data[1])

    def slope(t):
        return jvp(along, (t,), (torch.ones_like(t),))[1]

    zero = torch.zeros((), dtype=torch.float64)
    first, second = jvp(slope, (zero,), (torch.ones_like(zero),))
    linear, half, _, _ = task.terms(way)
    assert linear == pytest.approx(float(first), rel=1e-3)
    assert half == pytest.approx(float(second) / 2, rel=1e-3)
    assert task.rise(0 * way) == pytest.approx(0.0, abs=1e-6)


def test_importance_has_mean_one_and_leaves_the_head_out():
    weights = memory.importance(old(), tasks().old)
    assert mean_of(weights) == pytest.approx(1.0, abs=1e-5)
    assert set(weights) == set(m.body(old()))


def test_two_logits_say_what_one_did():
    z, x = predict(old(), tasks().old[0]), tasks().old[0]
    both = memory.two_logits(old().head)(old().features(x)).detach()
    labels = tasks().old[1]
    one, two = log_loss(z, labels, "none"), log_loss(both, labels.long(), "none")
    assert torch.allclose(one, two, atol=1e-5)


def test_ways_of_remembering():
    """Plain is fine-tuning; a tie and replay hold the old loss; each starts at one fresh head."""
    weights = memory.importance(old(), tasks().old)
    how = {"weights": weights, "steps": 12}
    networks = {
        way: memory.remember(old(), tasks(), way, strength, **how)
        for way, strength in (("plain", 0.0), ("ewc", 1e3), ("l2sp", 1e3), ("replay", 30.0))
    }
    found = {way: memory.kept(network, old(), tasks()) for way, network in networks.items()}
    start = m.loss(old(), tasks().old_test)
    shift = {way: abs(k.old_loss - start) for way, k in found.items()}
    assert shift["l2sp"] < 0.2 * shift["plain"] and shift["ewc"] < shift["plain"]
    assert found["replay"].old_loss < found["plain"].old_loss
    fresh, rest = lab.move_on(old(), 1), {"seed": 1, "steps": 12, "learning_rate": memory.RATE}
    tied = fit(fresh, *tasks().new, L2SP(1e3), flip=True, **rest).network
    assert torch.equal(tied.head.weight, networks["l2sp"].head.weight)
    with pytest.raises(ValueError, match="way is 'ewk'; known: plain, replay, ewc, l2sp"):
        memory.remember(old(), tasks(), "ewk", 1.0)


def test_kept_asks_the_old_head_about_the_old_and_the_new_about_the_new():
    moved = lab.move_on(old(), 4)
    found = memory.kept(moved, old(), tasks())
    assert found.old_loss == pytest.approx(m.loss(old(), tasks().old_test), abs=1e-6)
    assert found.new_loss == pytest.approx(m.loss(moved, tasks().new_test), abs=1e-6)
    said = memory.kept_table({("plain", 0.0): found, ("ewc", 0.5): found}).splitlines()
    assert f"{found.old_auc:.3f}" in said[1] and "0.5" in said[2]


def test_figures_of_forgetting():
    import matplotlib.pyplot as plt

    fig = figures.lab_forecast(looks())
    rises = [look.rise for look in looks()]
    assert all(np.allclose(ax.lines[0].get_ydata(), rises) for ax in fig.axes)
    labels = tasks().old_test[1][:20].numpy()
    fig = figures.lab_old_scores(looks(), labels, 3)
    heights = [sum(p.get_height() for p in group) for group in fig.axes[0].containers]
    assert heights == [int((labels == 0).sum()), int((labels == 1).sum())]
    with pytest.raises(ValueError, match="nobody looked after step 2"):
        figures.lab_old_scores(looks(), labels, 2)
    plt.close("all")
