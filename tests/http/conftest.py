"""Servers for the tests of the HTTP side: on a free port, and stopped after each test."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from handy_ws import HttpServer, ServerConfig
from handy_ws.http.acceptor import Acceptor

from tests.http.raw_http import DEADLINE, RawClient

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Serve:
    """Starts servers and connects clients, and ends both with the test."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack

    def __call__(self, handler: Any, **settings: Any) -> HttpServer:
        if not settings.keys() & {"unix_socket", "fd"}:
            settings.setdefault("port", 0)
        return self._stack.enter_context(HttpServer(handler, ServerConfig(**settings)))

    def client(self, server: HttpServer, **options: Any) -> RawClient:
        return self._stack.enter_context(RawClient(server.address, **options))


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start a server: ``serve(handler, workers=1)``. Afterwards none of its threads is left."""
    before = server_threads()
    with ExitStack() as stack:
        yield Serve(stack)
    assert server_threads() == before


class Clock:
    """The time as servers see it: it passes, and jumps ahead where a test says so."""

    def __init__(self) -> None:
        self._ahead = self._told = 0.0

    def __call__(self) -> float:
        ahead = self._ahead
        if isinstance(threading.current_thread(), Acceptor):
            self._told = ahead
        return time.monotonic() + ahead

    def advance(self, seconds: float, server: HttpServer) -> None:
        """Let so much time pass at once, and the server see what that means."""
        self._ahead += seconds
        assert server._run is not None
        server._run.acceptor._poller.wake(surely=True)
        # While it sleeps the core goes on from the time that it was told before.
        poll(lambda: self._told == self._ahead)

    def let_pass(self, seconds: float, server: HttpServer) -> None:
        """Do the same, and wait until the server has seen to all that is due."""
        self.advance(seconds, server)
        now = self()
        assert server._run is not None
        acceptor = server._run.acceptor
        acceptor._poller.wake(surely=True)
        poll(lambda: acceptor._wakes_at > now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Make a clock for the deadlines of the HTTP side."""
    clock = Clock()
    for module in ("acceptor", "poller", "run", "waiting"):
        monkeypatch.setattr(f"handy_ws.http.{module}.monotonic", clock)
    return clock


@pytest.fixture
def events() -> Iterator[Callable[[], threading.Event]]:
    """Make events that are all set when the test ends, so that no handler is stuck."""
    made: list[threading.Event] = []

    def event() -> threading.Event:
        made.append(threading.Event())
        return made[-1]

    yield event
    for one in made:
        one.set()


def server_threads() -> set[threading.Thread]:
    """Return the threads that servers have started and not ended."""
    return {thread for thread in threading.enumerate() if thread.name.startswith("handy-ws")}


def wait(event: threading.Event) -> None:
    """Wait for an event; fail if it does not come."""
    assert event.wait(DEADLINE), "the event did not come"


def poll(condition: Callable[[], object]) -> None:
    """Look until something is so; fail if it does not become so."""
    until = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < until, "it did not come to be"
        time.sleep(0.001)
