"""Who is admitted, asked of the manager itself; no server runs here."""

from __future__ import annotations

import threading

import pytest
from handy_ws import HttpServer, ServerConfig, WebSocketConfig
from handy_ws._core import Permit


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::2", True),
        ("/run/socket", "/run/socket", False),
        ("", "", False),
    ],
)
def test_an_address_counts_as_its_network(one: str, other: str, same: bool) -> None:
    config = WebSocketConfig(max_connections_per_address=1)
    manager = HttpServer(lambda _: None, ServerConfig(websocket=config)).websocket_manager
    permit = manager.core.admit(one)
    assert isinstance(permit, Permit)
    second = manager.core.admit(other)
    if same:
        assert second == "max_connections_per_address"
    else:
        assert isinstance(second, Permit)
    permit.release()
    permit.release()  # gives nothing back that is not its own
    third = manager.core.admit(one)
    assert isinstance(third, Permit)
    if same:
        assert manager.core.admit(other) == "max_connections_per_address"


def test_refusals_are_counted_exactly_by_many_threads() -> None:
    config = WebSocketConfig(max_connections=1)
    manager = HttpServer(lambda _: None, ServerConfig(websocket=config)).websocket_manager
    permit = manager.core.admit("127.0.0.1")

    def refuse() -> None:
        for _ in range(500):
            manager.core.count_refused("origin")
            assert manager.core.admit("127.0.0.1") == "max_connections"

    threads = [threading.Thread(target=refuse) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counts = manager.stats().connections_refused
    assert (counts["max_connections"], counts["origin"]) == (4000, 4000)
    assert isinstance(permit, Permit)
    del permit  # gives the place back, too
    assert isinstance(manager.core.admit("127.0.0.1"), Permit)
