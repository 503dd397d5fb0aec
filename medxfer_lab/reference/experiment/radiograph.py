"""The smallest calcification that a radiograph of the head shows.

Each patient is imaged without a calcification and with one, at one place, of every volume.
Three numbers a volume and projection:
- bound: the ideal observer's signal-to-noise ratio in a uniform head (``calcification_snr``);
- ideal: the same observer in these heads, sqrt(sum over pixels of L (difference in ln L)^2), L the
  expected counts: photon noise is all that hides the shadow from him. In small shadows it exceeds
  the bound of a sharp ball, because the simulated rim fades over 1.5 mm and so reaches farther;
- d' and AUC of local contrast (inside minus a ring around it), with against without, over
  patients: an observer who does not know the bones and folds behind the shadow.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from scipy import stats

from medxfer_lab import metrics
from medxfer_lab.course.jobs import Job
from medxfer_lab.imaging import ADULTS, HEALTHY, Disease, draw_patients, tissue
from medxfer_lab.imaging.scanners import RADIOGRAPH_FRONTAL, RADIOGRAPH_LATERAL, Radiograph
from medxfer_lab.imaging.scanners.radiograph import (
    ROSE_SNR,
    calcification_snr,
    detectability_index,
    local_contrast,
    visible_calcification_ml,
)

NAME, DATA, VERSION = "radiograph", "simulated", 1
_VOLUMES_ML = [0.05, 0.1, 0.2, 0.5, 1.0, 2.0]
PRESETS = {
    "smoke": {"patients": 3, "volumes_ml": [0.2, 2.0], "size": 48},
    "quick": {"patients": 8, "volumes_ml": _VOLUMES_ML, "size": 64},
    "full": {"patients": 24, "volumes_ml": _VOLUMES_ML, "size": 96},
}
PROJECTIONS: dict[str, Radiograph] = {
    "lateral": RADIOGRAPH_LATERAL,
    "frontal": replace(RADIOGRAPH_FRONTAL, photometric="MONOCHROME2"),
}
_SEED = 7000


def patient_job(k: int, volumes_ml: list[float], size: int) -> dict:
    """Patient k: per projection (volumes,) contrast with and without, ideal SNR, line integral."""
    healthy = _volume(k, None, size)[0]
    found = {
        name: {key: [] for key in ("present", "absent", "ideal", "line")} for name in PROJECTIONS
    }
    for volume in volumes_ml:
        fractions, masks = _volume(k, volume, size)
        for name, radiograph in PROJECTIONS.items():
            measured = _compare(radiograph, healthy, fractions, masks, k)
            for key, value in measured.items():
                found[name][key].append(value)
    return {name: {key: np.array(v) for key, v in f.items()} for name, f in found.items()}


def _volume(k: int, volume_ml: float | None, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Patient k's head, with one calcification of that volume if any: the same place for all."""
    burden = HEALTHY
    if volume_ml is not None:
        calcified = Disease(
            "calcification", at_least=1, most=1, volume_ml=(volume_ml,) * 2, filling=(1.0, 1.0)
        )
        burden = replace(HEALTHY, others=(calcified,))
    patients = draw_patients(1, _SEED, ADULTS, burden, first=k)
    return tissue(patients, size, view=RADIOGRAPH_LATERAL.view)


def _compare(
    radiograph: Radiograph,
    healthy: torch.Tensor,
    calcified: torch.Tensor,
    masks: torch.Tensor,
    k: int,
) -> dict[str, float]:
    footprint = radiograph.footprint(masks)
    ids = torch.tensor([k])
    pictures = [
        radiograph.acquire(fractions, ids, seed)
        for fractions, seed in ((calcified, _SEED), (healthy, _SEED + 1))  # independent noise
    ]
    without, line = (radiograph.line_integrals(f).double() for f in (healthy, calcified))
    counts = radiograph.photons * torch.exp(-without)
    behind = without[:, 0][footprint]
    return {
        "present": float(local_contrast(pictures[0], footprint)),
        "absent": float(local_contrast(pictures[1], footprint)),
        "ideal": float((counts * (line - without).square()).sum().sqrt()),
        "line": float(behind.mean()) if len(behind) else float("nan"),
    }


def run(parameters: dict, runner) -> dict:
    """By projection and volume: bound, ideal, d', AUC; the volume at which each crosses."""
    volumes, size = parameters["volumes_ml"], parameters["size"]
    jobs = [
        Job(f"patient-{k:03d}", {"k": k, "volumes_ml": volumes, "size": size})
        for k in range(parameters["patients"])
    ]
    done = list(runner(jobs, patient_job).values())
    out: dict = {"rose_snr": ROSE_SNR, "patients": len(done), "size": size}
    for name, radiograph in PROJECTIONS.items():
        values = {key: np.stack([d[name][key] for d in done]) for key in done[0][name]}
        # of the mean count: it is counts that make the noise
        line = float(-np.log(np.nanmean(np.exp(-values["line"]))))
        out[name] = {
            "photons": radiograph.photons,
            "line_integral": line,
            "bound_visible_ml": visible_calcification_ml(radiograph, size, line),
            "volumes_ml": volumes,
            "ideal_first_patient": values["ideal"][0],
            "by_volume": [
                _at(radiograph, volume, size, line, {k: v[:, i] for k, v in values.items()})
                for i, volume in enumerate(volumes)
            ],
        }
        auc = [cell["auc"]["mean"] for cell in out[name]["by_volume"] if cell["auc"]]
        seen = [v for v, cell in zip(volumes, out[name]["by_volume"]) if _sure(cell)]
        out[name]["smallest_with_auc_90_ml"] = min(seen) if seen and auc else None
    return out


def _sure(cell: dict) -> bool:
    return cell["auc"] is not None and cell["auc"]["mean"] >= 0.9


def _at(radiograph: Radiograph, volume: float, size: int, line: float, values: dict) -> dict:
    """One volume: values are (patients,), NaN where the lesion covers no pixel's half."""
    present, absent = values["present"], values["absent"]
    seen = ~np.isnan(present) & ~np.isnan(absent)
    cell = {
        "volume_ml": volume,
        "bound_snr": calcification_snr(radiograph, volume, size, line),
        "ideal_snr": float(values["ideal"].mean()),
        "n": int(seen.sum()),
        "d_prime": None,
        "auc": None,
    }
    if seen.sum() >= 3:
        pair = torch.from_numpy(present[seen]), torch.from_numpy(absent[seen])
        cell["d_prime"] = detectability_index(*pair)
        cell["auc"] = _auc(present[seen], absent[seen])
        cell["contrast_present"] = float(pair[0].mean())
        cell["contrast_absent_sd"] = float(pair[1].std())
    return cell


def _auc(present: np.ndarray, absent: np.ndarray) -> dict:
    """AUC with DeLong's variance (DeLong et al. 1988, Biometrics 44:837); no width at 0 or 1."""
    scores = np.r_[present, absent]
    labels = np.repeat([1.0, 0.0], [len(present), len(absent)])
    value = float(metrics.auc(scores, labels))
    wins = (present[:, None] > absent) + 0.5 * (present[:, None] == absent)
    variance = wins.mean(1).var(ddof=1) / len(present) + wins.mean(0).var(ddof=1) / len(absent)
    half = float(stats.norm.ppf(0.975) * variance**0.5)
    low, high = max(value - half, 0.0), min(value + half, 1.0)
    return {
        "mean": value,
        "low": low,
        "high": high,
        "n": len(present),
        "level": 0.95,
        "method": "DeLong, normal",
    }
