"""Every figure of the chapter: used by text, lab, lecture and explorers alike."""

from medxfer_lab.bias_variance.figures.lab import lab_against_record, one_set
from medxfer_lab.bias_variance.figures.patients import artefact, cohort, same_patients
from medxfer_lab.bias_variance.figures.results import (
    crossed,
    decomposition,
    distances,
    formula,
    front,
    head_auc,
    label_worth,
    network_auc,
    parable,
    real,
    variance_curves,
)
from medxfer_lab.bias_variance.figures.theory import posterior, risk, tiny_world

__all__ = [
    "artefact",
    "cohort",
    "crossed",
    "decomposition",
    "distances",
    "formula",
    "front",
    "head_auc",
    "lab_against_record",
    "label_worth",
    "network_auc",
    "one_set",
    "parable",
    "posterior",
    "real",
    "risk",
    "same_patients",
    "tiny_world",
    "variance_curves",
]
