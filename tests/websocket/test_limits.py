"""Limits on connections, each at its edge, and in a storm."""

from __future__ import annotations

import random
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from handy_ws import (
    HttpRequestHandler,
    HttpResponse,
    WebSocketConfig,
    WebSocketHandler,
    WebSocketMessageHandler,
)

from tests.websocket.raw_websocket import (
    CLOSE,
    RawWebSocket,
    close_payload,
    frame,
    request_head,
)
from tests.websocket.recorder import PATIENCE, Echo

if TYPE_CHECKING:
    from collections.abc import Callable

    from handy_ws import (
        HttpRequest,
        HttpRequestContext,
        WebSocketConnection,
        WebSocketManager,
    )

    from tests.websocket.conftest import Serve

SWITCHING, TOO_MANY, UNAVAILABLE = 101, 429, 503
NOBODY_REFUSED = {
    "max_connections": 0,
    "max_connections_per_address": 0,
    "max_pending_handshakes": 0,
    "handshake": 0,
    "origin": 0,
    "authorize": 0,
}


def poll(condition: Callable[[], object]) -> None:
    """Look until something is so; fail if it does not become so."""
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until, "it did not come to be"
        time.sleep(0.001)


def ask(client: RawWebSocket, request: bytes = request_head()) -> tuple[int, str]:
    """Send a handshake; return the status and, unless it is a 101, the reason."""
    client.send(request)
    status, headers = client.read_response_head()
    if status == SWITCHING:
        return status, ""
    reason = client._read(int(headers["content-length"])).decode()
    if status in {TOO_MANY, UNAVAILABLE}:
        assert headers["retry-after"] == "5"
    assert headers["content-type"] == "text/plain; charset=utf-8"
    return status, reason


def refused(manager: WebSocketManager) -> dict[str, int]:
    """Return the counts that are not zero."""
    return {cause: count for cause, count in manager.stats().connections_refused.items() if count}


def wait_for_connections(manager: WebSocketManager, count: int) -> None:
    poll(lambda: manager.stats().connections == count)


# Connections


def test_the_last_connection_is_accepted_and_the_next_refused_until_one_leaves(
    serve: Serve,
) -> None:
    manager = (server := serve(Echo(), WebSocketConfig(max_connections=2))).websocket_manager
    with (
        RawWebSocket.open(server.address) as first,
        RawWebSocket.open(server.address) as second,
        RawWebSocket(server.address) as third,
    ):
        for _ in range(2):
            assert ask(third) == (UNAVAILABLE, "there are too many connections\n")
        assert refused(manager) == {"max_connections": 2}
        first.reset()
        wait_for_connections(manager, 1)
        # The refusal was an ordinary response, and its connection may try again.
        assert ask(third) == (SWITCHING, "")
        for client in (second, third):
            client.send_text("alive")
            assert client.read_text() == "alive"
        with RawWebSocket(server.address) as fourth:
            assert ask(fourth)[0] == UNAVAILABLE
    wait_for_connections(manager, 0)
    assert manager.stats().connections_total == 3


def test_an_address_has_its_own_limit(serve: Serve) -> None:
    config = WebSocketConfig(max_connections_per_address=2)
    manager = (server := serve(Echo(), config)).websocket_manager
    with (
        RawWebSocket.open(server.address) as first,
        RawWebSocket.open(server.address),
        RawWebSocket(server.address) as third,
        RawWebSocket(server.address, source="127.0.0.2") as other,
    ):
        reason = "there are too many connections from this address\n"
        assert ask(third) == (TOO_MANY, reason)
        assert ask(other) == (SWITCHING, "")
        assert refused(manager) == {"max_connections_per_address": 1}
        first.send_close()
        first.read_end()
        first.socket.close()  # until then it counts
        wait_for_connections(manager, 2)
        assert ask(third) == (SWITCHING, "")


# Handshakes


def test_a_handshake_is_pending_while_authorize_thinks(serve: Serve) -> None:
    asked, answer = threading.Semaphore(0), threading.Event()

    def authorize(_: HttpRequest) -> None:
        asked.release()
        assert answer.wait(PATIENCE)

    handler = WebSocketHandler(Echo(), authorize=authorize)
    manager = (
        server := serve(handler, WebSocketConfig(max_pending_handshakes=2))
    ).websocket_manager
    with (
        RawWebSocket(server.address) as first,
        RawWebSocket(server.address) as second,
        RawWebSocket(server.address) as third,
    ):
        for client in (first, second):
            client.send(request_head())
            assert asked.acquire(timeout=PATIENCE)
        assert ask(third) == (UNAVAILABLE, "there are too many handshakes in progress\n")
        answer.set()
        for client in (first, second):
            assert client.read_response_head()[0] == SWITCHING
        assert ask(third) == (SWITCHING, "")
        assert refused(manager) == {"max_pending_handshakes": 1}


def test_a_handshake_is_pending_until_on_connection_established_returns(serve: Serve) -> None:
    entered, go_on = threading.Semaphore(0), threading.Event()

    class Slow(WebSocketMessageHandler):
        def on_connection_established(self, connection: WebSocketConnection) -> None:  # noqa: ARG002
            entered.release()
            assert go_on.wait(PATIENCE)

    server = serve(Slow(), WebSocketConfig(max_pending_handshakes=1))
    with RawWebSocket(server.address) as first, RawWebSocket(server.address) as second:
        first.send(request_head())
        assert entered.acquire(timeout=PATIENCE)
        assert ask(second)[0] == UNAVAILABLE
        go_on.set()
        assert first.read_response_head()[0] == SWITCHING
        assert ask(second) == (SWITCHING, "")


def test_what_authorize_refuses_gives_its_place_back_at_once(serve: Serve) -> None:
    answers: list[HttpResponse | BaseException | None] = [
        HttpResponse("no\n", 401, mimetype="text/plain"),
        RuntimeError("deliberate"),
        SystemExit(),
        HttpResponse("no\n", 401, mimetype="text/plain"),
        None,
    ]

    def authorize(_: HttpRequest) -> HttpResponse | None:
        answer = answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    handler = WebSocketHandler(Echo(), authorize=authorize)
    config = WebSocketConfig(max_connections=1, max_pending_handshakes=1)
    server = serve(handler, config)
    with RawWebSocket(server.address) as client:
        statuses = [ask(client)[0] for _ in range(5)]
    assert statuses == [401, 500, 500, 401, SWITCHING]
    assert refused(server.websocket_manager) == {"authorize": 4}


class Changing(HttpRequestHandler):
    """Lets another handler upgrade, and then changes its mind, as the path says."""

    def __init__(self) -> None:
        self.inner = WebSocketHandler(Echo())
        self.contexts: list[HttpRequestContext] = []

    def handle(self, context: HttpRequestContext) -> HttpResponse | None:
        self.contexts.append(context)  # what it refers to lives on
        response = self.inner.handle(context)
        match context.head.path:
            case "/refuse":
                return HttpResponse("no\n", 403, mimetype="text/plain")
            case "/raise":
                message = "deliberate"
                raise RuntimeError(message)
            case "/twice":
                return self.inner.handle(context)
            case "/bad-header":
                context.upgrade([("X-Bad", "\r\n")], *self._taken(context))
        return response

    @staticmethod
    def _taken(context: HttpRequestContext) -> Any:
        chosen = context.chosen_upgrade
        assert chosen is not None
        return chosen.take_over, chosen.on_cancel


@pytest.mark.parametrize(
    ("path", "status"), [("/refuse", 403), ("/raise", 500), ("/bad-header", 500)]
)
def test_an_upgrade_that_is_cancelled_gives_its_place_back_at_once(
    serve: Serve, path: str, status: int
) -> None:
    server = serve(Changing(), WebSocketConfig(max_connections=1))
    with RawWebSocket(server.address) as client:
        for _ in range(3):
            assert ask(client, request_head(path))[0] == status
        assert ask(client, request_head("/")) == (SWITCHING, "")


def test_a_request_that_is_upgraded_twice_has_one_place(serve: Serve) -> None:
    server = serve(Changing(), WebSocketConfig(max_connections=2))
    with RawWebSocket(server.address) as first, RawWebSocket(server.address) as second:
        assert ask(first, request_head("/twice")) == (SWITCHING, "")
        assert ask(second, request_head("/")) == (SWITCHING, "")
        with RawWebSocket(server.address) as third:
            assert ask(third, request_head("/"))[0] == UNAVAILABLE


def test_refusals_are_counted_by_cause(serve: Serve) -> None:
    handler = WebSocketHandler(
        Echo(), authorize=lambda _: HttpResponse("no\n", mimetype="text/plain")
    )
    manager = (server := serve(handler)).websocket_manager
    assert manager.stats().connections_refused == NOBODY_REFUSED
    foreign = request_head(Origin="http://elsewhere.example")
    for request, status in [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 426),
        (request_head(Sec_WebSocket_Key="short"), 400),
        (request_head().replace(b"GET", b"PUT", 1), 405),
        (foreign, 403),
        (foreign, 403),
        (request_head(), 200),
    ]:
        with RawWebSocket(server.address) as client:
            assert ask(client, request)[0] == status
    expected = NOBODY_REFUSED | {"handshake": 3, "origin": 2, "authorize": 1}
    assert manager.stats().connections_refused == expected
    with pytest.raises(ValueError, match="no such check"):
        manager.core.count_refused("something")  # type: ignore[arg-type]


def test_a_stopped_server_has_all_places_when_it_starts_again(serve: Serve) -> None:
    server = serve(Echo(), WebSocketConfig(max_connections=2))
    for _ in range(3):
        clients = [RawWebSocket.open(server.address) for _ in range(2)]
        with RawWebSocket(server.address) as one_more:
            assert ask(one_more)[0] == UNAVAILABLE
        server.stop(0.1)  # they do not answer
        server.start_in_thread()
        for client in clients:
            client.reset()


# Storm


class Counting(WebSocketMessageHandler):
    """Counts who is there, and the most that ever were."""

    def __init__(self) -> None:
        self.now = self.most = self.total = 0

    def on_connection_established(self, connection: WebSocketConnection) -> None:  # noqa: ARG002
        self.now += 1
        self.total += 1
        self.most = max(self.most, self.now)

    def on_connection_closed(self, connection: WebSocketConnection) -> None:  # noqa: ARG002
        self.now -= 1


def come_and_go(
    address: tuple[str, int], seed: int, all_have_some: threading.Barrier, statuses: list[int]
) -> None:
    """Open connections and end them in different ways, a few at a time."""
    rng = random.Random(seed)
    held: list[RawWebSocket] = []
    for number in range(100):
        if number == 5:
            all_have_some.wait(PATIENCE)
        client = RawWebSocket(address)
        client.send(request_head())
        if number >= 5 and rng.random() < 0.1:
            client.reset()  # without waiting for the answer
            continue
        status, _ = client.read_response_head()
        statuses.append(status)
        if status == SWITCHING:
            held.append(client)
        if len(held) > 5 or (number >= 5 and held and rng.random() < 0.2):
            leaving = held.pop(rng.randrange(len(held)))
            if rng.random() < 0.5:
                leaving.send(frame(CLOSE, close_payload(1000)))
                leaving.read_end()
            leaving.reset()
    for client in held:
        client.reset()


def test_a_storm_never_exceeds_the_limit_and_leaves_no_place_taken(serve: Serve) -> None:
    limit = 50
    handler = Counting()
    server = serve(handler, WebSocketConfig(max_connections=limit))
    manager = server.websocket_manager
    statuses: list[int] = []
    barrier = threading.Barrier(16)
    threads = [
        threading.Thread(target=come_and_go, args=(server.address, seed, barrier, statuses))
        for seed in range(16)
    ]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert len(manager) <= limit
        assert manager.stats().connections <= limit
        time.sleep(0.005)
    wait_for_connections(manager, 0)
    assert set(statuses) == {SWITCHING, UNAVAILABLE}
    poll(lambda: handler.now == 0)
    assert handler.most <= limit
    assert handler.total >= statuses.count(SWITCHING)
    assert len(manager) == 0
    # Every place is free, and there is none too many.
    clients = [RawWebSocket.open(server.address) for _ in range(limit)]
    with RawWebSocket(server.address) as one_more:
        assert ask(one_more)[0] == UNAVAILABLE
    for client in clients:
        client.reset()
