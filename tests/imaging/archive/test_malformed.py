"""Damaged and hostile files: each is a picture all the same, or an ArchiveError; never more.

Never another exception, never a file left behind, nothing executed, nothing printed, and memory in
proportion to what is allowed. The counts are asserted, so that the harness cannot become tame.
"""

import collections
import pickle
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from medxfer_lab.imaging.archive.dicom import read_dicom
from medxfer_lab.imaging.archive.dicom_series import read_folder_of_dicom
from medxfer_lab.imaging.archive.errors import ArchiveError
from medxfer_lab.imaging.archive.limits import Limits
from medxfer_lab.imaging.archive.nifti import read_nifti
from tests.imaging.archive import mutations, samples
from tests.imaging.archive.hostile import STORED, VOXELS, Bite, hostile_dicom, hostile_nifti

SMALL = Limits(
    values=1 << 20,
    file_bytes=1 << 24,
    inflated_bytes=1 << 22,
    header_bytes=1 << 20,
    header_parts=1 << 13,
)

# hostile files whose refusal must have been for their own lie
REASONS = {
    "a-pickle": "is no",
    "absurd-rows": "at most",
    "more-rows-than-pixels": "PixelData holds 96 bytes; expected 112",
    "absurd-frames": "2,147,483,647 frames",
    "slope-overflows": "beyond float32",
    "file-element-of-4-gigabytes": "no pixel data",
    "file-pixels-of-4-gigabytes": "announces 4,294,967,280 bytes, 96 are left",
    "file-many-elements": "repeat or go back",
    "file-many-items": "60,000 items",
    "file-many-items-unclosed": "more elements",
    "rle-bomb": "RLE segment of",
    "jpeg-of-4-gigapixels": "65,520 rows x 65,520 columns",
    "j2k-of-4-exapixels": "2,147,483,648 rows",
    "deflate-bomb": "repeat or go back",
    "deflate-padding-bomb": "unpacks to more than",
    "gzip-bomb-after-header": "unpacks to more than",
    "dim-absurd-zipped": "at most",
}
BOMB_NAMES = (
    "deflate-bomb",
    "deflate-padding-bomb",
    "rle-bomb",
    "jpeg-of-4-gigapixels",
    "j2k-of-4-exapixels",
    "absurd-frames",
    "absurd-rows",
    "file-element-of-4-gigabytes",
    "file-pixels-of-4-gigabytes",
    "file-ten-thousand-sequences-deep",
    "gzip-bomb-of-zeros",
    "gzip-bomb-after-header",
    "dim-absurd",
    "dim-absurd-zipped",
)


def outcome(reader, path: Path) -> str:
    """ "read" or the start of what the refusal says; anything else fails the test."""
    before = sorted(path.parent.rglob("*"))
    try:
        picture = reader(path, limits=SMALL)
    except ArchiveError as error:
        assert path.name in str(error) and 20 < len(str(error)) < 900, str(error)
        result = str(error).split(": ", 1)[1]
    else:
        for one in picture if isinstance(picture, list) else [picture]:
            assert torch.isfinite(one.pixels).all() and one.pixels.ndim == 4
            assert one.pixels.numel() <= SMALL.values
        result = "read"
    assert sorted(path.parent.rglob("*")) == before
    return result


def tried(reader, folder: Path, inputs) -> collections.Counter:
    """How many inputs were read, how many refused."""
    counts = collections.Counter()
    for name, data in inputs:
        path = folder / f"{name}.dat"
        path.write_bytes(data)
        counts["read" if outcome(reader, path) == "read" else "refused"] += 1
        path.unlink()
    return counts


# file: (damaged copies tried, refusals that there are at least)
DICOM_SEEDS = {
    "MR_small.dcm": (140, 60),
    "MR_small_RLE.dcm": (140, 80),
    "MR_small_jp2klossless.dcm": (140, 80),
    "SC_rgb_small_odd_jpeg.dcm": (140, 80),
    "rtdose_rle.dcm": (70, 40),
    "liver_1frame.dcm": (70, 35),
    "examples_palette.dcm": (70, 35),
}


@pytest.mark.parametrize("name", DICOM_SEEDS)
def test_damaged_dicom(name, tmp_path, capfd, recwarn):
    count, least = DICOM_SEEDS[name]
    data = samples.pydicom_file(name).read_bytes()
    counts = tried(read_dicom, tmp_path, mutations.mutations(data, 3, count, head=2048))
    assert counts["refused"] >= least and counts.total() == count
    assert not recwarn.list and capfd.readouterr().err == ""


def nifti_seeds() -> dict[str, bytes]:
    turned = nibabel.affines.from_matvec(np.diag([-2.0, 2.0, 3.0]), [10, 20, 30])
    return {
        "plain": samples.nifti_bytes(VOXELS, turned),
        "zipped": samples.nifti_bytes(VOXELS, turned, zipped=True),
        "floats": samples.nifti_bytes(VOXELS.astype("f4"), turned),
        "version2": nibabel.Nifti2Image(VOXELS, turned).to_bytes(),
    }


@pytest.mark.parametrize("name", nifti_seeds())
def test_damaged_nifti(name, tmp_path, capfd, recwarn):
    data = nifti_seeds()[name]
    counts = tried(read_nifti, tmp_path, mutations.mutations(data, 4, 140, head=120))
    assert counts["refused"] >= 60 and counts.total() == 140
    assert not recwarn.list and capfd.readouterr().err == ""


def test_damaged_slices_of_a_folder(tmp_path):
    """One damaged slice among four whole ones: the volume is whole, or there is none."""
    counts = collections.Counter()
    for height in range(4):
        samples.write_dicom(tmp_path / f"{height}.dcm", STORED, **samples.slice_tags(height))
    good = (tmp_path / "3.dcm").read_bytes()
    for name, data in mutations.mutations(good, 6, 70, head=len(good)):
        (tmp_path / "3.dcm").write_bytes(data)
        before = sorted(tmp_path.rglob("*"))
        try:
            pictures = read_folder_of_dicom(tmp_path, limits=SMALL)
        except ArchiveError:
            counts["refused"] += 1
        else:
            counts["read"] += 1
            assert all(torch.isfinite(one.pixels).all() for one in pictures), name
        assert sorted(tmp_path.rglob("*")) == before
    assert counts["refused"] >= 15


@pytest.mark.parametrize("reader", [read_dicom, read_nifti])
def test_hostile_files(reader, tmp_path, capfd, recwarn):
    sentinel = tmp_path / "bitten"
    made = (hostile_dicom if reader is read_dicom else hostile_nifti)(sentinel)
    capfd.readouterr()
    said = {}
    (tmp_path / "files").mkdir()
    for name, data in made.items():
        path = tmp_path / "files" / f"{name}.dat"
        path.write_bytes(data)
        said[name] = outcome(reader, path)
        path.unlink()
    assert [name for name, text in said.items() if text == "read"] == []
    assert not sentinel.exists()
    for name, reason in REASONS.items():
        assert name not in said or reason in said[name], said[name]
    assert not recwarn.list and capfd.readouterr() == ("", "")


def test_the_bait_is_real(tmp_path):
    """The pickles among the hostile files would leave a file, were they loaded."""
    pickle.loads(pickle.dumps(Bite(tmp_path / "bitten")))
    assert (tmp_path / "bitten").exists()


BOMBS = """
import resource, sys
from pathlib import Path
from medxfer_lab.imaging.archive import ArchiveError, read_dicom, read_nifti
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in (Path(sys.argv[1]), *sorted(Path(sys.argv[1]).parent.iterdir())):
    before = peak()
    try:
        (read_nifti if path.suffix == ".nii" else read_dicom)(path)
        said = "read"
    except ArchiveError as error:
        said = "refused"
    print(path.name, said, (peak() - before) // 1024)
"""


def test_bombs_cost_little_memory(tmp_path):
    """A process of its own under the default limits; MiB by which each bomb raises its peak."""
    dicom, nifti = hostile_dicom(tmp_path), hostile_nifti(tmp_path)
    for name in BOMB_NAMES:
        made, suffix = (nifti, ".nii") if name in nifti else (dicom, ".dcm")
        (tmp_path / f"{name}{suffix}").write_bytes(made[name])
    (tmp_path / "a.nii").write_bytes(samples.nifti_bytes(VOXELS))
    (tmp_path / "a.dcm").write_bytes(samples.dicom_bytes(samples.dicom_dataset(STORED)))
    done = subprocess.run(
        [sys.executable, "-c", BOMBS, str(tmp_path / "a.dcm")],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[3],
    )
    assert done.stderr == ""
    lines = [line.split() for line in done.stdout.splitlines()]
    assert {name: said for name, said, _ in lines} == {
        path.name: "read" if path.stem == "a" else "refused" for path in tmp_path.iterdir()
    }
    grown = {name: int(size) for name, _, size in lines if not name.startswith("a.")}
    assert max(grown.values()) < 150, grown
