"""Heads on cached features: exact, batched over training sets, along a path of strengths."""

from medxfer_lab.training.heads.cross_validation import CrossValidated, cross_validated_strength
from medxfer_lab.training.heads.logistic import Heads, probe
from medxfer_lab.training.heads.multinomial import MultinomialHeads, multinomial_probe
from medxfer_lab.training.heads.ridge import RidgePath, ridge_path

__all__ = [
    "CrossValidated",
    "Heads",
    "MultinomialHeads",
    "RidgePath",
    "cross_validated_strength",
    "multinomial_probe",
    "probe",
    "ridge_path",
]
