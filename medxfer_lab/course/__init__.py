"""What a page is made of: pictures, explorers, numbers, exercises, records, claims, editions.

`picture`, `explorer` and `numbers` are functions that share their module's name; they are bound
here at once, so that it is always the function that `from medxfer_lab.course import` finds. The
rest is looked up when asked for.
"""

from __future__ import annotations

import importlib
from typing import Any

from medxfer_lab.course.explorer import explorer
from medxfer_lab.course.numbers import glue_numbers, numbers
from medxfer_lab.course.picture import Picture, picture

_WHERE = {
    "Claim": "claim",
    "Verdict": "claim",
    "evidence_table": "claim",
    "judge": "claim",
    "Exercise": "exercise",
    "Feedback": "exercise",
    "Variant": "exercise",
    "Wrong": "exercise",
    "Job": "jobs",
    "JobReport": "jobs",
    "run_jobs": "jobs",
    "Record": "record",
    "RecordError": "record",
    "fingerprint": "record",
    "records": "record",
}

__all__ = ["Picture", "explorer", "glue_numbers", "numbers", "picture", *_WHERE]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"medxfer_lab.course has no {name!r}; it has {', '.join(__all__)}")
    return getattr(importlib.import_module(f"medxfer_lab.course.{_WHERE[name]}"), name)
