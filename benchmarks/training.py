"""Many networks at once, and frozen blocks run once, against the loops a user would write.

    python benchmarks/training.py [--repeats 3] [--parts many frozen] [--device cpu]

many: `fit_many` against the bare loop of `loops.py`, network after network, for 1, 2, 4, ...
networks of four architectures: two linear models, a perceptron, the pretrained small_cnn. The bare
loop runs with torch's own number of threads ("all") and with one. Each network has 200 examples and
takes 100 steps of 32. Worker processes of an earlier call are kept and reused; what starting them
costs is a row of its own.

frozen: EfficientNet-Lite0 at 64 pixels, of which the last 4 or 2 blocks and the head, or the head
alone, move: 200 pictures, 100 steps of 32. The opponent is torchvision's way:
`requires_grad_(False)` on what stands still, whose batch normalisation is in evaluation mode, the
whole network at each step.

Equal work is asserted before there is a ratio, in float64 (in float32 a rounding flips a ReLU now
and then, and the same loop ends elsewhere with another number of threads): final losses within 1e-9
nats, parameters apart by at most 1e-6 of the way they came (the column "difference"); of the many
networks the first three are compared, by the technique that is timed. Times are float32. floor: two
operations for each counted multiply-add, three passes (forward, and a backward one of twice that),
over the rate of a square float32 matrix product measured in the same run with the same threads; the
share says how near to it `fit_many` came.
"""

from __future__ import annotations

import argparse
import copy
import math
import os
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import joblib
import torch
from table import agree, interleaved, row, show, versions
from torch import Tensor, nn

from medxfer_lab import nets
from medxfer_lab.nets.initial import texture
from medxfer_lab.training import (
    LinearProbe,
    PartialFineTuning,
    Scratch,
    Strategy,
    fit,
    fit_many,
)
from medxfer_lab.training.batches import draw_batches
from medxfer_lab.training.inputs import log_loss
from medxfer_lab.training.many import choose_technique, multiply_adds
from medxfer_lab.training.plan import plan

N, STEPS, BATCH, RATE = 200, 100, 32, 1e-3
NATS, WAY = 1e-9, 1e-6
ALL_THREADS = torch.get_num_threads()
POWERS = (1, 2, 4, 8, 16, 32, 64)
MORE = (("networks", "networks"), ("technique", "technique"), ("floor_s", "floor, s"))
MORE += (("share", "share of the floor"),)


@dataclass(frozen=True)
class Kind:
    """An architecture: how to make network k and its training set."""

    name: str
    network: Callable[[int], nn.Module]
    examples: Callable[[int], Tensor]
    counts: tuple[int, ...]


def perceptron(sizes: Sequence[int], seed: int) -> nets.Network:
    """A network of vectors; one size: a linear model."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = [
            (f"layer{i}", nn.Sequential(nn.Linear(a, b), nn.ReLU()))
            for i, (a, b) in enumerate(zip(sizes[:-1], sizes[1:]), start=1)
        ]
        body, head = nn.Sequential(OrderedDict(layers)), nn.Linear(sizes[-1], 1)
    return nets.Network("perceptron", body, head, nn.Identity(), None)


def vectors(d: int, seed: int) -> Tensor:
    return torch.randn(N, d, generator=torch.Generator().manual_seed(seed))


def small_cnn(seed: int) -> nets.Network:
    network = nets.load("small_cnn", "photographs", seed=seed % 3)
    network.reset_head(seed)
    return network


KINDS = (
    Kind("linear, d = 256", lambda k: perceptron((256,), k), lambda k: vectors(256, k), POWERS),
    Kind("linear, d = 1280", lambda k: perceptron((1280,), k), lambda k: vectors(1280, k), POWERS),
    Kind("MLP 256-64", lambda k: perceptron((256, 64), k), lambda k: vectors(256, k), POWERS),
    Kind("small_cnn", small_cnn, lambda k: (texture(N, 32, seed=k) - 0.5) / 0.25, (1, 8, 32)),
)


def coins(seed: int) -> Tensor:
    return torch.randint(0, 2, (N,), generator=torch.Generator().manual_seed(seed)).float()


def bare(
    network: nn.Module, x: Tensor, y: Tensor, strategy: Strategy, seed: int, steps: int = STEPS
) -> nn.Module:
    """The loop written out: what stands still is switched off and in evaluation mode."""
    trained = copy.deepcopy(network).to(x.device)
    settings = plan(strategy, trained)
    settings.open(trained, 0)
    optimizer = torch.optim.Adam([p for p in trained.parameters() if p.requires_grad], RATE)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: settings.rate(step, steps))
    for index in draw_batches(len(y), BATCH, steps, seed).index:
        loss = log_loss(trained(x[index]), y[index])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return trained.eval()


def matrix_rate(threads: int, device: str = "cpu") -> float:
    """Operations a second of a float32 product of two 1024 x 1024 matrices, best of five."""
    torch.set_num_threads(threads)
    a = torch.randn(1024, 1024, device=device)
    best = math.inf
    for _ in range(5):
        if device != "cpu":
            torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(4):
            a @ a
        if device != "cpu":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return 4 * 2 * 1024**3 / best


def _loss(network: nn.Module, x: Tensor, y: Tensor) -> float:
    with torch.no_grad():
        return float(log_loss(network(x), y))


def _apart(a: nn.Module, b: nn.Module, start: nn.Module) -> float:
    """||theta_a - theta_b|| / ||theta_b - theta_start||."""

    def gap(left: nn.Module, right: nn.Module) -> float:
        pairs = zip(left.parameters(), right.parameters(), strict=True)
        return sum(float((p.detach().cpu() - q.detach().cpu()).square().sum()) for p, q in pairs)

    return math.sqrt(gap(a, b) / gap(b, start))


def many(kind: Kind, m: int, repeats: int, device: str = "cpu") -> Iterator[dict]:
    """Two rows: the bare loop with all threads, and with one."""
    networks = [kind.network(k) for k in range(m)]
    cohorts = [(kind.examples(k).to(device), coins(k).to(device)) for k in range(m)]
    technique = choose_technique(networks, cohorts, m * STEPS, BATCH, device)

    def ours() -> list[nn.Module]:
        torch.set_num_threads(ALL_THREADS)
        settings = {"seeds": range(m), "steps": STEPS, "batch_size": BATCH, "learning_rate": RATE}
        done = fit_many(networks, cohorts, Scratch(), device=device, **settings)
        return [f.network for f in done]

    def loop(threads: int) -> list[nn.Module]:
        torch.set_num_threads(threads)
        pairs = zip(networks, cohorts, strict=True)
        return [bare(net, x, y, Scratch(), k) for k, (net, (x, y)) in enumerate(pairs)]

    worst = equal_work(kind, min(m, 3), technique, device)
    ours()
    times = interleaved([ours, lambda: loop(ALL_THREADS), lambda: loop(1)], repeats)
    work = 6 * multiply_adds(networks[0], cohorts[0][0][:BATCH]) * STEPS * m
    rate = matrix_rate(ALL_THREADS, device)
    floor = work / rate
    for threads, theirs in zip((ALL_THREADS, 1), times[1:], strict=True):
        yield row(
            kind.name,
            f"{N} examples, {STEPS} steps of {BATCH}",
            "bare loop",
            threads=threads,
            networks=m,
            technique=technique,
            ours_s=times[0],
            theirs_s=theirs,
            ratio=theirs / times[0],
            floor_s=floor,
            floor_gigaflops=rate / 1e9,
            share=floor / times[0],
            largest_difference=worst,
        )


def equal_work(kind: Kind, m: int, technique: str, device: str) -> float:
    """The largest difference of parameters between both ways in float64, or an error."""
    networks = [kind.network(k).double() for k in range(m)]
    cohorts = [(kind.examples(k).double().to(device), coins(k).to(device)) for k in range(m)]
    settings = {"seeds": range(m), "steps": STEPS, "batch_size": BATCH, "learning_rate": RATE}
    done = fit_many(networks, cohorts, Scratch(), device=device, technique=technique, **settings)
    worst = 0.0
    for k, (found, network, (x, y)) in enumerate(zip(done, networks, cohorts, strict=True)):
        other = bare(network, x, y, Scratch(), k)
        agree(
            f"{kind.name}, final loss", abs(_loss(found.network, x, y) - _loss(other, x, y)), NATS
        )
        worst = max(worst, agree(kind.name, _apart(found.network, other, network), WAY))
    return worst


def starting(workers: int) -> dict:
    """What starting fresh worker processes costs, and a call when they are there."""
    from joblib.externals.loky import get_reusable_executor

    get_reusable_executor().shutdown(wait=True)
    networks, cohorts = [small_cnn(k) for k in range(workers)], []
    cohorts = [((texture(N, 32, seed=k) - 0.5) / 0.25, coins(k)) for k in range(workers)]

    def call() -> float:
        start = time.perf_counter()
        settings = {"seeds": range(workers), "steps": 1, "technique": "processes"}
        fit_many(networks, cohorts, Scratch(), **settings)
        return time.perf_counter() - start

    cold, warm = call(), call()
    return row(
        "starting worker processes",
        f"{workers} processes",
        "processes that are there",
        ours_s=warm,
        theirs_s=cold,
        note="theirs: the first call of a session",
        networks=workers,
        technique="processes",
        floor_s=None,
        share=None,
    )


def frozen(opened: int, repeats: int, threads: int) -> dict:
    """Cached activations against the whole network at each step; opened 0: the head only."""
    strategy = PartialFineTuning(opened) if opened else LinearProbe()
    network = nets.load("efficientnet_lite0")
    x, y = network.prepare(texture(N, 64, seed=0)), coins(0)
    torch.set_num_threads(threads)
    settings = {"batch_size": BATCH, "learning_rate": RATE}

    def ours(net: nn.Module = network, inputs: Tensor = x, steps: int = STEPS) -> nn.Module:
        labels = y[: len(inputs)]
        return fit(net, inputs, labels, strategy, seed=0, steps=steps, **settings).network

    def theirs(net: nn.Module = network, inputs: Tensor = x, steps: int = STEPS) -> nn.Module:
        return bare(net, inputs, y[: len(inputs)], strategy, 0, steps)

    exact, few = copy.deepcopy(network).double(), x[:64].double()
    a, b = ours(exact, few, 10), theirs(exact, few, 10)
    agree("frozen, final loss", abs(_loss(a, few, y[:64]) - _loss(b, few, y[:64])), NATS)
    apart = agree("frozen, parameters", _apart(a, b, exact), WAY)
    ours(), theirs()
    mine, other = interleaved([ours, theirs], repeats)
    moving = "the head only" if not opened else f"the last {opened} blocks and the head"
    return row(
        f"Lite0, {moving}",
        f"{N} pictures of 64 px, {STEPS} steps of {BATCH}",
        "requires_grad_(False)",
        threads=threads,
        networks=1,
        technique="cached activations",
        ours_s=mine,
        theirs_s=other,
        ratio=other / mine,
        floor_s=None,
        share=None,
        largest_difference=apart,
    )


def rows(
    parts: Sequence[str], repeats: int, device: str = "cpu", most: int = 256
) -> Iterator[dict]:
    """All rows of the parts asked for."""
    if "many" in parts:
        if device == "cpu" and joblib.cpu_count() > 1:
            yield starting(joblib.cpu_count())
        for kind in KINDS:
            for m in kind.counts if device == "cpu" else (*POWERS, 128, 256):
                if m <= most:
                    yield from many(kind, m, repeats, device)
    if "frozen" in parts:
        for opened in (4, 2, 0):
            yield frozen(opened, repeats, ALL_THREADS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--parts", nargs="+", choices=("many", "frozen"), default=["many", "frozen"]
    )
    parser.add_argument("--most", type=int, default=256, help="networks at most")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", default="", help="a file for the rows")
    a = parser.parse_args()
    device = torch.cuda.get_device_name() if a.device.startswith("cuda") else "CPU"
    print(f"{device}, {versions()}, {os.cpu_count()} cores, {ALL_THREADS} threads by default")
    print(f"median of {a.repeats} interleaved runs\n")
    show(rows(a.parts, a.repeats, a.device, a.most), *MORE, path=a.json)


if __name__ == "__main__":
    main()
