"""Find a Chromium for the browser tests, or bring one: `python -m tools.chromium` prints its path.

Order: the one named by MEDXFER_CHROMIUM, one on the PATH, Playwright's own, and if none is there,
`apt-get` (as root) or `playwright install chromium`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def find() -> str | None:
    """Path of a Chromium that is here already, or None."""
    named = os.environ.get("MEDXFER_CHROMIUM")
    if named:
        if not Path(named).exists():
            raise FileNotFoundError(f"MEDXFER_CHROMIUM names {named}, which does not exist")
        return named
    for name in NAMES:
        if found := shutil.which(name):
            return found
    return _playwrights_own()


def ensure() -> str:
    """Path of a Chromium, installed if there was none; RuntimeError says what to do by hand."""
    if found := find():
        return found
    print("no Chromium found: installing one for the browser tests", flush=True)
    tries = [[sys.executable, "-m", "playwright", "install", "chromium"]]
    if shutil.which("apt-get") and os.geteuid() == 0:
        apt = ["apt-get", "-qq", "-o", "Dpkg::Use-Pty=0"]
        tries = [[*apt, "update"], [*apt, "install", "-y", "chromium"], *tries]
    for command in tries:
        subprocess.run(
            command,
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
        )
        if found := find():
            return found
    raise RuntimeError(
        "the browser tests need Chromium and none could be installed: install the package "
        "'chromium', or run `playwright install chromium`, or name one in MEDXFER_CHROMIUM"
    )


def _playwrights_own() -> str | None:
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return None
    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    return path if Path(path).exists() else None


if __name__ == "__main__":
    print(ensure())
