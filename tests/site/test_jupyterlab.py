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
    for _ in range(240):
        try:
            urllib.request.urlopen(f"{address}/api/status", timeout=1)
            break
        except OSError:
            time.sleep(0.25)
    else:
        raise RuntimeError((folder / "lab.log").read_text()[-2000:])
    yield address
    server.terminate()
    server.wait(20)


def open_and_run_all(page, address: str, notebook: str) -> None:
    page.goto(f"{address}/lab/tree/{notebook}?reset")
    page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=60_000)
    idle = ".jp-Notebook-ExecutionIndicator[data-status=idle]"
    try:  # on a first visit JupyterLab may ask which kernel
        page.locator(".jp-Dialog").wait_for(timeout=3_000)
        page.keyboard.press("Enter")
    except Exception:  # noqa: BLE001 - it did not ask
        pass
    page.wait_for_selector(idle, timeout=60_000)
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    wait_until_run(page)
    assert page.locator(TROUBLE).count() == 0


def wait_until_run(page) -> None:
    """All code cells have a number and none is waiting (`[*]`)."""
    page.wait_for_function(
        """() => {
          const prompts = [...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')]
            .map(p => p.textContent.trim());
          return prompts.length && prompts.every(p => /^\\[\\d+\\]:?$/.test(p));
        }""",
        timeout=240_000,
    )


def test_a_slider_moves(lab, visit):
    reader = visit(width=1300, height=1000)
    open_and_run_all(reader.page, lab, "bias_variance/text.ipynb")
    found = explorers(reader.page)
    assert found
    for explorer in found:
        explorer.scroll_into_view_if_needed()
        move_every_slider(reader.page, explorer)
    assert reader.outside == []


def test_an_exercise_answers_right_and_wrong(lab, visit):
    from medxfer_lab.bias_variance.practice import exercises

    exercise = exercises(0)["bias_of_l2sp"]
    right, wrong = exercise.right[0].value, exercise.wrong[0].value
    reader = visit(width=1300, height=1000)
    open_and_run_all(reader.page, lab, "bias_variance/practice.ipynb")
    cell = reader.page.locator(".jp-CodeCell").filter(has_text='ex["bias_of_l2sp"].check(answer)')
    seen = [cell.locator(".exercise-feedback strong").inner_text()]
    for answer in (wrong, right):
        cell.locator(".cm-content").click()
        reader.page.keyboard.press("Control+A")
        reader.page.keyboard.insert_text(f'ex["bias_of_l2sp"].check({answer!r})')
        reader.page.keyboard.press("Shift+Enter")
        wait_until_run(reader.page)
        cell = reader.page.locator(".jp-CodeCell").filter(has_text=f"check({answer!r})")
        seen.append(cell.locator(".exercise-feedback strong").inner_text())
    assert seen == ["… Not answered yet.", "✘ Not yet.", "✔ Right."]
    assert reader.page.locator(TROUBLE).count() == 0
    assert reader.outside == []
