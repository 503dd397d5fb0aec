"""How unlike each other simulated patients are: pairwise overlap and variance spectrum."""

from __future__ import annotations

import math

from medxfer_lab.course.jobs import Job
from medxfer_lab.imaging import ADULTS, HEALTHY, Population, draw_patients
from medxfer_lab.imaging.diversity import Diversity, overlap, variance_spectrum
from medxfer_lab.imaging.geometry import BRAIN

NAME, DATA, VERSION = "population", "simulated", 1
PRESETS = {
    "smoke": {"n": 10, "size": 32},
    "quick": {"n": 60, "size": 64},
    "full": {"n": 200, "size": 64},
}
#: whole heads, and the skull-stripped slices of chapter 1
POPULATIONS = {"adults": ADULTS, "chapter_1": Population()}
_SEED = 8000


def population_job(population: str, n: int, size: int) -> dict:
    """n healthy patients of one population, over the 192 mm of a brain."""
    patients = draw_patients(n, _SEED, POPULATIONS[population], HEALTHY)
    found = Diversity(overlap(patients, size, BRAIN), variance_spectrum(patients, size, BRAIN))
    spectrum = found.spectrum
    return {
        "n": n,
        "words": str(found),
        "overlap": {
            name.replace(" + ", "_"): {"mean": o.mean, "low": o.low, "high": o.high, "n": o.pairs}
            for name, o in found.overlap.items()
        },
        "share": spectrum.share[:20].tolist(),
        "first_share": float(spectrum.share[0]),
        "components_half": spectrum.components(0.5),
        "components_90": spectrum.components(0.9),
        "participation_ratio": spectrum.participation_ratio,
        "dimensions": spectrum.dimensions if math.isfinite(spectrum.dimensions) else None,
    }


def run(parameters: dict, runner) -> dict:
    """Overlap (low, high: 5th and 95th percentile of pairs) and spectrum of each population."""
    jobs = [Job(name, {"population": name, **parameters}) for name in POPULATIONS]
    return dict(runner(jobs, population_job))
