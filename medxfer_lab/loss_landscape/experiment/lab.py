"""What the lab runs live: a network of City General is moved on from lesions to haemorrhages.

The chapter's records ask what is left of ten classes of photographs. A ward has none at hand, so
here the old task is one that it has: is there a lesion on a FLAIR slice? A network learns it live
from the photographs' checkpoint. Then it moves on to a second task, is there a haemorrhage on a
slice of a head CT, with a fresh head; the old head is kept aside, never trained, and asked what is
left. All patients are simulated, and none is in a record.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch

from medxfer_lab import nets
from medxfer_lab.course.jobs import is_quiet
from medxfer_lab.course.record import Record
from medxfer_lab.imaging import Burden, Cohort, Criterion, Disease, Hospital, archive, normalize
from medxfer_lab.imaging.archive import medmnist
from medxfer_lab.imaging.scanners import CT_ROUTINE
from medxfer_lab.imaging.windows import BRAIN_WINDOW
from medxfer_lab.loss_landscape.experiment import material as m
from medxfer_lab.loss_landscape.experiment import rates
from medxfer_lab.loss_landscape.experiment.continual import tune_on
from medxfer_lab.loss_landscape.experiment.spectra import largest, top_gauss_newton
from medxfer_lab.loss_landscape.experiment.walk import (
    descend,
    gradient,
    loss_of,
    values_of,
    with_values,
)
from medxfer_lab.loss_landscape.theory.symmetry import relative_operator
from medxfer_lab.methods import curvature as cv
from medxfer_lab.training import fit_many

LAB_SEED = 79_000
#: half of the patients have a haemorrhage, which CT shows and a FLAIR network has never seen
EMERGENCY = Hospital(
    name="City General, emergency (simulated)",
    scanners=((CT_ROUTINE, 1.0),),
    burden=Burden(
        affected=0.0,
        others=(
            Disease("haemorrhage", mean=0.7, most=2, volume_ml=(2.0, 20.0), filling=(0.4, 0.8)),
        ),
    ),
    criterion=Criterion(2.0, ("haemorrhage",)),
)
OLD_STEPS, OLD_RATE = 300, 3e-3
#: patients on whom curvature is taken, and descent runs
FEW = 64


@dataclass(frozen=True)
class Tasks:
    """Two tasks, each to train on and to test on: prepared inputs (n, 1, 32, 32), labels (n,)."""

    old: m.Set
    old_test: m.Set
    new: m.Set
    new_test: m.Set

    def few(self) -> m.Set:
        """The first FEW patients of the second task."""
        return self.new[0][:FEW], self.new[1][:FEW]


def prepared(cohort: Cohort) -> m.Set:
    """A cohort of one channel as the small network takes it.

    Hounsfield units through the brain window, 8-bit pictures divided by 255, everything else with
    the foreground's median at one half.
    """
    if cohort.units == "HU":
        seen = normalize.window(cohort.images, *BRAIN_WINDOW, units="HU").images
    elif cohort.units == "0 to 255":
        seen = cohort.images.float() / 255
    else:
        seen = m.pictures(cohort)
    return nets.load("small_cnn", "untrained").prepare(seen), cohort.labels


def admit(n_old: int = 600, n_new: int = 200, n_test: int = 400, seed: int = LAB_SEED) -> Tasks:
    """Simulate the patients of both tasks: training sets of n_old and n_new, n_test to test on."""
    parts = [
        prepared(m.draw(n, seed + i, hospital))
        for i, (n, hospital) in enumerate(
            [(n_old, m.HOSPITAL), (n_test, m.HOSPITAL), (n_new, EMERGENCY), (n_test, EMERGENCY)]
        )
    ]
    return Tasks(*parts)


def with_real(tasks: Tasks, n_new: int = 200, n_test: int = 400) -> Tasks | None:
    """The same first task, and real pictures as the second: pneumonia on children's chest X-rays.

    PneumoniaMNIST at 28 pixels, where MEDXFER_DATA or the course's own folder holds it; None where
    neither does.
    """
    try:
        # a copy that is not the published file is told of on the page, not on stderr
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            parts = [
                prepared(medmnist.load("pneumoniamnist", part, most=most))
                for part, most in (("train", n_new), ("test", n_test))
            ]
    except archive.ArchiveError:
        return None
    for words in dict.fromkeys(str(warning.message) for warning in said):
        print(f"note: {words}")
    return replace(tasks, new=parts[0], new_test=parts[1])


def learn_old(tasks: Tasks, seed: int = 0, steps: int = OLD_STEPS) -> nets.Network:
    """From pretraining ``seed`` on photographs to the first task, whole."""
    start = m.start(seed)
    return tune_on(start, tasks.old, seed=seed, steps=steps, learning_rate=OLD_RATE)[0]


def move_on(old: nets.Network, head_seed: int = 1) -> nets.Network:
    """A copy with a fresh head: where the second task starts."""
    network = copy.deepcopy(old)
    network.reset_head(head_seed, n_classes=1)
    return network.eval()


@dataclass(frozen=True)
class Steepness:
    """Largest Gauss-Newton eigenvalue a block, input first, and of all blocks at once.

    top: in the weights' own units. relative: per relative change of each weight.
    """

    top: dict[str, float]
    relative: dict[str, float]
    joint: float

    def stable(self) -> dict[str, float]:
        """Block -> 2/curvature: the longest step that it could take alone on a quadratic."""
        return {block: 2 / value for block, value in self.top.items()}


def steepness(network: nets.Network, data: m.Set) -> Steepness:
    """Curvature of the log loss by block; the labels do not enter (Gauss-Newton)."""
    top, relative = {}, {}
    for block in network.blocks:
        operator = cv.gauss_newton_operator(network, data[0], cv.block(network, block))
        values = {n: p.detach().double() for n, p in cv.block(network, block).items()}
        top[block] = largest(operator, operator.dimension)
        relative[block] = largest(relative_operator(operator, values), operator.dimension)
    whole = cv.gauss_newton_operator(network, data[0])
    return Steepness(top, relative, largest(whole, whole.dimension))


def steepness_table(found: Mapping[str, Steepness]) -> str:
    """A row a block, two columns a place: raw, and per relative change."""
    names = list(found)
    rows = [f"{'':<12}" + "".join(f"{name:>26}" for name in names)]
    rows.append(f"{'':<12}" + f"{'raw':>13}{'relative':>13}" * len(names))
    for block in next(iter(found.values())).top:
        cells = "".join(f"{s.top[block]:>13.3g}{s.relative[block]:>13.3g}" for s in found.values())
        rows.append(f"{block.replace('body.', ''):<12}{cells}")
    return "\n".join(rows)


def descents(
    network: nets.Network,
    data: m.Set,
    steps: Mapping[str, float],
    factors: Iterable[float],
    horizon: int = 20,
) -> dict[float, list[float]]:
    """Factor -> losses (horizon + 1,) of full-batch descent from where the network stands.

    steps: block -> step at factor 1; a block that is left out stands still. A run ends early where
    its loss is above ten times the start's.
    """
    loss, blocks = loss_of(network, data), {b: cv.block(network, b) for b in steps}
    values = values_of(network)
    moving = {name: values[name] for part in blocks.values() for name in part}
    ceiling = 10 * float(loss(values))
    out = {}
    for factor in factors:
        each = {name: factor * steps[b] for b, part in blocks.items() for name in part}
        out[factor] = descend(loss, moving, each, horizon, ceiling)
    return out


def step_times_curvature(
    network: nets.Network, data: m.Set, blocks: Iterable[str], step: float, at: Iterable[int]
) -> dict[int, float]:
    """Step times the top curvature of some blocks, after each step number in ``at`` of full-batch
    descent: above 2 the step is too long for where the network then stands."""
    loss, values, names = loss_of(network, data), values_of(network), tuple(blocks)
    wanted, moving = set(at), list(cv.block(network, *names))
    found = {}
    for number in range(max(wanted) + 1):
        if number in wanted:
            here = with_values(network, values)
            found[number] = step * top_gauss_newton(here, data, *names)
        _, slope = gradient(loss, {name: values[name] for name in moving})
        values |= {name: values[name] - step * slope[name] for name in moving}
    return found


#: of `rates.ARMS`: Adam, pretrained; every block alike, the head fastest, the first block fastest
RATE_ARMS = ("uniform", "discriminative", "reversed")


def tuned_rates(record: Record) -> dict[str, float]:
    """Arm -> the head's learning rate that the record's tuning chose."""
    chosen = record.results["settings"]["adam"]
    return {arm: chosen[arm]["settings"]["learning_rate"] for arm in RATE_ARMS}


def with_rates(
    starts: list[nets.Network],
    sets: list[m.Set],
    record: Record,
    *,
    seeds: list[int],
    steps: int | None = None,
    device: str = "cpu",
) -> dict[str, list[nets.Network]]:
    """Arm -> a network a set, each from its own start; all are trained at once.

    steps: the record's by default.
    """
    chosen = tuned_rates(record)
    runs = [(arm, i) for arm in RATE_ARMS for i in range(len(sets))]
    done = fit_many(
        [starts[i] for _, i in runs],
        [sets[i] for _, i in runs],
        [rates.ARMS[f"adam.{arm}"].strategy for arm, _ in runs],
        seeds=[seeds[i] for _, i in runs],
        steps=steps or record.parameters["steps"],
        learning_rate=[chosen[arm] for arm, _ in runs],
        flip=True,
        device=device,
        progress=not is_quiet(),
    )
    found: dict[str, list[nets.Network]] = {arm: [] for arm in RATE_ARMS}
    for (arm, _), one in zip(runs, done, strict=True):
        found[arm].append(one.network)
    return found


def as_the_record(
    tasks: Tasks, record: Record, sets: int, device: str = "cpu"
) -> dict[str, np.ndarray]:
    """Arm -> test log loss (sets,) of the record's own experiment on your patients, nats.

    From photographs straight to the first task, on as many patients a set as the record's.
    """
    n = record.parameters["n"]
    if sets * n > len(tasks.old[1]):
        raise ValueError(f"{sets} sets of {n} need {sets * n} patients; {len(tasks.old[1])} came")
    parts = [slice(i * n, (i + 1) * n) for i in range(sets)]
    networks = with_rates(
        [m.start(i) for i in range(sets)],
        [(tasks.old[0][part], tasks.old[1][part]) for part in parts],
        record,
        seeds=list(range(sets)),
        device=device,
    )
    return {
        arm: np.array([m.loss(network, tasks.old_test) for network in each])
        for arm, each in networks.items()
    }


def device() -> str:
    """The fastest device at hand: a GPU if torch sees one, else the processor."""
    return "cuda" if torch.cuda.is_available() else "cpu"
