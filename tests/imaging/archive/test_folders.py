"""Folders of pictures: the pixels as written, labels by folder or table, nothing from outside."""

from __future__ import annotations

import contextlib
import os
import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch

from medxfer_lab.imaging.archive.errors import ArchiveError
from medxfer_lab.imaging.archive.folders import cohort_from_pictures, load_folder
from medxfer_lab.imaging.archive.image import Picture
from medxfer_lab.imaging.archive.limits import Limits
from medxfer_lab.imaging.archive.raster import read_picture


def pixels(seed: int, shape=(8, 10), depth: str = "uint8") -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(0, np.iinfo(depth).max + 1, shape).astype(depth)


def save(path: Path, array: np.ndarray, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(array).save(path, **options)
    return path


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "pictures"
    for k, name in enumerate(("ill/P1_a.png", "ill/P1_b.PNG", "well/P2_c.tif", "well/P3_d.png")):
        save(root / name, pixels(k))
    (root / "ill" / "notes.txt").write_text("not a picture")
    (root / ".hidden").mkdir()
    return root


def test_labels_by_subfolder(folder):
    cohort = load_folder(folder)
    assert cohort.names == ("ill/P1_a.png", "ill/P1_b.PNG", "well/P2_c.tif", "well/P3_d.png")
    for k in range(4):
        np.testing.assert_array_equal(cohort.images[k, 0].numpy(), pixels(k))
    assert cohort.labels.tolist() == [0, 0, 1, 1] and cohort.labels.dtype == torch.float32
    assert cohort.classes == ("ill", "well") and cohort.units == "0 to 255"
    assert cohort.patient_ids is None and "no patient ids" in cohort.notes[0]
    assert cohort.source == "pictures"


def test_patients_by_the_file_names(folder):
    cohort = load_folder(folder, patient=r"(P\d+)_")
    assert cohort.patient_ids.tolist() == [0, 0, 1, 2] and cohort.notes == ()
    for pattern, words in (
        (r"(Q\d)", "finds no group"),
        (r"P\d", "finds no group"),
        ("(", "no reg"),
    ):
        with pytest.raises(ArchiveError, match=words):
            load_folder(folder, patient=pattern)


def table(folder: Path, text: str) -> Path:
    path = folder.parent / "labels.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_labels_by_table(folder):
    rows = "file,label,patient,age\nwell/P3_d.png,10,z,3\nill/P1_a.png,2,y,4\nill/P1_b.PNG,0,z,5\n"
    cohort = load_folder(folder, table(folder, rows))
    assert cohort.classes == ("0", "2", "10")  # numbers in their own order
    assert cohort.labels.tolist() == [2, 1, 0] and cohort.labels.dtype == torch.int64
    assert cohort.patient_ids.tolist() == [1, 0, 1]
    np.testing.assert_array_equal(cohort.images[0, 0].numpy(), pixels(3))
    with_mark = load_folder(folder, table(folder, "\ufefffile,label\nill/P1_a.png,0\n"))
    assert len(with_mark) == 1 and with_mark.patient_ids is None


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg"])
@pytest.mark.parametrize("kind", ["grey", "colour", "deep"])
def test_every_kind_of_picture(tmp_path, suffix, kind):
    if suffix == ".jpg":
        if kind == "deep":
            return
        # a smooth picture at full quality: JPEG keeps it to within 2 greys
        array = np.add.outer(np.arange(0, 160, 10), np.arange(0, 96, 6)).astype(np.uint8)
        array = np.stack([array] * 3, -1) if kind == "colour" else array
        options, slack = {"quality": 100, "subsampling": 0}, 2
    else:
        shape = (16, 16, 3) if kind == "colour" else (16, 16)
        array = pixels(0, shape, "uint16" if kind == "deep" else "uint8")
        options, slack = {}, 0
    save(tmp_path / f"x{suffix}", array, **options)
    found, units, notes = read_picture(tmp_path / f"x{suffix}")
    expected = np.moveaxis(array, -1, 0) if kind == "colour" else array[None]
    assert np.abs(found.numpy() - expected).max() <= slack
    assert units == ("0 to 65535" if kind == "deep" else "0 to 255") and notes == ()
    grey, _, _ = read_picture(tmp_path / f"x{suffix}", grey=True)
    assert grey.shape == (1, 16, 16)
    if kind == "colour":  # ITU-R 601-2 luma
        luma = expected.transpose(1, 2, 0) @ [0.299, 0.587, 0.114]
        assert np.abs(grey[0].numpy() - luma).max() <= 1 + slack


def test_palette_transparency_and_black_and_white(tmp_path):
    colour = pixels(0, (8, 8, 3))
    PIL.Image.fromarray(colour).quantize(16).save(tmp_path / "p.png")
    expected = np.array(PIL.Image.fromarray(colour).quantize(16).convert("RGB"))
    found, _, _ = read_picture(tmp_path / "p.png")
    np.testing.assert_array_equal(found.numpy(), np.moveaxis(expected, -1, 0))
    save(tmp_path / "a.png", pixels(1, (8, 8, 4)))
    found, _, notes = read_picture(tmp_path / "a.png")
    np.testing.assert_array_equal(found.numpy(), np.moveaxis(pixels(1, (8, 8, 4))[..., :3], -1, 0))
    assert notes == ("Transparency was dropped.",)
    PIL.Image.fromarray(pixels(2) > 99).save(tmp_path / "b.png")
    found, _, _ = read_picture(tmp_path / "b.png")
    np.testing.assert_array_equal(found[0].numpy(), 255.0 * (pixels(2) > 99))


def png(width: int, height: int, depth: int, colour: int, data: bytes) -> bytes:
    """A PNG made by hand, for what Pillow does not write."""
    out = b"\x89PNG\r\n\x1a\n"
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    for name, body in ((b"IHDR", head), (b"IDAT", zlib.compress(data)), (b"IEND", b"")):
        out += struct.pack(">I", len(body)) + name + body
        out += struct.pack(">I", zlib.crc32(name + body))
    return out


def test_colour_of_16_bits_is_said_to_lose_8(tmp_path):
    rows = pixels(0, (4, 5, 3), "uint16")
    data = b"".join(b"\0" + row.astype(">u2").tobytes() for row in rows)
    (tmp_path / "x.png").write_bytes(png(5, 4, 16, 2, data))
    found, units, notes = read_picture(tmp_path / "x.png")
    assert units == "0 to 255" and "16 bits was read as 8 bits" in notes[0]
    assert np.abs(found.numpy() - np.moveaxis(rows, -1, 0) / 257).max() <= 1


def test_mixed_sizes_are_an_error_or_resized(folder):
    save(folder / "well" / "big.png", pixels(9, (16, 20)))
    with pytest.raises(ArchiveError, match="is 16 x 20 with 1 channel of 0 to 255, but 'ill/P1_a"):
        load_folder(folder)
    cohort = load_folder(folder, size=4)
    assert cohort.images.shape == (5, 1, 4, 4) and "aspect ratio" in cohort.notes[0]
    big = cohort.names.index("well/big.png")
    means = pixels(9, (16, 20)).reshape(4, 4, 4, 5).mean((1, 3))
    np.testing.assert_allclose(cohort.images[big, 0].numpy(), means, rtol=1e-5)


@pytest.mark.parametrize(
    ("other", "words"),
    [(pixels(9, (8, 10, 3)), "3 channels"), (pixels(9, depth="uint16"), "0 to 65535")],
)
def test_mixed_kinds_are_an_error(folder, other, words):
    save(folder / "well" / "z.png", other)
    with pytest.raises(ArchiveError, match=f"{words}.*grey=True to drop colour"):
        load_folder(folder, size=4)
    if other.ndim == 3:
        assert load_folder(folder, grey=True).images.shape == (5, 1, 8, 10)


def test_links_are_refused(folder, tmp_path):
    outside = save(tmp_path / "secret.png", pixels(5))
    os.symlink(outside, folder / "well" / "link.png")
    with pytest.raises(ArchiveError, match="is a link or lies outside"):
        load_folder(folder)
    (folder / "well" / "link.png").unlink()
    os.symlink(folder / "ill", folder / "zz")  # a folder: its pictures would count twice
    with pytest.raises(ArchiveError, match="is a link or lies outside"):
        load_folder(folder)


@pytest.mark.parametrize(
    "name",
    ["../secret.png", "/etc/hostname", "ill/../../secret.png", "ill/\0.png"],
)
def test_tables_cannot_lead_outside(folder, tmp_path, name):
    save(tmp_path / "secret.png", pixels(5))
    with pytest.raises(ArchiveError):
        load_folder(folder, table(folder, f'file,label\n"{name}",1\nill/P1_b.PNG,0\n'))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name,label\nx,1\n", r"has the columns \['name', 'label'\]; expected file, label"),
        ("", "is empty"),
        ("file,label\n", "has no rows"),
        ("file,label\nill/P1_a.png\n", "line 2 lacks its file or label"),
        ("file,label\nill/P1_a.png,\n", "line 2 lacks"),
        ("file,label\nill/none.png,1\n", "cannot be opened"),
        ("file,label\nill,1\n", "is a folder"),
        ('file,label\n"ill/P1_a.png,1\n', "reading the table failed"),
        (
            "file,label,patient\nill/P1_a.png,1,a\nill/P1_b.PNG,1,\n",
            "1 of 2 pictures .* no patient",
        ),
        ("file,label\n" + "x" * 200_000 + ",1\n", "reading the table failed"),
    ],
)
def test_tables_that_are_wrong(folder, text, words):
    with pytest.raises(ArchiveError, match=words):
        load_folder(folder, table(folder, text))


def test_a_table_in_another_encoding(folder):
    path = folder.parent / "labels.csv"
    path.write_bytes("file,label\nill/P1_a.png,krank-\xe4\n".encode("latin-1"))
    with pytest.raises(ArchiveError, match="reading the table failed .UnicodeDecodeError"):
        load_folder(folder, path)


def test_folders_that_are_wrong(tmp_path, folder):
    with pytest.raises(ArchiveError, match="is no folder"):
        load_folder(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ArchiveError, match="has no pictures in subfolders.*name a table"):
        load_folder(tmp_path / "empty")
    with pytest.raises(ArchiveError, match="too many pictures"):
        load_folder(folder, limits=Limits(files=3))
    with pytest.raises(ArchiveError, match="brings the folder to 320 values"):
        load_folder(folder, limits=Limits(values=319))


def test_several_pages_in_one_file(tmp_path):
    pages = [PIL.Image.fromarray(pixels(k)) for k in range(3)]
    pages[0].save(tmp_path / "x.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(ArchiveError, match="holds 3 pictures"):
        read_picture(tmp_path / "x.tif")


@pytest.mark.parametrize("kind", ["GIF", "BMP", "WEBP", "PPM", "EPS"])
def test_other_formats_are_not_tried(tmp_path, kind):
    """By content, whatever the name says: EPS would start another program."""
    PIL.Image.fromarray(pixels(0, (8, 8, 3))).save(tmp_path / "x.png", format=kind)
    with pytest.raises(ArchiveError, match="reading the picture failed"):
        read_picture(tmp_path / "x.png")


def test_cmyk_and_real_numbers(tmp_path):
    PIL.Image.fromarray(pixels(0, (8, 8, 3))).convert("CMYK").save(tmp_path / "x.jpg")
    with pytest.raises(ArchiveError, match="has mode CMYK; expected grey of 8 or 16 bits"):
        read_picture(tmp_path / "x.jpg")
    PIL.Image.fromarray(pixels(0).astype(np.float32)).save(tmp_path / "x.tif")
    with pytest.raises(ArchiveError, match="has mode F"):
        read_picture(tmp_path / "x.tif")
    PIL.Image.fromarray(np.full((4, 4), 70_000, np.int32)).save(tmp_path / "y.tif")
    with pytest.raises(ArchiveError, match="from 70000 to 70000; expected 0 to 65535"):
        read_picture(tmp_path / "y.tif")


@pytest.mark.parametrize(
    ("width", "height"), [(2**31 - 1, 2**31 - 1), (70_000, 10), (16_000, 16_000)]
)
def test_a_picture_that_claims_too_much(tmp_path, width, height):
    (tmp_path / "x.png").write_bytes(png(width, height, 8, 0, bytes(100)))
    with pytest.raises(ArchiveError):
        read_picture(tmp_path / "x.png")


def picture(k: int, **more) -> Picture:
    known = {
        "pixels": torch.full((1, 1, 4, 5), float(k)),
        "units": "HU",
        "source": f"scans/{k}.dcm",
        "spacing_mm": (None, 0.5, 0.25),
        "patient_id": f"P{k // 2}",
        "notes": ("rescaled",),
    }
    return Picture(**{**known, **more})


def test_pictures_become_a_cohort():
    cohort = cohort_from_pictures([picture(k) for k in range(4)], ["b", "a", "a", "c"])
    assert cohort.images.shape == (4, 1, 4, 5) and cohort.images[3].unique().tolist() == [3.0]
    assert cohort.labels.tolist() == [1, 0, 0, 2] and cohort.classes == ("a", "b", "c")
    assert cohort.patient_ids.tolist() == [0, 0, 1, 1] and cohort.units == "HU"
    assert cohort.spacing_mm.tolist() == [[0.5, 0.25]] * 4
    assert cohort.names[2] == "2.dcm" and cohort.notes == ("rescaled",)


def test_volumes_become_a_cohort():
    volume = torch.arange(60.0).reshape(3, 1, 4, 5)
    pictures = [
        picture(k, pixels=volume + k, spacing_mm=(2.0, 0.5, 0.25), slices=True) for k in range(2)
    ]
    cohort = cohort_from_pictures(pictures, [0, 1])
    assert cohort.images.shape == (2, 1, 3, 4, 5)
    assert torch.equal(cohort.images[1, 0], volume[:, 0] + 1)
    assert cohort.spacing_mm.tolist() == [[2.0, 0.5, 0.25]] * 2
    assert cohort.labels.dtype == torch.float32
    cine = [picture(k, pixels=volume) for k in range(2)]
    with pytest.raises(ArchiveError, match="3 frames that are no slices.*Choose one frame"):
        cohort_from_pictures(cine, [0, 1])


def test_pictures_of_which_less_is_known():
    nothing = {"spacing_mm": None, "patient_id": None}
    cohort = cohort_from_pictures([picture(0, **nothing), picture(1, **nothing)], [0, 1])
    assert cohort.spacing_mm is None and cohort.patient_ids is None
    half = [picture(0), picture(1, spacing_mm=None)]
    assert cohort_from_pictures(half, [0, 1]).spacing_mm is None
    with pytest.raises(ArchiveError, match="1 of 2 pictures of the files have no patient"):
        cohort_from_pictures([picture(0), picture(1, patient_id=None)], [0, 1])


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"units": "stored values"}, "different units"),
        ({"pixels": torch.ones(1, 1, 9, 9)}, "sizes"),
    ],
)
def test_pictures_that_do_not_fit(other, words):
    with pytest.raises(ArchiveError, match=words):
        cohort_from_pictures([picture(0), picture(1, **other)], [0, 1])
    with pytest.raises(ArchiveError, match="2 pictures and 1 labels"):
        cohort_from_pictures([picture(0), picture(1)], [0])
    with pytest.raises(ArchiveError, match="0 pictures"):
        cohort_from_pictures([], [])


def test_a_damaged_chunk_length_sets_no_memory_aside(tmp_path):
    """A PNG whose pixels claim half a GiB: Pillow asks for all of it at once."""
    good = png(4, 4, 8, 0, bytes(20))
    (tmp_path / "x.png").write_bytes(good[:33] + struct.pack(">I", 2**29) + good[37:])
    tracemalloc.start()
    with contextlib.suppress(ArchiveError):  # every pixel is there
        read_picture(tmp_path / "x.png")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20


def test_names_that_cannot_be_printed(folder):
    with pytest.raises(ArchiveError, match="names that can be printed. Rename it") as caught:
        load_folder(folder, table(folder, "file,label\nill/\x1b[2Jx.png,1\n"))
    assert str(caught.value).isprintable()
