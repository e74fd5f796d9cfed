"""The server's handler, which takes its part in every ending and notes what happens.

`judge` then says what is wrong with the notes on one connection.
"""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from handy_ws import (
    CloseCause,
    ConnectionClosed,
    WebSocketBinaryMessage,
    WebSocketCloseMessage,
    WebSocketConnection,
    WebSocketMessageHandler,
    WebSocketTextMessage,
)

from tests.faults.endings.catalogue import ENDINGS
from tests.faults.endings.ending import DO, Deliberate, Desk, Ending, Plan

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass
class Record:
    """What has happened to one connection."""

    ending: Ending
    plan: Plan
    events: list[str] = field(default_factory=list)
    texts: list[int] = field(default_factory=list)
    words: int = 0
    """What another thread has sent to it."""
    cause: CloseCause | None = None
    code: int | None = None
    running: threading.Lock = field(default_factory=threading.Lock)


class Witness(WebSocketMessageHandler):
    """Notes every callback of every connection."""

    desk: Desk

    def __init__(self, seed: int, *, alone: bool) -> None:
        self._seed = seed
        self.records: list[Record] = []
        self.complaints: list[object] = []
        #: Held by the callback that runs, if there is to be one at a time for all connections.
        self._running = threading.Lock() if alone else None

    def on_connection_established(self, connection: WebSocketConnection) -> None:
        _, number, name = connection.request.path.split("/")
        record = Record(ENDINGS[name], Plan.of(self._seed, int(number)))
        self.records.append(record)
        connection.user_data = record
        with self._callback(connection, "established"):
            record.ending.on_established(connection, record.plan, self.desk)

    def on_text_message(self, message: WebSocketTextMessage) -> None:
        with self._callback(message.connection, "text"):
            self._take(message.connection, message.payload)

    def on_binary_message(self, message: WebSocketBinaryMessage) -> None:
        with self._callback(message.connection, "binary"):
            if message.payload == DO.encode():
                self._take(message.connection, DO)

    def _take(self, connection: WebSocketConnection, payload: str) -> None:
        record: Record = connection.user_data
        if payload == DO:
            record.ending.on_do(connection, record.plan, self.desk)
            return
        record.texts.append(int(payload.removeprefix("echo ")))
        # It may be closed by another thread at any moment, and by no callback before this one.
        with contextlib.suppress(ConnectionClosed):
            connection.send_text(payload)

    def on_close_message(self, message: WebSocketCloseMessage) -> None:
        record: Record = message.connection.user_data
        with self._callback(message.connection, "close message"):
            record.ending.on_close(message.connection, record.plan, self.desk)

    def on_connection_closed(self, connection: WebSocketConnection) -> None:
        record: Record = connection.user_data
        with self._callback(connection, "closed"):
            record.cause, record.code = connection.close_cause, connection.close_code
            self._check_that_it_is_over(connection, record)
            record.ending.on_closed(connection, record.plan, self.desk)

    def on_error(self, connection: WebSocketConnection, exception: BaseException) -> None:
        with self._callback(connection, "error"):
            if not isinstance(exception, Deliberate):
                self.complaints.append((connection.user_data, exception))

    @contextlib.contextmanager
    def _callback(self, connection: WebSocketConnection, event: str) -> Iterator[None]:
        """Note that it runs, and that no other does."""
        record: Record = connection.user_data
        running = self._running or record.running
        is_alone = running.acquire(blocking=False)
        if not is_alone:
            self.complaints.append((record, event, "runs beside another callback"))
        try:
            record.events.append(event)
            yield
        finally:
            if is_alone:
                running.release()

    def _check_that_it_is_over(self, connection: WebSocketConnection, record: Record) -> None:
        if connection.is_open or connection.buffered_bytes:
            self.complaints.append((record, "open, or with something to send"))
        try:
            connection.send_text("late")
        except ConnectionClosed:
            return
        self.complaints.append((record, "takes messages"))


def judge(record: Record) -> Iterator[str]:
    """Yield what is wrong with a connection that has ended."""
    ending, plan, events = record.ending, record.plan, record.events
    if events[0] != "established" or events.count("established") != 1:
        yield "established first, and once"
    # Behind the last callback comes only what its own exception brings.
    last = [event for event in events if event != "error"][-1]
    if last != "closed" or events.count("closed") != 1:
        yield "closed last, and once"
    if events.count("close message") > 1:
        yield "one CLOSE at most"
    if events.count("error") != ending.raises:
        yield "an error for each exception"
    if record.cause not in ending.causes:
        yield "one of the causes that it can have"
    if record.code not in ending.codes(plan):
        yield "one of the codes that it can have"
    if record.texts != list(range(len(record.texts))):
        yield "texts in order"
    if ending.complete and len(record.texts) != plan.texts:
        yield "all texts"
