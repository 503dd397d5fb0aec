"""One training run through different tools' loops, against `medxfer_lab.training.fit`.

    python benchmarks/loops.py [--repeats 7] [--threads 1 2] [--tasks cnn mlp frozen] [--clock wall]

The same run each time: same start, same mini-batches in the same order (the peers get a sampler
that replays ours), mean log loss, Adam at 1e-3 with a warm-up over a tenth of the steps and then a
cosine, no validation, and all logging, checkpoints and progress bars off. Equal work is asserted
before there is a ratio: run in float64, the final training loss is within 1e-9 nats of the bare
loop's, and the parameters are apart by at most 1e-7 of the way they came, ||a - b|| / ||b - start||
(the column "difference"); two batches in the wrong order come to 3e-2. In float32, in which the
loops are timed, this would be no test: a rounding flips a ReLU, and the bare loop on two threads
ends 1e-2 away from itself on one. A time is one whole fit: copying the network, what the tool
builds, all steps. Medians, all loops in turn.

- cnn: the pretrained small_cnn, 150 steps of 32 images of 32 x 32 pixels.
- mlp: 256-64-1, 300 steps of 32 vectors.
- frozen: the cnn, of which only the head, or the last block and the head, move. The opponent is
  torchvision's reference way: `requires_grad_(False)`, and the whole network runs at each step.
"""

from __future__ import annotations

import argparse
import copy
import logging
import math
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import torch
from table import CLOCKS, agree, interleaved, missing, row, show, versions
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from medxfer_lab.nets import Network, load
from medxfer_lab.nets.initial import texture
from medxfer_lab.training import FullFineTuning, LinearProbe, PartialFineTuning, Strategy, fit

RATE, BATCH, SEED = 1e-3, 32, 0
NATS, WAY = 1e-9, 1e-7


@dataclass(frozen=True)
class Task:
    """One training run; opened: blocks of the body that move beside the head, None for all."""

    name: str
    network: Network
    inputs: Tensor
    labels: Tensor
    steps: int
    opened: int | None = None

    @property
    def strategy(self) -> Strategy:
        if self.opened is None:
            return FullFineTuning()
        return PartialFineTuning(self.opened) if self.opened else LinearProbe()

    @property
    def order(self) -> list[list[int]]:
        """Rows of each mini-batch, as `fit` draws them from SEED."""
        generator = torch.Generator().manual_seed(SEED)
        batches, left = [], torch.empty(0, dtype=torch.long)
        while len(batches) < self.steps:
            if len(left) < BATCH:
                left = torch.randperm(len(self.labels), generator=generator)
            batches.append(left[:BATCH].tolist())
            left = left[BATCH:]
        return batches

    @property
    def start(self) -> Network:
        """A copy of the network, what stands still switched off."""
        network = copy.deepcopy(self.network).train()
        if self.opened is not None:
            network.requires_grad_(False)
            for block in network.blocks[len(network.blocks) - 1 - self.opened :]:
                network.get_submodule(block).requires_grad_(True)
        return network

    @property
    def loader(self) -> DataLoader:
        return DataLoader(TensorDataset(self.inputs, self.labels), batch_sampler=self.order)

    def rate(self, step: int) -> float:
        """The factor on RATE: a warm-up over a tenth of the steps, then a cosine."""
        warm = max(1, self.steps // 10)
        if step < warm:
            return (step + 1) / warm
        return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, self.steps - warm)))


def adam(network: nn.Module) -> torch.optim.Adam:
    return torch.optim.Adam([p for p in network.parameters() if p.requires_grad], RATE)


# the loops: each takes a task and returns the trained network ------------------------------------


def ours(task: Task) -> nn.Module:
    return fit(
        task.network,
        task.inputs,
        task.labels,
        task.strategy,
        seed=SEED,
        steps=task.steps,
        batch_size=BATCH,
        learning_rate=RATE,
    ).network


def bare(task: Task, with_loader: bool = False) -> nn.Module:
    """The hand-written loop; batches by indexing, or from a DataLoader."""
    network, criterion = task.start, nn.BCEWithLogitsLoss()
    optimizer = adam(network)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, task.rate)
    indexed = ((task.inputs[index], task.labels[index]) for index in task.order)
    for x, y in task.loader if with_loader else indexed:
        optimizer.zero_grad()
        criterion(network(x), y).backward()
        optimizer.step()
        schedule.step()
    return network


def skorch(task: Task) -> nn.Module:
    from skorch import NeuralNet
    from skorch.callbacks import LRScheduler

    policy = torch.optim.lr_scheduler.LambdaLR
    schedule = LRScheduler(policy, lr_lambda=task.rate, step_every="batch", event_name=None)
    default = ("epoch_timer", "train_loss", "valid_loss", "print_log")
    net = NeuralNet(
        task.start,
        nn.BCEWithLogitsLoss,
        optimizer=torch.optim.Adam,
        lr=RATE,
        max_epochs=1,
        batch_size=1,  # DataLoader's own default, which it asks for beside a batch sampler
        iterator_train__batch_sampler=task.order,
        train_split=None,
        callbacks=[("schedule", schedule)],
        verbose=0,
        **{f"callbacks__{name}": None for name in default},
    )
    return net.fit(TensorDataset(task.inputs, task.labels), y=None).module_


def lightning(task: Task) -> nn.Module:
    from lightning import LightningModule, Trainer

    class Module(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network, self.criterion = task.start, nn.BCEWithLogitsLoss()

        def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
            x, y = batch
            return self.criterion(self.network(x), y)

        def configure_optimizers(self):
            optimizer = adam(self.network)
            schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, task.rate)
            return [optimizer], [{"scheduler": schedule, "interval": "step"}]

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    module = Module()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = Trainer(max_epochs=1, accelerator="cpu", devices=1, barebones=True)
        trainer.fit(module, task.loader)
    assert trainer.global_step == task.steps
    return module.network


def fastai(task: Task) -> nn.Module:
    from fastai.callback.core import Callback, CancelValidException
    from fastai.callback.schedule import ParamScheduler
    from fastai.data.core import DataLoaders
    from fastai.learner import Learner, Recorder
    from fastai.optimizer import OptimWrapper

    class NoValidation(Callback):
        def before_validate(self) -> None:
            raise CancelValidException

    learner = Learner(
        DataLoaders(task.loader, task.loader, device=torch.device("cpu")),
        task.start,
        nn.BCEWithLogitsLoss(),
        opt_func=partial(OptimWrapper, opt=torch.optim.Adam),
    )
    learner.remove_cb(Recorder)
    schedule = ParamScheduler({"lr": lambda share: RATE * task.rate(round(share * task.steps))})
    with learner.no_bar(), learner.no_logging():
        learner.fit(1, RATE, cbs=[schedule, NoValidation()])
    return learner.model


#: name -> (package, or None; loop)
LOOPS: dict[str, tuple[str | None, Callable[[Task], nn.Module]]] = {
    "bare loop": (None, bare),
    "bare loop, DataLoader": (None, partial(bare, with_loader=True)),
    "skorch": ("skorch", skorch),
    "Lightning": ("lightning", lightning),
    "fastai": ("fastai.learner", fastai),
}


# tasks and rows ----------------------------------------------------------------------------------


def cnn(opened: int | None = None) -> Task:
    network = load("small_cnn")
    inputs = network.prepare(texture(512, 32, seed=0))
    name = {None: "cnn", 0: "cnn, head", 1: "cnn, last block and head"}[opened]
    return Task(name, network, inputs, coins(512), 150, opened)


def mlp() -> Task:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        hidden = nn.Sequential(nn.Linear(256, 64), nn.ReLU())
        inputs = torch.randn(1024, 256)
        head = nn.Linear(64, 1)
    body = nn.Sequential(OrderedDict(hidden=hidden))
    return Task("mlp", Network("mlp", body, head, nn.Identity(), None), inputs, coins(1024), 300)


def coins(n: int) -> Tensor:
    return torch.randint(0, 2, (n,), generator=torch.Generator().manual_seed(1)).float()


@torch.no_grad()
def final_loss(task: Task, network: nn.Module) -> float:
    """Mean log loss over the whole training set, nats."""
    return float(nn.BCEWithLogitsLoss()(network.eval()(task.inputs), task.labels))


def distance(a: nn.Module, b: nn.Module) -> float:
    """||theta_a - theta_b||."""
    pairs = zip(a.parameters(), b.parameters(), strict=True)
    return math.sqrt(sum(float((p - q).detach().double().square().sum()) for p, q in pairs))


def double(task: Task) -> Task:
    """The same in float64."""
    network = copy.deepcopy(task.network).double()
    return replace(task, network=network, inputs=task.inputs.double(), labels=task.labels.double())


def check(task: Task, works: dict[str, Callable[[Task], nn.Module]]) -> dict[str, float]:
    """Assert equal work; how far each loop's parameters are from the bare loop's."""
    reference, apart = bare(task), {}
    loss, way = final_loss(task, reference), distance(reference, task.network)
    for name, work in works.items():
        network = work(task)
        agree(f"{name}, final loss", abs(final_loss(task, network) - loss), NATS)
        apart[name] = agree(f"{name}, parameters", distance(network, reference) / way, WAY)
    return apart


def rows(
    task: Task, threads: int, repeats: int, names: Iterable[str], clock: str = "wall"
) -> Iterator[dict]:
    """One row for each loop: its time, ours, their ratio, and the ratio to the bare loop."""
    torch.set_num_threads(threads)
    sizes = f"{len(task.labels)} examples, {task.steps} steps of {BATCH}"
    loops, reasons = {}, {}
    for name in names:
        package, loop = LOOPS[name]
        if package and (reason := missing(package)):
            reasons[name] = reason
        else:
            loops[name] = loop
    works = {"ours": ours, **loops}
    apart = check(double(task), works)
    losses = {name: final_loss(task, work(task)) for name, work in works.items()}
    medians = interleaved([partial(work, task) for work in works.values()], repeats, clock)
    times = dict(zip(works, medians, strict=True))
    for name in loops:
        yield row(
            task.name,
            sizes,
            "requires_grad_(False)" if task.opened is not None else name,
            threads=threads,
            ours_s=times["ours"],
            theirs_s=times[name],
            ratio=times[name] / times["ours"],
            to_bare=times[name] / times["bare loop"],
            largest_difference=max(apart[name], apart["ours"]),
            note=f"loss {losses[name]:.5f}, ours {losses['ours']:.5f}",
        )
    for name, reason in reasons.items():
        yield row(task.name, sizes, name, threads=threads, note=reason, to_bare=None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    kinds = ("cnn", "mlp", "frozen")
    parser.add_argument("--tasks", nargs="+", choices=kinds, default=kinds)
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--json", default="", help="a file for the rows")
    a = parser.parse_args()
    print(f"CPU, {versions('skorch', 'lightning', 'fastai')}")
    print(f"median of {a.repeats} interleaved runs, {a.clock} time\n")
    show(
        (
            line
            for threads in a.threads
            for task, names in tasks(a.tasks)
            for line in rows(task, threads, a.repeats, names, a.clock)
        ),
        ("to_bare", "to bare loop"),
        path=a.json,
    )


def tasks(kinds: Iterable[str]) -> Iterator[tuple[Task, tuple[str, ...]]]:
    """Tasks and the loops that run them."""
    if "cnn" in kinds:
        yield cnn(), tuple(LOOPS)
    if "mlp" in kinds:
        yield mlp(), tuple(LOOPS)
    if "frozen" in kinds:
        yield cnn(0), ("bare loop",)
        yield cnn(1), ("bare loop",)


if __name__ == "__main__":
    main()
