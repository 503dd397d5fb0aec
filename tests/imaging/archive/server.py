"""A web server on this machine that behaves as badly as asked."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Site:
    """What is served: ``data`` to every path, bent by ``behave(handler, data) -> bool``.

    behave answers the request itself and returns True, or returns False for an honest answer.
    """

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.behave: Callable[[BaseHTTPRequestHandler, bytes], bool] = lambda handler, data: False
        self.ranges: list[str | None] = []  # the Range header of each request
        self.paths: list[str] = []
        self.release = threading.Event()  # ends a stall
        self.url = ""


@contextlib.contextmanager
def serving(data: bytes) -> Iterator[Site]:
    site = Site(data)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            site.ranges.append(self.headers.get("Range"))
            site.paths.append(self.path)
            with contextlib.suppress(ConnectionError):  # the client may hang up first
                if not site.behave(self, site.data):
                    honest(self, site.data)

        def log_message(self, *_) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        site.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield site
        finally:
            site.release.set()
            server.shutdown()
            thread.join()


def honest(handler: BaseHTTPRequestHandler, data: bytes) -> None:
    """The whole file, or what a Range asks for."""
    asked = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range") or "")
    start = int(asked[1]) if asked else 0
    if asked and start >= len(data):
        answer(handler, 416, b"", {"Content-Range": f"bytes */{len(data)}"})
    elif asked:
        stretch = f"bytes {start}-{len(data) - 1}/{len(data)}"
        answer(handler, 206, data[start:], {"Content-Range": stretch})
    else:
        answer(handler, 200, data)


def answer(
    handler: BaseHTTPRequestHandler, status: int, body: bytes, headers: dict | None = None
) -> bool:
    """Send it; Content-Length is the body's unless ``headers`` say otherwise (None: leave out)."""
    headers = {"Content-Length": str(len(body)), **(headers or {})}
    handler.send_response(status)
    for key, value in headers.items():
        if value is not None:
            handler.send_header(key, value)
    handler.end_headers()
    handler.wfile.write(body)
    return True


def cut_after(n: int) -> Callable[[BaseHTTPRequestHandler, bytes], bool]:
    """Promise everything, send ``n`` bytes of it, hang up."""

    def behave(handler: BaseHTTPRequestHandler, data: bytes) -> bool:
        asked = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range") or "")
        start = int(asked[1]) if asked else 0
        headers = {"Content-Length": str(len(data) - start)}
        if asked:
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        return answer(handler, 206 if asked else 200, data[start : start + n], headers)

    return behave
