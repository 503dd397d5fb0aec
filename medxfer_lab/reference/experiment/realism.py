"""What the simulation lacks: simulated pictures beside the real ones, measured.

For each modality, three kinds of pairs of pictures: simulated and real; two real ones; two
simulated ones. A distance between simulated and real means little by itself: the other two say how
far apart pictures of one modality are anyway. The real ones are few, of other parts of the body and
of unknown machines (``real_pictures``): the ranges are over pairs, they are no confidence
intervals, and nothing here estimates a population.

Compared "as shown" (middle square of the scan area, 96 x 96, 1st and 99.5th percentile to 0 and 1):
- grey: 1-Wasserstein distance of grey values, in shares of the shown range;
- spectrum: rms difference of the radial power spectra in dB, scale-free, over all frequencies.
In the pictures' own pixels:
- slope: exponent b of power ~ frequency^-b, per mm, where the spacing is known;
- CT: Hounsfield units by class, and the noise of soft tissue: standard deviation in squares of
  10 mm after a plane is taken off, median over the squares that are soft tissue throughout;
- ultrasound: skewness and kurtosis of grey levels in the most even squares of the picture. The log
  map's gain and range are unknown for stored pictures, so signal-to-noise ratio and decibels cannot
  be compared; these two can, if the map is logarithmic.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import combinations, product

import numpy as np
import torch

from medxfer_lab.course.jobs import Job
from medxfer_lab.imaging.anatomy import CHANNELS
from medxfer_lab.imaging.scanners import CURVED_8, LINEAR_12, PHASED_5
from medxfer_lab.imaging.scanners.speckle import (
    RAYLEIGH_LOG_KURTOSIS,
    RAYLEIGH_LOG_SD_DB,
    RAYLEIGH_LOG_SKEWNESS,
    RAYLEIGH_SNR,
    compressed_statistics,
    speckle_statistics,
)
from medxfer_lab.metrics.image_statistics import (
    histogram_distance,
    intensity_histogram,
    radial_power_spectrum,
    spectral_slope,
    spectrum_distance,
)
from medxfer_lab.reference.experiment import real_pictures, simulated
from medxfer_lab.reference.experiment.simulated import MODALITIES, SCANNERS

NAME, DATA, VERSION = "realism", "simulated", 2
PRESETS = {
    "smoke": {"n": 3, "volumes": 2, "size": 96},
    "quick": {"n": 8, "volumes": 4, "size": 192},
    "full": {"n": 14, "volumes": 8, "size": 192},
}
#: nearly one grey: neither a histogram nor a spectrum of anything
UNUSABLE = ("us_thumbnail",)
#: range of the power law, cycles per mm: from a few periods a picture to the Nyquist frequency of
#: the coarsest pictures, or (CT, ultrasound) of the simulation at 192 pixels
RANGE_PER_MM = {"MR": (0.05, 0.25), "CT": (0.05, 0.35), "ultrasound": (0.2, 0.9)}
#: Hounsfield units that count as each class: wide, since partial volume fills the gaps
CLASSES_HU = {"air": (-1024, -500), "soft_tissue": (-20, 100), "bone": (300, 3071)}
SQUARE_MM = 10.0
SQUARE_PIXELS = 24
EVENEST = 5  # squares a picture
_SEED = 5000
_BINS = 32


def digests() -> dict[str, str]:
    """Real pictures."""
    return real_pictures.digests()


def modality_job(modality: str, n: int, size: int) -> dict:
    """All comparisons of one modality, n simulated pictures of ``size`` pixels."""
    found = real_pictures.real_pictures((modality,))
    real = {name: picture for name, picture in found.items() if name not in UNUSABLE}
    made = simulated.pictures(SCANNERS[modality], n, _SEED, size)[:, 0]
    out = {
        "simulated": n,
        "real": list(real),
        "regions": {name: p.source.region for name, p in real.items()},
        "scanners": [scanner.name for scanner in SCANNERS[modality]],
        **_as_shown(made, real),
    }
    spacing = [
        SCANNERS[modality][i % len(SCANNERS[modality])].view.spacing_mm(size) for i in range(n)
    ]
    if modality in RANGE_PER_MM:
        out["slope_per_mm"] = _slopes(modality, made.numpy(), spacing, real)
    if modality == "CT":
        out |= _tomography(made.numpy(), spacing, real)
    if modality == "ultrasound":
        out["speckle"] = _speckle(made, real, n, size)
    return out


def run(parameters: dict, runner) -> dict:
    """By modality: distances with their yardsticks, curves for figures, physical statistics."""
    jobs = [
        Job(
            m,
            {"modality": m, "n": parameters["volumes" if m == "radiograph" else "n"]}
            | {"size": 96 if m == "radiograph" else parameters["size"]},
        )
        for m in MODALITIES
    ]
    return {"missing": real_pictures.missing()} | dict(runner(jobs, modality_job))


def _as_shown(made: torch.Tensor, real: dict) -> dict:
    """Grey values and spatial frequencies of what a classifier sees."""
    sets = {
        "simulated": [simulated.as_shown(image)[0, 0].numpy() for image in made],
        "real": [simulated.as_shown(p.grey(area=True))[0, 0].numpy() for p in real.values()],
    }
    heads = [image for image, p in zip(sets["real"], real.values()) if p.source.head]
    spectra = {
        kind: [radial_power_spectrum(i[None]) for i in images] for kind, images in sets.items()
    }
    head_spectra = [radial_power_spectrum(i[None]) for i in heads]

    def grey(a: np.ndarray, b: np.ndarray) -> float:
        return histogram_distance([a], [b], normalise="none")

    out: dict = {}
    for key, images, also, distance in (
        ("grey", sets, heads, grey),
        ("spectrum_db", spectra, head_spectra, spectrum_distance),
    ):
        out[key] = {
            "simulated_real": _over(distance, product(images["simulated"], images["real"])),
            "real_real": _over(distance, combinations(images["real"], 2)),
            "simulated_simulated": _over(distance, combinations(images["simulated"], 2)),
            "simulated_real_heads": _over(distance, product(images["simulated"], also)),
        }
    out["curves"] = _curves(sets, spectra, list(real))
    return out


def _curves(sets: dict, spectra: dict, names: list[str]) -> dict:
    """For the figures: density of grey, and power in dB about its mean, up to Nyquist."""

    def density(images: list[np.ndarray]) -> np.ndarray:
        return intensity_histogram(images, _BINS, (0.0, 1.0), "none").density.round(4)

    first = spectra["simulated"][0]
    kept = first.frequency <= first.nyquist * (1 + 1e-9)

    def level(spectrum) -> np.ndarray:
        decibel = 10 * np.log10(spectrum.power.mean(0)[kept])
        return (decibel - decibel.mean()).round(2)

    levels = np.stack([level(s) for s in spectra["simulated"]])
    return {
        "grey_edges": np.linspace(0, 1, _BINS + 1).round(5),
        "grey_simulated": density(sets["simulated"]),
        "grey_real": {n: density([image]) for n, image in zip(names, sets["real"])},
        "frequency_per_pixel": first.frequency[kept].round(5),
        "power_db_simulated": levels.mean(0).round(2),
        "power_db_simulated_range": np.percentile(levels, (5, 95), axis=0).round(2),
        "power_db_real": {n: level(s) for n, s in zip(names, spectra["real"])},
    }


def _over(distance: Callable, pairs) -> dict | None:
    """Mean, smallest and largest distance over pairs; None without any."""
    values = [float(distance(a, b)) for a, b in pairs]
    if not values:
        return None
    return {"mean": float(np.mean(values)), "low": min(values), "high": max(values)} | {
        "n": len(values)
    }


def _slopes(modality: str, made: np.ndarray, spacing: list[float], real: dict) -> dict:
    """Power-law exponents per mm, of each picture; None where the range holds too few rings."""
    low, high = RANGE_PER_MM[modality]
    simulated_slopes = [_slope(image, s, low, high) for image, s in zip(made, spacing)]
    known = [value for value in simulated_slopes if value is not None]
    return {
        "low_per_mm": low,
        "high_per_mm": high,
        "simulated": _over(lambda a, b: a, [(v, v) for v in known]),
        "real": {
            name: _slope(p.grey(area=True).numpy(), p.spacing_mm, low, high)
            for name, p in real.items()
            if p.spacing_mm is not None
        },
        "no_spacing": [name for name, p in real.items() if p.spacing_mm is None],
    }


def _slope(image: np.ndarray, spacing: float, low: float, high: float) -> float | None:
    edge = min(image.shape)
    top, left = ((length - edge) // 2 for length in image.shape)
    square = image[top : top + edge, left : left + edge]
    spectrum = radial_power_spectrum(square[None].astype(float), spacing)
    if spectrum.nyquist < high or not (spectrum.frequency < low * 2).any():
        return None
    try:
        return float(spectral_slope(spectrum, low, high).value)
    except ValueError:  # fewer than three rings, or a band without any power
        return None


def _tomography(made: np.ndarray, spacing: list[float], real: dict) -> dict:
    """Hounsfield units and noise, picture by picture."""
    stored = {name: p.grey().numpy() for name, p in real.items()}
    heads = [stored[name] for name, p in real.items() if p.source.head]
    mine = [_hounsfield(image, s) for image, s in zip(made, spacing)]

    def far(a: np.ndarray, b: np.ndarray) -> float:
        return histogram_distance([a], [b], normalise="none")

    return {
        "hu": {
            "simulated": {key: _mean([m[key] for m in mine]) for key in mine[0]},
            "real": {n: _hounsfield(image, real[n].spacing_mm) for n, image in stored.items()},
            "edges_hu": np.arange(-1040, 2081, 40),
            "density_simulated": _density_hu(list(made)),
            "density_real": {n: _density_hu([image]) for n, image in stored.items()},
        },
        "hu_distance": {
            "simulated_real_heads": _over(far, product(made, heads)),
            "real_real_heads": _over(far, combinations(heads, 2)),
            "real_real": _over(far, combinations(stored.values(), 2)),
            "simulated_simulated": _over(far, combinations(made, 2)),
        },
    }


def _density_hu(images: list[np.ndarray]) -> np.ndarray:
    """Share of pixels per 40 HU."""
    found = intensity_histogram(images, 78, (-1040, 2080), "none")
    return (found.density * 40).round(6)


def _hounsfield(image: np.ndarray, spacing: float) -> dict[str, float | None]:
    """Share and mean of each class of Hounsfield units, and the noise of soft tissue."""
    out: dict[str, float | None] = {"pixel_mm": float(spacing)}
    for name, (low, high) in CLASSES_HU.items():
        inside = (image >= low) & (image <= high)
        out[f"{name}_share"] = float(inside.mean())
        out[f"{name}_mean"] = float(image[inside].mean()) if inside.any() else None
    noise = _soft_tissue_noise(image, max(4, round(SQUARE_MM / spacing)))
    out["squares"] = len(noise)
    out["noise_hu"] = float(np.median(noise)) if len(noise) else None
    return out


def _soft_tissue_noise(image: np.ndarray, edge: int) -> list[float]:
    """Standard deviation about a plane in every square whose smooth part is soft tissue."""
    low, high = CLASSES_HU["soft_tissue"]
    noise = []
    for square in _squares(image, edge, edge):
        flat, plane = _without_plane(square)
        # all of it soft: no pixel leaves the class by more than noise could take it
        if low < plane.min() and plane.max() < high and square.min() > -150 and square.max() < 250:
            noise.append(float(flat.std()))
    return noise


def _without_plane(square: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Residuals of a least-squares plane, and the plane."""
    rows, columns = np.indices(square.shape)
    design = np.column_stack([np.ones(square.size), rows.ravel(), columns.ravel()])
    plane = design @ np.linalg.lstsq(design, square.ravel(), rcond=None)[0]
    plane = plane.reshape(square.shape)
    return square - plane, plane


def _squares(image: np.ndarray, edge: int, step: int):
    for top in range(0, image.shape[0] - edge + 1, step):
        for left in range(0, image.shape[1] - edge + 1, step):
            yield image[top : top + edge, left : left + edge]


def _speckle(made: torch.Tensor, real: dict, n: int, size: int) -> dict:
    """Grey levels in even squares, simulated and real; the linear envelope in the simulation."""
    sampled = tuple(replace(s, pixels="sample") for s in SCANNERS["ultrasound"])
    return {
        "theory": {
            "skewness": RAYLEIGH_LOG_SKEWNESS,
            "kurtosis": RAYLEIGH_LOG_KURTOSIS,
            "snr": RAYLEIGH_SNR,
            "log_sd_db": RAYLEIGH_LOG_SD_DB,
        },
        "simulated": _even_squares(list(made.numpy())),
        "simulated_sampled": _even_squares(
            list(simulated.pictures(sampled, n, _SEED, size)[:, 0].numpy())
        ),
        "real": {name: _even_squares([p.grey(area=True).numpy()]) for name, p in real.items()},
        "phantom": {s.name: _phantom(s) for s in (PHASED_5, CURVED_8, LINEAR_12)},
        # not fully developed: two scatterers in a resolution cell
        "sparse": _phantom(replace(PHASED_5, scatterers=2.0)),
    }


def _even_squares(images: Sequence[np.ndarray]) -> dict | None:
    """Means of skewness, kurtosis and extent over the evenest squares of each picture.

    Even: the least share of variance between the sixteen parts of a square. At most 2 % of the
    pixels may be black or white, and the mean lies between 15 and 85 % of the picture's range.
    """
    found = []
    for image in images:
        top = np.percentile(image, 99.5)
        candidates = []
        for square in _squares(image, SQUARE_PIXELS, SQUARE_PIXELS // 2):
            clipped = ((square <= image.min()) | (square >= image.max())).mean()
            if clipped <= 0.02 and 0.15 < square.mean() / top < 0.85 and np.ptp(square) > 0:
                parts = square.reshape(4, SQUARE_PIXELS // 4, 4, SQUARE_PIXELS // 4).mean((1, 3))
                candidates.append((parts.var() / square.var(), len(candidates), square))
        for _, _, square in sorted(candidates)[:EVENEST]:
            s = compressed_statistics(torch.from_numpy(np.ascontiguousarray(square)))
            found.append((s.skewness, s.kurtosis, s.cells, *s.cell_samples))
    if not found:
        return None
    values = np.array(found)
    keys = ("skewness", "kurtosis", "cells", "extent_rows", "extent_columns")
    out = {key: float(v) for key, v in zip(keys, values.mean(0))}
    return out | {
        "squares": len(found),
        "skewness_sd": float(values[:, 0].std(ddof=1)) if len(found) > 1 else None,
        "kurtosis_sd": float(values[:, 1].std(ddof=1)) if len(found) > 1 else None,
    }


def _phantom(scanner) -> dict:
    """Linear envelope of a block of white matter, in 10 mm about the focus."""
    fractions = torch.zeros(1, len(CHANNELS), 96, 96)
    fractions[:, CHANNELS.index("white_matter")] = 1
    envelope = scanner.envelope(fractions, torch.zeros(1, dtype=torch.long), _SEED)[0, 0]
    rows = len(envelope)
    per_mm = rows / scanner.field_of_view_mm
    middle, half = scanner.focus_mm * per_mm, 5 * per_mm
    found = speckle_statistics(envelope[round(middle - half) : round(middle + half)])
    return {"snr": found.snr, "log_sd_db": found.log_sd_db, "moment_ratio": found.moment_ratio} | {
        "cells": found.cells
    }


def _mean(values: list[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return float(np.mean(known)) if known else None
