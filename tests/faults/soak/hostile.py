"""Clients that are slow, broken, or gone: each method of `Hostile` is a fault.

What they do is theirs; the server has to end what they do not. One that it does not end in `LIMIT`
seconds is a complaint.
"""

from __future__ import annotations

import collections
import time
from contextlib import closing
from typing import TYPE_CHECKING

from handy_ws import ServerConfig

from tests.faults.loop import Task, Wait
from tests.faults.stream import Refused, Stream
from tests.websocket.raw_websocket import (
    BINARY,
    CLOSE,
    PING,
    TEXT,
    close_payload,
    frame,
    request_head,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.faults.soak.healthy import Scene

LIMIT = 60.0
PATHS = ("/", "/pool")
_TINY = 4096  # the receive buffer of one that does not read
_SCRIPT = (
    frame(TEXT, b"echo 0 begun", fin=False)
    + frame(PING, b"between")
    + frame(0, b"ended")
    + frame(BINARY, b"x" * 3000)
    + frame(TEXT, b"echo 1 " + b"x" * 200)
)
_MISTAKES = [
    frame(TEXT, b"bad", rsv=1),
    frame(TEXT, b"bad", mask=False),
    frame(3, b"bad"),
    frame(0, b"of nothing"),
    frame(TEXT, b"bad \xff text"),
    frame(CLOSE, b"\x03"),
    b"\x82\xff" + (1 << 40).to_bytes(8, "big") + bytes(4),
]


class Hostile:
    """Makes one fault after the other."""

    def __init__(self, scene: Scene, cutting: tuple[str, int]) -> None:
        self._scene = scene
        self._rng = scene.rng
        self._cutting = cutting  # a proxy that cuts its links
        self.counts: collections.Counter[str] = collections.Counter()
        self.faults: list[Callable[[], Task[None]]] = [
            self.stalls,
            self.talks_and_never_reads,
            self.pings_and_never_reads,
            self.dribbles,
            self.dribbles_handshake,
            self.resets,
            self.resets_handshake,
            self.leaves,
            self.closes_and_half_closes,
            self.is_cut,
            self.falls_silent,
            self.ignores_close,
            self.breaks_the_protocol,
            self.makes_the_handler_raise,
            self.comes_and_goes,
        ]

    def go_on(self) -> Task[None]:
        """Make faults, until the scene is over."""
        while not self._scene.is_over:
            yield from self._make(self._rng.choice(self.faults))
            yield from Stream.pause(self._rng.uniform(0.0, 0.2))

    def block_now_and_then(self) -> Task[None]:
        """Have the handler sleep, and hold the interpreter's lock, every few seconds."""
        while not self._scene.is_over:
            yield from self._make(self._rng.choice([self.sleeps, self.holds_the_lock]))
            yield from Stream.pause(self._rng.uniform(4.0, 12.0))

    def _make(self, fault: Callable[[], Task[None]]) -> Task[None]:
        begin = time.monotonic()
        try:
            yield from fault()
        except (EOFError, ConnectionError):
            pass
        except (TimeoutError, Refused) as error:
            self._scene.complaints.append(f"{fault.__name__}: {error!r}")
        if time.monotonic() - begin > LIMIT:
            self._scene.complaints.append(f"{fault.__name__} was not ended")
        self.counts[fault.__name__] += 1

    def _open(self, *, receive_buffer: int | None = None) -> Task[Stream]:
        stream = Stream(self._scene.loop, receive_buffer=receive_buffer)
        try:
            yield from stream.open(self._scene.address, self._rng.choice(PATHS))
        except BaseException:
            stream.close()
            raise
        return stream

    @staticmethod
    def _send_until_reset(stream: Stream, frames: bytes, every: float) -> Task[None]:
        """Send again and again and read nothing: the server's reset is a `ConnectionError`."""
        end = time.monotonic() + LIMIT + 1.0
        while time.monotonic() < end:
            yield from stream.send(frames)
            yield from Stream.pause(every)

    # Those that do not read.

    def stalls(self) -> Task[None]:
        """Be sent a lot, and read nothing."""
        with closing((yield from self._open(receive_buffer=_TINY))) as stream:
            yield from stream.send(frame(TEXT, b"flood"))
            yield from self._send_until_reset(stream, frame(PING), 0.5)

    def talks_and_never_reads(self) -> Task[None]:
        """Want echoes, and read none."""
        with closing((yield from self._open(receive_buffer=_TINY))) as stream:
            yield from self._send_until_reset(stream, frame(BINARY, b"x" * 16_384) * 4, 0.05)

    def pings_and_never_reads(self) -> Task[None]:
        """Want pongs, and read none."""
        with closing((yield from self._open(receive_buffer=_TINY))) as stream:
            yield from self._send_until_reset(stream, frame(PING, b"x" * 125) * 400, 0.02)

    def falls_silent(self) -> Task[None]:
        """Answer nothing, not even a PING, and read or not; leave after a while if one can."""
        with closing((yield from self._open())) as stream:
            end = time.monotonic() + self._rng.uniform(1.0, 40.0)
            reads = self._rng.random() < 0.5
            while time.monotonic() < end and not stream.ended:
                yield Wait(stream if reads else None, end)
                while reads and not stream.ended and stream.receive():
                    stream.unread.clear()
            stream.reset()

    # Those that are slow, or gone.

    def dribbles(self) -> Task[None]:
        """Send every byte in a segment of its own, and leave politely."""
        with closing((yield from self._open())) as stream:
            for byte in _SCRIPT[:300] + frame(CLOSE, close_payload(1000)):
                yield from stream.send(bytes([byte]))
                yield from Stream.pause(0.002)
            yield from stream.read_end()

    def dribbles_handshake(self) -> Task[None]:
        """Send a head that takes its time, and sometimes never ends."""
        head = request_head()
        if self._rng.random() < 0.5:
            head = head[: self._rng.randrange(len(head) - 1)]
        with closing(Stream(self._scene.loop)) as stream:
            yield from stream.connect(self._scene.address)
            begin = time.monotonic()
            for byte in head:
                yield from stream.send(bytes([byte]))
                yield from Stream.pause(0.01)
            if len(head) == len(request_head()):
                try:
                    yield from stream.read_101()
                except Refused:
                    # This process may have so much to do that it is slower than it wants to be.
                    if time.monotonic() - begin < ServerConfig().head_timeout:
                        raise
                else:
                    stream.half_close()
            yield from stream.read_end()  # with a 408, or behind our FIN

    def resets(self) -> Task[None]:
        """Reset behind any byte."""
        with closing((yield from self._open())) as stream:
            yield from stream.send(_SCRIPT[: self._rng.randrange(len(_SCRIPT))])
            if self._rng.random() < 0.5:
                yield from Stream.pause(self._rng.uniform(0.0, 2.0))
            stream.reset()

    def resets_handshake(self) -> Task[None]:
        """Reset behind any byte of the handshake."""
        with closing(Stream(self._scene.loop)) as stream:
            yield from stream.connect(self._scene.address)
            head = request_head()
            yield from stream.send(head[: self._rng.randrange(len(head) + 1)])
            stream.reset()

    def leaves(self) -> Task[None]:
        """Send a FIN without a CLOSE, behind any byte."""
        with closing((yield from self._open())) as stream:
            yield from stream.send(_SCRIPT[: self._rng.randrange(len(_SCRIPT))])
            stream.half_close()
            yield from stream.read_end()

    def closes_and_half_closes(self) -> Task[None]:
        """Send a FIN right behind the CLOSE."""
        with closing((yield from self._open())) as stream:
            yield from stream.send(_SCRIPT + frame(CLOSE, close_payload(4001)))
            stream.half_close()
            yield from stream.read_end()

    def is_cut(self) -> Task[None]:
        """Talk through a proxy that delays, chops, and cuts both ways in the middle."""
        with closing(Stream(self._scene.loop, source="127.0.0.1")) as stream:
            yield from stream.open(self._cutting, self._rng.choice(PATHS))
            while True:
                yield from stream.send(_SCRIPT)
                if (yield Wait(stream, time.monotonic() + 0.1)):
                    stream.receive()
                    stream.unread.clear()
                if stream.ended:
                    return

    # Those that break the rules, or make the handler break them.

    def ignores_close(self) -> Task[None]:
        """Ask to be closed, and answer nothing."""
        with closing((yield from self._open())) as stream:
            yield from stream.send(_SCRIPT + frame(TEXT, b"close 4002"))
            yield from stream.read_end()  # it comes at once, the rest after `close_timeout`
            yield from self._send_until_reset(stream, frame(TEXT, b"late"), 0.5)

    def breaks_the_protocol(self) -> Task[None]:
        """Send something bad."""
        with closing((yield from self._open())) as stream:
            yield from stream.send(_SCRIPT + self._rng.choice(_MISTAKES) + b"more" * 100)
            yield from stream.read_end()

    def makes_the_handler_raise(self) -> Task[None]:
        """Have a callback raise."""
        with closing((yield from self._open())) as stream:
            yield from stream.send(frame(TEXT, b"raise") + _SCRIPT)
            yield from stream.read_end()

    def comes_and_goes(self) -> Task[None]:
        """Connect and close, again and again."""
        for _ in range(10):
            with closing((yield from self._open())) as stream:
                yield from stream.send(frame(CLOSE, close_payload(1001)))
                yield from stream.read_end()

    def sleeps(self) -> Task[None]:
        """Have a callback sleep."""
        yield from self._ask(b"sleep 0.5")

    def holds_the_lock(self) -> Task[None]:
        """Have a callback keep the interpreter's lock in native code."""
        yield from self._ask(b"hold 0.2")

    def _ask(self, text: bytes) -> Task[None]:
        with closing((yield from self._open())) as stream:
            yield from stream.send(frame(TEXT, text) + frame(CLOSE))
            yield from stream.read_end()
