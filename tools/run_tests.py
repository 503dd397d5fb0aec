"""Run all tests (`make test`): a browser is found or brought first; the tests build the book."""

from __future__ import annotations

import subprocess
import sys
import time

from tools import chromium
from tools.layout import ROOT


def main(arguments: list[str]) -> int:
    try:
        print(f"browser: {chromium.ensure()}", flush=True)
    except (RuntimeError, FileNotFoundError) as error:
        print(error)
        return 1
    started = time.monotonic()
    command = [sys.executable, "-m", "pytest", *arguments]
    done = subprocess.run(command, cwd=ROOT, check=False)
    print(f"tests took {time.monotonic() - started:.0f} s")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
