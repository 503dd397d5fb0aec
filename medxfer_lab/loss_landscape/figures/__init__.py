"""Every figure of the chapter: used by text, lab, lecture and explorers alike."""

from medxfer_lab.loss_landscape.figures.curvature import (
    curvature_by_block,
    spectrum,
    units_measured,
)
from medxfer_lab.loss_landscape.figures.forgetting import directions, forecast, forecast_at
from medxfer_lab.loss_landscape.figures.forgetting_theory import (
    ewc_strength,
    quadratic_forecast,
    units,
)
from medxfer_lab.loss_landscape.figures.steps import real_block, stable_steps
from medxfer_lab.loss_landscape.figures.theory import (
    catapult,
    condition,
    step_on_quadratic,
    two_blocks,
)

__all__ = [
    "catapult",
    "condition",
    "curvature_by_block",
    "directions",
    "ewc_strength",
    "forecast",
    "forecast_at",
    "quadratic_forecast",
    "real_block",
    "spectrum",
    "stable_steps",
    "step_on_quadratic",
    "two_blocks",
    "units",
    "units_measured",
]
