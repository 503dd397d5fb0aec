"""The guard that keeps every test on this machine must itself be tested."""

import socket
import urllib.request

import pytest


@pytest.mark.parametrize("address", [("192.0.2.1", 80), ("example.org", 80), ("2001:db8::1", 80)])
def test_connections_to_the_outside_are_refused(address):
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    with socket.socket(family) as outside, pytest.raises(RuntimeError, match="without a network"):
        outside.connect(address)


def test_look_ups_and_datagrams_are_refused():
    with pytest.raises(RuntimeError, match="without a network"):
        socket.getaddrinfo("example.org", 443)
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as outside,
        pytest.raises(RuntimeError, match="without a network"),
    ):
        outside.sendto(b"x", ("192.0.2.1", 53))


def test_libraries_meet_the_guard_too():
    with pytest.raises(RuntimeError, match="without a network"):
        urllib.request.urlopen("http://example.org/", timeout=2)


def test_loopback_works():
    with socket.socket() as server, socket.socket() as client:
        server.bind(("127.0.0.1", 0))
        server.listen()
        client.connect(server.getsockname())
