"""The list of the course's chapters, and the way to their rooms by name.

A chapter is a folder of the package with the rooms `theory`, `experiment`, `claims`, `figures`
and `practice`. Chapters never import each other; the command line and the build find them here.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from types import ModuleType

ROOMS = ("theory", "experiment", "claims", "figures", "practice")


@dataclass(frozen=True)
class Chapter:
    """A chapter's folder name (the same in book/, notebooks/, tests/ and the package) and title."""

    name: str
    title: str


CHAPTERS: tuple[Chapter, ...] = (
    Chapter("bias_variance", "The bias-variance bargain"),
    Chapter("domain_shift", "Domain shift"),
    Chapter("loss_landscape", "The loss landscape"),
)

#: not a chapter: pages about the floor (how pictures are made, how fast training is), which have
#: experiments, figures and records as well
REFERENCE = Chapter("reference", "Reference")


def chapter(name: str) -> Chapter:
    """The chapter called `name`; an unknown name is a ValueError that lists the known ones."""
    for known in (*CHAPTERS, REFERENCE):
        if known.name == name:
            return known
    names = ", ".join(known.name for known in (*CHAPTERS, REFERENCE))
    raise ValueError(f"no chapter is called {name!r}; the chapters are: {names}")


def room(name: str, room_name: str) -> ModuleType:
    """Import one room of a chapter, e.g. `room("bias_variance", "experiment")`."""
    if room_name not in ROOMS:
        raise ValueError(f"no room is called {room_name!r}; the rooms are: {', '.join(ROOMS)}")
    return importlib.import_module(f"medxfer_lab.{chapter(name).name}.{room_name}")
