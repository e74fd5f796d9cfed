"""Clients that do nothing but answer PINGs, on a thread of their own."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from typing import TYPE_CHECKING, Self

from tests.websocket.raw_websocket import PING, PONG, RawWebSocket, frame

if TYPE_CHECKING:
    from collections.abc import Iterable


class Answering:
    """Answers the PINGs of these clients, in a ``with`` block.

    Attributes:
        pings: how many have been answered.
        ended: the clients whose connection is over.
    """

    def __init__(self, clients: Iterable[RawWebSocket]) -> None:
        self.pings = 0
        self.ended: list[RawWebSocket] = []
        self._selector = selectors.DefaultSelector()
        for client in clients:
            self._selector.register(client.socket, selectors.EVENT_READ, client)
        self._wakes, self._is_woken = socket.socketpair()
        self._selector.register(self._is_woken, selectors.EVENT_READ, None)
        self._thread = threading.Thread(target=self._run, name="answering")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._wakes.close()
        self._thread.join()
        self._is_woken.close()
        self._selector.close()

    def _run(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.data is None:
                    return
                self._answer(key.data)

    def _answer(self, client: RawWebSocket) -> None:
        try:
            received = client.read_frame()
        except (EOFError, OSError):
            self._selector.unregister(client.socket)
            self.ended.append(client)
            return
        if received.opcode == PING:
            self.pings += 1
            with contextlib.suppress(OSError):  # then the next read tells
                client.send(frame(PONG, received.payload))
