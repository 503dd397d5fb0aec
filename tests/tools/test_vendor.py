"""Archives of browser code: only what is pinned is unpacked; a bad one leaves nothing behind."""

from __future__ import annotations

import hashlib
import io
import tarfile
from dataclasses import replace

import pytest

from tools import vendor
from tools.vendor import Asset, VendorError, fetch, unpack, verify


def archive(path, members: dict[str, bytes | None], kind=tarfile.REGTYPE):
    """A .tgz with these members (None makes a link to /etc/passwd); returns its Asset."""
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            if content is None:
                info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
            else:
                info.size = len(content)
            tar.addfile(info, io.BytesIO(content or b""))
    return Asset(
        "toy", "1.0.0", hashlib.sha256(path.read_bytes()).hexdigest(), {"a.js": "toy/a.js"}
    )


def test_only_wanted_files_are_taken(tmp_path):
    made = tmp_path / "toy.tgz"
    asset = archive(made, {"package/a.js": b"1", "package/b.js": b"2", "package/f/c.css": b"3"})
    asset = replace(asset, take={"a.js": "toy/a.js", "f/": "toy/f/"})
    unpack(made, asset, tmp_path / "out")
    found = {p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*.*")}
    assert found == {"toy/a.js", "toy/f/c.css"}


def test_another_archive_than_the_pinned_one_is_refused(tmp_path):
    made = tmp_path / "toy.tgz"
    asset = archive(made, {"package/a.js": b"1"})
    made.write_bytes(made.read_bytes() + b"x")
    with pytest.raises(VendorError, match=f"expected {asset.sha256}: .* nothing of it was used"):
        verify(made, asset)


@pytest.mark.parametrize("name", ["package/../../evil.js", "/evil.js"])
def test_paths_that_climb_out_are_refused(tmp_path, name):
    made = tmp_path / "toy.tgz"
    asset = archive(made, {name: b"1", "package/a.js": b"1"})
    with pytest.raises(VendorError, match="outside its folder"):
        unpack(made, asset, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_links_are_refused(tmp_path):
    made = tmp_path / "toy.tgz"
    asset = archive(made, {"package/a.js": None})
    with pytest.raises(VendorError, match="is not a plain file"):
        unpack(made, asset, tmp_path / "out")


def test_bombs_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(vendor, "MOST_BYTES", 10)
    made = tmp_path / "toy.tgz"
    asset = archive(made, {"package/a.js": b"12345678901"})
    with pytest.raises(VendorError, match="has 11 bytes, over 10"):
        unpack(made, asset, tmp_path / "out")


def test_truncated_and_foreign_archives_are_named(tmp_path):
    made = tmp_path / "toy.tgz"
    asset = archive(made, {"package/a.js": bytes(5000)})
    for content in (made.read_bytes()[:60], b"not an archive"):
        made.write_bytes(content)
        with pytest.raises(VendorError, match="toy.tgz cannot be unpacked"):
            unpack(made, asset, tmp_path / "out")


def test_a_missing_file_is_named(tmp_path):
    made = tmp_path / "toy.tgz"
    asset = archive(made, {"package/b.js": b"1"})
    with pytest.raises(VendorError, match="toy 1.0.0 has no a.js"):
        unpack(made, asset, tmp_path / "out")


def test_a_failed_fetch_keeps_what_was_there_and_leaves_nothing_else(tmp_path, monkeypatch):
    target = tmp_path / "vendor"
    target.mkdir()
    (target / "old.js").write_text("old")

    def broken(asset, folder):
        (folder / "half").write_text("half")
        raise VendorError("npm could not fetch it")

    monkeypatch.setattr(vendor, "download", broken)
    with pytest.raises(VendorError):
        fetch(target)
    assert [p.name for p in tmp_path.iterdir()] == ["vendor"]
    assert [p.name for p in target.iterdir()] == ["old.js"]


def test_what_is_there_is_not_fetched_again(tmp_path, monkeypatch):
    made = tmp_path / "toy.tgz"
    asset = archive(made, {"package/a.js": b"1"})
    calls = []
    monkeypatch.setattr(vendor, "download", lambda *_: calls.append(1) or made)
    for _ in range(2):
        fetch(tmp_path / "vendor", (asset,))
    assert calls == [1] and (tmp_path / "vendor/toy/a.js").read_bytes() == b"1"


def test_without_npm_it_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(VendorError, match="npm is not installed"):
        fetch(tmp_path / "vendor")
