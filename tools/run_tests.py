"""Run all tests (`make test`): a browser is found or brought first; the tests build the book."""

from __future__ import annotations

import os
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
    # one worker per file and core, so that what a file builds is built once
    spread = [] if arguments or (os.cpu_count() or 1) < 2 else ["-n", "2", "--dist", "loadfile"]
    command = [sys.executable, "-m", "pytest", *spread, *arguments]
    done = subprocess.run(command, cwd=ROOT, check=False)
    print(f"tests took {time.monotonic() - started:.0f} s")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
