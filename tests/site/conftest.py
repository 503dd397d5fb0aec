"""The built book, a copy of the sample book, and a browser to read them with."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.site.visitor import FLAGS, Visitor, served
from tools import build_book, chromium, layout

SAMPLE = Path(__file__).with_name("sample")


@pytest.fixture(scope="session")
def site() -> Path:
    """The course's own site, built if it is not current; a failed build fails every test here."""
    return build_book.build()


@pytest.fixture(scope="session")
def sample(tmp_path_factory) -> Path:
    """A folder like the repository that holds the sample book instead of the course."""
    from medxfer_lab.course.record import Record

    root = tmp_path_factory.mktemp("sample")
    ignore = shutil.ignore_patterns("__pycache__")
    for name in ("medxfer_lab", "tools"):
        shutil.copytree(layout.ROOT / name, root / name, ignore=ignore)
    for name in ("_config.yml", "constraints.txt", "LICENSE-text"):
        shutil.copy(layout.ROOT / name, root)
    shutil.copytree(SAMPLE, root, dirs_exist_ok=True)
    assets = layout.ROOT / "book" / "_assets"
    shutil.copytree(assets, root / "book" / "_assets")
    Record(
        chapter="sample",
        experiment="demo",
        data="toy",
        device="cpu",
        preset="smoke",
        version=1,
        fingerprint="0" * 64,
        results={"auc": {"mean": 0.8123}, "word": "holds"},
    ).save(root / "medxfer_lab" / "sample" / "records" / "demo.toy.cpu.json")
    return root


@pytest.fixture(scope="session")
def command():
    """Run a module of a copied repository: command(root, 'tools.build_book', ...)."""

    def run(root: Path, module: str, *arguments: str, path: str | None = None):
        env = {**os.environ, "PYTHONPATH": str(root)}
        if path is not None:
            env["PATH"] = path
        return subprocess.run(
            [sys.executable, "-m", module, *arguments],
            cwd=root,
            env=env,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium.ensure(), args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def visit(browser):
    """visit(width=..., dark=...) -> Visitor; its contexts are closed after the test."""
    contexts = []

    def make(width: int = 1280, height: int = 900, dark: bool = False) -> Visitor:
        scheme = "dark" if dark else "light"
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme
        )
        contexts.append(context)
        return Visitor(context)

    yield make
    for context in contexts:
        context.close()


@pytest.fixture(scope="session")
def bases(site):
    """Both ways to read the site: served, and from its folder."""
    with served(site) as http:
        yield {"http": http, "file": site.as_uri()}
