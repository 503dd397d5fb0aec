"""What an average of this chapter is an average of: pretrainings, not training sets.

Sets that start from one pretraining share its weights, so they are not independent; eight
pretrainings are. Each gives the mean of its own sets, and the interval is Student's t over these.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from medxfer_lab.loss_landscape.experiment import material
from medxfer_lab.metrics import mean_interval


def pretraining_means(values: ArrayLike) -> np.ndarray:
    """(P, ...) mean over the sets of each pretraining; values: (sets, ...), set k from k modulo
    the number of pretrainings. P is that number, or the sets' where they are fewer."""
    values = np.asarray(values, float)
    kinds = np.arange(len(values)) % material.PRETRAININGS
    return np.array([values[kinds == kind].mean(0) for kind in np.unique(kinds)])


def over_pretrainings(values: ArrayLike) -> dict:
    """Mean and 95 % interval over pretrainings, as a leaf of a record; n counts pretrainings."""
    return mean_interval(pretraining_means(values)).record()


def exponential(logs: ArrayLike) -> dict:
    """Geometric mean and its interval as a leaf of a record: Student's t for the mean of ``logs``,
    one value a unit, and its ends back on the plain scale."""
    leaf = mean_interval(logs).record()
    return leaf | {key: float(np.exp(leaf[key])) for key in ("mean", "low", "high")}
