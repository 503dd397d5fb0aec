"""For every test: no connection to the outside, no progress bars, one thread."""

from __future__ import annotations

import ipaddress
import os
import socket

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MEDXFER_QUIET", "1")
os.environ.setdefault("MPLBACKEND", "agg")


class OutsideConnection(RuntimeError):
    """A test tried to reach another machine."""


def is_inside(address: object) -> bool:
    """Is this a socket address on this machine? (a path is a Unix socket)"""
    if not isinstance(address, tuple):
        return True
    host = address[0]
    if host in ("", "localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _refuse(address: object) -> None:
    if not is_inside(address):
        raise OutsideConnection(
            f"a test tried to connect to {address!r}; tests must work without a network"
        )


@pytest.fixture(autouse=True, scope="session")
def no_outside_connection():
    """Refuse every connection, look-up and datagram that would leave this machine."""
    patch = pytest.MonkeyPatch()
    for name in ("connect", "connect_ex"):
        original = getattr(socket.socket, name)

        def guarded(self, address, _original=original):
            _refuse(address)
            return _original(self, address)

        patch.setattr(socket.socket, name, guarded)
    sendto, getaddrinfo = socket.socket.sendto, socket.getaddrinfo

    def guarded_sendto(self, data, *rest):
        _refuse(rest[-1])
        return sendto(self, data, *rest)

    def guarded_getaddrinfo(host, *rest, **named):
        if host is not None:
            _refuse((host.decode() if isinstance(host, bytes) else host, 0))
        return getaddrinfo(host, *rest, **named)

    patch.setattr(socket.socket, "sendto", guarded_sendto)
    patch.setattr(socket, "getaddrinfo", guarded_getaddrinfo)
    yield
    patch.undo()


@pytest.fixture
def learner_home(tmp_path, monkeypatch):
    """A folder of its own for the progress that exercises keep."""
    monkeypatch.setenv("MEDXFER_HOME", str(tmp_path / "home"))
    return tmp_path / "home"
