"""A TCP proxy that is a bad network: it delays, chops, stalls, and cuts.

    with Proxy(server.address) as proxy, RawWebSocket.open(proxy.address) as client:
        proxy.link(0).down.stall()

What it does to a link can be changed at any time, from any thread. It holds back little: a
direction that is stalled or slow is soon not read any more, and its sender feels that.
"""

from __future__ import annotations

import contextlib
import math
import selectors
import socket
import struct
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Self, cast

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE = 20.0
_HELD = 64 * 1024  # bytes that a direction holds at most
_RESET = struct.pack("ii", 1, 0)


class Direction:
    """One way of a link: from a source to a sink."""

    def __init__(self, source: socket.socket, sink: socket.socket, proxy: Proxy) -> None:
        self._source = source
        self._sink = sink
        self._proxy = proxy
        self.delay = proxy.delay
        """Seconds for which everything is held."""
        self.chunk = proxy.chunk
        """The most bytes that are passed on at once."""
        self.passed = 0
        """Bytes that have been passed on."""
        self._is_stalled = False
        self._has_ended = False
        self._held: deque[tuple[float, bytes]] = deque()
        self._size = 0

    def stall(self) -> None:
        """Pass nothing on, until `resume`."""
        self._is_stalled = True

    def resume(self) -> None:
        """Pass on what has been held."""
        self._is_stalled = False
        self._proxy.wake()

    def can_read(self) -> bool:
        """Whether there is room for more."""
        return not self._has_ended and self._size < _HELD

    def due(self) -> float:
        """When there is something to pass on."""
        return self._held[0][0] if self._held and not self._is_stalled else math.inf

    def read(self) -> None:
        """Take what has come; raises `OSError` if the source was reset."""
        with contextlib.suppress(BlockingIOError):
            data = self._source.recv(_HELD)
            self._has_ended = not data
            self._held.append((time.monotonic() + self.delay, data))
            self._size += len(data)

    def write(self) -> None:
        """Pass on what is due, as far as the sink takes it."""
        with contextlib.suppress(BlockingIOError):
            while self.due() <= time.monotonic():
                due, data = self._held.popleft()
                if not data:
                    self._sink.shutdown(socket.SHUT_WR)
                    return
                self._held.appendleft((due, data))
                sent = self._sink.send(data[: self.chunk])
                self._held.popleft()
                if sent < len(data):
                    self._held.appendleft((due, data[sent:]))
                self._size -= sent
                self.passed += sent


class Link:
    """A client's connection, and the one to the server that belongs to it."""

    def __init__(self, client: socket.socket, server: socket.socket, proxy: Proxy) -> None:
        self.up = Direction(client, server, proxy)
        """From the client to the server."""
        self.down = Direction(server, client, proxy)
        self._ends = {client: (self.up, self.down), server: (self.down, self.up)}
        self._proxy = proxy
        self._ends_at = time.monotonic() + proxy.life()
        self._looked_at = 0.0
        """When it was last decided which ends to wait for."""

    def cut(self) -> None:
        """Reset both connections, in the middle of whatever it is."""
        self._ends_at = 0.0
        self._proxy.wake()

    def serve(self, selector: selectors.BaseSelector, ready: dict[socket.socket, int]) -> bool:
        """Do what there is to do; false when the link is no more."""
        try:
            for end, (outward, inward) in self._ends.items():
                mask = ready.get(end, 0)
                if mask & selectors.EVENT_READ:
                    outward.read()
                inward.write()
        except OSError:
            self._ends_at = 0.0
        if self._ends_at <= time.monotonic():
            for end in self._ends:
                if end in selector.get_map():
                    selector.unregister(end)
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                end.close()
            return False
        self._watch(selector)
        return True

    def wakes_at(self) -> float:
        """When there is something to do, whatever happens."""
        # What was due already waits for the sink, which will tell. What has become due since then
        # does not: it would wait for ever if nothing else happens.
        waits = [due for due in (self.up.due(), self.down.due()) if due > self._looked_at]
        return min([self._ends_at, *waits])

    def _watch(self, selector: selectors.BaseSelector) -> None:
        self._looked_at = now = time.monotonic()
        for end, (outward, inward) in self._ends.items():
            mask = selectors.EVENT_READ if outward.can_read() else 0
            mask |= selectors.EVENT_WRITE if inward.due() <= now else 0
            if end in selector.get_map():
                selector.unregister(end)
            if mask:
                selector.register(end, mask)


class Proxy:
    """Listens on a port of its own, and passes on to `target` in a thread of its own.

    Args:
        target: where connections are made to.
        delay: seconds for which everything is held, of links that begin.
        chunk: the most bytes that are passed on at once.
        life: called for each link: the seconds after which it is cut.
    """

    def __init__(
        self,
        target: tuple[str, int],
        *,
        delay: float = 0.0,
        chunk: int = _HELD,
        life: Callable[[], float] = lambda: math.inf,
    ) -> None:
        self.delay, self.chunk, self.life = delay, chunk, life
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self._waker, self._woken = socket.socketpair()
        self._links: list[Link] = []
        self._changed = threading.Condition()
        self._stop = False
        self._thread = threading.Thread(target=self._run, name="proxy")

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        host, port = self._listener.getsockname()
        return host, port

    def link(self, number: int) -> Link:
        """Return the link that was made as this one, from 0 on; waits for it."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self._links) > number, PATIENCE)
            return self._links[number]

    def wake(self) -> None:
        """Have the thread look at what was changed."""
        with contextlib.suppress(BlockingIOError):
            self._waker.send(b"!")

    def __enter__(self) -> Self:
        for end in (self._listener, self._waker, self._woken):
            end.setblocking(False)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop = True
        self.wake()
        self._thread.join()
        for end in (self._listener, self._waker, self._woken):
            end.close()

    def _run(self) -> None:
        live: list[Link] = []
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            selector.register(self._woken, selectors.EVENT_READ)
            while not self._stop:
                wakes_at = min([link.wakes_at() for link in live], default=math.inf)
                patience = None if wakes_at == math.inf else max(0.0, wakes_at - time.monotonic())
                events = selector.select(patience)
                ready = {cast("socket.socket", key.fileobj): mask for key, mask in events}
                if self._woken in ready:
                    self._woken.recv(4096)
                if self._listener in ready:
                    live += self._accept()
                live = [link for link in live if link.serve(selector, ready)]
            for link in live:
                link.cut()
                link.serve(selector, {})

    def _accept(self) -> list[Link]:
        client, _ = self._listener.accept()
        try:
            server = socket.create_connection(self._target, timeout=PATIENCE)
        except OSError:
            client.close()
            return []
        for end in (client, server):
            end.setblocking(False)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        link = Link(client, server, self)
        with self._changed:
            self._links.append(link)
            self._changed.notify_all()
        return [link]
