"""The tables: complete, physical, and where they are quoted, as their sources have it."""

from __future__ import annotations

import pytest

from medxfer_lab.imaging.anatomy import CHANNELS
from medxfer_lab.imaging.scanners.relaxation import (
    RELAXATION,
    RELAXATION_1_5T,
    RELAXATION_3T,
    TAKES_UP_CONTRAST,
    relaxation,
    t1_with_contrast_ms,
)


def test_every_channel_at_every_field():
    for table in RELAXATION.values():
        assert tuple(table) == CHANNELS
        for t1, t2, density in table.values():
            assert 0 < t2 < t1  # T2 < T1 in every tissue
            assert 0 < density <= 1


def test_brain_at_1_5_tesla_is_brainweb_s():
    """T1, T2 in ms and proton density of the phantom, from its own table."""
    quoted = {"csf": (2569, 329, 1.0), "grey_matter": (833, 83, 0.86)}
    quoted |= {"white_matter": (500, 70, 0.77), "lesion": (752, 237, 0.76)}
    assert {t: RELAXATION_1_5T[t] for t in quoted} == quoted


def test_quoted_values():
    assert RELAXATION_3T["grey_matter"][0] == 1331 and RELAXATION_3T["white_matter"][0] == 832
    assert [RELAXATION[f]["blood"][0] for f in (1.5, 3.0)] == [1580, 1660]
    assert [RELAXATION[f]["scalp"][:2] for f in (1.5, 3.0)] == [(288, 165), (371, 133)]
    # within the range that a review of measurements at 3 T reports
    assert 699 < RELAXATION_3T["white_matter"][0] < 1735


def test_the_field_lengthens_t1_and_shortens_t2():
    """Lu et al. 2005: T2 12 to 19 % shorter at 3 T; density belongs to the tissue."""
    for tissue in CHANNELS:
        (t1_low, t2_low, density_low), (t1_high, t2_high, density_high) = (
            RELAXATION[f][tissue] for f in (1.5, 3.0)
        )
        assert t1_high >= t1_low and t2_high <= t2_low and density_high == density_low
    for tissue in ("grey_matter", "white_matter", "lesion", "oedema", "enhancing"):
        ratio = RELAXATION_3T[tissue][1] / RELAXATION_1_5T[tissue][1]
        assert 0.81 <= ratio <= 0.88, tissue


def test_step_between_the_columns_is_as_large_as_the_docstring_says():
    for tissue, step in (("grey_matter", 1.60), ("white_matter", 1.66)):
        ratio = RELAXATION_3T[tissue][0] / RELAXATION_1_5T[tissue][0]
        assert ratio == pytest.approx(step, abs=0.005)


@pytest.mark.parametrize(("field_t", "relaxivity"), [(1.5, 4.78), (3.0, 4.97)])
def test_rate_grows_by_the_relaxivity(field_t, relaxivity):
    """A mmol/l adds r1 to 1/T1 in 1/s, whatever the tissue, and nothing behind the barrier."""
    for tissue in CHANNELS:
        rates = [1000 / t1_with_contrast_ms(tissue, field_t, c) for c in (0.0, 1.0, 2.0)]
        assert rates[0] == pytest.approx(1000 / RELAXATION[field_t][tissue][0])
        gain = relaxivity if tissue in TAKES_UP_CONTRAST else 0.0
        assert rates[1] - rates[0] == pytest.approx(gain)
        assert rates[2] - rates[1] == pytest.approx(gain)


def test_other_fields_are_refused():
    with pytest.raises(ValueError, match="field_t is 0.55; .*1.5 and 3.0 tesla: choose"):
        relaxation(0.55)
