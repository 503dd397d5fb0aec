"""Files are written whole or not at all."""

from __future__ import annotations

import os
import threading

import pytest

from medxfer_lab.course.atomic import sweep_leftovers, write_atomically


def test_folders_are_made_and_text_is_utf8(tmp_path):
    path = write_atomically(tmp_path / "a" / "b.txt", "η ≤ 1\n")
    assert path.read_bytes() == "η ≤ 1\n".encode()
    assert [p.name for p in path.parent.iterdir()] == ["b.txt"]


def test_a_failed_write_keeps_the_old_content(tmp_path, monkeypatch):
    path = write_atomically(tmp_path / "x", b"old")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_a_reader_never_meets_half_a_file(tmp_path):
    path = write_atomically(tmp_path / "x", b"a" * 100_000)
    seen, stop = set(), threading.Event()

    def read():
        while not stop.is_set():
            content = path.read_bytes()
            seen.add((len(content), content[:1], len(set(content))))

    reader = threading.Thread(target=read)
    reader.start()
    for k in range(60):
        write_atomically(path, (b"a" if k % 2 else b"b") * 100_000)
    stop.set()
    reader.join()
    assert seen <= {(100_000, b"a", 1), (100_000, b"b", 1)}


def test_only_leftovers_of_dead_processes_go(tmp_path):
    names = [f".x.{os.getpid()}.tmp", ".notes.tmp", "x", f".x.{2**22 + 12345}.tmp"]
    for name in names:
        (tmp_path / name).write_bytes(b"")
    assert sweep_leftovers(tmp_path) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(names[:3])
    assert sweep_leftovers(tmp_path / "absent") == 0
