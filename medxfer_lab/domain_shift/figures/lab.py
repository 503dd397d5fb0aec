"""The lab's figures: what it measured live, and its dots over the record's lines."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from medxfer_lab import metrics
from medxfer_lab.course import style
from medxfer_lab.course.record import Record
from medxfer_lab.domain_shift.experiment import material as m
from medxfer_lab.domain_shift.experiment.assess import Scores, sigmoid
from medxfer_lab.domain_shift.experiment.lab import CALLED_FROM, Correction
from medxfer_lab.domain_shift.experiment.league import Deployed
from medxfer_lab.domain_shift.experiment.mystery import TOLD, Pair


def _figure(name: str, columns: int, width: float) -> tuple[Figure, np.ndarray]:
    """A clean figure with panels side by side, 3.7 inches high, and its axes."""
    style.apply()
    fig = plt.figure(num=name, figsize=(width * columns, 3.7), clear=True)
    return fig, fig.subplots(1, columns, squeeze=False)[0]


def _by_score(ax: Axes, p: np.ndarray, y: np.ndarray, parts: int, key: str, **how) -> None:
    """Share of diseased against mean probability in equal parts of the patients, 95 % intervals."""
    groups = np.array_split(np.argsort(p, kind="stable"), parts)
    found = [metrics.binomial_interval(int(y[g].sum()), len(g)) for g in groups]
    share, low, high = np.array([(f.estimate, f.low, f.high) for f in found]).T
    ax.plot([0, 1], [0, 1], color="0.8", lw=1, zorder=0)
    look = {"color": style.COLOURS[key], "elinewidth": 0.8, "label": style.label(key)} | how
    ax.errorbar([p[g].mean() for g in groups], share, [share - low, high - share], **look)
    ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel="predicted probability")


def lab_calibration(targets: Mapping[str, tuple[Mapping[str, Correction], Scores]]) -> Figure:
    """Share of diseased against prediction in fifths, a panel a target, a line a correction."""
    fig, axes = _figure("calibration", len(targets), 4.2)
    for ax, (title, (found, test)) in zip(axes, targets.items(), strict=True):
        for key, one in found.items():
            dashes = "-" if key in ("deployed", "known_prevalence") else ":"
            p, how = sigmoid(one.log_odds), {"marker": style.MARKERS[key], "ls": dashes}
            _by_score(ax, p, test.y, 5, key, **how)
        ax.set_title(title)
    axes[0].set_ylabel("share with the disease")
    axes[-1].legend(loc="lower right")
    fig.supxlabel("simulated patients; on the grey line a prediction is right", fontsize=8)
    return fig


def lab_verdicts(pairs: Mapping[str, tuple[Scores, Scores]]) -> Figure:
    """Each patient's probability before and after a change of scanner, a panel a scanner."""
    fig, axes = _figure("verdicts", len(pairs), 3.3)
    looks = ((0, "#56B4E9", "o", "healthy"), (1, "#D55E00", "^", "diseased"))
    for ax, (title, (here, there)) in zip(axes, pairs.items(), strict=True):
        before, after = sigmoid(here.z), sigmoid(there.z)
        for ill, colour, marker, word in looks:
            who = here.y == ill
            ax.plot(before[who], after[who], marker, color=colour, ms=3, label=word)
        ax.axvline(CALLED_FROM, color="0.6", lw=1)
        ax.axhline(CALLED_FROM, color="0.6", lw=1)
        changed = float(((before >= CALLED_FROM) != (after >= CALLED_FROM)).mean())
        auc = metrics.auc(there.z, there.y)
        ax.set_title(f"{title}\n{changed:.0%} of verdicts changed, AUC {auc:.2f}", fontsize=9)
        ax.set(xlabel="probability on the old scan", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes[0].set_ylabel("probability on the new scan")
    axes[0].legend(loc="lower right")
    fig.supxlabel("same simulated patients; grey: called diseased from here on", fontsize=8)
    return fig


def lab_panels(network: Deployed, pair: Pair) -> Figure:
    """Three views of a target beside its source: scores, the labels that were told, images."""
    fig, (scored, told, images) = _figure("mystery", 3, 3.2)
    for key, marker in (("source", "o"), ("target", "^")):
        cohort, colour = getattr(pair, key), style.COLOURS[key]
        p, x = sigmoid(network.log_odds(cohort)), m.statistics(cohort).numpy()
        scored.hist(p, np.linspace(0, 1, 11), density=True, color=colour, alpha=0.45, label=key)
        images.plot(x[:, 4], x[:, 0], marker, color=colour, ms=3, alpha=0.6, label=key)
    y = pair.target.labels[:TOLD].numpy()
    _by_score(told, p[:TOLD], y, 4, "target", marker="^", ls="")
    scored.set(title="scores", xlabel="predicted probability")
    scored.set(ylabel="density", xlim=(0, 1))
    scored.legend(loc="upper center")
    told.set(title=f"{TOLD} target labels, by fives", ylabel="share with the disease")
    images.set(title="images", xlabel="97th percentile / median", ylabel="log mean brightness")
    fig.supxlabel("simulated patients; bars: 95 % intervals; images: inside the head", fontsize=8)
    return fig


def lab_against_record(record: Record, dots: Mapping[int, Mapping[str, list[float]]]) -> Figure:
    """Log loss against prevalence: the record's means and intervals, and the lab's networks.

    dots: prevalence in % -> "deployed" and "known_prevalence" -> log losses, nats.
    """
    fig, (ax,) = _figure("against record", 1, 6.4)
    cells = {int(s): cell for s, cell in record.results["network"]["label"].items()}
    at = sorted(cells)
    for arm in ("deployed", "known_prevalence"):
        look = {"color": style.COLOURS[arm]}
        leaves = [cells[s][arm]["log_loss"] for s in at]
        mean, low, high = ([leaf[key] for leaf in leaves] for key in ("mean", "low", "high"))
        ax.plot(at, mean, label=style.label(arm), **look)
        ax.fill_between(at, low, high, alpha=0.2, **look)
        for share, found in dots.items():
            here = np.full(len(found[arm]), share)
            ax.plot(here, found[arm], style.MARKERS[arm], alpha=0.6, **look)
    ax.set(xlabel="prevalence of the target (%)", ylabel="log loss (nats)")
    ax.set_title("Dots: your networks. Lines: the record's mean.")
    ax.legend()
    return fig
