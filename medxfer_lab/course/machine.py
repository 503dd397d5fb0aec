"""What a result was measured on: packages and processors, in words."""

from __future__ import annotations

import functools
import os
import platform
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


@functools.cache
def _installed() -> tuple[tuple[str, str], ...]:
    names = ("torch", "numpy", "scipy", "scikit-learn", "nilearn")
    found = [("python", platform.python_version())]
    for name in names:
        try:
            found.append((name, version(name)))
        except PackageNotFoundError:
            continue
    return tuple(found)


def software_versions() -> dict[str, str]:
    """Versions of python and of the packages that results depend on (those installed)."""
    return dict(_installed())


def device_name(device: str) -> str:
    """What the machine calls its processor: the GPU's name, or the CPU's model and cores."""
    if device == "cuda":
        import torch

        return torch.cuda.get_device_name() if torch.cuda.is_available() else "GPU (not present)"
    model = platform.processor() or platform.machine()
    try:
        cpuinfo = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        found = re.search(r"^model name\s*:\s*(.+)$", cpuinfo, re.M)
        model = found[1].strip() if found else model
    except OSError:
        pass
    return f"{model}, {os.cpu_count()} cores"
