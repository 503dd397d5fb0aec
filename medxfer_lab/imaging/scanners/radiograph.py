"""Radiography: one projection of a whole head."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from medxfer_lab.imaging.anatomy import CHANNELS
from medxfer_lab.imaging.attenuation import tissue_attenuation
from medxfer_lab.imaging.geometry import View
from medxfer_lab.imaging.scanners.photons import log_transform, poisson_counts, standard_normals

#: axis of a volume (n, channels, D, H, W) along which the rays run
PROJECTIONS = {"lateral": -1, "frontal": -2}
PHOTOMETRIC = ("MONOCHROME1", "MONOCHROME2")
#: a signal that stands out so many standard deviations is seen: the rule of Rose (1948)
ROSE_SNR = 5.0


@dataclass(frozen=True)
class Radiograph:
    """A digital radiograph of the head, parallel beam, ideal photon-counting detector.

    A detector pixel behind the line integral p = integral mu ds counts N ~ Poisson(photons exp(-p))
    (Beer-Lambert). The stored pixel is logarithmic, q = ln(photons / N) / latitude, clipped to
    [0, 1] and scaled to the bits stored:
        MONOCHROME2: round(q (2^bits - 1)). High value, displayed bright: much attenuation, bone.
        MONOCHROME1: (2^bits - 1) minus that. High value, displayed *dark*: little attenuation, air.
    Shown as DICOM asks (PS3.3 C.7.6.3.1.2: the lowest value of MONOCHROME1 is white, of
    MONOCHROME2 black) both are the same picture with white bones. Values alone are not.

    projection: "lateral", rays along the columns of the volume, ear to ear, the picture's columns
        run from front to back; "frontal", rays along its rows, columns run along MNI x. Rows run
        from the top of the head to the foot of the field of view.
    photons: incident photons per pixel; math.inf for no noise.
    energy_kev: of all photons. No beam hardening, no scatter, no magnification, no blur.
    latitude: line integral at which the scale ends; exp(-8) lets 1 photon in 3,000 through.
    contrast_hu: what a contrast agent adds in blood and in what takes it up.
    quantise: whole counts and whole pixel values; False keeps them smooth, for finite differences.
    """

    name: str
    photons: float = 1e6
    projection: str = "lateral"
    photometric: str = "MONOCHROME2"
    bits_stored: int = 12
    energy_kev: float = 50.0
    latitude: float = 8.0
    contrast_hu: float = 0.0
    field_of_view_mm: float = 240.0
    quantise: bool = True

    def __post_init__(self) -> None:
        for key in ("photons", "latitude"):
            if not getattr(self, key) > 0:
                raise ValueError(f"{key} is {getattr(self, key)}; it must be positive")
        for key, known in (("projection", tuple(PROJECTIONS)), ("photometric", PHOTOMETRIC)):
            if getattr(self, key) not in known:
                raise ValueError(f"{key} is {getattr(self, key)!r}; choose from {', '.join(known)}")
        if not 1 <= self.bits_stored <= 16:
            raise ValueError(f"bits_stored is {self.bits_stored}; a pixel has 1 to 16")
        tissue_attenuation(self.energy_kev, self.contrast_hu)  # names an energy out of range

    @property
    def units(self) -> str:
        """Stored values, and how they are meant to be shown."""
        return self.photometric

    @property
    def view(self) -> View:
        """The whole head."""
        return View("volume", self.field_of_view_mm)

    @property
    def highest_value(self) -> int:
        """The largest pixel value that the bits stored can hold."""
        return 2**self.bits_stored - 1

    def acquire(self, fractions: Tensor, ids: Tensor, seed: int) -> Tensor:
        """Image patients: (n, 11, D, H, W) as CHANNELS -> (n, 1, D, columns) stored values.

        Integer-valued float32 unless ``quantise`` is off. The gradient flows to the fractions as in
        :meth:`~medxfer_lab.imaging.scanners.ct.CT.acquire`. A volume of 96^3 takes 39 MB a patient:
        hand over few patients at a time; what is made on the way here is two pictures each.
        """
        line = self.line_integrals(fractions)
        if not math.isinf(self.photons):
            normal = standard_normals(seed, ids, tuple(line.shape[1:]))
            counts = poisson_counts(self.photons * torch.exp(-line), normal, self.quantise)
            line = log_transform(counts, self.photons)
        return self._store(line)

    def line_integrals(self, fractions: Tensor) -> Tensor:
        """integral mu ds of each detector pixel: (n, 11, D, H, W) -> (n, 1, D, columns).

        Sums along the rays first and weighs the tissues after: no volume is copied.
        """
        if fractions.ndim != 5 or fractions.shape[1] != len(CHANNELS):
            raise ValueError(
                f"fractions have shape {tuple(fractions.shape)}; expected (n, {len(CHANNELS)}, "
                "depth, height, width) from a view with plane 'volume'"
            )
        paths = fractions.sum(PROJECTIONS[self.projection])  # (n, 11, D, columns) voxels
        table = fractions.new_tensor(tissue_attenuation(self.energy_kev, self.contrast_hu))
        spacing = self.view.spacing_mm(fractions.shape[-1])
        line = torch.einsum("c,ncdk->ndk", table, paths) * spacing
        return line.flip(-2)[:, None]  # slices run from foot to head, rows from head to foot

    def footprint(self, masks: Tensor) -> Tensor:
        """Where a lesion's shadow falls: masks (n, D, H, W) bool -> (n, D, columns) bool."""
        # masks lack the channel axis, and PROJECTIONS count from the end: the same axis
        return masks.any(PROJECTIONS[self.projection]).flip(-2)

    def _store(self, line: Tensor) -> Tensor:
        value = line / self.latitude * self.highest_value
        if self.photometric == "MONOCHROME1":
            value = self.highest_value - value
        if not self.quantise:
            return value
        value = value.clamp(0, self.highest_value)
        return value.detach().round() + (value - value.detach())


def calcification_snr(
    radiograph: Radiograph, volume_ml: float, size: int, line_integral: float
) -> float:
    """How far a calcified ball in white matter stands out of the photon noise, at most.

    The noise of ln N is 1/sqrt(L) a pixel, L = photons exp(-line_integral) counts. A ball of radius
    r shadows 2 D sqrt(r^2 - s^2) at distance s from its middle, D the difference in mu. The ideal
    observer, who knows shape and place, adds up squares (a the edge of a pixel):
        SNR^2 = L / a^2 integral (shadow^2) dA = 2 pi L D^2 r^4 / a^2,
    but a pixel that holds all of the ball only sees its mean shadow, SNR = sqrt(L) D V / a^2. Both
    are upper bounds for a ball with a sharp edge; the smaller one is returned. The lesions of
    `rendering` fade over EDGE_MM, which adds to the volume of the smallest: at .05 ml about as much
    again, so that they are seen better than this says. An observer who must also tell the ball
    from the bones and folds around it does worse, whatever the dose.

    volume_ml: of the ball. size: pixels along the field of view. line_integral: what the rays meet
    elsewhere; about 4 through a head.
    """
    volume = 1000 * volume_ml  # mm^3
    radius = (3 * volume / (4 * math.pi)) ** (1 / 3)
    per_mm, pixel = _excess(radiograph), radiograph.view.spacing_mm(size)
    counts = radiograph.photons * math.exp(-line_integral)
    spread = math.sqrt(2 * math.pi * counts) * per_mm * radius**2 / pixel
    return min(spread, math.sqrt(counts) * per_mm * volume / pixel**2)


def visible_calcification_ml(
    radiograph: Radiograph, size: int, line_integral: float, snr: float = ROSE_SNR
) -> float:
    """The smallest calcified ball whose :func:`calcification_snr` reaches ``snr``, in ml."""
    if not snr > 0:
        raise ValueError(f"snr is {snr}; a threshold is positive")
    per_mm, pixel = _excess(radiograph), radiograph.view.spacing_mm(size)
    counts = radiograph.photons * math.exp(-line_integral)
    radius = math.sqrt(snr * pixel / (math.sqrt(2 * math.pi * counts) * per_mm))
    concentrated = snr * pixel**2 / (math.sqrt(counts) * per_mm)
    return max(4 / 3 * math.pi * radius**3, concentrated) / 1000


def local_contrast(pictures: Tensor, footprints: Tensor) -> Tensor:
    """How a shadow differs from its surroundings: mean inside it minus mean of a ring around it.

    The ring is 2 to 4 pixels away from the shadow. In stored values, so the sign is that of the
    photometric interpretation. Without a lesion this is what anatomy alone puts there.

    pictures: (n, 1, H, W). footprints: (n, H, W) bool. Returns (n,), NaN where there is no shadow.
    """

    def grown(pixels: int) -> Tensor:
        side = 2 * pixels + 1
        wide = torch.nn.functional.max_pool2d(footprints[:, None].float(), side, 1, pixels)
        return wide[:, 0] > 0

    ring = grown(4) & ~grown(1)
    pairs = zip(pictures[:, 0], footprints, ring)
    return torch.stack([p[inside].mean() - p[around].mean() for p, inside, around in pairs])


def detectability_index(present: Tensor, absent: Tensor) -> float:
    """d' = difference of the means over the root mean of the variances, of (n,) scores each.

    An observer who goes by a normally distributed score tells present from absent with an area
    under the curve of Phi(d' / sqrt 2): d' = 1.81 is .90. NaN scores are left out.
    """
    present, absent = present[~present.isnan()], absent[~absent.isnan()]
    if len(present) < 2 or len(absent) < 2:
        raise ValueError(
            f"{len(present)} scores with and {len(absent)} without; a spread needs at least 2 each"
        )
    spread = ((present.var() + absent.var()) / 2).sqrt()
    return float((present.mean() - absent.mean()) / spread)


def _excess(radiograph: Radiograph) -> float:
    """mu of calcification minus mu of white matter, per mm."""
    table = dict(zip(CHANNELS, tissue_attenuation(radiograph.energy_kev)))
    return table["calcification"] - table["white_matter"]


#: a lateral view, stored so that bone is bright
RADIOGRAPH_LATERAL = Radiograph("Vendor A lateral skull")
#: another vendor's frontal view, lower dose, stored the other way round
RADIOGRAPH_FRONTAL = Radiograph(
    "Vendor B frontal skull",
    photons=3e5,
    projection="frontal",
    photometric="MONOCHROME1",
    bits_stored=15,
)
