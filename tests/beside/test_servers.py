"""Connections that are taken over from gunicorn and werkzeug: real servers, and real sockets."""

from __future__ import annotations

import signal
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.beside.other_server import DJANGO_APP, OtherServer
from tests.http.raw_http import RawClient, get
from tests.websocket.raw_websocket import TEXT, RawWebSocket, frame, request_head

if TYPE_CHECKING:
    from tests.certificates import Authority

MANY = 20  # more than the threads, and the connections, that the servers have


def test_open_connections_hold_no_thread_and_a_broadcast_reaches_all(server: OtherServer) -> None:
    clients = [server.connect() for _ in range(MANY)]
    state = server.state()
    assert state["connections"] == MANY
    assert [name for name in state["threads"] if "manager" in name] == ["handy-ws-manager"]
    assert len(state["threads"]) < MANY
    for number, client in enumerate(clients):
        client.send_text(str(number))
    assert [client.read_text() for client in clients] == [str(n) for n in range(MANY)]
    assert server.get("/plain").body == b"plain\n"
    assert server.get("/broadcast?text=all").body == b"QUEUED"
    assert [client.read_text() for client in clients] == ["all"] * MANY
    close(server, clients)


@pytest.mark.parametrize("size", [1, 125, 8000, 300_000])
def test_what_comes_right_behind_the_handshake_is_delivered(server: OtherServer, size: int) -> None:
    texts = ["first", "x" * size, "last"]
    behind = b"".join(frame(TEXT, text.encode()) for text in texts)
    client = server.connect(behind=behind)
    assert [client.read_text() for _ in texts] == texts
    close(server, [client])


def test_a_frame_that_has_come_in_part_is_completed(server: OtherServer) -> None:
    whole = frame(TEXT, b"in two parts")
    for cut in (1, 2, 5, len(whole) - 1):
        client = server.connect(behind=whole[:cut])
        client.send(whole[cut:])
        assert client.read_text() == "in two parts"
        close(server, [client])


@pytest.mark.parametrize("kind", ["gthread", "werkzeug"])
def test_whatever_the_server_answers_afterwards_does_not_reach_the_client(kind: str) -> None:
    with OtherServer(kind) as server:
        server.has_faults = True
        client = server.connect("/late")
        server.wait_for("deliberate fault")
        client.send_text("still here")
        assert client.read_text() == "still here"
        client.send_close()
        assert client.read_close() == (1000, "")
        assert client.read_end() == b""
        assert [line for line in server.complaints() if "socket" in line.lower()] == []


def test_the_request_is_that_of_the_server(server: OtherServer) -> None:
    for path, told in [
        ("/echo?q=a%20b", "/echo a b {} None"),
        ("/rooms/b%C3%BCro", "/rooms/b\xfcro None {'room': 'b\xfcro'} ada"),
    ]:
        client = server.connect(path)
        client.send_text("tell")
        assert client.read_text() == told
        close(server, [client])


@pytest.mark.parametrize(
    ("request_bytes", "status", "check"),
    [
        (get("/wsgi"), 426, "handshake"),
        (request_head("/wsgi", Sec_WebSocket_Key="short"), 400, "handshake"),
        (request_head("/wsgi", Sec_WebSocket_Version="12"), 426, "handshake"),
        (request_head("/wsgi", Origin="http://elsewhere.example"), 403, "origin"),
        (request_head("/wsgi", Content_Length="5") + b"hello", 400, "handshake"),
        (request_head("/wsgi").replace(b"GET", b"POST", 1), 405, "handshake"),
        (request_head("/wsgi?who=nobody"), 401, "authorize"),
    ],
)
def test_a_refusal_is_an_ordinary_response(
    server: OtherServer, request_bytes: bytes, status: int, check: str
) -> None:
    before = server.state()["refused"]
    with RawClient(server.address) as client:
        response = client.request(request_bytes)
    assert response.status == status
    assert response.body.endswith(b"\n")
    after = server.state()["refused"]
    assert {name for name in after if after[name] != before[name]} == {check}


def test_connections_that_come_and_go_leave_nothing(server: OtherServer) -> None:
    close(server, [server.connect()])  # what is made once is there now
    before = server.wait_until(lambda state: state["connections"] == 0)
    for _ in range(10):
        clients = [server.connect() for _ in range(3)]
        clients.pop().reset()
        close(server, clients)
    server.wait_until(
        lambda state: (
            state["descriptors"] <= before["descriptors"]
            and len(state["closed"]) == len(before["closed"]) + 30
        )
    )


def close(server: OtherServer, clients: list[RawWebSocket]) -> None:
    """Close each connection, and see it through."""
    for client in clients:
        client.send_close()
    for client in clients:
        assert client.read_close() == (1000, "")
        assert client.read_end() == b""
        client.socket.close()
    server.wait_until(lambda state: state["connections"] == 0)


# Ends


@pytest.mark.parametrize("kind", ["gthread", "sync", "werkzeug"])
def test_clients_are_told_that_the_server_goes(kind: str) -> None:
    with OtherServer(kind) as server:
        clients = [server.connect() for _ in range(3)]
        server.wait_for(r"GET /echo HTTP/1\.1\S* 101 ")
        server.begin_to_stop()
        for client in clients:
            assert client.read_close()[0] == 1001
            client.send_close(1001)
            assert client.read_end() == b""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT])
def test_gunicorn_that_stops_at_once_tells_them_too(number: signal.Signals) -> None:
    with OtherServer("gthread") as server:
        client = server.connect()
        server.begin_to_stop(number)
        assert client.read_close()[0] == 1001
        client.send_close(1001)


@pytest.mark.parametrize("started", ["", "yes"])
def test_a_manager_that_is_made_before_the_fork_runs_in_the_worker(started: str) -> None:
    with OtherServer("gthread", "--preload", START_BEFORE_FORK=started) as server:
        client = server.connect()
        client.send_text("hello")
        assert client.read_text() == "hello"
        assert server.get("/broadcast?text=all").body == b"QUEUED"
        assert client.read_text() == "all"
        state = server.state()
        assert state["process"] != server.pid
        assert [name for name in state["threads"] if "manager" in name] == ["handy-ws-manager"]


def test_two_processes_have_a_manager_each() -> None:
    with OtherServer("gthread", "--workers=2") as server:
        clients = [server.connect() for _ in range(3)]
        states: dict[int, int] = {}
        while len(states) < 2:
            state = server.state()
            states[state["process"]] = state["connections"]
        assert sum(states.values()) == len(clients)


# What is particular


def test_all_the_threads_of_a_worker_are_free() -> None:
    with OtherServer("gthread", "--threads=4", "--worker-connections=9") as server:
        clients = [server.connect() for _ in range(3 * MANY)]
        # These are answered only if four threads work on them at once.
        with ExitStack() as stack:
            asking = [stack.enter_context(RawClient(server.address)) for _ in range(4)]
            for one in asking:
                one.send(get("/together"))
            assert [one.response().body for one in asking] == [b"all\n"] * 4
        server.get("/broadcast?text=all")
        assert [client.read_text() for client in clients] == ["all"] * len(clients)
        close(server, clients)


def test_a_view_of_django_gives_connections_away() -> None:
    with OtherServer("gthread", app=DJANGO_APP) as server:
        with RawClient(server.address) as client:
            response = client.get("/echo")
        assert (response.status, response.get("Upgrade")) == (426, "websocket")
        websocket = server.connect()
        websocket.send_text("hello")
        assert websocket.read_text() == "hello"
        websocket.send_close()
        websocket.read_close()
        assert websocket.read_end() == b""


def test_a_connection_that_was_kept_alive_can_be_upgraded() -> None:
    with OtherServer("gthread") as server, RawWebSocket(server.address) as client:
        for _ in range(2):  # meanwhile it waits in gunicorn's poller
            client.send(get("/plain"))
            status, headers = client.read_response_head()
            assert (status, headers["connection"]) == (200, "keep-alive")
            assert client._read(int(headers["content-length"])) == b"plain\n"
        client.upgrade("/echo")
        client.send_text("hello")
        assert client.read_text() == "hello"
        assert server.get("/plain").body == b"plain\n"
        client.send_close()
        client.read_close()
        assert client.read_end() == b""


@pytest.mark.parametrize("kind", ["gthread", "werkzeug"])
def test_a_tls_session_of_the_server_is_refused_with_a_reason(
    kind: str, authority: Authority
) -> None:
    certificate, key = map(str, authority.server)
    names = ("--certfile", "--keyfile") if kind == "gthread" else ("--cert", "--key")
    with OtherServer(kind, names[0], certificate, names[1], key) as server:
        server.has_faults = True
        with (
            RawClient(server.address) as client,
            authority.client().wrap_socket(client.sock, server_hostname="localhost") as encrypted,
        ):
            client.sock = encrypted
            assert client.request(request_head("/wsgi")).status == 500
        server.wait_for("RuntimeError: the connection is encrypted by Python's ssl module")
