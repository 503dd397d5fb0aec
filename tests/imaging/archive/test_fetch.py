"""Fetching from a web server on this machine: whole and checked, or nothing."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections import namedtuple
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from medxfer_lab import _download
from medxfer_lab._lock import Busy, only_one
from medxfer_lab.imaging.archive import catalogue, cli, fetch
from medxfer_lab.imaging.archive.errors import ArchiveError
from tests.imaging.archive.server import answer, cut_after, serving

DATA = np.random.default_rng(0).bytes(300_000)
NAME = "breastmnist"
FILE = "breastmnist.npz"
QUICK = {"timeout": 5.0, "attempts": 2, "pause": 0.0}


@pytest.fixture
def site(monkeypatch):
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("MEDXFER_MIRRORS", raising=False)
    with serving(DATA) as site:
        publish(monkeypatch, site.url, DATA)
        yield site


def publish(monkeypatch, base: str, data: bytes) -> None:
    """Pretend that ``data`` is the published file, at ``base``."""
    known = catalogue.entries()[NAME]
    address = (f"{base}/records/{FILE}?download=1", hashlib.md5(data).hexdigest())
    entry = replace(known, published={28: address})
    monkeypatch.setattr(catalogue, "entries", lambda: {NAME: entry})


def left(folder) -> list[str]:
    return sorted(p.name for p in folder.iterdir()) if folder.exists() else []


def get(folder, **more):
    return fetch.fetch(NAME, 28, folder, **{**QUICK, **more})


def test_a_fetched_file_is_whole_and_alone(site, tmp_path):
    seen = []
    path = get(tmp_path / "new" / "folder", report=lambda *both: seen.append(both))
    assert path.read_bytes() == DATA and left(path.parent) == [FILE]
    assert seen[-1] == (len(DATA), len(DATA)) and seen == sorted(seen)
    assert site.paths == [f"/records/{FILE}?download=1"]


def test_what_is_there_is_kept_without_asking_anybody(site, tmp_path):
    (tmp_path / FILE).write_bytes(DATA)
    assert get(tmp_path) == tmp_path / FILE
    assert site.paths == []


def test_another_file_of_that_name_is_left_alone(site, tmp_path):
    (tmp_path / FILE).write_bytes(b"mine")
    with pytest.raises(fetch.FetchError, match="not the published file.*move it away or name ano"):
        get(tmp_path)
    assert (tmp_path / FILE).read_bytes() == b"mine" and left(tmp_path) == [FILE]


def test_an_interrupted_download_goes_on_where_it_stopped(site, tmp_path):
    site.behave = cut_after(100_000)
    with pytest.raises(fetch.FetchError, match="100,000 bytes are kept: the same command goes on"):
        get(tmp_path, attempts=1)
    assert left(tmp_path) == [f".{FILE}.part"]
    site.behave = lambda *_: False
    assert get(tmp_path).read_bytes() == DATA
    assert site.ranges == [None, "bytes=100000-"] and left(tmp_path) == [FILE]


def test_retries_go_on_within_one_call(site, tmp_path):
    site.behave = cut_after(80_000)
    assert get(tmp_path, attempts=4).read_bytes() == DATA
    assert site.ranges == [None, "bytes=80000-", "bytes=160000-", "bytes=240000-"]


def test_a_server_that_ignores_range_sends_it_all_again(site, tmp_path):
    site.behave = lambda handler, data: answer(handler, 200, data)
    for k, size in enumerate((1000, len(DATA) + 1000)):  # the second would leave a tail behind
        (tmp_path / f".{FILE}.part").write_bytes(b"x" * size)
        assert get(tmp_path).read_bytes() == DATA
        (tmp_path / FILE).unlink()
        assert site.ranges[k:] == [f"bytes={size}-"]


def test_a_server_that_answers_another_range(site, tmp_path):
    """It would put bytes in the wrong place: start again from nothing."""
    (tmp_path / f".{FILE}.part").write_bytes(DATA[:1000])

    def behave(handler, data):
        if handler.headers["Range"]:
            stretch = f"bytes 0-{len(data) - 1}/{len(data)}"
            return answer(handler, 206, data, {"Content-Range": stretch})
        return False

    site.behave = behave
    assert get(tmp_path).read_bytes() == DATA
    assert site.ranges == ["bytes=1000-", None]


def test_a_part_of_another_file_is_thrown_away(site, tmp_path):
    (tmp_path / f".{FILE}.part").write_bytes(b"x" * 1000)
    assert get(tmp_path).read_bytes() == DATA
    assert site.ranges == ["bytes=1000-", None]


@pytest.mark.parametrize("part", [DATA, DATA + b"more", b"y" * len(DATA)])
def test_a_part_as_long_as_the_file(site, tmp_path, part):
    """The server has nothing more (416): keep the part if it is right, else start again."""
    (tmp_path / f".{FILE}.part").write_bytes(part)
    assert get(tmp_path).read_bytes() == DATA
    assert len(site.ranges) == (1 if part == DATA else 2)


def test_a_length_that_nobody_states(site, tmp_path):
    def behave(handler, data):
        handler.protocol_version = "HTTP/1.0"
        return answer(handler, 200, data, {"Content-Length": None})

    site.behave = behave
    assert get(tmp_path).read_bytes() == DATA


def test_wrong_md5_leaves_nothing(site, tmp_path):
    site.data = DATA[:-1] + b"?"
    with pytest.raises(fetch.FetchError, match=r"its MD5 is \w{32}, published is \w{32} \(300,000"):
        get(tmp_path)
    assert left(tmp_path) == []


def test_a_stalled_server(site, tmp_path):
    def behave(handler, data):
        answer(handler, 200, data[:5000], {"Content-Length": str(len(data))})
        site.release.wait(20)
        return True

    site.behave = behave
    with pytest.raises(fetch.FetchError, match="nothing came for 0.2 s.*5,000 bytes are kept"):
        get(tmp_path, timeout=0.2, attempts=1)
    assert left(tmp_path) == [f".{FILE}.part"]


def test_a_dripping_server_is_a_stalled_one(site, tmp_path):
    """Every byte comes before the time-out, and the file would take days."""

    def behave(handler, data):
        answer(handler, 200, b"", {"Content-Length": str(len(data))})
        for k in range(2000):
            handler.wfile.write(data[k : k + 1])
            handler.wfile.flush()
            if site.release.wait(0.02):
                break
        return True

    site.behave = behave
    with pytest.raises(fetch.FetchError, match=r"only \d+ bytes came in 0.5 s"):
        get(tmp_path, timeout=0.5, attempts=1)


@pytest.mark.parametrize(
    ("status", "times"), [(404, 1), (403, 1), (410, 1), (503, 2), (429, 2), (500, 2)]
)
def test_only_what_may_pass_is_tried_again(site, tmp_path, status, times):
    site.behave = lambda handler, data: answer(handler, status, b"gone")
    with pytest.raises(fetch.FetchError, match=f"HTTP {status}.*copy the file by hand to .*MD5"):
        get(tmp_path)
    assert len(site.paths) == times and left(tmp_path) == []


def test_a_redirect_loop(site, tmp_path):
    site.behave = lambda handler, data: answer(handler, 302, b"", {"Location": handler.path})
    with pytest.raises(fetch.FetchError, match="HTTP 302"):
        get(tmp_path)
    assert len(site.paths) < 30 and left(tmp_path) == []


@pytest.mark.parametrize("place", ["file:///etc/passwd", "ftp://127.0.0.1:1/x", "gopher://x/"])
def test_a_redirect_to_something_else(site, tmp_path, place):
    site.behave = lambda handler, data: answer(handler, 302, b"", {"Location": place})
    with pytest.raises(fetch.FetchError, match="could not be fetched"):
        get(tmp_path)
    assert left(tmp_path) == []


def test_a_redirect_is_followed(site, tmp_path):
    def behave(handler, data):
        if handler.path == "/elsewhere":
            return False
        return answer(handler, 302, b"", {"Location": "/elsewhere"})

    site.behave = behave
    assert get(tmp_path).read_bytes() == DATA


def test_a_file_announced_too_long_is_not_begun(site, tmp_path):
    bound = catalogue.entry(NAME).most_bytes(28)
    headers = {"Content-Length": str(bound + 1)}
    site.behave = lambda handler, data: answer(handler, 200, b"z" * 10, headers)
    with pytest.raises(fetch.FetchError, match=f"has {bound + 1:,} bytes or more"):
        get(tmp_path)
    assert left(tmp_path) == []


def test_a_server_that_lies_about_the_length(site, tmp_path):
    """It announces nothing and sends without end: cut off at the bound."""
    bound = catalogue.entry(NAME).most_bytes(28)
    sent = [0]

    def behave(handler, data):
        answer(handler, 200, b"", {"Content-Length": None})
        while sent[0] < 20 * bound:
            handler.wfile.write(bytes(1 << 16))
            sent[0] += 1 << 16
        return True

    site.behave = behave
    with pytest.raises(fetch.FetchError, match="it is another file"):
        get(tmp_path)
    assert left(tmp_path) == [] and sent[0] < 20 * bound


def test_a_mirror_comes_first_and_the_publisher_last(site, tmp_path, monkeypatch):
    def behave(handler, data):
        return handler.path.startswith("/mirror/") and answer(handler, 404, b"")

    site.behave = behave
    monkeypatch.setenv("MEDXFER_MIRRORS", f"{site.url}/mirror/b {site.url}/mirror/c/")
    path = get(tmp_path, mirrors=[f"{site.url}/mirror/a"])
    assert path.read_bytes() == DATA
    own = f"/records/{FILE}?download=1"
    assert site.paths == [*(f"/mirror/{m}/{FILE}" for m in "abc"), own]


def test_a_mirror_may_be_a_folder(site, tmp_path):
    shared = tmp_path / "shared folder"
    shared.mkdir()
    (shared / FILE).write_bytes(DATA)
    path = get(tmp_path / "mine", mirrors=[shared.as_uri()])
    assert path.read_bytes() == DATA and site.paths == []


def test_a_wrong_copy_on_a_mirror_is_no_hindrance(site, tmp_path):
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / FILE).write_bytes(b"something else")
    assert get(tmp_path / "mine", mirrors=[shared.as_uri()]).read_bytes() == DATA
    assert left(tmp_path / "mine") == [FILE]


@pytest.mark.parametrize("mirror", ["/mnt/share", "gopher://x", "data:,x", "https://x/?a=b"])
def test_a_mirror_that_is_no_address(site, tmp_path, mirror):
    with pytest.raises(fetch.FetchError, match="address"):
        get(tmp_path, mirrors=[mirror])


def test_offline_says_what_to_do(site, tmp_path, monkeypatch):
    publish(monkeypatch, "http://127.0.0.1:9", DATA)  # nobody listens on the discard port
    with pytest.raises(fetch.FetchError) as caught:
        get(tmp_path)
    for words in ("refused", "copy the file by hand to", "MD5", "--mirror", "MEDXFER_MIRRORS"):
        assert words in str(caught.value)
    assert left(tmp_path) == []


def test_too_little_room(site, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9, _download.RESERVE + 9))
    with pytest.raises(fetch.FetchError, match="64 MiB free.*make room, or name another folder"):
        get(tmp_path)
    assert left(tmp_path) == []


class FullDisk:
    """A file on a disk that takes 70,000 bytes and no more."""

    def __init__(self, *where):
        self.file = open(*where)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def __getattr__(self, name):
        return getattr(self.file, name)

    def write(self, piece):
        if self.file.tell() + len(piece) > 70_000:
            self.file.write(piece[: 70_000 - self.file.tell()])
            raise OSError(errno.ENOSPC, "No space left on device")
        return self.file.write(piece)


def test_the_disk_fills_up(site, tmp_path, monkeypatch):
    monkeypatch.setattr(_download, "open", FullDisk, raising=False)
    with pytest.raises(fetch.FetchError, match="disk of .* is full; nothing of breastmnist.npz"):
        get(tmp_path)
    assert left(tmp_path) == []


def test_a_folder_that_cannot_be_written(site, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(fetch.FetchError, match="cannot be written to.*name another folder"):
        get(tmp_path / "file" / "below")


def test_two_at_once(site, tmp_path):
    with only_one(tmp_path / f".{FILE}.lock"):
        with pytest.raises(fetch.FetchError, match="another process is fetching"):
            get(tmp_path)
    assert get(tmp_path).read_bytes() == DATA and left(tmp_path) == [FILE]


def test_a_killed_holder_blocks_nobody(tmp_path):
    lock = tmp_path / "lock"
    code = (
        "import sys, time; from medxfer_lab._lock import only_one\n"
        f"with only_one({str(lock)!r}): print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(Busy):
        with only_one(lock):
            pass
    holder.kill()
    holder.wait()
    holder.stdout.close()
    with only_one(lock):
        assert lock.exists()
    assert not lock.exists()


def test_interrupted_by_hand(site, tmp_path):
    """Control-C keeps the part and lets go of the lock."""

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        get(tmp_path, report=stop)
    assert left(tmp_path) == [f".{FILE}.part"]
    assert get(tmp_path).read_bytes() == DATA


@pytest.mark.parametrize("name", ["../evil.npz", "a/b.npz", "/abs.npz", ".hidden", ""])
def test_a_remote_has_a_plain_name(name):
    with pytest.raises(ValueError, match="plain file name"):
        _download.Remote(name, (), "", "md5", 1)


def test_published_bounds_hold_what_is_published():
    """The raw bytes of every set are below its bound, by no more than 5 % and 1 MiB."""
    assert len(catalogue.entries()) == 18
    for entry in catalogue.entries().values():
        for size in entry.published:
            raw, bound = entry.raw_bytes(size), entry.most_bytes(size)
            assert raw < bound <= 1.05 * raw + 2**20


def medxfer_data(*arguments):
    return CliRunner().invoke(cli.app, list(arguments))


def test_command_list_fetch_verify(site, tmp_path, monkeypatch):
    monkeypatch.setenv("MEDXFER_DATA", str(tmp_path))
    assert "28 (1 MiB)" in medxfer_data("list").output
    assert "no published data set is here" in medxfer_data("verify").output
    done = medxfer_data("fetch", NAME)
    assert done.exit_code == 0 and f"{tmp_path / FILE} is here" in done.output
    assert "28 (here, verified)" in medxfer_data("list").output
    done = medxfer_data("verify")
    assert (done.exit_code, done.output) == (0, f"ok       {tmp_path / FILE}\n")
    (tmp_path / FILE).write_bytes(DATA[:-1])
    os.utime(tmp_path / FILE, (time.time() + 5, time.time() + 5))
    done = medxfer_data("verify", NAME)
    assert done.exit_code == 1 and done.output.startswith(f"DIFFERS  {tmp_path / FILE}\n")
    assert "28 (here, NOT the published file)" in medxfer_data("list").output


def test_command_names_the_known(site, tmp_path):
    done = medxfer_data("fetch", "nosuchmnist", "--folder", str(tmp_path))
    assert isinstance(done.exception, ArchiveError)
    assert "no data set 'nosuchmnist'; there are breastmnist" in str(done.exception)
    done = medxfer_data("fetch", NAME, "--size", "64", "--folder", str(tmp_path))
    assert "not published at 64 pixels; sizes: 28" in str(done.exception)


def test_command_says_how_a_file_elsewhere_is_found(site, tmp_path, monkeypatch):
    monkeypatch.setenv("MEDXFER_DATA", str(tmp_path / "empty"))
    monkeypatch.setenv("MEDXFER_HOME", str(tmp_path / "home"))
    done = medxfer_data("fetch", NAME, "--folder", str(tmp_path / "x"), "--mirror", site.url)
    assert f"MEDXFER_DATA={tmp_path / 'x'} is set" in done.output
    assert site.paths == [f"/{FILE}"]
