r"""Newton's method for a batch of penalised heads, one factor of the Hessian used for many steps.

Every head minimises, over coefficients and unpenalised intercepts of C scores,

    mean loss(scores, y) + strength/2 ||W||_F^2.

A Newton step costs a factor, O(size^3), and a solve, O(size^2). A factor that is some steps old
still contracts the error by a constant, so it is kept as long as the residual falls fast enough
(Shamanskii's variant: Kelley, Solving Nonlinear Equations with Newton's Method, SIAM 2003,
section 2.4). A factor only steers; what decides is the residual, always exact and in float64. So a
factor may also be taken in float32 where the Hessian's condition allows it.

Sets that have converged stand still, cost no further factor, and leave the batch when it has
shrunk by half: a hard set does not make the others pay.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

#: a factor is renewed where the last step left more than this share of the residual
CONTRACTION = 0.5
#: steps that a set remembers
PAIRS = 6
#: scores are computed anew where they may be wrong by this share of the residual
EXACT = 0.1
#: share of the first slope left at the end of a step, trials for it, what rounding may add
FLAT, TRIALS, SLACK = 0.2, 30, 1e-12


@dataclass
class Point:
    """c heads: coefficients (c, q, C), intercepts (c, C), and the scores (c, n, C) they give."""

    coefficients: Tensor
    intercepts: Tensor
    scores: Tensor

    def rows(self, which: Tensor) -> Point:
        """The heads of some sets."""
        return Point(self.coefficients[which], self.intercepts[which], self.scores[which])

    def plus(self, step: Point, size: Tensor) -> Point:
        """This point moved by ``size`` (c,) times a step."""
        t = size[:, None]
        return Point(
            torch.addcmul(self.coefficients, t[..., None], step.coefficients),
            torch.addcmul(self.intercepts, t, step.intercepts),
            torch.addcmul(self.scores, t[..., None], step.scores),
        )

    def times(self, size: Tensor) -> Point:
        """This point scaled by ``size`` (c,)."""
        t = size[:, None]
        return Point(
            t[..., None] * self.coefficients, t * self.intercepts, t[..., None] * self.scores
        )


class System(Protocol):
    """Coordinates in which the heads are solved: `kernel` (n unknowns) or `primal` (d)."""

    #: share of a step's largest score that its scores may be wrong by
    step_error: float

    def scores(self, coefficients: Tensor, intercepts: Tensor) -> Tensor:
        """(c, n, C) scores, exact."""

    def residual(self, point: Point, error: Tensor, strength: float) -> Tensor:
        """Stationarity's defects, minus a gradient; error (c, n, C) is y - p."""

    def size(self, residual: Tensor) -> Tensor:
        """(c,) largest defect, in units of one patient's error."""

    def floor(self, strength: float) -> Tensor:
        """(c,) defect below which rounding alone can keep the residual."""

    def factor(self, p: Tensor, strength: float, which: Tensor) -> None:
        """Factor the Hessian at probabilities p (c, n, C) anew for the sets ``which``."""

    def solve(self, residual: Tensor, strength: float) -> Point:
        """The step of the factored Hessian, its scores included."""

    def pair(self, step: Point, residual: Tensor) -> Tensor:
        """(c,) what a residual (a gradient) says to a step; in the same unit for all."""

    def inner(self, one: Point, other: Point) -> Tensor:
        """(c,) inner product of two points' weights."""

    def select(self, which: Tensor) -> System:
        """The system of some sets, their factors kept."""


def probabilities(scores: Tensor) -> Tensor:
    """Sigmoid of one score, softmax of several: (c, n, C)."""
    return scores.sigmoid() if scores.shape[-1] == 1 else scores.softmax(-1)


def mean_loss(scores: Tensor, y: Tensor) -> Tensor:
    """(c,) mean log loss; y (c, n, C) is 0 or 1, one-hot for several scores."""
    if scores.shape[-1] == 1:
        return F.binary_cross_entropy_with_logits(scores, y, reduction="none").mean((1, 2))
    return (scores.logsumexp(-1) - (scores * y).sum(-1)).mean(1)


def minimise(
    system: System, y: Tensor, strength: float, start: Point, tolerance: float, limit: int
) -> tuple[Point, int]:
    """Heads whose defects are below ``tolerance``, and how many steps the slowest set took.

    Raises:
        RuntimeError: a set has not converged after ``limit`` steps.
    """
    point, out = start, Point(*(torch.empty_like(t) for t in vars(start).values()))
    members = torch.arange(len(y), device=y.device)
    before = torch.full((len(y),), torch.inf, dtype=y.dtype, device=y.device)
    renew = torch.ones_like(members, dtype=torch.bool)
    fresh = ~renew  # was the last step taken with a new factor?
    drift = torch.zeros_like(before)  # how far the scores may have strayed from their heads
    history = History()
    for iteration in range(1, limit + 1):
        p = probabilities(point.scores)
        residual = system.residual(point, y - p, strength)
        history.complete(system, residual)
        size = system.size(residual)
        if bool((drift > EXACT * size.clamp(min=tolerance)).any()):
            point = replace(point, scores=system.scores(point.coefficients, point.intercepts))
            p = probabilities(point.scores)
            residual, drift = system.residual(point, y - p, strength), torch.zeros_like(size)
            size = system.size(residual)
        stalled = fresh & (size < system.floor(strength)) & (size > before / 2)
        done = (size < tolerance) | stalled
        remaining = int((~done).sum())
        if remaining == 0:
            _store(out, members, point)
            return out, iteration
        if 2 * remaining <= len(members):
            _store(out, members, point)
            keep = (~done).nonzero()[:, 0]
            system, point, y, p, members = (
                system.select(keep), point.rows(keep), y[keep], p[keep], members[keep]
            )  # fmt: skip
            residual, size, before = residual[keep], size[keep], before[keep]
            renew, done, drift = renew[keep], done[keep], drift[keep]
            history.select(keep)
        fresh = (renew | (size > CONTRACTION * before)) & ~done
        which = fresh.nonzero()[:, 0]
        if len(which):
            system.factor(p, strength, which)
            history.forget(fresh)
        step = history.direction(system, residual, strength)
        length = _step_length(system, y, strength, point, step)
        length = torch.where(done, 0.0, length)
        renew, before = length == 0, size
        point = point.plus(step, length)
        step = step.times(length)
        drift = drift + system.step_error * step.scores.abs().amax((1, 2))
        history.begin(step, residual)
    raise RuntimeError(
        f"Newton's method has not converged in {limit} steps at strength {strength:g}: "
        "separable data need a stronger penalty"
    )


class History:
    """Steps and what they did to the residual: L-BFGS around a factored Hessian.

    The two-loop recursion of Nocedal and Wright, Numerical Optimization, 2006, algorithm 7.4, with
    the last factor where that has a multiple of the identity. Sets whose factor is renewed forget.
    """

    def __init__(self):
        self.pairs: list[tuple[Point, Tensor, Tensor]] = []
        self.open: tuple[Point, Tensor] | None = None

    def begin(self, step: Point, residual: Tensor) -> None:
        """A step is taken from where the residual is this."""
        self.open = step, residual

    def complete(self, system: System, residual: Tensor) -> None:
        """The residual after the step: one more pair, the oldest dropped."""
        if self.open is None:
            return
        step, before = self.open
        change = before - residual
        curvature = system.pair(step, change)
        self.pairs.append((step, change, torch.where(curvature > 0, 1 / curvature, 0.0)))
        del self.pairs[:-PAIRS]

    def forget(self, which: Tensor) -> None:
        """Drop the pairs of sets (c,)."""
        self.pairs = [(s, y, torch.where(which, 0.0, rho)) for s, y, rho in self.pairs]

    def select(self, keep: Tensor) -> None:
        """Keep some sets."""
        self.pairs = [(s.rows(keep), y[keep], rho[keep]) for s, y, rho in self.pairs]

    def direction(self, system: System, residual: Tensor, strength: float) -> Point:
        """The quasi-Newton step from here."""
        weights = []
        for step, change, rho in reversed(self.pairs):
            weight = rho * system.pair(step, residual)
            residual = torch.addcmul(residual, weight[:, None, None], change, value=-1)
            weights.append(weight)
        out = system.solve(residual, strength)
        for (step, change, rho), weight in zip(self.pairs, reversed(weights), strict=True):
            out = out.plus(step, weight - rho * system.pair(out, change))
        return out


def _store(out: Point, members: Tensor, point: Point) -> None:
    for name, value in vars(point).items():
        getattr(out, name)[members] = value


def objective(system: System, y: Tensor, strength: float, point: Point) -> Tensor:
    """(c,) mean loss + strength/2 ||W||^2."""
    return mean_loss(point.scores, y) + strength / 2 * system.inner(point, point)


def _step_length(system: System, y: Tensor, strength: float, point: Point, step: Point) -> Tensor:
    """(c,) where the objective along the step is lowest, to a share FLAT of its first slope.

    Scores are linear in the step and the penalty is quadratic, so a trial costs O(n C) a set. The
    slope grows along the step (the objective is convex): Newton's method on it, in a bracket.
    """
    cross, square = system.inner(point, step), system.inner(step, step)
    start = objective(system, y, strength, point)
    allowed = start + SLACK * (1 + start.abs())

    def trial(t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        scores = point.scores + t[:, None, None] * step.scores
        slope, bend = _along(scores, y, step.scores)
        rise = mean_loss(scores, y) + strength / 2 * (base + t * (2 * cross + t * square))
        return rise, slope + strength * (cross + t * square), bend + strength * square

    base = system.inner(point, point)
    first = _along(point.scores, y, step.scores)[0] + strength * cross
    low, high = torch.zeros_like(first), torch.full_like(first, torch.inf)
    t, best = torch.ones_like(first), torch.zeros_like(first)
    open_ = torch.ones_like(first, dtype=torch.bool)
    for _ in range(TRIALS):
        value, slope, bend = trial(t)
        good = (slope.abs() <= FLAT * first.abs()) & (value <= allowed)
        best = torch.where(open_ & (good | (value <= allowed)), t, best)
        open_ = open_ & ~good
        if not open_.any():
            break
        uphill = (slope > 0) | (value > allowed)
        low, high = torch.where(uphill, low, t), torch.where(uphill, t, high)
        guess = t - slope / bend
        fallback = torch.where(high.isinf(), 4 * t, (low + high) / 2)
        inside = (guess > low) & (guess < high) & (guess <= 4 * t)
        t = torch.where(open_, torch.where(inside, guess, fallback), t)
    return best


def _along(scores: Tensor, y: Tensor, change: Tensor) -> tuple[Tensor, Tensor]:
    """(c,) first and second derivative of the mean loss as the scores change."""
    p = probabilities(scores)
    slope = ((p - y) * change).sum(-1).mean(1)
    moment = (p * change.square()).sum(-1)
    return slope, (moment - (p * change).sum(-1).square()).mean(1)
