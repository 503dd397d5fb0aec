"""The chapter's practice: eight questions of steps, units and forgetting, with checks that answer.

The exercises themselves are in :mod:`medxfer_lab.loss_landscape.exercises`, one to a file.
"""

from __future__ import annotations

from medxfer_lab.course.exercise import Exercise
from medxfer_lab.loss_landscape.exercises import (
    ewc_closed_form,
    ewc_from_bayes,
    first_to_diverge,
    fisher_bugs,
    forgetting_forecast,
    joint_steps,
    same_function_other_units,
    stable_step,
)

#: in the order in which the page asks them
ROOMS = (
    stable_step,
    joint_steps,
    first_to_diverge,
    same_function_other_units,
    forgetting_forecast,
    ewc_from_bayes,
    ewc_closed_form,
    fisher_bugs,
)


def exercises(seed: int = 0) -> dict[str, Exercise]:
    """All exercises of the chapter by id, in the page's order.

    Another ``seed`` gives other numbers, other blocks, other orders of options, and in places
    another convention: fresh questions for graded work. The course's own pages use seed 0.
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ValueError(f"seed={seed!r}: expected a whole number, 0 or more")
    found = [room.exercise(seed) for room in ROOMS]
    return {exercise.id: exercise for exercise in found}
