"""Every learner's notebook is run whole, as a learner would: Run All in a fresh kernel."""

from __future__ import annotations

import nbformat
import pytest
from nbclient import NotebookClient

from tools import layout

pytestmark = pytest.mark.slow
NOTEBOOKS = sorted(
    path.relative_to(layout.ROOT) for path in layout.ROOT.glob("notebooks/**/*.ipynb")
)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=str)
def test_run_all(path, tmp_path, learner_home, monkeypatch):
    monkeypatch.delenv("MEDXFER_QUIET", raising=False)  # a learner sees the progress bars
    monkeypatch.delenv("MPLBACKEND", raising=False)
    monkeypatch.setenv("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    made = nbformat.read(layout.ROOT / path, as_version=4)
    resources = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(made, timeout=300, kernel_name="python3", resources=resources).execute()
    said = [
        (number, output.text)
        for number, cell in enumerate(made.cells, 1)
        for output in cell.get("outputs", ())
        if output.output_type == "stream" and output.name == "stderr"
    ]
    assert said == [], "a cell wrote to stderr"


def test_there_are_notebooks():
    assert len(NOTEBOOKS) == sum(layout.notebook_of(page) is not None for page in layout.pages())
