"""The chapter's practice: seven questions and a hospital to diagnose, with checks that answer back.

The exercises themselves are in :mod:`medxfer_lab.domain_shift.exercises`, one to a file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from medxfer_lab.course.exercise import Exercise
from medxfer_lab.domain_shift.exercises import (
    diagnose_hospital,
    effective_sample_size,
    em_bug,
    prior_correction,
    threshold_with_costs,
    two_scanners,
    two_worlds_proof,
    when_bbse_fails,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: in the order in which the page asks them
ROOMS = (
    two_scanners,
    prior_correction,
    threshold_with_costs,
    when_bbse_fails,
    em_bug,
    effective_sample_size,
    two_worlds_proof,
    diagnose_hospital,
)


def exercises(seed: int = 0) -> dict[str, Exercise]:
    """All exercises of the chapter by id, in the page's order.

    Another ``seed`` gives other numbers, other hospitals and other orders of options: fresh
    questions for graded work. The course's own pages use seed 0.
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ValueError(f"seed={seed!r}: expected a whole number, 0 or more")
    found = [room.exercise(seed) for room in ROOMS]
    return {exercise.id: exercise for exercise in found}


def reading_figure(seed: int = 0) -> tuple[Figure, str]:
    """Figure and alternative text of the exercise ``diagnose_hospital``, for the same seed."""
    return diagnose_hospital.figure(seed)
