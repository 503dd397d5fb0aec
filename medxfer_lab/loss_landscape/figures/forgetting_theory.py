"""Figures of the theory of forgetting: parameters in, matplotlib figure out."""

from __future__ import annotations

from functools import lru_cache

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from medxfer_lab.course import style
from medxfer_lab.loss_landscape.theory.consolidation import TradeOff, stability_plasticity
from medxfer_lab.loss_landscape.theory.forgetting import (
    LogisticTask,
    forgetting,
    remainder_bound,
)
from medxfer_lab.loss_landscape.theory.symmetry import relu_pair_hessian

OLD, NEW = style.COLOURS["source"], style.COLOURS["target"]
RIDGE = 0.02
LONGEST = 3.0
FLAT = "#009E73"

#: two valleys in which EWC's diagonal beats L2-SP; with other valleys it may be the other way
OLD_HESSIAN, NEW_HESSIAN = np.array([[1.2, -0.48], [-0.48, 0.3]]), np.diag([1.0, 0.3])
OLD_OPTIMUM, NEW_OPTIMUM = np.zeros(2), np.array([1.9, 1.1])
#: penalty -> importance, colour, line style, words
PENALTIES = {
    "full": (OLD_HESSIAN, "#000000", "-", "EWC, full matrix"),
    "ewc": (np.diag(OLD_HESSIAN), style.COLOURS["ewc"], "--", "EWC, diagonal"),
    "l2sp": (np.full(2, np.trace(OLD_HESSIAN) / 2), style.COLOURS["l2sp"], ":", "L2-SP"),
}


@lru_cache(maxsize=1)
def _old_task() -> tuple[LogisticTask, np.ndarray]:
    """100 simulated patients, two features of unequal spread; parameters after weight decay."""
    rng = np.random.default_rng(4)
    x = rng.normal(size=(100, 2)) @ np.array([[1.8, 0.9], [0.0, 0.5]])
    y = (rng.uniform(size=100) < 1 / (1 + np.exp(-x @ [1.0, -1.0]))).astype(float)
    task = LogisticTask(x, y)
    return task, task.minimum(RIDGE)


@lru_cache(maxsize=1)
def _moves() -> dict[str, tuple[str, np.ndarray]]:
    """Steepest and flattest eigendirection of the old Hessian, both downhill: colour, unit step."""
    task, start = _old_task()
    vectors, gradient = np.linalg.eigh(task.hessian(start))[1], task.gradient(start)
    flat, steep = (-np.sign(v @ gradient) * v for v in vectors.T)
    return {"steepest direction": (NEW, steep), "flattest direction": (FLAT, flat)}


def quadratic_forecast(step: float) -> Figure:
    """Rise of an old task's loss as parameters move by `step`, forecast and true, two ways to move.

    step: length of the displacement, from 0 to 3. A logistic regression of two features stands for
    the old task; weight decay left a gradient. The two panels have scales of their own.
    """
    style.apply()
    task, start = _old_task()
    fig = plt.figure(num="forecast", figsize=(9.8, 3.7), clear=True)
    plane, *panels = fig.subplots(1, 3)
    _old_valley(plane)
    for ax, (words, (colour, move)) in zip(panels, _moves().items()):
        end = start + step * move
        arrow = {"arrowstyle": "-|>", "color": colour, "lw": 2, "shrinkA": 0, "shrinkB": 0}
        plane.annotate("", end, start, arrowprops=arrow)
        true, forecast = _rise(ax, colour, move, step)
        ax.set_title(f"{words}\ntrue {true:+.3f}, forecast {forecast:+.3f}", color=colour, size=10)
    panels[0].set(ylabel="rise of the old loss (nats)", ylim=(-0.1, 2.0))
    panels[1].set(ylabel="the same, finer scale (nats)", ylim=(-0.06, 0.2))
    handles = [
        plt.Line2D([], [], color="black", lw=2.4, label="true"),
        plt.Line2D([], [], color="0.3", ls="--", label="$g'\\delta + \\delta'H\\delta/2$"),
        plt.Line2D([], [], color="0.5", ls=":", label="$g'\\delta$ alone"),
        plt.Rectangle((0, 0), 1, 1, color="0.88", label="remainder at most"),
    ]
    fig.legend(handles=handles, loc="outside right center")
    _said(fig, f"theory: logistic regression on 100 simulated patients; weight decay {RIDGE:g}")
    return fig


def _rise(ax: Axes, colour: str, move: np.ndarray, step: float) -> tuple[float, float]:
    """One panel of the old loss along a direction; the true and the forecast rise at `step`."""
    task, start = _old_task()
    r = np.append(np.linspace(0, LONGEST, 49), step)
    forecast = forgetting(task.gradient(start), task.hessian(start), r[:, None] * move).total
    true = np.array([task.loss(start + s * move) for s in r]) - task.loss(start)
    bound = remainder_bound(r, task.third_bound(move))
    line = slice(0, -1)
    ax.fill_between(r[line], (forecast - bound)[line], (forecast + bound)[line], color="0.88")
    ax.plot(r[line], r[line] * (task.gradient(start) @ move), color="0.5", ls=":")
    ax.plot(r[line], forecast[line], color="0.3", ls="--")
    ax.plot(r[line], true[line], color=colour, lw=2.4)
    ax.plot(step, true[-1], "o", color=colour, ms=8)
    ax.plot(step, forecast[-1], "s", color="0.3", ms=6, mfc="none")
    ax.set(xlabel="length of the displacement", xlim=(-0.1, LONGEST + 0.1))
    return float(true[-1]), float(forecast[-1])


def _old_valley(ax: Axes) -> None:
    (task, start), (a, b, loss) = _old_task(), _old_grid()
    levels = task.loss(task.minimum()) + np.array([0.01, 0.05, 0.15, 0.4, 0.8, 1.5])
    ax.contour(a, b, loss, levels, colors=OLD, linewidths=1)
    ax.plot(*start, "o", color="black")
    ax.set(xlabel="parameter 1", ylabel="parameter 2", aspect="equal")
    ax.set_title("old task's loss and\ntwo displacements")


@lru_cache(maxsize=1)
def _old_grid() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    task, start = _old_task()
    a, b = (np.linspace(c - LONGEST - 0.2, c + LONGEST + 0.2, 61) for c in start)
    z = np.stack(np.meshgrid(a, b), -1) @ task.x.T  # (61, 61, n)
    return a, b, np.mean(np.logaddexp(0, z) - task.y * z, axis=-1)


@lru_cache(maxsize=1)
def _curves() -> dict[str, TradeOff]:
    strengths = np.geomspace(1e-3, 1e3, 121)
    return {name: _trade_off(name, strengths) for name in PENALTIES}


def _trade_off(name: str, strengths: np.ndarray) -> TradeOff:
    importance = PENALTIES[name][0]
    valleys = OLD_HESSIAN, NEW_HESSIAN, OLD_OPTIMUM, NEW_OPTIMUM
    return stability_plasticity(*valleys, importance, strengths)


def ewc_strength(strength: float) -> Figure:
    """Two valleys, the ways from the new optimum to the old one, and what each way costs.

    strength: s of the penalty, best from .001 to 1000. L2-SP's importance is the mean diagonal.
    """
    style.apply()
    fig = plt.figure(num="consolidation", figsize=(9.4, 3.9), clear=True)
    plane, cost = fig.subplots(1, 2, width_ratios=(1.15, 1))
    grid = np.linspace(-1.4, 3.2, 61), np.linspace(-1.6, 2.8, 61)
    points = np.stack(np.meshgrid(*grid), -1)
    for hessian, optimum, colour, words, at in (
        (OLD_HESSIAN, OLD_OPTIMUM, OLD, "old optimum", (-10, -16)),
        (NEW_HESSIAN, NEW_OPTIMUM, NEW, "new optimum", (9, -4)),
    ):
        delta = points - optimum
        loss = np.sum(delta @ hessian * delta, axis=-1) / 2
        plane.contour(*grid, loss, [0.02, 0.1, 0.3, 0.6], colors=colour, linewidths=0.9, alpha=0.6)
        plane.plot(*optimum, "*", color=colour, ms=11)
        plane.annotate(words, optimum, at, textcoords="offset points", color=colour)
    for name, curve in _curves().items():
        _, colour, dashes, words = PENALTIES[name]
        here, marker = _trade_off(name, np.array([strength])), style.MARKERS.get(name, "o")
        plane.plot(*curve.solutions.T, color=colour, ls=dashes)
        plane.plot(*here.solutions[0], marker, color=colour, ms=8)
        label = f"{words}: {here.old_loss[0]:.2f} and {here.new_loss[0]:.2f}"
        cost.plot(curve.new_loss, curve.old_loss, color=colour, ls=dashes, label=label)
        cost.plot(here.new_loss, here.old_loss, marker, color=colour, ms=8)
    plane.set(xlabel="parameter 1", ylabel="parameter 2", aspect="equal")
    plane.set_title("solutions as the penalty grows")
    cost.set(xlabel="not learned: excess new loss (nats)")
    cost.set(ylabel="forgotten: excess old loss (nats)")
    cost.set_title(f"strength {strength:g}")
    cost.legend(title="forgotten and not learned", alignment="left", loc="upper right")
    _said(
        fig,
        "theory: two quadratic losses. No curve can lie below the full matrix's; which of the "
        "other two is lower depends on the valleys",
    )
    return fig


@lru_cache(maxsize=1)
def _patients() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=60)
    return x, 2 * np.maximum(x, 0) + 0.3 * rng.normal(size=60)


def _pair_loss(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Mean of (v ReLU(u x) - y)^2/2 over the patients, u and v of one shape."""
    x, y = _patients()
    f = v[..., None] * np.maximum(u[..., None] * x, 0)
    return np.mean((f - y) ** 2, axis=-1) / 2


def units(factor: float) -> Figure:
    """A pair of weights and the same function with the first times `factor`, the second over it.

    factor: best between .4 and 2.5. Curvature by the first weight, and by its relative change.
    """
    style.apply()
    x, y = _patients()
    slope = float((np.maximum(x, 0) @ y) / (np.maximum(x, 0) @ x))  # u v at the minimum
    root = slope**0.5
    pairs = {"before": (root, root), "after": (factor * root, root / factor)}
    looks = {"before": (OLD, "-"), "after": (NEW, "--")}
    fig = plt.figure(num="units", figsize=(9.8, 3.6), clear=True)
    plane, raw, relative = fig.subplots(1, 3)
    grid = np.linspace(0.15, 4.2, 81)
    u, v = np.meshgrid(grid, grid)
    levels = float(_pair_loss(np.array(root), np.array(root))) + np.array([0.03, 0.2, 0.6, 1.5, 4])
    plane.contour(grid, grid, _pair_loss(u, v), levels, colors="0.75", linewidths=0.9)
    plane.plot(grid, slope / grid, color="black", lw=1)
    raws, relatives = [], []
    for name, (a, b) in pairs.items():
        colour, dashes = looks[name]
        curved = relu_pair_hessian(a, b, x, y)[0, 0]
        raws.append(f"{curved:.2f}")
        relatives.append(f"{a * a * curved:.2f}")
        along = np.linspace(-0.5, 0.5, 61)
        plane.plot([a - 0.5, a + 0.5], [b, b], color=colour, ls=dashes, lw=2.2)
        plane.plot(a, b, "o", color=colour, ms=8)
        bend = np.full_like(along, b)
        raw.plot(along, _pair_loss(a + along, bend), color=colour, ls=dashes, label=name)
        relative.plot(100 * along, _pair_loss(a * (1 + along), bend), color=colour, ls=dashes)
    plane.set(xlabel="weight $u$", ylabel="weight $v$", xlim=(0, 4.2), ylim=(0, 4.2))
    plane.set(aspect="equal")
    plane.set_title("on the black line:\none function $v$ ReLU($ux$)")
    raw.set(xlabel="change of $u$", ylabel="loss", ylim=(0, 0.8))
    raw.set_title(f"curvature by $u$:\n{raws[0]} before, {raws[1]} after")
    raw.legend(loc="upper center")
    relative.set(xlabel="change of $u$ (% of $u$)", ylim=(0, 0.8))
    relative.set_title(f"times $u^2$:\n{relatives[0]} before, {relatives[1]} after")
    _said(
        fig, f"theory: $u$ times {factor:g}, $v$ over {factor:g}; least squares, 60 simulated cases"
    )
    return fig


def _said(fig: Figure, words: str) -> None:
    """What is theory and what is simulated, in small print below the figure."""
    fig.supxlabel(words, fontsize=8, color="0.35")
