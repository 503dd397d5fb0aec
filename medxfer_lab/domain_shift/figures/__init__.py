"""Every figure of the chapter: used by text, lab, lecture and explorers alike."""

from medxfer_lab.domain_shift.figures.diagnosis import league, league_confusion
from medxfer_lab.domain_shift.figures.lab import (
    lab_against_record,
    lab_calibration,
    lab_panels,
    lab_verdicts,
)
from medxfer_lab.domain_shift.figures.patients import SCANNER_WORDS, cast, same_patients
from medxfer_lab.domain_shift.figures.prevalence import coverage, prevalence_error
from medxfer_lab.domain_shift.figures.results import real, scanners
from medxfer_lab.domain_shift.figures.retraining import harm, old_knowledge, weighting
from medxfer_lab.domain_shift.figures.shifts import calibration, operating_point, shift_cost
from medxfer_lab.domain_shift.figures.theory import (
    divergence_bound,
    predictive_values,
    scanner_posterior,
    two_worlds,
    weights_and_sample_size,
)

__all__ = [
    "SCANNER_WORDS",
    "calibration",
    "cast",
    "coverage",
    "divergence_bound",
    "harm",
    "lab_against_record",
    "lab_calibration",
    "lab_panels",
    "lab_verdicts",
    "league",
    "league_confusion",
    "old_knowledge",
    "operating_point",
    "predictive_values",
    "prevalence_error",
    "real",
    "same_patients",
    "scanner_posterior",
    "scanners",
    "shift_cost",
    "two_worlds",
    "weighting",
    "weights_and_sample_size",
]
