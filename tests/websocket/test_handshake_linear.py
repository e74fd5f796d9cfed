"""Long header fields are read in time in proportion to their length.

The fields have four times the length that a server accepts by default. Reading one takes some
hundredths of a second; if anything were read again for every byte, it would take half a minute. So
the limit can be generous, and it is on the thread's own CPU time, which no other program uses up.
"""

from __future__ import annotations

import itertools
import time

import pytest
from handy_ws import (
    CompressionConfig,
    HttpServer,
    ServerConfig,
    WebSocketHandler,
    WebSocketMessageHandler,
)

from tests.http.raw_http import RawClient
from tests.websocket.handshakes import FIELDS, Unconnected, handshake

LENGTH = 1 << 18
FEW = 300  # longer than any host
LIMIT = 2.0  # seconds of CPU time

VALID = {
    **{field.partition(": ")[0]: field.partition(": ")[2] for field in FIELDS},
    "Sec-WebSocket-Protocol": "v1",
    "Sec-WebSocket-Extensions": "permessage-deflate",
    "Origin": "http://a",
}

FILLINGS = (" ", ",", "\t,", "a", "a,", "a ", ";a", '; a = "b"', "=", '"', "\\", '\\"', "\xe9")
OF_HOSTS = (":", "[", "@", "/", "1", "%41")  # what hosts and origins are made of

SHAPES = ("{value}{filling}", "{filling},{value}", '{value}; a="{filling}')


def handler() -> WebSocketHandler:
    return WebSocketHandler(
        WebSocketMessageHandler(), subprotocols=["v1"], compression=CompressionConfig()
    )


@pytest.mark.parametrize("name", VALID)
def test_long_values_are_read_in_linear_time(name: str) -> None:
    unconnected = Unconnected(handler())
    value = VALID[name]
    fillings = FILLINGS + (OF_HOSTS if name in {"Host", "Origin"} else ())
    for filling, shape in itertools.product(fillings, SHAPES):
        few, many = (
            handshake(f"{name}: {shape.format(value=value, filling=filling * count)}")
            for count in (FEW, LENGTH // len(filling))
        )
        expected = unconnected.answer(few).status
        start = time.thread_time()
        answer = unconnected.answer(many)
        assert time.thread_time() - start < LIMIT, (shape, filling)
        assert answer.status == expected, (shape, filling)


@pytest.mark.parametrize("name", VALID)
def test_many_lines_are_read_in_linear_time(name: str) -> None:
    unconnected = Unconnected(handler())
    for value in (VALID[name], "", ",", "a;b"):
        line = f"{name}: {value}"
        few = unconnected.answer(handshake(*[line] * 3))
        many = handshake(*[line] * (LENGTH // len(line)))
        start = time.thread_time()
        answer = unconnected.answer(many)
        assert time.thread_time() - start < LIMIT, line
        assert answer.status == few.status, line


def test_long_fields_come_through_sockets() -> None:
    # Here the process's time counts: it is the server's threads that read.
    with HttpServer(handler(), ServerConfig(port=0, max_head_size=2 * LENGTH)) as server:
        for name, value in VALID.items():
            for filling in (" ", "a,", '"'):
                head = handshake(f"{name}: {value}{filling * (LENGTH // len(filling))}{value}")
                expected = Unconnected(handler()).answer(head).status
                start = time.process_time()
                with RawClient(server.address) as client:
                    response = client.request(head)
                assert time.process_time() - start < LIMIT, (name, filling)
                assert response.status == expected, (name, filling)
        with RawClient(server.address) as client:
            assert client.request(handshake()).status == 101
