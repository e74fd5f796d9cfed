"""One socket of a `Loop`: a raw WebSocket client that does only what its task tells it.

Like `tests.websocket.raw_websocket.RawWebSocket`, for tasks instead of threads: what waits is a
generator and is called with ``yield from``. Everything that comes within `PATIENCE` is in time.
"""

from __future__ import annotations

import itertools
import os
import socket
import struct
import time

from tests.faults.loop import Loop, Task, Wait
from tests.websocket.raw_websocket import Frame, request_head

PATIENCE = 50.0  # seconds
_RECEIVE = 1 << 18
_HEAD_END = b"\r\n\r\n"
#: Every client has its own of so many addresses of this machine, in turn: the ports of one are
#: soon used up where thousands of connections end by a client's FIN.
_SOURCES = itertools.cycle([f"127.0.0.{number}" for number in range(1, 33)])


class Refused(Exception):  # noqa: N818 - it is an answer
    """The answer to the handshake is not 101."""


class Stream:
    """One TCP connection."""

    def __init__(
        self, loop: Loop, *, receive_buffer: int | None = None, source: str | None = None
    ) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # The port is chosen when the peer is known, so that it may serve for other peers, too.
        self.socket.setsockopt(socket.IPPROTO_IP, 24, 1)  # IP_BIND_ADDRESS_NO_PORT
        self.socket.bind((source or next(_SOURCES), 0))
        self.fd = self.socket.fileno()
        self.unread = bytearray()
        self.ended = False
        self._loop = loop
        loop.watch(self.fd)

    def wait(self, seconds: float = PATIENCE) -> Task[bool]:
        """Wait for an event: false if none came in time."""
        return (yield Wait(self, time.monotonic() + seconds))

    @staticmethod
    def pause(seconds: float) -> Task[None]:
        """Do nothing for so long, whatever comes."""
        yield Wait(None, time.monotonic() + seconds)

    def connect(self, address: tuple[str, int]) -> Task[None]:
        """Connect.

        Raises:
            OSError: it was refused, or `PATIENCE` is over.
        """
        try:
            self.socket.connect(address)
        except BlockingIOError:
            yield from self._insist()
            error = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if error:
                raise OSError(error, os.strerror(error)) from None

    def open(self, address: tuple[str, int], path: str = "/") -> Task[None]:
        """Connect, and do the opening handshake."""
        yield from self.connect(address)
        yield from self.send(request_head(path))
        yield from self.read_101()

    def send(self, data: bytes) -> Task[None]:
        """Send all of it, however long that takes the peer."""
        view = memoryview(data)
        while view:
            sent = self.send_some(view)
            view = view[sent:]
            if not sent:
                yield from self._insist()

    def send_some(self, data: bytes | memoryview) -> int:
        """Send what the socket takes now, and return how much that is."""
        try:
            return self.socket.send(data)
        except BlockingIOError:
            return 0

    def receive(self) -> bool:
        """Take what has come; false if that is nothing. After a FIN, `ended` is true."""
        try:
            data = self.socket.recv(_RECEIVE)
        except BlockingIOError:
            return False
        self.ended = not data
        self.unread += data
        return True

    def read_101(self) -> Task[None]:
        """Read the answer to the handshake.

        Raises:
            Refused: it is another one.
        """
        while _HEAD_END not in self.unread:
            yield from self._fill()
        head, _, self.unread = self.unread.partition(_HEAD_END)
        if not head.startswith(b"HTTP/1.1 101 "):
            raise Refused(head.decode("latin-1"))

    def frames(self) -> list[Frame]:
        """Return the frames that have come as a whole."""
        unread, start, frames = self.unread, 0, []
        while (ends := _frame_ends(unread, start)) is not None:
            body, end = ends
            frames.append(Frame(unread[start], bytes(unread[body:end])))
            start = end
        del unread[:start]
        return frames

    def read_frame(self) -> Task[Frame]:
        """Read the next frame.

        Raises:
            EOFError: the server's FIN came instead.
        """
        while (ends := _frame_ends(self.unread, 0)) is None:
            yield from self._fill()
        body, end = ends
        frame = Frame(self.unread[0], bytes(self.unread[body:end]))
        del self.unread[:end]
        return frame

    def read_end(self) -> Task[bytes]:
        """Read on to the server's FIN, and return what came before it."""
        while not self.ended:
            if not self.receive():
                yield from self._insist()
        return bytes(self.unread)

    def half_close(self) -> None:
        """Send a FIN, and read on."""
        self.socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """End the connection without a word."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def describe(self) -> str:
        """Return what may explain that nothing comes, for people."""
        state = self.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
        return f"TCP state {state}, ended {self.ended}, {len(self.unread)} bytes unread"

    def close(self) -> None:
        """Close the socket, once or twice."""
        if self.socket.fileno() >= 0:
            self._loop.forget(self.fd)
            self.socket.close()

    def _fill(self) -> Task[None]:
        while not self.receive():
            yield from self._insist()
        if self.ended:
            raise EOFError

    def _insist(self) -> Task[None]:
        if not (yield Wait(self, time.monotonic() + PATIENCE)):
            raise TimeoutError


def _frame_ends(data: bytearray, start: int) -> tuple[int, int] | None:
    """Where the payload of the server's frame at `start` begins and ends, if it is all there."""
    if len(data) < start + 2:
        return None
    length, body = data[start + 1], start + 2
    if length == 126:
        body += 2
        if len(data) < body:
            return None
        length = int.from_bytes(data[body - 2 : body], "big")
    elif length == 127:
        body += 8
        if len(data) < body:
            return None
        length = int.from_bytes(data[body - 8 : body], "big")
    return (body, body + length) if len(data) >= body + length else None
