"""The chapter's practice: eight questions and a figure to read, with checks that answer back.

The exercises themselves are in :mod:`medxfer_lab.bias_variance.exercises`, one to a file.
"""

from __future__ import annotations

from medxfer_lab.bias_variance.exercises import (
    best_model_alias,
    bias_of_l2sp,
    centre_and_variance,
    decomposition,
    optimal_strength,
    predict_the_variance,
    prior_sample_size,
    read_the_bargain,
    real_bias,
)
from medxfer_lab.course.exercise import Exercise

#: in the order in which the page asks them
ROOMS = (
    decomposition,
    bias_of_l2sp,
    centre_and_variance,
    optimal_strength,
    prior_sample_size,
    read_the_bargain,
    real_bias,
    predict_the_variance,
    best_model_alias,
)


def exercises(seed: int = 0) -> dict[str, Exercise]:
    """All exercises of the chapter by id, in the page's order.

    Another ``seed`` gives other numbers, other orders of options, and in places another
    convention: fresh questions for graded work. The course's own pages use seed 0.
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ValueError(f"seed={seed!r}: expected a whole number, 0 or more")
    found = [room.exercise(seed) for room in ROOMS]
    return {exercise.id: exercise for exercise in found}


def reading_figure(seed: int = 0):
    """Figure and alternative text of the exercise ``read_the_bargain``, for the same seed."""
    return read_the_bargain.figure(seed)
