"""Training: strategies as data, one network, heads on cached features, equal tuning budgets."""

from medxfer_lab.training.fit import Fit, fit, predict, training_loss
from medxfer_lab.training.probe import Heads, probe
from medxfer_lab.training.strategies import L2SP, FullFineTuning, LinearProbe, Scratch, Strategy
from medxfer_lab.training.tuning import Choice, tune

__all__ = [
    "Choice",
    "Fit",
    "FullFineTuning",
    "Heads",
    "L2SP",
    "LinearProbe",
    "Scratch",
    "Strategy",
    "fit",
    "predict",
    "probe",
    "training_loss",
    "tune",
]
