"""A failed build in a few lines: the page, the cell, the error."""

from __future__ import annotations

from tools.failures import crash, failing_cell, from_build
from tools.layout import ROOT

TRACE = """Traceback (most recent call last):
nbclient.exceptions.CellExecutionError: An error occurred while executing the following cell:
------------------
x = 1
y = x / 0
------------------


\x1b[31m---------------------------------------------------------------------------\x1b[39m
\x1b[31mZeroDivisionError\x1b[39m                         Traceback (most recent call last)
Cell \x1b[32mIn[2]\x1b[39m\x1b[32m, line 2\x1b[39m
\x1b[31mZeroDivisionError\x1b[39m: division by zero
"""


def test_a_failing_cell_is_page_number_first_lines_and_error(tmp_path):
    page = tmp_path / "page.md"
    head = "---\nkernelspec: {name: python3, display_name: P}\n---\n# P\n\n"
    cells = ["a = 0", "x = 1\ny = x / 0"]
    page.write_text(head + "\n".join(f"```{{code-cell}} python3\n{cell}\n```\n" for cell in cells))
    assert failing_cell(page, TRACE) == [
        f"{page}: code cell 2 of 2 failed",
        "    | x = 1",
        "    | y = x / 0",
        "  ZeroDivisionError: division by zero",
    ]


def test_warnings_are_listed_once_with_short_paths(tmp_path):
    log = (
        f"reading sources... [100%]\n{ROOT}/book/intro.md:9: WARNING: target not found: 'x.md'\n"
        f"\x1b[31m{ROOT}/book/intro.md:9: WARNING: target not found: 'x.md'\x1b[39m\n"
        f"{ROOT}/book/lab.md: WARNING: Executing notebook failed: CellExecutionError\n"
    )
    assert from_build(log, tmp_path) == ["book/intro.md:9: target not found: 'x.md'"]


def test_a_crash_says_its_error_last():
    log = "Traceback\n  x\nsphinx.errors.ExtensionError: no module y\nRuntimeError: box\n=====\n"
    assert crash(log) == ["sphinx.errors.ExtensionError: no module y"]
