"""The shifts as statements about one table, exactly.

A **world** is a table p[x, y] of probabilities that sum to 1: one row for each picture x a scanner
can deliver, one column for each label y in {0, 1}. Source p and target q share their rows. Each
pure shift keeps one part of the table and changes another; `kept` says which, without being told
how the target was made. Names as in Moreno-Torres et al., Pattern Recognition 45 (2012) 521-530;
acquisition shift as in Castro, Walker and Glocker, Nature Communications 11 (2020) 3673.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import rel_entr, xlogy

from medxfer_lab._checks import finite_array, number, same_length


@dataclass(frozen=True)
class Kept:
    """Which laws agree between source and target.

    A conditional law exists only where its condition has mass. x_given_y and y_given_x are
    compared where *both* worlds have mass; None: nowhere, so they are **not comparable**.
    unseen: target probability of pictures that the source never shows. Where it is above 0 the
    data say nothing of p(y|x) there, and a True is a statement about the rest.
    """

    x: bool
    y: bool
    x_given_y: bool | None
    y_given_x: bool | None
    unseen: float

    @property
    def kinds(self) -> tuple[str, ...]:
        """The pure shifts the pair fits: none, one, or two at once (if x settles y, say).

        Pictures the source never showed take the pair out of covariate shift: no weight exists.
        """
        fits = {
            "covariate shift": not self.x and self.y_given_x is True and self.unseen == 0,
            "label shift": not self.y and self.x_given_y is True,
            "concept shift": self.x and self.y_given_x is False,
        }
        return tuple(name for name, fit in fits.items() if fit)


def kept(source: ArrayLike, target: ArrayLike, tolerance: float = 1e-9) -> Kept:
    """Compare p(x), p(y), p(x|y) and p(y|x) of two worlds, each (k, 2).

    tolerance: largest difference of two probabilities that still counts as equal.
    """
    p, q = pair(source, target)

    def same(a: np.ndarray, b: np.ndarray) -> bool:
        return bool(np.abs(a - b).max() <= tolerance)

    def conditionals(axis: int) -> bool | None:
        a, b = p.sum(axis, keepdims=True), q.sum(axis, keepdims=True)
        both = np.flatnonzero((a > 0) & (b > 0))
        if both.size == 0:
            return None
        given_a, given_b = (
            np.take(t, both, 1 - axis) / np.take(m, both, 1 - axis) for t, m in ((p, a), (q, b))
        )
        return same(given_a, given_b)

    return Kept(
        x=same(p.sum(1), q.sum(1)),
        y=same(p.sum(0), q.sum(0)),
        x_given_y=conditionals(0),
        y_given_x=conditionals(1),
        unseen=float(q.sum(1)[p.sum(1) == 0].sum()),
    )


def eta(world: ArrayLike) -> np.ndarray:
    """P(y = 1 | x): (k,), NaN for a picture without mass."""
    p = table("world", world)
    mass = p.sum(1)
    return np.divide(p[:, 1], mass, out=np.full(len(p), np.nan), where=mass > 0)


def covariate_shift(source: ArrayLike, weights: ArrayLike) -> np.ndarray:
    """q(x, y) = w(x) p(x, y), so p(y|x) is kept: (k, 2).

    weights: (k,) >= 0, in any unit: they are divided by their mean under the source. A weight 0
    drops a picture; no weight can add one that the source does not show.
    """
    p, w = table("source", source), finite_array("weights", weights, 1)
    same_length("source", p, "weights", w, axis=0)
    mean = float(w @ p.sum(1))
    if w.min() < 0 or mean <= 0:
        raise ValueError(
            f"weights span [{w.min():.3g}, {w.max():.3g}] with mean {mean:.3g} under the source; "
            "expected weights >= 0, above 0 for some picture that the source shows"
        )
    return p * w[:, None] / mean


def label_shift(source: ArrayLike, target_prevalence: float) -> np.ndarray:
    """q(x, y) = q(y) p(x|y) with q(1) = rho, so p(x|y) is kept: (k, 2)."""
    p, rho = table("source", source), number("target_prevalence", target_prevalence, 0.0, 1.0)
    prior, wanted = p.sum(0), np.array([1 - rho, rho])
    if ((prior == 0) & (wanted > 0)).any():
        raise ValueError(
            f"the source's prevalence is {prior[1]:g} and the target's {rho:g}: the source shows "
            "no case of a label that the target needs, so p(x|y) is unknown"
        )
    return p * np.divide(wanted, prior, out=np.zeros(2), where=prior > 0)


def concept_shift(source: ArrayLike, target_eta: ArrayLike) -> np.ndarray:
    """q(x, 1) = p(x) eta_q(x), so p(x) is kept and p(y|x) is whatever you say: (k, 2)."""
    p, new = table("source", source), finite_array("target_eta", target_eta, 1)
    same_length("source", p, "target_eta", new, axis=0)
    if new.min() < 0 or new.max() > 1:
        raise ValueError(f"target_eta spans [{new.min():.3g}, {new.max():.3g}]; expected [0, 1]")
    return p.sum(1)[:, None] * np.stack([1 - new, new], axis=1)


def acquisition_shift(
    patients: ArrayLike, channel_source: ArrayLike, channel_target: ArrayLike
) -> tuple[np.ndarray, np.ndarray]:
    """The same patients on two scanners: source and target world, each (k, 2).

    A scanner is a **channel** c(x|z), what it shows of anatomy z; it does not look at the label:

        p(x, y) = sum_z p(z, y) c(x|z).

    p(z), p(y) and p(y|z) are kept by construction. p(y|x) = sum_z p(y|z) p(z|x) is an average over
    the anatomies that look like x *on that scanner*, and p(z|x) changes with c: **in general this
    is not covariate shift**. It is, where both scanners show y equally well in one code.

    Args:
        patients: (m, 2), p[z, y]. channel_source, channel_target: (m, k), rows sum to 1.
    """
    p = table("patients", patients)
    both = []
    for name, channel in (("channel_source", channel_source), ("channel_target", channel_target)):
        c = finite_array(name, channel, 2)
        same_length("patients", p, name, c, axis=0)
        if c.min() < 0 or np.abs(c.sum(1) - 1).max() > 1e-9:
            raise ValueError(
                f"rows of {name} sum to {c.sum(1).min():.6g} at least; expected probabilities of "
                "each picture given one anatomy, so rows that sum to 1"
            )
        both.append(c.T @ p)
    source, target = both
    same_length("source pictures", source, "target pictures", target, axis=0)
    return source, target


def bayes_risk(world: ArrayLike) -> float:
    """Least error rate of any rule: sum_x min(p(x, 0), p(x, 1))."""
    return float(table("world", world).min(1).sum())


def bayes_log_loss(world: ArrayLike) -> float:
    """Least log loss of any rule, the entropy of y given x in nats."""
    p = table("world", world)
    mass = p.sum(1)
    return float(xlogy(mass, mass).sum() - xlogy(p, p).sum())


def excess_risk(source: ArrayLike, target: ArrayLike) -> float:
    """Target error rate of the source's best rule, minus the target's Bayes risk.

        sum_x q(x) |2 eta_q(x) - 1| 1[the rules differ],    the old rule calls 1 if eta_p > 1/2

    0 does not mean that p(y|x) is kept: only that it stayed on its side of one half.
    """
    p, q = seen(source, target)
    wrong = np.where(p[:, 1] > p[:, 0], q[:, 0], q[:, 1])
    return float((wrong - q.min(1)).sum())


def excess_log_loss(source: ArrayLike, target: ArrayLike) -> float:
    """Target log loss of the source's eta, minus the target's least: nats.

        sum_x q(x) KL(eta_q(x) || eta_p(x)),    0 if and only if p(y|x) is kept where q has mass

    inf if the source was certain of what the target contradicts.
    """
    p, q = seen(source, target)
    here = q.sum(1) > 0
    p, q = p[here], q[here]
    return float(rel_entr(q, q.sum(1, keepdims=True) * p / p.sum(1, keepdims=True)).sum())


def table(name: str, value: ArrayLike) -> np.ndarray:
    """A checked table of probabilities (k, 2), k >= 1."""
    p = finite_array(name, value, 2)
    if p.shape[1] != 2:
        raise ValueError(f"{name} has shape {p.shape}; expected (k, 2): a row a picture, y = 0, 1")
    if p.min() < 0 or abs(p.sum() - 1) > 1e-9:
        raise ValueError(
            f"{name} sums to {p.sum():.6g}, least entry {p.min():.3g}; expected probabilities that "
            "sum to 1: divide counts by their sum"
        )
    return p


def pair(source: ArrayLike, target: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Two checked tables over the same pictures."""
    p, q = table("source", source), table("target", target)
    same_length("source", p, "target", q, axis=0)
    return p, q


def seen(source: ArrayLike, target: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Two checked tables, the source with mass wherever the target has some."""
    p, q = pair(source, target)
    unseen = float(q.sum(1)[p.sum(1) == 0].sum())
    if unseen > 0:
        raise ValueError(
            f"the target shows pictures that the source never shows (probability {unseen:.3g}); "
            "the source's eta is undefined there: restrict the target to what both show"
        )
    return p, q
