"""How strongly tissue attenuates X-rays: Hounsfield units, and what they become at other energies.

One table of Hounsfield units serves CT and radiograph alike. To carry a tissue from the energy of
the table to another one it is written as a mixture of two materials whose attenuation is known at
all energies, water and cortical bone (the two-material idea of Alvarez and Macovski 1976).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.interpolate import CubicSpline

from medxfer_lab.imaging.anatomy import CHANNELS

#: photon energies of the two tables below, keV
ENERGIES_KEV = (30.0, 40.0, 50.0, 60.0, 80.0, 100.0, 150.0)
#: mass attenuation coefficients with coherent scattering, cm^2/g: Hubbell and Seltzer, NIST
#: Standard Reference Database 126, table 4, "Water, Liquid" and "Bone, Cortical (ICRU-44)"
WATER_CM2_PER_G = (0.3756, 0.2683, 0.2269, 0.2059, 0.1837, 0.1707, 0.1505)
CORTICAL_BONE_CM2_PER_G = (1.331, 0.6655, 0.4242, 0.3148, 0.2229, 0.1855, 0.1480)
#: densities that go with them, g/cm^3 (NIST, table 2)
WATER_DENSITY, CORTICAL_BONE_DENSITY = 1.000, 1.920

#: the energy at which HOUNSFIELD holds: a 120 kVp beam behaves much like photons of 70 keV
TABLE_ENERGY_KEV = 70.0
#: Hounsfield units of the tissue channels, no contrast agent. Where a range is published, its
#: middle. NA: The Neurosurgical Atlas, quick reference tables, Neuroradiology (2018).
HOUNSFIELD: dict[str, float] = {
    "csf": 5.0,  # NA
    "grey_matter": 35.0,  # NA: 30 to 40
    "white_matter": 27.5,  # NA: 20 to 35
    "lesion": 20.0,  # our choice: more water than healthy white matter, so its lower end
    "oedema": 12.0,  # NA: 10 to 14
    "enhancing": 35.0,  # our choice: before contrast agent like grey matter
    "blood": 40.0,  # flowing blood, usual teaching value
    "haematoma": 77.5,  # NA, blood clot: 75 to 80
    "calcification": 400.0,  # dense end of the usual 100 to 400
    "skull": 1000.0,  # NA, compact bone: marrow between its tables is drawn as scalp tissue
    "scalp": -25.0,  # half fat (NA: -60 to -120), half muscle (about 40)
}
#: what iodine in the lumen adds: NA has enhanced vessels at 90 to 100, flowing blood is at 40
IODINE_HU = 55.0
#: channels that a contrast agent reaches
_ENHANCE = ("enhancing", "blood")
#: foci above this are taken for calcified: calcium raises them, not density
_CALCIUM_HU = 100.0


@lru_cache(maxsize=64)
def _coefficient(material: str, energy_kev: float) -> float:
    """Linear attenuation coefficient of water or cortical bone, per mm."""
    low, high = ENERGIES_KEV[0], ENERGIES_KEV[-1]
    if not low <= energy_kev <= high:
        raise ValueError(f"energy_kev is {energy_kev}; the tables reach from {low} to {high} keV")
    table, density = {
        "water": (WATER_CM2_PER_G, WATER_DENSITY),
        "bone": (CORTICAL_BONE_CM2_PER_G, CORTICAL_BONE_DENSITY),
    }[material]
    # cross-sections are nearly powers of the energy: interpolate logarithm against logarithm
    curve = CubicSpline(np.log(ENERGIES_KEV), np.log(table))
    return float(np.exp(curve(np.log(energy_kev)))) * density / 10  # per cm to per mm


def water_attenuation(energy_kev: float) -> float:
    """Linear attenuation coefficient of water at 30 to 150 keV, per mm."""
    return _coefficient("water", float(energy_kev))


def bone_attenuation(energy_kev: float) -> float:
    """Linear attenuation coefficient of cortical bone at 30 to 150 keV, per mm."""
    return _coefficient("bone", float(energy_kev))


def tissue_attenuation(energy_kev: float, contrast_hu: float = 0.0) -> tuple[float, ...]:
    """Linear attenuation coefficients of the channels in the order of CHANNELS, per mm.

    Soft tissue of H Hounsfield units is water of another density, at any energy E:
        mu(E) = mu_water(E) (1 + H / 1000).
    Above 100 Hounsfield units calcium is at work: a volume share b of cortical bone in water, with
    b set so that the table's H comes out at the table's 70 keV,
        mu(E) = (1 - b) mu_water(E) + b mu_bone(E),
        b = H mu_water(70) / (1000 (mu_bone(70) - mu_water(70))).
    contrast_hu: what a contrast agent adds to "enhancing" and "blood", as if it were density;
    iodine's own dependence on energy is left out.
    """
    water, bone = water_attenuation(energy_kev), bone_attenuation(energy_kev)
    table_water = water_attenuation(TABLE_ENERGY_KEV)
    gain = bone_attenuation(TABLE_ENERGY_KEV) - table_water
    coefficients = []
    for channel in CHANNELS:
        units = HOUNSFIELD[channel]
        if units > _CALCIUM_HU:
            share = units * table_water / (1000 * gain)
            coefficients.append((1 - share) * water + share * bone)
        else:
            units += contrast_hu if channel in _ENHANCE else 0.0
            coefficients.append(water * (1 + units / 1000))
    return tuple(coefficients)


def to_hounsfield(attenuation, energy_kev: float):
    """Hounsfield units of linear attenuation coefficients per mm: 1000 (mu / mu_water - 1)."""
    return 1000 * (attenuation / water_attenuation(energy_kev) - 1)
