"""Nothing that stands behind a refused request is ever a request.

Each kind of refusal that reading can lead to, with a request right behind it, at once and when the
answer has come: the program never sees that request (waitress GHSA-9298, gunicorn CVE-2024-1135).
"""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from handy_ws import HttpServer, ServerConfig

from tests.http.raw_http import RawClient, get, post
from tests.http.test_body import BAD_CHUNKS
from tests.http.test_head import MALFORMED, lines

if TYPE_CHECKING:
    from collections.abc import Iterator

    from handy_ws import HttpRequestContext

MAX_BODY_SIZE = 1000
CHUNKED = lines("Transfer-Encoding: chunked", start="POST /first HTTP/1.1")

REFUSED = {
    **{f"head: {name}": case for name, case in MALFORMED.items()},
    **{f"body: {name}": (CHUNKED + data, status) for name, (data, status) in BAD_CHUNKS.items()},
    "body: longer than allowed": (post("/first", b"x" * (MAX_BODY_SIZE + 1)), 413),
    "body: much longer than allowed": (post("/first", b"x" * 100_000), 413),
}


class Program:
    """A handler that remembers what it was asked for."""

    def __init__(self) -> None:
        self.targets: list[str] = []

    def __call__(self, context: HttpRequestContext) -> None:
        self.targets.append(context.head.target)


@pytest.fixture(scope="module")
def program() -> Program:
    return Program()


@pytest.fixture(scope="module")
def server(program: Program) -> Iterator[HttpServer]:
    config = ServerConfig(port=0, workers=2, max_body_size=MAX_BODY_SIZE)
    with HttpServer(program, config) as server:
        yield server


@pytest.mark.parametrize("name", REFUSED)
def test_nothing_behind_a_refused_request_is_handled(
    server: HttpServer, program: Program, name: str
) -> None:
    data, status = REFUSED[name]
    program.targets.clear()
    with RawClient(server.address) as client:
        client.send(get("/before") + data + get("/smuggled"))
        assert client.response().status == 200
        response = client.response()
        # Behind another request a head may be too long only together with what comes later.
        assert response.status == status
        assert response.get("Connection") == "close"
        with suppress(ConnectionError):
            client.send(get("/later"))
        assert client.is_closed()
    with RawClient(server.address) as client:
        assert client.get("/after").status == 200
    assert program.targets == ["/before", "/after"]


def test_nothing_behind_a_request_that_is_too_slow_is_handled(program: Program) -> None:
    program.targets.clear()
    config = ServerConfig(port=0, workers=1, head_timeout=0.1, body_timeout=0.1)
    with HttpServer(program, config) as server:
        for begun in (get("/first")[:-2], post("/first", b"hello")[:-1]):
            with RawClient(server.address) as client:
                client.send(begun)
                assert client.response().status == 408
                with suppress(ConnectionError):
                    client.send(b"o\r\n" + get("/later"))
                assert client.is_closed()
    assert program.targets == []


@pytest.mark.parametrize(
    "fields",
    [
        ["Content-Length: 5", "Transfer-Encoding: chunked"],
        ["Transfer-Encoding: chunked", "Content-Length: 5"],
        ["Content-Length: 0", "Transfer-Encoding: gzip, chunked"],
        ["content-length: 0", "TRANSFER-ENCODING:chunked"],
        ["Content-Length: 0", "Transfer-Encoding: identity"],
        ["Transfer-Encoding: chunked", "Transfer-Encoding: identity"],
        ["Transfer-Encoding: identity", "Transfer-Encoding: chunked"],
        ["Transfer-Encoding: chunked", "Content-Length: 0", "Content-Length: 5"],
        ["Content-Length: 6", "Content-Length: 5"],
    ],
)
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_one_framing_or_none(
    server: HttpServer, program: Program, fields: list[str], version: str
) -> None:
    program.targets.clear()
    with RawClient(server.address) as client:
        head = lines("Connection: keep-alive", *fields, start=f"POST /first HTTP/{version}")
        response = client.request(head + b"0\r\n\r\n" + get("/smuggled"))
        assert response.status in {400, 501}
        assert client.is_closed()
    assert program.targets == []


def test_refusals_are_no_errors_of_the_server(
    server: HttpServer, caplog: pytest.LogCaptureFixture
) -> None:
    for data, status in REFUSED.values():
        with RawClient(server.address) as client:
            assert client.request(data).status == status
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
