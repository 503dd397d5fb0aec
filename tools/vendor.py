"""Fetch the browser code that the site carries: widgets, mathematics, slides.

The packages come from npm at pinned versions, are checked against their SHA-256 before anything is
unpacked, and only the files named here are taken. They are part of the built site, never of the
repository. Without npm (or without a network) the caller builds an online-only site instead.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

MOST_BYTES = 8_000_000  # of one unpacked file


class VendorError(RuntimeError):
    """An asset could not be fetched, or is not what it should be."""


@dataclass(frozen=True)
class Asset:
    """An npm package, the digest of its archive, and which of its files are wanted.

    take: paths in the package (a folder ends in /) -> where they go under the vendor folder.
    """

    package: str
    version: str
    sha256: str
    take: dict[str, str]


ASSETS = (
    Asset(
        "@jupyter-widgets/html-manager",
        "1.0.15",
        "2b9d65cb7913e1c7d671757a10008b32c9c2448d4429513371e55c07d6107638",
        {
            "dist/embed.js": "html-manager/embed.js",
            "dist/embed.js.LICENSE.txt": "html-manager/embed.js.LICENSE.txt",
            "dist/1551f4f60c37af51121f.woff2": "html-manager/1551f4f60c37af51121f.woff2",
            "dist/7a3337626410ca2f4071.woff2": "html-manager/7a3337626410ca2f4071.woff2",
            "dist/d878b0a6a1144760244f.woff2": "html-manager/d878b0a6a1144760244f.woff2",
        },
    ),
    Asset(
        "mathjax",
        "3.2.2",
        "1b9c0a1c44df864e915690558e72adb9cc5203360daefd385084ced3b6c64c09",
        {"es5/tex-svg-full.js": "mathjax/tex-svg-full.js", "LICENSE": "mathjax/LICENSE"},
    ),
    Asset(
        "reveal.js",
        "4.6.0",
        "5cd4f989a2f9b8094e5430f4d05eae96c3a409ebcafbfb2e907687e8a9475e48",
        {
            "dist/reveal.js": "reveal/dist/reveal.js",
            "dist/reveal.css": "reveal/dist/reveal.css",
            "dist/theme/white.css": "reveal/dist/theme/white.css",
            "dist/theme/fonts/source-sans-pro/": "reveal/dist/theme/fonts/source-sans-pro/",
            "plugin/notes/notes.js": "reveal/plugin/notes/notes.js",
            "LICENSE": "reveal/LICENSE",
        },
    ),
)


def fetch(target: Path, assets: tuple[Asset, ...] = ASSETS) -> None:
    """Put the assets under `target`, all or nothing; nothing is done when they are there already.

    Raises VendorError when npm is missing, a download fails, or an archive is not the pinned one.
    """
    stamp = target / "versions.txt"
    wanted = "".join(f"{a.package} {a.version} {a.sha256} {sorted(a.take)}\n" for a in assets)
    if stamp.exists() and stamp.read_text() == wanted:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".vendor-", dir=target.parent) as scratch:
        fresh = Path(scratch) / "fresh"
        for asset in assets:
            archive = download(asset, Path(scratch))
            unpack(archive, asset, fresh)
        (fresh / "versions.txt").write_text(wanted)
        shutil.rmtree(target, ignore_errors=True)
        fresh.rename(target)


def download(asset: Asset, folder: Path) -> Path:
    """`npm pack` one package into `folder` and check its digest."""
    npm = shutil.which("npm")
    if npm is None:
        raise VendorError("npm is not installed")
    name = f"{asset.package}@{asset.version}"
    command = [npm, "pack", "--silent", "--ignore-scripts", "--pack-destination", str(folder), name]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    except subprocess.TimeoutExpired as error:
        raise VendorError(f"npm did not deliver {name} within 180 s") from error
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise VendorError(f"npm could not fetch {name}: {said}")
    archive = folder / done.stdout.strip().splitlines()[-1]
    verify(archive, asset)
    return archive


def verify(archive: Path, asset: Asset) -> None:
    """Raise VendorError unless the archive's SHA-256 is the pinned one."""
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != asset.sha256:
        raise VendorError(
            f"{asset.package} {asset.version} has SHA-256 {found}, expected {asset.sha256}: "
            "the archive is damaged or has been replaced; nothing of it was used"
        )


def unpack(archive: Path, asset: Asset, folder: Path) -> None:
    """Take the wanted files out of the archive, nothing else: no links, no paths that climb out."""
    taken: set[str] = set()
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                place = _place(member, asset)
                if place is None:
                    continue
                wanted, where = place
                target = folder / where
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(tar.extractfile(member).read(MOST_BYTES + 1))
                taken.add(wanted)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise VendorError(f"{archive.name} cannot be unpacked: {error}") from error
    if missing := set(asset.take) - taken:
        raise VendorError(f"{asset.package} {asset.version} has no {', '.join(sorted(missing))}")


def _place(member: tarfile.TarInfo, asset: Asset) -> tuple[str, str] | None:
    """(the entry of `take` it answers, where it goes), or None for a file that is not wanted."""
    path = PurePosixPath(member.name)
    inside = PurePosixPath(*path.parts[1:])  # npm puts everything under package/
    if path.is_absolute() or ".." in path.parts:
        raise VendorError(f"{asset.package}: the archive holds {member.name!r}, outside its folder")
    for wanted, where in asset.take.items():
        folder = wanted.endswith("/") and inside.is_relative_to(wanted)
        if str(inside) != wanted and not folder:
            continue
        if not member.isfile():
            if folder and member.isdir():
                return None
            raise VendorError(f"{asset.package}: {member.name!r} is not a plain file")
        if member.size > MOST_BYTES:
            raise VendorError(
                f"{asset.package}: {member.name!r} has {member.size} bytes, over {MOST_BYTES}"
            )
        return wanted, (where + str(inside.relative_to(wanted)) if folder else where)
    return None
