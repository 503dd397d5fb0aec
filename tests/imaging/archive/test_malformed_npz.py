"""Malformed npz files, pictures, tables and downloads: an ArchiveError each, nothing else happens.

Damage by seeded mutation over every reader of this half of the archive, and cases made by hand.
Some mutations leave a legal file (a flipped bit in a time stamp, or in a pixel of a picture without
checksum): such a survivor must load whole and is counted apart. Every case runs under a bound on
memory, with a pickle lying in wait, and what it leaves behind is compared.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import pickle
import tracemalloc
import warnings
from collections import Counter, namedtuple
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from medxfer_lab import _download
from medxfer_lab.imaging.archive import catalogue, fetch, medmnist
from medxfer_lab.imaging.archive.errors import ArchiveError
from medxfer_lab.imaging.archive.folders import load_folder
from tests.imaging.archive import archives
from tests.imaging.archive.mutations import mutations
from tests.imaging.archive.server import answer, cut_after, serving

MEMORY = 24 << 20  # bytes of Python's and numpy's memory that reading a broken small file may take
TALLY: Counter[str] = Counter()


@pytest.fixture
def sentinel(tmp_path, monkeypatch):
    """A file that appears if anything is unpickled and run."""
    monkeypatch.setenv("MEDXFER_SENTINEL", str(tmp_path / "ran"))
    return tmp_path / "ran"


class Evil:
    """Unpickling it writes the sentinel."""

    def __reduce__(self):
        return (exec, ("import os; open(os.environ['MEDXFER_SENTINEL'], 'w').write('ran')",))


def test_the_sentinel_works(sentinel):
    """The trap itself: numpy with allow_pickle=True walks into it."""
    file = io.BytesIO()
    np.savez(file, x=np.array([Evil()], dtype=object))
    file.seek(0)
    with np.load(file, allow_pickle=True) as archive:
        archive["x"]
    assert sentinel.read_text() == "ran"


@dataclass(frozen=True)
class Victim:
    """A good file and how it is read. head: where its header lies, in bytes."""

    name: str
    make: Callable[[Path], Path]
    read: Callable[[Path], object]
    count: int
    head: int = 512


def medmnist_file(folder: Path) -> Path:
    path = folder / "breastmnist.npz"
    np.savez_compressed(path, **archives.layout(6))
    return path


def stored_file(folder: Path) -> Path:
    """Not compressed: damage reaches the .npy headers."""
    path = folder / "breastmnist.npz"
    np.savez(path, **archives.layout(3))
    return path


def flat_file(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    np.savez(
        folder / "flat.npz",
        images=rng.random((5, 6, 7)).astype(np.float32),
        labels=np.array([0, 1, 2, 1, 0]),
        classes=np.array(["normal", "benign", "malignant"]),
        names=np.array(list("abcde")),
        patients=np.arange(5),
    )
    return folder / "flat.npz"


def small_header_first(folder: Path) -> Path:
    """Labels first and tiny images: most bytes are structure."""
    np.savez(folder / "flat.npz", labels=np.array([0, 1], "u1"), images=np.ones((2, 2, 2), "u2"))
    return folder / "flat.npz"


def picture(suffix: str, depth: str = "uint8", **options) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        array = np.random.default_rng(1).integers(0, np.iinfo(depth).max, (24, 20)).astype(depth)
        (folder / "a").mkdir(exist_ok=True)
        PIL.Image.fromarray(array).save(folder / "a" / f"x{suffix}", **options)
        return folder / "a" / f"x{suffix}"

    return make


def table_file(folder: Path) -> Path:
    picture(".png")(folder)
    path = folder / "labels.csv"
    path.write_text("file,label,patient\n" + "a/x.png,1,p\n" * 8)
    return path


VICTIMS = [
    Victim("medmnist", medmnist_file, lambda p: medmnist.load("breastmnist", folder=p.parent), 35),
    Victim("stored", stored_file, lambda p: medmnist.load("breastmnist", folder=p.parent), 35, 200),
    Victim("flat", flat_file, medmnist.load_file, 35, 1400),
    Victim("tiny", small_header_first, medmnist.load_file, 35, 800),
    Victim("png", picture(".png"), lambda p: load_folder(p.parents[1]), 28, 60),
    Victim("png16", picture(".png", "uint16"), lambda p: load_folder(p.parents[1]), 14, 60),
    Victim("jpeg", picture(".jpg"), lambda p: load_folder(p.parents[1]), 28, 400),
    Victim("tiff", picture(".tif"), lambda p: load_folder(p.parents[1]), 28, 200),
    Victim(
        "tiff-deflate",
        picture(".tif", compression="tiff_adobe_deflate"),
        lambda p: load_folder(p.parents[1]),
        14,
        200,
    ),
    Victim("table", table_file, lambda p: load_folder(p.parent, p), 14, 60),
]


def outcome(read: Callable[[], object]) -> str:
    """ "refused" or "legal"; anything but an ArchiveError goes through."""
    tracemalloc.start()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.simplefilter("ignore", medmnist.NotPublished)
            cohort = read()
    except ArchiveError as error:
        assert str(error) and str(error).isprintable(), repr(str(error))
        assert len(str(error)) < 1200
        return "refused"
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < MEMORY, f"{peak:,} bytes"
    check_legal(cohort)
    return "legal"


def check_legal(cohort) -> None:
    """What survives is a whole cohort."""
    assert len(cohort) == len(cohort.images) >= 1
    assert np.isfinite(cohort.images.numpy()).all()
    assert cohort.labels.min() >= 0


@pytest.mark.parametrize("victim", VICTIMS, ids=lambda v: v.name)
def test_mutations_are_refused_or_harmless(victim, tmp_path, sentinel):
    path = victim.make(tmp_path)
    good = path.read_bytes()
    assert outcome(lambda: victim.read(path)) == "legal"
    before = everything(tmp_path)
    for case, data in mutations(good, 7, victim.count, victim.head):
        path.write_bytes(data)
        found = outcome(lambda: victim.read(path))
        TALLY[f"{victim.name}: {found}"] += 1
        assert everything(tmp_path) == before, case
    assert not sentinel.exists()
    # pixels of pictures may change unseen; a zip carries checksums of everything that counts
    assert TALLY[f"{victim.name}: refused"] > (0.15 if victim.name in LOOSE else 0.6) * victim.count


LOOSE = {"jpeg", "tiff", "tiff-deflate", "table"}


def everything(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


def evil_npz(folder: Path, key: str, **more) -> None:
    arrays = {**archives.layout(6), key: np.array([Evil()] * 6, dtype=object), **more}
    np.savez(folder / "breastmnist.npz", **arrays)


def evil_member(folder: Path, header: str) -> None:
    members = {f"{k}.npy": archives.npy(v) for k, v in archives.layout(6).items()}
    body = pickle.dumps(np.array([Evil()], dtype=object))
    members["train_labels.npy"] = archives.npy_with(header, body)
    archives.pack(members, folder / "breastmnist.npz")


def members_with(folder: Path, **changed: bytes) -> None:
    members = {f"{k}.npy": archives.npy(v) for k, v in archives.layout(6).items()}
    members.update({key.replace("__", "/"): value for key, value in changed.items()})
    archives.pack(members, folder / "breastmnist.npz")


def bomb(folder: Path, size: int) -> None:
    """``size`` zeros that call themselves images of 32 x 32."""
    shape = f"({size >> 10}, 32, 32)"
    header = archives.npy_with(f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}}}", b"")
    archives.pack_zeros(folder / "breastmnist.npz", header, size)


def mild_bomb(folder: Path, size: int) -> None:
    """A hundredfold only, as whole data sets of masks are: refused by what the set can hold."""
    noise = np.random.default_rng(0).integers(0, 256, size // 100, dtype=np.uint8)
    images = np.concatenate([noise, np.zeros(size - len(noise), np.uint8)]).reshape(-1, 28, 28)
    labels = np.zeros((len(images), 1), np.uint8)
    np.savez_compressed(folder / "breastmnist.npz", train_images=images, train_labels=labels)


def zip_of(name: str, data: bytes = b"") -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        archives.pack({name: data or archives.npy(np.zeros(3))}, folder / "breastmnist.npz")

    return make


def raw(data: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / "breastmnist.npz").write_bytes(data) and None


def nested(depth: int) -> str:
    return "{'descr': '<i4', 'fortran_order': False, 'shape': " + "(" * depth + ")" * depth + "}"


OBJECT = "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"
BY_HAND: dict[str, Callable[[Path], object]] = {
    "pickled images": lambda f: evil_npz(f, "train_images"),
    "pickled labels": lambda f: evil_npz(f, "train_labels"),
    "pickle beside good arrays": lambda f: evil_npz(f, "extra"),
    "pickle with a plain header": lambda f: evil_member(f, OBJECT.replace("|O", "|u1")),
    "pickle in a structured type": lambda f: evil_member(f, OBJECT.replace("'|O'", "[('a','O')]")),
    "object header": lambda f: evil_member(f, OBJECT),
    "pickle alone": raw(pickle.dumps(Evil())),
    "pickle as a member": zip_of("train_images.npy", pickle.dumps(Evil())),
    "pickle member without .npy": zip_of("data.pkl", pickle.dumps(Evil())),
    "code in the header": lambda f: evil_member(f, "__import__('os').system('true')"),
    "header of 3,000 brackets": lambda f: evil_member(f, nested(1500)),
    "header of 65,000 bytes": lambda f: evil_member(f, OBJECT + " " * 65_000),
    "bomb of 256 MiB": lambda f: bomb(f, 1 << 28),
    "bomb of 100 MiB": lambda f: bomb(f, 100 << 20),
    "bomb of 32 MiB": lambda f: bomb(f, 1 << 25),
    "mild bomb": lambda f: mild_bomb(f, 78_400_000),
    "path upwards": lambda f: members_with(f, **{"..__evil.npy": b"x"}),
    "absolute path": lambda f: members_with(f, **{"__tmp__evil.npy": b"x"}),
    "path with a backslash": lambda f: members_with(f, **{"..\\evil.npy": b"x"}),
    "folder as a member": lambda f: members_with(f, **{"evil__": b""}),
    "zip in a zip": lambda f: members_with(f, **{"inner.npz": b"PK\x03\x04"}),
    "65 members": lambda f: members_with(f, **{f"x{k}.npy": b"" for k in range(60)}),
    "empty member": lambda f: members_with(f, **{"train_images.npy": b""}),
    "member of 7 bytes": lambda f: members_with(f, **{"train_images.npy": b"\x93NUMPY\x01"}),
    "version 9": lambda f: members_with(
        f, **{"train_images.npy": b"\x93NUMPY\x09\x00" + bytes(90)}
    ),
    "no central directory": raw(b"PK\x03\x04" + bytes(200)),
    "only an end": raw(b"PK\x05\x06" + bytes(18)),
    "empty file": raw(b""),
    "one byte": raw(b"P"),
    "a web page": raw(b"<!doctype html><title>404</title>"),
    "gzip": raw(b"\x1f\x8b\x08\x00" + bytes(60)),
    "a png": raw(b"\x89PNG\r\n\x1a\n" + bytes(60)),
    "noise": raw(np.random.default_rng(0).bytes(5000)),
    "zeros": raw(bytes(5000)),
    "a folder": lambda f: (f / "breastmnist.npz").mkdir(),
    "NaN": lambda f: np.savez(
        f / "breastmnist.npz",
        **{**archives.layout(6), "train_images": np.full((6, 28, 28), np.nan)},
    ),
}


@pytest.mark.parametrize("case", BY_HAND)
def test_made_by_hand(case, tmp_path, sentinel):
    folder = tmp_path / "data"
    folder.mkdir()
    BY_HAND[case](folder)
    before = everything(tmp_path)
    assert outcome(lambda: medmnist.load("breastmnist", folder=folder)) == "refused"
    TALLY["by hand: refused"] += 1
    assert everything(tmp_path) == before and not sentinel.exists()


PICTURES: dict[str, bytes] = {
    "png of 2^31": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\x7f\xff\xff\xff\x7f\xff\xff\xff\x08\0\0\0\0",
    "pickle": pickle.dumps(Evil()),
    "svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    "tiff that is its own next page": b"II*\0\x08\0\0\0\0\0\x08\0\0\0",
    "tiff with 65,535 tags": b"II*\0\x08\0\0\0\xff\xff" + bytes(60),
    "jpeg marker alone": b"\xff\xd8\xff",
    "gif": b"GIF89a" + bytes(40),
}


@pytest.mark.parametrize("case", PICTURES)
def test_pictures_made_by_hand(case, tmp_path, sentinel):
    (tmp_path / "data" / "a").mkdir(parents=True)
    (tmp_path / "data" / "a" / "x.png").write_bytes(PICTURES[case])
    before = everything(tmp_path)
    assert outcome(lambda: load_folder(tmp_path / "data")) == "refused"
    TALLY["by hand: refused"] += 1
    assert everything(tmp_path) == before and not sentinel.exists()


DATA = np.random.default_rng(3).bytes(40_000)


@pytest.fixture
def site(monkeypatch):
    monkeypatch.delenv("MEDXFER_MIRRORS", raising=False)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    known = catalogue.entry("breastmnist")
    with serving(DATA) as site:
        address = (f"{site.url}/breastmnist.npz", hashlib.md5(DATA).hexdigest())
        monkeypatch.setattr(
            catalogue, "entries", lambda: {known.name: replace(known, published={28: address})}
        )
        yield site


def fetched(folder: Path, **more):
    fetch.fetch("breastmnist", 28, folder, attempts=1, pause=0, timeout=0.3, **more)


def test_mutated_downloads(site, tmp_path):
    """The file changes on the way: never accepted, nothing kept."""
    for case, data in mutations(DATA, 11, 28):
        site.data = data
        with pytest.raises(fetch.FetchError, match="could not be fetched"):
            fetched(tmp_path / "data")
        assert everything(tmp_path) == ["data"], case
        TALLY["downloads: refused"] += 1


@pytest.mark.parametrize("n", [0, 1, 100, 39_999])
def test_interrupted_downloads(site, tmp_path, n):
    """No final file; the hidden part is what came, and completes it."""
    site.behave = cut_after(n)
    with pytest.raises(fetch.FetchError, match="could not be fetched"):
        fetched(tmp_path)
    left = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    assert left == ({".breastmnist.npz.part": DATA[:n]} if n else {})
    TALLY["downloads: refused"] += 1
    site.behave = lambda *_: False
    fetched(tmp_path)
    assert everything(tmp_path) == ["breastmnist.npz"]


def header_says(**headers):
    changed = {key.replace("_", "-"): value for key, value in headers.items()}
    return lambda handler, data: answer(handler, 200, data[:-9], changed)


ANSWERS = {
    "no such page": lambda handler, data: answer(handler, 404, data),
    "a page in its place": lambda handler, data: answer(handler, 200, b"<html>log in</html>"),
    "nothing": lambda handler, data: answer(handler, 200, b""),
    "nothing yet": lambda handler, data: answer(handler, 204, b""),
    "length in words": header_says(Content_Length="many"),
    "negative length": header_says(Content_Length="-5"),
    "absurd length": header_says(Content_Length="9" * 40),
    "length of a terabyte": header_says(Content_Length=str(1 << 40)),
    "range nobody asked for": lambda handler, data: answer(
        handler, 206, data[5:], {"Content-Range": f"bytes 5-{len(data) - 1}/{len(data)}"}
    ),
    "range without numbers": lambda handler, data: answer(
        handler, 206, data, {"Content-Range": "bytes */*"}
    ),
    "partial without range": lambda handler, data: answer(handler, 206, data[:100]),
    "no more, at once": lambda handler, data: answer(handler, 416, b""),
    "redirect to itself": lambda handler, data: answer(
        handler, 301, b"", {"Location": handler.path}
    ),
    "redirect to a file": lambda handler, data: answer(
        handler, 302, b"", {"Location": "file:///etc/hostname"}
    ),
    "redirect to nowhere": lambda handler, data: answer(handler, 302, b""),
    "no HTTP at all": lambda handler, data: handler.wfile.write(b"220 ftp ready\r\n") or True,
    "silence": lambda handler, data: True,
    "endless headers": lambda handler, data: (
        handler.wfile.write(b"HTTP/1.0 200 OK\r\n" + b"X-Y: z\r\n" * 5000) or True
    ),
    "a line without end": lambda handler, data: (
        handler.wfile.write(b"HTTP/1.0 200 " + b"k" * 200_000) or True
    ),
    "broken chunks": lambda handler, data: answer(
        handler, 200, b"zz\r\nabc", {"Transfer-Encoding": "chunked", "Content-Length": None}
    ),
}


@pytest.mark.parametrize("case", ANSWERS)
def test_answers_that_are_no_file(case, site, tmp_path):
    site.behave = ANSWERS[case]
    with pytest.raises(fetch.FetchError, match="could not be fetched") as caught:
        fetched(tmp_path)
    assert len(str(caught.value)) < 1200
    assert not (tmp_path / "breastmnist.npz").exists()
    assert {p.name for p in tmp_path.iterdir()} <= {".breastmnist.npz.part"}
    TALLY["downloads: refused"] += 1


@pytest.mark.parametrize("room", [0, 1000, 39_999])
def test_full_disks(room, site, tmp_path, monkeypatch):
    class Full(io.FileIO):
        def write(self, piece):
            if self.tell() + len(piece) > room:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return super().write(piece)

    monkeypatch.setattr(_download, "open", lambda path, mode: Full(path, mode), raising=False)
    with pytest.raises(fetch.FetchError, match="is full"):
        fetched(tmp_path)
    assert everything(tmp_path) == []
    TALLY["downloads: refused"] += 1


@pytest.mark.parametrize("free", [0, 39_999, _download.RESERVE])
def test_disks_known_to_be_full(free, site, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(_download.shutil, "disk_usage", lambda _: usage(1 << 40, 0, free))
    with pytest.raises(fetch.FetchError, match="make room"):
        fetched(tmp_path)
    assert everything(tmp_path) == []
    TALLY["downloads: refused"] += 1


def test_an_endless_device_as_mirror(site, tmp_path):
    site.behave = lambda handler, data: answer(handler, 404, b"")
    (tmp_path / "m").mkdir()
    os.symlink("/dev/zero", tmp_path / "m" / "breastmnist.npz")
    with pytest.raises(fetch.FetchError, match="it is another file"):
        fetched(tmp_path / "data", mirrors=[(tmp_path / "m").as_uri()])
    assert everything(tmp_path / "data") == []
    TALLY["downloads: refused"] += 1


def test_enough_are_tried(capsys):
    """More than 300 in all; MEDXFER_TALLY=1 prints how many were refused and how many legal."""
    tried = sum(victim.count for victim in VICTIMS) + len(BY_HAND) + len(PICTURES)
    downloads = 28 + 4 + len(ANSWERS) + 3 + 3 + 1
    assert tried >= 250 and downloads >= 50
    if os.environ.get("MEDXFER_TALLY"):
        legal = sum(n for key, n in TALLY.items() if key.endswith("legal"))
        with capsys.disabled():
            print(f"\n{TALLY.total()} malformed inputs, {legal} of them legal: {dict(TALLY)}")
