"""Figures of the theory: parameters in, matplotlib figure out. The explorers draw these."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from medxfer_lab.bias_variance import theory
from medxfer_lab.course import style


def risk(n: int, wrongness: float, d: int = 100) -> Figure:
    """Squared bias, both variances and their sum against the strength of the tie.

    Random-design formula, d directions with eigenvalues that fall as 1/rank, noise variance half
    the signal's. wrongness: share of the signal that the prior's centre gets wrong; 1 is scratch.
    """
    style.apply()
    strengths = np.geomspace(1e-3, 1e2, 121)
    curve = theory.risk_against_strength(n, d, wrongness, decay=1.0, strengths=strengths)
    fig = plt.figure(num="risk", figsize=(6.4, 3.7), clear=True)
    ax = fig.subplots()
    ax.plot(strengths, curve.bias2, color=style.COLOURS["bias"], label="squared bias")
    ax.plot(
        strengths, curve.variance_design, color="#0072B2", ls="--", label="variance: which patients"
    )
    ax.plot(
        strengths,
        curve.variance_noise,
        color=style.COLOURS["variance"],
        label="variance: label noise",
    )
    ax.plot(strengths, curve.excess, color="black", lw=2.4, label="excess error")
    best = int(np.argmin(curve.excess))
    ax.plot(strengths[best], curve.excess[best], "o", color="black", ms=8)
    ax.set_xscale("log")
    ax.set_ylim(0, 1.6)
    ax.set_xlabel("strength of the tie to the prior's centre, $\\lambda$")
    ax.set_ylabel("squared error (signal variance = 1)")
    ax.set_title(f"n = {n}, centre wrong by {wrongness:g}: best excess {curve.excess[best]:.2f}")
    ax.legend(fontsize=8, loc="upper right")
    return fig


#: eigenvalue of the feature covariance along three directions: loud, faint, silent
DIRECTIONS = {"loud": 4.0, "faint": 0.05, "silent": 0.0}


def posterior(n: int, centre: float = -1.0, truth: float = 1.0) -> Figure:
    """Prior and posterior density of one coefficient along three eigendirections after n images."""
    style.apply()
    grid = np.linspace(-4, 4, 400)
    fig = plt.figure(num="posterior", figsize=(8.4, 2.9), clear=True)
    for ax, (name, eigenvalue) in zip(
        fig.subplots(1, 3, sharey=True), DIRECTIONS.items(), strict=True
    ):
        arrival = theory.posterior_against_prior(
            np.array([n]), eigenvalue, truth, centre, tau2=1.0, sigma2=1.0
        )
        mean, deviation = float(arrival.mean[0]), float(arrival.posterior_sd[0])
        ax.fill_between(grid, _density(grid, centre, 1.0), color=style.COLOURS["prior"], alpha=0.4)
        ax.plot(grid, _density(grid, mean, deviation), color=style.COLOURS["posterior"], lw=2.2)
        ax.axvline(truth, color="0.4", ls=":")
        weight = float(arrival.weight[0])
        ax.set_title(f"{name}: data weigh {weight:.0%}")
        ax.set_xlabel("coefficient")
        ax.set_ylim(0, 2.2)
    fig.axes[0].set_ylabel("density")
    fig.axes[0].text(centre, 0.43, "prior", ha="center", fontsize=9)
    fig.axes[0].text(truth + 0.1, 2.05, "truth", fontsize=9)
    return fig


def _density(x: np.ndarray, mean: float, deviation: float) -> np.ndarray:
    return np.exp(-0.5 * ((x - mean) / deviation) ** 2) / (deviation * np.sqrt(2 * np.pi))


def tiny_world() -> Figure:
    """The worked example: predictions of three training sets for two patients, and their mean."""
    style.apply()
    world = theory.worked_example()
    fig, ax = plt.subplots(figsize=(5.6, 2.8))
    patients = np.arange(world.predictions.shape[1])
    for i, row in enumerate(world.predictions):
        words = "one training set each" if i == 0 else None
        ax.plot(patients, row, "o", color=style.COLOURS["variance"], label=words)
    mean = world.weights @ world.predictions
    ax.plot(patients, mean, "_", ms=28, mew=3, color=style.COLOURS["bias"], label="their mean")
    ax.plot(patients, world.eta, "D", color="black", label="true probability")
    ax.set_xticks(patients, [f"patient {chr(65 + i)}" for i in patients])
    ax.set_xlim(-0.6, 2.2)
    ax.set_ylim(0, 1)
    ax.set_ylabel("probability of a lesion")
    ax.legend(loc="center right", fontsize=8)
    return fig
