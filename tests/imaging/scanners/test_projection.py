"""Projection and back-projection against scikit-image, integrals, Gaussians and autograd.

Where scikit-image and we differ, the test says why and shows that nothing else differs.
"""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.signal import get_window
from skimage.transform import iradon, radon

from medxfer_lab.imaging.scanners.projection import KERNELS, ParallelBeam, ramp_kernel

# sums of some 400 products of numbers up to about 100, in float64
ROUNDING = 400 * 100 * np.finfo(float).eps
BEAMS = [ParallelBeam(64, 60), ParallelBeam(65, 45), ParallelBeam(33, (0.0, 17.0, 45.0, 90.0, 171))]


def pictures(beam: ParallelBeam, n: int = 2, seed: int = 0) -> np.ndarray:
    """Random images, zero outside the circle."""
    return np.random.default_rng(seed).random((n, beam.size, beam.size)) * beam.circle()


def skimage_radon(images: np.ndarray, beam: ParallelBeam, **options) -> np.ndarray:
    return np.stack([radon(i, theta=beam.angles_deg, **options).T for i in images])


def skimage_iradon(sinograms: np.ndarray, beam: ParallelBeam, **options) -> np.ndarray:
    return np.stack([iradon(s.T, theta=beam.angles_deg, **options) for s in sinograms])


def ours(sinograms: np.ndarray, beam: ParallelBeam, kernel: str | None = "sharp") -> np.ndarray:
    return beam.backproject(torch.from_numpy(sinograms.copy()), kernel).numpy()


def farthest(beam: ParallelBeam) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest detector position that each pixel's rays hit, over all views."""
    y, x = np.mgrid[: beam.size, : beam.size] - beam.size // 2
    angle = np.deg2rad(beam.angles_deg)[:, None, None]
    position = x * np.cos(angle) - y * np.sin(angle) + beam.width // 2
    return position.min(0), position.max(0)


@pytest.mark.parametrize("beam", BEAMS, ids=str)
def test_projection_is_scikit_image_s_in_every_ray(beam):
    images = pictures(beam)
    found = beam.project(torch.from_numpy(images)).numpy()
    assert found.shape == (2, len(beam.angles_deg), beam.size)
    assert np.abs(found - skimage_radon(images, beam)).max() < ROUNDING


@pytest.mark.parametrize("size", [50, 65])
def test_projection_with_corners_is_scikit_image_s(size):
    beam = ParallelBeam(size, 30, detectors=math.ceil(math.sqrt(2) * size))
    images = np.random.default_rng(1).random((2, size, size))
    found = beam.project(torch.from_numpy(images)).numpy()
    assert np.abs(found - skimage_radon(images, beam, circle=False)).max() < ROUNDING


@pytest.mark.parametrize("beam", BEAMS, ids=str)
def test_reconstruction_is_scikit_image_s_in_every_pixel(beam):
    sinograms = skimage_radon(pictures(beam), beam)
    apart = np.abs(ours(sinograms, beam) - skimage_iradon(sinograms, beam))
    assert apart.max() < ROUNDING


def test_single_precision_differs_by_rounding_only():
    beam = BEAMS[0]
    images = pictures(beam).astype(np.float32)
    sinograms = beam.project(torch.from_numpy(images))
    assert sinograms.dtype == torch.float32
    reference = skimage_radon(images.astype(float), beam)
    # at most 4 x 64 terms a ray, whose magnitudes add up to the ray itself
    bound = 256 * np.finfo(np.float32).eps * reference.max()
    assert np.abs(sinograms.numpy() - reference).max() < bound
    back = beam.backproject(sinograms).numpy()
    # the filter takes differences: magnitudes add up to the ray's highest times sum |h| < 1/2
    bound = (256 + 64 + 2 * 60) * np.finfo(np.float32).eps * reference.max() * 0.5 * math.pi
    assert np.abs(back - skimage_iradon(reference, beam)).max() < bound


def test_the_rim_differs_only_when_the_filtered_view_ends_with_the_detector():
    """What an even number of detectors does at the rim of the circle.

    Detectors reach from -32 to 31 pixels, the circle to +32. scikit-image pads the views before it
    filters them, so the ramp's tail is there to be read at 32; a filtered view as wide as the
    detector has nothing between 31 and 32. That is 2.5 % of all pixels at 64 px and 60 views.
    """
    beam = BEAMS[0]
    sinograms = skimage_radon(pictures(beam), beam)
    lag = np.abs(np.subtract.outer(np.arange(64), np.arange(64)))
    filtered = sinograms @ ramp_kernel("sharp", 64)[lag]
    y, x = np.mgrid[:64, :64] - 32
    short = np.zeros((2, 64, 64))
    for view, angle in enumerate(np.deg2rad(beam.angles_deg)):
        position = x * np.cos(angle) - y * np.sin(angle)
        for image, line in zip(short, filtered[:, view]):
            image += np.interp(position, np.arange(64) - 32, line, left=0, right=0)
    short *= beam.circle() * math.pi / 60
    differs = (np.abs(short - skimage_iradon(sinograms, beam)) > ROUNDING).any(0)
    past_the_last = (farthest(beam)[1] > 63 + 1e-9) & beam.circle()
    assert (differs == past_the_last).all()
    assert differs.mean() == pytest.approx(0.025, abs=0.001)


@pytest.mark.parametrize(("size", "detectors"), [(64, 91), (65, 92), (50, 71)])
def test_corners_differ_only_where_scikit_image_runs_out_of_detector(size, detectors):
    """Without a circle scikit-image does not pad, and its corners lose what falls beyond.

    We keep the ramp's tail there, or give 0 where some view does not see the pixel at all.
    Given zeros beyond the detector, so that its filtered views go on, scikit-image agrees with us
    wherever every view sees the pixel.
    """
    beam = ParallelBeam(size, 30, detectors)
    images = np.random.default_rng(2).random((2, size, size))
    sinograms = skimage_radon(images, beam, circle=False)
    plain = skimage_iradon(sinograms, beam, circle=False, output_size=size)
    mine = ours(sinograms, beam)
    low, high = farthest(beam)
    unseen = (low < -1e-9) | (high > detectors - 1 + 1e-9) | ~beam.circle()
    differs = (np.abs(mine - plain) > ROUNDING).any(0)
    assert differs.any() and (differs == unseen).all()
    longer = np.pad(sinograms, ((0, 0), (0, 0), (4, 4)))
    padded = skimage_iradon(longer, beam, circle=False, output_size=size)
    assert np.abs(mine - padded * beam.circle()).max() < ROUNDING


def test_hann_window_differs_from_scikit_image_s_by_its_centre(monkeypatch):
    """scikit-image shifts a *symmetric* window of even length, half a sample off zero frequency.

    With the periodic window, whose middle is frequency 0, no pixel differs.
    """
    beam = BEAMS[0]
    sinograms = skimage_radon(pictures(beam), beam)
    mine = ours(sinograms, beam, "smooth")
    off_centre = skimage_iradon(sinograms, beam, filter_name="hann")
    assert 1e-4 < np.abs(mine - off_centre).max() < 1e-2
    monkeypatch.setattr(np, "hanning", lambda n: get_window("hann", n, fftbins=True))
    centred = skimage_iradon(sinograms, beam, filter_name="hann")
    assert np.abs(mine - centred).max() < ROUNDING


def test_unfiltered_back_projection_is_scikit_image_s():
    beam = BEAMS[1]
    sinograms = skimage_radon(pictures(beam), beam)
    # without a filter scikit-image keeps the 1/2 that its ramp's factor of 2 cancels
    plain = 2 * skimage_iradon(sinograms, beam, filter_name=None)
    assert np.abs(ours(sinograms, beam, None) - plain).max() < 60 * ROUNDING


@pytest.mark.parametrize("kernel", KERNELS)
def test_kernel_is_the_integral_of_its_spectrum(kernel):
    """h(k) = integral from -1/2 to 1/2 of |f| W(f) exp(2 pi i f k) df."""

    def spectrum(f: float) -> float:
        return f * ((1 + math.cos(2 * math.pi * f)) / 2 if kernel == "smooth" else 1.0)

    found = ramp_kernel(kernel, 9)
    for k in range(9):
        value, _ = quad(lambda f, k=k: 2 * spectrum(f) * math.cos(2 * math.pi * f * k), 0, 0.5)
        assert found[k] == pytest.approx(value, abs=1e-12)


def blob(beam: ParallelBeam, x: float, y: float, width: float) -> torch.Tensor:
    """A Gaussian of height 1, x to the right and y down from the axis: (1, size, size) float64."""
    row, column = np.mgrid[: beam.size, : beam.size] - beam.size // 2
    squares = (column - x) ** 2 + (row - y) ** 2
    return torch.from_numpy(np.exp(-squares / (2 * width**2)))[None]


def test_a_gaussian_projects_to_a_gaussian_and_comes_back():
    """Its Radon transform is known: sqrt(2 pi) w exp(-(t - t0)^2 / 2 w^2) at every angle.

    Linear interpolation in two directions is off by at most (|f_xx| + |f_yy|)/8; along a ray the
    second derivatives of a Gaussian integrate to less than 3/w^2 of the ray: relative error
    3/(8 w^2). Back-projection interpolates once more, in one direction.
    """
    beam, width = ParallelBeam(64, 90), 5.0
    image = blob(beam, 9.0, -6.0, width)
    sinogram = beam.project(image)[0].numpy()
    angle = np.deg2rad(beam.angles_deg)[:, None]
    centre = 9.0 * np.cos(angle) + 6.0 * np.sin(angle)
    t = np.arange(64) - 32
    peak = math.sqrt(2 * math.pi) * width
    exact = peak * np.exp(-((t - centre) ** 2) / (2 * width**2))
    assert np.abs(sinogram - exact).max() < 3 / (8 * width**2) * peak
    back = beam.backproject(torch.from_numpy(sinogram)[None])
    assert (back - image).abs().max() < 2 * 3 / (8 * width**2)


def test_transposes_are_adjoint():
    beam = ParallelBeam(24, 20, detectors=31)
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(1, 24, 24, dtype=torch.float64, generator=generator, requires_grad=True)
    sinogram = torch.randn(1, 20, 31, dtype=torch.float64, generator=generator)
    product = (beam.project(image) * sinogram).sum()
    (transposed,) = torch.autograd.grad(product, image)
    dense = torch.stack(  # column after column, by brute force
        [
            beam.project(torch.eye(576, dtype=torch.float64)[k].view(1, 24, 24)).flatten()
            for k in range(576)
        ]
    )
    assert torch.allclose(transposed.flatten(), dense @ sinogram.flatten(), atol=1e-12)


def test_gradients_to_second_order():
    beam = ParallelBeam(5, 3)
    generator = torch.Generator().manual_seed(1)
    image = torch.randn(2, 5, 5, dtype=torch.float64, generator=generator, requires_grad=True)

    def there_and_back(x: torch.Tensor) -> torch.Tensor:
        return beam.backproject(beam.project(x) ** 2, "smooth")

    assert torch.autograd.gradcheck(there_and_back, image)
    assert torch.autograd.gradgradcheck(there_and_back, image)


def test_an_image_does_not_depend_on_its_batch():
    beam = ParallelBeam(32, 24)
    images = torch.rand(70, 32, 32, generator=torch.Generator().manual_seed(2))
    together = beam.backproject(beam.project(images))
    for k in (0, 63, 64, 69):
        alone = beam.backproject(beam.project(images[k : k + 1]))
        assert torch.allclose(alone[0], together[k], atol=1e-6)
    assert beam.project(images[:0]).shape == (0, 24, 32)


def test_building_warns_of_nothing():
    """In a process of its own: torch warns of its sparse format once, and pages must stay quiet."""
    code = (
        "import torch; from medxfer_lab.imaging.scanners.projection import ParallelBeam as P; "
        "b = P(8, 4); b.backproject(b.project(torch.ones(1, 8, 8)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_agrees():
    beam = BEAMS[0]
    images = torch.from_numpy(pictures(beam, 70)).float()
    there = beam.backproject(beam.project(images.cuda()))
    assert there.is_cuda
    assert torch.allclose(there.cpu(), beam.backproject(beam.project(images)), atol=1e-5)


def test_errors_name_the_way_out():
    beam = ParallelBeam(16, 8)
    with pytest.raises(ValueError, match=r"images have shape \(1, 16, 15\); expected \(n, 16, 16"):
        beam.project(torch.zeros(1, 16, 15))
    with pytest.raises(ValueError, match=r"sinograms have shape .* expected \(n, 8, 16\)"):
        beam.backproject(torch.zeros(1, 16, 8))
    with pytest.raises(ValueError, match="convert them with .float"):
        beam.project(torch.zeros(1, 16, 16, dtype=torch.int64))
    with pytest.raises(ValueError, match="kernel is 'bone'; the kernels are sharp, smooth"):
        beam.backproject(torch.zeros(1, 8, 16), "bone")
    for wrong in ({"size": 1}, {"size": 8, "detectors": 1}, {"size": 8, "angles": ()}):
        with pytest.raises(ValueError, match="needs at least"):
            ParallelBeam(**wrong)
