"""Damaged copies of a good file, the same ones every time.

``mutations(data, seed, count)`` yields (name, bytes): truncations, flipped bits, overwritten,
removed, repeated and swapped stretches. ``head`` is where a format keeps its header, in bytes from
the start: half of the damage is done there, where it can mislead a reader.
"""

from __future__ import annotations

import functools
import struct
import zlib
from collections.abc import Callable, Iterator

import numpy as np

Damage = Callable[[bytes, np.random.Generator, int], bytes]


def mutations(data: bytes, seed: int, count: int, head: int = 512) -> Iterator[tuple[str, bytes]]:
    """``count`` damaged copies of ``data``, each kind of damage in turn, none equal to ``data``."""
    rng = np.random.default_rng((seed, zlib.crc32(data)))
    made = 0
    while made < count:
        name, damage = KINDS[made % len(KINDS)]
        # both places in turn for every kind, whatever the number of kinds
        reach = head if (made // len(KINDS)) % 2 == 0 else len(data)
        damaged = damage(data, rng, min(reach, len(data)))
        if damaged != data:
            yield f"{name}-{made}", damaged
            made += 1


def truncate(data: bytes, rng: np.random.Generator, reach: int) -> bytes:
    return data[: int(rng.integers(0, reach))]


def flip_bit(data: bytes, rng: np.random.Generator, reach: int) -> bytes:
    damaged = bytearray(data)
    damaged[int(rng.integers(reach))] ^= 1 << int(rng.integers(8))
    return bytes(damaged)


def flip_many(data: bytes, rng: np.random.Generator, reach: int) -> bytes:
    damaged = bytearray(data)
    for place in rng.integers(reach, size=max(8, reach // 64)):
        damaged[int(place)] ^= 1 << int(rng.integers(8))
    return bytes(damaged)


def overwrite(data: bytes, rng: np.random.Generator, reach: int) -> bytes:
    """A stretch of zeros, of ones or of noise: fields with their extreme and absurd values."""
    damaged = bytearray(data)
    start, length = int(rng.integers(reach)), int(rng.integers(1, 33))
    filling = (b"\x00", b"\xff", b"")[int(rng.integers(3))] * length or rng.bytes(length)
    damaged[start : start + length] = filling
    return bytes(damaged[: len(data)])


def remove(data: bytes, rng: np.random.Generator, reach: int) -> bytes:
    start, length = int(rng.integers(reach)), int(rng.integers(1, 65))
    return data[:start] + data[start + length :]


def repeat(data: bytes, rng: np.random.Generator, reach: int) -> bytes:
    start, length = int(rng.integers(reach)), int(rng.integers(1, 65))
    return data[: start + length] + data[start:]


def swap(data: bytes, rng: np.random.Generator, reach: int) -> bytes:
    """Two stretches exchanged: fields in the wrong place."""
    length = int(rng.integers(4, 33))
    first, second = (int(place) for place in rng.integers(reach, size=2))
    damaged = bytearray(data)
    damaged[first : first + length] = data[second : second + length]
    damaged[second : second + length] = data[first : first + length]
    return bytes(damaged)


KINDS: tuple[tuple[str, Damage], ...] = (
    ("truncate", truncate),
    ("flip-bit", flip_bit),
    ("flip-many", flip_many),
    ("overwrite", overwrite),
    ("remove", remove),
    ("repeat", repeat),
    ("swap", swap),
)


@functools.cache
def gzip_bomb(size: int) -> bytes:
    """A gzip file of ``size`` zero bytes: a thousandth of that on disk."""
    check, zeros = 0, bytes(1 << 20)
    for _ in range(size >> 20):
        check = zlib.crc32(zeros, check)
    head = b"\x1f\x8b\x08" + bytes(6) + b"\xff"
    return head + deflate_bomb(size) + struct.pack("<II", check, size)


def deflate_bomb(size: int) -> bytes:
    """A raw deflate stream of ``size`` zero bytes (whole MiB), made in no time.

    After a full flush the compressor starts afresh, so that one block may be repeated.
    """
    engine = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = engine.compress(bytes(1 << 20)) + engine.flush(zlib.Z_FULL_FLUSH)
    return block * (size >> 20) + b"\x03\x00"  # an empty last block
