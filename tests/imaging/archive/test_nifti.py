"""NIfTI against nibabel's own reading, for every orientation, type and version."""

import gzip
import itertools
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from medxfer_lab.imaging.archive.errors import ArchiveError
from medxfer_lab.imaging.archive.limits import Limits
from medxfer_lab.imaging.archive.nifti import read_nifti
from tests.imaging.archive import samples

SHAPE = (5, 4, 3)
VOXELS = np.random.default_rng(7).integers(-500, 2000, size=SHAPE).astype("<i2")
LETTERS = [
    "".join(signs)
    for axes in itertools.permutations(("RL", "AP", "SI"))
    for signs in itertools.product(*axes)
]


def canonical(path, volume=None) -> np.ndarray:
    """(slices, rows, columns) as nibabel gives them: feet to head, front to back, left to right."""
    image = nibabel.as_closest_canonical(nibabel.load(path))
    data = image.get_fdata() if volume is None else image.get_fdata()[..., volume]
    return data.transpose(2, 1, 0)[:, ::-1]


def write(path, voxels, affine=None, **fields):
    path.write_bytes(samples.nifti_bytes(voxels, affine, path.suffix == ".gz", **fields))
    return path


@pytest.mark.parametrize("letters", LETTERS)
def test_every_orientation(tmp_path, letters):
    """48 ways to store the axes, each with its own spacing."""
    turn = nibabel.orientations.axcodes2ornt(letters)
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis, ((world, sign), size) in enumerate(zip(turn, (0.5, 2.0, 3.5))):
        affine[int(world), axis] = sign * size
    path = write(tmp_path / "v.nii", VOXELS, affine)
    picture = read_nifti(path)
    assert np.array_equal(picture.pixels[:, 0].numpy(), canonical(path))
    zooms = nibabel.as_closest_canonical(nibabel.load(path)).header.get_zooms()
    assert picture.spacing_mm == pytest.approx(zooms[::-1])
    assert picture.orientation == "rows to the back, columns to the right"
    assert any(f"stored as {letters}" in note for note in picture.notes)
    stored = read_nifti(path, canonical=False)
    assert np.array_equal(stored.pixels[:, 0].numpy(), VOXELS.transpose(2, 1, 0))
    assert stored.spacing_mm == pytest.approx((3.5, 2.0, 0.5))
    words = dict(zip("RLAPSI", ("right", "left", "front", "back", "head", "feet")))
    said = f"rows to the {words[letters[1]]}, columns to the {words[letters[0]]}"
    assert stored.orientation == said


@pytest.mark.parametrize(
    "kind", ["u1", "i1", "<i2", ">i2", "u2", "i4", "u4", "i8", "f4", ">f4", "f8"]
)
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_every_type(tmp_path, kind, suffix):
    voxels = np.arange(60).reshape(SHAPE).astype(kind)
    image = nibabel.Nifti1Image(voxels, np.eye(4), dtype=voxels.dtype)
    if kind.startswith(">"):
        header = image.header.as_byteswapped(">")
        image = nibabel.Nifti1Image(voxels, np.eye(4), header)
    nibabel.save(image, tmp_path / f"v{suffix}")
    picture = read_nifti(tmp_path / f"v{suffix}")
    assert np.array_equal(picture.pixels[:, 0].numpy(), canonical(tmp_path / f"v{suffix}"))


def test_nifti2_and_scaling(tmp_path):
    image = nibabel.Nifti2Image(VOXELS, np.diag([1, 2, 3, 1]))
    image.header.set_slope_inter(0.5, -1024)
    nibabel.save(image, tmp_path / "v.nii")
    picture = read_nifti(tmp_path / "v.nii")
    assert np.allclose(picture.pixels[:, 0].numpy(), canonical(tmp_path / "v.nii"))
    assert "scaled: 0.5 v -1024" in picture.notes


def test_the_resampled_mni_template(tmp_path):
    import nilearn.datasets

    image = nilearn.datasets.load_mni152_template(resolution=2)
    nibabel.save(image, tmp_path / "mni.nii")
    picture = read_nifti(tmp_path / "mni.nii")
    assert np.array_equal(
        picture.pixels[:, 0].numpy(), canonical(tmp_path / "mni.nii").astype("f4")
    )
    assert picture.spacing_mm == pytest.approx((2, 2, 2)) and picture.slices


def test_the_shipped_mni_template_stands_upright():
    import nilearn.datasets

    folder = Path(nilearn.datasets.__file__).parent / "data"
    path = next(folder.glob("mni_icbm152_t1_*.nii.gz"))
    picture = read_nifti(path)
    assert tuple(picture.pixels.shape) == (189, 1, 233, 197)
    assert np.array_equal(picture.pixels[:, 0].numpy(), canonical(path))
    brain = picture.pixels[:, 0] > 0
    # the cerebellum, low in the head, lies behind its middle row; the frontal lobe before it
    rows = torch.arange(233.0)
    low, middle = ((brain[place].sum(1) * rows).sum() / brain[place].sum() for place in (25, 90))
    assert low > middle


def test_rgb(tmp_path):
    colours = np.random.default_rng(1).integers(0, 256, size=(*SHAPE, 3)).astype("u1")
    kind = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
    voxels = colours.copy().view(kind).reshape(SHAPE)
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), tmp_path / "c.nii")
    picture = read_nifti(tmp_path / "c.nii")
    assert picture.units == "colour 0-255"
    expected = colours.transpose(2, 3, 1, 0)[:, :, ::-1]
    assert np.array_equal(picture.pixels.numpy(), expected)


def test_four_axes_want_a_choice(tmp_path):
    voxels = np.random.default_rng(2).normal(size=(*SHAPE, 6)).astype("f4")
    path = write(tmp_path / "t.nii.gz", voxels)
    with pytest.raises(ArchiveError, match=r"holds 6 volumes.*read_nifti\(path, volume=i\)"):
        read_nifti(path)
    picture = read_nifti(path, volume=4)
    assert np.array_equal(picture.pixels[:, 0].numpy(), canonical(path, 4).astype("f4"))
    with pytest.raises(ArchiveError, match="volume 6 was asked for; expected 0 to 5"):
        read_nifti(path, volume=6)
    one = write(tmp_path / "one.nii", voxels[..., :1])
    assert len(read_nifti(one)) == 3
    flat = write(tmp_path / "flat.nii", voxels[:, :, 0, 0])
    assert tuple(read_nifti(flat).pixels.shape) == (1, 1, 4, 5) and not read_nifti(flat).slices


def test_nan_is_refused_or_replaced(tmp_path):
    voxels = VOXELS.astype("f4")
    voxels[1, 2, 0] = np.nan
    path = write(tmp_path / "n.nii", voxels)
    with pytest.raises(ArchiveError, match=r"1 values that are NaN.*nan=0.0"):
        read_nifti(path)
    picture = read_nifti(path, nan=-7.0)
    assert (picture.pixels == -7).sum() == (VOXELS == -7).sum() + 1
    assert "1 voxels were NaN and became -7" in picture.notes
    voxels[1, 2, 0] = np.inf
    with pytest.raises(ArchiveError, match="infinite"):
        read_nifti(write(tmp_path / "i.nii", voxels), nan=0.0)


def test_units_of_length(tmp_path):
    affine = np.diag([0.001, 0.002, 0.003, 1])
    path = write(tmp_path / "m.nii", VOXELS, affine, xyzt_units=1)
    assert read_nifti(path).spacing_mm == pytest.approx((3, 2, 1))
    unknown = read_nifti(write(tmp_path / "u.nii", VOXELS, np.eye(4), xyzt_units=0))
    assert any("taken as mm" in note for note in unknown.notes)
    lost = read_nifti(write(tmp_path / "o.nii", VOXELS, np.eye(4), sform_code=0, qform_code=0))
    assert any("orientation not given" in note for note in lost.notes)


def test_oblique_volumes_are_said(tmp_path):
    turn = nibabel.eulerangles.euler2mat(0.2, 0.1, 0.05)
    picture = read_nifti(write(tmp_path / "o.nii", VOXELS, nibabel.affines.from_matvec(turn * 2)))
    assert picture.orientation.endswith("(oblique)")
    assert picture.spacing_mm == pytest.approx((2, 2, 2))


@pytest.mark.parametrize(
    "fields, match",
    [
        ({"dim": [3, -5, 4, 3, 1, 1, 1, 1]}, "sizes of at least 1"),
        ({"dim": [0, 5, 4, 3, 1, 1, 1, 1]}, "2 to 7 axes"),
        ({"dim": [3, 30000, 30000, 30000, 1, 1, 1, 1]}, "at most"),
        ({"dim": [5, 5, 4, 3, 1, 2, 1, 1]}, "vectors or tensors"),
        ({"dim": [3, 50, 40, 30, 1, 1, 1, 1]}, "120,352 for the voxels"),
        ({"datatype": 32, "bitpix": 64}, "type complex"),
        ({"datatype": 2304, "bitpix": 32}, "type RGBA"),
        ({"datatype": 999}, "type unknown"),
        ({"bitpix": 8}, "its bitpix is 8; expected 16"),
        ({"vox_offset": np.nan}, "vox_offset is nan"),
        ({"vox_offset": 1e12}, "vox_offset is 1e"),
        ({"vox_offset": 0}, "a whole number from 348"),
        ({"scl_slope": np.inf}, "scl_slope is inf"),
        ({"scl_slope": 1, "scl_inter": np.nan}, "scl_inter nan"),
        ({"scl_slope": 3e38}, "beyond float32"),
        ({"srow_x": [0, 0, 0, 0]}, "three independent axes"),
        ({"srow_y": [np.nan, 1, 0, 0]}, "three independent axes"),
        ({"sizeof_hdr": 9}, "sizeof_hdr is 9"),
        ({"magic": b"ni1"}, "pair of files"),
        ({"magic": b"abc"}, "is no NIfTI file"),
    ],
)
def test_absurd_headers(tmp_path, fields, match):
    with pytest.raises(ArchiveError, match=match):
        read_nifti(write(tmp_path / "a.nii", VOXELS, np.eye(4), **fields))


def test_cut_and_overlong_files(tmp_path):
    whole = samples.nifti_bytes(VOXELS)
    (tmp_path / "cut.nii").write_bytes(whole[:-1])
    with pytest.raises(ArchiveError, match="holds 471 bytes; expected 472"):
        read_nifti(tmp_path / "cut.nii")
    (tmp_path / "cut.nii.gz").write_bytes(gzip.compress(whole)[:-9])
    with pytest.raises(ArchiveError, match="without an end mark"):
        read_nifti(tmp_path / "cut.nii.gz")
    (tmp_path / "less.nii.gz").write_bytes(gzip.compress(whole[:-1]))
    with pytest.raises(ArchiveError, match="holds 471 bytes; expected 472"):
        read_nifti(tmp_path / "less.nii.gz")
    (tmp_path / "long.nii.gz").write_bytes(gzip.compress(whole + bytes(100)))
    assert len(read_nifti(tmp_path / "long.nii.gz")) == 3
    (tmp_path / "longer.nii.gz").write_bytes(gzip.compress(whole + bytes(1 << 20)))
    with pytest.raises(ArchiveError, match="unpacks to more than"):
        read_nifti(tmp_path / "longer.nii.gz")
    parts = gzip.compress(whole[:400]) + gzip.compress(whole[400:])
    (tmp_path / "parts.nii.gz").write_bytes(parts)
    assert len(read_nifti(tmp_path / "parts.nii.gz")) == 3
    with pytest.raises(ArchiveError, match="60 values; expected at most 59"):
        read_nifti(tmp_path / "parts.nii.gz", limits=Limits(values=59))
