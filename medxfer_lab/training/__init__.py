"""Training: strategies as data, one network, heads on cached features, equal tuning budgets."""

from medxfer_lab.training.fit import Fit, fit, predict, training_loss
from medxfer_lab.training.heads import (
    CrossValidated,
    Heads,
    MultinomialHeads,
    RidgePath,
    cross_validated_strength,
    multinomial_probe,
    probe,
    ridge_path,
)
from medxfer_lab.training.many import fit_many
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
    "CrossValidated",
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
    "MultinomialHeads",
    "NormalisationOnly",
    "PartialFineTuning",
    "Phase",
    "RidgePath",
    "Scratch",
    "Strategy",
    "cross_validated_strength",
    "fit",
    "fit_many",
    "multinomial_probe",
    "predict",
    "probe",
    "ridge_path",
    "training_loss",
    "tune",
]
