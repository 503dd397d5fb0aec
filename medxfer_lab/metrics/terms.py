"""The terms of an expected loss with their jackknife intervals; `decomposition` fills them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from medxfer_lab.metrics.intervals import Interval, check_level, interval


@dataclass(frozen=True)
class ErrorDecomposition:
    """Terms of an expected loss, each an `Interval`; total = noise + bias + variance exactly.

    loss "squared": `bias` is the squared bias, corrected for the number of runs.
    loss "log": `bias` is KL(eta || pbar), `variance` is E KL(pbar || p_D), in nats.
    From labels alone `noise` and `bias` are None and `bias_plus_noise` is their sum.
    parts: what the intervals are made of; `compare` needs it for paired differences.
    """

    loss: str
    variance: Interval
    total: Interval
    bias_plus_noise: Interval
    bias: Interval | None
    noise: float | None
    runs: int
    patients: int
    parts: Parts

    @property
    def bias2(self) -> Interval | None:
        """The squared bias, of a squared-error decomposition."""
        if self.loss != "squared":
            raise AttributeError("bias2 belongs to squared error; the log loss has `bias`")
        return self.bias

    @property
    def bias2_plus_noise(self) -> Interval:
        """Squared bias plus noise, of a squared-error decomposition."""
        if self.loss != "squared":
            raise AttributeError("bias2_plus_noise belongs to squared error")
        return self.bias_plus_noise

    def record(self) -> dict:
        """The terms as a nested dict of numbers, for a record."""
        terms = {
            "variance": self.variance,
            "total": self.total,
            "bias_plus_noise": self.bias_plus_noise,
        }
        if self.bias is not None:
            terms["bias"] = self.bias
        plain = {name: term.record() for name, term in terms.items()}
        return plain | ({} if self.noise is None else {"noise": self.noise})


@dataclass(frozen=True)
class Parts:
    """What the intervals are made of: the first term (bias, or bias + noise), variance, noise.

    whole: (2,) the estimates. left_out: (m, 2) without run i. patients: (2, n_test) per patient.
    """

    whole: np.ndarray
    left_out: np.ndarray
    patients: np.ndarray

    def interval(self, weights: ArrayLike, level: float, over: str) -> Interval:
        """Interval of weights . (first term, variance)."""
        w = np.asarray(weights, float)
        return combined(self.whole @ w, self.left_out @ w, w @ self.patients, level, over)


def combined(
    estimate: float, left_out: np.ndarray, patients: np.ndarray, level: float, over: str
) -> Interval:
    """Jackknife t interval over runs; over="both" adds the variance of the mean over patients.

    Degrees of freedom by Satterthwaite's rule.
    """
    m, k = len(left_out), len(patients)
    pseudo = m * estimate - (m - 1) * left_out
    centre, from_runs = pseudo.mean(), pseudo.var(ddof=1) / m
    if over == "training_sets":
        from_patients = 0.0
    elif over == "both":
        from_patients = patients.var(ddof=1) / k
    else:
        raise ValueError(f'over is {over!r}; expected "training_sets" or "both"')
    total = from_runs + from_patients
    freedom = m - 1.0
    if from_patients > 0:
        freedom = total**2 / (from_runs**2 / (m - 1) + from_patients**2 / (k - 1))
    half = stats.t.ppf((1 + check_level(level)) / 2, freedom) * np.sqrt(total)
    return interval(centre, centre - half, centre + half, m, level, f"jackknife t over {over}")


def assembled(
    loss: str, parts: Parts, noise: np.ndarray | None, m: int, k: int, level: float, over: str
) -> ErrorDecomposition:
    """Intervals of each term from its parts; `noise` per patient, None if only labels are known."""
    known = noise is not None
    mean_noise = float(noise.mean()) if known else 0.0
    with_noise = parts
    if known:  # over fresh patients the noise varies with them
        with_noise = Parts(
            parts.whole, parts.left_out, parts.patients + np.stack([noise, np.zeros_like(noise)])
        )
    return ErrorDecomposition(
        loss=loss,
        variance=parts.interval([0, 1], level, over),
        total=shifted(with_noise.interval([1, 1], level, over), mean_noise),
        bias_plus_noise=shifted(with_noise.interval([1, 0], level, over), mean_noise),
        bias=parts.interval([1, 0], level, over) if known else None,
        noise=mean_noise if known else None,
        runs=m,
        patients=k,
        parts=parts,
    )


def shifted(term: Interval, by: float) -> Interval:
    """The interval moved by a constant."""
    return Interval(
        term.estimate + by, term.low + by, term.high + by, term.n, term.level, term.method
    )
