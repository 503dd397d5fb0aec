"""The anatomy that every simulated patient descends from: the MNI152 tissue maps.

The ICBM 152 template (Fonov et al. 2011) is bundled with nilearn, so nothing is downloaded. It is
the average of 152 healthy adults: every simulated patient is a warp of *one* averaged brain, which
is less diverse than any hospital's population. Pages that show these patients say so.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

#: order of the template's tissue maps
TISSUES = ("csf", "grey_matter", "white_matter")
#: order of the tissue channels everywhere in :mod:`medxfer_lab.imaging`; fractions of a voxel that
#: sum to at most 1, the rest is air.
#: lesion: gliotic or tumour-infiltrated white matter; oedema: tissue swollen with water;
#: enhancing: solid tissue or lumen that takes up contrast agent; blood: flowing, in vessels;
#: haematoma: acute clotted blood; calcification: dense calcium; skull: cortical bone and diploe;
#: scalp: skin, fat and muscle
CHANNELS = (
    *TISSUES,
    "lesion",
    "oedema",
    "enhancing",
    "blood",
    "haematoma",
    "calcification",
    "skull",
    "scalp",
)
#: distances to the brain's surface are known up to here
FAR_MM = 60.0


@dataclass(frozen=True)
class Template:
    """Tissue fractions on a regular grid in millimetres.

    fractions: (3, X, Y, Z) float32 in [0, 1], channels as :data:`TISSUES`; they sum to at most 1,
        what is missing is background.
    origin_mm: position of voxel (0, 0, 0), MNI coordinates (x to the right, y to the front, z up).
    spacing_mm: edge length of a voxel.
    outside_mm: (X, Y, Z) distance to the brain's surface, negative inside; where skull and scalp
        are laid. None for a template without a head.
    """

    fractions: Tensor
    origin_mm: tuple[float, float, float]
    spacing_mm: float
    outside_mm: Tensor | None = None

    def sample(self, points_mm: Tensor) -> Tensor:
        """Tissue fractions at points: (n, H, W, 3) mm -> (n, 3, H, W), trilinear, 0 outside."""
        return self._trilinear(self.fractions, points_mm)

    def distance(self, points_mm: Tensor) -> Tensor:
        """Distance to the brain's surface at points: (n, H, W, 3) mm -> (n, H, W) mm.

        Clipped to FAR_MM, which also stands beyond the template's edge.
        """
        if self.outside_mm is None:
            raise ValueError("this template has no outside_mm: use template(), which has")
        near = (FAR_MM - self.outside_mm).clamp(min=0)[None]  # zero padding then means far away
        return FAR_MM - self._trilinear(near, points_mm)[:, 0]

    def _trilinear(self, maps: Tensor, points_mm: Tensor) -> Tensor:
        shape = torch.tensor(maps.shape[1:], dtype=points_mm.dtype)
        origin = torch.tensor(self.origin_mm, dtype=points_mm.dtype)
        voxel = (points_mm - origin.to(points_mm)) / self.spacing_mm
        unit = 2 * voxel / (shape.to(points_mm) - 1) - 1
        # grid_sample wants (z, y, x) order for a (X, Y, Z) volume, and one volume a batch entry;
        # folding the batch into depth samples the one shared volume without copying it n times
        grid = unit.flip(-1)[None]
        volume = maps[None].to(points_mm)
        sampled = torch.nn.functional.grid_sample(
            volume, grid, mode="bilinear", padding_mode="zeros", align_corners=True
        )
        return sampled[0].movedim(1, 0)  # (c, n, H, W) -> (n, c, H, W)


@lru_cache(maxsize=2)
def template(resolution_mm: int = 2) -> Template:
    """The MNI152 tissue maps at 1 or 2 mm; cerebrospinal fluid is what the brain mask leaves.

    nilearn ships grey and white matter only: csf = mask - grey - white, clipped to [0, 1].
    """
    if resolution_mm not in (1, 2):
        raise ValueError(f"resolution_mm is {resolution_mm}; the template comes in 1 or 2 mm")
    from nilearn import datasets

    grey_image = datasets.load_mni152_gm_template(resolution=resolution_mm)
    white = datasets.load_mni152_wm_template(resolution=resolution_mm).get_fdata()
    mask = datasets.load_mni152_brain_mask(resolution=resolution_mm).get_fdata()
    grey = grey_image.get_fdata()
    total = (grey + white).clip(min=1.0)  # the two maps overlap by rounding: keep the sum at 1
    grey, white = grey / total, white / total
    csf = (mask - grey - white).clip(0.0, 1.0)
    maps = torch.stack([torch.from_numpy(m.copy()).float() for m in (csf, grey, white)])
    origin = tuple(float(v) for v in grey_image.affine[:3, 3])
    spacing = float(abs(grey_image.affine[0, 0]))
    return Template(maps, origin, spacing, _outside_mm(mask > 0, spacing))


def _outside_mm(mask: np.ndarray, spacing_mm: float) -> Tensor:
    """Signed Euclidean distance to the closed brain mask: the dura spans the furrows."""
    from scipy import ndimage

    margin, reach = 12, max(1, round(10 / spacing_mm))
    closed = ndimage.binary_closing(np.pad(mask, margin), iterations=reach)
    inner = slice(margin, -margin)
    closed = closed[inner, inner, inner]
    outside = ndimage.distance_transform_edt(~closed, sampling=spacing_mm)
    inside = ndimage.distance_transform_edt(closed, sampling=spacing_mm)
    return torch.from_numpy(outside - inside).float()
