"""The access log: one record for each request that is answered, and none that nobody wants."""

from __future__ import annotations

import base64
import logging
import re
import threading
import time
from datetime import UTC, datetime, timedelta, timezone
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, cast

import pytest
from handy_ws import HttpResponse, WebSocketHandler
from handy_ws.http import access_log
from handy_ws.http.access_log import AccessEntry
from handy_ws.http.head import parse_head
from hypothesis import given
from hypothesis import strategies as st

from tests.http.conftest import wait
from tests.http.raw_http import DEADLINE, get, post
from tests.websocket.raw_websocket import RawWebSocket
from tests.websocket.recorder import Recorder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from handy_ws import HttpRequestContext
    from handy_ws.http.head import RequestHead

    from tests.http.conftest import Serve

LINE = re.compile(
    r'(?P<client>\S+) - (?P<user>\S+) \[(?P<time>[^\]]+)\] "(?P<request>(?:[^"\\]|\\.)*)" '
    r"(?P<status>\d{3}) (?P<bytes>\d+|-)"
)


class Records(logging.Handler):
    """Keeps the records of the access log for a test to take."""

    def __init__(self) -> None:
        super().__init__()
        self.queue: SimpleQueue[logging.LogRecord] = SimpleQueue()

    def emit(self, record: logging.LogRecord) -> None:
        self.queue.put(record)

    def next(self) -> Any:
        """Return the next record; any attributes can be asked of it."""
        return self.queue.get(timeout=DEADLINE)

    def are_all_taken(self) -> bool:
        """Say so, once the server has stopped."""
        try:
            self.queue.get_nowait()
        except Empty:
            return True
        return False


@pytest.fixture
def records() -> Iterator[Records]:
    """Want records of the access log."""
    logger = logging.getLogger("handy_ws.access")
    handler = Records()
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield handler
    finally:
        logger.setLevel(logging.NOTSET)
        logger.removeHandler(handler)


def parts(record: logging.LogRecord) -> dict[str, str]:
    """Return the fields of the line that a record is."""
    match = LINE.fullmatch(record.getMessage())
    assert match is not None, record.getMessage()
    return match.groupdict()


def echo(context: HttpRequestContext) -> None:
    context.response.data = context.request.get_data() or b"hello"


# What a record says


def test_a_record_is_a_line_in_the_common_log_format(serve: Serve, records: Records) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    client = serve.client(serve(echo))
    client.get("/path?q=1")
    record = records.next()
    line = parts(record)
    when = datetime.strptime(line.pop("time"), "%d/%b/%Y:%H:%M:%S %z")
    assert before <= when <= datetime.now(UTC)
    assert line == {
        "client": "127.0.0.1",
        "user": "-",
        "request": "GET /path?q=1 HTTP/1.1",
        "status": "200",
        "bytes": "5",
    }
    assert (record.name, record.levelname) == ("handy_ws.access", "INFO")
    assert record.threadName.startswith("handy-ws-http-")


def test_the_parts_of_the_line_and_more_are_attributes_of_the_record(
    serve: Serve, records: Records
) -> None:
    client = serve.client(serve(echo))
    credentials = base64.b64encode(b"frank:secret").decode()
    client.request(
        post(
            "/form",
            b"a body",
            f"Authorization: Basic {credentials}",
            "Referer: http://example.com/",
            "User-Agent: Test/1.0 (none)",
        )
    )
    record = records.next()
    assert (record.client_address, record.client_port) == client.sock.getsockname()
    assert record.user == "frank"
    assert (record.method, record.target, record.protocol) == ("POST", "/form", "HTTP/1.1")
    assert record.request_line == "POST /form HTTP/1.1"
    assert (record.status, record.bytes_sent) == (200, 6)
    assert 0 < record.duration < DEADLINE
    assert record.referer == "http://example.com/"
    assert record.user_agent == "Test/1.0 (none)"
    assert record.upgraded is False
    assert parts(record)["user"] == "frank"
    assert "secret" not in repr(record.__dict__)
    # The combined format is a matter of the formatter.
    combined = logging.Formatter('%(message)s "%(referer)s" "%(user_agent)s"').format(record)
    assert combined == f'{record.getMessage()} "http://example.com/" "Test/1.0 (none)"'


def test_what_is_missing_is_a_hyphen(serve: Serve, records: Records) -> None:
    serve.client(serve(lambda _: None)).request(b"GET / HTTP/1.0\r\n\r\n")
    record = records.next()
    assert (record.user, record.referer, record.user_agent) == ("-", "-", "-")
    assert (record.protocol, record.bytes_sent, parts(record)["bytes"]) == ("HTTP/1.0", 0, "-")


@pytest.mark.parametrize(
    ("value", "user"),
    [
        ("Basic " + base64.b64encode(b"frank:").decode(), "frank"),
        ("basic " + base64.b64encode(b'a "b" c\\:x').decode(), r"a\x20\"b\"\x20c\\"),
        ("Basic " + base64.b64encode("\u20ac\n:x".encode()).decode(), r"\U000020ac\x0a"),
        ("Basic " + base64.b64encode(b":x").decode(), "-"),
        ("Basic !", "-"),
        ("Basic", "-"),
        ("Bearer abc", "-"),
        ('Digest username="frank"', "-"),
    ],
)
def test_the_user_is_who_the_client_says_by_basic(
    serve: Serve, records: Records, value: str, user: str
) -> None:
    serve.client(serve(echo)).get("/", f"Authorization: {value}")
    record = records.next()
    assert record.user == parts(record)["user"] == user


def chunks(context: HttpRequestContext) -> HttpResponse:
    path = context.head.path
    if path == "/length":
        return HttpResponse(iter([b"abc", b"defgh"]), headers={"Content-Length": "7"})
    if path == "/204":
        return HttpResponse(status=204)
    return HttpResponse(iter([b"a" * 1000, b"", b"b" * 20]))


@pytest.mark.parametrize(
    ("request_line", "status", "count"),
    [
        ("GET / HTTP/1.1", 200, 1020),
        ("GET / HTTP/1.0", 200, 1020),
        ("HEAD / HTTP/1.1", 200, 0),
        ("GET /length HTTP/1.1", 200, 7),
        ("GET /204 HTTP/1.1", 204, 0),
        ("OPTIONS * HTTP/1.1", 204, 0),
    ],
)
def test_the_bytes_of_the_body_are_counted_and_no_others(
    serve: Serve, records: Records, request_line: str, status: int, count: int
) -> None:
    client = serve.client(serve(chunks))
    client.request(f"{request_line}\r\nHost: a\r\n\r\n".encode(), request_line.partition(" ")[0])
    record = records.next()
    assert (record.request_line, record.status) == (request_line, status)
    assert record.bytes_sent == count


def test_the_client_is_the_one_that_the_proxy_names(serve: Serve, records: Records) -> None:
    client = serve.client(serve(echo, trusted_proxies=["127.0.0.1"]))
    client.get("/", "X-Forwarded-For: 2001:db8::1")
    record = records.next()
    assert (record.client_address, record.client_port) == ("2001:db8::1", 0)
    client.get("/", "X-Forwarded-For: nobody")
    assert records.next().status == 400


def test_a_client_without_an_address_is_a_hyphen(
    serve: Serve, records: Records, tmp_path: Path
) -> None:
    client = serve.client(serve(echo, unix_socket=str(tmp_path / "socket")))
    client.get()
    record = records.next()
    assert (record.client_address, record.client_port) == ("-", 0)
    assert parts(record)["client"] == "-"


def test_months_are_english_and_offsets_have_a_sign(monkeypatch: pytest.MonkeyPatch) -> None:
    zone = timezone(timedelta(hours=-3, minutes=-30))
    at = datetime(2026, 5, 9, 7, 5, 3, tzinfo=zone)
    monkeypatch.setenv("TZ", "XXX+3:30")
    time.tzset()
    access_log._clock.cache_clear()
    try:
        assert access_log._clock(int(at.timestamp())) == "09/May/2026:07:05:03 -0330"
    finally:
        monkeypatch.undo()
        time.tzset()
        access_log._clock.cache_clear()


# Which requests have one


def test_each_of_many_requests_has_one(serve: Serve, records: Records) -> None:
    server = serve(echo, workers=4)
    client = serve.client(server)
    client.send(b"".join(get(f"/{number}") + post("/p", b"body") for number in range(50)))
    for _ in range(100):
        client.response()
    server.stop()
    # Each is made when its response is out, but by a worker that others may overtake then.
    targets = sorted(records.next().target for _ in range(100))
    assert targets == sorted([*(f"/{number}" for number in range(50)), *["/p"] * 50])
    assert records.are_all_taken()


def test_a_request_with_a_body_that_is_waited_for_has_one(serve: Serve, records: Records) -> None:
    server = serve(echo)
    client = serve.client(server)
    head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
    assert client.request(head.encode()).status == 100
    time.sleep(0.05)
    assert client.request(b"12345").status == 200
    server.stop()
    record = records.next()
    assert record.status == 200
    assert record.duration >= 0.05
    assert records.are_all_taken()


REFUSED = {
    "garbage": (b"\x16\x03\x01\x02", 400, r"\x16\x03\x01\x02"),
    "a quote": (b'"GET / HTTP/1.1\r\n', 400, r"\"GET / HTTP/1.1"),
    "no host": (b"GET /x HTTP/1.1\r\n\r\n", 400, "GET /x HTTP/1.1"),
    "a control character": (b"GET /x\x1b[0m HTTP/1.1\r\n\r\n", 400, r"GET /x\x1b[0m HTTP/1.1"),
    "an unknown version": (b"GET /x HTTP/3.0\r\n\r\n", 505, "GET /x HTTP/3.0"),
    "a long target": (b"GET /" + b"x" * 3000, 414, "GET /" + "x" * 1019),
    "long fields": (get("/x", "A: " + "a" * 3000), 431, "GET /x HTTP/1.1"),
    "a long body": (post("/x", b"x" * 101), 413, "POST /x HTTP/1.1"),
    "a bad chunk": (
        b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n!\r\n",
        400,
        "POST /x HTTP/1.1",
    ),
    "a slow head": (b"GET /x HTTP/1.1\r\nHost: a", 408, "GET /x HTTP/1.1"),
    "a slow body": (post("/x", b"hello")[:-1], 408, "POST /x HTTP/1.1"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_request_that_is_refused_has_one(serve: Serve, records: Records, name: str) -> None:
    data, status, line = REFUSED[name]
    limits: dict[str, Any] = {"max_head_size": 2000, "max_body_size": 100}
    server = serve(echo, **limits, head_timeout=0.3, body_timeout=0.3)
    client = serve.client(server)
    response = client.request(data)
    assert response.status == status
    assert client.is_closed()
    server.stop()
    record = records.next()
    assert record.status == status
    assert record.bytes_sent == len(response.body)
    assert record.client_address == "127.0.0.1"
    assert record.request_line == parts(record)["request"] == line
    assert records.are_all_taken()
    # What was understood is told in parts, too.
    assert (record.method == "POST") is (name in {"a long body", "a bad chunk", "a slow body"})


def test_a_body_that_goes_wrong_later_has_one(serve: Serve, records: Records) -> None:
    server = serve(echo)
    client = serve.client(server)
    client.send(b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe")
    client.send(b"llo!\r\n")
    assert client.response().status == 400
    server.stop()
    assert (record := records.next()).status == 400
    assert record.target == "/x"
    assert records.are_all_taken()


def test_an_exception_of_the_handler_has_one(serve: Serve, records: Records) -> None:
    assert serve.client(serve(lambda _: 1 // 0)).get().status == 500
    assert records.next().status == 500


def test_a_connection_without_a_request_has_none(serve: Serve, records: Records) -> None:
    server = serve(echo, head_timeout=0.1)
    assert serve.client(server).is_closed()
    left = serve.client(server)
    left.send(post("/", b"hello")[:-1])
    left.sock.close()
    server.stop()
    assert records.are_all_taken()


def test_a_response_that_breaks_off_has_one_with_what_was_sent(
    serve: Serve, records: Records
) -> None:
    closed = threading.Event()

    def endless() -> Iterator[bytes]:
        try:
            while True:
                yield b"x" * 100_000
        finally:
            closed.set()

    server = serve(lambda _: HttpResponse(endless()), workers=1)
    client = serve.client(server, receive_buffer=4096)
    client.send(get("/endless"))
    client.exactly(100_000)
    client.sock.close()
    wait(closed)
    record = records.next()
    assert (record.target, record.status) == ("/endless", 200)
    assert record.bytes_sent >= 90_000


def test_a_response_that_the_stop_cuts_off_has_one(serve: Serve, records: Records) -> None:
    server = serve(lambda _: HttpResponse(b"x" * 50_000_000), workers=1)
    client = serve.client(server, receive_buffer=4096)
    client.send(get())
    client.exactly(1000)
    server.stop(0.1)
    assert 0 < records.next().bytes_sent < 50_000_000
    assert records.are_all_taken()


def test_a_websocket_connection_has_one_at_its_handshake(serve: Serve, records: Records) -> None:
    server = serve(WebSocketHandler(Recorder()))
    with RawWebSocket.open(server.address):
        record = records.next()
        assert (record.status, record.upgraded) == (101, True)
        assert (record.bytes_sent, record.request_line) == (0, "GET / HTTP/1.1")
    assert serve.client(server).get().status == 426
    record = records.next()
    assert (record.status, record.upgraded) == (426, False)
    server.stop()
    assert records.are_all_taken()


# What clients write does no harm


def test_quotes_and_what_is_not_printable_is_escaped(serve: Serve, records: Records) -> None:
    client = serve.client(serve(echo))
    client.get(
        '/"\\x', 'Referer: "a" b', "User-Agent: \x80\x9b31m\xe4\t\\", 'Authorization: Basic "'
    )
    record = records.next()
    assert record.target == r"/\"\\x"
    assert record.referer == r"\"a\" b"
    assert record.user_agent == r"\x80\x9b31m\xe4\x09\\"
    assert parts(record)["request"] == r"GET /\"\\x HTTP/1.1"


class Saying:
    """A request head with these values, of which no parser would let all pass."""

    def __init__(self, user: str, agent: bytes) -> None:
        self._head = parse_head(get())
        credentials = base64.b64encode(user.encode(errors="replace") + b":").decode()
        self._values = {
            "authorization": f"Basic {credentials}",
            "user-agent": agent.decode("latin-1"),
        }

    def __getattr__(self, name: str) -> object:
        return getattr(self._head, name)

    def get(self, name: str) -> str | None:
        return self._values.get(name)


@given(raw=st.binary(max_size=80), user=st.text(max_size=20), agent=st.binary(max_size=20))
def test_no_request_can_look_like_another_record(raw: bytes, user: str, agent: bytes) -> None:
    handler = Records()
    logger = logging.getLogger("handy_ws.access")
    logger.addHandler(handler)
    try:
        entry = AccessEntry()
        entry.describe(("192.0.2.1", 1), None, raw)
        entry.write(400, 0)
        entry.describe(("192.0.2.1", 1), cast("RequestHead", Saying(user, agent)), b"")
        entry.write(200, 1)
    finally:
        logger.removeHandler(handler)
    for status in ("400", "200"):
        record = handler.next()
        line = record.getMessage()
        assert line.isascii()
        assert line.isprintable()
        assert parts(record)["status"] == status
        assert re.fullmatch(r'(?:[^"\\]|\\.)*', record.user_agent)


# Nobody pays for it who does not want it, and nobody waits for it


@pytest.mark.parametrize("how", ["by level", "by default", "for all"])
def test_nothing_is_made_that_nobody_wants(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        pytest.fail("something was made")

    logger = logging.getLogger("handy_ws.access")
    made: list[logging.LogRecord] = []
    monkeypatch.setattr(logger, "makeRecord", fail)
    monkeypatch.setattr(access_log.AccessEntry, "__init__", fail)
    monkeypatch.setattr(logging.Logger, "callHandlers", lambda _, record: made.append(record))
    if how == "by level":
        logger.setLevel(logging.WARNING)
    elif how == "for all":
        logger.setLevel(logging.INFO)
        logging.disable(logging.INFO)
    try:
        server = serve(echo, head_timeout=0.1)
        client = serve.client(server)
        for _ in range(3):
            assert client.get().status == 200
        assert client.request(b"!\r\n\r\n").status == 400
        assert serve.client(server).request(b"GET /").status == 408
    finally:
        logging.disable(logging.NOTSET)
        logger.setLevel(logging.NOTSET)
    assert made == []


def test_it_can_be_turned_on_and_off_while_the_server_runs(serve: Serve, records: Records) -> None:
    logger = logging.getLogger("handy_ws.access")
    server = serve(echo)
    client = serve.client(server)
    for number in range(6):
        logger.setLevel(logging.INFO if number % 2 else logging.WARNING)
        client.get(f"/{number}")
    server.stop()
    assert sorted(records.next().target for _ in range(3)) == ["/1", "/3", "/5"]
    assert records.are_all_taken()


def test_a_handler_that_blocks_delays_no_response_and_no_connection(
    serve: Serve, records: Records, events: Callable[[], threading.Event]
) -> None:
    begun, release = events(), events()

    class Blocking(logging.Handler):
        def emit(self, _: logging.LogRecord) -> None:
            begun.set()
            wait(release)

    logger = logging.getLogger("handy_ws.access")
    handler = Blocking()
    handler.addFilter(lambda record: record.__dict__["status"] == 400)
    logger.addHandler(handler)
    try:
        server = serve(echo, workers=2)
        refused = serve.client(server)
        assert refused.request(b"!\r\n\r\n").status == 400
        wait(begun)
        # The other worker and the acceptor go on.
        client = serve.client(server)
        for _ in range(3):
            assert client.get("/on").status == 200
        release.set()
    finally:
        logger.removeHandler(handler)
    server.stop()
    assert sorted(records.next().status for _ in range(4)) == [200, 200, 200, 400]


def test_a_filter_that_raises_is_reported_and_does_no_harm(
    serve: Serve, records: Records, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: logging.LogRecord) -> bool:
        raise ZeroDivisionError

    logger = logging.getLogger("handy_ws.access")
    logger.addFilter(fail)
    try:
        server = serve(echo, workers=1)
        client = serve.client(server)
        assert client.get().status == 200
        assert client.get().status == 200
        server.stop()
    finally:
        logger.removeFilter(fail)
    assert caplog.messages == ["a request cannot be logged"] * 2
    assert records.are_all_taken()
