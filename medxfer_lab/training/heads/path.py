"""Penalised heads of many training sets along a path of strengths: what both losses share."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from medxfer_lab.training.heads.kernel import KernelLogistic, KernelSoftmax
from medxfer_lab.training.heads.newton import Point, System, minimise, objective
from medxfer_lab.training.heads.primal import PrimalSystem
from medxfer_lab.training.heads.sets import Sets

SPACES = ("kernel", "primal")


@dataclass(frozen=True)
class Solved:
    """A chunk of sets: coefficients (k, c, q, C), intercepts (k, c, C), steps of the slowest."""

    sets: Sets
    part: slice
    space: str
    coefficients: Tensor
    intercepts: Tensor
    iterations: int

    def weights(self) -> Tensor:
        """(k, c, C, d) weights."""
        if self.space == "primal":
            return self.coefficients.transpose(2, 3)
        return self.sets.weights(self.part, self.coefficients)


def cheaper_space(sets: Sets, classes: int) -> str:
    """ "kernel" or "primal", by counted operations of one Gram matrix and three factors."""
    n, d = sets.n, sets.d
    gram = 0 if sets.gram is not None else n**2 * d
    if classes == 1:
        kernel, size, products = n**3 / 3, d + 1, 2 * n * d**2
    else:
        kernel, size = (3 * classes + 1) * n**3, (d + 1) * classes
        products = classes * (classes + 1) * n * d**2
    return "kernel" if gram + 3 * kernel <= 3 * (products + size**3 / 3) else "primal"


def bytes_per_set(sets: Sets, classes: int, space: str) -> int:
    """Working memory of one set."""
    n, d = sets.n, sets.d
    if space == "primal":
        return 8 * (3 * n * (d + 1) + 3 * ((d + 1) * classes) ** 2)
    rows = n * d if sets.gram is None else 0
    matrices = 4 if classes == 1 else 2 + 4 * classes
    return 8 * (rows + matrices * n**2)


def solve(
    sets: Sets,
    targets: Tensor,
    path: tuple[float, ...],
    space: str | None,
    tolerance: float,
    limit: int,
) -> Iterator[Solved]:
    """Chunk after chunk of solved heads; targets (m, n, C) are 0 or 1, one-hot for C > 1."""
    classes = targets.shape[-1]
    if space not in (None, *SPACES):
        raise ValueError(f'space is {space!r}; expected "kernel", "primal" or None (the cheaper)')
    if space != "primal":
        sets = sets.with_gram()
    sets, targets = sets.in_order(targets)
    space = space or cheaper_space(sets, classes)
    for part in sets.chunks(bytes_per_set(sets, classes, space)):
        y = targets[part]
        if space == "primal":
            system: System = PrimalSystem(sets.rows(part))
        elif classes == 1:
            system = KernelLogistic(sets.grams(part))
        else:
            system = KernelSoftmax(sets.grams(part))
        points, steps = _path(system, y, path, tolerance, limit)
        yield Solved(
            sets,
            part,
            space,
            torch.stack([points[s].coefficients for s in path]),
            torch.stack([points[s].intercepts for s in path]),
            steps,
        )


def _path(
    system, y: Tensor, path: tuple[float, ...], tolerance: float, limit: int
) -> tuple[dict[float, Point], int]:
    """Solutions from the strongest to the weakest, each started from those before it."""
    shares = y.mean(1)
    level = torch.logit(shares) if y.shape[-1] == 1 else shares.log()
    point = system.start(level if y.shape[-1] == 1 else level - level.mean(1, keepdim=True))
    solved: dict[float, Point] = {}
    slowest = 0
    for strength in sorted(set(path), reverse=True):
        start = _extrapolated(system, y, strength, solved, point)
        point, steps = minimise(system, y, strength, start, tolerance, limit)
        solved[strength] = point
        slowest = max(slowest, steps)
    return solved, slowest


def _extrapolated(
    system, y: Tensor, strength: float, solved: dict[float, Point], last: Point
) -> Point:
    """The line through the last two solutions in log strength, in sets where it is a better start.

    It costs no factor: scores are linear in the coefficients.
    """
    if len(solved) < 2:
        return last
    (before, older), (now, _) = list(solved.items())[-2:]
    reach = math.log(now / strength) / math.log(before / now)
    full = y.new_full((len(y),), reach)
    step = last.plus(older, -torch.ones_like(full))
    guess = last.plus(step, full)
    better = objective(system, y, strength, guess) < objective(system, y, strength, last)
    return last.plus(step, better * full)
