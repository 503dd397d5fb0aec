"""The self-test of the prerequisites: eight questions on probability, linear algebra, Python and
torch, with the same checks and banks as the chapters' exercises."""

from __future__ import annotations

from medxfer_lab.course.exercise import Exercise
from medxfer_lab.course.prerequisites.algebra import eigenvalue_direction, least_squares
from medxfer_lab.course.prerequisites.code import broadcasting, gradient_step, standardise
from medxfer_lab.course.prerequisites.probability import (
    bayes_rule,
    logistic_loss,
    variance_of_a_mean,
)

QUESTIONS = (
    bayes_rule,
    variance_of_a_mean,
    logistic_loss,
    eigenvalue_direction,
    least_squares,
    broadcasting,
    standardise,
    gradient_step,
)


def self_test(seed: int = 0) -> dict[str, Exercise]:
    """The eight questions by id; another seed gives other numbers."""
    found = [make(seed) for make in QUESTIONS]
    return {exercise.id: exercise for exercise in found}
