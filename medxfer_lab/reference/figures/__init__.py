"""The figures of the reference pages, by the names that the pages use."""

from medxfer_lab.reference.figures import speed
from medxfer_lab.reference.figures.explorers import (
    DOSES,
    EVERYWHERE,
    SEQUENCES,
    ct_dose,
    mri_contrast,
    same_patient,
    tissue_map,
    ultrasound_depth,
)
from medxfer_lab.reference.figures.gallery import gallery, regions
from medxfer_lab.reference.figures.head import (
    mri_artefacts,
    people,
    radiographs,
    tube_or_metastasis,
)
from medxfer_lab.reference.figures.results import (
    confusion,
    invariance,
    realism,
    right_by_arm,
)

__all__ = [
    "DOSES",
    "EVERYWHERE",
    "SEQUENCES",
    "confusion",
    "ct_dose",
    "gallery",
    "invariance",
    "mri_artefacts",
    "mri_contrast",
    "people",
    "radiographs",
    "realism",
    "regions",
    "right_by_arm",
    "same_patient",
    "speed",
    "tissue_map",
    "tube_or_metastasis",
    "ultrasound_depth",
]
