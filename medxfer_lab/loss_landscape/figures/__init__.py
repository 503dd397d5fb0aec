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
from medxfer_lab.loss_landscape.figures.lab import (
    lab_against_record,
    lab_curvature,
    lab_descents,
    lab_forecast,
    lab_kept,
    lab_old_scores,
)
from medxfer_lab.loss_landscape.figures.lite0 import drift, stages
from medxfer_lab.loss_landscape.figures.paths import barriers, plane
from medxfer_lab.loss_landscape.figures.rates import block_distances, gains
from medxfer_lab.loss_landscape.figures.steps import real_block, stable_steps
from medxfer_lab.loss_landscape.figures.theory import (
    catapult,
    condition,
    step_on_quadratic,
    two_blocks,
)
from medxfer_lab.loss_landscape.figures.tradeoff import (
    along_strength,
    cost_at_equal_forgetting,
    stability_plasticity,
)
from medxfer_lab.loss_landscape.figures.valley import widths

__all__ = [
    "along_strength",
    "barriers",
    "block_distances",
    "catapult",
    "condition",
    "cost_at_equal_forgetting",
    "curvature_by_block",
    "directions",
    "drift",
    "ewc_strength",
    "forecast",
    "forecast_at",
    "gains",
    "lab_against_record",
    "lab_curvature",
    "lab_descents",
    "lab_forecast",
    "lab_kept",
    "lab_old_scores",
    "plane",
    "quadratic_forecast",
    "real_block",
    "spectrum",
    "stability_plasticity",
    "stable_steps",
    "stages",
    "step_on_quadratic",
    "two_blocks",
    "units",
    "units_measured",
    "widths",
]
