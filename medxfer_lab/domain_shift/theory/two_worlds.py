"""Two worlds that no unlabelled data tell apart.

Both worlds share the source law and the target's p(x). In each, the target's label follows from
the picture: y = f_1(x) in the first, y = f_2(x) in the second. They disagree on pictures of target
probability

    d = P(f_1(x) != f_2(x)).

**Theorem.** Let a rule see any amount of source data and of unlabelled target data, and k labelled
target patients (independent draws); it may flip coins, and it knows both worlds, not which one it
is in. The least worst-world error rate on a fresh target patient is

    d (1 - d)^k / 2.

*Proof, from below.* Let a fair coin choose the world: the worst world is no better than the average
of both. Source data and unlabelled pictures have one law in both worlds, so they say nothing of the
coin. If no labelled patient lies where the worlds disagree, probability (1 - d)^k, the labels say
nothing either, and the coin is still fair. The fresh patient, independent of all that, lies where
they disagree with probability d, and there whatever the rule calls is wrong in one world of the
two: an error of 1/2. Together d (1 - d)^k/2. *Attained:* one labelled patient where they disagree
names the world; obey it. Otherwise call what both say where they agree, and flip a fair coin where
they do not. The error is d (1 - d)^k/2 in each world. (k = 0: d/2.)  QED

A stronger test of p(x) does not help, since p(x) is equal; other sources do not, if their laws are
equal. Cf. Ben-David, Lu, Luu and Pal, AISTATS 2010, PMLR 9:129-136. That the rule knows both
worlds makes it the *best* case: a real one does not even know where they disagree.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, log, log1p

import numpy as np
from numpy.typing import ArrayLike

from medxfer_lab._checks import finite_array, number, same_length, whole


@dataclass(frozen=True)
class NoisyBound:
    """Lower bounds on the worst-world excess of any rule, where labels are random (`noisy_bound`).

    risk: excess error rate. brier: excess squared error of a probability. overlap: in [0, 1], how
    much of the data's law both worlds share at least; 1 without labels.
    """

    risk: float
    brier: float
    overlap: float


def disagreement(mass: ArrayLike, first: ArrayLike, second: ArrayLike) -> float:
    """d = P(f_1 != f_2): mass (k,), labels of both worlds (k,) in {0, 1}."""
    q, a, b = worlds(mass, first, second)
    labels("first", a), labels("second", b)
    return float(q @ (a != b))


def risks(
    mass: ArrayLike, first: ArrayLike, second: ArrayLike, rule: ArrayLike
) -> tuple[float, float]:
    """Error rates in both worlds of a rule that calls disease with probability rule(x).

    They sum to at least d, whatever the rule: mass (k,), labels (k,), rule (k,) in [0, 1].
    """
    q, a, b = worlds(mass, first, second)
    labels("first", a), labels("second", b)
    r = probabilities("rule", rule)
    same_length("mass", q, "rule", r)
    return float(q @ np.abs(r - a)), float(q @ np.abs(r - b))


def minimax_risk(disagreement: float, labelled: int = 0) -> float:
    """Least worst-world error rate with `labelled` target patients: d (1 - d)^k/2, exactly."""
    d = number("disagreement", disagreement, 0.0, 1.0)
    return d * (1 - d) ** whole("labelled", labelled, 0) / 2


def labels_needed(disagreement: float, risk: float) -> int:
    """Fewest labelled target patients with which some rule's worst-world error is `risk` or less.

    The smallest k with d (1 - d)^k/2 <= risk: log(2 risk/d)/log(1 - d), rounded up; 0 if
    d <= 2 risk. Necessary for every rule, sufficient only for one that knows both worlds.
    """
    d = number("disagreement", disagreement, 0.0, 1.0)
    risk = number("risk", risk, 0.0, open_low=True)
    if minimax_risk(d) <= risk:
        return 0
    if d == 1:
        return 1
    k = max(0, ceil(log(2 * risk / d) / log1p(-d)) - 1)  # one too few, whatever rounding did
    while minimax_risk(d, k) > risk:
        k += 1
    return k


def labels_to_tell(disagreement: float, confidence: float = 0.95) -> int:
    """Fewest labelled patients of which one, with that probability, tells the worlds apart.

    The smallest k with 1 - (1 - d)^k >= confidence: about 3/d for 95 %.
    """
    d = number("disagreement", disagreement, 0.0, 1.0, open_low=True)
    c = number("confidence", confidence, 0.0, 1.0)
    if c == 0 or d == 1:
        return int(c > 0)
    if c == 1:
        raise ValueError(
            f"confidence is 1, which no number of labels reaches with disagreement {d:g}: "
            "ask for less than 1"
        )
    k = max(0, ceil(log1p(-c) / log1p(-d)) - 1)
    while (1 - d) ** k > 1 - c:
        k += 1
    return k


def hardest_disagreement(labelled: int) -> float:
    """The d that costs most with k labels: 1/(k + 1), a risk of about 1/(2 e (k + 1)).

    Worlds that differ more are told apart; worlds that differ less hurt less. So k labelled
    patients never promise a worst-world error below (k/(k + 1))^k/(2 (k + 1)) against *every* pair.
    """
    return 1 / (whole("labelled", labelled, 0) + 1)


def noisy_bound(
    mass: ArrayLike, first_eta: ArrayLike, second_eta: ArrayLike, labelled: int = 0
) -> NoisyBound:
    """Two worlds with p(y|x) = eta_1, eta_2: what no rule can promise, by Le Cam's two points.

    At each x the excesses in both worlds sum to at least

        error rate:  min(|2 eta_1 - 1|, |2 eta_2 - 1|) where the best calls differ, else 0
        Brier score: (eta_1 - eta_2)^2/2

    whatever is called. Averaged over q, halved (worst >= average), and times the overlap
    int min(dP_1, dP_2) of the two laws of the data, that bounds the worst world's excess.
    The data's law with k labelled patients has Hellinger affinity A^k,
    A = sum_x q(x) (sqrt(eta_1 eta_2) + sqrt((1 - eta_1)(1 - eta_2))), and

        overlap >= 1 - sqrt(1 - A^(2k))

    (Tsybakov, Introduction to Nonparametric Estimation (2009), lemma 2.3). With k = 0 the Brier
    bound is attained, by the mean of both etas. With eta in {0, 1} the theorem above is sharper.

    Args:
        mass: (k,) target probabilities. first_eta, second_eta: (k,) in [0, 1].
    """
    q, a, b = worlds(mass, first_eta, second_eta)
    probabilities("first_eta", a), probabilities("second_eta", b)
    affinity = float(q @ (np.sqrt(a * b) + np.sqrt((1 - a) * (1 - b))))
    shared = min(1.0, affinity) ** (2 * whole("labelled", labelled, 0))
    overlap = 1 - np.sqrt(1 - shared)
    differ = (2 * a - 1) * (2 * b - 1) < 0
    regret = np.where(differ, np.minimum(np.abs(2 * a - 1), np.abs(2 * b - 1)), 0.0)
    return NoisyBound(
        risk=float(q @ regret * overlap / 2),
        brier=float(q @ (a - b) ** 2 * overlap / 4),
        overlap=float(overlap),
    )


def worlds(mass: ArrayLike, first: ArrayLike, second: ArrayLike) -> tuple[np.ndarray, ...]:
    """Checked (mass, first, second), each (k,)."""
    q = probabilities("mass", mass)
    a, b = finite_array("first", first, 1), finite_array("second", second, 1)
    same_length("mass", q, "first", a)
    same_length("mass", q, "second", b)
    if abs(q.sum() - 1) > 1e-9:
        raise ValueError(f"mass sums to {q.sum():.6g}; expected probabilities that sum to 1")
    return q, a, b


def labels(name: str, value: np.ndarray) -> None:
    """Raise unless every value is 0 or 1."""
    if not np.isin(value, (0, 1)).all():
        raise ValueError(f"{name} holds {value[~np.isin(value, (0, 1))][0]:g}; expected 0 or 1")


def probabilities(name: str, value: ArrayLike) -> np.ndarray:
    """Values (k,) inside [0, 1]."""
    p = finite_array(name, value, 1)
    if p.min() < 0 or p.max() > 1:
        raise ValueError(f"{name} spans [{p.min():.3g}, {p.max():.3g}]; expected [0, 1]")
    return p
