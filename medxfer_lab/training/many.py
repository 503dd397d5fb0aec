"""Many independent networks by one call: the fastest way that this device and architecture allow.

How: *stack* (parameters stacked, :mod:`medxfer_lab.training.stack`), *processes* (one network at a
time in each worker process of one thread) or *loop* (one after another, here). The rule is written
out in :func:`choose_technique`, does not look at a clock, and so gives the same choice and the same
results again.
"""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from medxfer_lab.training.fit import Fit, check_optimizer, fit
from medxfer_lab.training.inputs import check_training
from medxfer_lab.training.stack import fit_stack, same_architecture
from medxfer_lab.training.strategies import Strategy

TECHNIQUES = ("auto", "loop", "stack", "processes")
#: multiply-adds below which starting worker processes (some seconds) does not pay
_WORTH_PROCESSES = 2e11
#: bytes that a stack of training sets may take; larger ones are stacked in parts
_STACK_BYTES = 2**31


def fit_many(
    networks: Sequence[nn.Module],
    cohorts: Sequence[tuple[Tensor, Tensor]],
    strategy: Strategy | Sequence[Strategy],
    *,
    seeds: Sequence[int],
    steps: int | Sequence[int] = 250,
    learning_rate: float | Sequence[float] = 1e-3,
    importance: Mapping[str, Tensor] | None = None,
    technique: str = "auto",
    processes: int | None = None,
    device: str | torch.device = "cpu",
    progress: bool = False,
    **settings: Any,
) -> list[Fit]:
    """``[fit(network, *cohort, strategy, seed=seed, ...) for ...]``, faster; in the same order.

    cohorts: (prepared inputs, labels) a network. strategy, steps and learning_rate: one for all,
    or one a network. settings: batch_size, flip, match_loss, cache_prefix, precision,
    optimizer as in :func:`~medxfer_lab.training.fit`. processes: worker processes (default: one a
    core). Networks come back on ``device``.

    Against fit with the same thread count: "loop" is it; "processes" equals it to the last bit at
    one thread; "stack" sums in another order, and a float32 training carries such roundings on
    (the tests bound the difference).
    """
    m = len(networks)
    strategies = [strategy] * m if isinstance(strategy, Strategy) else list(strategy)
    rates = [learning_rate] * m if isinstance(learning_rate, int | float) else list(learning_rate)
    counts = [steps] * m if isinstance(steps, int) else list(steps)
    lengths = {"cohorts": cohorts, "seeds": seeds, "strategy": strategies}
    lengths |= {"steps": counts, "learning_rate": rates}
    for name, values in lengths.items():
        if len(values) != m:
            raise ValueError(f"{name} has {len(values)} entries for {m} networks; one each is due")
    if "sample_weights" in settings:
        raise ValueError("sample_weights belong to one training set: call fit for each network")
    check_optimizer(settings.get("optimizer", "adam"))
    if technique not in TECHNIQUES:
        raise ValueError(f"technique is {technique!r}; known: {', '.join(TECHNIQUES)}")
    labels = [
        check_training(net, x, y, count, rate)
        for net, (x, y), count, rate in zip(networks, cohorts, counts, rates, strict=True)
    ]
    if not m:
        return []
    if technique == "auto":
        batch_size = settings.get("batch_size", 32)
        technique = choose_technique(networks, cohorts, sum(counts), batch_size, device)
    shared = settings | {"importance": importance, "device": device}
    jobs = [
        {"network": net, "inputs": x, "labels": y, "strategy": s, "seed": seed}
        | {"steps": count, "learning_rate": rate}
        for net, (x, _), y, s, seed, count, rate in zip(
            networks, cohorts, labels, strategies, seeds, counts, rates, strict=True
        )
    ]
    run = {"loop": _loop, "stack": _stacks, "processes": _processes}[technique]
    if technique == "processes":
        shared["processes"] = processes
    done: list[Fit | None] = [None] * m
    with tqdm(total=m, disable=not progress, file=sys.stdout, unit="network") as bar:
        for k, result in run(jobs, shared):
            done[k] = result
            bar.update(1)
    return done


def choose_technique(
    networks: Sequence[nn.Module],
    cohorts: Sequence[tuple[Tensor, Tensor]],
    total_steps: int,
    batch_size: int,
    device: str | torch.device,
) -> str:
    """The rule: a GPU stacks; a processor stacks what has no convolution, and trains the rest in
    worker processes if there is enough of it and this is not a worker already."""
    dropout = any(isinstance(m, nn.modules.dropout._DropoutNd) for m in networks[0].modules())
    stackable = len(networks) > 2 and not dropout  # two are faster one by one
    if torch.device(device).type != "cpu":
        return "stack" if stackable else "loop"
    kinds = (nn.modules.conv._ConvNd, nn.modules.batchnorm._NormBase)
    if not any(isinstance(m, kinds) for m in networks[0].modules()):
        return "stack" if stackable else "loop"
    import joblib

    alone = joblib.cpu_count() < 2 or multiprocessing.parent_process() is not None
    # a backward pass costs about two forward ones
    work = 3 * multiply_adds(networks[0], cohorts[0][0][:batch_size]) * total_steps
    return "loop" if alone or len(networks) < 2 or work < _WORTH_PROCESSES else "processes"


def multiply_adds(network: nn.Module, inputs: Tensor) -> int:
    """Multiply-adds of one forward pass in convolutions and matrix products."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(inputs.to(next(network.parameters()).device))
    return counter.get_total_flops() // 2


def _loop(jobs: list[dict], shared: dict) -> Iterator[tuple[int, Fit]]:
    for k, job in enumerate(jobs):
        yield k, fit(**job, **shared)


def _stacks(jobs: list[dict], shared: dict) -> Iterator[tuple[int, Fit]]:
    """Groups that can be stacked: one architecture, size, strategy, steps and rate each."""
    groups: dict[Any, list[int]] = {}
    for k, job in enumerate(jobs):
        kind = (repr(job["network"]), tuple(job["inputs"].shape), job["strategy"])
        groups.setdefault((*kind, job["steps"], job["learning_rate"]), []).append(k)
    for members in groups.values():
        if not same_architecture([jobs[k]["network"] for k in members]):
            raise ValueError(
                "networks that print alike have weights of different shapes; they cannot be "
                'stacked: use technique="loop"'
            )
        size = jobs[members[0]]["inputs"]
        most = max(1, _STACK_BYTES // max(1, size.numel() * size.element_size()))
        for at in range(0, len(members), most):
            part = members[at : at + most]
            first = jobs[part[0]]
            fits = fit_stack(
                [jobs[k]["network"] for k in part],
                [(jobs[k]["inputs"], jobs[k]["labels"]) for k in part],
                first["strategy"],
                seeds=[jobs[k]["seed"] for k in part],
                steps=first["steps"],
                learning_rate=first["learning_rate"],
                **shared,
            )
            yield from zip(part, fits, strict=True)


def _processes(jobs: list[dict], shared: dict) -> Iterator[tuple[int, Fit]]:
    """joblib's reusable workers; arrays over 1 MB go by memory-mapped file, not by pipe."""
    import joblib

    shared = dict(shared)
    processes = shared.pop("processes") or joblib.cpu_count()
    if torch.device(shared["device"]).type != "cpu":
        raise ValueError(
            f"device is {shared['device']}; worker processes share the processor only: "
            'use technique="stack" or "loop"'
        )
    packed = [
        job | {"inputs": job["inputs"].numpy(), "labels": job["labels"].numpy()} for job in jobs
    ]
    with joblib.parallel_config(backend="loky", inner_max_num_threads=1):
        parallel = joblib.Parallel(n_jobs=min(processes, len(jobs)), return_as="generator")
        results = parallel(joblib.delayed(_in_worker)(job, shared) for job in packed)
        for k, (state, found) in enumerate(results):
            network = jobs[k]["network"]
            trained = _with_state(network, state)
            yield k, Fit(trained, torch.from_numpy(found.pop("losses")), **found)


def _in_worker(job: dict, shared: dict) -> tuple[dict, dict]:
    torch.set_num_threads(1)
    # a memory-mapped array cannot be written to, and torch asks for one that can
    tensors = {key: torch.from_numpy(job[key].copy()) for key in ("inputs", "labels")}
    done = fit(**(job | tensors), **shared)
    state = {name: t.numpy() for name, t in done.network.state_dict().items()}
    found = {
        name: getattr(done, name)
        for name in ("distance", "matched_distance", "matched_step", "train_loss")
    }
    return state, found | {"losses": done.losses.numpy()}


def _with_state(network: nn.Module, state: dict) -> nn.Module:
    import copy

    trained = copy.deepcopy(network)
    trained.load_state_dict({name: torch.from_numpy(a.copy()) for name, a in state.items()})
    return trained.requires_grad_(True).eval()
