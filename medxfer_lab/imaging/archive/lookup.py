"""DICOM's lookup tables: from stored values to units (modality) or to colours (palette)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from medxfer_lab.imaging.archive.dicom_file import DicomFile
from medxfer_lab.imaging.archive.errors import refusal, shown

MOST_ENTRIES = 1 << 16  # the descriptor has 16 bits for their number; 0 stands for 65,536
COLOURS = ("Red", "Green", "Blue")


@dataclass(frozen=True)
class Table:
    """values: (entries,) or (entries, 3). first: the stored value that the first entry is for."""

    values: np.ndarray
    first: int

    @property
    def top(self) -> int:
        """Largest value that an entry can hold."""
        return int(np.iinfo(self.values.dtype).max)

    def __call__(self, stored: np.ndarray) -> np.ndarray:
        """Entries of integer values; those outside take the nearest entry (PS3.3, C.11.1.1)."""
        index = np.clip(stored.astype(np.int64) - self.first, 0, len(self.values) - 1)
        return self.values[index]


def modality_table(scan: DicomFile) -> tuple[Table, str] | None:
    """The table of the Modality LUT Sequence and its LUT type, if there is one."""
    items = scan.header.get("ModalityLUTSequence")
    if not items:
        return None
    item = items[0]
    entries, first, _ = _descriptor(scan, item.get("LUTDescriptor"), "LUTDescriptor")
    values = _numbers(scan, item.get("LUTData"), entries, "LUTData")
    return Table(values, first), str(item.get("ModalityLUTType", "") or "US")


def palette_table(scan: DicomFile) -> Table:
    """Red, green and blue of each stored value, from whole or segmented tables."""
    columns, first = [], 0
    for colour in COLOURS:
        name = f"{colour}PaletteColorLookupTable"
        entries, first, bits = _descriptor(
            scan, scan.header.get(name + "Descriptor"), name + "Descriptor"
        )
        if scan.header.get(name + "Data") is not None:
            values = _numbers(scan, scan.header.get(name + "Data"), entries, name + "Data")
        else:
            name = f"Segmented{name}Data"
            data = scan.header.get(name)
            values = _segmented(scan, data, entries, bits, name)
        columns.append(values)
    sizes = {(len(values), values.dtype) for values in columns}
    if len(sizes) > 1:
        raise refusal(
            scan.path,
            f"its colour tables have {[len(values) for values in columns]} entries",
            "red, green and blue of one size",
        )
    return Table(np.stack(columns, axis=1), first)


def _descriptor(scan: DicomFile, value: Any, name: str) -> tuple[int, int, int]:
    """(entries, first stored value, bits of an entry)"""
    try:
        entries, first, bits = (int(part) for part in value)
    except (TypeError, ValueError) as error:
        raise refusal(scan.path, f"its {name} is {shown(value)}", "three numbers") from error
    entries = entries or MOST_ENTRIES
    if not (1 <= entries <= MOST_ENTRIES and abs(first) <= MOST_ENTRIES and 1 <= bits <= 16):
        raise refusal(
            scan.path,
            f"its {name} is {shown([entries, first, bits])}",
            f"1 to {MOST_ENTRIES:,} entries of 1 to 16 bits",
        )
    if scan.header.get("PixelRepresentation") == 1 and first >= 1 << 15:
        first -= 1 << 16  # an unsigned field that stands for a signed one
    return entries, first, bits


def _numbers(scan: DicomFile, data: Any, entries: int, name: str) -> np.ndarray:
    """The table's entries: bytes of one or two each, or numbers that pydicom has already read."""
    if isinstance(data, bytes):
        if len(data) - entries in (0, 1):  # an odd number of bytes is padded
            return np.frombuffer(data, np.uint8, entries)
        if len(data) >= 2 * entries:
            words = np.frombuffer(data, "<u2" if scan.little_endian else ">u2", entries)
            return words.astype(np.uint16)
        found = len(data)
    else:
        numbers = np.atleast_1d(np.asarray(data if data is not None else []))
        if numbers.ndim == 1 and len(numbers) >= entries and numbers.dtype.kind in "iu":
            return (numbers[:entries] & 0xFFFF).astype(np.uint16)
        found = len(numbers)
    raise refusal(scan.path, f"its {name} has {found:,} bytes or numbers", f"{entries:,} entries")


def _segmented(scan: DicomFile, data: Any, entries: int, bits: int, name: str) -> np.ndarray:
    """Expand a table of runs, never beyond ``entries`` (PS3.3, C.7.9.2).

    Segments: 0, n, then n values; 1, n, y: a straight line from the last value to y in n steps.
    Indirect segments (2), which repeat others and may repeat themselves, are refused.
    """
    if not isinstance(data, bytes) or not data:
        raise refusal(scan.path, f"has no {name.removeprefix('Segmented')}", "a colour table")
    wide = bits > 8
    order = "<u2" if scan.little_endian else ">u2"
    count = len(data) // 2 * 2 if wide else len(data)
    words = np.frombuffer(data[:count], order if wide else np.uint8).tolist()
    table = _expand(words, entries)
    if table is None or len(table) != entries:
        raise refusal(
            scan.path,
            f"its {name} cannot be expanded to {entries:,} entries",
            "discrete and linear segments that fill the table",
            "convert the picture to RGB in another program",
        )
    return np.asarray(table, dtype=np.uint16 if wide else np.uint8)


def _expand(words: Sequence[int], entries: int) -> list[int] | None:
    table: list[int] = []
    place = 0
    while place + 2 < len(words) and len(table) < entries:
        kind, length = words[place], words[place + 1]
        if kind == 0:
            table += words[place + 2 : place + 2 + length]
            place += 2 + length
        elif kind == 1 and table:
            start, stop = table[-1], words[place + 2]
            table += [round(start + (stop - start) * k / length) for k in range(1, length + 1)]
            place += 3
        else:
            return None
    return table
