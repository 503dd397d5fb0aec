"""Tissue tables: complete, mixed by fraction, and with the reflections of textbook layers."""

from __future__ import annotations

import pytest
import torch

from medxfer_lab.imaging.anatomy import CHANNELS
from medxfer_lab.imaging.scanners.acoustics import (
    AIR_ATTENUATION,
    AIR_IMPEDANCE,
    ATTENUATION,
    ECHOGENICITY,
    IMPEDANCE,
    attenuation,
    backscatter,
    reflection,
)


def column(*tissues: str | None) -> torch.Tensor:
    """One patient, one column of pure pixels; None is air."""
    fractions = torch.zeros(1, len(CHANNELS), len(tissues), 1, dtype=torch.float64)
    for row, tissue in enumerate(tissues):
        if tissue is not None:
            fractions[0, CHANNELS.index(tissue), row] = 1
    return fractions


@pytest.mark.parametrize("table", [ATTENUATION, ECHOGENICITY, IMPEDANCE])
def test_every_tissue_is_in_every_table(table):
    assert set(table) == set(CHANNELS)


def test_the_one_measured_contrast_and_the_ranks_of_the_literature():
    assert ECHOGENICITY["haematoma"] - ECHOGENICITY["blood"] == pytest.approx(18)
    ranks = [
        "csf",
        "blood",
        "grey_matter",
        "white_matter",
        "oedema",
        "lesion",
        "enhancing",
        "skull",
    ]
    levels = [ECHOGENICITY[tissue] for tissue in ranks]
    assert levels == sorted(levels) and len(set(levels)) == len(levels)


@pytest.mark.parametrize("tissue", CHANNELS)
def test_a_pure_pixel_has_its_tissue_s_values(tissue):
    pure = column(tissue)
    assert float(backscatter(pure)) == pytest.approx(10 ** (ECHOGENICITY[tissue] / 10), rel=1e-9)
    assert float(attenuation(pure)) == pytest.approx(ATTENUATION[tissue], rel=1e-9)


def test_powers_add_and_air_fills_what_tissue_leaves():
    mixed = 0.25 * column("white_matter") + 0.5 * column("haematoma")
    power = 0.25 + 0.5 * 10 ** (ECHOGENICITY["haematoma"] / 10)
    assert float(backscatter(mixed)) == pytest.approx(power, rel=1e-8)
    loss = 0.25 * ATTENUATION["white_matter"] + 0.5 * ATTENUATION["haematoma"]
    assert float(attenuation(mixed)) == pytest.approx(loss + 0.25 * AIR_ATTENUATION)


def test_reflection_is_fresnel_s_at_normal_incidence():
    layers = ["csf", "white_matter", "skull", None, "grey_matter", "grey_matter"]
    impedance = [AIR_IMPEDANCE if t is None else IMPEDANCE[t] for t in layers]
    expected = [0.0] + [
        (b - a) / (b + a) for a, b in zip(impedance[:-1], impedance[1:], strict=True)
    ]
    assert reflection(column(*layers)).flatten().tolist() == pytest.approx(expected)
    assert abs(expected[3]) > 0.999  # bone to air: nothing passes
