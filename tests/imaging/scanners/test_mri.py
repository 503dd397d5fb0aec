"""Scanners against Bloch's equations, brute-force Fourier sums and scipy's Rice distribution."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.integrate import solve_ivp
from scipy.optimize import brentq

from medxfer_lab.imaging.anatomy import CHANNELS
from medxfer_lab.imaging.scanners.mri import FLAIR, MRI, RELAXATION_1_5T, T1, nulling_ti_ms

CLEAN = MRI("clean", tr_ms=500.0, te_ms=15.0, bias=0.0, snr=1e9)


def uniform(tissue: str, n: int, size: int) -> torch.Tensor:
    """n images of nothing but one tissue."""
    fractions = torch.zeros(n, len(CHANNELS), size, size)
    fractions[:, CHANNELS.index(tissue)] = 1
    return fractions


def bloch_signal(scanner: MRI, t1: float, t2: float, density: float) -> float:
    """Transverse magnetisation at the echo, integrated numerically through six repetitions.

    In the rotating frame on resonance dM_xy/dt = -M_xy/T2 and dM_z/dt = (M0 - M_z)/T1; pulses turn
    the vector at once: 180 degrees (where there is an inversion), wait TI, 90 degrees, wait TE,
    read; the rest of TR passes and what is left of M_xy is spoiled.
    """

    def relax(magnetisation: np.ndarray, duration: float) -> np.ndarray:
        def slope(_, m):
            return [-m[0] / t2, (density - m[1]) / t1]

        found = solve_ivp(slope, (0, duration), magnetisation, rtol=1e-10, atol=1e-13)
        return found.y[:, -1]

    magnetisation, echo = np.array([0.0, density]), 0.0
    for _ in range(6):
        rest = scanner.tr_ms
        if scanner.ti_ms is not None:
            magnetisation = relax(magnetisation * [1, -1], scanner.ti_ms) * [0, 1]
            rest -= scanner.ti_ms
        magnetisation = np.array([magnetisation[1], 0.0])  # 90 degrees: z becomes xy
        magnetisation = relax(magnetisation, scanner.te_ms)
        echo = abs(magnetisation[0])
        magnetisation = relax(magnetisation, rest - scanner.te_ms) * [0, 1]
    return echo


@pytest.mark.parametrize("tissue", CHANNELS)
@pytest.mark.parametrize("scanner", [T1, FLAIR, replace(FLAIR, ti_ms=500.0)], ids=lambda s: s.name)
def test_signal_solves_bloch_s_equations(scanner, tissue):
    expected = bloch_signal(scanner, *RELAXATION_1_5T[tissue])
    assert scanner.signal(tissue) == pytest.approx(expected, rel=1e-6, abs=1e-8)


def test_relaxation_times_are_brainweb_s():
    """T1, T2 in ms and proton density of the phantom at 1.5 T, from its own table."""
    table = {"csf": (2569, 329, 1.0), "grey_matter": (833, 83, 0.86)}
    table |= {"white_matter": (500, 70, 0.77), "lesion": (752, 237, 0.76)}
    assert RELAXATION_1_5T == table
    assert tuple(table) == CHANNELS


def test_flair_nulls_fluid_and_lights_up_lesions():
    assert FLAIR.signal("csf") < 1e-12
    signals = {t: FLAIR.signal(t) for t in CHANNELS}
    assert signals["lesion"] > 2 * signals["white_matter"]
    assert signals["grey_matter"] > signals["white_matter"]
    assert T1.signal("white_matter") > T1.signal("grey_matter") > T1.signal("csf")
    assert T1.signal("lesion") < T1.signal("white_matter")


@pytest.mark.parametrize("tissue", ["csf", "white_matter"])
def test_nulling_time_is_the_root(tissue):
    t1, tr = RELAXATION_1_5T[tissue][0], 9000.0

    def longitudinal(ti: float) -> float:
        return 1 - 2 * math.exp(-ti / t1) + math.exp(-tr / t1)

    assert nulling_ti_ms(tr, tissue) == pytest.approx(brentq(longitudinal, 1, tr), rel=1e-9)


def test_partial_volume_is_the_weighted_sum():
    rng = np.random.default_rng(0)
    shares = torch.tensor(rng.dirichlet(np.ones(5), (2, 8, 9))[..., :4]).float().movedim(-1, 1)
    picture = CLEAN.acquire(shares, torch.arange(2), seed=0)
    assert picture.shape == (2, 1, 8, 9)
    for i, r, c in np.ndindex(2, 8, 9):
        expected = 1000 * sum(
            CLEAN.signal(t) * float(shares[i, k, r, c]) for k, t in enumerate(CHANNELS)
        )
        assert float(picture[i, 0, r, c]) == pytest.approx(expected, rel=1e-5, abs=1e-3)


def test_background_is_rayleigh():
    """Air: mean sd sqrt(pi/2), and the whole distribution; sd is white matter over SNR."""
    scanner = MRI("t", tr_ms=500, te_ms=15, snr=12.0)
    air = torch.zeros(4, 4, 64, 64)
    pixels = scanner.acquire(air, torch.arange(4), seed=1).flatten().double().numpy()
    sd = scanner.gain * scanner.signal("white_matter") / scanner.snr
    law = stats.rayleigh(scale=sd)
    assert law.mean() == pytest.approx(sd * math.sqrt(math.pi / 2))
    # standard error of a mean of N independent pixels; 4 of them
    assert abs(pixels.mean() - law.mean()) < 4 * law.std() / math.sqrt(pixels.size)
    assert stats.kstest(pixels, law.cdf).pvalue > 1e-3


@pytest.mark.parametrize("snr", [1.0, 3.0, 20.0])
def test_tissue_is_rician(snr):
    scanner = MRI("t", tr_ms=500, te_ms=15, snr=snr, bias=0.0)
    pixels = scanner.acquire(uniform("white_matter", 4, 64), torch.arange(4), seed=2)
    pixels = pixels.flatten().double().numpy()
    sd = scanner.gain * scanner.signal("white_matter") / snr
    law = stats.rice(snr, scale=sd)
    n = pixels.size
    assert abs(pixels.mean() - law.mean()) < 4 * law.std() / math.sqrt(n)
    # variance of a sample variance: (kurtosis + 2) var^2 / n
    spread = law.var() * math.sqrt((float(law.stats("k")) + 2) / n)
    assert abs(pixels.var() - law.var()) < 4 * spread
    assert stats.kstest(pixels, law.cdf).pvalue > 1e-3
    if snr == 20:  # far above the noise Rice is all but normal, with the channel's sd
        assert law.std() == pytest.approx(sd, rel=2e-3)


def test_bias_field_is_smooth_and_has_the_stated_spread():
    """A corner of the image is a knot, so its log sensitivity is normal with sd ``bias``."""
    scanner = replace(CLEAN, bias=0.2)
    n = 1500
    picture = scanner.acquire(uniform("grey_matter", n, 16), torch.arange(n), seed=3)
    field = (picture[:, 0] / (scanner.gain * scanner.signal("grey_matter"))).log().double()
    for row, column in ((0, 0), (0, -1), (-1, 0), (-1, -1)):
        corner = field[:, row, column].numpy()
        assert stats.kstest(corner, stats.norm(0, 0.2).cdf).pvalue > 1e-3
    # three knots over 16 pixels: a step between neighbours is a small share of the whole range
    steps = torch.maximum(field.diff(dim=1).abs().amax(), field.diff(dim=2).abs().amax())
    assert steps < 0.35 * (field.amax((1, 2)) - field.amin((1, 2))).max()


def test_noise_and_bias_belong_to_the_patient():
    shares = torch.rand(3, 4, 32, 32, generator=torch.Generator().manual_seed(0)) / 4
    ids = torch.tensor([5, 2, 9])
    all_three = FLAIR.acquire(shares, ids, seed=4)
    assert torch.equal(FLAIR.acquire(shares, ids, seed=4), all_three)
    alone = FLAIR.acquire(shares[1:2], ids[1:2], seed=4)
    torch.testing.assert_close(alone, all_three[1:2], rtol=1e-5, atol=1e-3)
    assert not torch.allclose(FLAIR.acquire(shares, ids, seed=5), all_three, rtol=0.01)
    same = FLAIR.acquire(shares[:1].expand(2, -1, -1, -1), torch.tensor([1, 2]), seed=4)
    air = (same[0] - same[1]).flatten()
    assert air.std() > 0.5 * FLAIR.gain * FLAIR.signal("white_matter") / FLAIR.snr


@pytest.mark.parametrize("kept", [0.25, 0.5, 0.8])
@pytest.mark.parametrize("shape", [(12, 16), (9, 10)])
def test_k_space_truncation_is_a_fourier_sum(kept, shape):
    """Against sums over every frequency (k, l) with |k| <= kept H/2 and |l| <= kept W/2."""
    height, width = shape
    rng = np.random.default_rng(5)
    shares = torch.tensor(rng.random((1, 1, height, width)) / 4).float().expand(1, 4, -1, -1)
    clean = CLEAN.acquire(shares, torch.arange(1), seed=0)[0, 0].double().numpy()
    cut = replace(CLEAN, k_space=kept).acquire(shares, torch.arange(1), seed=0)[0, 0]
    rows, columns = np.arange(height), np.arange(width)
    expected = np.zeros(shape, dtype=complex)
    for k in range(-(height // 2), (height + 1) // 2):
        for line in range(-(width // 2), (width + 1) // 2):
            if abs(k) <= kept * height / 2 and abs(line) <= kept * width / 2:
                turns = k * rows[:, None] / height + line * columns[None, :] / width
                wave = np.exp(2j * math.pi * turns)
                expected += (clean * wave.conj()).sum() / (height * width) * wave
    # float32 transforms: a few eps of the brightest pixel
    np.testing.assert_allclose(cut, np.abs(expected), atol=2e-5 * clean.max())


def test_less_of_k_space_is_less_noise():
    """Noise is white in k-space: keeping a share f of it keeps the share f of its variance."""
    scanner = MRI("t", tr_ms=500, te_ms=15, snr=50.0, bias=0.0)
    full, half = (
        s.acquire(uniform("white_matter", 6, 64), torch.arange(6), seed=6)
        for s in (scanner, replace(scanner, k_space=0.5))
    )
    kept = (2 * 16 + 1) ** 2 / 64**2
    # 6 * 33^2 independent coefficients: relative sd of the variance sqrt(2/6534) = 1.7 %; 4 of them
    assert float(half.var() / full.var()) == pytest.approx(kept, rel=0.08)


def test_gain_is_a_unit():
    shares = torch.full((1, 4, 20, 20), 0.2)
    once, thrice = (
        replace(FLAIR, gain=g).acquire(shares, torch.arange(1), seed=7) for g in (1.0, 3.0)
    )
    torch.testing.assert_close(thrice, 3 * once, rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tr_ms": 0.0}, "tr_ms is 0.0; it must be positive"),
        ({"snr": -1.0}, "snr is -1.0; it must be positive"),
        ({"gain": float("nan")}, "gain is nan; it must be positive"),
        ({"k_space": 0.0}, r"k_space is 0.0; it is a fraction in \(0, 1\]"),
        ({"k_space": 1.5}, "k_space is 1.5; it is a fraction"),
        ({"ti_ms": 9000.0}, "ti_ms is 9000.0; it must lie between 0 and tr_ms"),
    ],
)
def test_impossible_scanners(change, message):
    with pytest.raises(ValueError, match=message):
        replace(FLAIR, **change)
