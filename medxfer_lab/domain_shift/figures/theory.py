"""Figures of the theory: parameters in, matplotlib figure out. The explorers draw these."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.special import expit, logit, ndtri

from medxfer_lab.course import style
from medxfer_lab.domain_shift import theory
from medxfer_lab.domain_shift.figures.parts import said
from medxfer_lab.methods import label_shift

SOURCE, TARGET = style.COLOURS["source"], style.COLOURS["target"]
#: a calling rate or predictive value -> colour and line style
RATES = {
    "sensitivity": ("#009E73", "-"),
    "specificity": ("#56B4E9", "--"),
    "PPV": ("#D55E00", "-"),
    "NPV": ("#882255", "--"),
}


def predictive_values(
    prevalence: float,
    miss_cost: float = 5.0,
    auc: float = 0.89,
    source_prevalence: float = 1 / 3,
) -> Figure:
    """Four rates against prevalence: with the deployed threshold, and with the one that moves.

    prevalence: best between the ends of the axis, 0.5 % and 90 %.
    Scores are Gaussian in each class with the given AUC. Both thresholds are optimal for a miss
    that costs `miss_cost` false alarms; the deployed one was set at the source's prevalence.
    """
    style.apply()
    model, delta = theory.Scanner(1.0), np.sqrt(2) * float(ndtri(auc))
    cut = float(logit(label_shift.cost_threshold(1.0, miss_cost)))
    grid = expit(np.linspace(logit(0.005), logit(0.9), 81))

    def rates(shares: np.ndarray, moved: bool) -> dict[str, np.ndarray]:
        points = [
            theory.operating_point(cut, model, model, delta, p if moved else source_prevalence)
            for p in shares
        ]
        sensitivity, specificity = np.array(points).T
        values = label_shift.predictive_values(sensitivity, specificity, shares)
        return dict(
            zip(RATES, (sensitivity, specificity, values.positive, values.negative), strict=True)
        )

    fig = plt.figure(num="predictive values", figsize=(8.6, 3.6), clear=True)
    for ax, moved in zip(fig.subplots(1, 2, sharey=True), (False, True), strict=True):
        lines, here = rates(grid, moved), rates(np.array([prevalence]), moved)
        for name, (colour, dashes) in RATES.items():
            ax.plot(logit(grid), lines[name], color=colour, ls=dashes)
            ax.plot(logit(prevalence), here[name], "o", color=colour)
        ax.axvline(logit(prevalence), color="0.7", lw=1, zorder=0)
        ticks = np.array([0.01, 0.05, 0.2, 0.5, 0.8])
        ax.set_xticks(logit(ticks), [f"{t:.0%}" for t in ticks])
        ax.set_ylim(-0.02, 1.02)
        ax.set_xlabel("prevalence where it is used")
        word = "moved with prevalence" if moved else f"as set at {source_prevalence:.0%}"
        ax.set_title(f"threshold {word}")
        handles = [
            plt.Line2D([], [], color=c, ls=s, label=f"{name} {here[name][0]:.2f}")
            for name, (c, s) in RATES.items()
        ]
        ax.legend(handles=handles, loc="center left", bbox_to_anchor=(1.0, 0.5))
    fig.axes[0].set_ylabel("share")
    said(fig, f"theory: Gaussian scores, AUC {auc:g}; one miss costs {miss_cost:g} false alarms")
    return fig


def weights_and_sample_size(delta: float, spread: float = 1.0) -> Figure:
    """Source and target density, the weights between them, and the share of patients that count."""
    style.apply()
    x = np.linspace(-4, 6, 301)
    fig = plt.figure(num="weights", figsize=(9.2, 3.2), clear=True)
    densities, weights, sizes = fig.subplots(1, 3)
    for mean, deviation, colour, word in (
        (0.0, 1.0, SOURCE, "source"),
        (delta, spread, TARGET, "target"),
    ):
        y = _density(x, mean, deviation)
        densities.fill_between(x, y, color=colour, alpha=0.35)
        densities.plot([], [], color=colour, lw=6, alpha=0.5, label=word)
    densities.set(xlabel="feature (source deviations)", ylabel="density", ylim=(0, 1.05))
    densities.legend(loc="upper right")
    densities.set_title("where patients are")

    weights.semilogy(x, theory.weights(x, delta, spread), color="black")
    patients = np.random.default_rng(0).normal(size=100)
    weights.semilogy(patients, theory.weights(patients, delta, spread), "o", color=SOURCE, ms=3)
    weights.axhline(1, color="0.7", lw=1, zorder=0)
    weights.set(xlabel="feature (source deviations)", ylabel="weight $w = q/p$", ylim=(1e-4, 1e4))
    weights.set_title("weights of 100 patients")

    shifts = np.linspace(0, 3, 61)
    shares = [100 * theory.effective_share(d, spread) for d in shifts]
    here = 100 * theory.effective_share(delta, spread)
    sizes.plot(shifts, shares, color="black")
    sizes.plot(abs(delta), here, "o", color="black", ms=8)
    sizes.set(xlabel="shift of the mean $\\Delta$", ylabel="effective sample size", ylim=(-3, 103))
    finite = np.isfinite(theory.second_moment(delta, spread))
    sizes.set_title(f"100 count as {here:.3g}" if finite else "$E\\,w^2$ is infinite")
    outside = theory.outside_range(100, delta, spread)
    said(
        fig,
        "theory: two Gaussians; dots are 100 simulated source patients. A target patient lies "
        f"outside the range of 100 source patients with probability {outside:.2f}",
    )
    return fig


def two_worlds(disagreement: float, labels: int = 0) -> Figure:
    """The same patients in two worlds that differ in a strip, and what labels there are worth."""
    style.apply()
    patients = np.random.default_rng(1).uniform(size=(70, 2))
    labelled = np.random.default_rng(6).uniform(size=(labels, 2))
    fig = plt.figure(num="two worlds", figsize=(9.2, 3.4), clear=True)
    first, second, curve = fig.subplots(1, 3)
    for ax, turned in ((first, False), (second, True)):
        ax.axvspan(1 - disagreement, 1, color="0.9", zorder=0)
        _world(ax, patients, disagreement, turned, 5, "none")
        _world(ax, labelled, disagreement, turned, 9, "black")
        ax.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xlabel="feature 1")
        ax.set_title(f"World {2 if turned else 1}")
    first.set_ylabel("feature 2")
    told = int((labelled[:, 0] > 1 - disagreement).sum())
    k = np.arange(max(40, labels) + 1)
    curve.plot(k, [theory.minimax_risk(disagreement, int(i)) for i in k], color="black")
    risk = theory.minimax_risk(disagreement, labels)
    curve.plot(labels, risk, "o", color="black", ms=8)
    curve.set(xlabel="labelled target patients", ylabel="worst-world error", ylim=(0, 0.52))
    curve.set_title(f"least possible: {risk:.3f}")
    said(
        fig,
        "theory, simulated patients: circles have no disease, squares have; grey: where the worlds "
        f"disagree; black rims: labelled ({told} of {labels} in the grey)",
    )
    return fig


def _world(ax: Axes, x: np.ndarray, strip: float, turned: bool, size: int, rim: str) -> None:
    """Patients with the label of one world: above the middle, turned round inside the strip."""
    disease = (x[:, 1] > 0.5) ^ (turned & (x[:, 0] > 1 - strip))
    for y, marker, colour in ((False, "o", "#56B4E9"), (True, "s", "#D55E00")):
        chosen = x[disease == y]
        ax.plot(*chosen.T, marker, color=colour, ms=size, markeredgecolor=rim, mew=1.5)


def scanner_posterior(noise_ratio: float, auc: float = 0.89, prevalence: float = 1 / 3) -> Figure:
    """The same patients on two scanners: what each class shows, and p(y|x) on each.

    noise_ratio: noise of the new scanner over that of the old, whose AUC is given.
    """
    style.apply()
    delta = np.sqrt(2) * float(ndtri(auc))
    scanners = {"old": theory.Scanner(1.0), "new": theory.Scanner(noise_ratio)}
    x = np.linspace(-4, delta + 4, 301)
    fig = plt.figure(num="scanners", figsize=(9.2, 3.4), clear=True)
    axes = fig.subplots(1, 3)
    for ax, (word, scanner), colour in zip(axes, scanners.items(), (SOURCE, TARGET)):
        healthy, diseased = (_density(x, m, scanner.noise) for m in (0.0, delta))
        ax.fill_between(x, (1 - prevalence) * healthy, color="0.6", alpha=0.5)
        ax.fill_between(x, prevalence * diseased, color=colour, alpha=0.5)
        ax.set(xlabel="measurement $x$", ylim=(0, 0.62))
        ax.set_title(f"{word} scanner, AUC {theory.auc(scanner, delta):.2f}")
        eta = expit(theory.log_odds(x, scanner, delta, prevalence))
        axes[2].plot(x, eta, color=colour, ls="-" if word == "old" else "--", label=word)
    axes[0].set_ylabel("density times share of patients")
    got = theory.old_rule(scanners["old"], scanners["new"], delta, prevalence)
    axes[2].set(xlabel="measurement $x$", ylabel="P(disease | $x$)", ylim=(-0.02, 1.02))
    axes[2].set_title(f"calibration slope {got.calibration_slope:.2f}")
    axes[2].legend(loc="upper left")
    said(
        fig,
        f"theory: same patients, prevalence {100 * prevalence:.0f} %, grey without disease. "
        f"New scanner: loss through the old rule {got.excess_log_loss:.3f} nats",
    )
    return fig


def divergence_bound(shift: float, turned: float = 0.0) -> Figure:
    """Risk of every threshold on source and target, and the bound that links them.

    Source N(0, 1), target N(shift, 1), on a grid; disease has log odds 4x on the source. A share
    `turned` of the target's labels is turned round.
    """
    style.apply()
    x = np.linspace(-4, 6, 201)
    eta = expit(4 * x)
    new = (1 - turned) * eta + turned * (1 - eta)
    source, target = (
        (mass / mass.sum())[:, None] * np.stack([1 - e, e], axis=1)
        for mass, e in ((_density(x, 0.0, 1.0), eta), (_density(x, shift, 1.0), new))
    )
    got = theory.divergence_bound(source, target)
    cuts = np.append(x, x[-1] + x[1] - x[0]) - (x[1] - x[0]) / 2
    fig = plt.figure(num="bound", figsize=(6.4, 3.7), clear=True)
    ax = fig.subplots()
    ax.plot(cuts, got.source_risk[0], color=SOURCE, label="source risk")
    ax.plot(cuts, got.target_risk[0], color=TARGET, label="target risk")
    ax.plot(cuts, got.bound[0], color="black", ls="--", label="bound")
    ax.axhspan(1, 2, color="0.92", zorder=0)
    best = int(np.argmin(got.source_risk[0]))
    for risk, colour in ((got.source_risk, SOURCE), (got.target_risk, TARGET), (got.bound, "k")):
        ax.plot(cuts[best], risk[0, best], "o", color=colour)
    ax.set(xlim=(-3, 4), ylim=(0, 2), xlabel="threshold $t$: disease above", ylabel="error rate")
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    ax.set_title(
        f"$d_{{H\\Delta H}}/2$ = {got.divergence / 2:.2f}, $\\lambda$ = {got.joint_error:.2f}"
    )
    said(
        fig,
        "theory: exact on a grid; dots: the source's best threshold; above 1 a bound says nothing",
    )
    return fig


def _density(x: np.ndarray, mean: float, deviation: float) -> np.ndarray:
    return np.exp(-0.5 * ((x - mean) / deviation) ** 2) / (deviation * np.sqrt(2 * np.pi))
