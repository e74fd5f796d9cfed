"""The proxy itself: what it does to a link is what was asked for."""

from __future__ import annotations

import socket
import struct
import time
from typing import TYPE_CHECKING

import pytest

from tests.faults.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE = 20.0


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(PATIENCE)
        yield listener


def connect(proxy: Proxy, listener: socket.socket) -> tuple[socket.socket, socket.socket]:
    """Return the two ends of a link."""
    client = socket.create_connection(proxy.address, timeout=PATIENCE)
    server, _ = listener.accept()
    server.settimeout(PATIENCE)
    return client, server


def read(end: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        data += end.recv(count - len(data))
    return data


def test_it_passes_everything_on_in_both_directions_and_the_fin(listener: socket.socket) -> None:
    with Proxy(listener.getsockname(), chunk=100) as proxy:
        client, server = connect(proxy, listener)
        with client, server:
            client.sendall(b"up" * 5000)
            assert read(server, 10_000) == b"up" * 5000
            client.shutdown(socket.SHUT_WR)
            assert server.recv(1) == b""
            server.sendall(b"down" * 5000)
            server.shutdown(socket.SHUT_WR)
            assert read(client, 20_000) == b"down" * 5000
            assert client.recv(1) == b""
            assert proxy.link(0).up.passed == 10_000


def test_what_becomes_due_while_it_decides_how_long_to_wait_is_passed_on(
    listener: socket.socket,
) -> None:
    with Proxy(listener.getsockname()) as proxy:
        client, server = connect(proxy, listener)
        with client, server:
            link = proxy.link(0)
            for number in range(4000):
                link.up.delay = number % 200 * 1e-6
                client.sendall(b"x")
                assert server.recv(1) == b"x"  # nothing else happens that could wake it


def test_it_delays_what_it_passes_on(listener: socket.socket) -> None:
    with Proxy(listener.getsockname(), delay=0.1) as proxy:
        client, server = connect(proxy, listener)
        with client, server:
            begin = time.monotonic()
            client.sendall(b"?")
            server.sendall(read(server, 1))
            assert read(client, 1) == b"?"
            assert time.monotonic() - begin >= 0.2


def test_a_stalled_direction_holds_back_its_sender_and_the_other_goes_on(
    listener: socket.socket,
) -> None:
    with Proxy(listener.getsockname()) as proxy:
        client, server = connect(proxy, listener)
        with client, server:
            proxy.link(0).up.stall()
            client.setblocking(False)
            sent = 0
            deadline = time.monotonic() + PATIENCE
            while True:
                try:
                    sent += client.send(b"x" * 65536)
                except BlockingIOError:
                    if not proxy.link(0).up.can_read():
                        break
                assert time.monotonic() < deadline
            server.sendall(b"still here")
            client.settimeout(PATIENCE)
            assert read(client, 10) == b"still here"
            assert proxy.link(0).up.passed == 0
            proxy.link(0).up.resume()
            assert read(server, sent) == b"x" * sent


def test_a_cut_link_is_reset_on_both_sides(listener: socket.socket) -> None:
    with Proxy(listener.getsockname()) as proxy:
        client, server = connect(proxy, listener)
        with client, server:
            proxy.link(0).cut()
            for end in (client, server):
                with pytest.raises(ConnectionResetError):
                    end.recv(1)


def test_a_reset_on_one_side_is_one_on_the_other(listener: socket.socket) -> None:
    with Proxy(listener.getsockname()) as proxy:
        client, server = connect(proxy, listener)
        with server:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
            with pytest.raises(ConnectionResetError):
                server.recv(1)


def test_a_link_can_have_a_short_life(listener: socket.socket) -> None:
    with Proxy(listener.getsockname(), life=lambda: 0.1) as proxy:
        client, server = connect(proxy, listener)
        with client, server, pytest.raises(ConnectionResetError):
            server.recv(1)
