"""How different simulated patients are from each other, and how to test on unlike ones.

All patients are warps of one averaged brain. How little that is, is measured here and printed
wherever a network trained on simulated scans is judged on simulated scans: by how much two patients
overlap, and by how many numbers their variance is spread over. :func:`hold_out` takes the
remedy that is at hand: train on one part of a factor's range, test on the other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from medxfer_lab.imaging.anatomy import TISSUES
from medxfer_lab.imaging.geometry import BRAIN, View
from medxfer_lab.imaging.lesions import DISEASES
from medxfer_lab.imaging.patients import Patients
from medxfer_lab.imaging.rendering import tissue

_CHUNK = 64  # patients rendered at a time: bounds memory
#: what overlaps: brain substance, and the fluid in and around it
COMPARTMENTS = {"grey + white": ("grey_matter", "white_matter"), "fluid": ("csf",)}


@dataclass(frozen=True)
class Overlap:
    """Dice overlap of one compartment between patients: mean and 5th, 95th percentile of pairs."""

    mean: float
    low: float
    high: float
    pairs: int


@dataclass(frozen=True)
class VarianceSpectrum:
    """Principal components of the patients' tissue images.

    share: (k,) of the total variance, descending; k is the lower of n - 1 and the number of pixels.
    participation_ratio: of the sample. dimensions: the same, corrected for n; see
    :func:`variance_spectrum`. n: patients.
    """

    share: np.ndarray
    participation_ratio: float
    dimensions: float
    n: int

    def components(self, share: float) -> int:
        """How many components hold at least that share of the variance."""
        if not 0 < share <= 1:
            raise ValueError(f"share is {share}; it lies in (0, 1]")
        return int(np.searchsorted(np.cumsum(self.share), share - 1e-12) + 1)


@dataclass(frozen=True)
class Diversity:
    """Overlap by compartment and variance spectrum of a cohort, as one paragraph when printed."""

    overlap: dict[str, Overlap]
    spectrum: VarianceSpectrum

    def __str__(self) -> str:
        s = self.spectrum
        dice = ", ".join(
            f"{name} {o.mean:.2f} ({o.low:.2f} to {o.high:.2f})" for name, o in self.overlap.items()
        )
        return (
            f"{s.n} simulated patients, all warps of one averaged brain. Dice overlap of two of "
            f"them, mean (5 to 95 % of pairs): {dice}. The first component holds "
            f"{100 * s.share[0]:.0f} % of the variance of tissue images, {s.components(0.5)} hold "
            f"half and {s.components(0.9)} hold 90 %; participation ratio "
            f"{s.participation_ratio:.1f}, corrected for the number of patients "
            f"{s.dimensions:.1f} dimensions."
        )


@dataclass(frozen=True)
class HoldOut:
    """Patients split by a factor: train has values up to ``low``, test those above ``high``.

    train, test: (k,) int64, positions in the patient set, ascending.
    """

    factor: str
    low: float
    high: float
    train: Tensor
    test: Tensor

    def __str__(self) -> str:
        return (
            f"trained on {len(self.train)} patients with {self.factor} <= {self.low:.3g}, "
            f"tested on {len(self.test)} with {self.factor} > {self.high:.3g}"
        )


def overlap(patients: Patients, size: int = 64, view: View = BRAIN) -> dict[str, Overlap]:
    """Dice coefficient of every pair of patients, by compartment, for fractions of pixels.

    2 sum min(a, b) / sum (a + b) over the pixels, a and b the fractions of the compartment in two
    patients (Crum, Camara and Hill 2006, IEEE TMI 25:1451): of sharp outlines it is the usual
    2 |A and B| / (|A| + |B|). A pair in which neither has any of it is left out.
    size: pixels along an edge.
    """
    images = _brains(patients, size, view)
    found = {}
    for name, tissues in COMPARTMENTS.items():
        total = sum(images[:, TISSUES.index(t)] for t in tissues).flatten(1)
        amount = total.sum(1)
        dice = [
            2 * torch.minimum(total[:i], total[i]).sum(1) / (amount[:i] + amount[i])
            for i in range(1, len(total))
        ]
        values = torch.cat(dice).numpy()
        values = values[~np.isnan(values)]
        if not len(values):
            raise ValueError(f"no patient has any {name} in this view: choose another view")
        low, high = np.percentile(values, (5, 95))
        found[name] = Overlap(float(values.mean()), float(low), float(high), len(values))
    return found


def variance_spectrum(patients: Patients, size: int = 64, view: View = BRAIN) -> VarianceSpectrum:
    """Principal components of the patients' fractions of fluid, grey and white matter.

    Participation ratio (tr C)^2 / tr C^2 of the covariance C: d equal eigenvalues give d. Of a
    sample it is too low, and never above n - 1: tr S^2 of the sample's covariance S exceeds tr C^2,
    for a Gaussian by ((tr C)^2 + tr C^2)/(n - 1). ``dimensions`` takes unbiased estimates of
    (tr C)^2 and tr C^2 instead, for any distribution with fourth moments (Zhou and Guo 2017, Stat
    Probab Lett 129:141); their ratio is still biased, by terms in 1/n, and noisy for n below its
    value. Each share is biased too: the first ones are too large.
    """
    if len(patients) < 4:
        raise ValueError(f"{len(patients)} patients; the correction needs at least 4")
    rows = _brains(patients, size, view).flatten(1).double().numpy()
    return _spectrum(rows)


def _spectrum(rows: np.ndarray) -> VarianceSpectrum:
    """rows: (n, p)."""
    n = len(rows)
    centred = rows - rows.mean(0)
    gram = centred @ centred.T / (n - 1)  # same eigenvalues as the covariance, but for zeros
    values = np.linalg.eigvalsh(gram)[::-1][: min(n - 1, rows.shape[1])].clip(min=0)
    if not values.sum() > 0:
        raise ValueError(f"all {n} patients have the same image: there is no variance to share")
    ratio = values.sum() ** 2 / (values**2).sum()
    trace_squared, square_trace = _squares(gram)
    enough = square_trace > 1e-9 * (values**2).sum()
    dimensions = trace_squared / square_trace if enough else np.inf
    return VarianceSpectrum(values / values.sum(), float(ratio), float(dimensions), n)


def _squares(gram: np.ndarray) -> tuple[float, float]:
    """Unbiased (tr C)^2 and tr C^2 from the centred Gram matrix over n - 1, n x n."""
    n = len(gram)
    trace, square = np.trace(gram), (gram**2).sum()
    fourth = (np.diag(gram) ** 2).sum() * (n - 1)  # sum |x - mean|^4 / (n - 1)
    scale = (n - 1) / (n * (n - 2) * (n - 3))
    trace_squared = scale * (2 * square + (n**2 - 3 * n + 1) * trace**2 - n * fourth)
    square_trace = scale * ((n - 1) * (n - 2) * square + trace**2 - n * fourth)
    return float(trace_squared), float(square_trace)


def report(patients: Patients, size: int = 64, view: View = BRAIN) -> Diversity:
    """Measure overlap and variance spectrum, print them in words, and return them."""
    found = Diversity(overlap(patients, size, view), variance_spectrum(patients, size, view))
    print(found)
    return found


def _brains(patients: Patients, size: int, view: View) -> Tensor:
    """Fractions of the template's tissues: (n, 3, H, W)."""
    if len(patients) < 2:
        raise ValueError(f"{len(patients)} patients; diversity needs at least two")
    chunks = [slice(i, i + _CHUNK) for i in range(0, len(patients), _CHUNK)]
    return torch.cat(
        [tissue(patients.take(c), size, view=view)[0][:, : len(TISSUES)] for c in chunks]
    )


def _pose(patients: Patients) -> tuple[Tensor, Tensor, Tensor]:
    """Rotation in degrees, scale and shear of the affine turn @ [[1, shear], [0, 1]] @ diag."""
    first, second = patients.affine[..., 0], patients.affine[..., 1]  # columns
    angle = torch.atan2(first[:, 1], first[:, 0])
    along = second[:, 0] * torch.cos(angle) + second[:, 1] * torch.sin(angle)
    across = -second[:, 0] * torch.sin(angle) + second[:, 1] * torch.cos(angle)
    return torch.rad2deg(angle), torch.linalg.det(patients.affine).sqrt(), along / across


def _volume_ml(patients: Patients) -> Tensor:
    """Volume of all disease; patients without any have none of the factor: NaN."""
    total = sum(patients.volume_ml(kind) for kind in DISEASES)
    return torch.where(total > 0, total, torch.nan)


#: a patient's value of each factor that :func:`hold_out` knows: (n,)
FACTORS: dict[str, Callable[[Patients], Tensor]] = {
    "slice_mm": lambda p: p.slice_mm,
    "rotation_deg": lambda p: _pose(p)[0],
    "tilt_deg": lambda p: torch.rad2deg(torch.atan(p.tilt.norm(dim=1))),
    "scale": lambda p: _pose(p)[1],
    "shear": lambda p: _pose(p)[2],
    "shift_mm": lambda p: p.shift_mm.norm(dim=1),
    "warp_mm": lambda p: p.warp_knots_mm().square().sum(1).mean((1, 2, 3)).sqrt(),
    "depth_scale": lambda p: p.depth_scale,
    "ventricles": lambda p: p.ventricles,
    "skull_mm": lambda p: p.skull_mm,
    "scalp_mm": lambda p: p.scalp_mm,
    "volume_ml": _volume_ml,
}


def factor_values(patients: Patients, factor: str) -> Tensor:
    """Each patient's value of a generator factor: (n,), NaN where a patient has none."""
    if factor not in FACTORS:
        raise ValueError(f"factor is {factor!r}; the factors are {', '.join(FACTORS)}")
    return FACTORS[factor](patients)


def hold_out(patients: Patients, factor: str, share: float = 0.5, gap: float = 0.0) -> HoldOut:
    """Split patients so that training and test set do not overlap in one generator factor.

    Train on the lower ``share`` of its values, test on the upper 1 - share - gap; a share ``gap``
    between them is left out. The thresholds are values of patients and are returned.

    Factors (:data:`FACTORS`): slice_mm, the slice's height; rotation_deg, tilt_deg, shift_mm
    (size of the two tilts, of the shift), scale (geometric mean of the two axes), shear, warp_mm
    (root mean square displacement of the knots), depth_scale, ventricles, skull_mm, scalp_mm;
    volume_ml, the nominal volume of all disease. Patients without disease have no volume: they are
    dealt to the two sets in the same proportion, in the order they come, so that both hold them.
    """
    if not (0 < share < 1 and 0 <= gap < 1 - share):
        raise ValueError(
            f"share is {share} and gap {gap}; need 0 < share and 0 <= gap < 1 - share: what is "
            "left is the test set"
        )
    values = factor_values(patients, factor).double()
    known = values[~values.isnan()]
    if len(known) < 2 or known.min() == known.max():
        raise ValueError(
            f"{factor} does not vary among these {len(patients)} patients: draw them from a "
            "population (or a burden) that varies it"
        )
    ranked = known.sort().values
    low = ranked[max(round(share * len(ranked)), 1) - 1]
    high = ranked[min(round((share + gap) * len(ranked)), len(ranked) - 1) - 1].clamp(min=low)
    without = values.isnan().nonzero().flatten()
    first = round(share / (1 - gap) * len(without))
    train = torch.cat([(values <= low).nonzero().flatten(), without[:first]])
    test = torch.cat([(values > high).nonzero().flatten(), without[first:]])
    if not (values > high).any():
        raise ValueError(
            f"no patient has {factor} above {float(high):.3g}: too many share the largest value; "
            "lower the share"
        )
    return HoldOut(factor, float(low), float(high), train.sort().values, test.sort().values)
