"""A sweep small enough to be killed again and again: each job trains a tiny network from its seed.

Not a measurement of its own: :mod:`medxfer_lab.reference.experiment.kills` starts it in processes,
kills them, and compares the records. It lies outside of ``experiment`` so that these processes
start without importing the other experiments.
"""

from __future__ import annotations

import sys

import torch
from torch import nn

from medxfer_lab.course.experiments import Laboratory
from medxfer_lab.course.jobs import Job

NAME, DATA, VERSION = "small_sweep", "simulated", 1
PRESETS = {"smoke": {"networks": 12, "steps": 60}}
#: printed when imports are over and jobs begin
READY = "ready"


def network_job(seed: int, steps: int) -> dict:
    """Loss curve and weights of a tiny network that learns whether a square is brighter.

    Every number of the result follows from ``seed``; float32, so that another order of summation
    or another number of threads would show.
    """
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(256, 1, 16, 16, generator=generator)
    labels = torch.arange(256) % 2
    images[labels == 1, :, 4:10, 4:10] += 0.3
    network = nn.Sequential(
        *(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 64, 2)),
    )
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.1, generator=generator)
    optimiser = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
    losses = []
    for _ in range(steps):
        batch = torch.randint(256, (64,), generator=generator)
        loss = nn.functional.cross_entropy(network(images[batch]), labels[batch])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    return {"losses": losses, "weights": network[-1].weight.detach().numpy()}


def run(parameters: dict, runner) -> dict:
    """By network: its last losses and the sum and the first of its last layer's weights."""
    jobs = [
        Job(f"network-{seed}", {"seed": seed, "steps": parameters["steps"]})
        for seed in range(parameters["networks"])
    ]
    return {
        key: {
            "losses": done["losses"][-5:],
            "weight_sum": done["weights"].sum(),
            "first_weights": done["weights"][0, :5],
        }
        for key, done in runner(jobs, network_job).items()
    }


LABORATORY = Laboratory("reference", {NAME: sys.modules[__name__]})


def main(folder: str, processes: int = 1, backend: str = "local", address: str = "") -> None:
    """Run the sweep in ``folder``; its record lies there when it is done."""
    print(READY, flush=True)
    LABORATORY.run(
        "smoke", processes, folder=folder, progress=False, backend=backend, address=address or None
    )
