"""Small npz files in the shared layouts, and zips made by hand to be wrong."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np


def npy(array: np.ndarray) -> bytes:
    """A member as numpy.save writes it."""
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def npy_with(header: str, body: bytes, version: int = 1) -> bytes:
    """A member with any header text."""
    text = header.encode("latin-1")
    form = "<H" if version == 1 else "<I"
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack(form, len(text)) + text + body


def pack(members: dict[str, bytes], path: Path, method: int = zipfile.ZIP_DEFLATED) -> Path:
    """A zip of these members."""
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data, method)
    return path


def pack_zeros(path: Path, header: bytes, size: int, name: str = "train_images.npy") -> Path:
    """A zip bomb: one member of ``header`` and ``size`` zeros, a thousandth of that on disk."""
    engine, zeros = zlib.compressobj(9, zlib.DEFLATED, -15), bytes(1 << 20)
    check, parts = zlib.crc32(header), [engine.compress(header)]
    for _ in range(size >> 20):
        parts.append(engine.compress(zeros))
        check = zlib.crc32(zeros, check)
    data = b"".join((*parts, engine.flush()))
    path.write_bytes(raw_zip([(name, data, len(header) + (size >> 20 << 20), check)]))
    return path


def raw_zip(members: list[tuple[str, bytes, int, int]], flags: int = 0, method: int = 8) -> bytes:
    """(name, packed bytes, length said, checksum) -> a zip that says so."""
    body, directory = b"", b""
    for name, data, size, check in members:
        common = struct.pack(
            "<HHHHHIIIHH", 20, flags, method, 0, 0x21, check, len(data), size, len(name), 0
        )
        directory += (
            b"PK\x01\x02\x14\x00" + common + struct.pack("<HHHII", 0, 0, 0, 0, len(body))
        ) + name.encode()
        body += b"PK\x03\x04" + common + name.encode() + data
    end = struct.pack("<HHHHIIH", 0, 0, len(members), len(members), len(directory), len(body), 0)
    return body + directory + b"PK\x05\x06" + end


def layout(n: int = 12, size: int = 28, seed: int = 0, colour: bool = False, axes: int = 2) -> dict:
    """Arrays in MedMNIST's layout: binary labels, n, n//2 and n//3 images."""
    rng = np.random.default_rng(seed)
    shape = (size,) * axes + ((3,) if colour else ())
    arrays = {}
    for split, count in (("train", n), ("val", n // 2), ("test", n // 3)):
        arrays[f"{split}_images"] = rng.integers(0, 256, (count, *shape), dtype=np.uint8)
        arrays[f"{split}_labels"] = (np.arange(count)[:, None] % 2).astype(np.uint8)
    return arrays
