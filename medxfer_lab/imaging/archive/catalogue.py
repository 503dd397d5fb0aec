"""The data sets of MedMNIST: what is published about them, and where their files lie here.

The metadata (addresses, MD5, counts, classes, licence) are those that the package medmnist ships.
Source of the data sets: Yang et al. 2023, MedMNIST v2, Scientific Data 10:41.
"""

from __future__ import annotations

import ast
import importlib.util
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from medxfer_lab.imaging.archive.errors import ArchiveError

SPLITS = ("train", "val", "test")
SIZES = (28, 64, 128, 224)


@dataclass(frozen=True)
class Entry:
    """One data set. task: MedMNIST's word, e.g. "multi-label, binary-class".

    axes: 2, or 3 for volumes. counts: images per split. published: size -> (address, MD5).
    """

    name: str
    task: str
    classes: tuple[str, ...]
    channels: int
    axes: int
    counts: dict[str, int]
    licence: str
    published: dict[int, tuple[str, str]]

    def filename(self, size: int) -> str:
        """E.g. "pneumoniamnist.npz" at 28 pixels, "pneumoniamnist_64.npz" at 64."""
        self.check_size(size)
        return f"{self.name}.npz" if size == 28 else f"{self.name}_{size}.npz"

    def check_size(self, size: int) -> None:
        """Raise unless the set is published with images of ``size`` pixels."""
        if size not in self.published:
            sizes = ", ".join(map(str, self.published))
            raise ArchiveError(f"{self.name} is not published at {size} pixels; sizes: {sizes}")

    def shape(self, size: int) -> tuple[int, ...]:
        """Of one image in the file."""
        return (size,) * self.axes + ((3,) if self.channels == 3 else ())

    def raw_bytes(self, size: int) -> int:
        """Bytes of all images and labels, one each value, before they are packed."""
        values = self.channels * size**self.axes + len(self.classes)
        return sum(self.counts.values()) * values

    def most_bytes(self, size: int) -> int:
        """No file of this set is longer: deflate adds at most 0.1 %, the rest is headers."""
        return int(1.05 * self.raw_bytes(size)) + (1 << 20)


@lru_cache(maxsize=1)
def entries() -> dict[str, Entry]:
    """Every published data set by name."""
    return {name: _entry(name, info) for name, info in _published().items()}


def entry(name: str) -> Entry:
    """The data set ``name``, or an error that lists the names."""
    if name not in entries():
        raise ArchiveError(f"there is no data set {name!r}; there are {', '.join(entries())}")
    return entries()[name]


def _published() -> dict[str, dict]:
    """The dictionary INFO of medmnist/info.py, read as text.

    Importing medmnist would take seconds (it loads scikit-learn and pandas) and make a folder in
    the user's home.
    """
    spec = importlib.util.find_spec("medmnist")
    if spec is None or not spec.submodule_search_locations:
        raise ArchiveError("the package medmnist is not installed: pip install medmnist")
    path = Path(next(iter(spec.submodule_search_locations))) / "info.py"
    try:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "INFO":
                return ast.literal_eval(node.value)
    except (OSError, SyntaxError, ValueError):
        pass
    from medmnist.info import INFO  # written in another way than in the versions known so far

    return INFO


def _entry(name: str, info: dict) -> Entry:
    published = {}
    for size in SIZES:
        suffix = "" if size == 28 else f"_{size}"
        if f"url{suffix}" in info and f"MD5{suffix}" in info:
            published[size] = (info[f"url{suffix}"], info[f"MD5{suffix}"].lower())
    labels = info["label"]
    return Entry(
        name=name,
        task=info["task"],
        classes=tuple(labels[key] for key in sorted(labels, key=int)),
        channels=info["n_channels"],
        axes=3 if name.endswith("3d") else 2,
        counts=dict(info["n_samples"]),
        licence=info["license"],
        published=published,
    )


def folders(folder: str | os.PathLike | None = None) -> list[Path]:
    """Where files are looked for: ``folder``, else MEDXFER_DATA and then the course's own folder.

    The first is where a fetched file goes.
    """
    if folder is not None:
        return [Path(folder).expanduser()]
    from medxfer_lab.course.progress import home  # the folder of all that the course keeps

    named = os.environ.get("MEDXFER_DATA")
    return ([Path(named).expanduser()] if named else []) + [home() / "data"]


def find(filename: str, folder: str | os.PathLike | None = None) -> Path | None:
    """The first file of that name in :func:`folders`."""
    return next((p / filename for p in folders(folder) if (p / filename).is_file()), None)


def is_published(path: Path, entry: Entry, size: int) -> bool:
    """Whether the file is, to the bit, the published one (MD5)."""
    status = path.stat()
    return _md5(path, status.st_size, status.st_mtime_ns) == entry.published[size][1]


@lru_cache(maxsize=64)
def _md5(path: Path, size: int, changed: int) -> str:
    from medxfer_lab._download import digest_of

    return digest_of(path, "md5")
