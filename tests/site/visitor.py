"""A reader with a headless browser, for whom every outside request is blocked and remembered."""

from __future__ import annotations

import contextlib
import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
INSIDE = ("http://127.0.0.1", "ws://127.0.0.1", "file://", "data:", "blob:", "about:")


class Visitor:
    """A page of the browser with what went wrong on it: requests, answers, console."""

    def __init__(self, context) -> None:
        self.page = context.new_page()
        self.page.set_default_timeout(120_000)  # a busy machine is slow, not wrong
        self.outside: list[str] = []
        self.errors: list[str] = []
        self.failed: list[str] = []
        context.route("**/*", self._gate)
        self.page.on("console", lambda m: m.type == "error" and self.errors.append(m.text))
        self.page.on("pageerror", lambda e: self.errors.append(str(e)))
        self.page.on("requestfailed", lambda r: self.failed.append(r.url))
        self.page.on(
            "response", lambda r: r.status >= 400 and self.failed.append(f"{r.status} {r.url}")
        )

    def _gate(self, route) -> None:
        if route.request.url.startswith(INSIDE):
            route.continue_()
        else:
            self.outside.append(route.request.url)
            route.abort()

    def open(self, url: str) -> None:
        """Load a page and wait until its mathematics and its sliders stand."""
        self.page.goto(url)
        self.page.wait_for_function(
            """async () => {
              const mathjax = window.MathJax;
              if (mathjax && !(mathjax.startup && mathjax.startup.promise)) return false;
              if (mathjax) await mathjax.startup.promise;
              return true;
            }""",
            timeout=120_000,
        )
        views = 'script[type="application/vnd.jupyter.widget-view+json"]'
        if self.page.locator(views).count():
            self.page.wait_for_function(
                f"""() => document.querySelectorAll('.medxfer-explorer').length
                     >= document.querySelectorAll('{views}').length""",
                timeout=120_000,
            )

    def no_trouble(self) -> None:
        trouble = {"outside": self.outside, "failed": self.failed, "console": self.errors}
        assert not any(trouble.values()), trouble


def explorers(page):
    """Every explorer of the page, as locators."""
    found = page.locator(".medxfer-explorer")
    return [found.nth(i) for i in range(found.count())]


def shown(explorer) -> tuple[str, str]:
    """(source, alt text) of the one image that an explorer shows, really drawn on the screen."""
    images = explorer.locator("img")
    seen = [
        (image.get_attribute("src"), image.get_attribute("alt"))
        for image in images.all()
        if image.is_visible() and image.evaluate("i => i.complete && i.naturalWidth > 50")
    ]
    assert len(seen) == 1, f"{len(seen)} images are seen at once"
    return seen[0]


def move_every_slider(page, explorer) -> None:
    """Move each slider of an explorer by keyboard there and back: the picture and its words must
    change with it, and come back."""
    handles = explorer.locator(".noUi-handle")
    assert handles.count() >= 1
    for index in range(handles.count()):
        handle = handles.nth(index)
        handle.scroll_into_view_if_needed()
        start = shown(explorer)
        key, back = ("ArrowRight", "ArrowLeft")
        if handle.get_attribute("aria-valuenow") == handle.get_attribute("aria-valuemax"):
            key, back = back, key
        handle.focus()
        page.keyboard.press(key)
        moved = _wait_for_change(page, explorer, start)
        assert moved[0] != start[0], f"slider {index}: the picture did not change"
        assert moved[1] != start[1], f"slider {index}: the alt text did not change"
        page.keyboard.press(back)
        assert _wait_for_change(page, explorer, moved) == start


def _wait_for_change(page, explorer, before) -> tuple[str, str]:
    for _ in range(200):
        now = shown(explorer)
        if now != before:
            return now
        page.wait_for_timeout(50)
    return now


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder on this machine; gives the base address."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
