"""What ultrasound sees of a tissue: how much it scatters, swallows and reflects.

Attenuation and impedance are measured quantities from tables. Echogenicity is not: the literature
of intraoperative brain ultrasound *ranks* tissues ("hyperechoic"), it does not measure them against
each other. The decibels below are chosen to keep that rank; only clot against flowing blood is a
measured difference.
"""

from __future__ import annotations

import torch
from torch import Tensor

from medxfer_lab.imaging.anatomy import CHANNELS

#: speed of sound that every ultrasound scanner assumes, mm per microsecond
SOUND_SPEED = 1.54

#: attenuation, dB per cm and MHz one way, taken as proportional to frequency.
#: Brain: 0.6 for grey and white matter alike, as the benchmark media of Aubry et al. 2022 (JASA
#: 152:1003) have it; nine bovine brains gave 0.55, white matter above grey. Gliosis, tumour and
#: oedema get brain's value for want of their own. Fluid (as water), blood, skin and air: doi
#: 10.3390/diagnostics13050855, table 4. Bone: sources give anything from 1 (doi
#: 10.3390/s23135942, table A2) to 15 (the former table); 8, between them, is our choice, and
#: calcification gets it too. Clot: 0.43 (Shung, Fei and Ballard 1986, J Clin Ultrasound 14:269).
ATTENUATION: dict[str, float] = {
    "csf": 0.0022,
    "grey_matter": 0.6,
    "white_matter": 0.6,
    "lesion": 0.6,
    "oedema": 0.6,
    "enhancing": 0.6,
    "blood": 0.15,
    "haematoma": 0.43,
    "calcification": 8.0,
    "skull": 8.0,
    "scalp": 0.35,
}
#: the same for air, which is what the tissue fractions leave
AIR_ATTENUATION = 7.5

#: power scattered back, dB relative to white matter. *Ranks* are from the literature: ventricles
#: hypoechoic, grey hard to tell from white, skull hyperechoic, oedematous brain either way (table 2
#: of doi 10.1186/s41984-019-0056-5); oedema brighter than brain and all tumours echogenic (abstract
#: of "Intraoperative ultrasound imaging in neurosurgery", sector scanning at 6 to 10 MHz). The
#: decibels are ours, and so is grey below white: sonographers call white matter the brighter, yet
#: in bovine slices it scattered *less* (University of Mississippi, parametric images of fresh and
#: fixed brain at 5 MHz). Measured is one difference: clot of 12 hours is at least 18 dB above
#: flowing blood (Shung, Fei and Ballard 1986).
ECHOGENICITY: dict[str, float] = {
    "csf": -40.0,
    "grey_matter": -3.0,
    "white_matter": 0.0,
    "lesion": 6.0,
    "oedema": 3.0,
    "enhancing": 9.0,
    "blood": -12.0,
    "haematoma": 6.0,
    "calcification": 25.0,
    "skull": 25.0,
    "scalp": 3.0,
}
_SILENCE = 1e-10  # power of what scatters nothing (air): -100 dB keeps its square root smooth

#: acoustic impedance, density x speed of sound in MRayl, of the benchmark media of Aubry et al.
#: 2022: water 1.0 x 1.5 for fluid, brain 1.04 x 1.56 for all soft tissue, cortical bone 1.85 x 2.8
IMPEDANCE: dict[str, float] = {
    tissue: {"csf": 1.5, "calcification": 5.18, "skull": 5.18}.get(tissue, 1.622)
    for tissue in CHANNELS
}
AIR_IMPEDANCE = 0.0004  # 1.2 kg/m3 x 343 m/s


def _mix(fractions: Tensor, table: dict[str, float], air: float) -> Tensor:
    """Fraction-weighted mean of a table's values: (n, 11, H, W) -> (n, H, W)."""
    values = fractions.new_tensor([table[tissue] - air for tissue in CHANNELS])
    return torch.einsum("c,nchw->nhw", values, fractions) + air


def backscatter(fractions: Tensor) -> Tensor:
    """Power scattered back relative to white matter: (n, 11, H, W) -> (n, H, W).

    Scatterers of different tissues are independent, so their *powers* add.
    """
    power = {tissue: 10 ** (ECHOGENICITY[tissue] / 10) for tissue in CHANNELS}
    return _mix(fractions, power, _SILENCE)


def attenuation(fractions: Tensor) -> Tensor:
    """Attenuation one way, dB/cm/MHz: (n, 11, H, W) -> (n, H, W)."""
    return _mix(fractions, ATTENUATION, AIR_ATTENUATION)


def reflection(fractions: Tensor) -> Tensor:
    """Amplitude reflection coefficient at the upper edge of each row: (n, 11, H, W) -> (n, H, W).

    R = (Z2 - Z1) / (Z2 + Z1) for sound that falls straight on the boundary between impedances Z1
    above and Z2 below; 0 at the first row, where the probe is matched to what it touches.
    """
    impedance = _mix(fractions, IMPEDANCE, AIR_IMPEDANCE)
    above, below = impedance[:, :-1], impedance[:, 1:]
    inner = (below - above) / (below + above)
    return torch.cat([torch.zeros_like(impedance[:, :1]), inner], dim=1)
