"""Training: strategies as data, one network, heads on cached features, equal tuning budgets."""

from medxfer_lab.training.fit import Fit, fit, predict, training_loss
from medxfer_lab.training.many import fit_many
from medxfer_lab.training.probe import Heads, probe
from medxfer_lab.training.strategies import (
    EWC,
    L2SP,
    LPFT,
    BiasOnly,
    Discriminative,
    FullFineTuning,
    GradualUnfreezing,
    LinearProbe,
    LowRank,
    NormalisationOnly,
    PartialFineTuning,
    Phase,
    Scratch,
    Strategy,
)
from medxfer_lab.training.tuning import Choice, tune

__all__ = [
    "BiasOnly",
    "Choice",
    "Discriminative",
    "EWC",
    "Fit",
    "FullFineTuning",
    "GradualUnfreezing",
    "Heads",
    "L2SP",
    "LPFT",
    "LinearProbe",
    "LowRank",
    "NormalisationOnly",
    "PartialFineTuning",
    "Phase",
    "Scratch",
    "Strategy",
    "fit",
    "fit_many",
    "predict",
    "probe",
    "training_loss",
    "tune",
]
