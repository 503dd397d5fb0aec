"""Records: what an experiment measured, with everything needed to trust or repeat it.

One JSON file per experiment, data set and device:
``medxfer_lab/<chapter>/records/<experiment>.<data>.<device>.json``.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from medxfer_lab.course.atomic import sweep_leftovers, write_atomically
from medxfer_lab.course.machine import device_name, software_versions

SCHEMA = 1
PRESETS = ("smoke", "quick", "full")
#: fields that may differ between two runs that measured the same thing
INCIDENTAL = ("wall_s", "date", "versions", "device_name")


class RecordError(ValueError):
    """A record that is malformed, truncated, or not a record at all."""


@dataclass(frozen=True)
class Record:
    """One experiment's results and their circumstances.

    ``results`` is a nested dict whose leaves are numbers, strings, None or lists of these; an
    estimate is a dict such as ``{"mean": .., "low": .., "high": .., "n": ..}``. Keys carry no dots,
    because ``value("a.b.c")`` and the numbers in the prose use dots to go down. Numpy numbers and
    arrays become plain ones, and integer keys become strings, on construction: a record equals
    itself after a trip to disk. ``wall_s`` is in seconds, ``date`` is ISO (YYYY-MM-DD).

    Raises :class:`RecordError` for a value that JSON cannot hold, an infinite or undefined number,
    an unknown device or preset, or a name that cannot be part of a file name.
    """

    chapter: str
    experiment: str
    data: str
    device: str
    preset: str
    version: int
    fingerprint: str
    results: dict[str, Any]
    parameters: dict[str, Any] = field(default_factory=dict)
    seeds: Any = None
    sizes: Any = None
    wall_s: float = 0.0
    device_name: str = ""
    date: str = ""
    versions: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("chapter", "experiment", "data"):
            value = getattr(self, name)
            if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9_-]+", value):
                raise RecordError(f"{name}={value!r}: expected letters, digits, _ or - only")
        _one_of("device", self.device, ("cpu", "cuda"))
        _one_of("preset", self.preset, PRESETS)
        if not isinstance(self.version, int) or isinstance(self.version, bool):
            raise RecordError(f"version={self.version!r}: expected a whole number")
        if not isinstance(self.fingerprint, str) or not re.fullmatch(
            r"[0-9a-f]{64}", self.fingerprint
        ):
            raise RecordError(
                f"fingerprint={self.fingerprint!r}: expected 64 hexadecimal digits; "
                "make it with fingerprint(...)"
            )
        if not isinstance(self.results, Mapping) or not self.results:
            raise RecordError("results: expected a dict with at least one entry")
        for name in ("results", "parameters", "seeds", "sizes", "wall_s", "versions"):
            object.__setattr__(self, name, plain(getattr(self, name), name))
        if not isinstance(self.wall_s, int | float) or self.wall_s < 0:
            raise RecordError(f"wall_s={self.wall_s!r}: expected seconds, 0 or more")
        defaults = {
            "device_name": lambda: device_name(self.device),
            "date": lambda: datetime.date.today().isoformat(),
            "versions": software_versions,
        }
        for name, make in defaults.items():
            if not getattr(self, name):
                object.__setattr__(self, name, make())

    @property
    def name(self) -> str:
        """``<experiment>.<data>``, by which pages and claims ask for it."""
        return f"{self.experiment}.{self.data}"

    @property
    def path(self) -> Path:
        """Where the record lives inside the package."""
        return records_folder(self.chapter) / f"{self.name}.{self.device}.json"

    def value(self, path: str) -> Any:
        """The entry of ``results`` at a dotted path; a list is entered by its index.

        A path that leads nowhere is a KeyError that lists what there is at the last good step.
        """
        here: Any = self.results
        for depth, key in enumerate(path.split(".")):
            if isinstance(here, dict) and key in here:
                here = here[key]
            elif isinstance(here, list) and key.isdigit() and int(key) < len(here):
                here = here[int(key)]
            else:
                stem = ".".join(path.split(".")[:depth]) or "results"
                known = list(here) if isinstance(here, dict) else f"type {type(here).__name__}"
                raise KeyError(f"record {self.name}: no {key!r} in {stem}; there is {known}")
        return here

    def save(self, path: str | Path | None = None) -> Path:
        """Write the record (sorted keys, atomically), by default to :attr:`path`; return where."""
        content = {"schema": SCHEMA, **asdict(self)}
        text = json.dumps(content, sort_keys=True, indent=1, allow_nan=False, ensure_ascii=False)
        path = Path(path or self.path)
        sweep_leftovers(path.parent)  # of a run that was killed while it saved
        return write_atomically(path, text + "\n")

    @classmethod
    def load(cls, path: str | Path) -> Record:
        """Read a record; :class:`RecordError` names the file and what is wrong with it."""
        path = Path(path)
        try:
            content = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_constant)
        except FileNotFoundError:
            raise RecordError(
                f"no record {path.name!r}: run the experiment that writes it"
            ) from None
        except (OSError, ValueError, RecursionError) as error:
            raise RecordError(
                f"record {path.name!r} cannot be read ({error}): truncated or not JSON? "
                "Run its experiment again, or restore the file."
            ) from None
        if not isinstance(content, dict) or content.get("schema") != SCHEMA:
            found = content.get("schema") if isinstance(content, dict) else type(content).__name__
            raise RecordError(f"{path.name!r} is not a record of schema {SCHEMA} (found {found!r})")
        del content["schema"]
        names = {f.name for f in fields(cls)}
        if missing := sorted(names - set(content)):
            raise RecordError(f"record {path.name!r} lacks {', '.join(missing)}")
        if unknown := sorted(set(content) - names):
            raise RecordError(f"record {path.name!r} has unknown entries {', '.join(unknown)}")
        try:
            return cls(**content)
        except RecordError as error:
            raise RecordError(f"record {path.name!r}: {error}") from None


def records_folder(chapter: str) -> Path:
    """The folder of a chapter's records inside the package."""
    return Path(__file__).resolve().parents[1] / chapter / "records"


def every_record(chapter: str, folder: str | Path | None = None) -> list[Record]:
    """All records of a chapter, every device, in order of file name.

    A file that is no record, or whose name contradicts its content, raises :class:`RecordError`.
    """
    found = []
    for path in sorted(Path(folder or records_folder(chapter)).glob("*.json")):
        record = Record.load(path)
        if record.chapter != chapter or path.name != record.path.name:
            raise RecordError(
                f"{path.name!r} among the records of {chapter!r} holds "
                f"{record.chapter}/{record.path.name}: rename or remove it"
            )
        found.append(record)
    return found


def records(
    chapter: str, device: str | None = None, folder: str | Path | None = None
) -> dict[str, Record]:
    """The chapter's records by ``<experiment>.<data>``.

    Where several devices measured the same thing, the larger preset wins, then the GPU's record
    (it can afford the larger statistics); ``device`` restricts the choice to one device.
    """
    best: dict[str, Record] = {}
    for record in every_record(chapter, folder):
        if device in (None, record.device):
            known = best.get(record.name)
            if known is None or _rank(record) > _rank(known):
                best[record.name] = record
    return best


def _rank(record: Record) -> tuple[int, bool]:
    return PRESETS.index(record.preset), record.device == "cuda"


def fingerprint(
    parameters: Mapping[str, Any],
    *,
    weights: Mapping[str, str] | Iterable[str] = (),
    data: str = "",
    version: int = 1,
) -> str:
    """SHA-256 over all that a result depends on, as 64 hexadecimal digits.

    ``parameters``: what was asked for; ``weights``: digests of the networks' weights; ``data``:
    digest of the data; ``version``: raised by hand when the experiment's meaning changes. Order of
    keys, tuples against lists, and numpy against plain numbers make no difference.
    """
    weights = weights if isinstance(weights, Mapping) else list(weights)
    content = {"parameters": parameters, "weights": weights, "data": data, "version": version}
    return hashlib.sha256(canonical_json(content).encode()).hexdigest()


def canonical_json(value: Any) -> str:
    """One text for one value: sorted keys, no spaces, plain numbers."""
    return json.dumps(plain(value), sort_keys=True, separators=(",", ":"), allow_nan=False)


def plain(value: Any, where: str = "value") -> Any:
    """``value`` with numpy, tuples and integer keys turned into what JSON holds.

    Raises :class:`RecordError`, naming the place, for anything else and for nan or infinity.
    """
    if value is None or isinstance(value, str | bool | int) and not isinstance(value, np.generic):
        return value
    if isinstance(value, np.bool_ | np.integer | np.str_):
        return value.item()
    if isinstance(value, float | np.floating):
        if not math.isfinite(value):
            raise RecordError(f"{where}={value}: records hold finite numbers; use None for 'none'")
        return float(value)
    if isinstance(value, np.ndarray):
        return plain(value.tolist(), where)
    if isinstance(value, list | tuple):
        return [plain(item, f"{where}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, Mapping):
        return {_key(k, where): plain(v, f"{where}.{k}") for k, v in value.items()}
    raise RecordError(
        f"{where} is a {type(value).__name__}: expected numbers, text, None, lists, dicts"
    )


def _key(key: Any, where: str) -> str:
    if isinstance(key, int | np.integer) and not isinstance(key, bool):
        key = str(int(key))
    if not isinstance(key, str) or not key or (where.startswith("results") and "." in key):
        raise RecordError(f"key {key!r} in {where}: expected non-empty text without dots")
    return key


def differences(a: Record, b: Record, rtol: float = 0.0, atol: float = 0.0) -> list[str]:
    """Where two records differ, leaving out wall time, date, versions and the device's name.

    Two numbers agree when ``|a - b| <= atol + rtol * |b|``; all else must be equal. An empty list
    means that the second run repeated the first.
    """
    left, right = asdict(a), asdict(b)
    for name in INCIDENTAL:
        del left[name], right[name]
    return list(_differ(left, right, rtol, atol, ""))


def _differ(a: Any, b: Any, rtol: float, atol: float, where: str) -> Iterable[str]:
    if isinstance(a, dict) and isinstance(b, dict):
        for key in sorted(set(a) | set(b)):
            here = f"{where}.{key}".lstrip(".")
            if key in a and key in b:
                yield from _differ(a[key], b[key], rtol, atol, here)
            else:
                yield f"{here}: only in the {'first' if key in a else 'second'}"
    elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            yield from _differ(x, y, rtol, atol, f"{where}.{i}")
    elif isinstance(a, int | float) and isinstance(b, int | float):
        if not abs(a - b) <= atol + rtol * abs(b):
            yield f"{where}: {a!r} against {b!r}"
    elif a != b:
        yield f"{where}: {a!r} against {b!r}"


def _one_of(name: str, value: Any, known: tuple[str, ...]) -> None:
    if value not in known:
        raise RecordError(f"{name}={value!r}: expected one of {', '.join(known)}")


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is not a finite number")
