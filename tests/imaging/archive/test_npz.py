"""Arrays from npz files: as numpy reads them, where numpy may be trusted to."""

from __future__ import annotations

import math
import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from medxfer_lab.imaging.archive import npz
from medxfer_lab.imaging.archive.errors import ArchiveError
from medxfer_lab.imaging.archive.limits import Limits
from tests.imaging.archive import archives

DTYPES = (
    "uint8",
    "bool",
    "int16",
    ">i4",
    "<u2",
    ">f8",
    "float32",
    "float16",
    "int64",
    "<U5",
    ">U3",
)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_plain_type_is_what_numpy_reads(tmp_path, save, dtype):
    rng = np.random.default_rng(0)
    array = rng.integers(0, 2 if dtype == "bool" else 100, (7, 3, 2)).astype(dtype)
    save(tmp_path / "a.npz", x=array, columns=np.asfortranarray(array), one=array[0, 0, 0])
    with np.load(tmp_path / "a.npz") as expected:
        for name in expected.files:
            found = npz.read(tmp_path / "a.npz", name)
            np.testing.assert_array_equal(found, expected[name])
            assert found.dtype == expected[name].dtype.newbyteorder("=") and found.dtype.isnative


@given(
    array=hnp.arrays(np.int32, hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=6)),
    data=st.data(),
)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_rows_are_the_rows(tmp_path, array, data):
    np.savez_compressed(tmp_path / "a.npz", x=array)
    n = len(array)
    rows = np.array(sorted(data.draw(st.sets(st.integers(0, n - 1)))) if n else [], dtype=int)
    np.testing.assert_array_equal(npz.read(tmp_path / "a.npz", "x", rows), array[rows])


def test_headers_read_no_numbers(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros((1000, 1000)), y=np.arange(3, dtype=">u2"))
    tracemalloc.start()
    found = npz.headers(tmp_path / "a.npz")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (found["x"].shape, found["x"].nbytes) == ((1000, 1000), 8_000_000)
    assert (found["y"].shape, found["y"].dtype) == ((3,), np.dtype(">u2"))
    assert peak < 1_000_000


def test_memory_is_that_of_the_rows_kept(tmp_path):
    """50 of 20,000 rows of 1 kB: half a stretch's worth, not 20 MB."""
    array = np.random.default_rng(0).integers(0, 256, (20_000, 1000), dtype=np.uint8)
    np.savez_compressed(tmp_path / "a.npz", x=array)
    rows = np.arange(0, 20_000, 400)
    tracemalloc.start()
    found = npz.read(tmp_path / "a.npz", "x", rows)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(found, array[rows])
    assert peak < 1_000_000


def test_rows_must_be_increasing_and_there(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros((4, 2)), f=np.asfortranarray(np.zeros((4, 2))))
    for rows in ([1, 1], [2, 1], [-1], [[0]]):
        with pytest.raises(ValueError, match="increasing"):
            npz.read(tmp_path / "a.npz", "x", np.array(rows))
    with pytest.raises(ArchiveError, match="has 4 rows; expected row 4"):
        npz.read(tmp_path / "a.npz", "x", np.array([4]))
    with pytest.raises(ArchiveError, match="f is in column order"):
        npz.read(tmp_path / "a.npz", "f", np.array([1]))


def test_limits_are_named(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros(5000))
    for limits, words in (
        (Limits(values=4999), r"5,000 values.*at most 4,999.*Limits\(values="),
        (Limits(inflated_bytes=40_000), r"unpacks to 40,128 bytes.*Limits\(inflated_bytes="),
        (Limits(file_bytes=1000), r"at most 1,000.*Limits\(file_bytes="),
    ):
        with pytest.raises(ArchiveError, match=words):
            npz.read(tmp_path / "a.npz", "x", limits=limits)


def test_an_array_that_is_not_there(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros(5), y=np.zeros(2))
    with pytest.raises(ArchiveError, match="holds no array 'z'; expected one of: x, y"):
        npz.read(tmp_path / "a.npz", "z")


HEADER = "{'descr': %s, 'fortran_order': %s, 'shape': %s, }"
BAD_HEADERS = {
    "object": ("'|O'", "False", "(2,)"),
    "structured": ("[('a', '<i4')]", "False", "(2,)"),
    "subarray": ("('<i4', (9, 9))", "False", "(2,)"),
    "void": ("'|V16'", "False", "(1,)"),
    "complex": ("'<c16'", "False", "(1,)"),
    "date": ("'<M8[s]'", "False", "(2,)"),
    "long text": ("'<U99999'", "False", "(1,)"),
    "bytes": ("'|S16'", "False", "(1,)"),
    "order as number": ("'<i4'", "1", "(4,)"),
    "negative": ("'<i4'", "False", "(-4, -1)"),
    "float size": ("'<i4'", "False", "(4.0,)"),
    "bool size": ("'<i4'", "False", "(True, 4)"),
    "list": ("'<i4'", "False", "[4]"),
    "too many axes": ("'<i4'", "False", "(1, 1, 1, 1, 1, 1, 4)"),
    "absurd": ("'<i4'", "False", "(2**9, 4)"),
    "overflow": ("'<i4'", "False", f"({2**62}, 4)"),
    "wraps to the right size": ("'<i4'", "False", f"({2**32}, {2**32}, 4)"),
    "too large": ("'<i4'", "False", "(5,)"),
    "too small": ("'<i4'", "False", "(3,)"),
    "code": ("__import__('os').getcwd()", "False", "(4,)"),
}


@pytest.mark.parametrize("case", BAD_HEADERS)
def test_bad_headers(tmp_path, case):
    member = archives.npy_with(HEADER % BAD_HEADERS[case], bytes(16))
    archives.pack({"x.npy": member}, tmp_path / "a.npz")
    with pytest.raises(ArchiveError, match="x"):
        npz.headers(tmp_path / "a.npz")


def test_the_same_header_said_well(tmp_path):
    member = archives.npy_with(HEADER % ("'<i4'", "False", "(4,)"), bytes(16))
    archives.pack({"x.npy": member}, tmp_path / "a.npz")
    assert npz.read(tmp_path / "a.npz", "x").tolist() == [0] * 4
    for version in (2, 3):
        member = archives.npy_with(HEADER % ("'<i4'", "False", "(4,)"), bytes(16), version)
        archives.pack({"x.npy": member}, tmp_path / "a.npz")
        assert npz.headers(tmp_path / "a.npz")["x"].shape == (4,)


@pytest.mark.parametrize(
    "text", ["{", "(" * 3000, "-" * 4000 + "1", "{'descr': '<i4'}", "[]", "\0"]
)
def test_headers_that_are_no_header(tmp_path, text):
    archives.pack({"x.npy": archives.npy_with(text, bytes(16))}, tmp_path / "a.npz")
    with pytest.raises(ArchiveError, match="the header of x"):
        npz.headers(tmp_path / "a.npz")


def test_a_header_that_claims_gigabytes(tmp_path):
    member = b"\x93NUMPY\x02\x00" + (2**31).to_bytes(4, "little") + bytes(100)
    archives.pack({"x.npy": member}, tmp_path / "a.npz")
    with pytest.raises(ArchiveError, match="the header of x has 2,147,483,648 bytes"):
        npz.headers(tmp_path / "a.npz")


@pytest.mark.parametrize(
    "name",
    ["../x.npy", "/x.npy", "a/x.npy", "..\\x.npy", "C:x.npy", "x", ".npy", "x.npy/", "é.npy"],
)
def test_member_names_are_plain(tmp_path, name):
    archives.pack({name: archives.npy(np.zeros(3))}, tmp_path / "a.npz")
    with pytest.raises(ArchiveError, match="holds a member called .*plain names"):
        npz.headers(tmp_path / "a.npz")


def plain_member() -> bytes:
    return archives.npy(np.arange(4))


def test_hand_made_zip_is_read(tmp_path):
    """The oracle of the next tests: the same bytes, nothing wrong."""
    data = plain_member()
    good = archives.raw_zip([("x.npy", data, len(data), zlib.crc32(data))], method=0)
    (tmp_path / "a.npz").write_bytes(good)
    assert npz.read(tmp_path / "a.npz", "x").tolist() == [0, 1, 2, 3]
    assert np.load(tmp_path / "a.npz")["x"].tolist() == [0, 1, 2, 3]
    bad = archives.raw_zip([("x.npy", data, len(data), zlib.crc32(data) ^ 1)], method=0)
    (tmp_path / "a.npz").write_bytes(bad)
    with pytest.raises(ArchiveError, match="CRC"):
        npz.read(tmp_path / "a.npz", "x")


@pytest.mark.parametrize(
    ("flags", "method", "words"),
    [(1, 0, "encrypted"), (0x40, 0, "encrypted"), (0, 12, "method 12"), (0, 99, "method 99")],
)
def test_ways_of_packing_that_are_refused(tmp_path, flags, method, words):
    data = plain_member()
    (tmp_path / "a.npz").write_bytes(
        archives.raw_zip([("x.npy", data, len(data), 0)], flags, method)
    )
    with pytest.raises(ArchiveError, match=words):
        npz.headers(tmp_path / "a.npz")


def test_the_same_name_twice(tmp_path):
    data = plain_member()
    (tmp_path / "a.npz").write_bytes(
        archives.raw_zip([("x.npy", data, len(data), 0)] * 2, method=0)
    )
    with pytest.raises(ArchiveError, match="'x.npy' twice"):
        npz.headers(tmp_path / "a.npz")


def test_members_that_share_their_bytes(tmp_path):
    """Overlapping members make a small file unpack to a huge one: only the directory counts."""
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", plain_member())
        copy = zipfile.ZipInfo("y.npy")
        first = archive.infolist()[0]
        for key in ("header_offset", "compress_size", "file_size", "CRC"):
            setattr(copy, key, getattr(first, key))
        archive.filelist.append(copy)
    with pytest.raises(ArchiveError, match="overlaps the member before it"):
        npz.headers(tmp_path / "a.npz")


def test_too_many_members(tmp_path):
    archives.pack({f"x{k}.npy": b"" for k in range(65)}, tmp_path / "a.npz")
    with pytest.raises(ArchiveError, match="holds 65 members"):
        npz.headers(tmp_path / "a.npz")


def test_a_huge_directory_is_not_read(tmp_path):
    """30,000 empty members: 2 MB of directory, some 20 MB once zipfile has read it."""
    archives.pack({f"x{k:06d}.npy": b"" for k in range(30_000)}, tmp_path / "a.npz", 0)
    tracemalloc.start()
    with pytest.raises(ArchiveError, match="directory claims"):
        npz.headers(tmp_path / "a.npz")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


def test_a_bomb_is_not_unpacked(tmp_path):
    """256 MiB of zeros in 256 kB, refused by its ratio; and by the limit where that is lower."""
    size = 1 << 28
    header = archives.npy_with(HEADER % ("'|u1'", "False", f"({size},)"), b"")
    archives.pack_zeros(tmp_path / "a.npz", header, size, "x.npy")
    assert (tmp_path / "a.npz").stat().st_size < size // 900
    tracemalloc.start()
    with pytest.raises(ArchiveError, match="at most 500-fold"):
        npz.read(tmp_path / "a.npz", "x")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


def test_a_bomb_that_lies_about_its_length(tmp_path):
    """The directory says 1 kB, the stream holds 64 MiB: no more than 1 kB is unpacked."""
    body = bytes(896)
    header = archives.npy_with(HEADER % ("'|u1'", "False", "(896,)"), b"")
    engine = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = engine.compress(header + body + bytes(1 << 26)) + engine.flush()
    said = len(header) + 896
    check = zlib.crc32(header + body)
    (tmp_path / "a.npz").write_bytes(archives.raw_zip([("x.npy", packed, said, check)]))
    tracemalloc.start()
    try:
        assert math.prod(npz.read(tmp_path / "a.npz", "x").shape) == 896
    except ArchiveError:
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


def test_not_a_file(tmp_path):
    for path, words in ((tmp_path, "is a folder"), (tmp_path / "no.npz", "cannot be opened")):
        with pytest.raises(ArchiveError, match=words):
            npz.headers(path)
    (tmp_path / "e.npz").write_bytes(b"")
    with pytest.raises(ArchiveError, match="is empty"):
        npz.headers(tmp_path / "e.npz")
    np.save(tmp_path / "x.npy", np.zeros(3))
    with pytest.raises(ArchiveError, match="is not a zip file; expected an npz"):
        npz.headers(tmp_path / "x.npy")
