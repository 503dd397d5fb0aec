"""From one hospital to another, with exactly one thing changed: the shifts of transfer learning.

With image x and label y, source density p and target density q:

=====================  ==============  ==========================================================
shift                  keeps           made by
=====================  ==============  ==========================================================
label shift            p(x | y)        `resample`: cases resampled on y, after the criterion
covariate shift        p(y | x)        `select`: kept with a known probability of the image alone
covariate shift        p(y | x) *      `remix`: another mixture of scanners (* as far as they can
                                       be told apart in the image: `scanner_error`)
concept shift          p(x)            `relabel`: the same images, another criterion
acquisition shift      p(y | patient)  `rescan`: the same patients on another
                                       scanner; p(y | x) is not kept in general
=====================  ==============  ==========================================================

Changing a hospital's burden is none of these in general. Under a volume criterion it changes
p(x | y = 0) and p(y | x) too: more patients who fall short of the criterion are not more of the
same healthy ones. It is a label shift only in a special case: when nothing but the *share* of the
affected changes, and the criterion calls every one of the affected diseased and nobody else.

The statements are about distributions. That they hold, and that the tests would have seen it if
they did not, is measured in :mod:`medxfer_lab.reference.experiment.invariance`.
"""

from medxfer_lab.imaging.shifts.acquisition import rescan
from medxfer_lab.imaging.shifts.concept import Relabelled, relabel
from medxfer_lab.imaging.shifts.label import Resampled, resample
from medxfer_lab.imaging.shifts.measures import (
    MEASURES,
    bright_area,
    bright_level,
    brightness,
    central_fluid_area,
    head_size,
    pooled_statistics,
)
from medxfer_lab.imaging.shifts.mixture import (
    ScannerError,
    mixture_weights,
    posterior_change,
    remix,
    scanner_error,
    scanner_weights,
)
from medxfer_lab.imaging.shifts.selection import LogisticSelection, Selected, select
from medxfer_lab.imaging.shifts.weights import effective_sample_size, thin

__all__ = [
    "LogisticSelection",
    "MEASURES",
    "Relabelled",
    "Resampled",
    "ScannerError",
    "Selected",
    "bright_area",
    "bright_level",
    "brightness",
    "central_fluid_area",
    "effective_sample_size",
    "head_size",
    "mixture_weights",
    "pooled_statistics",
    "posterior_change",
    "relabel",
    "remix",
    "resample",
    "rescan",
    "scanner_error",
    "scanner_weights",
    "select",
    "thin",
]
