"""One network by one strategy: against the loop written out, and against the convex solution."""

from __future__ import annotations

import copy
import math
from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from medxfer_lab import nets
from medxfer_lab.training import (
    EWC,
    L2SP,
    LPFT,
    Discriminative,
    FullFineTuning,
    LinearProbe,
    Scratch,
    fit,
    predict,
    probe,
    training_loss,
)


class Tiny(nn.Module):
    """The smallest thing with a body, a head and logits (n,)."""

    def __init__(self, seed: int = 0, size: int = 6, features: int = 3) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            layer = nn.Linear(size * size, features)
            self.body = nn.Sequential(OrderedDict(flat=nn.Flatten(), layer=layer))
            self.head = nn.Linear(features, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x))[:, 0]


def data(n: int = 24, size: int = 6, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    x = torch.tensor(rng.standard_normal((n, 1, size, size)), dtype=torch.float32)
    signal = x.flatten(1)[:, :5].sum(1) + 1.5 * torch.tensor(rng.standard_normal(n)).float()
    y = (signal > 0).float()
    y[0], y[1] = 0, 1
    return x, y


def weights(network: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in network.parameters()])


def loop(network, x, y, steps, rate, tie, body_rate=1.0):
    """Full-batch Adam written out: closed-form penalty, rate schedule, Kingma and Ba's update."""
    network = copy.deepcopy(network)
    start = {n: p.detach().clone() for n, p in network.named_parameters()}
    first = {n: torch.zeros_like(p) for n, p in start.items()}
    second = {n: torch.zeros_like(p) for n, p in start.items()}
    warm = max(1, steps // 10)
    for step in range(steps):
        loss = F.binary_cross_entropy_with_logits(network(x), y)
        found = torch.autograd.grad(loss, list(network.parameters()))
        grow = (step + 1) / warm
        fall = 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))
        scheduled = rate * (grow if step < warm else fall)
        with torch.no_grad():
            for (name, p), g in zip(network.named_parameters(), found):
                in_body = name.startswith("body")
                g = g + tie * (p - start[name]) if in_body else g
                first[name] = 0.9 * first[name] + 0.1 * g
                second[name] = 0.999 * second[name] + 0.001 * g**2
                m = first[name] / (1 - 0.9 ** (step + 1))
                v = second[name] / (1 - 0.999 ** (step + 1))
                p -= scheduled * (body_rate if in_body else 1) * m / (v.sqrt() + 1e-8)
    return network


@pytest.mark.parametrize("strategy", [FullFineTuning(), L2SP(0.7)], ids=lambda s: s.name)
def test_equals_the_loop_written_out(strategy):
    """One batch holds every patient, so the order cannot matter but for rounding."""
    x, y = data()
    done = fit(Tiny(), x, y, strategy, seed=0, steps=30, batch_size=64, learning_rate=0.01)
    expected = loop(Tiny(), x, y, 30, 0.01, strategy.tie)
    torch.testing.assert_close(weights(done.network), weights(expected), rtol=0, atol=2e-5)


def test_penalty_matters_in_the_loop():
    """The comparison above could fail: with another tie the two differ by far more."""
    x, y = data()
    done = fit(Tiny(), x, y, L2SP(0.7), seed=0, steps=30, batch_size=64, learning_rate=0.01)
    other = loop(Tiny(), x, y, 30, 0.01, 0.35)
    assert (weights(done.network) - weights(other)).abs().max() > 1e-3


def test_linear_probe_leaves_the_body_alone():
    x, y = data()
    network = nets.load("small_cnn", "untrained", seed=2)
    pictures = torch.rand(12, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    before = copy.deepcopy(network.state_dict())
    done = fit(network, network.prepare(pictures), y[:12], LinearProbe(), seed=0, steps=5)
    for name, value in done.network.state_dict().items():
        assert torch.equal(value, before[name]) == name.startswith("body"), name
    assert done.distance == 0


@pytest.mark.parametrize("strategy", [Scratch(), LinearProbe(), L2SP(0.1)], ids=lambda s: s.name)
def test_the_network_that_comes_in_is_never_changed(strategy):
    x, y = data()
    network = Tiny().train()
    network.body.layer.weight.requires_grad_(False)
    before = copy.deepcopy(network.state_dict())
    done = fit(network, x, y, strategy, seed=0, steps=4)
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())
    assert network.training and not network.body.layer.weight.requires_grad
    assert not done.network.training and done.network is not network


def test_linear_probe_does_not_move_batch_norm_statistics():
    """A frozen body in training mode would still drift: its running means are not parameters."""
    network = nets.load("efficientnet_lite0", "imagenet")
    pictures = torch.rand(8, 1, 32, 32, generator=torch.Generator().manual_seed(1))
    x, y = network.prepare(pictures), (torch.arange(8) % 2).float()
    done = fit(network, x, y, LinearProbe(), seed=0, steps=2, batch_size=4)
    before = network.state_dict()
    assert all(
        torch.equal(v, before[k]) for k, v in done.network.body.state_dict(prefix="body.").items()
    )
    moved = fit(network, x, y, FullFineTuning(), seed=0, steps=1, batch_size=4).network
    assert any(
        not torch.equal(v, before[k]) for k, v in moved.state_dict().items() if "running_mean" in k
    )


def test_converges_to_the_convex_solution():
    """A frozen body is logistic regression: 800 steps of Adam reach probe's head."""
    x, y = data(n=60, seed=3)
    network = Tiny(seed=1)
    done = fit(network, x, y, LinearProbe(), seed=0, steps=800, batch_size=64, learning_rate=0.1)
    features = network.body(x).detach()
    head = probe(features, y, 1e-7)
    expected = head.logits(features)[0, 0]
    assert expected.abs().max() < 20  # not separable: the comparison has a finite answer
    torch.testing.assert_close(predict(done.network, x).double(), expected, rtol=0, atol=0.02)
    best = float(F.binary_cross_entropy_with_logits(expected, y.double()))
    assert best - 1e-6 <= done.train_loss <= best + 1e-5
    assert done.losses[0] > done.losses[-1]


def test_same_seed_same_bits_other_seed_other_network():
    x, y = data(n=50)
    one, two, other = (
        fit(Tiny(), x, y, Scratch(), seed=s, steps=12, batch_size=16, flip=True) for s in (4, 4, 5)
    )
    assert torch.equal(weights(one.network), weights(two.network))
    assert torch.equal(one.losses, two.losses) and one.distance == two.distance
    assert not torch.equal(weights(one.network), weights(other.network))


def test_global_random_state_is_neither_used_nor_moved():
    x, y = data()
    torch.manual_seed(1)
    one = fit(Tiny(), x, y, Scratch(), seed=4, steps=3, batch_size=8, flip=True)
    state = torch.random.get_rng_state()
    torch.manual_seed(2)
    two = fit(Tiny(), x, y, Scratch(), seed=4, steps=3, batch_size=8, flip=True)
    assert torch.equal(weights(one.network), weights(two.network))
    torch.manual_seed(1)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_every_patient_is_met_once_an_epoch(monkeypatch):
    """20 patients in batches of 5: four steps meet each exactly once, in an order of the seed's."""
    x, y = data(n=20)
    x[:, 0, 0, 0] = torch.arange(20)
    met: list[list[int]] = []
    network = Tiny()
    original = Tiny.forward

    def watched(self, batch):
        if torch.is_grad_enabled():
            met.append(batch[:, 0, 0, 0].int().tolist())
        return original(self, batch)

    monkeypatch.setattr(Tiny, "forward", watched)
    fit(network, x, y, Scratch(), seed=0, steps=8, batch_size=5)
    epochs = [sum(met[:4], []), sum(met[4:], [])]
    assert all(sorted(epoch) == list(range(20)) for epoch in epochs)
    assert epochs[0] != epochs[1] != sorted(epochs[1])


def test_distance_is_relative_and_of_the_body():
    x, y = data()
    start, done = Tiny(), fit(Tiny(), x, y, Scratch(), seed=0, steps=9, learning_rate=0.02)
    pairs = list(zip(start.body.parameters(), done.network.body.parameters()))
    moved = sum(float((a - b).detach().double().square().sum()) for a, b in pairs)
    size = sum(float(a.detach().double().square().sum()) for a, _ in pairs)
    assert done.distance == pytest.approx(math.sqrt(moved / size), rel=1e-5)


def test_a_stronger_tie_stays_nearer():
    x, y = data()
    ties = (1e-3, 0.1, 1.0, 10.0)
    settings = {"seed": 0, "steps": 150, "learning_rate": 0.01, "batch_size": 64}
    free = fit(Tiny(), x, y, FullFineTuning(), **settings).distance
    distances = [fit(Tiny(), x, y, L2SP(tie), **settings).distance for tie in ties]
    assert free >= distances[0] > distances[1] > distances[2] > distances[3]
    assert distances[-1] < 0.02 * free
    # the stationary point of the tied objective: alpha (theta - start) = -gradient of the loss
    done = fit(Tiny(), x, y, L2SP(1.0), **settings | {"steps": 600})
    loss = F.binary_cross_entropy_with_logits(done.network(x), y)
    pull = torch.autograd.grad(loss, list(done.network.body.parameters()))
    for gradient, now, start in zip(pull, done.network.body.parameters(), Tiny().body.parameters()):
        torch.testing.assert_close(now.detach() - start.detach(), -gradient, rtol=0, atol=2e-3)


def test_matched_distance_is_taken_at_the_first_check_below_the_loss():
    x, y = data()
    settings = {"seed": 0, "learning_rate": 0.01, "batch_size": 64}
    at_25 = fit(Tiny(), x, y, Scratch(), steps=25, **settings)
    assert at_25.matched_step is None and at_25.matched_distance is None
    for bound, reached in ((at_25.train_loss, True), (at_25.train_loss - 1e-6, False)):
        done = fit(Tiny(), x, y, Scratch(), steps=25, match_loss=bound, **settings)
        assert (done.matched_step == 25) is reached
        assert (done.matched_distance == done.distance) is reached
    # the whole training set's loss counts, never a batch's; and checking changes nothing
    longer = fit(Tiny(), x, y, Scratch(), steps=75, match_loss=1e9, **settings)
    plain = fit(Tiny(), x, y, Scratch(), steps=75, **settings)
    assert longer.matched_step == 25 and longer.matched_distance < longer.distance
    assert torch.equal(weights(longer.network), weights(plain.network))
    assert fit(Tiny(), x, y, Scratch(), steps=24, match_loss=1e9, **settings).matched_step is None


def test_flip_mirrors_left_to_right_and_half_of_the_time(monkeypatch):
    x, y = data(n=40)
    seen: list[torch.Tensor] = []
    original = Tiny.forward

    def watched(self, batch):
        if torch.is_grad_enabled():
            seen.append(batch.clone())
        return original(self, batch)

    monkeypatch.setattr(Tiny, "forward", watched)
    fit(Tiny(), x, y, Scratch(), seed=0, steps=40, batch_size=40, flip=True)
    mirrored = 0
    for batch in seen:
        for picture in batch:
            distance = (x - picture).flatten(1).abs().amax(1)
            turned = (x.flip(-1) - picture).flatten(1).abs().amax(1)
            assert min(distance.min(), turned.min()) == 0  # one of the two, nothing else
            mirrored += int(turned.min() == 0)
    n = 40 * 40
    assert abs(mirrored - n / 2) < 4 * math.sqrt(n / 4)
    seen.clear()
    fit(Tiny(), x, y, Scratch(), seed=0, steps=2, batch_size=40)
    assert all((x - p).flatten(1).abs().amax(1).min() == 0 for b in seen for p in b)


def test_predict_is_the_forward_pass_in_evaluation_mode():
    network = nets.load("efficientnet_lite0", "imagenet")
    pictures = torch.rand(5, 1, 32, 32, generator=torch.Generator().manual_seed(2))
    x = network.prepare(pictures)
    with torch.no_grad():
        expected = network.eval()(x)
    found = predict(network.train(), x, batch_size=2)
    assert found.shape == (5,) and not found.requires_grad
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_training_loss_is_the_mean_log_loss_and_keeps_the_mode():
    x, y = data()
    network = Tiny().train()
    p = torch.sigmoid(network(x)).detach().double()
    expected = -float((y * p.log() + (1 - y) * (1 - p).log()).mean())
    assert training_loss(network, x, y) == pytest.approx(expected, rel=1e-5)
    assert network.training
    assert training_loss(network.eval(), x, y) and not network.training


def test_losses_are_recorded_step_by_step():
    x, y = data()
    done = fit(Tiny(), x, y, L2SP(5.0), seed=0, steps=7, batch_size=64)
    assert done.losses.shape == (7,)
    assert float(done.losses[0]) == pytest.approx(training_loss(Tiny(), x, y), rel=1e-5)


def test_errors_name_value_and_expectation():
    x, y = data()
    with pytest.raises(ValueError, match="all 24 labels are 1; training needs both classes"):
        fit(Tiny(), x, torch.ones(24), Scratch(), seed=0)
    with pytest.raises(ValueError, match=r"labels hold \[0.0, 2.0\]; expected 0 and 1"):
        fit(Tiny(), x, 2 * y, Scratch(), seed=0)
    with pytest.raises(ValueError, match=r"\(24, 6, 6\).*expected \(n, channels, height, width\)"):
        fit(Tiny(), x[:, 0], y, Scratch(), seed=0)
    with pytest.raises(ValueError, match=r"labels \(23,\); expected"):
        fit(Tiny(), x, y[1:], Scratch(), seed=0)
    with pytest.raises(ValueError, match="steps is 0, learning_rate 0.001; both must be positive"):
        fit(Tiny(), x, y, Scratch(), seed=0, steps=0)
    with pytest.raises(ValueError, match="learning_rate nan; both must be positive"):
        fit(Tiny(), x, y, Scratch(), seed=0, learning_rate=float("nan"))
    x[3, 0, 1, 1] = float("nan")
    with pytest.raises(ValueError, match="inputs hold NaN or infinity; look at the pictures"):
        fit(Tiny(), x, y, Scratch(), seed=0)


def test_ewc_equals_the_loop_written_out():
    """The penalty strength/2 sum F_i (theta_i - start_i)^2, through autograd."""
    x, y = data()
    network = Tiny().double()
    fisher = {n: torch.rand_like(p) for n, p in network.named_parameters()}
    settings = {"steps": 30, "learning_rate": 0.01, "batch_size": 64}
    done = fit(network, x.double(), y, EWC(3.0), seed=0, importance=fisher, **settings)
    plain = copy.deepcopy(network)
    start = {n: p.detach().clone() for n, p in plain.named_parameters()}
    optimizer = torch.optim.Adam(plain.parameters(), lr=0.01)
    for step in range(30):
        factor = (step + 1) / 3 if step < 3 else 0.5 * (1 + math.cos(math.pi * (step - 3) / 27))
        optimizer.param_groups[0]["lr"] = 0.01 * factor
        loss = F.binary_cross_entropy_with_logits(plain(x.double()), y.double())
        loss = loss + 1.5 * sum(
            (fisher[n] * (p - start[n]).square()).sum()
            for n, p in plain.named_parameters()
            if n.startswith("body")
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    torch.testing.assert_close(weights(done.network), weights(plain), rtol=0, atol=1e-9)


def test_ewc_with_equal_importance_is_l2sp():
    x, y = data()
    ones = {n: torch.ones_like(p) for n, p in Tiny().named_parameters()}
    one = fit(Tiny(), x, y, EWC(0.4), seed=0, steps=20, importance=ones)
    two = fit(Tiny(), x, y, L2SP(0.4), seed=0, steps=20)
    assert torch.equal(weights(one.network), weights(two.network))


def test_discriminative_rates_move_early_blocks_less_and_above_one_more():
    """Adam's first step moves every weight by its rate (up to 1e-8 / |gradient|)."""
    network = nets.load("small_cnn", "photographs").double()
    x = torch.randn(32, 1, 32, 32, generator=torch.Generator().manual_seed(0)).double()
    y = (torch.arange(32) % 2).float()
    for decay in (0.1, 10.0):
        done = fit(network, x, y, Discriminative(decay), seed=0, steps=1, learning_rate=1e-4)
        after = dict(done.network.named_parameters())
        moved = {
            n: float((after[n] - p).detach().abs().max()) for n, p in network.named_parameters()
        }
        for depth in (1, 2, 3, 4):
            name = f"body.conv{5 - depth}.0.weight"
            assert moved[name] == pytest.approx(1e-4 * decay**depth, rel=0.01)
        assert moved["head.weight"] == pytest.approx(1e-4, rel=0.01)


def test_lpft_s_first_half_is_a_linear_probe():
    """Its head at half time is the probe's, because each part has its own schedule."""
    x, y = data()
    probe_fit = fit(Tiny(), x, y, LinearProbe(), seed=0, steps=20, batch_size=64)
    done = fit(Tiny(), x, y, LPFT(0.5), seed=0, steps=40, batch_size=64)
    torch.testing.assert_close(done.losses[:20], probe_fit.losses, rtol=0, atol=0)
    full = fit(probe_fit.network, x, y, FullFineTuning(), seed=0, steps=20, batch_size=64)
    # Adam's memory of the head is carried over, so only the first loss is the same
    assert float(done.losses[20]) == pytest.approx(float(full.losses[0]), abs=1e-6)
    assert done.distance > 0


def test_bfloat16_is_near_and_not_equal():
    x, y = data()
    settings = {"seed": 0, "steps": 20, "learning_rate": 0.01}
    full = fit(Tiny(), x, y, Scratch(), **settings)
    half = fit(Tiny(), x, y, Scratch(), precision=torch.bfloat16, **settings)
    assert weights(half.network).dtype == torch.float32
    assert 0 < float((weights(full.network) - weights(half.network)).abs().max()) < 0.05


def test_weights_of_patients_are_copies_of_patients():
    """A full batch in which patient i counts w_i times: the weighted loss has the same gradients.

    Adam sees gradients only up to rounding, so float32 networks agree to 1e-4 after 20 steps.
    """
    x, y = data(12)
    times = torch.tensor([1, 2, 3] * 4)
    copies = x.repeat_interleave(times, 0), y.repeat_interleave(times)
    how = {"seed": 1, "steps": 20, "learning_rate": 1e-2}
    weighted = fit(Tiny(), x, y, Scratch(), batch_size=12, sample_weights=times.float(), **how)
    copied = fit(Tiny(), *copies, Scratch(), batch_size=int(times.sum()), **how)
    plain = fit(Tiny(), x, y, Scratch(), batch_size=12, **how)
    gap = (weights(weighted.network) - weights(copied.network)).abs().max()
    assert gap < 1e-4 < (weights(weighted.network) - weights(plain.network)).abs().max()


def test_weights_of_one_each_change_nothing_and_only_their_ratios_count():
    x, y = data(12)
    how = {"seed": 1, "steps": 10, "batch_size": 6}
    plain = fit(Tiny(), x, y, Scratch(), **how)
    sevens = fit(Tiny(), x, y, Scratch(), sample_weights=torch.full((12,), 7.0), **how)
    assert torch.allclose(weights(plain.network), weights(sevens.network), atol=1e-6)


@pytest.mark.parametrize(
    "bad", [torch.ones(5), torch.zeros(12), -torch.ones(12), torch.full((12,), float("nan"))]
)
def test_weights_that_are_none_are_named(bad):
    x, y = data(12)
    with pytest.raises(ValueError, match="sample_weights"):
        fit(Tiny(), x, y, Scratch(), seed=0, steps=1, sample_weights=bad)
