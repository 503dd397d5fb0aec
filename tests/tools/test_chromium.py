"""Finding a browser: the named one first, and words when none can be had."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tools import chromium


def test_the_named_browser_comes_first(tmp_path, monkeypatch):
    mine = tmp_path / "my-browser"
    mine.touch()
    monkeypatch.setenv("MEDXFER_CHROMIUM", str(mine))
    assert chromium.find() == str(mine)
    mine.unlink()
    with pytest.raises(FileNotFoundError, match="my-browser, which does not exist"):
        chromium.find()


@pytest.mark.parametrize("root", [True, False])
def test_none_to_be_had_is_an_error_that_says_what_to_do(monkeypatch, root):
    tried = []
    monkeypatch.setattr(chromium, "find", lambda: None)
    monkeypatch.setattr(chromium.os, "geteuid", lambda: 0 if root else 1000)
    monkeypatch.setattr(chromium.shutil, "which", lambda name: name)
    monkeypatch.setattr(subprocess, "run", lambda command, **_: tried.append(command))
    with pytest.raises(RuntimeError, match="install the package 'chromium'"):
        chromium.ensure()
    assert tried[-1] == [sys.executable, "-m", "playwright", "install", "chromium"]
    assert any("apt-get" in command for command in tried) == root
