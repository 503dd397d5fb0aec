"""A real JupyterLab in a real browser: open, Run All, move a slider, answer an exercise."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

from tests.site.visitor import explorers, move_every_slider
from tools import layout

pytestmark = [pytest.mark.browser, pytest.mark.slow]
TROUBLE = (
    '[data-mime-type="application/vnd.jupyter.error"],'
    '[data-mime-type="application/vnd.jupyter.stderr"]'
)
FOLDERS = ("CONFIG_DIR", "DATA_DIR", "RUNTIME_DIR")


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """JupyterLab on a copy of the notebooks; gives its address."""
    folder = tmp_path_factory.mktemp("lab")
    shutil.copytree(layout.ROOT / "notebooks", folder / "notebooks")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = {**os.environ, "MEDXFER_HOME": str(folder / "home")}
    env |= {f"JUPYTER_{name}": str(folder / name) for name in FOLDERS}
    env |= {f"JUPYTERLAB_{name}_DIR": str(folder / name) for name in ("SETTINGS", "WORKSPACES")}
    # cells out of sight must be in the page too, or the test could not see them
    tracker = folder / "SETTINGS" / "@jupyterlab" / "notebook-extension"
    tracker.mkdir(parents=True)
    (tracker / "tracker.jupyterlab-settings").write_text('{"windowingMode": "none"}')
    options = [
        "--no-browser",
        "--allow-root",
        f"--port={port}",
        "--ServerApp.port_retries=0",
        "--IdentityProvider.token=",
        "--ServerApp.password=",
        f"--ServerApp.root_dir={folder / 'notebooks'}",
        "--LabApp.news_url=",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        "--LabApp.extension_manager=readonly",
    ]
    with open(folder / "lab.log", "w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *options], stdout=log, stderr=log, env=env
        )
    address = f"http://127.0.0.1:{port}"
    try:
        wait_until_up(address, folder / "lab.log")
        yield address
    finally:
        server.terminate()
        server.wait(30)


def wait_until_up(address: str, log) -> None:
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(f"{address}/api/status", timeout=2)
            return
        except OSError:
            time.sleep(0.25)
    raise RuntimeError(log.read_text()[-2000:])


def open_and_run_all(page, address: str, notebook: str) -> None:
    page.goto(f"{address}/lab/tree/{notebook}?reset")
    page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=120_000)
    idle = ".jp-Notebook-ExecutionIndicator[data-status=idle]"
    try:  # on a first visit JupyterLab may ask which kernel
        page.locator(".jp-Dialog").wait_for(timeout=3_000)
        page.keyboard.press("Enter")
    except Exception:  # noqa: BLE001 - it did not ask
        pass
    page.wait_for_selector(idle, timeout=120_000)
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    wait_until_run(page)
    assert page.locator(TROUBLE).count() == 0


def wait_until_run(page) -> None:
    """The kernel is idle and every code cell has its number, none `[*]` (a cell whose code is
    folded shows a placeholder without one)."""
    page.wait_for_function(
        """() => {
          const prompts = [...document.querySelectorAll('.jp-CodeCell .jp-InputArea-prompt')]
            .map(p => p.textContent.trim());
          const kernel = document.querySelector('.jp-Notebook-ExecutionIndicator');
          return kernel.dataset.status === 'idle' && prompts.length
            && prompts.every(p => /^\\[\\d+\\]:?$/.test(p));
        }""",
        timeout=240_000,
    )


def test_run_all_move_a_slider_answer_an_exercise(lab, visit):
    from medxfer_lab.bias_variance.practice import exercises

    reader = visit(width=1300, height=1000)
    open_and_run_all(reader.page, lab, "bias_variance/practice.ipynb")
    found = explorers(reader.page)
    assert found
    for explorer in found:
        explorer.scroll_into_view_if_needed()
        move_every_slider(reader.page, explorer)

    exercise = exercises(0)["bias_of_l2sp"]
    cell = code_cell(reader.page, 'ex["bias_of_l2sp"].check(answer)')
    seen = [cell.locator(".exercise-feedback strong").inner_text()]
    for answer in (exercise.wrong[0].value, exercise.right[0].value):
        cell.locator(".cm-content").click()
        reader.page.keyboard.press("Control+A")
        reader.page.keyboard.insert_text(f'ex["bias_of_l2sp"].check({answer!r})')
        reader.page.keyboard.press("Shift+Enter")
        wait_until_run(reader.page)
        cell = code_cell(reader.page, f"check({answer!r})")
        seen.append(cell.locator(".exercise-feedback strong").inner_text())
    assert seen == ["… Not answered yet.", "✘ Not yet.", "✔ Right."]
    assert reader.page.locator(TROUBLE).count() == 0
    assert reader.outside == []


def code_cell(page, text: str):
    return page.locator(".jp-CodeCell").filter(has_text=text)
