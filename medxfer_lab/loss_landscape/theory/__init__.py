"""The chapter's own theory, as pure functions of arrays (`symmetry`: of networks).

- `descent`: the longest stable step, alone and jointly, and what one rate a block changes.
- `noise`: the same under mini-batches and under Adam; catapults.
- `forgetting`: the old loss after a displacement, to second order, and what is left.
- `consolidation`: elastic weight consolidation as Bayes' rule; its trade-off; its bugs.
- `symmetry`: the same function in other units, and measures that do not notice.

The function ``forgetting.forgetting`` is left out here: it would hide the file of its name.
"""

from medxfer_lab.loss_landscape.theory.consolidation import (
    TradeOff,
    batch_mean_importance,
    diagonal_error,
    empirical_importance,
    empirical_share,
    ewc_solution,
    expected_batch_mean_importance,
    laplace_precision,
    laplace_strength,
    model_importance,
    per_example_importance,
    stability_plasticity,
)
from medxfer_lab.loss_landscape.theory.descent import (
    block_curvatures,
    block_steps,
    condition_number,
    descend,
    is_stable,
    iterations,
    joint_edge,
    quadratic_loss,
    scaled_eigenvalues,
    stable_step,
    two_block_edge,
    two_block_hessian,
)
from medxfer_lab.loss_landscape.theory.forgetting import (
    Forgetting,
    LogisticTask,
    eigen_shares,
    remainder_bound,
    steepness,
)
from medxfer_lab.loss_landscape.theory.noise import (
    adam_edge,
    catapult,
    mean_square_edge,
    preconditioned,
)
from medxfer_lab.loss_landscape.theory.symmetry import (
    relative_noise,
    relative_operator,
    relative_trace,
    relu_pair,
    relu_pair_hessian,
    rescaled,
)

__all__ = [
    "Forgetting",
    "LogisticTask",
    "TradeOff",
    "adam_edge",
    "batch_mean_importance",
    "block_curvatures",
    "block_steps",
    "catapult",
    "condition_number",
    "descend",
    "diagonal_error",
    "eigen_shares",
    "empirical_importance",
    "empirical_share",
    "ewc_solution",
    "expected_batch_mean_importance",
    "is_stable",
    "iterations",
    "joint_edge",
    "laplace_precision",
    "laplace_strength",
    "mean_square_edge",
    "model_importance",
    "per_example_importance",
    "preconditioned",
    "quadratic_loss",
    "relative_noise",
    "relative_operator",
    "relative_trace",
    "relu_pair",
    "relu_pair_hessian",
    "remainder_bound",
    "rescaled",
    "scaled_eigenvalues",
    "stability_plasticity",
    "stable_step",
    "steepness",
    "two_block_edge",
    "two_block_hessian",
]
