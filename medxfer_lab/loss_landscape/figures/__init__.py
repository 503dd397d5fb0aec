"""Every figure of the chapter: used by text, lab, lecture and explorers alike."""

from medxfer_lab.loss_landscape.figures.forgetting_theory import (
    ewc_strength,
    quadratic_forecast,
    units,
)
from medxfer_lab.loss_landscape.figures.theory import (
    catapult,
    condition,
    step_on_quadratic,
    two_blocks,
)

__all__ = [
    "catapult",
    "condition",
    "ewc_strength",
    "quadratic_forecast",
    "step_on_quadratic",
    "two_blocks",
    "units",
]
