"""MRI against Bloch's equations, Fourier sums, Bessel's ghosts, scipy's Rice and differences."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import special, stats
from scipy.integrate import solve_ivp
from scipy.optimize import brentq

from medxfer_lab.imaging.anatomy import CHANNELS
from medxfer_lab.imaging.scanners import mri
from medxfer_lab.imaging.scanners.mri import FLAIR, MRI, PRESETS, T1, at_field, nulling_ti_ms
from medxfer_lab.imaging.scanners.relaxation import (
    RELAXATION,
    RELAXATION_1_5T,
    t1_with_contrast_ms,
)

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

        found = solve_ivp(slope, (0, duration), magnetisation, "LSODA", rtol=1e-9, atol=1e-12)
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
@pytest.mark.parametrize(
    "scanner",
    [T1, FLAIR, replace(FLAIR, ti_ms=500.0), mri.FLAIR_3T, mri.T2_3T, mri.T1_POST_3T],
    ids=lambda s: f"{s.name} {s.ti_ms}",
)
def test_signal_solves_bloch_s_equations(scanner, tissue):
    _, t2, density = RELAXATION[scanner.field_t][tissue]
    t1 = t1_with_contrast_ms(tissue, scanner.field_t, scanner.contrast_agent_mmol)
    expected = bloch_signal(scanner, t1, t2, density)
    assert scanner.signal(tissue) == pytest.approx(expected, rel=1e-6, abs=1e-8)


def test_flair_nulls_fluid_and_lights_up_lesions():
    for scanner in (FLAIR, mri.FLAIR_3T):
        signals = {t: scanner.signal(t) for t in CHANNELS}
        assert signals["csf"] < 1e-12
        assert signals["lesion"] > 2 * signals["white_matter"]
        assert signals["oedema"] > 1.5 * signals["grey_matter"]
        assert signals["grey_matter"] > signals["white_matter"]
    assert T1.signal("white_matter") > T1.signal("grey_matter") > T1.signal("csf")
    assert T1.signal("lesion") < T1.signal("white_matter")


def test_sequences_look_as_they_are_taught():
    """T2 turns the order of T1 round; acute blood is dark on T2, bone silent, fat bright on T1."""
    for t1, t2, post in ((T1, mri.T2, mri.T1_POST), (mri.T1_3T, mri.T2_3T, mri.T1_POST_3T)):
        assert t1.signal("white_matter") > t1.signal("grey_matter") > t1.signal("csf")
        assert t2.signal("white_matter") < t2.signal("grey_matter") < t2.signal("csf")
        assert t2.signal("haematoma") < 0.5 * t2.signal("white_matter")
        assert max(t1.signal(t) for t in CHANNELS) == t1.signal("scalp")
        assert t1.signal("skull") < 1e-6 and t2.signal("calcification") < 1e-6
        assert post.signal("enhancing") > 1.4 * post.signal("white_matter")
        assert t1.signal("enhancing") < t1.signal("white_matter")
    assert mri.T2_3T.signal("haematoma") < 0.3 * mri.T2.signal("haematoma")


def test_contrast_between_grey_and_white_matter_at_both_fields():
    """At one TR = 500 ms the *relative* T1 contrast is no smaller at 3 T; the signal is."""

    def contrast(scanner):
        white, grey = (scanner.signal(t) for t in ("white_matter", "grey_matter"))
        return (white - grey) / white

    assert mri.T1_3T.signal("white_matter") < 0.75 * T1.signal("white_matter")
    assert contrast(mri.T1_3T) == pytest.approx(contrast(T1), rel=0.15)
    # with TR as long as white matter's T1 the same holds: contrast follows the ratio of the T1s
    matched = at_field(T1, 3.0, tr_ms=T1.tr_ms * 832 / 500)
    assert contrast(matched) == pytest.approx(contrast(T1), abs=0.03)


def test_noise_falls_as_the_field_grows():
    """Noise on the scale of a fully relaxed signal goes as 1 / B: at_field, read backwards."""
    for base, moved in ((T1, mri.T1_3T), (FLAIR, mri.FLAIR_3T), (mri.PD, mri.PD_3T)):
        noise = [s.signal("white_matter") / s.snr for s in (base, moved)]
        assert noise[1] == pytest.approx(noise[0] / 2)
        back = at_field(moved, 1.5, name=base.name)
        assert (back.snr, back.ti_ms) == (pytest.approx(base.snr), pytest.approx(base.ti_ms))
    assert at_field(FLAIR, 3.0, ti_ms=2000.0, snr=5.0).ti_ms == 2000.0
    assert at_field(FLAIR, 3.0, snr=5.0).snr == 5.0


def test_presets():
    assert len(PRESETS) == 30 and all(name == s.name for name, s in PRESETS.items())
    assert {s.field_t for s in PRESETS.values()} == {1.5, 3.0}
    shares = torch.rand(1, len(CHANNELS), 24, 24, generator=torch.Generator().manual_seed(1)) / 11
    pictures = [s.acquire(shares, torch.arange(1), seed=0) for s in PRESETS.values()]
    for i, a in enumerate(pictures):
        assert torch.isfinite(a).all() and (a >= 0).all()
        assert all(not torch.allclose(a, b, rtol=1e-3) for b in pictures[i + 1 :])


@pytest.mark.parametrize("tissue", ["csf", "white_matter"])
def test_nulling_time_is_the_root(tissue):
    t1, tr = RELAXATION_1_5T[tissue][0], 9000.0

    def longitudinal(ti: float) -> float:
        return 1 - 2 * math.exp(-ti / t1) + math.exp(-tr / t1)

    assert nulling_ti_ms(tr, tissue) == pytest.approx(brentq(longitudinal, 1, tr), rel=1e-9)


def test_partial_volume_is_the_weighted_sum():
    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.ones(len(CHANNELS) + 1), (2, 8, 9))[..., :-1]
    shares = torch.tensor(shares).float().movedim(-1, 1)
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
    air = torch.zeros(4, len(CHANNELS), 64, 64)
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
    shares = torch.rand(3, 11, 32, 32, generator=torch.Generator().manual_seed(0)) / 11
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
    shares = torch.tensor(rng.random((1, 1, height, width)) / 11).float().expand(1, 11, -1, -1)
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


def moving(shares: torch.Tensor, **motion) -> torch.Tensor:
    """The complex image before noise of one patient in a scanner without noise or bias."""
    scanner = replace(CLEAN, **motion)
    clean = CLEAN.signal("csf") * shares
    rng = np.random.default_rng(3)
    return scanner._ghosts(clean, [rng]), np.random.default_rng(3).uniform(0, 2 * math.pi)


@pytest.mark.parametrize(("width", "cycles"), [(48, 7.0), (47, 12.0), (32, 3.0)])
def test_ghosts_are_bessel_s(width, cycles):
    """Sum over m of the picture, filtered by J_m(2 pi k a), m cycles pixels to the right."""
    rng = np.random.default_rng(8)
    picture = torch.tensor(rng.random((1, 6, width)))
    spectrum = np.fft.fft(picture[0].numpy() * CLEAN.signal("csf"), axis=-1)
    amplitude = 1.7
    ghosted, phase = moving(picture, ghosting=amplitude, motion_cycles=cycles)
    frequency = np.fft.fftfreq(width, CLEAN.view.spacing_mm(width))
    # line j = 0 is the most negative frequency: theta = 2 pi cycles (k + W//2) / W + phase
    start = phase + 2 * math.pi * cycles * (width // 2) / width
    expected = np.zeros((6, width), dtype=complex)
    for m in range(-30, 31):
        filtered = np.fft.ifft(spectrum * special.jv(m, 2 * math.pi * frequency * amplitude))
        # exp(-i m theta_k) delays the picture by m cycles pixels
        expected += np.exp(-1j * m * start) * np.roll(filtered, round(m * cycles), axis=-1)
    np.testing.assert_allclose(ghosted[0].numpy(), expected, rtol=0, atol=1e-12)


def test_ghosts_of_a_bar_lie_where_theory_puts_them():
    """To first order in the motion a the ghosts are edges: |a/2 dI/dx|, 15 pixels to each side."""
    width, amplitude, cycles = 96, 1.0, 15.0
    position = torch.arange(width) - 47.0
    bar = torch.zeros(1, len(CHANNELS), 20, width)
    bar[:, 0] = torch.exp(-(position**2) / 8)  # standard deviation 2 pixels
    scanner = replace(CLEAN, ghosting=amplitude, motion_cycles=cycles)
    picture = scanner.acquire(bar, torch.arange(1), seed=1)[0, 0]
    row = picture[10] / picture.max()
    bright = position[(row > 0.03) & (position.abs() > 8)]
    assert (bright > 0).any() and (bright < 0).any()
    assert ((bright.abs() - 15).abs() <= 7).all()
    slope = position / 4 * torch.exp(-(position**2) / 8) / CLEAN.view.spacing_mm(width)  # 1/mm
    edge = (amplitude / 2 * slope).abs()
    for side in (-15, 15):
        ghost = row[47 + side - 5 : 47 + side + 6]
        # what is left out: third order, (2 pi k a)^2 / 8 at the bar's k = 1 / (2 pi 4 mm): 1 %;
        # and second ghosts, a^2/8 I'' = 1/128 of the bar, 15 pixels off: their tails
        torch.testing.assert_close(ghost, edge[42:53], rtol=0.05, atol=0.002)
    # nothing moves along the columns' own direction: every row of the bar is alike
    torch.testing.assert_close(picture, picture[:1].expand(20, -1), rtol=1e-4, atol=1e-2)


def test_ghosting_moves_signal_and_makes_none():
    """Phases leave k-space's magnitude alone: the image's energy is kept; noise is not moved."""
    rng = np.random.default_rng(0)
    picture = torch.tensor(rng.random((1, 16, 40)))
    ghosted, _ = moving(picture, ghosting=2.0)
    clean = CLEAN.signal("csf") * picture
    assert float((ghosted.abs() ** 2).sum()) == pytest.approx(float((clean**2).sum()))
    air = torch.zeros(2, len(CHANNELS), 16, 16)
    still, moved = (
        replace(T1, ghosting=g).acquire(air, torch.arange(2), seed=4) for g in (0.0, 2.0)
    )
    torch.testing.assert_close(still, moved, rtol=1e-5, atol=1e-4)
    shares = uniform("csf", 2, 16)
    tiny, none = (
        replace(T1, ghosting=g).acquire(shares, torch.arange(2), seed=4) for g in (1e-7, 0.0)
    )
    torch.testing.assert_close(tiny, none, rtol=1e-4, atol=1e-2)


SMALL = MRI(
    "all effects",
    tr_ms=2000.0,
    te_ms=60.0,
    ti_ms=600.0,
    snr=15.0,
    k_space=0.7,
    field_t=3.0,
    contrast_agent_mmol=0.3,
    ghosting=0.9,
)


def test_gradient_with_respect_to_the_tissue():
    """Autograd against central differences, float64, through every effect at once."""
    generator = torch.Generator().manual_seed(2)
    shares = torch.rand(2, len(CHANNELS), 8, 7, generator=generator, dtype=torch.float64) / 11
    ids = torch.arange(2)
    for scanner in (SMALL, replace(T1, snr=8.0)):
        assert torch.autograd.gradcheck(
            lambda x, s=scanner: s.acquire(x, ids, seed=0),
            shares.requires_grad_(),
            fast_mode=True,
            atol=1e-4,
        )
    assert SMALL.acquire(shares, ids, seed=0).dtype == torch.float64


@pytest.mark.parametrize(
    "key",
    "tr_ms te_ms ti_ms bias snr gain contrast_agent_mmol ghosting motion_cycles".split(),
)
def test_gradient_with_respect_to_the_physics(key):
    generator = torch.Generator().manual_seed(5)
    shares = torch.rand(1, len(CHANNELS), 9, 8, generator=generator, dtype=torch.float64) / 11
    probe = torch.rand(9, 8, generator=generator, dtype=torch.float64)

    def score(value):
        picture = replace(SMALL, **{key: value}).acquire(shares, torch.arange(1), seed=0)
        return (picture[0, 0] * probe).sum()

    at = torch.tensor(float(getattr(SMALL, key)), dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(score(at), at)
    value, step = float(getattr(SMALL, key)), 1e-5 * float(getattr(SMALL, key))
    difference = (score(value + step) - score(value - step)) / (2 * step)
    assert float(slope) == pytest.approx(float(difference), rel=1e-5)
    assert slope != 0


def test_gain_is_a_unit():
    shares = torch.full((1, 11, 20, 20), 0.09)
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
        ({"field_t": 7.0}, "field_t is 7.0; .* at 1.5 and 3.0 tesla: choose one of these"),
        ({"ghosting": -1.0}, "ghosting is -1.0; it must not be negative"),
        ({"contrast_agent_mmol": float("nan")}, "contrast_agent_mmol is nan; it must not be neg"),
    ],
)
def test_impossible_scanners(change, message):
    with pytest.raises(ValueError, match=message):
        replace(FLAIR, **change)


def test_fractions_of_the_wrong_kind():
    with pytest.raises(ValueError, match=r"shape \(2, 4, 8, 8\); expected \(n, 11, H, W\)"):
        FLAIR.acquire(torch.zeros(2, 4, 8, 8), torch.arange(2), seed=0)
    with pytest.raises(ValueError, match=r"a slice of a volume is fractions\[:, :, k\]"):
        FLAIR.acquire(torch.zeros(2, 11, 3, 8, 8), torch.arange(2), seed=0)
