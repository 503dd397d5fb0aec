"""Attenuation: the tables, what lies between their entries, and two-material arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medxfer_lab.imaging.anatomy import CHANNELS
from medxfer_lab.imaging.attenuation import (
    CORTICAL_BONE_CM2_PER_G,
    ENERGIES_KEV,
    HOUNSFIELD,
    TABLE_ENERGY_KEV,
    WATER_CM2_PER_G,
    bone_attenuation,
    tissue_attenuation,
    to_hounsfield,
    water_attenuation,
)

#: elemental mass attenuation coefficients at 70 keV, cm^2/g: Elam, Ravel and Sieber's tables
#: (2002, Radiation Physics and Chemistry 63:121), an evaluation independent of NIST's
ELAM_70_KEV = {"water": 0.1929, "bone": 0.2570}


def by_channel(energy_kev: float, **options: float) -> dict[str, float]:
    return dict(zip(CHANNELS, tissue_attenuation(energy_kev, **options)))


def test_the_tables_are_met_at_their_own_energies():
    for energy, water, bone in zip(ENERGIES_KEV, WATER_CM2_PER_G, CORTICAL_BONE_CM2_PER_G):
        assert water_attenuation(energy) == pytest.approx(water / 10)
        assert bone_attenuation(energy) == pytest.approx(bone * 1.92 / 10)


def test_between_them_an_independent_evaluation_agrees():
    """NIST has no entry at 70 keV; interpolation must be better than the tables' four digits."""
    assert water_attenuation(70) == pytest.approx(ELAM_70_KEV["water"] / 10, rel=1e-3)
    assert bone_attenuation(70) == pytest.approx(ELAM_70_KEV["bone"] * 1.92 / 10, rel=1e-3)


def test_the_coefficients_fall_with_energy():
    energies = np.linspace(30, 150, 200)
    for curve in (water_attenuation, bone_attenuation):
        assert (np.diff([curve(e) for e in energies]) < 0).all()


def test_hounsfield_units_come_back_at_the_table_s_energy():
    assert set(HOUNSFIELD) == set(CHANNELS)
    for channel, value in by_channel(TABLE_ENERGY_KEV).items():
        assert to_hounsfield(value, TABLE_ENERGY_KEV) == pytest.approx(HOUNSFIELD[channel])
    assert to_hounsfield(torch.tensor([0.0]), 60.0).tolist() == [-1000]  # air
    assert to_hounsfield(water_attenuation(60.0), 60.0) == 0


def test_calcium_gains_at_low_energy_and_soft_tissue_does_not():
    low, high = by_channel(50.0), by_channel(100.0)
    for channel, units in HOUNSFIELD.items():
        pair = to_hounsfield(low[channel], 50.0), to_hounsfield(high[channel], 100.0)
        if channel in ("calcification", "skull"):
            assert pair[0] > units > pair[1]
        else:
            assert pair == pytest.approx((units, units))


def test_calcium_is_a_mixture_of_water_and_bone():
    """Its share of bone is one number: solve for it at each energy, get the same."""
    for channel in ("calcification", "skull"):
        shares = []
        for energy in (40.0, 55.0, 70.0, 120.0):
            water, bone = water_attenuation(energy), bone_attenuation(energy)
            shares.append((by_channel(energy)[channel] - water) / (bone - water))
        assert shares == pytest.approx([shares[0]] * 4)
        assert 0 < shares[0] < 1


def test_contrast_agent_reaches_lumen_and_leaky_tissue():
    plain, iodine = by_channel(70.0), by_channel(70.0, contrast_hu=55.0)
    for channel in CHANNELS:
        gain = to_hounsfield(iodine[channel], 70.0) - to_hounsfield(plain[channel], 70.0)
        assert gain == pytest.approx(55.0 if channel in ("enhancing", "blood") else 0.0)


@pytest.mark.parametrize("energy", [29.0, 151.0, float("nan")])
def test_energies_beyond_the_tables(energy):
    with pytest.raises(ValueError, match="the tables reach from 30.0 to 150.0 keV"):
        tissue_attenuation(energy)
