"""Twenty thousand connections, ended in every way there is, at random and under load."""

from __future__ import annotations

import collections
import contextlib
import itertools
import json
import logging
import os
import random
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from handy_ws import (
    ConnectionClosed,
    HttpServer,
    ServerConfig,
    WebSocketConfig,
    WebSocketHandler,
)

from tests.faults.endings.by_client import PING_INTERVAL, PING_TIMEOUT
from tests.faults.endings.by_fault import MAX_FRAGMENTS, MAX_MESSAGE_RATE, MAX_MESSAGE_SIZE
from tests.faults.endings.catalogue import ENDINGS
from tests.faults.endings.ending import Desk
from tests.faults.endings.witness import Record, Witness, judge

if TYPE_CHECKING:
    from collections.abc import Iterator

    from handy_ws import WebSocketManager

COUNT = 20_000
SEED = int(os.environ.get("HANDY_WS_SEED", "1"))  # another one: other endings, other moments
STAYING = 200
CONFIG = WebSocketConfig(
    max_message_size=MAX_MESSAGE_SIZE,
    max_fragments=MAX_FRAGMENTS,
    max_message_rate=MAX_MESSAGE_RATE,
    send_queue_limit=128 * 1024,
    ping_interval=PING_INTERVAL,
    ping_timeout=PING_TIMEOUT,
    close_timeout=4.0,  # for those that never answer; the machine may stand still for a second
    slow_callback_warning=None,
)


class Clients:
    """The process of the clients."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def read_result(self) -> dict[str, Any]:
        result: dict[str, Any] = json.loads(self.read())
        return result


@contextlib.contextmanager
def clients_of(address: tuple[str, int]) -> Iterator[Clients]:
    command = [sys.executable, "-m", "tests.faults.endings.client", address[0]]
    numbers = [address[1], SEED, COUNT, STAYING]
    with subprocess.Popen(
        [*command, *map(str, numbers)], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield Clients(process)
        finally:
            process.kill()


@contextlib.contextmanager
def talking(manager: WebSocketManager) -> Iterator[None]:
    """Broadcast, and send to single connections, all the time."""
    stop = threading.Event()
    rng = random.Random(SEED)

    def broadcast() -> None:
        for number in itertools.count():
            manager.broadcast(f"tick {number}")
            if stop.wait(0.05):
                return

    def send() -> None:
        while not stop.wait(0.02):
            connections = manager.connections
            for connection in rng.sample(connections, len(connections) // 16):
                record: Record | None = connection.user_data
                if record is None:
                    continue  # it is not established yet
                with contextlib.suppress(ConnectionClosed):
                    connection.send_text(f"word {record.words}")
                    record.words += 1

    threads = [threading.Thread(target=broadcast), threading.Thread(target=send)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


class Counting(logging.Filter):
    """Counts log records by what they tell of, and keeps thousands of them from being shown."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: list[str] = []

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[0] if record.exc_info else None
        self._seen.append(error.__name__ if error else record.getMessage())
        return False

    def counts(self) -> collections.Counter[str]:
        return collections.Counter(self._seen)


@pytest.fixture
def log() -> Iterator[Counting]:
    logger, counting = logging.getLogger("handy_ws"), Counting()
    logger.addFilter(counting)
    yield counting
    logger.removeFilter(counting)


@pytest.mark.alone
@pytest.mark.timeout(300)
@pytest.mark.parametrize("where", ["on the manager's thread", "on an executor"])
def test_every_connection_is_established_first_and_closed_last_and_once(
    where: str, log: Counting
) -> None:
    config = ServerConfig(port=0, backlog=4096, websocket=CONFIG)
    alone = where == "on the manager's thread"
    witness = Witness(SEED, alone=alone)
    start = time.monotonic()
    with ThreadPoolExecutor(8) as pool, ThreadPoolExecutor(8) as executor:
        witness.desk = Desk(pool, CONFIG.send_queue_limit)
        handler = WebSocketHandler(witness, executor=None if alone else executor)
        with HttpServer(handler, config) as server:
            manager = server.websocket_manager
            with clients_of(server.address) as clients, talking(manager):
                assert json.loads(clients.read()) == [], "connections that have not ended"
                server.stop()
                result = clients.read_result()
    print(f"{COUNT} connections ended in {time.monotonic() - start:.1f} s")
    for line in sorted(report(witness)):
        print(line)
    assert result["surprises"] == []
    assert witness.complaints == []
    assert witness.desk.failures == []
    assert [(record, list(judge(record))) for record in witness.records if any(judge(record))] == []
    check_numbers(witness, result["accepted"])
    raised = sum(record.ending.raises for record in witness.records)
    assert log.counts() == {"Deliberate": raised}
    stats = manager.stats()
    assert stats.connections == 0
    assert stats.connections_total == len(witness.records)


def check_numbers(witness: Witness, accepted: list[int]) -> None:
    """Every client that was accepted is known, and no other but those that left at that moment."""
    numbers = [record.plan.number for record in witness.records]
    assert len(set(numbers)) == len(numbers), "one connection for each client"
    assert set(accepted) - set(numbers) == set()
    unseen = set(numbers) - set(accepted)
    assert {
        record.ending.name
        for record in witness.records
        if record.plan.number in unseen and record.ending.established is True
    } == set()
    assert {record.ending.name for record in witness.records} == set(ENDINGS)


def report(witness: Witness) -> Iterator[str]:
    """Yield how many ended in which way, by which cause."""
    counts = collections.Counter((record.ending.name, record.cause) for record in witness.records)
    for (name, cause), count in counts.items():
        yield f"{name:22} {cause.value if cause else cause:15} {count:6}"
