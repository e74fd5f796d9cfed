"""The opening handshake: what is accepted, and what is answered otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from handy_ws import HttpResponse, PathHandler, WebSocketHandler, WebSocketMessageHandler

from tests.websocket.raw_websocket import KEY, PING, RawWebSocket, frame, request_head
from tests.websocket.recorder import Recorder

if TYPE_CHECKING:
    from handy_ws import HttpRequest, HttpRequestContext, HttpServer

    from tests.websocket.conftest import Serve

SWITCHING, BAD_REQUEST, FORBIDDEN, NOT_ALLOWED, UPGRADE_REQUIRED = 101, 400, 403, 405, 426


def ask(server: HttpServer, request: bytes) -> tuple[int, dict[str, str], str]:
    """Return status, headers and, unless it is a 101, the body."""
    with RawWebSocket(server.address) as client:
        client.send(request)
        status, headers = client.read_response_head()
        if status == SWITCHING:
            client.send(frame(PING, b"alive"))
            assert client.read_frame().payload == b"alive"
            return status, headers, ""
        body = client._read(int(headers["content-length"]))
        return status, headers, body.decode()


def raw_request(*lines: str) -> bytes:
    return ("\r\n".join(["GET / HTTP/1.1", "Host: localhost", *lines]) + "\r\n\r\n").encode()


@pytest.mark.parametrize(
    "request_bytes",
    [
        request_head(),
        request_head(Connection="keep-alive, Upgrade"),
        request_head(Connection="upgrade"),
        request_head(Connection=f"keep-alive,{' ' * 1000}UPGRADE ,"),
        request_head(Upgrade="WebSocket"),
        request_head(Upgrade="h2c, websocket"),
        request_head("/any/path?query"),
        raw_request(
            "Connection: keep-alive",
            "Connection: Upgrade",
            "Upgrade: foo",
            "Upgrade: websocket",
            f"Sec-WebSocket-Key: {KEY}",
            "Sec-WebSocket-Version: 13",
        ),
        request_head(headers={"Sec-WebSocket-Extensions": "permessage-deflate; foo, bar"}),
        request_head(headers={"Cookie": "a=b"}),
        request_head(headers={"X-Anything": "\xe9\xff"}),
    ],
)
def test_a_valid_handshake_is_accepted(serve: Serve, request_bytes: bytes) -> None:
    status, headers, _ = ask(serve(WebSocketMessageHandler()), request_bytes)
    assert status == SWITCHING
    assert headers["upgrade"] == "websocket"
    assert headers["connection"] == "Upgrade"
    assert "sec-websocket-extensions" not in headers
    assert "sec-websocket-protocol" not in headers


@pytest.mark.parametrize(
    ("request_bytes", "status", "reason"),
    [
        (request_head(Upgrade=""), UPGRADE_REQUIRED, "Upgrade: websocket"),
        (request_head(Upgrade="notupgrade"), UPGRADE_REQUIRED, "Upgrade: websocket"),
        (request_head(Upgrade="notwebsocket"), UPGRADE_REQUIRED, "Upgrade: websocket"),
        (request_head(Upgrade="websocket/13"), UPGRADE_REQUIRED, "Upgrade: websocket"),
        (request_head(Connection=""), BAD_REQUEST, "Connection"),
        (request_head(Connection="keep-alive"), BAD_REQUEST, "Connection"),
        (request_head(Connection="notupgrade"), BAD_REQUEST, "Connection"),
        (request_head(Sec_WebSocket_Version=""), BAD_REQUEST, "Sec-WebSocket-Version"),
        (request_head(Sec_WebSocket_Version="8"), UPGRADE_REQUIRED, "version"),
        (request_head(Sec_WebSocket_Version="13, 8"), UPGRADE_REQUIRED, "version"),
        (request_head(Sec_WebSocket_Version="+13"), UPGRADE_REQUIRED, "version"),
        (request_head(Sec_WebSocket_Key=""), BAD_REQUEST, "Sec-WebSocket-Key"),
        (request_head(Sec_WebSocket_Key="short"), BAD_REQUEST, "Sec-WebSocket-Key"),
        (request_head(Sec_WebSocket_Key="AAAA" * 6), BAD_REQUEST, "Sec-WebSocket-Key"),
        (request_head(Sec_WebSocket_Key=KEY[:-2] + "!="), BAD_REQUEST, "Sec-WebSocket-Key"),
        (request_head(Sec_WebSocket_Key="\xe9" * 24), BAD_REQUEST, "Sec-WebSocket-Key"),
        (request_head().replace(b"GET", b"POST"), NOT_ALLOWED, "GET"),
        (request_head().replace(b"GET", b"HEAD", 1), NOT_ALLOWED, ""),
        (request_head().replace(b"HTTP/1.1", b"HTTP/1.0"), BAD_REQUEST, "HTTP/1.1"),
        (
            request_head().replace(b"\r\n\r\n", f"\r\nSec-WebSocket-Key: {KEY}\r\n\r\n".encode()),
            BAD_REQUEST,
            "",
        ),
        (
            request_head().replace(b"\r\n\r\n", b"\r\nSec-WebSocket-Version: 13\r\n\r\n"),
            BAD_REQUEST,
            "Sec-WebSocket-Version",
        ),
        (request_head(Sec_WebSocket_Protocol="a, a"), BAD_REQUEST, "Sec-WebSocket-Protocol"),
        (request_head(Sec_WebSocket_Protocol="a b"), BAD_REQUEST, "Sec-WebSocket-Protocol"),
        (request_head(Sec_WebSocket_Protocol="\xe9"), BAD_REQUEST, "Sec-WebSocket-Protocol"),
    ],
)
def test_anything_else_gets_a_status_and_a_reason(
    serve: Serve, request_bytes: bytes, status: int, reason: str
) -> None:
    server = serve(WebSocketMessageHandler())
    if b"HEAD /" in request_bytes:
        with RawWebSocket(server.address) as client:
            client.send(request_bytes)
            assert client.read_response_head()[0] == status
        return
    found, headers, body = ask(server, request_bytes)
    assert found == status
    assert reason.lower() in body.lower()
    if status == NOT_ALLOWED:
        assert headers["allow"] == "GET"
    if status == UPGRADE_REQUIRED:
        assert headers["upgrade"] == "websocket"
        assert headers.get("sec-websocket-version") == ("13" if reason == "version" else None)


def test_cross_site_handshakes_are_refused(serve: Serve) -> None:
    server = serve(WebSocketMessageHandler())
    host, port = server.address
    same = {"Host": f"{host}:{port}", "Origin": f"http://{host}:{port}"}
    assert ask(server, request_head(headers=same))[0] == SWITCHING
    assert ask(server, request_head())[0] == SWITCHING, "no Origin, no browser"
    for origin in ("http://evil.com", "null", f"http://{host}:1"):
        status, _, body = ask(server, request_head(headers={**same, "Origin": origin}))
        assert status == FORBIDDEN
        assert origin in body
    twice = request_head(headers=same).replace(b"\r\n\r\n", b"\r\nOrigin: http://a.b\r\n\r\n")
    assert ask(server, twice)[0] == BAD_REQUEST


def test_origins_can_be_listed_or_all_allowed(serve: Serve) -> None:
    handler = WebSocketMessageHandler()
    server = serve(WebSocketHandler(handler, allowed_origins=["https://a.com", "http://b.com:81"]))
    expected = {
        "https://a.com": SWITCHING,
        "https://A.com:443": SWITCHING,
        "http://a.com": FORBIDDEN,
        "http://b.com:81": SWITCHING,
        "http://127.0.0.1": FORBIDDEN,
    }
    for origin, status in expected.items():
        assert ask(server, request_head(Origin=origin))[0] == status
    server = serve(WebSocketHandler(handler, allowed_origins="*"))
    for origin in ("https://anyone.com", "null"):
        assert ask(server, request_head(Origin=origin))[0] == SWITCHING


@pytest.mark.parametrize("origins", ["a.com", ["https://a.com/path"], ["*.a.com"], ["null"], [""]])
def test_allowed_origins_must_be_origins(origins: Any) -> None:
    with pytest.raises(ValueError, match="allowed_origins"):
        WebSocketHandler(WebSocketMessageHandler(), allowed_origins=origins)


def test_one_allowed_origin_may_be_a_str(serve: Serve) -> None:
    server = serve(WebSocketHandler(WebSocketMessageHandler(), allowed_origins="https://a.com"))
    assert ask(server, request_head(Origin="https://a.com"))[0] == SWITCHING
    assert ask(server, request_head(Origin="https://b.com"))[0] == FORBIDDEN


@pytest.mark.parametrize("origins", [5, [5], ["https://a.com", None]])
def test_allowed_origins_must_be_text(origins: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        WebSocketHandler(WebSocketMessageHandler(), allowed_origins=origins)


@pytest.mark.parametrize("subprotocols", [("a b",), ("",), ("ü",), (5,), ("a", "b,c")])
def test_subprotocols_must_be_tokens(subprotocols: Any) -> None:
    with pytest.raises(ValueError, match="subprotocols"):
        WebSocketHandler(WebSocketMessageHandler(), subprotocols=subprotocols)


def test_the_101_waits_for_a_client_that_has_yet_to_read_an_earlier_response(serve: Serve) -> None:
    def big(context: HttpRequestContext) -> None:
        context.response.data = b"x" * 4_000_000

    recorder = Recorder()
    server = serve(PathHandler().add("/big", big).add("/", WebSocketHandler(recorder)))
    with RawWebSocket(server.address, receive_buffer=4096) as client:
        client.send(b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n" + request_head())
        _, headers = client.read_response_head()
        assert len(client._read(int(headers["content-length"]))) == 4_000_000
        assert client.read_response_head()[0] == SWITCHING
        recorder.next("established").send_text("hello")
        assert client.read_text() == "hello"


def test_whoever_has_seen_the_101_misses_no_broadcast(serve: Serve) -> None:
    server = serve(WebSocketMessageHandler())
    for _ in range(50):
        with RawWebSocket.open(server.address) as client:
            server.websocket_manager.broadcast("news")
            assert client.read_text() == "news"


def test_authorize_accepts_or_refuses_with_a_response(serve: Serve) -> None:
    def authorize(request: HttpRequest) -> HttpResponse | None:
        if request.args.get("token") == "secret":
            return None
        return HttpResponse("who are you?", status=401, headers={"WWW-Authenticate": "Bearer"})

    recorder = Recorder()
    server = serve(WebSocketHandler(recorder, authorize=authorize))
    assert ask(server, request_head("/?token=secret"))[0] == SWITCHING
    status, headers, body = ask(server, request_head("/?token=guess"))
    assert (status, headers["www-authenticate"], body) == (401, "Bearer", "who are you?")
    server.stop()
    assert recorder.next("established").request.args["token"] == "secret"
    recorder.next("closed")
    assert recorder.events.empty()


def test_the_user_that_authorize_finds_is_the_user_of_the_connection(serve: Serve) -> None:
    class User:
        pass

    users = {"ada": User(), "grace": User()}

    def authorize(request: HttpRequest) -> None:
        assert request.user is None
        request.user = users.get(request.args["name"])

    recorder = Recorder()
    server = serve(WebSocketHandler(recorder, authorize=authorize))
    for name in ("grace", "ada", "nobody"):
        assert ask(server, request_head(f"/?name={name}"))[0] == SWITCHING
        request = recorder.next("established").request
        assert (request.args["name"], request.user) == (name, users.get(name))
        recorder.wait_for("closed")


def test_without_authorize_a_connection_has_no_user(serve: Serve) -> None:
    recorder = Recorder()
    with RawWebSocket.open(serve(WebSocketHandler(recorder)).address):
        assert recorder.next("established").request.user is None


def test_an_exception_in_authorize_is_a_500_and_no_connection(serve: Serve) -> None:
    def authorize(_: HttpRequest) -> None:
        raise LookupError

    recorder = Recorder()
    server = serve(WebSocketHandler(recorder, authorize=authorize))
    assert ask(server, request_head())[0] == 500
    assert recorder.events.empty()
