"""Limits: what is refused, when, and how little memory the refusal takes."""

import gzip
import io
import logging
import os
import tracemalloc
import warnings
import zlib

import pytest

from medxfer_lab.imaging.archive.errors import ArchiveError, refusal, shown
from medxfer_lab.imaging.archive.limits import (
    Clipped,
    Limits,
    check_file,
    guarded,
    inflated,
    opened,
    quiet,
)
from tests.imaging.archive import mutations


def test_an_error_names_file_value_expectation_and_way_out():
    error = refusal("scan.dcm", "has 3 legs", "2", "buy trousers")
    assert str(error) == "'scan.dcm': has 3 legs; expected 2. Buy trousers"
    assert isinstance(error, ValueError)
    assert shown("a\n\x1b[2J" + 99 * "b").isprintable() and len(shown(99 * "b")) == 60


@pytest.mark.parametrize(
    "limits, match",
    [
        (Limits(frames=2), "3 frames; expected at most 2.*Limits\\(frames"),
        (Limits(edge=10), "11 edge; expected at most 10"),
        (Limits(values=329), "330 values; expected at most 329"),
    ],
)
def test_shapes(limits, match):
    assert Limits(frames=3, edge=11, values=330).check_shape("f", (3, 1, 11, 10), "it") == 330
    with pytest.raises(ArchiveError, match=match):
        limits.check_shape("f", (3, 1, 11, 10), "it")


def test_shapes_that_are_none():
    with pytest.raises(ArchiveError, match="at least 1"):
        Limits().check_shape("f", (1, 1, 0, 10), "it")
    with pytest.raises(ArchiveError, match="at most"):
        Limits().check_shape("f", (2**31, 2**31, 2**31, 2**31), "it")


def test_only_files_are_opened(tmp_path):
    with pytest.raises(ArchiveError, match="No such file"):
        check_file(tmp_path / "none")
    with pytest.raises(ArchiveError, match="cannot be opened"):
        check_file("a\0b")
    with pytest.raises(ArchiveError, match="is a folder"):
        check_file(tmp_path)
    (tmp_path / "empty").touch()
    with pytest.raises(ArchiveError, match="0 bytes"):
        check_file(tmp_path / "empty")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ArchiveError, match="not a regular file"), opened(tmp_path / "pipe"):
        pass
    (tmp_path / "long").write_bytes(bytes(11))
    with pytest.raises(ArchiveError, match="11 bytes; expected at most 10"):
        check_file(tmp_path / "long", Limits(file_bytes=10))
    assert check_file(tmp_path / "long") == 11


@pytest.mark.parametrize("wbits, pack", [(15, zlib.compress), (31, gzip.compress)])
def test_streams_come_back_whole(wbits, pack):
    data = os.urandom(300_000) + bytes(300_000)
    assert inflated(io.BytesIO(pack(data)), "f", len(data), wbits) == data
    assert inflated(io.BytesIO(pack(data)), "f", 1000, wbits, short=True) == data[:1000]
    with pytest.raises(ArchiveError, match="more than 599,999 bytes"):
        inflated(io.BytesIO(pack(data)), "f", len(data) - 1, wbits)
    with pytest.raises(ArchiveError, match="without an end mark"):
        inflated(io.BytesIO(pack(data)[:-5]), "f", len(data), wbits)
    broken = bytearray(pack(data))
    broken[1000:1100] = bytes(100)
    with pytest.raises(ArchiveError, match="damaged"):
        inflated(io.BytesIO(broken), "f", len(data), wbits)


def test_members_and_trailing_bytes():
    parts = gzip.compress(b"one") + gzip.compress(b"") + gzip.compress(b"two")
    assert inflated(io.BytesIO(parts), "f", 6, 31) == b"onetwo"
    assert inflated(io.BytesIO(parts + bytes(9)), "f", 6, 31) == b"onetwo"
    with pytest.raises(ArchiveError, match="more than 5"):
        inflated(io.BytesIO(parts), "f", 5, 31)


@pytest.mark.parametrize("wbits, bomb", [(31, mutations.gzip_bomb), (-15, mutations.deflate_bomb)])
def test_a_bomb_costs_no_more_than_the_limit(wbits, bomb):
    packed = bomb(1 << 30)
    assert len(packed) < 1 << 21
    tracemalloc.start()
    with pytest.raises(ArchiveError, match="more than 1,000,000 bytes"):
        inflated(io.BytesIO(packed), "f", 1_000_000, wbits)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6_000_000  # the limit, a chunk of 1 MiB beside it, and zlib's growing buffer


def test_a_clipped_file_asks_for_what_is_there(tmp_path):
    (tmp_path / "f").write_bytes(bytes(range(100)))
    with open(tmp_path / "f", "rb") as file:
        clipped = Clipped(file, "f")
        tracemalloc.start()
        assert len(clipped.read(0xFFFFFFFE)) == 100 and clipped.read(5) == b""
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
        tracemalloc.stop()
        short = Clipped(file, "f", most=40)
        assert len(short.read()) == 40
        with pytest.raises(ArchiveError, match="header goes on after 40 bytes"):
            short.read(1)


def test_guarded_turns_everything_into_one_error():
    for error in (KeyError("x"), RecursionError("deep"), OSError(5, "no"), MemoryError()):
        with pytest.raises(ArchiveError, match="'f': "), guarded("f", "reading"):
            raise error
    with pytest.raises(ArchiveError, match="^mine$"), guarded("f", "reading"):
        raise ArchiveError("mine")
    with pytest.raises(ArchiveError, match="^mine$"), guarded("f", "reading"):
        try:
            raise ArchiveError("mine")
        except ArchiveError:
            raise OSError("a library's own") from None
    with pytest.raises(KeyboardInterrupt), guarded("f", "reading"):
        raise KeyboardInterrupt


def test_quiet_collects_what_was_said(capfd, recwarn):
    log = logging.getLogger("some.library")
    with quiet("some.library") as said:
        warnings.warn("odd\nvalue", stacklevel=1)
        log.warning("odd value")
        log.warning("other")
    assert said == ["odd value", "other"]
    assert not recwarn.list and capfd.readouterr() == ("", "") and log.propagate
