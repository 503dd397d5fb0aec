"""Has the domain shifted, and can it be the kind of shift we hope? Tests with honest p-values.

Without target labels: `mmd_test` (is p(x) the same?), `black_box_test` (are the model's scores?),
`mixture_family_test` (can the target be label shift of the source?). With a few of them:
`calibration_test` (does the model's p(y | x) hold?). None tells covariate from label shift where
both make the same q(x), and none without labels sees concept shift.
"""

from medxfer_lab.methods.shift_tests.black_box import black_box_test
from medxfer_lab.methods.shift_tests.calibration import calibration_test
from medxfer_lab.methods.shift_tests.mixture_family import MixtureFamilyTest, mixture_family_test
from medxfer_lab.methods.shift_tests.mmd import mmd_test

__all__ = [
    "MixtureFamilyTest",
    "black_box_test",
    "calibration_test",
    "mixture_family_test",
    "mmd_test",
]
